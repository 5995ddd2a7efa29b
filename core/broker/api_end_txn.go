package broker

import (
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/milldam/milldam/core/coordinator"
	"github.com/milldam/milldam/core/wire"
)

const (
	// endTxnFenced is the version of EndTxn from which clients know PRODUCER_FENCED.
	endTxnFenced = 2
	// endTxnEpochs is the version of clients that take a new epoch from the answer.
	endTxnEpochs = 5
)

// EndTxn, versions 0 to 5. 2 knows PRODUCER_FENCED (KIP-588), 3 is flexible, 4 knows TRANSACTION_ABORTABLE, 5 answers with the producer's next epoch, each
// transaction having its own (KIP-890).
func (s *Server) endTxn(cl *call, req *kmsg.EndTxnRequest) {
	version := int16(0)
	if cl.header.Version >= endTxnEpochs {
		version = 2
	}
	p := producerOf(req.TransactionalID, req.ProducerID, req.ProducerEpoch)
	s.opts.Transactions.End(p, req.Commit, version, func(code wire.Code, next coordinator.Txn) {
		resp := kmsg.NewPtrEndTxnResponse()
		resp.ErrorCode = int16(fencedCode(code, cl.header.Version >= endTxnFenced))
		resp.ProducerID, resp.ProducerEpoch = int64(next.ID), int16(next.Epoch)
		cl.reply(resp)
	})
}
