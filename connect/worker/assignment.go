package worker

import (
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/milldam/milldam/connect"
)

// assignment is a partition as long as the task has it. A partition that goes and comes back is a new one, so that records
// fetched for the old one are told apart.
type assignment struct {
	part connect.TopicPartition

	// Of the loop.
	pending  []connect.Record // behind the steps, not handed to the sink yet
	bytes    int64            // of pending
	since    time.Time        // when the oldest of pending came
	next     int64            // the offset after the last record consumed
	resolved int64            // all below is with the sink, or in the dead-letter topic
	gone     bool

	// Guarded by SinkTask.mu.
	acked     int64 // all below is durable, says the sink
	committed int64
	handed    []handed // batches that the sink has and did not acknowledge, oldest first
}

// handed is a batch the sink took over.
type handed struct {
	next    int64
	records int
}

func newAssignment(part connect.TopicPartition) *assignment {
	return &assignment{part: part, next: -1, resolved: -1, acked: -1, committed: -1}
}

// add takes a record behind the steps.
func (a *assignment) add(r connect.Record, now time.Time) {
	if len(a.pending) == 0 {
		a.since = now
	}
	a.pending = append(a.pending, r)
	a.bytes += sizeOf(r)
}

// take returns what is pending as a batch, and forgets it.
func (a *assignment) take() connect.SinkBatch {
	b := connect.SinkBatch{TopicPartition: a.part, Records: a.pending, Next: a.next}
	a.pending, a.bytes = nil, 0
	return b
}

func (a *assignment) full(b connect.Batch) bool {
	return b.Linger == 0 || a.bytes >= int64(b.Size) || len(a.pending) >= b.Records
}

// recordOverhead is what a record takes in memory besides its key, value and headers.
const recordOverhead = 128

func sizeOf(r connect.Record) int64 {
	size := int64(recordOverhead + len(r.Key) + len(r.Value))
	for _, h := range r.Headers {
		size += int64(len(h.Key) + len(h.Value))
	}
	return size
}

// fromKafka is a fetched record as connectors see it.
func fromKafka(r *kgo.Record) connect.Record {
	out := connect.Record{Topic: r.Topic, Partition: r.Partition, Offset: r.Offset, Key: r.Key, Value: r.Value, Timestamp: r.Timestamp}
	if len(r.Headers) > 0 {
		out.Headers = make([]connect.Header, len(r.Headers))
		for i, h := range r.Headers {
			out.Headers[i] = connect.Header{Key: h.Key, Value: h.Value}
		}
	}
	return out
}
