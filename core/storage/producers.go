package storage

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/milldam/milldam/core/record"
)

// keptBatches is how many of a producer's last batches are remembered: as many as a client may have in flight.
const keptBatches = 5

// producerBatch is what is remembered of a batch, to answer when it comes again.
type producerBatch struct {
	first, last record.Sequence
	lastOffset  record.Offset
	delta       int32 // last offset less first
	timestamp   int64
}

func (b producerBatch) firstOffset() record.Offset { return b.lastOffset - record.Offset(b.delta) }

const (
	noOffset           record.Offset        = -1
	noProducerEpoch    record.ProducerEpoch = -1
	noCoordinatorEpoch int32                = -1
)

// producer is the state of one producer in one partition.
type producer struct {
	epoch            record.ProducerEpoch
	coordinatorEpoch int32           // of its last marker, or noCoordinatorEpoch
	timestamp        int64           // of its last batch or marker, ms
	txnFirst         record.Offset   // first offset of its open transaction, or noOffset
	batches          []producerBatch // of this epoch, oldest first, at most keptBatches
}

// producers is the state of all producers of a partition. It follows from the log alone: apply, called for every batch in order, is all that
// changes it, live and on recovery, but for expire.
type producers struct {
	known map[record.ProducerID]*producer
	open  []openTxn // the open transactions, by first offset
}

// openTxn is a transaction that has no marker yet.
type openTxn struct {
	producer record.ProducerID
	first    record.Offset
}

// endedTxn is a transaction and its marker.
type endedTxn struct {
	AbortedTxn      // what the index says of it when it was aborted
	aborted    bool // else committed
}

// check decides whether a batch of data may be appended. duplicate is the batch it repeats, if it does. verified tells that the coordinator was
// asked whether the partition belongs to the producer's transaction, and no marker came since.
func (p *producers) check(b record.Batch, origin AppendOrigin, v *Verification, verified bool) (duplicate *producerBatch, err error) {
	if b.ProducerID() == record.NoProducer {
		return nil, nil
	}
	known, epoch := p.known[b.ProducerID()], b.ProducerEpoch()
	if origin == FromClient && known != nil && epoch == known.epoch {
		if d := known.duplicate(b); d != nil {
			return d, nil
		}
	}
	mustBeVerified := origin == FromClient || v != nil
	if !verified {
		v = nil // what it knows is of another transaction
	}
	switch {
	case mustBeVerified && b.IsTransactional() && !verified && !known.inTxn(epoch):
		return nil, fmt.Errorf("%w: producer %d with epoch %d has no open transaction here that its coordinator knows of", ErrTxnState, b.ProducerID(), epoch)
	case known != nil && epoch < known.epoch:
		return nil, fmt.Errorf("%w: producer %d has epoch %d, the batch %d", ErrProducerFenced, b.ProducerID(), known.epoch, epoch)
	}
	if origin == FromClient {
		if err := known.checkSequence(b, v); err != nil {
			return nil, err
		}
	}
	if known != nil && known.txnFirst != noOffset && !b.IsTransactional() {
		return nil, fmt.Errorf("%w: producer %d has an open transaction since offset %d, and the batch is not of it", ErrTxnState, b.ProducerID(), known.txnFirst)
	}
	return nil, nil
}

// inTxn tells whether the producer has an open transaction with epoch. k may be nil.
func (k *producer) inTxn(epoch record.ProducerEpoch) bool {
	return k != nil && k.txnFirst != noOffset && k.epoch == epoch
}

func (k *producer) duplicate(b record.Batch) *producerBatch {
	first, last := b.BaseSequence(), b.LastSequence()
	for i := range k.batches {
		if kept := &k.batches[i]; kept.first == first && kept.last == last {
			return kept
		}
	}
	return nil
}

// checkSequence checks that a batch follows the producer's last one. k is nil when its state expired, or the partition is new to it: then any sequence
// is taken, but from clients that raise their epoch with each transaction, whose first batch is known to have sequence 0 (KIP-890).
func (k *producer) checkSequence(b record.Batch, v *Verification) error {
	first := b.BaseSequence()
	switch fresh := k == nil || len(k.batches) == 0; {
	case v != nil && v.fromZero && first != 0 && fresh:
		return fmt.Errorf("%w: producer %d starts with sequence %d", ErrOutOfOrderSequence, b.ProducerID(), first)
	case v != nil && v.lowest != record.NoSequence && first > v.lowest:
		return fmt.Errorf("%w: producer %d sent sequence %d, and %d is still to come", ErrOutOfOrderSequence, b.ProducerID(), first, v.lowest)
	case k == nil:
		return nil
	case b.ProducerEpoch() != k.epoch && first != 0:
		return fmt.Errorf("%w: producer %d starts epoch %d with sequence %d", ErrOutOfOrderSequence, b.ProducerID(), b.ProducerEpoch(), first)
	case b.ProducerEpoch() != k.epoch:
		return nil
	}
	last := record.NoSequence
	if n := len(k.batches); n > 0 {
		last = k.batches[n-1].last
	}
	if first != last.Add(1) {
		return fmt.Errorf("%w: producer %d sent sequence %d after %d", ErrOutOfOrderSequence, b.ProducerID(), first, last)
	}
	return nil
}

// checkMarker decides whether a marker may be appended, as Kafka's ProducerAppendInfo does. From transaction version 2 on the coordinator raises the epoch before it
// writes markers, so that one with the current epoch is late, and would end a transaction that is not its own (KIP-1228); after the transaction's end it is
// the same marker again, which does no harm.
func (p *producers) checkMarker(m record.Marker, transactionVersion int8) error {
	known := p.known[m.ProducerID]
	switch {
	case known == nil && m.ProducerEpoch < 0:
		return fmt.Errorf("%w: the marker of producer %d has epoch %d", ErrProducerFenced, m.ProducerID, m.ProducerEpoch)
	case known == nil:
		return nil
	}
	strict := transactionVersion >= 2
	again := m.ProducerEpoch == known.epoch && known.txnFirst == noOffset
	switch {
	case m.ProducerEpoch < known.epoch, strict && m.ProducerEpoch == known.epoch && !again:
		return fmt.Errorf("%w: producer %d has epoch %d, the marker of transaction version %d has %d", ErrProducerFenced, m.ProducerID, known.epoch,
			transactionVersion, m.ProducerEpoch)
	case m.CoordinatorEpoch < known.coordinatorEpoch:
		return fmt.Errorf("%w: producer %d had a marker of coordinator epoch %d, this one has %d", ErrCoordinatorFenced, m.ProducerID, known.coordinatorEpoch,
			m.CoordinatorEpoch)
	}
	return nil
}

// apply takes over a batch that was appended. ok is true when it ended a transaction.
func (p *producers) apply(b record.Batch) (ended endedTxn, ok bool) {
	if b.ProducerID() == record.NoProducer {
		return endedTxn{}, false
	}
	if b.IsControl() {
		m, holds, err := b.Marker()
		if err != nil || !holds { // emptied by compaction, or of a kind that has nothing to do with producers
			return endedTxn{}, false
		}
		return p.applyMarker(m, b)
	}
	known := p.of(b.ProducerID(), b.ProducerEpoch())
	if len(known.batches) == keptBatches {
		known.batches = slices.Delete(known.batches, 0, 1)
	}
	known.batches = append(known.batches, producerBatch{first: b.BaseSequence(), last: b.LastSequence(), lastOffset: b.LastOffset(),
		delta: b.LastOffsetDelta(), timestamp: b.MaxTimestamp()})
	known.timestamp = b.MaxTimestamp()
	if b.IsTransactional() && known.txnFirst == noOffset {
		known.txnFirst = b.BaseOffset()
		p.open = append(p.open, openTxn{b.ProducerID(), b.BaseOffset()})
	}
	return endedTxn{}, false
}

// of returns the state of a producer, which begins anew with another epoch; its transaction stays open.
func (p *producers) of(id record.ProducerID, epoch record.ProducerEpoch) *producer {
	known := p.known[id]
	if known == nil {
		known = &producer{epoch: epoch, coordinatorEpoch: noCoordinatorEpoch, txnFirst: noOffset}
		if p.known == nil {
			p.known = map[record.ProducerID]*producer{}
		}
		p.known[id] = known
	}
	if known.epoch != epoch {
		known.epoch, known.batches = epoch, known.batches[:0]
	}
	return known
}

func (p *producers) applyMarker(m record.Marker, b record.Batch) (ended endedTxn, ok bool) {
	known := p.of(m.ProducerID, m.ProducerEpoch)
	first := known.txnFirst
	known.coordinatorEpoch, known.timestamp, known.txnFirst = m.CoordinatorEpoch, b.MaxTimestamp(), noOffset
	if first == noOffset {
		return endedTxn{}, false
	}
	p.open = slices.DeleteFunc(p.open, func(t openTxn) bool { return t.first == first })
	stable := b.LastOffset() + 1
	if len(p.open) > 0 {
		stable = p.open[0].first
	}
	return endedTxn{AbortedTxn{m.ProducerID, first, b.LastOffset(), stable}, !m.Commit}, true
}

// expire forgets producers whose last batch or marker is older than age at now, and that have no open transaction.
func (p *producers) expire(now time.Time, age time.Duration) {
	oldest := now.Add(-age).UnixMilli()
	for id, known := range p.known {
		if known.txnFirst == noOffset && known.timestamp <= oldest {
			delete(p.known, id)
		}
	}
}

func (p *producers) clone() producers {
	c := producers{known: make(map[record.ProducerID]*producer, len(p.known)), open: slices.Clone(p.open)}
	for id, known := range p.known {
		k := *known
		k.batches = slices.Clone(known.batches)
		c.known[id] = &k
	}
	return c
}

// add takes over the state of a producer that was read from a file. ok is false when its transaction begins where that of another does, which cannot be.
func (p *producers) add(id record.ProducerID, known *producer) (ok bool) {
	p.known[id] = known
	if known.txnFirst == noOffset {
		return true
	}
	t := openTxn{id, known.txnFirst}
	at, taken := slices.BinarySearchFunc(p.open, t, func(a, b openTxn) int { return cmp.Compare(a.first, b.first) })
	p.open = slices.Insert(p.open, at, t)
	return !taken
}
