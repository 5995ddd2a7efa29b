package broker

import (
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/milldam/milldam/core/record"
	"github.com/milldam/milldam/core/replica"
)

// OffsetForLeaderEpoch, versions 2 to 4 (KIP-320).
func (s *Server) offsetForLeaderEpoch(cl *call, req *kmsg.OffsetForLeaderEpochRequest) {
	resp := kmsg.NewPtrOffsetForLeaderEpochResponse()
	for _, t := range req.Topics {
		out := kmsg.NewOffsetForLeaderEpochResponseTopic()
		out.Topic = t.Topic
		for _, in := range t.Partitions {
			p := kmsg.NewOffsetForLeaderEpochResponseTopicPartition()
			p.Partition, p.LeaderEpoch, p.EndOffset = in.Partition, -1, -1
			part, err := s.opts.Replicas.Partition(t.Topic, in.Partition)
			if err == nil {
				err = part.CheckEpoch(record.LeaderEpoch(in.CurrentLeaderEpoch))
			}
			if err == nil {
				err = part.Log.Err() // where a log that does not serve ends, a consumer would take for truncation
			}
			if p.ErrorCode = int16(s.code(err)); err == nil {
				epoch, end := epochEnd(part, record.LeaderEpoch(in.LeaderEpoch))
				p.LeaderEpoch, p.EndOffset = int32(epoch), int64(end)
			}
			out.Partitions = append(out.Partitions, p)
		}
		resp.Topics = append(resp.Topics, out)
	}
	cl.reply(resp)
}

// epochEnd tells where an epoch ends; the current one ends at the log's end also when nothing was appended in it, and of later ones nothing is known.
func epochEnd(p *replica.Partition, epoch record.LeaderEpoch) (record.LeaderEpoch, record.Offset) {
	switch now := p.Epoch(); {
	case epoch == now:
		return epoch, p.Log.End()
	case epoch > now:
		return -1, -1
	}
	found, end := p.Log.EpochEnd(epoch)
	if found == -1 && epoch != -1 { // the epoch of now is the first, and nothing was appended in it
		return epoch, p.Log.Start()
	}
	return found, end
}
