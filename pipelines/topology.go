package pipelines

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/milldam/milldam/connect"
	"github.com/milldam/milldam/connect/expression"
	"github.com/milldam/milldam/streams"
)

// Names of what a stream hop keeps on the cluster; its topics are called after the consumer group and these. There is one window in a
// pipeline, so that a step more or less never gives it other state.
const (
	windowStore  = "window"
	groupTopic   = "by-group"
	onTopicStart = "by-join-" // followed by the number of the join
)

// topologyBuilder makes the graph of one stream hop.
type topologyBuilder struct {
	spec    *Spec
	topo    *streams.Topology
	onError streams.OnError
	chains  func(from, to int, last bool) *chainPool
	stream  streams.Stream[string, row]
	joins   int
	// moved is true while the records stand under another key than theirs, after a join on something else.
	moved  bool
	tables map[string]streams.Table[string, []byte]
}

// topologyOptions are what differs between a topology that runs and one that is tested.
type topologyOptions struct {
	newRuntime func() *expression.Runtime
	onError    streams.OnError
	idle       time.Duration // zero: as the window says
}

// deadLetters is what the pipeline does with a record that cannot be processed.
func (s *Spec) deadLetters() streams.OnError {
	if d := s.Errors.DeadLetter; d != nil {
		return streams.OnError{Then: streams.DeadLetter, Topic: d.Topic}
	}
	return streams.OnError{}
}

// buildTopology declares the graph of hop h: its topics, its steps in order, and the topic it writes.
func buildTopology(s *Spec, h Hop, o topologyOptions) (*streams.Topology, error) {
	b := &topologyBuilder{spec: s, topo: streams.NewTopology(), onError: o.onError, tables: map[string]streams.Table[string, []byte]{}}
	b.chains = func(from, to int, last bool) *chainPool { return newChainPool(s, from, to, last, o.newRuntime) }
	source := b.topo.Stream(h.Read[0], streams.String, streams.Bytes)
	for _, topic := range h.Read[1:] {
		source = source.Merge(b.topo.Stream(topic, streams.String, streams.Bytes))
	}
	if w := s.window(); w != nil && max(w.Idle, o.idle) > 0 {
		source = source.IdleAfter(max(w.Idle, o.idle))
	}
	b.stream = source.ProcessValues("read", streams.OnError{}, func(_ context.Context, r *streams.Record[string, []byte], emit func(row)) error {
		if r.Tombstone {
			emit(row{})
		} else {
			emit(row{value: r.Value})
		}
		return nil
	}).Codecs(streams.String, valueCodec{})
	next := h.first
	for i := h.first; i < h.last; i++ {
		step := s.Steps[i]
		if !step.stateful() {
			continue
		}
		b.records(next, i)
		if step.Window != nil {
			b.window(step)
		} else {
			b.join(step)
		}
		next = i + 1
	}
	b.write(next, h)
	return b.topo, b.topo.Build()
}

// window returns the window of the pipeline, or nil.
func (s *Spec) window() *Window {
	for _, step := range s.Steps {
		if step.Window != nil {
			return step.Window
		}
	}
	return nil
}

// records adds the steps [from, to), which need nothing but the record.
func (b *topologyBuilder) records(from, to int) {
	if from == to {
		return
	}
	pool := b.chains(from, to, false)
	name := fmt.Sprintf("steps-%d-%d", from, to)
	b.stream = b.stream.ProcessValues(name, b.onError, func(_ context.Context, r *streams.Record[string, row], emit func(row)) error {
		c := pool.get()
		defer pool.put(c)
		c.reset(r)
		keep, err := c.run()
		if err != nil || !keep {
			return err
		}
		return c.emit(r, emit)
	}).Codecs(streams.String, valueCodec{})
}

// window adds grouping, windows and aggregates.
func (b *topologyBuilder) window(step Step) {
	w := step.Window
	pool := b.chains(0, 0, false)
	byKey := w.byKey() && !b.moved
	failTime, failBy := stepFailure(step.node, "window.time"), stepFailure(step.node, "window.by")
	timed := b.stream.ProcessValues("window", b.onError, func(_ context.Context, r *streams.Record[string, row], emit func(row)) error {
		if r.Value.value == nil {
			return nil // a tombstone says that a key has no value, it has nothing to aggregate
		}
		c := pool.get()
		defer pool.put(c)
		c.reset(r)
		out := r.Value
		out.at = r.Time
		if !w.Time.IsZero() {
			t, err := w.Time.Time(c.message)
			if err != nil {
				return failTime(err)
			}
			out.at = t.UnixMilli()
		}
		if !byKey {
			group, err := w.group(c.message)
			if err != nil {
				return failBy(err)
			}
			out.group = group
		}
		out.key, out.hasKey = nil, false
		emit(out)
		return nil
	}).EventTime(func(_ string, v row) time.Time { return time.UnixMilli(v.at) }).Codecs(streams.String, valueCodec{})
	var grouped streams.Grouped[string, row]
	b.moved = false
	if byKey {
		grouped = timed.GroupByKey()
	} else {
		grouped = timed.GroupBy(groupTopic, func(_ string, v row) string { return v.group })
	}
	b.aggregate(step, grouped)
}

// byKey tells whether records are grouped by the key they have, so that they stand in the right partition already.
func (w *Window) byKey() bool { return w.By.IsZero() || strings.TrimSpace(w.By.Source()) == "key" }

// group returns what the record of m is grouped by.
func (w *Window) group(m *expression.Message) (string, error) {
	if w.By.IsZero() {
		if m.Record.Key == nil {
			return "", errors.New("the record has no key; say what to group by")
		}
		return string(m.Record.Key), nil
	}
	group, ok, err := w.By.Text(m)
	if err == nil && !ok {
		err = fmt.Errorf("%s is null, there is no group for that; give one: %s ?? \"none\"", w.By.Source(), w.By.Source())
	}
	return group, err
}

func (b *topologyBuilder) aggregate(step Step, grouped streams.Grouped[string, row]) {
	w := step.Window
	pool := b.chains(0, 0, false)
	fail := stepFailure(step.node, "aggregate")
	spec := streams.Hopping(w.Size, w.Every).Grace(w.Grace)
	if w.Size == w.Every {
		spec = streams.Tumbling(w.Size).Grace(w.Grace)
	}
	table := grouped.Window(spec).TryAggregate(windowStore, streams.Codec[windowState](stateCodec{}), b.onError,
		func() windowState { return nil },
		func(_ context.Context, state windowState, r *streams.Record[string, row]) (windowState, error) {
			c := pool.get()
			defer pool.put(c)
			c.reset(r)
			next, err := w.add(state, c.message)
			if err != nil {
				return nil, fail(err)
			}
			return next, nil
		})
	result := func(_ string, window streams.Window, state windowState) row { return row{window: window, state: state} }
	out := table.Final(result)
	if w.Emit == EmitUpdates {
		out = table.Updates(result)
	}
	b.stream = out.Codecs(streams.String, valueCodec{}).ProcessValues("result", b.onError,
		func(_ context.Context, r *streams.Record[string, row], emit func(row)) error {
			c := pool.get()
			defer pool.put(c)
			c.reset(r)
			if err := w.result(r.Value.state, c.message); err != nil {
				return fail(err)
			}
			return c.emit(r, emit)
		}).Codecs(streams.String, valueCodec{})
}

// join adds the lookup of a table's row and the fields made of it.
func (b *topologyBuilder) join(step Step) {
	j := step.Join
	b.joins++
	table, ok := b.tables[j.Table]
	if !ok {
		table = b.topo.Table(j.Table, streams.String, streams.Bytes)
		b.tables[j.Table] = table
	}
	pool := b.chains(0, 0, false)
	if b.moved || !j.onKey() {
		b.rekey(step, pool)
		b.moved = true
	}
	name := fmt.Sprintf("join-%d", b.joins)
	fail := stepFailure(step.node, "join")
	joined := b.stream.LeftJoin(name, table, func(v row, row []byte, found bool) row2 { return row2{v, row, found} })
	b.stream = joined.Codecs(streams.String, row2Codec{}).ProcessValues(name+"-fields", b.onError,
		func(_ context.Context, r *streams.Record[string, row2], emit func(row)) error {
			c := pool.get()
			defer pool.put(c)
			plain := streams.Derive(r, r.Key, r.Value.row)
			plain.NullKey = r.NullKey
			c.reset(&plain)
			var found []byte
			if r.Value.found {
				found = r.Value.table
			}
			keep, err := j.apply(c.message, found)
			if err != nil {
				return fail(err)
			}
			if !keep {
				return nil
			}
			return c.emit(&plain, emit)
		}).Codecs(streams.String, valueCodec{})
}

// rekey brings the records to the partition of the row they look up; the key they had goes with them.
func (b *topologyBuilder) rekey(step Step, pool *chainPool) {
	j := step.Join
	fail := stepFailure(step.node, "join.on")
	topic := fmt.Sprintf("%s%d", onTopicStart, b.joins)
	b.stream = b.stream.ProcessValues(topic, b.onError, func(_ context.Context, r *streams.Record[string, row], emit func(row)) error {
		c := pool.get()
		defer pool.put(c)
		c.reset(r)
		on, err := j.lookupKey(c.message)
		if err != nil {
			return fail(err)
		}
		out := r.Value
		out.keep(r)
		out.group = on
		emit(out)
		return nil
	}).Codecs(streams.String, rowCodec{}).Rekey(topic, func(_ string, v row) string { return v.group }).Codecs(streams.String, valueCodec{})
}

// onKey tells whether the row is looked up under the record's key.
func (j *Join) onKey() bool { return j.On.IsZero() || strings.TrimSpace(j.On.Source()) == "key" }

// lookupKey returns what the row is looked up under. Nothing can be found under null; the empty text stands for it, which no row has that was written
// with a key on purpose.
func (j *Join) lookupKey(m *expression.Message) (string, error) {
	if j.On.IsZero() {
		return string(m.Record.Key), nil
	}
	on, _, err := j.On.Text(m)
	return on, err
}

// write adds the last steps, the expressions of a topic sink, and the topic.
func (b *topologyBuilder) write(from int, h Hop) {
	pool := b.chains(from, h.last, true)
	out := b.stream.Process("write", b.onError, func(_ context.Context, r *streams.Record[string, row], emit func(streams.Record[string, []byte])) error {
		c := pool.get()
		defer pool.put(c)
		c.reset(r)
		keep, err := c.run()
		if err != nil || !keep {
			return err
		}
		record, _, err := c.record()
		if err != nil {
			return err
		}
		result := streams.Derive(r, string(record.Key), record.Value)
		result.NullKey, result.Tombstone = record.Key == nil, record.Value == nil
		result.Time = record.Timestamp.UnixMilli()
		emit(result)
		return nil
	})
	out.Codecs(streams.String, streams.Bytes).To(h.Write)
}

// reset makes r the record of the chain's message.
func (c *chain) reset(r *streams.Record[string, row]) {
	record := connect.Record{Value: r.Value.value, Offset: r.Offset, Timestamp: r.At()}
	switch {
	case r.Value.hasKey:
		record.Key = r.Value.key
	case !r.NullKey:
		record.Key = []byte(r.Key)
	}
	if r.Source != nil {
		record.Topic, record.Partition = r.Source.Topic, r.Source.Partition
	}
	for _, h := range r.Headers {
		record.Headers = append(record.Headers, connect.Header{Key: h.Key, Value: h.Value})
	}
	c.message.Reset(record)
	if !r.Value.window.End.IsZero() {
		c.message.SetWindow(r.Value.window.Start, r.Value.window.End)
	}
}

// emit sends on the value of the message, with the window of r.
func (c *chain) emit(r *streams.Record[string, row], emit func(row)) error {
	value, err := c.message.Encode()
	if err != nil {
		return err
	}
	out := r.Value
	out.value, out.state = value, nil
	emit(out)
	return nil
}

// chainPool lends chains to the tasks of a topology, which run at the same time.
type chainPool struct{ pool sync.Pool }

func newChainPool(s *Spec, from, to int, last bool, newRuntime func() *expression.Runtime) *chainPool {
	p := &chainPool{}
	p.pool.New = func() any {
		c := newChain(s, from, to, newRuntime())
		if last {
			c.addSink(s)
		}
		return c
	}
	return p
}

func (p *chainPool) get() *chain  { return p.pool.Get().(*chain) }
func (p *chainPool) put(c *chain) { p.pool.Put(c) }
