package broker

import (
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/milldam/milldam/core/wire"
)

// TxnOffsetCommit, versions 0 to 5. 3 is flexible and has the group's metadata (KIP-447), 5 takes the partition of the offsets topic into the transaction by itself
// (KIP-890). What it means stands in coordinator; topics that do not exist are refused here.
func (s *Server) txnOffsetCommit(cl *call, req *kmsg.TxnOffsetCommitRequest) {
	image := s.opts.Controller.Image()
	known := *req
	known.Topics = nil
	for _, t := range req.Topics {
		if image.Topic(t.Topic) != nil {
			known.Topics = append(known.Topics, t)
		}
	}
	answer := func(r *kmsg.TxnOffsetCommitResponse) {
		resp := kmsg.NewPtrTxnOffsetCommitResponse()
		next := 0
		for _, t := range req.Topics {
			if next < len(known.Topics) && known.Topics[next].Topic == t.Topic {
				resp.Topics = append(resp.Topics, r.Topics[next])
				next++
				continue
			}
			out := kmsg.NewTxnOffsetCommitResponseTopic()
			out.Topic = t.Topic
			for _, p := range t.Partitions {
				row := kmsg.NewTxnOffsetCommitResponseTopicPartition()
				row.Partition, row.ErrorCode = p.Partition, int16(wire.UnknownTopicOrPartition)
				out.Partitions = append(out.Partitions, row)
			}
			resp.Topics = append(resp.Topics, out)
		}
		cl.reply(resp)
	}
	if len(known.Topics) == 0 { // nothing that the transaction would have to do with
		answer(kmsg.NewPtrTxnOffsetCommitResponse())
		return
	}
	s.opts.Groups.CommitTxnOffsets(&known, answer)
}
