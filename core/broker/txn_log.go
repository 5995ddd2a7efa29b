package broker

import (
	"context"
	"errors"
	"log/slog"

	"github.com/milldam/milldam/core/coordinator"
	"github.com/milldam/milldam/core/meta"
	"github.com/milldam/milldam/core/record"
	"github.com/milldam/milldam/core/replica"
	"github.com/milldam/milldam/core/storage"
)

// txnTopic is where transactions are kept.
const txnTopic = "__transaction_state"

// HasTxnTopic tells whether there are transactions to load.
func HasTxnTopic(i *meta.Image) bool { return i.Topic(txnTopic) != nil }

// EnsureTxnTopic returns the topic that keeps transactions, and makes it when it is missing.
func EnsureTxnTopic(ctx context.Context, c *meta.Controller) (*meta.Topic, error) {
	return ensureInternalTopic(ctx, c, txnTopic, "transaction.state.log", map[string]string{"compression.type": "uncompressed", "unclean.leader.election.enable": "false"})
}

// TxnLog returns the log of one partition of the transaction topic, which it makes when it is missing.
func TxnLog(ctx context.Context, c *meta.Controller, m *replica.Manager, partition int32) (coordinator.TxnLog, error) {
	if _, err := EnsureTxnTopic(ctx, c); err != nil {
		return nil, err
	}
	p, err := m.Partition(txnTopic, partition)
	if err != nil {
		return nil, err
	}
	return txnLog{offsetsLog{p}}, nil
}

type txnLog struct{ offsetsLog }

// Epoch implements coordinator.TxnLog.
func (l txnLog) Epoch() record.LeaderEpoch { return l.partition.Epoch() }

// markerWriter is how the transaction coordinator tells partitions the end of a transaction: those of the offsets topic through the group coordinator, which
// has the offsets that wait for it.
func markerWriter(m *replica.Manager, g *coordinator.Groups, log *slog.Logger) func(coordinator.TopicPartition, record.Marker, int16, func(error)) {
	return func(p coordinator.TopicPartition, marker record.Marker, version int16, done func(error)) {
		appendMarker(m, g, p, marker, version, func(err error) {
			switch {
			case errors.Is(err, replica.ErrUnknownPartition), errors.Is(err, storage.ErrRemoved): // nobody is left to be told
				err = nil
			case errors.Is(err, storage.ErrProducerFenced), errors.Is(err, storage.ErrCoordinatorFenced):
				log.Warn("a partition refuses the end of a transaction that it has left behind", "topic", p.Topic, "partition", p.Partition, "producer", marker.ProducerID, "error", err)
				err = nil
			}
			done(err)
		})
	}
}

// appendMarker appends a marker and calls done once it is committed, or could not be written.
func appendMarker(m *replica.Manager, g *coordinator.Groups, p coordinator.TopicPartition, marker record.Marker, version int16, done func(error)) {
	part, err := m.Partition(p.Topic, p.Partition)
	switch {
	case err != nil:
		done(err)
		return
	case p.Topic == offsetsTopic:
		g.WriteMarker(p.Partition, marker, int8(version), done)
		return
	}
	pending := storage.NewPending(done)
	if _, err := part.AppendMarker(marker, int8(version), pending); err != nil {
		done(err) // pending is never armed
		return
	}
	pending.Arm()
}
