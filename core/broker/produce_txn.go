package broker

import (
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/milldam/milldam/core/coordinator"
	"github.com/milldam/milldam/core/record"
	"github.com/milldam/milldam/core/storage"
	"github.com/milldam/milldam/core/wire"
)

// Versions of Produce in which something changes for transactions.
const (
	produceAbortable = 11 // clients know TRANSACTION_ABORTABLE
	produceAdds      = 12 // the broker adds partitions to the transaction
)

// txnGuard is what the transaction coordinator says of a partition that a transactional batch came for. The zero value is of batches that it has no say in.
type txnGuard struct {
	verification *storage.Verification
	code         wire.Code
	message      *string
}

// guard asks the transaction coordinator about the transactional batches of a request: those that are the first of their transaction in their partition are
// appended only when the partition belongs to it (KIP-890), which from version 12 on is seen to here. Meanwhile the connection's next requests wait, so that
// batches are appended in the order they came in. A code is the answer for all partitions.
func (s *Server) guard(cl *call, req *kmsg.ProduceRequest) (map[*kmsg.ProduceRequestTopicPartition]txnGuard, wire.Code) {
	var guards map[*kmsg.ProduceRequestTopicPartition]txnGuard
	var list []coordinator.TopicPartition
	var asked []*kmsg.ProduceRequestTopicPartition
	who := coordinator.Txn{ID: record.NoProducer}
	for i := range req.Topics {
		for j := range req.Topics[i].Partitions {
			in := &req.Topics[i].Partitions[j]
			b, _, err := record.Next(in.Records)
			if err != nil || !b.IsTransactional() || b.ProducerID() == record.NoProducer {
				continue // what is wrong with it Append says
			}
			if req.TransactionID == nil {
				return nil, wire.TxnIDAuthorizationFailed
			}
			p := coordinator.Txn{TransactionalID: *req.TransactionID, ID: b.ProducerID(), Epoch: b.ProducerEpoch()}
			if who.ID != record.NoProducer && who != p {
				return nil, wire.InvalidProducerIDMapping
			}
			who = p
			part, err := s.partitionOf(cl.header.Version >= produceTopicIDs, req.Topics[i].Topic, req.Topics[i].TopicID, in.Partition)
			if err != nil {
				continue
			}
			v, needed := part.VerifyBatch(b, cl.header.Version >= produceAdds)
			if !needed {
				continue
			}
			if guards == nil {
				guards = map[*kmsg.ProduceRequestTopicPartition]txnGuard{}
			}
			guards[in] = txnGuard{verification: v}
			list, asked = append(list, coordinator.TopicPartition{Topic: part.Topic.Name, Partition: in.Partition}), append(asked, in)
		}
	}
	if len(list) == 0 {
		return guards, wire.None
	}
	for i, code := range s.askTransaction(cl, who, list) {
		if code != wire.None {
			g := txnGuard{}
			g.code, g.message = produceTxnCode(code, cl.header.Version)
			guards[asked[i]] = g
		}
	}
	return guards, wire.None
}

// askTransaction adds partitions to a transaction, or asks whether they were added, as the version of the request has it. It returns a code for each.
func (s *Server) askTransaction(cl *call, who coordinator.Txn, list []coordinator.TopicPartition) []wire.Code {
	if cl.header.Version < produceAdds {
		if s.opts.Controller.BrokerValue(s.opts.Controller.Image(), "transaction.partition.verification.enable") == "false" {
			return nil
		}
		return s.opts.Transactions.Verify(who, list)
	}
	answer := make(chan wire.Code, 1)
	s.opts.Transactions.Enlist(who, list, func(code wire.Code) { answer <- code })
	codes := make([]wire.Code, len(list))
	code := cl.await(answer)
	for i := range codes {
		codes[i] = code
	}
	return codes
}

// await waits, on the connection's reader, for an answer that the request needs before the next one is handled. What was answered before goes out first.
func (cl *call) await(answer <-chan wire.Code) wire.Code {
	select {
	case code := <-answer:
		return code
	default:
	}
	if cl.conn.flush() != nil {
		cl.conn.close() // the next read ends it
	}
	select {
	case code := <-answer:
		return code
	case <-cl.conn.server.ctx.Done():
		return wire.CoordinatorNotAvailable
	}
}

// produceTxnCode is what a code of the coordinator becomes for a producer: one that its version knows, and handles as is meant.
func produceTxnCode(code wire.Code, version int16) (wire.Code, *string) {
	text := "Unable to verify the partition has been added to the transaction."
	switch code {
	case wire.ProducerFenced:
		return wire.InvalidProducerEpoch, nil
	case wire.TransactionAbortable:
		if version >= produceAbortable {
			return code, nil
		}
		text = "Partition was not added to the transaction"
		return wire.InvalidTxnState, &text
	case wire.ConcurrentTransactions:
		if version >= produceAdds {
			return code, nil
		}
		return wire.NotEnoughReplicas, &text
	case wire.CoordinatorNotAvailable, wire.CoordinatorLoading, wire.NotCoordinator:
		return wire.NotEnoughReplicas, &text
	}
	return code, nil
}
