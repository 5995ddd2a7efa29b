package storage

import (
	"fmt"
	"time"

	"github.com/milldam/milldam/core/record"
)

// Verification is the guard of KIP-890 against transactions that nobody ends: the first batch of a transaction in a partition is appended only after the
// coordinator said that the partition belongs to the open transaction. A marker that is written between that answer and the append makes the
// verification void, so that an answer about an ended transaction lets nothing in. Its fields are guarded by the log's mu.
type Verification struct {
	started time.Time
	epoch   record.ProducerEpoch
	// lowest is the lowest sequence that waits for the answer, or NoSequence: when its append fails and comes again, none above it may have got in.
	lowest   record.Sequence
	fromZero bool // the client raises its epoch with each transaction, so that the first sequence is 0
}

// Verify prepares the append of a transactional batch. needed is false when the producer has an open transaction with epoch here. Otherwise the caller asks the
// coordinator, and passes v to Append when the partition belongs to the transaction. Until a batch or marker is appended all callers get the same v.
func (l *Log) Verify(id record.ProducerID, epoch record.ProducerEpoch) (v *Verification, needed bool) {
	return l.verify(id, epoch, record.NoSequence, false)
}

// VerifyBatch is Verify for a client's batch. fromZero tells that the client raises its epoch with each transaction (transaction version 2).
func (l *Log) VerifyBatch(b record.Batch, fromZero bool) (v *Verification, needed bool) {
	return l.verify(b.ProducerID(), b.ProducerEpoch(), b.BaseSequence(), fromZero)
}

func (l *Log) verify(id record.ProducerID, epoch record.ProducerEpoch, first record.Sequence, fromZero bool) (v *Verification, needed bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.mu.producers.known[id].inTxn(epoch) {
		return nil, false
	}
	if v = l.mu.verifying[id]; v == nil {
		v = &Verification{started: time.Now(), epoch: epoch, lowest: first, fromZero: fromZero}
		if l.mu.verifying == nil {
			l.mu.verifying = map[record.ProducerID]*Verification{}
		}
		l.mu.verifying[id] = v
		return v, true
	}
	switch {
	case epoch > v.epoch:
		v.epoch, v.lowest = epoch, first
	case epoch == v.epoch && first != record.NoSequence && (v.lowest == record.NoSequence || first < v.lowest):
		v.lowest = first
	}
	return v, true
}

// AppendMarker ends the producer's open transaction here, if it has one: it appends the marker as Append does a batch. transactionVersion is the one
// that the coordinator ended the transaction with.
//
// Errors: ErrProducerFenced, ErrCoordinatorFenced, ErrDiskFull, ErrOffline, ErrRemoved.
func (l *Log) AppendMarker(m record.Marker, transactionVersion int8, epoch record.LeaderEpoch, p *Pending) (Appended, error) {
	now := time.Now().UnixMilli()
	b := m.Batch(now)
	if l.config().LogAppendTime {
		b.SetLogAppendTime(now)
	}
	if err := l.store.room(len(b)); err != nil {
		return Appended{}, fmt.Errorf("append a marker to %s: %w", l, err)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.errLocked(); err != nil {
		return Appended{}, fmt.Errorf("append a marker to %s: %w", l, err)
	}
	if err := l.store.disk.check(FromCoordinator); err != nil {
		return Appended{}, fmt.Errorf("append a marker to %s: %w", l, err)
	}
	if err := l.mu.producers.checkMarker(m, transactionVersion); err != nil {
		return Appended{}, fmt.Errorf("append a marker to %s: %w", l, err)
	}
	return l.enqueueLocked(b, nil, epoch, p), nil
}

// LastStable is the end of what read_committed consumers may read: the committed end, or where the first transaction begins that has no committed
// marker yet.
func (l *Log) LastStable() record.Offset {
	l.mu.Lock()
	defer l.mu.Unlock()
	stable := l.mu.committed
	if len(l.mu.producers.open) > 0 {
		stable = min(stable, l.mu.producers.open[0].first)
	}
	for _, t := range l.mu.unstable {
		stable = min(stable, t.First)
	}
	return max(stable, l.mu.start)
}

// stabilizeLocked forgets the ended transactions whose markers are committed.
func (l *Log) stabilizeLocked() {
	n := 0
	for n < len(l.mu.unstable) && l.mu.unstable[n].Last < l.mu.committed {
		n++
	}
	if l.mu.unstable = l.mu.unstable[n:]; len(l.mu.unstable) == 0 {
		l.mu.unstable = nil // gives the array back
	}
}

// ProducerState is what a partition knows of a producer.
type ProducerState struct {
	ProducerID       record.ProducerID
	Epoch            record.ProducerEpoch
	LastSequence     record.Sequence // NoSequence when it has sent nothing in this epoch
	LastTimestamp    int64           // ms
	CoordinatorEpoch int32           // of its last marker, -1 without one
	TxnFirst         record.Offset   // first offset of its open transaction, -1 without one
}

// Producers returns the state of all producers, in no order.
func (l *Log) Producers() []ProducerState {
	l.mu.Lock()
	defer l.mu.Unlock()
	list := make([]ProducerState, 0, len(l.mu.producers.known))
	for id, k := range l.mu.producers.known {
		last := record.NoSequence
		if n := len(k.batches); n > 0 {
			last = k.batches[n-1].last
		}
		list = append(list, ProducerState{id, k.epoch, last, k.timestamp, k.coordinatorEpoch, k.txnFirst})
	}
	return list
}
