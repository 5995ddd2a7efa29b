package streams

import (
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// Record is one record on its way through a topology.
type Record[K, V any] struct {
	Key   K
	Value V
	// Time is the event time in milliseconds since 1970; what Stream.EventTime says, else the record's timestamp.
	Time    int64
	Headers []Header
	// Source and Offset say where the record, or the one that caused it, was read.
	Source *Source
	Offset int64
	// NullKey and Tombstone tell a missing key or value from an empty one; Key or Value is then the zero value.
	NullKey   bool
	Tombstone bool

	// clock is the index of the input that moves time with this record; see clock.
	clock int32
}

// Header is a named value that travels with a record.
type Header = kgo.RecordHeader

// Source is the partition of a topic.
type Source struct {
	Topic     string
	Partition int32
}

// At is the event time of r.
func (r *Record[K, V]) At() time.Time { return time.UnixMilli(r.Time).UTC() }

// with returns r with another key and value.
func with[K2, V2, K, V any](r *Record[K, V], key K2, value V2) Record[K2, V2] {
	return Record[K2, V2]{
		Key: key, Value: value, Time: r.Time, Headers: r.Headers, Source: r.Source, Offset: r.Offset,
		NullKey: r.NullKey, Tombstone: r.Tombstone, clock: r.clock,
	}
}
