package replica

import (
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/milldam/milldam/core/meta"
	"github.com/milldam/milldam/core/record"
	"github.com/milldam/milldam/core/storage"
)

// Partition is one partition that this node leads.
type Partition struct {
	Log   *storage.Log
	Topic *meta.Topic // as it was when the partition was made; name and id do not change
	Index int32

	epoch atomic.Int32 // of the leader

	mu struct {
		sync.Mutex
		waiters map[*Waiter]struct{}
	}
}

// NoEpoch is the leader epoch of a client that does not know it.
const NoEpoch record.LeaderEpoch = -1

// Epoch is the current leader epoch.
func (p *Partition) Epoch() record.LeaderEpoch { return record.LeaderEpoch(p.epoch.Load()) }

// CheckEpoch compares what a client believes with the current leader epoch. ErrFencedEpoch, ErrUnknownEpoch.
func (p *Partition) CheckEpoch(epoch record.LeaderEpoch) error {
	switch current := p.Epoch(); {
	case epoch == NoEpoch || epoch == current:
		return nil
	case epoch < current:
		return fmt.Errorf("%s: %w: %d, it is %d", p.Log, ErrFencedEpoch, epoch, current)
	default:
		return fmt.Errorf("%s: %w: %d, it is %d", p.Log, ErrUnknownEpoch, epoch, current)
	}
}

// HighWatermark is the end of what consumers may read.
func (p *Partition) HighWatermark() record.Offset { return p.Log.Committed() }

// LastStable is the end of what read_committed consumers may read: the high watermark, or where the first transaction begins whose marker is not below it.
func (p *Partition) LastStable() record.Offset { return p.Log.LastStable() }

// Verify prepares the append of a transactional batch; see storage.Log.Verify.
func (p *Partition) Verify(id record.ProducerID, epoch record.ProducerEpoch) (v *storage.Verification, needed bool) {
	return p.Log.Verify(id, epoch)
}

// VerifyBatch is Verify for a client's batch; see storage.Log.VerifyBatch.
func (p *Partition) VerifyBatch(b record.Batch, fromZero bool) (v *storage.Verification, needed bool) {
	return p.Log.VerifyBatch(b, fromZero)
}

// Append appends a batch; see storage.Log.Append.
func (p *Partition) Append(b record.Batch, origin storage.AppendOrigin, v *storage.Verification, pending *storage.Pending) (storage.Appended, error) {
	return p.Log.Append(b, p.Epoch(), origin, v, pending)
}

// AppendMarker ends a transaction; see storage.Log.AppendMarker.
func (p *Partition) AppendMarker(m record.Marker, transactionVersion int8, pending *storage.Pending) (storage.Appended, error) {
	return p.Log.AppendMarker(m, transactionVersion, p.Epoch(), pending)
}

// Aborted returns the aborted transactions with records in [from, to), by first offset; see storage.Log.Aborted.
func (p *Partition) Aborted(from, to record.Offset) ([]storage.AbortedTxn, error) {
	return p.Log.Aborted(from, to)
}

// Producers returns the state of the partition's producers.
func (p *Partition) Producers() []storage.ProducerState { return p.Log.Producers() }

// Read reads up to the high watermark; see storage.Log.Read.
func (p *Partition) Read(offset record.Offset, maxBytes int, atLeastOne bool) (storage.Span, error) {
	return p.Log.Read(offset, maxBytes, p.HighWatermark(), atLeastOne)
}

// ReadCommitted reads up to the last stable offset; see storage.Log.ReadCommitted.
func (p *Partition) ReadCommitted(offset record.Offset, maxBytes int, atLeastOne bool) (storage.Span, []storage.AbortedTxn, error) {
	return p.Log.ReadCommitted(offset, maxBytes, atLeastOne)
}

// Readable is the end of what consumers may read: the last stable offset for read_committed ones, the high watermark for others.
func (p *Partition) Readable(committed bool) record.Offset {
	if committed {
		return p.LastStable()
	}
	return p.HighWatermark()
}

// wake wakes those who wait for the high watermark to move.
func (p *Partition) wake() {
	p.mu.Lock()
	var woken []*Waiter
	for w := range p.mu.waiters {
		woken = append(woken, w)
	}
	p.mu.Unlock()
	for _, w := range woken {
		w.wake()
	}
}
