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

// txnCheck is what a request has to ask the transaction coordinator.
type txnCheck struct {
	who    coordinator.Txn
	guards map[*kmsg.ProduceRequestTopicPartition]txnGuard
	list   []coordinator.TopicPartition
	asked  []*kmsg.ProduceRequestTopicPartition // in the order of list
}

// guard asks the transaction coordinator about the transactional batches of a request: those that are the first of their transaction in their partition are
// appended only when the partition belongs to it (KIP-890), which from version 12 on is seen to here. Meanwhile the connection's next requests wait, so that
// batches are appended in the order they came in. A code is the answer for all partitions.
func (s *Server) guard(cl *call, req *kmsg.ProduceRequest) (map[*kmsg.ProduceRequestTopicPartition]txnGuard, wire.Code) {
	c := txnCheck{who: coordinator.Txn{ID: record.NoProducer}}
	for i := range req.Topics {
		for j := range req.Topics[i].Partitions {
			if code := s.verifyLater(cl, req, &c, &req.Topics[i], &req.Topics[i].Partitions[j]); code != wire.None {
				return nil, code
			}
		}
	}
	if len(c.list) == 0 {
		return nil, wire.None
	}
	for i, code := range s.askTransaction(cl, c.who, c.list) {
		if code != wire.None {
			g := txnGuard{}
			g.code, g.message = produceTxnCode(code, cl.header.Version)
			c.guards[c.asked[i]] = g
		}
	}
	return c.guards, wire.None
}

// verifyLater adds what came for one partition to what has to be asked. What is wrong with a batch, or that there is no such partition, is told when it is appended.
func (s *Server) verifyLater(cl *call, req *kmsg.ProduceRequest, c *txnCheck, t *kmsg.ProduceRequestTopic, in *kmsg.ProduceRequestTopicPartition) wire.Code {
	b, _, err := record.Next(in.Records)
	if err != nil || !b.IsTransactional() || b.ProducerID() == record.NoProducer {
		return wire.None
	}
	if req.TransactionID == nil {
		return wire.TxnIDAuthorizationFailed
	}
	who := coordinator.Txn{TransactionalID: *req.TransactionID, ID: b.ProducerID(), Epoch: b.ProducerEpoch()}
	if c.who.ID != record.NoProducer && c.who != who {
		return wire.InvalidProducerIDMapping
	}
	c.who = who
	p, err := s.partitionOf(cl.header.Version >= produceTopicIDs, t.Topic, t.TopicID, in.Partition)
	if err != nil {
		return wire.None
	}
	if v, needed := p.VerifyBatch(b, cl.header.Version >= produceAdds); needed {
		if c.guards == nil {
			c.guards = map[*kmsg.ProduceRequestTopicPartition]txnGuard{}
		}
		c.guards[in] = txnGuard{verification: v}
		c.list, c.asked = append(c.list, coordinator.TopicPartition{Topic: p.Topic.Name, Partition: in.Partition}), append(c.asked, in)
	}
	return wire.None
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
