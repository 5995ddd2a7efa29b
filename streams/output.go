package streams

import (
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

const (
	// anyPartition marks a record whose partition is chosen by its key when it is produced.
	anyPartition = -1
	// slabRecords and arenaBytes are allocated at once for the records of an output.
	slabRecords = 256
	arenaBytes  = 64 << 10
)

// output collects the records that a task writes: the client keeps them until they are acknowledged, so their memory is taken in
// slabs and never used again.
type output struct {
	records []*kgo.Record
	slab    []kgo.Record
	arena   []byte
}

// next adds an empty record.
func (o *output) next() *kgo.Record {
	if len(o.slab) == 0 {
		o.slab = make([]kgo.Record, slabRecords)
	}
	r := &o.slab[0]
	o.slab = o.slab[1:]
	o.records = append(o.records, r)
	return r
}

// drop takes the last record back.
func (o *output) drop() { o.records = o.records[:len(o.records)-1] }

// take returns the records collected so far, valid until the next call of next.
func (o *output) take() []*kgo.Record {
	records := o.records
	o.records = o.records[:0]
	return records
}

// copy copies b into the arena.
func (o *output) copy(b []byte) []byte {
	if cap(o.arena)-len(o.arena) < len(b) {
		o.arena = make([]byte, 0, max(arenaBytes, len(b)))
	}
	start := len(o.arena)
	o.arena = append(o.arena, b...)
	return o.arena[start:len(o.arena):len(o.arena)]
}

// appendTo encodes v into the arena.
func appendTo[T any](o *output, c Codec[T], v T) ([]byte, error) {
	if cap(o.arena)-len(o.arena) < arenaBytes/16 {
		o.arena = make([]byte, 0, arenaBytes)
	}
	start := len(o.arena)
	arena, err := c.Append(o.arena, v)
	if err != nil {
		return nil, err
	}
	o.arena = arena
	return arena[start:len(arena):len(arena)], nil
}

// encodeRecord fills out with r.
func encodeRecord[K, V any](o *output, out *kgo.Record, r *Record[K, V], keys Codec[K], values Codec[V]) error {
	var err error
	if !r.NullKey {
		if out.Key, err = appendTo(o, keys, r.Key); err != nil {
			return err
		}
	}
	if !r.Tombstone {
		if out.Value, err = appendTo(o, values, r.Value); err != nil {
			return err
		}
	}
	out.Timestamp = time.UnixMilli(r.Time)
	out.Headers = r.Headers
	return nil
}
