package broker

import (
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/milldam/milldam/core/wire"
)

// OffsetDelete, version 0 (KIP-496). Partitions that do not exist are refused here, what is said of the others in coordinator.
func (s *Server) offsetDelete(cl *call, req *kmsg.OffsetDeleteRequest) {
	image := s.opts.Controller.Image()
	known, asked := *req, map[string]map[int32]bool{}
	known.Topics = nil
	for _, t := range req.Topics {
		topic, found := kmsg.NewOffsetDeleteRequestTopic(), image.Topic(t.Topic)
		topic.Topic, asked[t.Topic] = t.Topic, map[int32]bool{}
		for _, p := range t.Partitions {
			if found != nil && p.Partition >= 0 && int(p.Partition) < len(found.Partitions) {
				topic.Partitions = append(topic.Partitions, p)
				asked[t.Topic][p.Partition] = true
			}
		}
		known.Topics = append(known.Topics, topic)
	}
	s.opts.Groups.DeleteOffsets(&known, func(r *kmsg.OffsetDeleteResponse) {
		for i := range r.Topics {
			for _, p := range req.Topics[i].Partitions {
				if asked[r.Topics[i].Topic][p.Partition] {
					continue
				}
				row := kmsg.NewOffsetDeleteResponseTopicPartition()
				row.Partition, row.ErrorCode = p.Partition, int16(wire.UnknownTopicOrPartition)
				r.Topics[i].Partitions = append(r.Topics[i].Partitions, row)
			}
		}
		cl.reply(r)
	})
}
