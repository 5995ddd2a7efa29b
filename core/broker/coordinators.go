package broker

import (
	"context"
	"errors"
	"log/slog"

	"github.com/milldam/milldam/core/coordinator"
	"github.com/milldam/milldam/core/meta"
	"github.com/milldam/milldam/core/replica"
	"github.com/milldam/milldam/core/wire"
)

// Coordinators are those of one node. Each needs the other: groups ask whether a transaction has the partition of their offsets, and are told its end.
type Coordinators struct {
	Groups       *coordinator.Groups
	Transactions *coordinator.Transactions
	ProducerIDs  *coordinator.ProducerIDs
}

// NewCoordinators returns the coordinators with their options, which GroupsOptions and TxnOptions make. Load brings back what an earlier life left.
func NewCoordinators(c *meta.Controller, m *replica.Manager, g coordinator.Options, t coordinator.TxnOptions) Coordinators {
	var x Coordinators
	g.VerifyTxn = func(txn coordinator.Txn, partition int32, version int16, then func(wire.Code)) {
		verifyOffsets(x.Transactions, txn, partition, version, then)
	}
	x.Groups = coordinator.New(g)
	x.ProducerIDs = coordinator.NewProducerIDs(c.AllocateProducerIDs)
	t.ProducerID = x.ProducerIDs.Take
	t.WriteMarker = markerWriter(m, x.Groups, t.Logger)
	x.Transactions = coordinator.NewTransactions(t)
	return x
}

// Load replays the topics of the coordinators. Groups come first: transactions that are to be completed have offsets there.
func (x Coordinators) Load(ctx context.Context, image *meta.Image) {
	if HasOffsetsTopic(image) {
		x.Groups.Load(ctx)
	}
	if HasTxnTopic(image) {
		x.Transactions.Load(ctx)
	}
}

// Close closes both.
func (x Coordinators) Close() error { return errors.Join(x.Transactions.Close(), x.Groups.Close()) }

// TxnOptions are the options of the transaction coordinator as the broker's configuration has them.
func TxnOptions(c *meta.Controller, m *replica.Manager, log *slog.Logger) coordinator.TxnOptions {
	image := c.Image()
	return coordinator.TxnOptions{
		Logger:       log,
		Partitions:   partitionsOf(c, image, txnTopic, "transaction.state.log.num.partitions"),
		MaxTimeout:   brokerMillis(c, image, "transaction.max.timeout.ms"),
		IDExpiration: brokerMillis(c, image, "transactional.id.expiration.ms"),
		AbortEvery:   brokerMillis(c, image, "transaction.abort.timed.out.transaction.cleanup.interval.ms"),
		ExpireEvery:  brokerMillis(c, image, "transaction.remove.expired.transaction.cleanup.interval.ms"),
		AddWait:      brokerMillis(c, image, "add.partitions.to.txn.retry.backoff.max.ms"),
		Level:        func() int16 { return c.Image().FeatureLevel(meta.TransactionVersion) },
		Log: func(ctx context.Context, p int32) (coordinator.TxnLog, error) {
			return TxnLog(ctx, c, m, p)
		},
	}
}

// partitionsOf is how many partitions an internal topic has, or is to be made with as a key of the configuration says: what it keeps of a name is where it was put
// when it was made.
func partitionsOf(c *meta.Controller, i *meta.Image, topic, key string) int32 {
	if t := i.Topic(topic); t != nil {
		return int32(len(t.Partitions))
	}
	return int32(c.BrokerInt(i, key))
}

// Versions of TxnOffsetCommit in which something changes for transactions.
const (
	txnOffsetsAbortable = 4 // clients know TRANSACTION_ABORTABLE
	txnOffsetsAdds      = 5 // the broker adds the partition to the transaction
)

// verifyOffsets asks whether a transaction has a partition of the offsets topic, and from version 5 on puts it there.
func verifyOffsets(t *coordinator.Transactions, txn coordinator.Txn, partition int32, version int16, then func(wire.Code)) {
	list := []coordinator.TopicPartition{{Topic: offsetsTopic, Partition: partition}}
	if version >= txnOffsetsAdds {
		t.Enlist(txn, list, func(code wire.Code) { then(offsetsTxnCode(code, version)) })
		return
	}
	then(offsetsTxnCode(t.Verify(txn, list)[0], version))
}

// offsetsTxnCode is what a code of the transaction coordinator becomes for who commits offsets.
func offsetsTxnCode(code wire.Code, version int16) wire.Code {
	switch {
	case code == wire.ProducerFenced:
		return wire.InvalidProducerEpoch
	case code == wire.TransactionAbortable && version < txnOffsetsAbortable:
		return wire.InvalidTxnState
	case code == wire.ConcurrentTransactions && version < txnOffsetsAdds:
		return wire.CoordinatorNotAvailable // which such clients take for a reason to try again
	}
	return code
}
