package broker

import (
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/milldam/milldam/core/meta"
	"github.com/milldam/milldam/core/record"
	"github.com/milldam/milldam/core/wire"
)

const offsetsTopicIDs = 10 // the version of OffsetCommit and OffsetFetch that names topics by id (KIP-848)

// OffsetCommit, versions 2 to 10. 7 has static members, 8 is flexible, 10 names topics by id.
func (s *Server) offsetCommit(cl *call, req *kmsg.OffsetCommitRequest) {
	image := s.opts.Controller.Image()
	known := *req
	known.Topics = nil
	refused := map[int]wire.Code{} // topics of the request that the coordinator never sees
	for i := range req.Topics {
		t := req.Topics[i]
		found, code := topicOf(image, cl.header.Version >= offsetsTopicIDs, t.Topic, t.TopicID)
		if found == nil {
			refused[i] = code
			continue
		}
		t.Topic, t.TopicID = found.Name, found.ID
		known.Topics = append(known.Topics, t)
	}
	s.opts.Groups.CommitOffsets(&known, func(r *kmsg.OffsetCommitResponse) {
		resp := *r
		resp.Topics = nil
		for i, next := 0, 0; i < len(req.Topics); i++ {
			code, isRefused := refused[i]
			if !isRefused {
				resp.Topics = append(resp.Topics, r.Topics[next])
				resp.Topics[i].TopicID = req.Topics[i].TopicID
				next++
				continue
			}
			t := kmsg.NewOffsetCommitResponseTopic()
			t.Topic, t.TopicID = req.Topics[i].Topic, req.Topics[i].TopicID
			for _, p := range req.Topics[i].Partitions {
				row := kmsg.NewOffsetCommitResponseTopicPartition()
				row.Partition, row.ErrorCode = p.Partition, int16(code)
				t.Partitions = append(t.Partitions, row)
			}
			resp.Topics = append(resp.Topics, t)
		}
		cl.reply(&resp)
	})
}

func topicOf(image *meta.Image, byID bool, name string, id record.TopicID) (*meta.Topic, wire.Code) {
	if byID {
		return image.TopicByID(id), wire.UnknownTopicID
	}
	return image.Topic(name), wire.UnknownTopicOrPartition
}
