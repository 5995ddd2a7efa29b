package broker

import (
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/milldam/milldam/core/wire"
)

// TxnOffsetCommit, versions 0 to 5. 3 is flexible and has the group's metadata (KIP-447), 5 takes the partition of the offsets topic into the transaction by itself
// (KIP-890). What it means stands in coordinator, which sees the partitions that there are.
func (s *Server) txnOffsetCommit(cl *call, req *kmsg.TxnOffsetCommitRequest) {
	image := s.opts.Controller.Image()
	known := *req
	known.Topics = nil
	var rows []*kmsg.TxnOffsetCommitResponseTopicPartition // of the known partitions
	resp := kmsg.NewPtrTxnOffsetCommitResponse()
	resp.Topics = make([]kmsg.TxnOffsetCommitResponseTopic, len(req.Topics))
	for i, t := range req.Topics {
		found := image.Topic(t.Topic)
		out, asked := &resp.Topics[i], t.Partitions
		out.Default()
		out.Topic = t.Topic
		out.Partitions = make([]kmsg.TxnOffsetCommitResponseTopicPartition, len(asked))
		t.Partitions = nil
		for j, p := range asked {
			row := &out.Partitions[j]
			row.Default()
			row.Partition = p.Partition
			if found == nil || !found.Has(p.Partition) {
				row.ErrorCode = int16(wire.UnknownTopicOrPartition)
				continue
			}
			t.Partitions, rows = append(t.Partitions, p), append(rows, row)
		}
		if len(t.Partitions) > 0 {
			known.Topics = append(known.Topics, t)
		}
	}
	if len(rows) == 0 { // nothing that the transaction would have to do with
		cl.reply(resp)
		return
	}
	s.opts.Groups.CommitTxnOffsets(&known, func(r *kmsg.TxnOffsetCommitResponse) {
		for _, t := range r.Topics {
			for _, p := range t.Partitions {
				rows[0].ErrorCode = p.ErrorCode
				rows = rows[1:]
			}
		}
		cl.reply(resp)
	})
}
