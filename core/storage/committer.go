package storage

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/milldam/milldam/core/invariant"
)

// Pending collects the appends of one request that wait to be committed.
type Pending struct {
	left atomic.Int64 // registered and not resolved, and one for Arm
	err  atomic.Pointer[error]
	done func(error)
	now  time.Time // when it was made: of all its appends

	alone bool // written by the committer before it resolves
}

// NewPending returns a Pending that calls done once, after Arm and after every append registered with it was committed, from the goroutine that saw the
// last of the two. The error is not nil when the store went offline. done must not block.
func NewPending(done func(err error)) *Pending {
	p := &Pending{done: done, now: time.Now()}
	p.left.Store(1)
	return p
}

// Alone tells, when done is called, whether nothing else was committed together with the last append of p: then nobody waits for done to return.
func (p *Pending) Alone() bool { return p.alone }

// time is when the appends of p came. p may be nil.
func (p *Pending) time() time.Time {
	if p == nil {
		return time.Now()
	}
	return p.now
}

func (p *Pending) add() { p.left.Add(1) }

func (p *Pending) resolve(err error) {
	if err != nil {
		p.err.CompareAndSwap(nil, &err)
	}
	if p.left.Add(-1) > 0 {
		return
	}
	var first error
	if e := p.err.Load(); e != nil {
		first = *e
	}
	p.done(first)
}

// Arm says that no more appends will be registered.
func (p *Pending) Arm() { p.resolve(nil) }

// queued is something for the committer: a batch, a head without one, or, with neither, a place in the queue.
type queued struct {
	log     *Log
	entry   *entry
	head    *walHead
	pending *Pending
	wal     uint64 // sequence of the log file it was written to
}

// committer writes what is queued to the write-ahead log, in rounds: all that came while the last round was written and synced is the next. There is no
// timer, so a lone append waits for nobody.
type committer struct {
	store *Store
	mu    struct {
		sync.Mutex
		queue  []queued
		closed bool
	}
	wake chan struct{} // capacity 1
	done chan struct{}

	stats commitStats

	// The rest belongs to commitLoop.
	round    []queued
	heads    []byte
	vectors  [][]byte
	advanced []*Log
}

func newCommitter(s *Store) *committer {
	return &committer{store: s, wake: make(chan struct{}, 1), done: make(chan struct{})}
}

// enqueue adds to the next round. Of one log it is called with the log's mu held, so that batches are queued in the order of their offsets.
func (c *committer) enqueue(q queued) {
	c.mu.Lock()
	c.mu.queue = append(c.mu.queue, q)
	first := len(c.mu.queue) == 1
	c.mu.Unlock()
	if first {
		select {
		case c.wake <- struct{}{}:
		default:
		}
	}
}

// commitLoop ends when the committer was closed and the queue is empty.
func (c *committer) commitLoop() {
	defer close(c.done)
	for range c.wake {
		for {
			c.mu.Lock()
			c.round, c.mu.queue = c.mu.queue, c.round[:0]
			closed := c.mu.closed
			c.mu.Unlock()
			if len(c.round) == 0 {
				if closed {
					return
				}
				break
			}
			c.commit()
		}
	}
}

// close ends commitLoop after what is queued.
func (c *committer) close() {
	c.mu.Lock()
	c.mu.closed = true
	c.mu.Unlock()
	select {
	case c.wake <- struct{}{}:
	default:
	}
	<-c.done
}

// commit makes one round durable and resolves it.
func (c *committer) commit() {
	err := c.store.Err()
	if err == nil {
		if err = c.store.watched(c.writeRound); err != nil {
			c.store.fail(err)
			err = c.store.Err()
		}
	}
	if err == nil {
		c.advance()
	}
	alone := c.alone()
	for i := range c.round {
		if p := c.round[i].pending; p != nil {
			p.alone = alone
			p.resolve(err)
		}
		if e := c.round[i].entry; e != nil {
			e.drop()
		}
		c.round[i] = queued{}
	}
}

// alone tells whether the round is of one Pending.
func (c *committer) alone() bool {
	for i := range c.round {
		if c.round[i].pending != c.round[0].pending {
			return false
		}
	}
	return true
}

// maxRoundBytes bounds a write, so that the first batches of a large backlog do not wait for the last.
const maxRoundBytes = 8 << 20

// writeRound writes and syncs the round, in as many parts as it takes.
func (c *committer) writeRound() error {
	if err := c.store.flushDirect(c.round); err != nil {
		return err
	}
	for rest := c.round; len(rest) > 0; {
		n, err := c.writePart(rest)
		if err != nil {
			return err
		}
		rest = rest[n:]
	}
	return nil
}

// writePart writes the records that fit into the log file, and syncs them. It returns how many of the queue they are.
func (c *committer) writePart(queue []queued) (int, error) {
	w := c.store.wal
	file := w.active
	if file.grows() && w.hasFree() { // a new store's first file, until one is pre-written: syncs of a growing file take twice as long
		return 0, w.next(c.store.opts.Flush == FlushDurable)
	}
	room := max(w.fileBytes, file.size) - file.size - walHeadBytes // for the end
	if file.size == walHeaderBytes {
		room = max(room, maxRoundBytes) // a fresh file takes any batch: it grows
	}
	c.heads, c.vectors = c.heads[:0], c.vectors[:0]
	total := int64(0)
	// heads must not move while vectors point into it.
	if need := walHeadBytes * (len(queue) + 1); cap(c.heads) < need {
		c.heads = make([]byte, 0, need)
	}
	n := 0
	for ; n < len(queue); n++ {
		head, batch := queue[n].record()
		if head.kind == 0 {
			continue
		}
		size := int64(walHeadBytes + len(batch))
		if total > 0 && (total+size > room || total+size > maxRoundBytes) || total == 0 && size > room && file.size > walHeaderBytes {
			break
		}
		at := len(c.heads)
		if c.store.opts.Flush == FlushDurable {
			head.synced = uint32(file.size)
		}
		c.heads = head.append(c.heads, file.sequence)
		c.vectors = append(c.vectors, c.heads[at:])
		if len(batch) > 0 {
			c.vectors = append(c.vectors, batch)
		}
		total += size
		queue[n].wal = file.sequence
	}
	switch {
	case total == 0 && n < len(queue):
		return 0, w.next(c.store.opts.Flush == FlushDurable)
	case total == 0:
		return n, nil
	}
	began := time.Now()
	if _, err := file.file.WriteVecAt(c.vectors, file.size); err != nil {
		return 0, err
	}
	if c.store.opts.Flush == FlushDurable {
		if err := file.file.Sync(); err != nil {
			return 0, err
		}
	}
	c.stats.count(total, time.Since(began))
	c.store.disk.appended(int(total))
	file.size += total
	file.made = max(file.made, file.size)
	return n, nil
}

// stallAfter is how long a round may take until the log tells of it.
const stallAfter = 5 * time.Second

// watched runs fn, for which all acknowledgements wait, and says so when it takes long: nothing times out here, and from outside a disk that hangs looks like a node that does.
func (s *Store) watched(fn func() error) error {
	began := time.Now()
	told := time.AfterFunc(stallAfter, func() {
		s.opts.Logger.Warn("the disk has not taken a write for a while: acknowledgements wait for it, reads go on", "dir", s.opts.Dir, "waited", stallAfter)
	})
	err := fn()
	if !told.Stop() {
		s.opts.Logger.Warn("the disk has come to an end with the write that acknowledgements waited for", "dir", s.opts.Dir, "took", time.Since(began).Round(time.Millisecond))
	}
	return err
}

// record is what the write-ahead log keeps of q; kind 0 is nothing.
func (q *queued) record() (walHead, []byte) {
	switch e := q.entry; {
	case e != nil && e.direct:
		return walHead{kind: walDirect, topic: q.log.id, partition: q.log.partition, offset: e.batch.BaseOffset(), segment: e.segment.base,
			position: e.position, length: uint32(len(e.batch)), epoch: e.batch.LeaderEpoch()}, nil
	case e != nil:
		return walHead{kind: walAppend, topic: q.log.id, partition: q.log.partition, offset: e.batch.BaseOffset(), segment: e.segment.base,
			position: e.position, length: uint32(len(e.batch)), epoch: e.batch.LeaderEpoch()}, e.batch
	case q.head != nil:
		return *q.head, nil
	}
	return walHead{}, nil
}

// advance moves the committed end of the round's logs and tells who waits for it.
func (c *committer) advance() {
	c.advanced = c.advanced[:0]
	for i := range c.round {
		q := &c.round[i]
		if q.entry == nil {
			continue
		}
		l := q.log
		l.mu.Lock()
		q.entry.wal = q.wal
		if next := q.entry.batch.NextOffset(); next > l.mu.committed {
			l.mu.committed = next
			if len(l.mu.unstable) > 0 {
				l.stabilizeLocked()
			}
		}
		if invariant.On {
			invariant.Check(l.mu.committed <= l.mu.end, "%s: committed up to %d, the log ends at %d", l, l.mu.committed, l.mu.end)
		}
		full := l.mu.tailBytes >= flushBytes
		l.mu.Unlock()
		if n := len(c.advanced); n == 0 || c.advanced[n-1] != l {
			c.advanced = append(c.advanced, l)
		}
		if full {
			c.store.flusher.want(l)
		}
	}
	if len(c.advanced) > 0 {
		c.store.opts.OnAdvance(c.advanced)
	}
	c.store.flusher.afterRound()
}
