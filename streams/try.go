package streams

import (
	"context"
	"fmt"
	"strconv"
	"time"
)

// Action is what happens to a record that an operator could not handle.
type Action int

const (
	Fail       Action = iota // the worker stops with the error
	Skip                     // the record is left out and counted
	DeadLetter               // the record is written to a topic, with headers that say why
)

// OnError says how an operator deals with errors. The zero value stops the worker at the first one.
type OnError struct {
	Retries int           // how often the record is tried again before Then
	Backoff time.Duration // before the first retry, 100 ms when zero; it doubles up to maxBackoff
	Then    Action
	Topic   string // of DeadLetter
}

const (
	firstBackoff = 100 * time.Millisecond
	maxBackoff   = 10 * time.Second
)

// Headers of a record in a dead-letter topic; those it had come first.
const (
	HeaderError     = "milldam.error"
	HeaderOperator  = "milldam.operator"
	HeaderTopic     = "milldam.topic"
	HeaderPartition = "milldam.partition"
	HeaderOffset    = "milldam.offset"
)

// RecordError is an error at one record.
type RecordError struct {
	Operator  string
	Topic     string
	Partition int32
	Offset    int64
	Err       error
}

func (e *RecordError) Error() string {
	return fmt.Sprintf("%s: record %s-%d@%d: %v", e.Operator, e.Topic, e.Partition, e.Offset, e.Err)
}

func (e *RecordError) Unwrap() error { return e.Err }

func recordError(n *node, source *Source, offset int64, err error) *RecordError {
	e := &RecordError{Operator: n.String(), Offset: offset, Err: err}
	if source != nil {
		e.Topic, e.Partition = source.Topic, source.Partition
	}
	return e
}

// TryMap makes another value of each record, or fails. ctx ends when the task is taken away. Tombstones are handed to fn too,
// with the zero value. name is what errors and Describe call the operator; it may be empty.
func (s Stream[K, V]) TryMap[V2 any](name string, onError OnError, fn func(ctx context.Context, key K, value V) (V2, error)) Stream[K, V2] {
	out := process(s, "try-map", name, onError, func(ctx context.Context, r *Record[K, V], emit func(Record[K, V2])) error {
		v, err := fn(ctx, r.Key, r.Value)
		if err == nil {
			emit(with(r, r.Key, v))
		}
		return err
	})
	out.keys = s.keys
	return out
}

// ProcessValues calls fn with each record, its headers, time and origin included; fn emits any number of values, which keep the
// rest of the record. An error is dealt with as onError says; what was emitted before the error is dropped.
func (s Stream[K, V]) ProcessValues[V2 any](name string, onError OnError,
	fn func(ctx context.Context, r *Record[K, V], emit func(V2)) error) Stream[K, V2] {
	out := process(s, "process", name, onError, func(ctx context.Context, r *Record[K, V], emit func(Record[K, V2])) error {
		return fn(ctx, r, func(v V2) {
			next := with(r, r.Key, v)
			next.Tombstone = false
			emit(next)
		})
	})
	out.keys = s.keys
	return out
}

// Process is ProcessValues for records that get another key, time or headers: fn makes them with Derive.
func (s Stream[K, V]) Process[K2, V2 any](name string, onError OnError,
	fn func(ctx context.Context, r *Record[K, V], emit func(Record[K2, V2])) error) Stream[K2, V2] {
	out := process(s, "process", name, onError, fn).rekeys()
	out.node.retimes = true
	return out
}

// Derive returns a record with another key and value, and the time, headers and origin of r.
func Derive[K2, V2, K, V any](r *Record[K, V], key K2, value V2) Record[K2, V2] {
	out := with(r, key, value)
	out.NullKey, out.Tombstone = false, false
	return out
}

// MaxFuture treats a record as an error whose time is more than limit ahead of the wall clock. One such record would move the
// time of the stream on for ever, and all that comes after it would be late.
func (s Stream[K, V]) MaxFuture(limit time.Duration, onError OnError) Stream[K, V] {
	n := s.t.add("max-future", "", s.node)
	out := withErrors(s, n, onError, func(task *task) func(context.Context, *Record[K, V], func(Record[K, V])) error {
		return func(_ context.Context, r *Record[K, V], emit func(Record[K, V])) error {
			if ahead := r.At().Sub(task.now()); ahead > limit {
				return fmt.Errorf("its time %s is %s ahead of the clock, more than %s", r.At().Format(time.RFC3339), ahead.Round(time.Second), limit)
			}
			emit(*r)
			return nil
		}
	})
	s.node, s.out = n, out
	return s
}

func process[K, V, K2, V2 any](s Stream[K, V], kind nodeKind, name string, onError OnError,
	fn func(ctx context.Context, r *Record[K, V], emit func(Record[K2, V2])) error) Stream[K2, V2] {
	n := s.t.add(kind, name, s.node)
	out := withErrors(s, n, onError, func(*task) func(context.Context, *Record[K, V], func(Record[K2, V2])) error { return fn })
	return Stream[K2, V2]{t: s.t, node: n, out: out, rekeyed: s.rekeyed}
}

// withErrors declares an operator that may fail at a record. Only what a call emitted before it returned nil goes on.
func withErrors[K, V, K2, V2 any](s Stream[K, V], n *node, onError OnError,
	open func(*task) func(context.Context, *Record[K, V], func(Record[K2, V2])) error) *port[K2, V2] {
	onError.check(s.t, n)
	keys, values := s.keyCodec(), s.valueCodec()
	if onError.Then == DeadLetter {
		checkCodecs(s.t, n, keys, values)
	}
	return operator(s, n, func(b *taskBuild, next push[K2, V2]) push[K, V] {
		fn := open(b.task)
		handler := &failures[K, V]{task: b.task, node: n, policy: onError, keys: keys, values: values}
		var buf []Record[K2, V2]
		emit := func(r Record[K2, V2]) { buf = append(buf, r) }
		return func(ctx context.Context, batch []Record[K, V]) error {
			for i := range batch {
				r, kept := &batch[i], len(buf)
				err := handler.try(ctx, r, func() error {
					buf = buf[:kept]
					return fn(ctx, r, emit)
				})
				if err != nil {
					return err
				}
				if len(buf) >= maxBatch {
					if err := next(ctx, buf); err != nil {
						return err
					}
					clear(buf)
					buf = buf[:0]
				}
			}
			if len(buf) == 0 {
				return nil
			}
			err := next(ctx, buf)
			clear(buf)
			buf = buf[:0]
			return err
		}
	})
}

// check keeps mistakes in the policy for Build, and declares the dead-letter topic.
func (o OnError) check(t *Topology, n *node) {
	if o.Retries < 0 || o.Backoff < 0 {
		t.fail(n, "the retries and the backoff must not be negative")
	}
	switch o.Then {
	case Fail, Skip:
		if o.Topic != "" {
			t.fail(n, "has the dead-letter topic %q but does not use it: set Then to DeadLetter", o.Topic)
		}
	case DeadLetter:
		if o.Topic == "" {
			t.fail(n, "dead letters need a topic")
		}
		sink := t.add(kindSink, "dead letters of "+n.name, n)
		sink.topic = o.Topic
	default:
		t.fail(n, "unknown action %d", o.Then)
	}
}

// failures deals with the errors of one operator in one task.
type failures[K, V any] struct {
	task   *task
	node   *node
	policy OnError
	keys   Codec[K]
	values Codec[V]
}

// try calls fn until it succeeds or the retries are used up; then it does as the policy says.
func (f *failures[K, V]) try(ctx context.Context, r *Record[K, V], fn func() error) error {
	err := fn()
	backoff := f.policy.Backoff
	if backoff == 0 {
		backoff = firstBackoff
	}
	for retry := 0; err != nil && retry < f.policy.Retries; retry++ {
		f.task.metrics.Retried.Add(1)
		if stopped := f.task.sleep(ctx, backoff); stopped != nil {
			return stopped
		}
		backoff = min(2*backoff, maxBackoff)
		err = fn()
	}
	if err == nil {
		return nil
	}
	if ctx.Err() != nil {
		// The task is being taken away: the record was not at fault, and will be read again by the next owner.
		return ctx.Err()
	}
	failed := recordError(f.node, r.Source, r.Offset, err)
	switch f.policy.Then {
	case Skip:
		f.task.metrics.Skipped.Add(1)
		return nil
	case DeadLetter:
		f.task.metrics.DeadLettered.Add(1)
		return f.deadLetter(r, failed)
	}
	return failed
}

func (f *failures[K, V]) deadLetter(r *Record[K, V], failed *RecordError) error {
	headers := append(r.Headers[:len(r.Headers):len(r.Headers)], deadLetterHeaders(failed)...)
	out := *r
	out.Headers = headers
	return writeRecord(f.task, f.node, f.policy.Topic, &out, f.keys, f.values)
}

func deadLetterHeaders(e *RecordError) []Header {
	return []Header{
		{Key: HeaderError, Value: []byte(e.Err.Error())},
		{Key: HeaderOperator, Value: []byte(e.Operator)},
		{Key: HeaderTopic, Value: []byte(e.Topic)},
		{Key: HeaderPartition, Value: []byte(strconv.Itoa(int(e.Partition)))},
		{Key: HeaderOffset, Value: []byte(strconv.FormatInt(e.Offset, 10))},
	}
}
