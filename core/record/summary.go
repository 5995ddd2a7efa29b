package record

import (
	"encoding/binary"
	"fmt"
	"math"
)

// Summary is what a broker wants to know of a batch's records before it takes them.
type Summary struct {
	MinTimestamp, MaxTimestamp int64 // ms, of the records that have a time; NoTimestamp when none has
	NullKeys                   bool  // a record has no key
	Gaps                       bool  // the offset deltas are not 0, 1, 2, ...
}

// Summarize walks the records as Each does, with the same checks, and hands none of them out: that is several times as fast, and a broker does it for every
// batch that comes. Decompressed the records may take at most limit bytes.
func (b Batch) Summarize(limit int) (Summary, error) {
	codec := b.Codec()
	if codec == None {
		return b.summarize(b[HeaderBytes:])
	}
	buf := buffers.Get().(*[]byte)
	defer buffers.Put(buf)
	data, err := codec.decompress(*buf, b[HeaderBytes:], limit)
	if err != nil {
		return Summary{}, err
	}
	if cap(data) <= keepBytes {
		*buf = data
	}
	return b.summarize(data)
}

func (b Batch) summarize(data []byte) (Summary, error) {
	s := Summary{}
	base, last := b.BaseTimestamp(), int64(b.LastOffsetDelta())
	count, previous := int64(b.Count()), int64(-1)
	earliest, latest := int64(math.MaxInt64), int64(math.MinInt64)
	for i := range count {
		r := glance(data)
		if r.size == 0 {
			if r = look(data); r.size == 0 {
				return s, fmt.Errorf("%w: record %d of %d is malformed", ErrInvalid, i, count)
			}
		}
		if r.delta <= previous || r.delta > last {
			return s, fmt.Errorf("%w: record %d has offset delta %d", ErrInvalid, i, r.delta)
		}
		previous, data = r.delta, data[r.size:]
		s.Gaps = s.Gaps || r.delta != i
		s.NullKeys = s.NullKeys || r.keyLength < 0
		if ms := base + r.timestamp; ms != NoTimestamp {
			earliest, latest = min(earliest, ms), max(latest, ms)
		}
	}
	if len(data) > 0 {
		return s, fmt.Errorf("%w: %d bytes follow the last record", ErrInvalid, len(data))
	}
	switch {
	case b.HasLogAppendTime():
		s.MinTimestamp, s.MaxTimestamp = b.MaxTimestamp(), b.MaxTimestamp()
	case earliest > latest:
		s.MinTimestamp, s.MaxTimestamp = NoTimestamp, NoTimestamp
	default:
		s.MinTimestamp, s.MaxTimestamp = earliest, latest
	}
	return s, nil
}

// skimmed is what is read of a record.
type skimmed struct {
	size      int   // with its length in front; 0 when it is malformed
	delta     int64 // of its offset
	timestamp int64 // less the batch's
	keyLength int64 // below zero without a key
}

// glance reads the first record of data if it is as most are: of less than 8 KiB, with no number that takes more than two bytes, and without headers. Of others, and
// of malformed ones, size is 0. All numbers in front of the key come from one load.
func glance(data []byte) skimmed {
	if len(data) < 8 {
		return skimmed{}
	}
	w := binary.LittleEndian.Uint64(data)
	length, n, w := short(w)
	timestamp, m, w := short(w >> 8) // behind the attributes, which are unused
	delta, d, w := short(w)
	keyLength, k, _ := short(w)
	at := n + m + d + k + 1
	end, value := n+int(length), at+int(max(keyLength, 0))
	if at > 8 || keyLength < -1 || end > len(data) || value+8 > len(data) {
		return skimmed{}
	}
	valueLength, v, _ := short(binary.LittleEndian.Uint64(data[value:]))
	headers := value + v + int(max(valueLength, 0))
	if v > 2 || valueLength < -1 || headers != end-1 || data[headers] != 0 {
		return skimmed{}
	}
	return skimmed{end, delta, timestamp, keyLength}
}

// short reads a zigzag varint of at most two bytes from the low end of w. n is how many it takes, or too many to go on, and rest what follows it.
func short(w uint64) (v int64, n int, rest uint64) {
	if w&0x80 == 0 {
		return int64(w>>1&0x3f) ^ -int64(w&1), 1, w >> 8
	}
	if w&0x8000 == 0 {
		return int64(w>>1&0x3f|w>>2&0x1fc0) ^ -int64(w&1), 2, w >> 16
	}
	return 0, 9, 0
}

// look reads the first record of data, whatever it is like.
func look(data []byte) skimmed {
	length, n := varint(data, 0)
	if n == 0 || length < 0 || length > int64(len(data)-n) {
		return skimmed{}
	}
	r := skim(data[n : n+int(length)])
	if r.size > 0 {
		r.size += n
	}
	return r
}

// skim reads the body of a record.
func skim(body []byte) skimmed {
	if len(body) == 0 {
		return skimmed{}
	}
	at := 1 // behind the attributes, which are unused
	timestamp, n := varint(body, at)
	at += n
	delta, m := varint(body, at)
	at += m
	keyLength, k := varint(body, at)
	at += k
	if n == 0 || m == 0 || k == 0 || keyLength < -1 || keyLength > int64(len(body)-at) {
		return skimmed{}
	}
	at += int(max(keyLength, 0))
	valueLength, v := varint(body, at)
	at += v
	if v == 0 || valueLength < -1 || valueLength > int64(len(body)-at) {
		return skimmed{}
	}
	at += int(max(valueLength, 0))
	if !headersFill(body, at) {
		return skimmed{}
	}
	return skimmed{len(body), delta, timestamp, keyLength}
}

// headersFill tells whether headers take the rest of a record, from at on.
func headersFill(body []byte, at int) bool {
	if at == len(body)-1 && body[at] == 0 {
		return true // none
	}
	c := cursor{data: body[at:]}
	headers := c.varint()
	if headers < 0 || headers*minHeaderBytes > int64(len(c.data)) {
		return false
	}
	for range headers {
		c.take(c.varint())
		c.nullable()
	}
	return !c.bad && len(c.data) == 0
}

// varint reads a zigzag varint at at; n is 0 when there is none. Most are a byte or two.
func varint(data []byte, at int) (v int64, n int) {
	if at+1 < len(data) {
		if b := data[at]; b < 0x80 {
			return int64(b>>1) ^ -int64(b&1), 1
		} else if c := data[at+1]; c < 0x80 {
			u := int64(b&0x7f) | int64(c)<<7
			return u>>1 ^ -(u & 1), 2
		}
	}
	if at > len(data) {
		return 0, 0
	}
	v, n = binary.Varint(data[at:])
	return v, max(n, 0)
}
