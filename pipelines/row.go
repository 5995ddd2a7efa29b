package pipelines

import (
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/milldam/milldam/connect/expression"
	"github.com/milldam/milldam/streams"
)

// row is the value of a record between the steps of a stream hop.
type row struct {
	value  []byte         // JSON; nil is a tombstone
	window streams.Window // zero before a window
	// key is the record's key while it travels under another one to the row that it is joined with.
	key    []byte
	hasKey bool

	at    int64       // the time that window.time said, until the record has it
	group string      // what the record is grouped or looked up by, until it is its key
	state windowState // of a window whose result is not made yet
}

// keep remembers the key of r for the time that it has another one.
func (v *row) keep(r *streams.Record[string, row]) {
	if v.hasKey {
		return
	}
	v.hasKey = true
	if !r.NullKey {
		v.key = []byte(r.Key)
	}
}

// row2 is a row with what a table holds for it.
type row2 struct {
	row
	table []byte
	found bool
}

// valueCodec writes the value of a row alone: what a dead-letter topic, or a repartition topic before a window, needs of it.
type valueCodec struct{}

// Name says what the bytes are.
func (valueCodec) Name() string { return "json" }

// Append appends the value.
func (valueCodec) Append(dst []byte, v row) ([]byte, error) { return append(dst, v.value...), nil }

// Decode reads the value.
func (valueCodec) Decode(src []byte) (row, error) { return row{value: src}, nil }

// row2Codec writes the value of a joined row alone, for a dead-letter topic.
type row2Codec struct{}

// Name says what the bytes are.
func (row2Codec) Name() string { return "json" }

// Append appends the value.
func (row2Codec) Append(dst []byte, v row2) ([]byte, error) { return append(dst, v.value...), nil }

// Decode reads the value.
func (row2Codec) Decode(src []byte) (row2, error) { return row2{row: row{value: src}}, nil }

// rowCodec writes all of a row that travels under another key, in the repartition topic before a join:
//
//	byte     flags: 1 window, 2 key, 4 value, 8 the key is not null
//	16 bytes start and end of the window, milliseconds since 1970, big endian; with flag 1
//	uvarint  length of the key, and the key; with flag 8
//	bytes    the value, to the end; with flag 4
type rowCodec struct{}

const (
	rowHasWindow = 1 << iota
	rowHasKey
	rowHasValue
	rowKeyNotNull
)

// Name says what the bytes are.
func (rowCodec) Name() string { return "row" }

// Append appends the row.
func (rowCodec) Append(dst []byte, v row) ([]byte, error) {
	flags := byte(0)
	if !v.window.End.IsZero() {
		flags |= rowHasWindow
	}
	if v.hasKey {
		flags |= rowHasKey
	}
	if v.value != nil {
		flags |= rowHasValue
	}
	if v.key != nil {
		flags |= rowKeyNotNull
	}
	dst = append(dst, flags)
	if flags&rowHasWindow != 0 {
		dst = binary.BigEndian.AppendUint64(dst, uint64(v.window.Start.UnixMilli()))
		dst = binary.BigEndian.AppendUint64(dst, uint64(v.window.End.UnixMilli()))
	}
	if flags&rowKeyNotNull != 0 {
		dst = binary.AppendUvarint(dst, uint64(len(v.key)))
		dst = append(dst, v.key...)
	}
	return append(dst, v.value...), nil
}

var errShortRow = errors.New("the record of the repartition topic is cut short")

// Decode reads the row.
func (rowCodec) Decode(src []byte) (row, error) {
	var v row
	if len(src) == 0 {
		return v, errShortRow
	}
	flags := src[0]
	src = src[1:]
	if flags&rowHasWindow != 0 {
		if len(src) < 16 {
			return v, errShortRow
		}
		v.window.Start = time.UnixMilli(int64(binary.BigEndian.Uint64(src))).UTC()
		v.window.End = time.UnixMilli(int64(binary.BigEndian.Uint64(src[8:]))).UTC()
		src = src[16:]
	}
	v.hasKey = flags&rowHasKey != 0
	if flags&rowKeyNotNull != 0 {
		length, n := binary.Uvarint(src)
		if n <= 0 || length > uint64(len(src)-n) {
			return v, errShortRow
		}
		v.key = src[n : n+int(length) : n+int(length)]
		src = src[n+int(length):]
	}
	if flags&rowHasValue != 0 {
		v.value = src[:len(src):len(src)]
	}
	return v, nil
}

// stateCodec writes the state of a window for its changelog: a JSON list with the state of each aggregate.
type stateCodec struct{}

// Name says what the bytes are.
func (stateCodec) Name() string { return "aggregates" }

// Append appends the state.
func (stateCodec) Append(dst []byte, v windowState) ([]byte, error) {
	dst = binary.AppendUvarint(dst, uint64(len(v)))
	for _, s := range v {
		text, err := expression.AppendState(nil, s)
		if err != nil {
			return nil, err
		}
		dst = binary.AppendUvarint(dst, uint64(len(text)))
		dst = append(dst, text...)
	}
	return dst, nil
}

// maxStoredAggregates bounds what a damaged changelog can make Decode allocate.
const maxStoredAggregates = 10_000

// Decode reads the state.
func (stateCodec) Decode(src []byte) (windowState, error) {
	count, n := binary.Uvarint(src)
	if n <= 0 || count > maxStoredAggregates {
		return nil, errors.New("the record of the changelog is damaged")
	}
	src = src[n:]
	v := make(windowState, count)
	for i := range v {
		length, n := binary.Uvarint(src)
		if n <= 0 || length > uint64(len(src)-n) {
			return nil, errors.New("the record of the changelog is cut short")
		}
		var err error
		if v[i], err = expression.DecodeState(src[n : n+int(length)]); err != nil {
			return nil, fmt.Errorf("aggregate %d: %w", i, err)
		}
		src = src[n+int(length):]
	}
	return v, nil
}
