package coordinator

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"sync"
	"time"

	"github.com/milldam/milldam/core/record"
	"github.com/milldam/milldam/core/storage"
	"github.com/milldam/milldam/core/wire"
)

// Transactions is the transaction coordinator of one node. Every method answers through a function that is called once, from any goroutine, with no lock held.
type Transactions struct {
	opts   TxnOptions
	ctx    context.Context
	cancel context.CancelFunc
	wg     sync.WaitGroup
	writes sync.WaitGroup // on their way to the logs; none is added once mu.closed is set

	mu struct {
		sync.Mutex
		shards    map[int32]*txnShard
		ids       map[string]*transaction
		markers   markerQueue
		completed struct{ commits, aborts int64 } // transactions
		deadlines deadlines
		effects   []func() // to be called once mu is free
		closed    bool
	}
	opening sync.Mutex // one log is opened at a time; taken before mu

	committed *committed
}

// txnShard is what one partition of the transaction topic says.
type txnShard struct {
	log    TxnLog
	values map[string]*txnValue
}

// apply changes the state as one record says. It is the only code that does, live and on replay.
func (s *txnShard) apply(e txnEntry) {
	if e.value == nil {
		delete(s.values, e.id)
		return
	}
	s.values[e.id] = e.value
}

// transaction is one transactional id while the process lives. Guarded by Transactions.mu.
type transaction struct {
	id        string
	shard     *txnShard
	lastEpoch record.ProducerEpoch
	pending   bool         // a transition is on its way to the log
	unmarked  int          // partitions that have not been told the end
	parked    []*parkedAdd // appends that wait for the transition
}

// value is what the log says, nil before the first record of an id is there.
func (x *transaction) value() *txnValue { return x.shard.values[x.id] }

func (x *transaction) view() *txnView {
	if x == nil || x.value() == nil {
		return nil
	}
	return &txnView{txnValue: *x.value(), lastEpoch: x.lastEpoch, pending: x.pending}
}

// NewTransactions returns a coordinator. Load brings back what an earlier life left.
func NewTransactions(o TxnOptions) *Transactions {
	t := &Transactions{opts: o.withDefaults(), committed: newCommitted()}
	t.ctx, t.cancel = context.WithCancel(context.Background())
	t.mu.shards, t.mu.ids = map[int32]*txnShard{}, map[string]*transaction{}
	t.mu.deadlines.fire = func() {
		t.locked(func() {
			if !t.mu.closed {
				t.mu.deadlines.run()
			}
		})
	}
	t.locked(func() {
		t.mu.deadlines.after(t.opts.AbortEvery, t.abortOldLocked)
		t.mu.deadlines.after(t.opts.ExpireEvery, t.expireLocked)
	})
	t.wg.Add(1)
	go func() {
		defer t.wg.Done()
		t.committed.applyLoop(t.ctx, t.apply)
	}()
	return t
}

// locked calls fn with mu held, and then, without it, what fn left to be done.
func (t *Transactions) locked(fn func()) {
	t.mu.Lock()
	fn()
	effects := t.mu.effects
	t.mu.effects = nil
	t.mu.Unlock()
	for _, e := range effects {
		e()
	}
}

// afterLocked has fn called once mu is free.
func (t *Transactions) afterLocked(fn func()) { t.mu.effects = append(t.mu.effects, fn) }

// Load opens every partition of the transaction topic and replays it; transactions whose end is decided are completed. It is called at start when the topic
// exists. A partition that cannot be read is told, and its ids get COORDINATOR_NOT_AVAILABLE; the others are served.
func (t *Transactions) Load(ctx context.Context) {
	for p := range t.opts.Partitions {
		if _, err := t.shard(ctx, p); err != nil {
			t.opts.Logger.Error("a partition of the transaction topic cannot be read: its transactional ids are not served", "partition", p, "error", err)
		}
	}
}

// shard returns a partition's state, which it loads the first time.
func (t *Transactions) shard(ctx context.Context, partition int32) (*txnShard, error) {
	t.mu.Lock()
	s := t.mu.shards[partition]
	t.mu.Unlock()
	if s != nil {
		return s, nil
	}
	t.opening.Lock()
	defer t.opening.Unlock()
	t.mu.Lock()
	s = t.mu.shards[partition]
	t.mu.Unlock()
	if s != nil {
		return s, nil
	}
	log, err := t.opts.Log(ctx, partition)
	if err != nil {
		return nil, fmt.Errorf("open partition %d of the transaction topic: %w", partition, err)
	}
	s = &txnShard{log: log, values: map[string]*txnValue{}}
	if err := log.Replay(ctx, func(b record.Batch) error { return txnEntriesOf(b, s.apply) }); err != nil {
		return nil, fmt.Errorf("replay partition %d of the transaction topic: %w", partition, err)
	}
	t.locked(func() {
		t.mu.shards[partition] = s
		for id := range s.values {
			x := &transaction{id: id, shard: s, lastEpoch: noEpoch}
			t.mu.ids[id] = x
			if x.value().state.preparing() {
				t.completeLocked(x)
			}
		}
	})
	return s, nil
}

// PartitionFor is the partition of the transaction topic that an id belongs to, as Kafka's.
func (t *Transactions) PartitionFor(id string) int32 { return partitionOf(id, t.opts.Partitions) }

// ask decides a request about a transactional id, and writes what has to be written. then gets the code and the value that follows, which is nil for an id
// that is not known.
func (t *Transactions) ask(id string, decide func(decider, *txnView) txnDecision, then func(wire.Code, *txnValue)) {
	s, err := t.shard(t.ctx, t.PartitionFor(id))
	if err != nil {
		if t.ctx.Err() == nil && !errors.Is(err, storage.ErrOffline) { // which was told when it was found, and clients ask again and again
			t.opts.Logger.Error("the log of a transactional id cannot be opened", "id", id, "error", err)
		}
		then(closedCode(err), nil)
		return
	}
	for fresh := noProducerID; ; {
		needsID := false
		t.locked(func() { needsID = t.askLocked(s, id, decide, fresh, then) })
		if !needsID {
			return
		}
		if fresh, err = t.opts.ProducerID(t.ctx); err != nil {
			t.opts.Logger.Error("no producer id could be reserved", "error", err)
			then(wire.CoordinatorNotAvailable, nil)
			return
		}
	}
}

func (t *Transactions) askLocked(s *txnShard, id string, decide func(decider, *txnView) txnDecision, fresh record.ProducerID, then func(wire.Code, *txnValue)) (needsID bool) {
	if t.mu.closed {
		t.afterLocked(func() { then(wire.CoordinatorNotAvailable, nil) })
		return false
	}
	x := t.mu.ids[id]
	d := decide(t.decider(fresh), x.view())
	if x != nil && x.value() == nil && d.write != nil { // the first record of the id is on its way
		d = refused(wire.ConcurrentTransactions)
	}
	switch {
	case d.needsID:
		return true
	case d.write != nil:
		if x == nil {
			x = &transaction{id: id, shard: s, lastEpoch: noEpoch}
			t.mu.ids[id] = x
		}
		t.writeLocked(x, d, then)
	default:
		var value *txnValue
		if x != nil {
			value = x.value()
		}
		t.afterLocked(func() { then(d.code, value) })
	}
	return false
}

func (t *Transactions) decider(fresh record.ProducerID) decider {
	return decider{nowMs: time.Now().UnixMilli(), level: t.opts.Level(), fresh: fresh}
}

// writeLocked puts a transition into the log. Until it is there, or could not be written, no other is decided. then may be nil.
func (t *Transactions) writeLocked(x *transaction, d txnDecision, then func(wire.Code, *txnValue)) {
	x.pending = true
	level := t.opts.Level()
	e := txnEntry{id: x.id, value: d.write.logged(level)}
	t.appendLocked(x.shard, []txnEntry{e}, level, func(err error) {
		x.pending = false
		code := d.code
		if err == nil {
			x.lastEpoch = d.lastEpoch
			if e.value.state.preparing() {
				t.completeLocked(x)
			}
		} else if code = wire.CoordinatorNotAvailable; x.value() == nil {
			delete(t.mu.ids, x.id)
		}
		if value := x.value(); then != nil {
			t.afterLocked(func() { then(code, value) })
		}
		t.unparkLocked(x)
	})
}

// appendLocked appends records to a shard's log. then is called with mu held, once they are committed and applied, or could not be.
func (t *Transactions) appendLocked(s *txnShard, list []txnEntry, level int16, then func(error)) {
	t.writes.Add(1)
	done := func(err error) {
		t.later(func() {
			defer t.writes.Done()
			if err != nil {
				t.opts.Logger.Error("the transaction coordinator could not write", "error", err)
			} else {
				for _, e := range list {
					s.apply(e)
				}
			}
			then(err)
			if errors.Is(err, storage.ErrRemoved) {
				t.dropLocked(s)
			}
		})
	}
	batch, err := txnBatchOf(list, level, time.Now())
	if err == nil {
		_, err = s.log.Append(batch, done)
	}
	if err != nil {
		done(err)
	}
}

// Forget drops every transactional id: the topic that kept them was deleted. The next request makes it anew.
func (t *Transactions) Forget() {
	t.locked(func() {
		for _, s := range t.mu.shards {
			t.dropLocked(s)
		}
	})
}

// dropLocked forgets a shard whose log was removed with its topic.
func (t *Transactions) dropLocked(s *txnShard) {
	maps.DeleteFunc(t.mu.shards, func(_ int32, other *txnShard) bool { return other == s })
	maps.DeleteFunc(t.mu.ids, func(_ string, x *transaction) bool {
		if x.shard != s {
			return false
		}
		for _, p := range x.parked {
			t.afterLocked(func() { p.done(wire.CoordinatorNotAvailable) })
		}
		x.parked = nil
		return true
	})
}

// later has fn called by applyLoop, with mu held.
func (t *Transactions) later(fn func()) { t.committed.later(fn) }

func (t *Transactions) apply(list []func()) {
	t.locked(func() {
		for _, fn := range list {
			fn()
		}
	})
}

// Close answers what is parked with COORDINATOR_NOT_AVAILABLE, waits for what is on its way to the logs of transactions, and ends the goroutines. Markers are not waited
// for: what is decided is completed after the next start. Idempotent.
func (t *Transactions) Close() error {
	t.locked(func() {
		if t.mu.closed {
			return
		}
		t.mu.closed = true
		if t.mu.deadlines.timer != nil {
			t.mu.deadlines.timer.Stop()
		}
		for _, x := range t.mu.ids {
			for _, p := range x.parked {
				t.afterLocked(func() { p.done(wire.CoordinatorNotAvailable) })
			}
			x.parked = nil
		}
	})
	t.writes.Wait()
	t.cancel()
	t.wg.Wait()
	return nil
}
