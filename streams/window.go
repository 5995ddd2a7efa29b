package streams

import (
	"context"
	"fmt"
	"time"
)

// Window is a span of event time, [Start, End).
type Window struct {
	Start, End time.Time
}

func (w Window) String() string {
	return fmt.Sprintf("[%s, %s)", w.Start.Format(time.RFC3339), w.End.Format(time.RFC3339))
}

// WindowSpec says into which windows a record falls, and how long they take late ones. Windows begin at multiples of their
// distance from 1970 on, UTC; a record from before that, or from after the year 9999, is in none: it is late.
type WindowSpec struct {
	size, every, grace time.Duration
}

// Tumbling returns windows of one length, one after the other.
func Tumbling(size time.Duration) WindowSpec { return WindowSpec{size: size, every: size} }

// Hopping returns windows of a length that begin at a distance from each other which is shorter: they overlap.
func Hopping(size, every time.Duration) WindowSpec { return WindowSpec{size: size, every: every} }

// Grace returns windows that stay open for records that come up to this much after the window's end, in event time.
func (w WindowSpec) Grace(grace time.Duration) WindowSpec {
	w.grace = grace
	return w
}

func (w WindowSpec) String() string {
	s := "tumbling " + w.size.String()
	if w.every != w.size {
		s = fmt.Sprintf("hopping %s every %s", w.size, w.every)
	}
	if w.grace > 0 {
		s += " grace " + w.grace.String()
	}
	return s
}

// maxOverlap bounds how many windows a record falls into.
const maxOverlap = 1000

func (w WindowSpec) check() error {
	whole := func(d time.Duration) bool { return d%time.Millisecond == 0 }
	switch {
	case w.size < time.Millisecond || w.every < time.Millisecond || w.grace < 0:
		return fmt.Errorf("%s: the length and the distance must be at least 1ms, the grace not negative", w)
	case !whole(w.size) || !whole(w.every) || !whole(w.grace):
		return fmt.Errorf("%s: event time has milliseconds, nothing smaller", w)
	case w.every > w.size:
		return fmt.Errorf("%s: records between two windows would be lost", w)
	case w.size/w.every > maxOverlap:
		return fmt.Errorf("%s: a record would be in %d windows, more than the limit of %d", w, w.size/w.every, maxOverlap)
	}
	return nil
}

// Windowed is a grouped stream whose records are sorted into windows. All aggregates made of it close their windows together.
type Windowed[K, V any] struct {
	s    Stream[K, V]
	decl *windowDecl
	out  *windowPort[K, V]
	late *port[K, V]
}

// windowDecl is the declaration that aggregates of one Windowed share.
type windowDecl struct {
	node *node
	spec WindowSpec
	// name is that of the first aggregate: under it the time of the windows is kept with the committed offsets.
	name string
}

// Window sorts the records into windows by their time.
//
// A window is closed when the time of the task has passed its end by the grace, or when all inputs are idle. The time of the
// task is the highest it has seen, with several partitions that of the one that is furthest behind and not idle; it never goes
// back, also over a restart. A record all of whose windows are closed is late: see Late.
func (g Grouped[K, V]) Window(spec WindowSpec) Windowed[K, V] {
	n := g.s.t.add(kindWindow, "", g.s.node)
	n.window = spec.String()
	if err := spec.check(); err != nil {
		g.s.t.fail(n, "%w", err)
	}
	w := Windowed[K, V]{s: g.s, decl: &windowDecl{node: n, spec: spec}, out: &windowPort[K, V]{}, late: &port[K, V]{}}
	g.s.out.children = append(g.s.out.children, func(b *taskBuild) push[K, V] {
		return once(b, n, func() push[K, V] { return openWindower(b, w) })
	})
	return w
}

// Late is the stream of the records that came too late for all of their windows. They are counted whether it is used or not.
func (w Windowed[K, V]) Late() Stream[K, V] {
	n := w.s.t.add("late", "", w.decl.node)
	return Stream[K, V]{t: w.s.t, node: n, out: w.late, keys: w.s.keys, values: w.s.values, rekeyed: w.s.rekeyed}
}

// Count counts the records of each key and window. name is that of the store.
func (w Windowed[K, V]) Count(name string) WindowTable[K, int64] {
	return aggregateWindows(w, name, OnError{}, Int64, counting[K, V]())
}

// Reduce combines the values of each key and window, starting with the first one. name is that of the store.
func (w Windowed[K, V]) Reduce(name string, combine func(V, V) V) WindowTable[K, V] {
	return aggregateWindows(w, name, OnError{}, w.s.valueCodec(), reducing[K](combine))
}

// Aggregate makes a value of another type of the values of each key and window. name is that of the store.
func (w Windowed[K, V]) Aggregate[A any](name string, initial func() A, add func(A, V) A) WindowTable[K, A] {
	return aggregateWindows(w, name, OnError{}, infer[A](), adding[K](initial, add))
}

// TryAggregate is Aggregate with the codec of the store, and a function that sees the whole record and may fail; add must not
// change the aggregate that it was given when it fails. A record that is in several windows and fails in one is in none of the
// following.
func (w Windowed[K, V]) TryAggregate[A any](name string, codec Codec[A], onError OnError, initial func() A,
	add func(ctx context.Context, aggregate A, r *Record[K, V]) (A, error)) WindowTable[K, A] {
	return aggregateWindows(w, name, onError, codec, tryAdding(initial, add))
}

// WindowTable is an aggregate of each key and window.
type WindowTable[K, A any] struct {
	t      *Topology
	node   *node
	final  *windowedPort[K, A]
	update *windowedPort[K, A]
	keys   Codec[K]
}

// Final is the stream of each window's value once it is closed, one record for each key. Its time is the highest of the records
// in the window. value makes the value of the record; Map behind it may give it another key.
func (w WindowTable[K, A]) Final[V any](value func(key K, window Window, aggregate A) V) Stream[K, V] {
	return windowStream(w, "final", w.final, value)
}

// Updates is the stream of each change of each window.
func (w WindowTable[K, A]) Updates[V any](value func(key K, window Window, aggregate A) V) Stream[K, V] {
	return windowStream(w, "updates", w.update, value)
}

func windowStream[K, A, V any](w WindowTable[K, A], kind nodeKind, from *windowedPort[K, A], value func(K, Window, A) V) Stream[K, V] {
	n := w.t.add(kind, "", w.node)
	out := &port[K, V]{}
	from.children = append(from.children, func(b *taskBuild) windowedPush[K, A] {
		next := out.open(b)
		var buf []Record[K, V]
		return func(ctx context.Context, batch []windowed[K, A]) error {
			for i := range batch {
				r := &batch[i]
				buf = append(buf, with(&r.Record, r.Key, value(r.Key, r.window, r.Value)))
			}
			err := next(ctx, buf)
			clear(buf)
			buf = buf[:0]
			return err
		}
	})
	return Stream[K, V]{t: w.t, node: n, out: out, keys: w.keys}
}
