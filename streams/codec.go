package streams

import (
	"encoding"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"math"
	"reflect"
	"unsafe"
)

// Codec writes values of one type as bytes, and reads them back. A codec is used by several goroutines at once.
type Codec[T any] interface {
	// Append appends v to dst.
	Append(dst []byte, v T) ([]byte, error)
	// Decode makes a value of src. src is never changed afterwards and may be referred to by the value.
	Decode(src []byte) (T, error)
	// Name says what the bytes are, as shown by Topology.Describe.
	Name() string
}

// The codecs of simple types. Numbers are eight bytes, big endian, as Kafka's own serializers write them.
var (
	String  Codec[string]  = stringCodec{}
	Bytes   Codec[[]byte]  = bytesCodec{}
	Int64   Codec[int64]   = int64Codec{}
	Float64 Codec[float64] = float64Codec{}
)

// retaining is implemented by codecs whose values refer to the bytes they were decoded from. Where values are kept in a store
// the other codec is taken: a small string must not hold a whole fetched batch in memory.
type retaining[T any] interface {
	copying() Codec[T]
}

func copyingCodec[T any](c Codec[T]) Codec[T] {
	if r, ok := c.(retaining[T]); ok {
		return r.copying()
	}
	return c
}

type stringCodec struct{ copies bool }

func (stringCodec) Name() string                                { return "string" }
func (stringCodec) Append(dst []byte, v string) ([]byte, error) { return append(dst, v...), nil }
func (stringCodec) copying() Codec[string]                      { return stringCodec{copies: true} }
func (c stringCodec) Decode(src []byte) (string, error) {
	if c.copies {
		return string(src), nil
	}
	return unsafe.String(unsafe.SliceData(src), len(src)), nil
}

type bytesCodec struct{ copies bool }

func (bytesCodec) Name() string                                { return "bytes" }
func (bytesCodec) Append(dst []byte, v []byte) ([]byte, error) { return append(dst, v...), nil }
func (bytesCodec) copying() Codec[[]byte]                      { return bytesCodec{copies: true} }
func (c bytesCodec) Decode(src []byte) ([]byte, error) {
	if c.copies {
		return append(make([]byte, 0, len(src)), src...), nil
	}
	return src, nil
}

type int64Codec struct{}

func (int64Codec) Name() string { return "int64" }
func (int64Codec) Append(dst []byte, v int64) ([]byte, error) {
	return binary.BigEndian.AppendUint64(dst, uint64(v)), nil
}
func (int64Codec) Decode(src []byte) (int64, error) {
	if len(src) != 8 {
		return 0, fmt.Errorf("an int64 is 8 bytes, not %d", len(src))
	}
	return int64(binary.BigEndian.Uint64(src)), nil
}

type float64Codec struct{}

func (float64Codec) Name() string { return "float64" }
func (float64Codec) Append(dst []byte, v float64) ([]byte, error) {
	return binary.BigEndian.AppendUint64(dst, math.Float64bits(v)), nil
}
func (float64Codec) Decode(src []byte) (float64, error) {
	if len(src) != 8 {
		return 0, fmt.Errorf("a float64 is 8 bytes, not %d", len(src))
	}
	return math.Float64frombits(binary.BigEndian.Uint64(src)), nil
}

// JSON is the codec that writes values of T as JSON.
func JSON[T any]() Codec[T] { return jsonCodec[T]{} }

type jsonCodec[T any] struct{}

func (jsonCodec[T]) Name() string { return "json " + reflect.TypeFor[T]().String() }

func (jsonCodec[T]) Append(dst []byte, v T) ([]byte, error) {
	b, err := json.Marshal(v)
	if err != nil {
		return dst, err
	}
	return append(dst, b...), nil
}

func (jsonCodec[T]) Decode(src []byte) (T, error) {
	var v T
	err := json.Unmarshal(src, &v)
	return v, err
}

// check refuses types that JSON cannot write and read back.
func (jsonCodec[T]) check() error { return checkJSON(reflect.TypeFor[T](), map[reflect.Type]bool{}) }

// infer returns the codec of T for which none was given.
func infer[T any]() Codec[T] {
	var zero T
	var c any
	switch any(zero).(type) {
	case string:
		c = String
	case []byte:
		c = Bytes
	case int64:
		c = Int64
	case float64:
		c = Float64
	default:
		c = JSON[T]()
	}
	return c.(Codec[T])
}

// checkCodec finds out at build what would otherwise fail at the first record.
func checkCodec[T any](c Codec[T]) error {
	if j, ok := c.(jsonCodec[T]); ok {
		return j.check()
	}
	return nil
}

var (
	jsonMarshaler = reflect.TypeFor[json.Marshaler]()
	textMarshaler = reflect.TypeFor[encoding.TextMarshaler]()
)

func checkJSON(t reflect.Type, seen map[reflect.Type]bool) error {
	if seen[t] || t.Implements(jsonMarshaler) || t.Implements(textMarshaler) ||
		reflect.PointerTo(t).Implements(jsonMarshaler) || reflect.PointerTo(t).Implements(textMarshaler) {
		return nil
	}
	seen[t] = true
	switch t.Kind() {
	case reflect.Chan, reflect.Func, reflect.Complex64, reflect.Complex128, reflect.UnsafePointer:
		return fmt.Errorf("JSON cannot write %s", t)
	case reflect.Interface:
		if t.NumMethod() > 0 {
			return fmt.Errorf("JSON cannot read a value of the interface %s back", t)
		}
	case reflect.Pointer, reflect.Slice, reflect.Array, reflect.Map:
		return checkJSON(t.Elem(), seen)
	case reflect.Struct:
		return checkJSONStruct(t, seen)
	}
	return nil
}

func checkJSONStruct(t reflect.Type, seen map[reflect.Type]bool) error {
	exported := 0
	for i := range t.NumField() {
		f := t.Field(i)
		if f.Tag.Get("json") == "-" || !f.IsExported() && !f.Anonymous {
			continue
		}
		exported++
		if err := checkJSON(f.Type, seen); err != nil {
			return fmt.Errorf("field %s of %s: %w", f.Name, t, err)
		}
	}
	if exported == 0 && t.NumField() > 0 {
		return fmt.Errorf("%s has no exported field, JSON would write it as {}", t)
	}
	return nil
}
