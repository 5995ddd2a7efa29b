package streams

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/milldam/milldam/streams/state"
)

// taskID names a task: the part of the topology that is connected without repartition topics, and a partition.
type taskID struct {
	sub       int
	partition int32
}

func (id taskID) String() string { return fmt.Sprintf("%d_%d", id.sub, id.partition) }

// environment is what a task needs of the world. A worker gives it the real one, a simulation one that stands still.
type environment struct {
	metrics *Metrics
	now     func() time.Time
	sleep   func(ctx context.Context, d time.Duration) error
	atomic  bool // what a task writes and its offsets become durable together
}

// task runs one subtopology for one partition. It does no I/O: whoever owns it hands it fetched records, lets it step, and takes
// what it wrote. It is used by one goroutine.
type task struct {
	id taskID
	environment
	inputs    []*input
	stores    []taskStore
	clocks    []*clock // those whose time is kept with the offsets and those of repartitions
	windowers []interface {
		advance(ctx context.Context) error
		restored()
	}
	repartitioners []*repartitioner
	output         output

	idle, free []bool // of each clock input, now
	wall       int64  // the wall clock of this step, in milliseconds
	ready      int64  // the wall clock at the start, or at the end of the restore, that of the tables included
	dirty      bool   // there is something to commit
	heard      bool   // a writer told its time since the last refresh
}

// changelogStore is a store of package state.
type changelogStore interface {
	Flush(write func(state.Change) error) error
	Restore(state.Change) error
	Committed()
	Leaving() bool
}

// taskStore is a store with its changelog topic.
type taskStore struct {
	topic string
	changelogStore
}

// taskBuild is what operators are given to make themselves for a task.
type taskBuild struct {
	task *task
	plan *plan
	sub  *subtopology
	made map[any]any
}

// once returns what make made for key when it was first called in this task.
func once[T any](b *taskBuild, key any, make func() T) T {
	if v, ok := b.made[key]; ok {
		return v.(T)
	}
	v := make()
	b.made[key] = v
	return v
}

// newTask makes the operators of a task. Its inputs have no offsets yet.
func newTask(p *plan, id taskID, env environment) *task {
	sub := p.subs[id.sub]
	t := &task{id: id, environment: env}
	b := &taskBuild{task: t, plan: p, sub: sub, made: map[any]any{}}
	clocks := int32(0)
	for _, n := range sub.inputs {
		topic := p.topic(n)
		if id.partition >= p.partitions[topic] {
			continue
		}
		in := &input{node: n, source: &Source{topic, id.partition}, clock: clocks}
		switch n.kind {
		case kindSource:
			clocks++
		case kindRepartition:
			in.writers = make([]writerStatus, p.writers(n))
			clocks += int32(len(in.writers))
		}
		t.inputs = append(t.inputs, in)
	}
	t.idle, t.free = make([]bool, clocks), make([]bool, clocks)
	for _, in := range t.inputs {
		in.node.open(b, in)
	}
	return t
}

// addStore registers the store of n, which has a changelog.
func (t *task) addStore(topic string, s changelogStore) {
	t.stores = append(t.stores, taskStore{topic, s})
}

// clock makes the clock of an operator, whose time is kept with the committed offsets under name.
func (b *taskBuild) clock(n *node, name string) *clock {
	c := newClock(name, 0)
	b.watch(n, c)
	return c
}

// watch sets which inputs of the task move the clock of the operator n.
func (b *taskBuild) watch(n *node, c *clock) {
	c.inputs = newClock("", len(b.task.idle)).inputs
	for _, in := range b.task.inputs {
		feeds, retimed := reaches(in.node, n)
		if !feeds || in.isTable() {
			continue
		}
		for i := in.clock; i < in.clock+in.clocks(); i++ {
			c.inputs[i].feeds = true
			c.inputs[i].told = in.writers != nil && !retimed
		}
	}
	b.task.clocks = append(b.task.clocks, c)
}

// reaches reports whether records of the source come to n without a repartition between, and whether they may get another time on
// the way.
func reaches(source, n *node) (found, retimed bool) {
	for _, p := range n.parents {
		if p == source {
			found = true
			continue
		}
		if p.kind == kindRepartition {
			continue
		}
		if f, r := reaches(source, p); f {
			found, retimed = true, retimed || r || p.retimes
		}
	}
	return found, retimed
}

// restoreStore takes records of a store's changelog.
func (t *task) restoreStore(s taskStore, records []*kgo.Record) error {
	for _, r := range records {
		if r.Attrs.IsControl() {
			continue
		}
		if err := s.Restore(state.Change{Key: r.Key, Value: r.Value, Time: r.Timestamp.UnixMilli()}); err != nil {
			return fmt.Errorf("task %s: restore from %s-%d@%d: %w", t.id, r.Topic, r.Partition, r.Offset, err)
		}
		t.metrics.Restored.Add(1)
	}
	return nil
}

// restored ends the restore of the stores: what was closed before it does not come back.
func (t *task) restored() {
	for _, w := range t.windowers {
		w.restored()
	}
	t.ready = t.now().UnixMilli()
}

// step processes one batch of records, and reports whether there was one that could be processed now.
func (t *task) step(ctx context.Context) (bool, error) {
	t.wall = t.now().UnixMilli()
	in, n := t.choose()
	if in == nil {
		return false, t.passTime(ctx)
	}
	batch := in.queue[:n]
	if t.refresh() {
		t.heard = true
	}
	if err := in.push(ctx, batch); err != nil {
		return false, err
	}
	in.position = batch[n-1].Offset + 1
	in.queue = in.queue[n:]
	in.consumed += n
	in.lastRecord = t.wall
	t.dirty = true
	t.metrics.RecordsIn.Add(int64(n))
	t.metrics.Buffered.Add(-int64(n))
	return true, t.passTime(ctx)
}

// passTime lets operators notice that an input became idle, or that a writer told its time. Not before the tables are read: a window that
// closed then would be joined with nothing.
func (t *task) passTime(ctx context.Context) error {
	t.wall = t.now().UnixMilli()
	if slices.ContainsFunc(t.inputs, (*input).restoring) {
		t.ready = t.wall
		return nil
	}
	if !t.refresh() && !t.heard {
		return nil
	}
	t.heard, t.dirty = false, true
	for _, w := range t.windowers {
		if err := w.advance(ctx); err != nil {
			return err
		}
	}
	return nil
}

// choose returns the input whose head record is the earliest, and how many of its records come before that of any other input. It
// returns nil when there is nothing, or when an input must be waited for that may still bring earlier records.
func (t *task) choose() (*input, int) {
	for _, in := range t.inputs {
		if in.restoring() {
			if len(in.queue) > 0 {
				return in, min(len(in.queue), maxBatch)
			}
			if in.fetched < in.restore {
				return nil, 0
			}
		}
	}
	var first *input
	next := int64(0) // head time of the second
	for _, in := range t.inputs {
		if len(in.queue) == 0 {
			if t.waitsFor(in) {
				return nil, 0
			}
			continue
		}
		head := in.queue[0].Timestamp.UnixMilli()
		switch {
		case first == nil:
			first, next = in, noTime
		case head < first.queue[0].Timestamp.UnixMilli():
			first, next = in, first.queue[0].Timestamp.UnixMilli()
		case next == noTime || head < next:
			next = head
		}
	}
	if first == nil {
		return nil, 0
	}
	n := min(len(first.queue), maxBatch)
	if next == noTime {
		return first, n
	}
	for i := 1; i < n; i++ {
		if first.queue[i].Timestamp.UnixMilli() > next {
			return first, i
		}
	}
	return first, n
}

// waitsFor reports whether an input without records holds the others back: one that is known to have more, or that is not idle
// yet. A table is waited for only in the first case.
func (t *task) waitsFor(in *input) bool {
	if len(t.inputs) == 1 {
		return false
	}
	if in.fetched < in.end {
		return true
	}
	after := in.node.idle.after.Milliseconds()
	return in.node.kind == kindSource && after > 0 && t.wall-in.quietSince(t.ready) < after
}

// refresh finds out which inputs are idle and which hold time back, and reports whether that changed.
func (t *task) refresh() bool {
	changed := false
	set := func(i int32, idle, free bool) {
		changed = changed || t.idle[i] != idle || t.free[i] != free
		t.idle[i], t.free[i] = idle, free
	}
	for _, in := range t.inputs {
		if in.isTable() {
			continue
		}
		for i, w := range in.writers {
			set(in.clock+int32(i), w.idle && in.atEnd(), w.free)
		}
		if in.writers == nil {
			idle := t.quiet(in) && in.certified
			set(in.clock, idle, idle || in.node.idle.after == 0 && in.atEnd())
		}
	}
	for _, c := range t.clocks {
		changed = t.release(c) || changed
	}
	return changed
}

// release sets which inputs do not hold the clock back, and reports whether that moved it. One that is read to its end and of which nothing has reached the operator
// for the idle time does not, even if records come that are filtered out before it.
func (t *task) release(c *clock) bool {
	before := c.now
	for _, in := range t.inputs {
		if in.isTable() {
			continue
		}
		for i := in.clock; i < in.clock+in.clocks(); i++ {
			if !c.inputs[i].feeds {
				continue
			}
			free := t.free[i]
			if after := in.node.idle.after.Milliseconds(); !free && after > 0 && in.writers == nil && in.atEnd() {
				free = t.wall-max(c.inputs[i].seen, t.ready) >= after
			}
			c.setFree(i, free)
		}
	}
	return c.now != before
}

// quiet reports whether an input stands at the end of its log, as far as is known, and brought nothing for its idle time.
func (t *task) quiet(in *input) bool {
	after := in.node.idle.after.Milliseconds()
	return after > 0 && in.atEnd() && t.wall-in.quietSince(t.ready) >= after
}

// watchesIdleness reports whether the task has something to do when nothing comes.
func (t *task) watchesIdleness() bool {
	return slices.ContainsFunc(t.inputs, func(in *input) bool { return in.node.idle.after > 0 })
}

// uncertified returns the inputs that would be idle if the broker said that there is no more.
func (t *task) uncertified() []*input {
	t.wall = t.now().UnixMilli()
	return slices.DeleteFunc(slices.Clone(t.inputs), func(in *input) bool {
		return in.isTable() || in.writers != nil || in.certified || !t.quiet(in)
	})
}

// allIdle reports whether all inputs of a clock are idle.
func (t *task) allIdle(c *clock) bool { return all(c, t.idle) }

// allFree reports whether no input of a clock holds it back.
func (t *task) allFree(c *clock) bool { return all(c, t.free) }

func all(c *clock, flags []bool) bool {
	found := false
	for i := range c.inputs {
		if c.inputs[i].feeds {
			if !flags[i] {
				return false
			}
			found = true
		}
	}
	return found
}

// flush writes the changes of state, and the time for the readers of repartition topics, to the output. When the output is
// acknowledged, the offsets may be committed.
func (t *task) flush() error {
	for _, p := range t.repartitioners {
		p.tell()
	}
	for _, s := range t.stores {
		err := s.Flush(func(c state.Change) error {
			out := t.output.next()
			out.Topic, out.Partition = s.topic, t.id.partition
			out.Key, out.Timestamp = t.output.copy(c.Key), time.UnixMilli(c.Time)
			if c.Value != nil {
				out.Value = t.output.copy(c.Value)
			}
			t.metrics.Changes.Add(1)
			return nil
		})
		if err != nil {
			return fmt.Errorf("task %s: write changes of the store to %s: %w", t.id, s.topic, err)
		}
	}
	return nil
}

// committed tells that all that was flushed is acknowledged and the offsets are committed.
func (t *task) committed() {
	t.dirty = false
	for _, s := range t.stores {
		s.Committed()
		t.dirty = t.dirty || s.Leaving()
	}
}

// produced are the records written since the last call.
func (t *task) produced() []*kgo.Record { return t.output.take() }
