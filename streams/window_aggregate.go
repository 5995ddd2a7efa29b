package streams

import (
	"context"
	"time"

	"github.com/milldam/milldam/streams/state"
)

// windowed is the aggregate of a key in a window.
type windowed[K, A any] struct {
	Record[K, A]
	window Window
}

type windowedPush[K, A any] func(ctx context.Context, batch []windowed[K, A]) error

type windowedPort[K, A any] struct {
	children []func(*taskBuild) windowedPush[K, A]
}

func (p *windowedPort[K, A]) open(b *taskBuild) []windowedPush[K, A] {
	targets := make([]windowedPush[K, A], 0, len(p.children))
	for _, child := range p.children {
		targets = append(targets, child(b))
	}
	return targets
}

// aggregateWindows declares an aggregation by key and window.
func aggregateWindows[K, V, A any](w Windowed[K, V], name string, onError OnError, codec Codec[A], fold fold[K, V, A]) WindowTable[K, A] {
	n := w.s.t.addNamed(kindAggregate, name, w.decl.node)
	n.changelog, n.keeps, n.window = true, fold.keeps, w.decl.spec.String()
	if w.decl.name == "" {
		w.decl.name = name
	}
	onError.check(w.s.t, n)
	keys := w.s.keyCodec()
	checkCodecs(w.s.t, n, keys, codec)
	table := WindowTable[K, A]{t: w.s.t, node: n, final: &windowedPort[K, A]{}, update: &windowedPort[K, A]{}, keys: w.s.keys}
	w.out.children = append(w.out.children, func(b *taskBuild) windowChild[K, V] {
		a := &windowAggregation[K, V, A]{
			task: b.task, keys: copyingCodec(keys), fold: fold, store: state.NewWindows[A](copyingCodec(codec)),
			size: w.decl.spec.size.Milliseconds(), every: w.decl.spec.every.Milliseconds(),
			final: table.final.open(b), update: table.update.open(b),
			failures: failures[K, V]{task: b.task, node: n, policy: onError, keys: keys, values: w.s.valueCodec()},
		}
		a.store.Atomic = b.task.atomic
		b.task.addStore(b.plan.changelog(n), a.store)
		return windowChild[K, V]{push: a.push, close: a.close, lastEnd: a.lastEnd, drop: a.drop}
	})
	return table
}

// windowAggregation is an aggregate by key and window in one task.
type windowAggregation[K, V, A any] struct {
	task          *task
	keys          Codec[K]
	fold          fold[K, V, A]
	store         *state.Windows[A]
	size, every   int64
	final, update []windowedPush[K, A]
	failures      failures[K, V]

	scratch []byte
	out     []windowed[K, A]
}

func (a *windowAggregation[K, V, A]) push(ctx context.Context, batch []Record[K, V], from []int64) error {
	for i := range batch {
		r := &batch[i]
		if err := a.failures.try(ctx, r, func() error { return a.take(ctx, r, from[i]) }); err != nil {
			return err
		}
	}
	return a.send(ctx, a.update)
}

// take adds r to its windows from the one that begins at start.
func (a *windowAggregation[K, V, A]) take(ctx context.Context, r *Record[K, V], start int64) error {
	var err error
	if a.scratch, err = a.keys.Append(a.scratch[:0], r.Key); err != nil {
		return err
	}
	for ; start <= r.Time; start += a.every {
		value, time := *new(A), r.Time
		if entry := a.store.Get(start, a.scratch); entry != nil {
			if value, err = a.fold.add(ctx, entry.Value, r); err != nil {
				return err
			}
			time = max(time, entry.Time)
			a.store.Set(start, entry, value, time)
		} else {
			if value, err = a.fold.first(ctx, r); err != nil {
				return err
			}
			a.store.Insert(start, a.scratch, value, time)
		}
		if len(a.update) > 0 {
			a.out = append(a.out, a.result(r.Key, start, value, time, r))
		}
	}
	return nil
}

func (a *windowAggregation[K, V, A]) result(key K, start int64, value A, at int64, cause *Record[K, V]) windowed[K, A] {
	w := windowed[K, A]{window: a.window(start)}
	if cause != nil {
		w.Record = with(cause, key, value)
	} else {
		w.Key, w.Value = key, value
	}
	w.Time = at
	return w
}

func (a *windowAggregation[K, V, A]) window(start int64) Window {
	return Window{Start: time.UnixMilli(start).UTC(), End: time.UnixMilli(start + a.size).UTC()}
}

func (a *windowAggregation[K, V, A]) close(ctx context.Context, closed int64) error {
	for starts := a.store.Starts(); len(starts) > 0 && starts[0]+a.size <= closed; starts = a.store.Starts() {
		start := starts[0]
		for _, entry := range a.store.Close(start) {
			a.task.metrics.Closed.Add(1)
			if len(a.final) == 0 {
				continue
			}
			key, err := a.keys.Decode([]byte(entry.Key()))
			if err != nil {
				return err
			}
			a.out = append(a.out, a.result(key, start, entry.Value, entry.Time, nil))
			if len(a.out) >= maxBatch {
				if err := a.send(ctx, a.final); err != nil {
					return err
				}
			}
		}
		if err := a.send(ctx, a.final); err != nil {
			return err
		}
	}
	return nil
}

func (a *windowAggregation[K, V, A]) send(ctx context.Context, targets []windowedPush[K, A]) error {
	defer func() {
		clear(a.out)
		a.out = a.out[:0]
	}()
	if len(a.out) == 0 {
		return nil
	}
	for _, target := range targets {
		if err := target(ctx, a.out); err != nil {
			return err
		}
	}
	return nil
}

func (a *windowAggregation[K, V, A]) lastEnd() int64 {
	starts := a.store.Starts()
	if len(starts) == 0 {
		return noTime
	}
	return starts[len(starts)-1] + a.size
}

func (a *windowAggregation[K, V, A]) drop(closed int64) {
	for starts := a.store.Starts(); len(starts) > 0 && starts[0]+a.size <= closed; starts = a.store.Starts() {
		a.store.Drop(starts[0])
	}
}
