package coordinator

import (
	"time"

	"github.com/milldam/milldam/core/record"
	"github.com/milldam/milldam/core/wire"
)

// marker is one partition that has to be told the end of a transaction.
type marker struct {
	of        *transaction
	partition TopicPartition
	record    record.Marker
	version   int16
}

// markerQueue bounds how many markers are on their way to the logs.
type markerQueue struct {
	waiting  []marker
	inFlight int
}

// completeLocked tells the partitions of a transaction its end, which is decided and in the log.
func (t *Transactions) completeLocked(x *transaction) {
	v := x.value()
	m := record.Marker{ProducerID: v.producerID, ProducerEpoch: v.epoch, CoordinatorEpoch: int32(x.shard.log.Epoch()), Commit: v.state == txnPrepareCommit}
	x.unmarked = len(v.partitions)
	if x.unmarked == 0 {
		t.finishLocked(x)
		return
	}
	for _, p := range v.partitions {
		t.mu.markers.waiting = append(t.mu.markers.waiting, marker{of: x, partition: p, record: m, version: v.version})
	}
	t.startMarkersLocked()
}

func (t *Transactions) startMarkersLocked() {
	q := &t.mu.markers
	for !t.mu.closed && q.inFlight < t.opts.MaxMarkers && len(q.waiting) > 0 {
		m := q.waiting[0]
		q.waiting[0], q.waiting = marker{}, q.waiting[1:]
		q.inFlight++
		t.afterLocked(func() {
			t.opts.WriteMarker(m.partition, m.record, m.version, func(err error) { t.later(func() { t.markedLocked(m, err) }) })
		})
	}
}

// markedLocked takes over that a marker was written. What could not be written is tried again until it can: no transaction stays half done.
func (t *Transactions) markedLocked(m marker, err error) {
	t.mu.markers.inFlight--
	if err != nil {
		t.opts.Logger.Warn("a partition could not be told the end of a transaction", "id", m.of.id, "topic", m.partition.Topic, "partition", m.partition.Partition,
			"again_in", t.opts.RetryPause, "error", err)
		t.againLocked(func() {
			t.mu.markers.waiting = append(t.mu.markers.waiting, m)
			t.startMarkersLocked()
		})
	} else if m.of.unmarked--; m.of.unmarked == 0 {
		t.finishLocked(m.of)
	}
	t.startMarkersLocked()
}

// finishLocked writes that a transaction is complete.
func (t *Transactions) finishLocked(x *transaction) {
	if t.mu.closed || t.mu.ids[x.id] != x { // the next life does it; or its log is gone
		return
	}
	v := x.value().completed(time.Now().UnixMilli())
	t.writeLocked(x, txnDecision{write: &v, lastEpoch: x.lastEpoch}, func(code wire.Code, _ *txnValue) {
		t.locked(func() {
			switch {
			case code != wire.None:
				t.againLocked(func() { t.finishLocked(x) })
			case v.state == txnCompleteCommit:
				t.mu.completed.commits++
			default:
				t.mu.completed.aborts++
			}
		})
	})
}

// againLocked has fn called with mu held, after a pause.
func (t *Transactions) againLocked(fn func()) { t.mu.deadlines.after(t.opts.RetryPause, fn) }
