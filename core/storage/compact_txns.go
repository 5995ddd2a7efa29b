package storage

import "github.com/milldam/milldam/core/record"

// txnTracker follows the transactions of the batches that it is shown in their order, from the first of the log on.
type txnTracker struct {
	aborted   []AbortedTxn // still to come, by first offset
	aborting  map[record.ProducerID]*abortingTxn
	committed map[record.ProducerID]bool // with batches since the last marker
}

// abortingTxn is an aborted transaction that began; seen says that the log has a batch of it.
type abortingTxn struct {
	AbortedTxn
	seen bool
}

func newTxnTracker(aborted []AbortedTxn) *txnTracker {
	return &txnTracker{aborted: aborted, aborting: map[record.ProducerID]*abortingTxn{}, committed: map[record.ProducerID]bool{}}
}

func (t *txnTracker) reach(offset record.Offset) {
	for len(t.aborted) > 0 && t.aborted[0].First <= offset {
		t.aborting[t.aborted[0].ProducerID] = &abortingTxn{AbortedTxn: t.aborted[0]}
		t.aborted = t.aborted[1:]
	}
}

// batch tells whether a batch of data belongs to an aborted transaction.
func (t *txnTracker) batch(b record.Batch) bool {
	t.reach(b.LastOffset())
	if !b.IsTransactional() {
		return false
	}
	if a := t.aborting[b.ProducerID()]; a != nil {
		a.seen = true
		return true
	}
	t.committed[b.ProducerID()] = true
	return false
}

// marker tells whether the log has a batch of the transaction that a control batch ends, and what the index has to say of it when it was aborted.
func (t *txnTracker) marker(b record.Batch) (needed bool, aborted *AbortedTxn) {
	t.reach(b.LastOffset())
	m, holds, err := b.Marker()
	switch {
	case err != nil: // of a kind that is not ours to remove
		return true, nil
	case !holds:
		return false, nil
	case m.Commit:
		needed = t.committed[m.ProducerID]
		delete(t.committed, m.ProducerID)
		return needed, nil
	}
	a := t.aborting[m.ProducerID]
	delete(t.aborting, m.ProducerID)
	if a != nil && a.seen {
		return true, &a.AbortedTxn
	}
	// Without an entry in the index the batches in front are still of this transaction: it must not become one that never ends.
	needed = t.committed[m.ProducerID]
	delete(t.committed, m.ProducerID)
	return needed, nil
}
