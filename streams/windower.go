package streams

import "context"

// windowPush hands records to an aggregate; from[i] is the start of the first window that batch[i] is in.
type windowPush[K, V any] func(ctx context.Context, batch []Record[K, V], from []int64) error

// windowChild is an aggregate behind a windower.
type windowChild[K, V any] struct {
	push windowPush[K, V]
	// close closes the windows that end at or before closed.
	close func(ctx context.Context, closed int64) error
	// lastEnd is the end of the last open window, noTime when none is open.
	lastEnd func() int64
	// drop removes the windows that end at or before closed, after a restore: their values were sent.
	drop func(closed int64)
}

type windowPort[K, V any] struct {
	children []func(*taskBuild) windowChild[K, V]
}

// windower sorts records into windows in one task, and says when they close.
type windower[K, V any] struct {
	task               *task
	clock              *clock
	size, every, grace int64
	children           []windowChild[K, V]
	late               push[K, V]

	in     []Record[K, V]
	from   []int64
	missed []Record[K, V]
}

func openWindower[K, V any](b *taskBuild, w Windowed[K, V]) push[K, V] {
	spec := w.decl.spec
	o := &windower[K, V]{
		task: b.task, clock: b.clock(w.decl.node, w.decl.name), late: w.late.open(b),
		size: spec.size.Milliseconds(), every: spec.every.Milliseconds(), grace: spec.grace.Milliseconds(),
	}
	for _, child := range w.out.children {
		o.children = append(o.children, child(b))
	}
	b.task.windowers = append(b.task.windowers, o)
	return o.push
}

func (o *windower[K, V]) push(ctx context.Context, batch []Record[K, V]) error {
	wall := o.task.wall
	for i := range batch {
		r := &batch[i]
		if r.NullKey || r.Tombstone {
			o.task.metrics.DroppedNull.Add(1)
			continue
		}
		o.clock.observe(r.clock, r.Time, wall)
		o.clock.closed = max(o.clock.closed, o.clock.before(o.grace))
		if from, ok := o.firstWindow(r.Time); ok {
			o.in, o.from = append(o.in, *r), append(o.from, from)
		} else {
			o.task.metrics.Late.Add(1)
			o.missed = append(o.missed, *r)
		}
	}
	err := o.forward(ctx)
	clear(o.in)
	clear(o.missed)
	o.in, o.from, o.missed = o.in[:0], o.from[:0], o.missed[:0]
	return err
}

// forward hands the sorted records on, and closes what they closed.
func (o *windower[K, V]) forward(ctx context.Context) error {
	if len(o.in) > 0 {
		for _, child := range o.children {
			if err := child.push(ctx, o.in, o.from); err != nil {
				return err
			}
		}
	}
	if len(o.missed) > 0 {
		if err := o.late(ctx, o.missed); err != nil {
			return err
		}
	}
	return o.close(ctx)
}

// firstWindow returns the start of the first open window that a record of time t is in.
func (o *windower[K, V]) firstWindow(t int64) (int64, bool) {
	if !validTime(t) {
		return 0, false
	}
	last := t - t%o.every
	first := last
	if o.size != o.every {
		// The lowest multiple of every above t-size, and none before 1970.
		first = max(0, t-o.size+o.every)
		first -= first % o.every
	}
	for ; first <= last; first += o.every {
		if first+o.size > o.clock.closed {
			return first, true
		}
		o.task.metrics.LateWindows.Add(1)
	}
	return 0, false
}

// advance closes what the time that has passed without a record closed.
func (o *windower[K, V]) advance(ctx context.Context) error {
	closed := max(o.clock.closed, o.clock.before(o.grace))
	if o.task.allIdle(o.clock) {
		for _, child := range o.children {
			closed = max(closed, child.lastEnd())
		}
	}
	if closed == o.clock.closed {
		return nil
	}
	o.clock.closed = closed
	o.task.dirty = true
	return o.close(ctx)
}

func (o *windower[K, V]) close(ctx context.Context) error {
	for _, child := range o.children {
		if err := child.close(ctx, o.clock.closed); err != nil {
			return err
		}
	}
	return nil
}

func (o *windower[K, V]) restored() {
	for _, child := range o.children {
		child.drop(o.clock.closed)
	}
}
