package streams

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

const (
	// stepsPerTurn bounds the batches that a task processes before the next task of its lane has its turn.
	stepsPerTurn = 8
	// idleCheck is how often a lane without records looks whether an input has become idle.
	idleCheck = 50 * time.Millisecond
	// askTimeout bounds a question to the broker that can be asked again.
	askTimeout = 5 * time.Second
)

// lane is a goroutine that owns some tasks, and the unit of commit: what its tasks wrote is flushed together, and then their
// offsets are committed together.
type lane struct {
	m        *member
	w        *Worker
	ended    chan struct{}
	wake     chan struct{} // holds one: something is in the inbox
	txn      *transaction  // nil when delivery is at least once
	tasks    []*task       // Invariant: used by the lane's goroutine only, as all below
	inputs   map[Source]*laneInput
	draining bool
	failed   error         // what a command found out; the lane ends with it
	commits  time.Time     // when the last commit was
	took     time.Duration // how long it took
	purges   time.Time

	inbox struct {
		sync.Mutex
		items []any // delivery or func(), in order
	}

	unacked struct {
		sync.Mutex
		count int
		err   error
		zero  chan struct{} // holds one: count has become zero, or err is set
	}
	acked func(*kgo.Record, error)
}

// laneInput is an input of one of the lane's tasks.
type laneInput struct {
	*input
	task  *task
	route *route
	// purged is the offset up to which a repartition partition was emptied.
	purged int64
}

// delivery is what was fetched of a partition.
type delivery struct {
	source  Source
	records []*kgo.Record
	end     int64
}

func newLane(m *member, number int) (*lane, error) {
	l := &lane{m: m, w: m.w, ended: make(chan struct{}), wake: make(chan struct{}, 1), inputs: map[Source]*laneInput{}}
	l.unacked.zero = make(chan struct{}, 1)
	l.acked = l.acknowledged
	if m.w.options.Delivery == ExactlyOnce {
		var err error
		if l.txn, err = newTransaction(l, number); err != nil {
			return nil, err
		}
	}
	return l, nil
}

// deliver hands records to the lane. Their number is bounded by Options.MaxBuffered and what one poll returns.
func (l *lane) deliver(d delivery) { l.put(d) }

// command lets the lane's goroutine call fn between two batches.
func (l *lane) command(fn func()) { l.put(fn) }

func (l *lane) put(item any) {
	l.inbox.Lock()
	l.inbox.items = append(l.inbox.items, item)
	l.inbox.Unlock()
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

// run is the goroutine of the lane.
func (l *lane) run() {
	defer close(l.ended)
	err := l.loop(l.m.hard)
	if l.txn != nil {
		l.txn.abort()
	}
	if err != nil && l.m.hard.Err() == nil {
		l.m.end(err)
	}
}

func (l *lane) loop(ctx context.Context) error {
	if l.txn != nil {
		if err := l.txn.takeOver(ctx); err != nil {
			return err
		}
	}
	for {
		l.takeInbox()
		if l.failed != nil {
			return l.failed
		}
		if l.draining {
			_, err := l.commit(ctx)
			return err
		}
		worked := false
		for _, t := range l.tasks {
			did, err := l.turn(ctx, t)
			if err != nil {
				// What was done before the record that failed is kept, as far as it was committed by now.
				return err
			}
			worked = worked || did
		}
		if l.commitDue() {
			if _, err := l.commit(ctx); err != nil {
				return err
			}
		}
		if !worked {
			if err := l.certify(ctx); err != nil {
				return err
			}
			l.wait(ctx)
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
}

func (l *lane) takeInbox() {
	l.inbox.Lock()
	items := l.inbox.items
	l.inbox.items = nil
	l.inbox.Unlock()
	for _, item := range items {
		switch item := item.(type) {
		case func():
			item()
		case delivery:
			l.take(item)
		}
	}
}

// take queues fetched records. Those of a partition that was taken away meanwhile are dropped, the next owner reads them.
func (l *lane) take(d delivery) {
	in := l.inputs[d.source]
	if in == nil {
		l.w.metrics.Buffered.Add(-int64(len(d.records)))
		return
	}
	known := 0
	for known < len(d.records) && d.records[known].Offset < in.fetched {
		known++
	}
	if known > 0 {
		l.w.metrics.Buffered.Add(-int64(known))
		l.m.consumed(d.source, in.route, known)
	}
	in.add(d.records[known:], d.end)
}

// turn lets a task process some batches, and produces what it wrote.
func (l *lane) turn(ctx context.Context, t *task) (bool, error) {
	for i := range stepsPerTurn {
		did, err := t.step(ctx)
		if err != nil {
			return false, err
		}
		if err := l.produce(ctx, t); err != nil {
			return false, err
		}
		if !did {
			l.report(t)
			return i > 0, nil
		}
		if l.commitDue() {
			break // steps may be slow, and a transaction must end before the broker ends it
		}
	}
	l.report(t)
	return true, nil
}

// report makes the positions of a task known, and lets what was processed be fetched.
func (l *lane) report(t *task) {
	for _, in := range t.inputs {
		li := l.inputs[*in.source]
		li.route.end.Store(in.end)
		li.route.position.Store(in.position)
		if in.consumed > 0 {
			l.m.consumed(*in.source, li.route, in.consumed)
			in.consumed = 0
		}
	}
}

// produce sends what a task wrote. The client blocks when too much is unacknowledged.
func (l *lane) produce(ctx context.Context, t *task) error {
	records := t.produced()
	if len(records) == 0 {
		return nil
	}
	producer := l.m.client
	if l.txn != nil {
		if err := l.txn.begin(records); err != nil {
			return err
		}
		producer = l.txn.client
	}
	l.unacked.Lock()
	l.unacked.count += len(records)
	l.unacked.Unlock()
	for _, r := range records {
		producer.Produce(ctx, r, l.acked)
	}
	return nil
}

func (l *lane) acknowledged(r *kgo.Record, err error) {
	l.unacked.Lock()
	l.unacked.count--
	if err != nil && l.unacked.err == nil {
		l.unacked.err = fmt.Errorf("write to topic %s: %w", r.Topic, err)
	}
	signal := l.unacked.count == 0 || err != nil
	l.unacked.Unlock()
	if signal {
		select {
		case l.unacked.zero <- struct{}{}:
		default:
		}
	}
}

// waitAcknowledged waits until all that was produced is acknowledged.
func (l *lane) waitAcknowledged(ctx context.Context) error {
	for {
		l.unacked.Lock()
		count, err := l.unacked.count, l.unacked.err
		l.unacked.Unlock()
		if err != nil || count == 0 {
			return err
		}
		select {
		case <-l.unacked.zero:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// certify asks the broker for the end of the log of inputs that seem idle: a fetch that is late or fails is no idleness.
func (l *lane) certify(ctx context.Context) error {
	var inputs []*input
	topics := map[string]bool{}
	for _, t := range l.tasks {
		for _, in := range t.uncertified() {
			inputs = append(inputs, in)
			topics[in.source.Topic] = true
		}
	}
	if len(inputs) == 0 {
		return nil
	}
	ends, err := l.w.endOffsets(ctx, topics)
	if err != nil {
		return nil // asked again at the next check; until then the inputs are not idle
	}
	for _, in := range inputs {
		if end, ok := ends[*in.source]; ok {
			in.end = max(in.end, end)
			in.certified = in.atEnd()
		}
	}
	l.put(func() {}) // a turn for the tasks to notice
	return nil
}

// wait waits for something to do.
func (l *lane) wait(ctx context.Context) {
	wait := time.Hour
	if slices.ContainsFunc(l.tasks, (*task).watchesIdleness) {
		wait = idleCheck
	}
	if l.dirty() {
		wait = min(wait, max(time.Millisecond, l.interval()-time.Since(l.commits)))
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-l.wake:
	case <-timer.C:
	case <-ctx.Done():
	}
}
