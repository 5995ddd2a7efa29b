package storage

import (
	"sync"
	"sync/atomic"

	"github.com/milldam/milldam/core/invariant"
	"github.com/milldam/milldam/core/record"
)

const (
	// smallestSlab and largestSlab bound the size of a slab, which is slabsOfTail to the bound of the tails.
	smallestSlab, largestSlab = 16 << 10, 1 << 20
	slabsOfTail               = 4
	// batchesOfSlab is how many batches a slab takes at least; larger ones are left to the collector.
	batchesOfSlab = 4
	// idleSlabs is how many unused slabs are kept for the next load, as many as a full tail takes; the rest goes back to the system.
	idleSlabs = 64
)

// slab is a piece of memory that batches of the tail share. It is used again when none of them is needed any more.
type slab struct {
	pool *slabs
	data []byte
	used int          // guarded by pool.mu
	refs atomic.Int32 // batches in it that are held, and one while it is the pool's current
	tail atomic.Int32 // batches in it that are in a tail
}

// slabs is the memory of the tails. It lies outside of the collector's heap: batches come and go at the rate of the network, and as garbage they would take a
// multiple of what is live, be cleared and be paged in anew each time.
type slabs struct {
	size int // of a slab
	mu   struct {
		sync.Mutex
		current *slab
		free    []*slab
		mapped  int // slabs there are
		closed  bool
	}
	inTails atomic.Int64 // slabs with batches of tails
}

// newSlabs returns the memory of tails that may have tailBytes together.
func newSlabs(tailBytes int64) *slabs {
	return &slabs{size: int(min(max(tailBytes/slabsOfTail, smallestSlab), largestSlab))}
}

// keep copies a batch to where it stays until its entry is dropped. The slab is nil when the collector has it.
func (s *slabs) keep(b record.Batch) (record.Batch, *slab, error) {
	if len(b) >= s.size/batchesOfSlab {
		return append(record.Batch(nil), b...), nil, nil
	}
	to, in, err := s.room(len(b))
	if err != nil {
		return nil, nil, err
	}
	copy(to, b)
	return to, in, nil
}

// room takes n bytes of a slab.
func (s *slabs) room(n int) (record.Batch, *slab, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if c := s.mu.current; c == nil || len(c.data)-c.used < n {
		next, err := s.nextLocked()
		if err != nil {
			return nil, nil, err
		}
		s.mu.current = next
		if c != nil && c.refs.Add(-1) == 0 {
			s.takeBackLocked(c)
		}
	}
	c := s.mu.current
	c.refs.Add(1)
	c.enterTail()
	at := c.used
	c.used += n
	return c.data[at:c.used:c.used], c, nil
}

// nextLocked returns an empty slab, which counts the pool as its user.
func (s *slabs) nextLocked() (*slab, error) {
	if n := len(s.mu.free); n > 0 {
		next := s.mu.free[n-1]
		s.mu.free = s.mu.free[:n-1]
		next.used = 0
		next.refs.Store(1)
		return next, nil
	}
	data, err := mapMemory(s.size)
	if err != nil {
		return nil, err
	}
	s.mu.mapped++
	next := &slab{pool: s, data: data}
	next.refs.Store(1)
	return next, nil
}

func (c *slab) enterTail() {
	if c.tail.Add(1) == 1 {
		c.pool.inTails.Add(1)
	}
}

// leaveTail says that one batch is in no tail any more; c may be nil.
func (c *slab) leaveTail() {
	if c != nil && c.tail.Add(-1) == 0 {
		c.pool.inTails.Add(-1)
	}
}

// unused gives back what keep returned for a batch that did not come into a log.
func (c *slab) unused() {
	c.leaveTail()
	c.release()
}

// release gives back one batch's part; c may be nil.
func (c *slab) release() {
	if c == nil || c.refs.Add(-1) > 0 {
		return
	}
	c.pool.mu.Lock()
	defer c.pool.mu.Unlock()
	c.pool.takeBackLocked(c)
}

// stale is what tests find in a batch that is looked at after it was dropped.
const stale = "a batch that was dropped"

func (s *slabs) takeBackLocked(c *slab) {
	if invariant.On {
		used := c.data[:c.used]
		for n := copy(used, stale); n < len(used); n *= 2 {
			copy(used[n:], used[:n])
		}
	}
	if len(s.mu.free) < idleSlabs && !s.mu.closed {
		s.mu.free = append(s.mu.free, c)
		return
	}
	s.unmapLocked(c)
}

func (s *slabs) unmapLocked(c *slab) {
	unmapMemory(c.data)
	c.data = nil
	s.mu.mapped--
}

// trim gives half of the unused memory back to the system. It is called now and then, so that a load that is over does not hold it for ever.
func (s *slabs) trim() {
	s.mu.Lock()
	defer s.mu.Unlock()
	keep := len(s.mu.free) / 2
	for _, c := range s.mu.free[keep:] {
		s.unmapLocked(c)
	}
	clear(s.mu.free[keep:])
	s.mu.free = s.mu.free[:keep]
}

// close gives all unused memory back, and what is still read as soon as it is not.
func (s *slabs) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mu.closed = true
	if c := s.mu.current; c != nil {
		s.mu.current = nil
		if c.refs.Add(-1) == 0 {
			s.takeBackLocked(c)
		}
	}
	for _, c := range s.mu.free {
		s.unmapLocked(c)
	}
	s.mu.free = nil
}

// tailBytes is the memory that tails keep from being used again. It is more than their batches where old ones stand alone in their slabs.
func (s *slabs) tailBytes() int64 { return s.inTails.Load() * int64(s.size) }
