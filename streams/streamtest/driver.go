package streamtest

import (
	"testing"
	"time"

	"github.com/milldam/milldam/streams"
)

// Driver runs a topology in a test.
type Driver struct {
	t   testing.TB
	sim *streams.Simulation
}

// New returns a driver for a topology, with empty topics.
func New(t testing.TB, top *streams.Topology, o streams.SimulationOptions) *Driver {
	t.Helper()
	sim, err := streams.Simulate(top, o)
	if err != nil {
		t.Fatal(err)
	}
	return &Driver{t: t, sim: sim}
}

func (d *Driver) must(err error) {
	d.t.Helper()
	if err != nil {
		d.t.Fatal(err)
	}
}

// Advance moves the clock and lets the topology do what is due.
func (d *Driver) Advance(by time.Duration) {
	d.t.Helper()
	d.must(d.sim.Advance(by))
}

// Restart begins anew from what is committed.
func (d *Driver) Restart() {
	d.t.Helper()
	d.must(d.sim.Restart())
}

// Now is what the clock shows.
func (d *Driver) Now() time.Time { return d.sim.Now() }

// Metrics are the counts since the start.
func (d *Driver) Metrics() *streams.Metrics { return d.sim.Metrics() }

// Simulation is what the driver runs, for what it has no method for.
func (d *Driver) Simulation() *streams.Simulation { return d.sim }

// Input is a topic to send to.
type Input[K, V any] struct {
	d      *Driver
	topic  string
	keys   streams.Codec[K]
	values streams.Codec[V]
}

// In returns a topic that the topology reads.
func In[K, V any](d *Driver, topic string, keys streams.Codec[K], values streams.Codec[V]) Input[K, V] {
	return Input[K, V]{d, topic, keys, values}
}

// Send appends a record to the partition that its key belongs to, and processes all there is.
func (in Input[K, V]) Send(key K, value V, at time.Time) {
	in.d.t.Helper()
	in.d.must(in.d.sim.Send(in.topic, in.message(key, value, at)))
}

// SendTo is Send to one partition.
func (in Input[K, V]) SendTo(partition int32, key K, value V, at time.Time) {
	in.d.t.Helper()
	in.d.must(in.d.sim.SendTo(in.topic, partition, in.message(key, value, at)))
}

// Delete appends a tombstone.
func (in Input[K, V]) Delete(key K, at time.Time) {
	in.d.t.Helper()
	in.d.must(in.d.sim.Send(in.topic, streams.Message{Key: in.key(key), Time: at}))
}

func (in Input[K, V]) key(key K) []byte {
	in.d.t.Helper()
	b, err := in.keys.Append([]byte{}, key)
	in.d.must(err)
	return b
}

func (in Input[K, V]) message(key K, value V, at time.Time) streams.Message {
	in.d.t.Helper()
	b, err := in.values.Append([]byte{}, value)
	in.d.must(err)
	return streams.Message{Key: in.key(key), Value: b, Time: at}
}

// Record is a record of an output topic.
type Record[K, V any] struct {
	Key       K
	Value     V
	Time      time.Time
	Partition int32
	Headers   []streams.Header
	NullKey   bool
	Tombstone bool
}

// Output is a topic to read from.
type Output[K, V any] struct {
	d      *Driver
	topic  string
	keys   streams.Codec[K]
	values streams.Codec[V]
	read   map[int32]int64 // the next offset of each partition
}

// Out returns a topic that the topology writes.
func Out[K, V any](d *Driver, topic string, keys streams.Codec[K], values streams.Codec[V]) *Output[K, V] {
	return &Output[K, V]{d, topic, keys, values, map[int32]int64{}}
}

// Read returns the records that came since the last Read, ordered by partition and offset.
func (o *Output[K, V]) Read() []Record[K, V] {
	o.d.t.Helper()
	var records []Record[K, V]
	for _, m := range o.d.sim.Read(o.topic) {
		if m.Offset < o.read[m.Partition] {
			continue
		}
		o.read[m.Partition] = m.Offset + 1
		r := Record[K, V]{Time: m.Time, Partition: m.Partition, Headers: m.Headers, NullKey: m.Key == nil, Tombstone: m.Value == nil}
		var err error
		if !r.NullKey {
			r.Key, err = o.keys.Decode(m.Key)
			o.d.must(err)
		}
		if !r.Tombstone {
			r.Value, err = o.values.Decode(m.Value)
			o.d.must(err)
		}
		records = append(records, r)
	}
	return records
}
