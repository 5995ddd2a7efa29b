package broker

import (
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/milldam/milldam/core/coordinator"
	"github.com/milldam/milldam/core/record"
	"github.com/milldam/milldam/core/wire"
)

// initProducerIDFenced is the version of InitProducerID from which clients know PRODUCER_FENCED.
const initProducerIDFenced = 4

// InitProducerID, versions 0 to 5. 2 is flexible, 3 lets a producer raise its own epoch (KIP-360), 4 knows PRODUCER_FENCED (KIP-588), 5 TRANSACTION_ABORTABLE
// (KIP-890). Without a transactional id it is a new idempotent producer.
func (s *Server) initProducerID(cl *call, req *kmsg.InitProducerIDRequest) {
	resp := kmsg.NewPtrInitProducerIDResponse()
	resp.ProducerID, resp.ProducerEpoch = -1, -1
	if (record.ProducerID(req.ProducerID) == record.NoProducer) != (record.ProducerEpoch(req.ProducerEpoch) == record.NoEpoch) {
		resp.ErrorCode = int16(wire.InvalidRequest)
		cl.reply(resp)
		return
	}
	if req.TransactionalID == nil {
		if id, err := s.opts.ProducerIDs.Take(s.ctx); err != nil {
			resp.ErrorCode = int16(wire.CoordinatorNotAvailable)
			s.opts.Logger.Error("no producer id could be reserved", "error", err)
		} else {
			resp.ProducerID, resp.ProducerEpoch = int64(id), 0
		}
		cl.reply(resp)
		return
	}
	p := producerOf(*req.TransactionalID, req.ProducerID, req.ProducerEpoch)
	s.opts.Transactions.InitProducerID(p, req.TransactionTimeoutMillis, func(code wire.Code, p coordinator.Txn) {
		resp.ErrorCode = int16(fencedCode(code, cl.header.Version >= initProducerIDFenced))
		resp.ProducerID, resp.ProducerEpoch = int64(p.ID), int16(p.Epoch)
		cl.reply(resp)
	})
}

// producerOf is who asks about a transaction.
func producerOf(id string, producer int64, epoch int16) coordinator.Txn {
	return coordinator.Txn{TransactionalID: id, ID: record.ProducerID(producer), Epoch: record.ProducerEpoch(epoch)}
}

// fencedCode is a code for a client that knows PRODUCER_FENCED, or only what stood for it before.
func fencedCode(code wire.Code, known bool) wire.Code {
	if code == wire.ProducerFenced && !known {
		return wire.InvalidProducerEpoch
	}
	return code
}
