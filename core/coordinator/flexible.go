package coordinator

import (
	"encoding/binary"
	"errors"

	"github.com/milldam/milldam/core/record"
)

// Kafka's flexible encoding, of records for which kmsg has no type: lengths are varints and one more than they are, 0 is null; structs end with tagged fields.

func appendLength(b []byte, n int) []byte { return binary.AppendUvarint(b, uint64(n)+1) }

func appendString(b []byte, s string) []byte { return append(appendLength(b, len(s)), s...) }

func appendNullable(b []byte, s *string) []byte {
	if s == nil {
		return append(b, 0)
	}
	return appendString(b, *s)
}

func appendInt32(b []byte, n int32) []byte { return binary.BigEndian.AppendUint32(b, uint32(n)) }
func appendInt64(b []byte, n int64) []byte { return binary.BigEndian.AppendUint64(b, uint64(n)) }

func appendInt32s(b []byte, list []int32) []byte {
	b = appendLength(b, len(list))
	for _, n := range list {
		b = appendInt32(b, n)
	}
	return b
}

// appendTag adds one tagged field, the only one of its struct.
func appendTag(b []byte, tag uint64, value []byte) []byte {
	b = binary.AppendUvarint(append(b, 1), tag)
	return append(binary.AppendUvarint(b, uint64(len(value))), value...)
}

// noTags ends a struct without tagged fields.
func noTags(b []byte) []byte { return append(b, 0) }

var errFlexible = errors.New("the record ends too early, or a length in it is wrong")

// flexible reads what the functions above write. After the first error everything is zero.
type flexible struct {
	b   []byte
	err error
}

func (f *flexible) fail() { f.b, f.err = nil, errFlexible }

func (f *flexible) take(n int) []byte {
	if n < 0 || n > len(f.b) {
		f.fail()
		return nil
	}
	out := f.b[:n:n]
	f.b = f.b[n:]
	return out
}

func (f *flexible) uvarint() uint64 {
	v, n := binary.Uvarint(f.b)
	if n <= 0 {
		f.fail()
		return 0
	}
	f.b = f.b[n:]
	return v
}

func (f *flexible) int8() int8 {
	if b := f.take(1); b != nil {
		return int8(b[0])
	}
	return 0
}

func (f *flexible) int16() int16 {
	if b := f.take(2); b != nil {
		return int16(binary.BigEndian.Uint16(b))
	}
	return 0
}

func (f *flexible) int32() int32 {
	if b := f.take(4); b != nil {
		return int32(binary.BigEndian.Uint32(b))
	}
	return 0
}

func (f *flexible) int64() int64 {
	if b := f.take(8); b != nil {
		return int64(binary.BigEndian.Uint64(b))
	}
	return 0
}

// length reads a length of elements that take least bytes each; -1 is null.
func (f *flexible) length(least int) int {
	n := f.uvarint()
	if n > uint64(len(f.b)/least)+1 {
		f.fail()
		return 0
	}
	return int(n) - 1
}

func (f *flexible) bytes() []byte { return f.take(max(0, f.length(1))) }

func (f *flexible) string() string { return string(f.bytes()) }

func (f *flexible) nullable() *string {
	n := f.length(1)
	if n < 0 {
		return nil
	}
	s := string(f.take(n))
	return &s
}

// each calls fn for every element of an array whose elements take least bytes each.
func (f *flexible) each(least int, fn func()) {
	for n := f.length(least); n > 0 && f.err == nil; n-- {
		fn()
	}
}

func (f *flexible) strings() (list []string) {
	f.each(1, func() { list = append(list, f.string()) })
	return list
}

func (f *flexible) int32s() (list []int32) {
	f.each(4, func() { list = append(list, f.int32()) })
	return list
}

func (f *flexible) topicID() (id record.TopicID) {
	copy(id[:], f.take(len(id)))
	return id
}

// tags reads the tagged fields of a struct: fn gets those with the number of known, others are passed over.
func (f *flexible) tags(known uint64, fn func(*flexible)) {
	for n := f.uvarint(); n > 0 && f.err == nil; n-- {
		tag, size := f.uvarint(), f.uvarint()
		if size > uint64(len(f.b)) {
			f.fail()
			return
		}
		field := flexible{b: f.take(int(size))}
		if tag == known && fn != nil {
			if fn(&field); field.err != nil {
				f.fail()
			}
		}
	}
}

// noKnownTags passes over all tagged fields.
func (f *flexible) noKnownTags() { f.tags(0, nil) }

// keyStrings reads the strings of a record's key, which are not flexible.
func keyStrings(key []byte, n int) (list []string, ok bool) {
	f := flexible{b: key[2:]}
	for range n {
		size := f.int16()
		if size < 0 {
			return nil, false
		}
		list = append(list, string(f.take(int(size))))
	}
	return list, f.err == nil && len(f.b) == 0
}

// keyOf is a key of the type with the strings.
func keyOf(kind int16, list ...string) []byte {
	b := binary.BigEndian.AppendUint16(nil, uint16(kind))
	for _, s := range list {
		b = append(binary.BigEndian.AppendUint16(b, uint16(len(s))), s...)
	}
	return b
}
