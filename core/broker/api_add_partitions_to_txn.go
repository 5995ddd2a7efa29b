package broker

import (
	"sync/atomic"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/milldam/milldam/core/coordinator"
	"github.com/milldam/milldam/core/wire"
)

const (
	// addPartitionsFenced is the version of AddPartitionsToTxn from which clients know PRODUCER_FENCED.
	addPartitionsFenced = 2
	// addPartitionsBatched is the version that brokers send for several transactions.
	addPartitionsBatched = 4
)

// AddPartitionsToTxn, versions 0 to 5. 2 knows PRODUCER_FENCED (KIP-588), 3 is flexible, 4 is about several transactions, may only ask whether partitions were
// added, and comes from brokers (KIP-890), 5 knows TRANSACTION_ABORTABLE.
func (s *Server) addPartitionsToTxn(cl *call, req *kmsg.AddPartitionsToTxnRequest) {
	resp := kmsg.NewPtrAddPartitionsToTxnResponse()
	if cl.header.Version < addPartitionsBatched {
		txn := kmsg.NewAddPartitionsToTxnRequestTransaction()
		txn.TransactionalID, txn.ProducerID, txn.ProducerEpoch = req.TransactionalID, req.ProducerID, req.ProducerEpoch
		for _, t := range req.Topics {
			x := kmsg.NewAddPartitionsToTxnRequestTransactionTopic()
			x.Topic, x.Partitions = t.Topic, t.Partitions
			txn.Topics = append(txn.Topics, x)
		}
		s.addToTransaction(&txn, 0, func(codes []wire.Code) {
			for _, t := range resultsOf(&txn, codes, cl.header.Version >= addPartitionsFenced) {
				x := kmsg.NewAddPartitionsToTxnResponseTopic()
				x.Topic = t.Topic
				for _, p := range t.Partitions {
					x.Partitions = append(x.Partitions, kmsg.AddPartitionsToTxnResponseTopicPartition{Partition: p.Partition, ErrorCode: p.ErrorCode})
				}
				resp.Topics = append(resp.Topics, x)
			}
			cl.reply(resp)
		})
		return
	}
	resp.Transactions = make([]kmsg.AddPartitionsToTxnResponseTransaction, len(req.Transactions))
	var left atomic.Int64
	left.Store(int64(len(req.Transactions)) + 1)
	done := func() {
		if left.Add(-1) == 0 {
			cl.reply(resp)
		}
	}
	for i := range req.Transactions {
		txn, out := &req.Transactions[i], &resp.Transactions[i]
		out.Default()
		out.TransactionalID = txn.TransactionalID
		s.addToTransaction(txn, 2, func(codes []wire.Code) {
			out.Topics = resultsOf(txn, codes, true)
			done()
		})
	}
	done()
}

// addToTransaction adds the partitions of one transaction, or only asks whether they were added; done gets a code for each, in their order. version is the transaction
// version that the client speaks. Where one partition is not known none is added.
func (s *Server) addToTransaction(txn *kmsg.AddPartitionsToTxnRequestTransaction, version int16, done func([]wire.Code)) {
	var list []coordinator.TopicPartition
	var codes []wire.Code
	unknown := false
	image := s.opts.Controller.Image()
	for _, t := range txn.Topics {
		topic := image.Topic(t.Topic)
		for _, p := range t.Partitions {
			code := wire.OperationNotAttempted
			if topic == nil || p < 0 || int(p) >= len(topic.Partitions) {
				code, unknown = wire.UnknownTopicOrPartition, true
			}
			list, codes = append(list, coordinator.TopicPartition{Topic: t.Topic, Partition: p}), append(codes, code)
		}
	}
	p := producerOf(txn.TransactionalID, txn.ProducerID, txn.ProducerEpoch)
	switch {
	case unknown:
		done(codes)
	case txn.VerifyOnly:
		done(s.opts.Transactions.Verify(p, list))
	default:
		s.opts.Transactions.AddPartitions(p, list, version, func(code wire.Code) {
			for i := range codes {
				codes[i] = code
			}
			done(codes)
		})
	}
}

// resultsOf puts codes, which are in the order of the request's partitions, into the shape of the response.
func resultsOf(txn *kmsg.AddPartitionsToTxnRequestTransaction, codes []wire.Code, fenced bool) []kmsg.AddPartitionsToTxnResponseTransactionTopic {
	var out []kmsg.AddPartitionsToTxnResponseTransactionTopic
	for _, t := range txn.Topics {
		x := kmsg.NewAddPartitionsToTxnResponseTransactionTopic()
		x.Topic = t.Topic
		for i, p := range t.Partitions {
			row := kmsg.NewAddPartitionsToTxnResponseTransactionTopicPartition()
			row.Partition, row.ErrorCode = p, int16(fencedCode(codes[i], fenced))
			x.Partitions = append(x.Partitions, row)
		}
		codes = codes[len(t.Partitions):]
		out = append(out, x)
	}
	return out
}
