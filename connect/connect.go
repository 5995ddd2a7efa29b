package connect

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"
)

// Record is one record on its way through connectors and steps. Key and Value are bytes as the topic holds them; a nil Value is
// a tombstone. The byte slices belong to the batch: keep them only as long as the batch, or copy.
type Record struct {
	Topic     string
	Partition int32
	Offset    int64 // of the source topic; in a source's batch it is unset
	Key       []byte
	Value     []byte
	Headers   []Header
	Timestamp time.Time
}

// Header is one record header.
type Header struct {
	Key   string
	Value []byte
}

// TopicPartition names an ordered input.
type TopicPartition struct {
	Topic     string
	Partition int32
}

// SinkBatch is a run of records of one topic partition, in offset order. Records that steps dropped are missing from it; Next is the
// offset after the last record consumed, dropped ones included, so that progress passes over them.
type SinkBatch struct {
	TopicPartition
	Records []Record
	Next    int64
}

// Sink writes records of topics to another system. One goroutine calls all methods but Close, which may come from any, once.
// A Sink neither retries, nor counts, nor touches Kafka: the worker does.
type Sink interface {
	// Open connects, and checks what can be checked (credentials, existence). Its errors are shown to the user. task.Ack may be called from now on.
	Open(ctx context.Context, task SinkTask) error
	// Write takes over a batch. A sink that is durable at once has written it when it returns and calls task.Ack(b.TopicPartition, b.Next);
	// a buffering one may keep the records (it then owns them: the worker does not reuse batches) and acks later. A *BatchError tells
	// record by record what failed: the worker calls again with those that may still be written, perhaps none, and the same Next, and only
	// that call may ack it. Any other error fails the whole batch and, unless Permanent, is tried again with the same batch.
	Write(ctx context.Context, b SinkBatch) error
	// Flush makes durable what the reason asks for and acks it. The worker calls it on a timer (FlushTick, at least once a second), when the
	// byte budget is passed (FlushPressure: give back memory, largest first), and before partitions go away or the task ends (FlushAll).
	Flush(ctx context.Context, reason FlushReason) error
	// Buffered is the memory the sink holds, in bytes.
	Buffered() int64
	// Revoke forgets the buffered records of partitions that now belong to another task. FlushAll came before it.
	Revoke(parts []TopicPartition)
	// Close releases everything. Records not acked are read again by the next task.
	Close() error
}

// FlushReason says why Flush is called.
type FlushReason int

const (
	FlushTick     FlushReason = iota // time passed: close what is due by age
	FlushPressure                    // memory is short: close the largest
	FlushAll                         // close everything
)

// SinkTask is what the worker gives a sink.
type SinkTask struct {
	Pipeline string
	Logger   *slog.Logger
	// Ack reports that everything of p below next is durable. It must not go back. It does not block.
	Ack func(p TopicPartition, next int64)
	// TopicID returns the topic's id, which changes when a topic is made anew under the same name.
	TopicID func(ctx context.Context, topic string) ([16]byte, error)
}

// Source reads another system into records. One goroutine calls all methods but Close.
type Source interface {
	// Open connects and continues behind the stored positions: source partition name to the Position of the last delivered batch of it.
	Open(ctx context.Context, task SourceTask) error
	// Read returns the next batch, waiting for one. io.EOF ends a finite source for good. An error that is not Permanent is tried again.
	Read(ctx context.Context) (SourceBatch, error)
	// Close releases everything.
	Close() error
}

// SourceTask is what the worker gives a source.
type SourceTask struct {
	Pipeline  string
	Logger    *slog.Logger
	Positions map[string][]byte
}

// SourceBatch is a run of records of one source partition (a file, a table), with the position behind it. The position is stored after all
// records are acknowledged by the broker. The worker owns the records: a source does not use their memory again. Done and Total, when
// Total is not 0, are the source's progress in its own unit.
type SourceBatch struct {
	Partition   string
	Position    []byte
	Records     []Record
	Done, Total int64
}

// Outcome classifies the failure of one record.
type Outcome int

const (
	Retry  Outcome = iota + 1 // transient: try again
	Poison                    // this record can never be written: dead-letter it
	Block                     // the target refuses for a reason its owner must mend (401, 403, 404): stop and say so, drop nothing
)

// RecordError is the failure of record Index of the batch.
type RecordError struct {
	Index   int
	Outcome Outcome
	Err     error
}

// BatchError lists the records of a batch that failed; all others are written.
type BatchError struct{ Records []RecordError }

// Error names the first failure and the number of them.
func (e *BatchError) Error() string {
	if len(e.Records) == 0 {
		return "batch failed without a record named"
	}
	return fmt.Sprintf("%d records failed, the first: %v", len(e.Records), e.Records[0].Err)
}

// ErrPermanent marks an error that trying again cannot mend; wrap it with Permanent.
var ErrPermanent = errors.New("permanent")

// Permanent wraps err so that the worker stops the task as BLOCKED and shows err.
func Permanent(err error) error { return fmt.Errorf("%w%w", permanentMark{}, err) }

type permanentMark struct{}

func (permanentMark) Error() string        { return "" }
func (permanentMark) Is(target error) bool { return target == ErrPermanent }
