package streams

import (
	"context"

	"github.com/milldam/milldam/streams/state"
)

// Rekey gives the records another key, and brings those with equal keys together: they go through a repartition topic, called
// after the application and name. Null keys, as all keys, come from fn; there are none behind it.
//
// A repartition topic keeps no more than what is not yet processed.
func (s Stream[K, V]) Rekey[K2 any](name string, key func(K, V) K2) Stream[K2, V] {
	n := s.t.addNamed(kindRepartition, name, s.node)
	n.topic = name
	keys, values := infer[K2](), s.valueCodec()
	checkCodecs(s.t, n, keys, values)
	out := &port[K2, V]{}
	s.out.children = append(s.out.children, func(b *taskBuild) push[K, V] {
		return once(b, n, func() push[K, V] { return openRepartition(b, n, key, keys, values) })
	})
	n.open = func(b *taskBuild, in *input) { openSource(b, in, keys, values, out) }
	return Stream[K2, V]{t: s.t, node: n, out: out, keys: keys, values: values}
}

// GroupBy groups the records by another key, through a repartition topic as Rekey does.
func (s Stream[K, V]) GroupBy[K2 any](name string, key func(K, V) K2) Grouped[K2, V] {
	return Grouped[K2, V]{s.Rekey(name, key)}
}

// GroupByKey groups the records by the key they have.
func (s Stream[K, V]) GroupByKey() Grouped[K, V] {
	if s.rekeyed != nil {
		s.t.fail(s.rekeyed, "gives the records other keys, and GroupByKey behind it would find equal keys in different partitions: use GroupBy or Rekey")
	}
	return Grouped[K, V]{s}
}

// Grouped is a stream ready to be aggregated by key. A record without a key or without a value is left out and counted.
type Grouped[K, V any] struct {
	s Stream[K, V]
}

// Count counts the records of each key. name is that of the store.
func (g Grouped[K, V]) Count(name string) Table[K, int64] {
	return aggregate(g.s, name, OnError{}, Int64, counting[K, V]())
}

// Reduce combines the values of each key, starting with the first one. name is that of the store.
func (g Grouped[K, V]) Reduce(name string, combine func(V, V) V) Table[K, V] {
	return aggregate(g.s, name, OnError{}, g.s.valueCodec(), reducing[K](combine))
}

// Aggregate makes a value of another type of the values of each key. name is that of the store.
func (g Grouped[K, V]) Aggregate[A any](name string, initial func() A, add func(A, V) A) Table[K, A] {
	return aggregate(g.s, name, OnError{}, infer[A](), adding[K](initial, add))
}

// TryAggregate is Aggregate with the codec of the store, and a function that sees the whole record and may fail; add must not
// change the aggregate that it was given when it fails.
func (g Grouped[K, V]) TryAggregate[A any](name string, codec Codec[A], onError OnError, initial func() A,
	add func(ctx context.Context, aggregate A, r *Record[K, V]) (A, error)) Table[K, A] {
	return aggregate(g.s, name, onError, codec, tryAdding(initial, add))
}

// fold takes records into an aggregate: the first of a key, and each that follows.
type fold[K, V, A any] struct {
	first func(ctx context.Context, r *Record[K, V]) (A, error)
	add   func(ctx context.Context, aggregate A, r *Record[K, V]) (A, error)
	keeps bool // the aggregate may refer to what was decoded
}

func counting[K, V any]() fold[K, V, int64] {
	return fold[K, V, int64]{
		first: func(context.Context, *Record[K, V]) (int64, error) { return 1, nil },
		add:   func(_ context.Context, n int64, _ *Record[K, V]) (int64, error) { return n + 1, nil },
	}
}

func reducing[K, V any](combine func(V, V) V) fold[K, V, V] {
	return fold[K, V, V]{
		first: func(_ context.Context, r *Record[K, V]) (V, error) { return r.Value, nil },
		add:   func(_ context.Context, v V, r *Record[K, V]) (V, error) { return combine(v, r.Value), nil },
		keeps: true,
	}
}

func adding[K, V, A any](initial func() A, add func(A, V) A) fold[K, V, A] {
	return fold[K, V, A]{
		first: func(_ context.Context, r *Record[K, V]) (A, error) { return add(initial(), r.Value), nil },
		add:   func(_ context.Context, a A, r *Record[K, V]) (A, error) { return add(a, r.Value), nil },
		keeps: true,
	}
}

func tryAdding[K, V, A any](initial func() A, add func(context.Context, A, *Record[K, V]) (A, error)) fold[K, V, A] {
	return fold[K, V, A]{
		first: func(ctx context.Context, r *Record[K, V]) (A, error) { return add(ctx, initial(), r) },
		add:   add,
		keeps: true,
	}
}

// aggregate declares an aggregation.
func aggregate[K, V, A any](s Stream[K, V], name string, onError OnError, codec Codec[A], fold fold[K, V, A]) Table[K, A] {
	n := s.t.addNamed(kindAggregate, name, s.node)
	n.changelog, n.keeps = true, fold.keeps
	onError.check(s.t, n)
	keys := s.keyCodec()
	checkCodecs(s.t, n, keys, codec)
	table := Table[K, A]{t: s.t, node: n, keys: keys, values: codec}
	table.out = operator(s, n, func(b *taskBuild, next push[K, A]) push[K, V] {
		a := &aggregation[K, V, A]{
			task: b.task, next: next, keys: keys, fold: fold,
			store:    tableStore(b, n, codec),
			failures: failures[K, V]{task: b.task, node: n, policy: onError, keys: keys, values: s.valueCodec()},
		}
		b.task.addStore(b.plan.changelog(n), a.store)
		return a.push
	})
	return table
}

// aggregation is an aggregate operator in one task.
type aggregation[K, V, A any] struct {
	task     *task
	next     push[K, A]
	keys     Codec[K]
	fold     fold[K, V, A]
	store    *state.Store[A]
	failures failures[K, V]

	scratch []byte
	out     []Record[K, A]
}

func (a *aggregation[K, V, A]) push(ctx context.Context, batch []Record[K, V]) error {
	a.out = a.out[:0]
	for i := range batch {
		r := &batch[i]
		if r.NullKey || r.Tombstone {
			a.task.metrics.DroppedNull.Add(1)
			continue
		}
		if err := a.failures.try(ctx, r, func() error { return a.take(ctx, r) }); err != nil {
			return err
		}
	}
	if len(a.out) == 0 {
		return nil
	}
	err := a.next(ctx, a.out)
	clear(a.out)
	return err
}

func (a *aggregation[K, V, A]) take(ctx context.Context, r *Record[K, V]) error {
	var err error
	if a.scratch, err = a.keys.Append(a.scratch[:0], r.Key); err != nil {
		return err
	}
	entry := a.store.Get(a.scratch)
	if entry == nil {
		first, err := a.fold.first(ctx, r)
		if err != nil {
			return err
		}
		entry = a.store.Insert(a.scratch, first, r.Time)
	} else {
		value, err := a.fold.add(ctx, entry.Value, r)
		if err != nil {
			return err
		}
		a.store.Set(entry, value, max(entry.Time, r.Time))
	}
	result := with(r, r.Key, entry.Value)
	result.Time = entry.Time
	a.out = append(a.out, result)
	return nil
}
