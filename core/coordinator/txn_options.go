package coordinator

import (
	"context"
	"log/slog"
	"time"

	"github.com/milldam/milldam/core/record"
)

// TxnLog is a partition of __transaction_state.
type TxnLog interface {
	// Append appends a batch and calls done, from any goroutine, once it is committed. With an error done is not called.
	Append(batch []byte, done func(error)) (base record.Offset, err error)
	// Replay calls fn with every batch from the log start to the log end.
	Replay(ctx context.Context, fn func(record.Batch) error) error
	// Epoch is the partition's leader epoch, by which markers of an older coordinator are told from those of this one.
	Epoch() record.LeaderEpoch
}

// TxnOptions configure NewTransactions.
type TxnOptions struct {
	Partitions int32 // of __transaction_state; default 50
	// Log opens the log of a partition, and makes the topic when it is missing.
	Log func(ctx context.Context, partition int32) (TxnLog, error)
	// WriteMarker tells a partition the end of a transaction. It calls done, once, from any goroutine, when the marker is committed, or the partition is gone or
	// knows a newer epoch; with an error the marker is written again later. It must not block.
	WriteMarker func(p TopicPartition, m record.Marker, version int16, done func(error))
	// ProducerID returns an id that nobody has. It may block.
	ProducerID func(ctx context.Context) (record.ProducerID, error)
	// Level is the finalised transaction.version; default 2.
	Level  func() int16
	Logger *slog.Logger

	MaxTimeout   time.Duration // of a transaction; default 15 min, as transaction.max.timeout.ms
	IDExpiration time.Duration // of ids without a transaction; default 7 days, as transactional.id.expiration.ms
	AbortEvery   time.Duration // how often transactions are looked at that take too long; default 10 s, as Kafka
	ExpireEvery  time.Duration // how often ids are looked at that nobody uses; default 1 h, as Kafka
	AddWait      time.Duration // how long an append waits for a transition on its way; default 100 ms, as add.partitions.to.txn.retry.backoff.max.ms
	MaxMarkers   int           // on their way at a time, the others wait; default 10,000
	RetryPause   time.Duration // before what could not be written is written again; default 1 s
}

func (o TxnOptions) withDefaults() TxnOptions {
	if o.Partitions <= 0 {
		o.Partitions = 50
	}
	if o.Level == nil {
		o.Level = func() int16 { return txnVersion2 }
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	for _, d := range []struct {
		value *time.Duration
		or    time.Duration
	}{{&o.MaxTimeout, 15 * time.Minute}, {&o.IDExpiration, 7 * 24 * time.Hour}, {&o.AbortEvery, 10 * time.Second}, {&o.ExpireEvery, time.Hour},
		{&o.AddWait, 100 * time.Millisecond}, {&o.RetryPause, time.Second}} {
		if *d.value <= 0 {
			*d.value = d.or
		}
	}
	if o.MaxMarkers <= 0 {
		o.MaxMarkers = 10_000
	}
	return o
}
