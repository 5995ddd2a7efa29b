package streams

import (
	"context"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// input is one partition that a task reads.
type input struct {
	node      *node
	source    *Source
	push      func(ctx context.Context, batch []*kgo.Record) error
	queue     []*kgo.Record
	committed int64 // the committed offset at start; of a table what lies below only restores it
	position  int64 // of the next record to be processed
	fetched   int64 // of the next record to be queued
	end       int64 // the highest end of the log that was heard of
	restore   int64 // of a table, the end of the log at start
	consumed  int   // records processed, for the owner of the task to count and reset

	lastRecord int64 // by the wall clock, when the last record was processed
	certified  bool  // the broker was asked for the end of the log after the idle time had passed

	// clock is the index of the input in clocks; of a repartition the first of those of its writers.
	clock   int32
	writers []writerStatus
}

// writerStatus is what a task that writes to a repartition topic last told of itself.
type writerStatus struct {
	free, idle bool
}

// clocks is the number of the input's places in clocks.
func (in *input) clocks() int32 {
	switch in.node.kind {
	case kindTable:
		return 0
	case kindRepartition:
		return int32(len(in.writers))
	}
	return 1
}

func (in *input) isTable() bool { return in.node.kind == kindTable }

// atEnd reports whether all is processed of which the task has heard.
func (in *input) atEnd() bool { return len(in.queue) == 0 && in.fetched >= in.end }

// restoring reports whether a table is not yet read to the end it had at start.
func (in *input) restoring() bool { return in.isTable() && in.position < in.restore }

// markerTime is the time given to the markers of transactions, which have that of the wall clock: they are passed over at once, and do not
// hold back the records behind them until other inputs have come so far.
var markerTime = time.UnixMilli(-1 << 50)

// add queues fetched records.
func (in *input) add(records []*kgo.Record, end int64) {
	for _, r := range records {
		if r.Attrs.IsControl() {
			r.Timestamp = markerTime
		}
	}
	in.queue = append(in.queue, records...)
	if n := len(records); n > 0 {
		in.fetched = records[n-1].Offset + 1
		in.certified = false
	}
	in.end = max(in.end, end, in.fetched)
}

// quietSince is the wall time from which the idle time counts.
func (in *input) quietSince(ready int64) int64 { return max(in.lastRecord, ready) }
