package streams

import (
	"context"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/milldam/milldam/streams/state"
)

// Table is the latest value of each key. It comes from a compacted topic, or from an aggregation.
type Table[K, V any] struct {
	t      *Topology
	node   *node
	out    *port[K, V] // the changes
	keys   Codec[K]
	values Codec[V]
}

// Table reads a compacted topic as a table, which each task keeps in memory for its partition. When a task starts it reads the
// topic to the end it then has before it handles the first record of a stream.
func (t *Topology) Table[K, V any](topic string, keys Codec[K], values Codec[V]) Table[K, V] {
	n := t.add(kindTable, topic)
	n.topic, n.keeps = topic, true
	checkCodecs(t, n, keys, values)
	table := Table[K, V]{t: t, node: n, out: &port[K, V]{}, keys: keys, values: values}
	n.open = func(b *taskBuild, in *input) { openTable(b, in, n, keys, values, table.out) }
	return table
}

// Stream is every change of the table: of an aggregation each new value, of a topic each record.
func (t Table[K, V]) Stream() Stream[K, V] {
	return Stream[K, V]{t: t.t, node: t.node, out: t.out, keys: t.keys, values: t.values}
}

// To writes every change to a topic, which should be compacted.
func (t Table[K, V]) To(topic string) { t.Stream().To(topic) }

// storeKey finds the store of a node among the things a task was built of.
type storeKey struct{ node *node }

// tableStore returns the store of the table n in a task. The operator that fills it and the joins that read it share it.
func tableStore[V any](b *taskBuild, n *node, values Codec[V]) *state.Store[V] {
	return once(b, storeKey{n}, func() *state.Store[V] { return state.NewStore[V](copyingCodec(values)) })
}

// openTable makes the reader of a table's topic. The topic itself is what the table is restored from, so the store has no
// changelog.
func openTable[K, V any](b *taskBuild, in *input, n *node, keys Codec[K], values Codec[V], out *port[K, V]) {
	keys = copyingCodec(keys)
	decoder := &decoder[K, V]{task: b.task, in: in, keys: keys, values: copyingCodec(values)}
	store := tableStore(b, n, values)
	next := out.open(b)
	var scratch []byte
	in.push = func(ctx context.Context, batch []*kgo.Record) error {
		records, err := decoder.decode(batch)
		if err != nil {
			return err
		}
		live := 0 // records below this offset only restore the table, they went on before the last commit
		for i := range records {
			r := &records[i]
			if scratch, err = keys.Append(scratch[:0], r.Key); err != nil {
				return recordError(n, r.Source, r.Offset, err)
			}
			switch {
			case r.NullKey:
				b.task.metrics.DroppedNull.Add(1)
			case r.Tombstone:
				store.Delete(scratch)
			default:
				store.Upsert(scratch, r.Value, r.Time)
			}
			if r.Offset < in.committed {
				live = i + 1
			}
		}
		store.Discard()
		if live == len(records) {
			return nil
		}
		return next(ctx, records[live:])
	}
}
