package streams

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/twmb/franz-go/pkg/kgo"
)

// A record of a repartition topic has the header headerWriter: the partition number of the task that wrote it, as an unsigned
// varint. A record with the header headerClock is not data but tells the time of its writer: eight bytes big endian, and one byte
// of flags. Without that a task which reads from several writers could not know that one of them is behind, and would call late
// what merely comes from a slower one.
const (
	headerWriter = "milldam.writer"
	headerClock  = "milldam.clock"

	clockBytes = 9
	flagFree   = 1 // the writer's inputs do not hold time back
	flagIdle   = 2 // all of the writer's inputs are idle
)

var errNoWriter = errors.New("the record was not written by this application: nothing else may write to its repartition topic")

// repartitioner writes to a repartition topic in one task.
type repartitioner struct {
	task       *task
	topic      string
	partitions int32
	clock      *clock
	writer     []byte // the value of headerWriter
	headers    []kgo.RecordHeader

	told     bool // something was told since the start
	lastTime int64
	last     writerStatus
}

func openRepartition[K, V, K2 any](b *taskBuild, n *node, key func(K, V) K2, keys Codec[K2], values Codec[V]) push[K, V] {
	topic := b.plan.topic(n)
	p := &repartitioner{
		task: b.task, topic: topic, partitions: b.plan.partitions[topic],
		// The name is not kept with the offsets: the reader keeps the time.
		clock: newClock("", 0), writer: binary.AppendUvarint(nil, uint64(b.task.id.partition)),
	}
	b.watch(n, p.clock)
	p.headers = []kgo.RecordHeader{{Key: headerWriter, Value: p.writer}}
	b.task.repartitioners = append(b.task.repartitioners, p)
	return func(_ context.Context, batch []Record[K, V]) error {
		for i := range batch {
			r := &batch[i]
			p.clock.observe(r.clock, r.Time, b.task.wall)
			rekeyed := with(r, key(r.Key, r.Value), r.Value)
			rekeyed.NullKey = false
			out := p.task.output.next()
			out.Topic = topic
			if err := encodeRecord(&p.task.output, out, &rekeyed, keys, values); err != nil {
				p.task.output.drop()
				return recordError(n, r.Source, r.Offset, err)
			}
			out.Partition = partitionOf(out.Key, p.partitions)
			if len(r.Headers) == 0 {
				out.Headers = p.headers
			} else {
				out.Headers = append(r.Headers[:len(r.Headers):len(r.Headers)], p.headers...)
			}
			p.task.metrics.Repartition.Add(1)
		}
		return nil
	}
}

// tell writes the time of this writer to every partition, if it changed. It comes after the records that made it.
func (p *repartitioner) tell() {
	status := writerStatus{free: p.task.allFree(p.clock), idle: p.task.allIdle(p.clock)}
	if p.told && status == p.last && p.clock.now == p.lastTime {
		return
	}
	p.told, p.last, p.lastTime = true, status, p.clock.now
	value := binary.BigEndian.AppendUint64(make([]byte, 0, clockBytes), uint64(p.clock.now))
	headers := append(p.headers[:1:1], kgo.RecordHeader{Key: headerClock, Value: append(value, status.flags())})
	for partition := range p.partitions {
		out := p.task.output.next()
		out.Topic, out.Partition, out.Headers = p.topic, partition, headers
		out.Timestamp = p.task.now()
	}
}

func (s writerStatus) flags() byte {
	var flags byte
	if s.free {
		flags |= flagFree
	}
	if s.idle {
		flags |= flagIdle
	}
	return flags
}

func statusOf(flags byte) writerStatus {
	return writerStatus{free: flags&flagFree != 0, idle: flags&flagIdle != 0}
}

// untilControl returns the number of records before the first that tells a time.
func untilControl(batch []*kgo.Record) int {
	for i, r := range batch {
		if r.Key == nil && r.Value == nil && findHeader(r.Headers, headerClock) >= 0 {
			return i
		}
	}
	return len(batch)
}

// hear takes the time that a writer told.
func (t *task) hear(in *input, raw *kgo.Record) error {
	writer, rest, err := takeWriter(raw.Headers, len(in.writers))
	if err != nil {
		return recordError(in.node, in.source, raw.Offset, err)
	}
	value := rest[findHeader(rest, headerClock)].Value
	if len(value) != clockBytes {
		return recordError(in.node, in.source, raw.Offset, fmt.Errorf("header %s has %d bytes, not %d", headerClock, len(value), clockBytes))
	}
	time, flags := int64(binary.BigEndian.Uint64(value)), value[clockBytes-1]
	in.writers[writer] = statusOf(flags)
	for _, c := range t.clocks {
		c.tell(in.clock+writer, time)
	}
	t.heard = true
	return nil
}

// takeWriter returns who wrote a record, and its headers without that.
func takeWriter(headers []kgo.RecordHeader, writers int) (int32, []kgo.RecordHeader, error) {
	i := findHeader(headers, headerWriter)
	if i < 0 {
		return 0, nil, errNoWriter
	}
	writer, n := binary.Uvarint(headers[i].Value)
	if n <= 0 || writer >= uint64(writers) {
		return 0, nil, fmt.Errorf("header %s names a task that does not exist, there are %d: the topics before it have lost partitions", headerWriter, writers)
	}
	if i == 0 {
		return int32(writer), headers[1:], nil
	}
	rest := make([]kgo.RecordHeader, 0, len(headers)-1)
	return int32(writer), append(append(rest, headers[:i]...), headers[i+1:]...), nil
}

func findHeader(headers []kgo.RecordHeader, key string) int {
	for i := range headers {
		if headers[i].Key == key {
			return i
		}
	}
	return -1
}

// partitionOf is the partition of a key as Kafka's clients choose it.
func partitionOf(key []byte, partitions int32) int32 {
	return int32(murmur2(key)&0x7fffffff) % partitions
}

// murmur2 is the hash with which Kafka's clients spread keys over partitions.
func murmur2(b []byte) uint32 {
	const (
		seed = 0x9747b28c
		m    = 0x5bd1e995
		r    = 24
	)
	h := uint32(seed) ^ uint32(len(b))
	for ; len(b) >= 4; b = b[4:] {
		k := binary.LittleEndian.Uint32(b) * m
		k ^= k >> r
		h = h*m ^ k*m
	}
	switch len(b) {
	case 3:
		h ^= uint32(b[2]) << 16
		fallthrough
	case 2:
		h ^= uint32(b[1]) << 8
		fallthrough
	case 1:
		h = (h ^ uint32(b[0])) * m
	}
	h = (h ^ h>>13) * m
	return h ^ h>>15
}
