package broker

import (
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/milldam/milldam/core/meta"
	"github.com/milldam/milldam/core/record"
	"github.com/milldam/milldam/core/wire"
)

const offsetsTopicIDs = 10 // the version of OffsetCommit and OffsetFetch that names topics by id (KIP-848)

// OffsetCommit, versions 2 to 10. 7 has static members, 8 is flexible, 10 names topics by id. The coordinator sees the partitions that there are.
func (s *Server) offsetCommit(cl *call, req *kmsg.OffsetCommitRequest) {
	image := s.opts.Controller.Image()
	known := *req
	known.Topics = nil
	var rows []*kmsg.OffsetCommitResponseTopicPartition // of the known partitions
	resp := kmsg.NewPtrOffsetCommitResponse()
	resp.Topics = make([]kmsg.OffsetCommitResponseTopic, len(req.Topics))
	for i, t := range req.Topics {
		found, code := topicOf(image, cl.header.Version >= offsetsTopicIDs, t.Topic, t.TopicID)
		out, asked := &resp.Topics[i], t.Partitions
		out.Default()
		out.Topic, out.TopicID = t.Topic, t.TopicID
		out.Partitions = make([]kmsg.OffsetCommitResponseTopicPartition, len(asked))
		t.Partitions = nil
		for j, p := range asked {
			row := &out.Partitions[j]
			row.Default()
			row.Partition = p.Partition
			switch {
			case found == nil:
				row.ErrorCode = int16(code)
			case !found.Has(p.Partition):
				row.ErrorCode = int16(wire.UnknownTopicOrPartition)
			default:
				t.Partitions, rows = append(t.Partitions, p), append(rows, row)
			}
		}
		if len(t.Partitions) > 0 {
			t.Topic, t.TopicID = found.Name, found.ID
			known.Topics = append(known.Topics, t)
		}
	}
	if len(rows) == 0 {
		cl.reply(resp)
		return
	}
	s.opts.Groups.CommitOffsets(&known, func(r *kmsg.OffsetCommitResponse) {
		for _, t := range r.Topics {
			for _, p := range t.Partitions {
				rows[0].ErrorCode = p.ErrorCode
				rows = rows[1:]
			}
		}
		cl.reply(resp)
	})
}

// topicOf finds a topic by whichever of name and id the version has; code is what to answer where there is none.
func topicOf(image *meta.Image, byID bool, name string, id record.TopicID) (t *meta.Topic, code wire.Code) {
	if byID {
		return image.TopicByID(id), wire.UnknownTopicID
	}
	return image.Topic(name), wire.UnknownTopicOrPartition
}
