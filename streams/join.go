package streams

import "context"

// Join adds to each record the value that table has for its key; a record without one goes no further. Only the stream causes
// output, with the time of its record, and the table's latest value is taken, even if it is newer than the record. A record
// without key or value is left out and counted.
//
// Stream and table must be partitioned alike: the same key, and topics with the same number of partitions.
func (s Stream[K, V]) Join[T, V2 any](name string, table Table[K, T], join func(V, T) V2) Stream[K, V2] {
	return joinTable(s, "join", name, table, func(v V, t T, found bool) (V2, bool) {
		if !found {
			var none V2
			return none, false
		}
		return join(v, t), true
	})
}

// LeftJoin is Join that keeps records for which the table has nothing: join then gets false. So it does for a record without a
// key.
func (s Stream[K, V]) LeftJoin[T, V2 any](name string, table Table[K, T], join func(value V, other T, found bool) V2) Stream[K, V2] {
	return joinTable(s, "left-join", name, table, func(v V, t T, found bool) (V2, bool) { return join(v, t, found), true })
}

func joinTable[K, V, T, V2 any](s Stream[K, V], kind nodeKind, name string, table Table[K, T], join func(V, T, bool) (V2, bool)) Stream[K, V2] {
	n := s.t.add(kind, name, s.node)
	n.table = table.node
	if table.t != s.t {
		s.t.fail(n, "the table is of another topology")
	}
	if s.rekeyed != nil {
		s.t.fail(n, "the %s before it gives the records other keys than those they are partitioned by: put a Rekey between them", s.rekeyed)
	}
	keys := table.keys
	out := operator(s, n, func(b *taskBuild, next push[K, V2]) push[K, V] {
		store := tableStore(b, table.node, table.values)
		var buf []Record[K, V2]
		var scratch []byte
		return func(ctx context.Context, batch []Record[K, V]) error {
			buf = buf[:0]
			for i := range batch {
				r := &batch[i]
				if r.Tombstone || r.NullKey && kind == "join" {
					b.task.metrics.DroppedNull.Add(1)
					continue
				}
				var other T
				found := false
				if !r.NullKey {
					var err error
					if scratch, err = keys.Append(scratch[:0], r.Key); err != nil {
						return recordError(n, r.Source, r.Offset, err)
					}
					if entry := store.Get(scratch); entry != nil {
						other, found = entry.Value, true
					}
				}
				if v, ok := join(r.Value, other, found); ok {
					buf = append(buf, with(r, r.Key, v))
				}
			}
			if len(buf) == 0 {
				return nil
			}
			err := next(ctx, buf)
			clear(buf)
			return err
		}
	})
	return Stream[K, V2]{t: s.t, node: n, out: out, keys: s.keys}
}
