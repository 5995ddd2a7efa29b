package broker

import (
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/milldam/milldam/core/coordinator"
	"github.com/milldam/milldam/core/wire"
)

// addOffsetsFenced is the version of AddOffsetsToTxn from which clients know PRODUCER_FENCED.
const addOffsetsFenced = 2

// AddOffsetsToTxn, versions 0 to 4. 2 knows PRODUCER_FENCED (KIP-588), 3 is flexible, 4 knows TRANSACTION_ABORTABLE (KIP-890). It makes the partition of the
// offsets topic that a group belongs to part of the transaction.
func (s *Server) addOffsetsToTxn(cl *call, req *kmsg.AddOffsetsToTxnRequest) {
	resp := kmsg.NewPtrAddOffsetsToTxnResponse()
	if _, err := EnsureOffsetsTopic(s.ctx, s.opts.Controller); err != nil {
		resp.ErrorCode = int16(wire.CoordinatorNotAvailable)
		cl.reply(resp)
		return
	}
	list := []coordinator.TopicPartition{{Topic: offsetsTopic, Partition: s.opts.Groups.PartitionFor(req.Group)}}
	p := producerOf(req.TransactionalID, req.ProducerID, req.ProducerEpoch)
	s.opts.Transactions.AddPartitions(p, list, 0, func(code wire.Code) {
		resp.ErrorCode = int16(fencedCode(code, cl.header.Version >= addOffsetsFenced))
		cl.reply(resp)
	})
}
