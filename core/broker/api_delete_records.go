package broker

import (
	"context"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/milldam/milldam/core/meta"
	"github.com/milldam/milldam/core/record"
)

// DeleteRecords, versions 0 to 2. -1 is the high watermark.
func (s *Server) deleteRecords(cl *call, req *kmsg.DeleteRecordsRequest) {
	ctx, cancel := s.within(req.TimeoutMillis)
	defer cancel()
	resp := kmsg.NewPtrDeleteRecordsResponse()
	for _, t := range req.Topics {
		out := kmsg.NewDeleteRecordsResponseTopic()
		out.Topic = t.Topic
		for _, in := range t.Partitions {
			p := kmsg.NewDeleteRecordsResponseTopicPartition()
			p.Partition, p.LowWatermark = in.Partition, -1
			start, err := s.deleteUpTo(ctx, t.Topic, in.Partition, record.Offset(in.Offset))
			if p.ErrorCode = int16(s.code(err)); err == nil {
				p.LowWatermark = int64(start)
			}
			out.Partitions = append(out.Partitions, p)
		}
		resp.Topics = append(resp.Topics, out)
	}
	cl.reply(resp)
}

func (s *Server) deleteUpTo(ctx context.Context, topic string, index int32, offset record.Offset) (record.Offset, error) {
	p, err := s.opts.Replicas.Partition(topic, index)
	if err != nil {
		return 0, err
	}
	if p.Topic.Internal {
		return 0, wrapped{meta.ErrInvalidTopic, "clients do not delete records of the internal topic " + topic}
	}
	if offset == -1 {
		offset = p.HighWatermark()
	}
	if offset < 0 {
		return 0, wrapped{errOutOfRange, "a negative offset"}
	}
	return p.Log.DeleteRecords(ctx, offset)
}
