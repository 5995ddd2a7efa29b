package streams

import (
	"context"
	"iter"
	"time"
)

// maxBatch bounds the records handed from operator to operator at once. An operator that makes more sends several batches.
const maxBatch = 512

// Stream is a flow of independent records. Its methods declare operators and return what comes out of them; a stream may have
// any number of operators behind it, and each gets every record.
type Stream[K, V any] struct {
	t      *Topology
	node   *node
	out    *port[K, V]
	keys   Codec[K] // nil: inferred
	values Codec[V]
	// rekeyed is the operator that gave the records other keys than those by which they are partitioned, if there is one.
	rekeyed *node
}

// Stream reads a topic as a stream of records.
func (t *Topology) Stream[K, V any](topic string, keys Codec[K], values Codec[V]) Stream[K, V] {
	n := t.add(kindSource, topic)
	n.topic = topic
	s := Stream[K, V]{t: t, node: n, out: &port[K, V]{}, keys: keys, values: values}
	checkCodecs(t, n, keys, values)
	n.open = func(b *taskBuild, in *input) { openSource(b, in, keys, values, s.out) }
	return s
}

// stateless declares an operator that keeps the codecs' types apart from its own: they are inferred again when needed.
func stateless[K, V, K2, V2 any](s Stream[K, V], kind nodeKind, each func(r *Record[K, V], emit func(Record[K2, V2]))) Stream[K2, V2] {
	n := s.t.add(kind, "", s.node)
	out := operator(s, n, func(b *taskBuild, next push[K2, V2]) push[K, V] {
		return collect(next, each)
	})
	return Stream[K2, V2]{t: s.t, node: n, out: out, rekeyed: s.rekeyed}
}

// rekeys marks a stream whose last operator changes keys.
func (s Stream[K, V]) rekeys() Stream[K, V] {
	if s.rekeyed == nil {
		s.rekeyed = s.node
	}
	return s
}

// collect runs each on the records of a batch, and hands what it emits on in batches.
func collect[K, V, K2, V2 any](next push[K2, V2], each func(r *Record[K, V], emit func(Record[K2, V2]))) push[K, V] {
	var buf []Record[K2, V2]
	var failed error
	var current context.Context // of the batch being handled, for emit
	flush := func() {
		if failed == nil && len(buf) > 0 {
			failed = next(current, buf)
		}
		clear(buf)
		buf = buf[:0]
	}
	emit := func(r Record[K2, V2]) {
		if buf = append(buf, r); len(buf) >= maxBatch {
			flush()
		}
	}
	return func(ctx context.Context, batch []Record[K, V]) error {
		failed, current = nil, ctx
		for i := range batch {
			each(&batch[i], emit)
			if failed != nil {
				return failed
			}
		}
		flush()
		return failed
	}
}

// Codecs says how keys and values are written from here on, where a topic or a store is reached. Without it string, []byte,
// int64 and float64 are written by the codecs of these types, and all others as JSON.
func (s Stream[K, V]) Codecs(keys Codec[K], values Codec[V]) Stream[K, V] {
	s.keys, s.values = keys, values
	return s
}

func (s Stream[K, V]) keyCodec() Codec[K] {
	if s.keys != nil {
		return s.keys
	}
	return infer[K]()
}

func (s Stream[K, V]) valueCodec() Codec[V] {
	if s.values != nil {
		return s.values
	}
	return infer[V]()
}

// checkCodecs names the codecs of n, and keeps what is wrong with them for Build.
func checkCodecs[K, V any](t *Topology, n *node, keys Codec[K], values Codec[V]) {
	if keys == nil || values == nil {
		t.fail(n, "has no codec for its keys or values")
		return
	}
	n.key, n.value = keys.Name(), values.Name()
	if err := checkCodec(keys); err != nil {
		t.fail(n, "keys: %w: give another codec", err)
	}
	if err := checkCodec(values); err != nil {
		t.fail(n, "values: %w: give another codec", err)
	}
}

// Filter keeps the records for which keep is true.
func (s Stream[K, V]) Filter(keep func(K, V) bool) Stream[K, V] {
	out := stateless(s, "filter", func(r *Record[K, V], emit func(Record[K, V])) {
		if keep(r.Key, r.Value) {
			emit(*r)
		}
	})
	return out.Codecs(s.keys, s.values)
}

// Map makes a record with another key and value of each record. Behind it records with the same key may be in different
// partitions: follow it with Rekey or GroupBy before anything that counts on equal keys being together.
func (s Stream[K, V]) Map[K2, V2 any](fn func(K, V) (K2, V2)) Stream[K2, V2] {
	return stateless(s, "map", func(r *Record[K, V], emit func(Record[K2, V2])) {
		k, v := fn(r.Key, r.Value)
		out := with(r, k, v)
		out.NullKey, out.Tombstone = false, false
		emit(out)
	}).rekeys()
}

// MapValues makes another value of each value. A tombstone stays a tombstone, fn does not see it.
func (s Stream[K, V]) MapValues[V2 any](fn func(V) V2) Stream[K, V2] {
	out := stateless(s, "map-values", func(r *Record[K, V], emit func(Record[K, V2])) {
		var v V2
		if !r.Tombstone {
			v = fn(r.Value)
		}
		emit(with(r, r.Key, v))
	})
	out.keys = s.keys
	return out
}

// FlatMap makes any number of records of each record.
func (s Stream[K, V]) FlatMap[K2, V2 any](fn func(K, V) iter.Seq2[K2, V2]) Stream[K2, V2] {
	return stateless(s, "flat-map", func(r *Record[K, V], emit func(Record[K2, V2])) {
		for k, v := range fn(r.Key, r.Value) {
			out := with(r, k, v)
			out.NullKey, out.Tombstone = false, false
			emit(out)
		}
	}).rekeys()
}

// FlatMapValues makes any number of values of each value. A tombstone makes none.
func (s Stream[K, V]) FlatMapValues[V2 any](fn func(V) iter.Seq[V2]) Stream[K, V2] {
	out := stateless(s, "flat-map-values", func(r *Record[K, V], emit func(Record[K, V2])) {
		if r.Tombstone {
			return
		}
		for v := range fn(r.Value) {
			emit(with(r, r.Key, v))
		}
	})
	out.keys = s.keys
	return out
}

// Peek calls fn with each record, and hands the record on.
func (s Stream[K, V]) Peek(fn func(K, V)) Stream[K, V] {
	n := s.t.add("peek", "", s.node)
	s.out = operator(s, n, func(b *taskBuild, next push[K, V]) push[K, V] {
		return func(ctx context.Context, batch []Record[K, V]) error {
			for i := range batch {
				fn(batch[i].Key, batch[i].Value)
			}
			return next(ctx, batch)
		}
	})
	s.node = n
	return s
}

// Branch divides a stream: a record goes to the first branch whose condition is true. The last of the returned streams, one
// more than there are conditions, has the records for which none was.
func (s Stream[K, V]) Branch(conditions ...func(K, V) bool) []Stream[K, V] {
	branches := make([]Stream[K, V], len(conditions)+1)
	for i := range branches {
		out := stateless(s, "branch", func(r *Record[K, V], emit func(Record[K, V])) {
			for j, condition := range conditions {
				if condition(r.Key, r.Value) {
					if i == j {
						emit(*r)
					}
					return
				}
			}
			if i == len(conditions) {
				emit(*r)
			}
		})
		branches[i] = out.Codecs(s.keys, s.values)
	}
	return branches
}

// Merge puts streams together. The topics they come from are read by the same tasks: partition n of each by task n, in the
// order of the records' timestamps.
func (s Stream[K, V]) Merge(others ...Stream[K, V]) Stream[K, V] {
	n := s.t.add("merge", "", s.node)
	out := &port[K, V]{}
	for _, in := range append([]Stream[K, V]{s}, others...) {
		if in.t != s.t {
			s.t.fail(n, "a stream of another topology cannot be merged")
			continue
		}
		if in.node != s.node {
			n.parents = append(n.parents, in.node)
		}
		in.out.children = append(in.out.children, func(b *taskBuild) push[K, V] {
			return once(b, n, func() push[K, V] { return out.open(b) })
		})
	}
	merged := Stream[K, V]{t: s.t, node: n, out: out, keys: s.keys, values: s.values}
	for _, in := range append(others, s) {
		if in.rekeyed != nil {
			merged.rekeyed = in.rekeyed
		}
	}
	return merged
}

// EventTime takes the time of each record from its content; without it, and for a tombstone, the record's timestamp is its time.
func (s Stream[K, V]) EventTime(at func(K, V) time.Time) Stream[K, V] {
	out := stateless(s, "event-time", func(r *Record[K, V], emit func(Record[K, V])) {
		timed := *r
		if r.Tombstone {
			emit(timed) // there is no content to take the time from
			return
		}
		timed.Time = at(r.Key, r.Value).UnixMilli()
		emit(timed)
	})
	out.node.retimes = true
	return out.Codecs(s.keys, s.values)
}

// idlePolicy is what IdleAfter declared.
type idlePolicy struct {
	after time.Duration
}

// IdleAfter says when a partition of the topics that this stream is read from counts as idle: it stands at the end of its log,
// and got no record for that long, counted from the last record, the start of the task or the end of its restore, whichever is
// later. Operators do not wait for an idle partition; when all partitions of a task are idle, its open windows close.
//
// Without it a partition at the end of its log is not waited for either, and windows close only when later records arrive.
func (s Stream[K, V]) IdleAfter(after time.Duration) Stream[K, V] {
	if after <= 0 {
		s.t.fail(s.node, "IdleAfter needs a time above zero, not %s", after)
		return s
	}
	for _, source := range sourcesOf(s.node) {
		if source.idle.after != 0 && source.idle.after != after {
			s.t.fail(source, "IdleAfter is %s and %s: one topic has one", source.idle.after, after)
		}
		source.idle.after = after
	}
	return s
}

// sourcesOf returns the nodes that read the topics from which the records of n come, also those before a repartition.
func sourcesOf(n *node) []*node {
	if n.kind == kindSource {
		return []*node{n}
	}
	var sources []*node
	for _, p := range n.parents {
		sources = append(sources, sourcesOf(p)...)
	}
	return sources
}
