package broker

import (
	"slices"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/milldam/milldam/core/meta"
	"github.com/milldam/milldam/core/wire"
)

// DescribeTopicPartitions, version 0 (KIP-966): topics in the order of their names, in pages.
func (s *Server) describeTopicPartitions(cl *call, req *kmsg.DescribeTopicPartitionsRequest) {
	image := s.opts.Controller.Image()
	resp := kmsg.NewPtrDescribeTopicPartitionsResponse()
	var names []string
	if len(req.Topics) == 0 {
		for t := range image.Topics() {
			names = append(names, t.Name)
		}
	}
	for _, t := range req.Topics {
		names = append(names, t.Topic)
	}
	slices.Sort(names)
	names = slices.Compact(names)
	from := int32(0)
	if req.Cursor != nil {
		names = slices.DeleteFunc(names, func(n string) bool { return n < req.Cursor.Topic })
		from = req.Cursor.Partition
	}
	left := int(s.opts.Controller.BrokerInt(image, "max.request.partition.size.limit"))
	left = max(min(left, int(req.ResponsePartitionLimit)), 1)
	for i, name := range names {
		if i > 0 || req.Cursor == nil || name != req.Cursor.Topic {
			from = 0
		}
		if left == 0 {
			resp.NextCursor = cursor(name, from)
			break
		}
		out, next := s.describedTopic(image, name, from, left)
		left -= len(out.Partitions)
		resp.Topics = append(resp.Topics, out)
		if next > 0 {
			resp.NextCursor = cursor(name, next)
			break
		}
	}
	cl.reply(resp)
}

func cursor(topic string, partition int32) *kmsg.DescribeTopicPartitionsResponseNextCursor {
	c := kmsg.NewDescribeTopicPartitionsResponseNextCursor()
	c.Topic, c.Partition = topic, partition
	return &c
}

// describedTopic describes partitions of a topic from one on; next is the first that did not fit, 0 when all did.
func (s *Server) describedTopic(image *meta.Image, name string, from int32, limit int) (out kmsg.DescribeTopicPartitionsResponseTopic, next int32) {
	out = kmsg.NewDescribeTopicPartitionsResponseTopic()
	out.Topic, out.AuthorizedOperations = kmsg.StringPtr(name), topicOperations
	t := image.Topic(name)
	if t == nil {
		out.ErrorCode = int16(wire.UnknownTopicOrPartition)
		if meta.CheckTopicName(name) != nil {
			out.ErrorCode = int16(wire.InvalidTopic)
		}
		return out, 0
	}
	out.TopicID, out.IsInternal = t.ID, t.Internal
	for i := int(from); i < len(t.Partitions); i++ {
		if len(out.Partitions) == limit {
			return out, int32(i)
		}
		p := t.Partitions[i]
		row := kmsg.NewDescribeTopicPartitionsResponseTopicPartition()
		row.Partition, row.LeaderID, row.LeaderEpoch, row.Replicas, row.ISR = int32(i), p.Leader, int32(p.LeaderEpoch), p.Replicas, p.ISR
		row.OfflineReplicas = []int32{}
		if s.damaged(t, int32(i)) {
			row.LeaderID, row.OfflineReplicas = noLeader, p.Replicas
		}
		row.EligibleLeaderReplicas, row.LastKnownELR = []int32{}, []int32{} // null is legal, and stops Kafka's tools
		out.Partitions = append(out.Partitions, row)
	}
	return out, 0
}
