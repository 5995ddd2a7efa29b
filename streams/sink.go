package streams

import "context"

// To writes the records to a topic, which must exist. The key decides the partition as in any Kafka client; records without a key
// go to the partitions in turn.
func (s Stream[K, V]) To(topic string) {
	n := s.t.add(kindSink, topic, s.node)
	n.topic = topic
	keys, values := s.keyCodec(), s.valueCodec()
	checkCodecs(s.t, n, keys, values)
	s.out.children = append(s.out.children, func(b *taskBuild) push[K, V] {
		return func(ctx context.Context, batch []Record[K, V]) error {
			for i := range batch {
				if err := writeRecord(b.task, n, topic, &batch[i], keys, values); err != nil {
					return err
				}
			}
			return nil
		}
	})
}

// writeRecord encodes r into the task's output.
func writeRecord[K, V any](t *task, n *node, topic string, r *Record[K, V], keys Codec[K], values Codec[V]) error {
	out := t.output.next()
	out.Topic, out.Partition = topic, anyPartition
	if err := encodeRecord(&t.output, out, r, keys, values); err != nil {
		t.output.drop()
		return recordError(n, r.Source, r.Offset, err)
	}
	t.metrics.RecordsOut.Add(1)
	return nil
}
