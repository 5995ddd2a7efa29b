package streams

import (
	"context"

	"github.com/twmb/franz-go/pkg/kgo"
)

// OnUndecodable says what happens to a record of the stream's topics whose bytes the codecs cannot read; without it the worker
// stops. It is for a stream just read from a topic. Retries are of no use here.
func (s Stream[K, V]) OnUndecodable(onError OnError) Stream[K, V] {
	if s.node.kind != kindSource {
		s.t.fail(s.node, "OnUndecodable is for a stream just read from a topic")
		return s
	}
	onError.check(s.t, s.node)
	s.node.undecodable = onError
	return s
}

// openSource makes the reader of a stream's or a repartition topic.
func openSource[K, V any](b *taskBuild, in *input, keys Codec[K], values Codec[V], out *port[K, V]) {
	if b.sub.keeps {
		keys, values = copyingCodec(keys), copyingCodec(values)
	}
	d := &decoder[K, V]{task: b.task, in: in, keys: keys, values: values}
	next := out.open(b)
	in.push = func(ctx context.Context, batch []*kgo.Record) error {
		for len(batch) > 0 {
			n := len(batch)
			if in.writers != nil {
				n = untilControl(batch)
			}
			records, err := d.decode(batch[:n])
			if err != nil {
				return err
			}
			if len(records) > 0 {
				if err := next(ctx, records); err != nil {
					return err
				}
				clear(records)
			}
			if n < len(batch) {
				if err := b.task.hear(in, batch[n]); err != nil {
					return err
				}
				n++
			}
			batch = batch[n:]
		}
		return nil
	}
}

// decoder turns fetched records of one input into typed ones.
type decoder[K, V any] struct {
	task    *task
	in      *input
	keys    Codec[K]
	values  Codec[V]
	records []Record[K, V]
}

// decode returns the records of batch, valid until the next call.
func (d *decoder[K, V]) decode(batch []*kgo.Record) ([]Record[K, V], error) {
	d.records = d.records[:0]
	for _, raw := range batch {
		if raw.Attrs.IsControl() {
			continue
		}
		r := Record[K, V]{
			Time: raw.Timestamp.UnixMilli(), Headers: raw.Headers, Source: d.in.source, Offset: raw.Offset,
			NullKey: raw.Key == nil, Tombstone: raw.Value == nil, clock: d.in.clock,
		}
		err := d.fill(&r, raw)
		if err == nil {
			d.records = append(d.records, r)
			continue
		}
		if err := d.task.undecodable(d.in, raw, err); err != nil {
			return nil, err
		}
	}
	return d.records, nil
}

func (d *decoder[K, V]) fill(r *Record[K, V], raw *kgo.Record) error {
	var err error
	if !r.NullKey {
		if r.Key, err = d.keys.Decode(raw.Key); err != nil {
			return err
		}
	}
	if !r.Tombstone {
		if r.Value, err = d.values.Decode(raw.Value); err != nil {
			return err
		}
	}
	if d.in.writers != nil {
		writer, rest, err := takeWriter(raw.Headers, len(d.in.writers))
		if err != nil {
			return err
		}
		r.Headers, r.clock = rest, d.in.clock+writer
	}
	return nil
}

// undecodable deals with a record that the codecs cannot read.
func (t *task) undecodable(in *input, raw *kgo.Record, err error) error {
	failed := recordError(in.node, in.source, raw.Offset, err)
	switch policy := in.node.undecodable; policy.Then {
	case Skip:
		t.metrics.Skipped.Add(1)
	case DeadLetter:
		t.metrics.DeadLettered.Add(1)
		t.metrics.RecordsOut.Add(1)
		out := t.output.next()
		out.Topic, out.Partition, out.Timestamp = policy.Topic, anyPartition, raw.Timestamp
		out.Key, out.Value = raw.Key, raw.Value
		out.Headers = append(raw.Headers[:len(raw.Headers):len(raw.Headers)], deadLetterHeaders(failed)...)
	default:
		return failed
	}
	return nil
}
