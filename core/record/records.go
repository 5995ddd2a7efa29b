package record

import (
	"encoding/binary"
	"fmt"
	"sync"
)

// Record is one record of a batch. Key and Value are nil when they are null.
type Record struct {
	Offset    Offset
	Timestamp int64 // ms
	Key       []byte
	Value     []byte
	Headers   []Header
}

// Header is one header of a record; Value is nil when it is null.
type Header struct {
	Key   string
	Value []byte
}

// buffers are reused for decompressed records; larger ones than keepBytes are left to the collector.
var buffers = sync.Pool{New: func() any { return new([]byte) }}

const keepBytes = 1 << 20

// Each calls fn with every record, in order, until fn returns an error, which it returns. Decompressed the records may take at most limit bytes. The
// slices of a record are valid only during the call; strings are.
func (b Batch) Each(limit int, fn func(*Record) error) error {
	codec := b.Codec()
	if codec == None {
		return b.each(b[HeaderBytes:], fn)
	}
	buf := buffers.Get().(*[]byte)
	defer buffers.Put(buf)
	data, err := codec.decompress(*buf, b[HeaderBytes:], limit)
	if err != nil {
		return err
	}
	if cap(data) <= keepBytes {
		*buf = data
	}
	return b.each(data, fn)
}

func (b Batch) each(data []byte, fn func(*Record) error) error {
	c := cursor{data: data}
	var r Record
	logAppendTime, base, baseTimestamp := b.HasLogAppendTime(), b.BaseOffset(), b.BaseTimestamp()
	count, previous := b.Count(), int64(-1)
	for i := range count {
		delta := c.record(&r, baseTimestamp)
		if c.bad {
			return fmt.Errorf("%w: record %d of %d is malformed", ErrInvalid, i, count)
		}
		if delta <= previous || delta > int64(b.LastOffsetDelta()) {
			return fmt.Errorf("%w: record %d has offset delta %d", ErrInvalid, i, delta)
		}
		previous = delta
		r.Offset = base + Offset(delta)
		if logAppendTime {
			r.Timestamp = b.MaxTimestamp()
		}
		if err := fn(&r); err != nil {
			return err
		}
	}
	if len(c.data) > 0 {
		return fmt.Errorf("%w: %d bytes follow the last record", ErrInvalid, len(c.data))
	}
	return nil
}

// cursor reads the fields of records. After the first that does not fit bad is true and the rest are zero.
type cursor struct {
	data []byte
	bad  bool
}

// minHeaderBytes is the least a header takes: an empty key and no value.
const minHeaderBytes = 2

// record reads one record and returns its offset delta.
func (c *cursor) record(r *Record, baseTimestamp int64) (offsetDelta int64) {
	length := c.varint()
	body := cursor{data: c.take(length), bad: c.bad}
	if len(body.take(1)) == 0 { // attributes, unused
		c.bad = true
		return 0
	}
	r.Timestamp = baseTimestamp + body.varint()
	offsetDelta = body.varint()
	r.Key = body.nullable()
	r.Value = body.nullable()
	headers := body.varint()
	if headers < 0 || headers*minHeaderBytes > int64(len(body.data)) {
		c.bad = true
		return 0
	}
	r.Headers = r.Headers[:0]
	for range headers {
		key := body.take(body.varint())
		r.Headers = append(r.Headers, Header{Key: string(key), Value: body.nullable()})
	}
	c.bad = c.bad || body.bad || len(body.data) > 0
	return offsetDelta
}

func (c *cursor) varint() int64 {
	v, n := binary.Varint(c.data)
	if n <= 0 {
		c.bad = true
		return 0
	}
	c.data = c.data[n:]
	return v
}

// take returns the next n bytes.
func (c *cursor) take(n int64) []byte {
	if c.bad || n < 0 || n > int64(len(c.data)) {
		c.bad = true
		return nil
	}
	b := c.data[:n:n]
	c.data = c.data[n:]
	return b
}

// nullable reads a length and as many bytes; a length of -1 is null.
func (c *cursor) nullable() []byte {
	n := c.varint()
	if n == -1 {
		return nil
	}
	return c.take(n)
}
