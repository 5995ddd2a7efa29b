package record

import (
	"encoding/binary"
	"fmt"
	"slices"
)

// BatchOptions are the parts of a batch's header that do not follow from its records. Use NewBatchOptions: the zero producer id is a real one.
type BatchOptions struct {
	Codec         Codec
	BaseOffset    Offset
	LeaderEpoch   LeaderEpoch
	ProducerID    ProducerID
	ProducerEpoch ProducerEpoch
	BaseSequence  Sequence
	Transactional bool
	Control       bool
	LogAppendTime bool
	// DeleteHorizon, in ms, when HasDeleteHorizon is set.
	DeleteHorizon    int64
	HasDeleteHorizon bool
}

// NewBatchOptions returns the options of a batch of no producer, from offset 0.
func NewBatchOptions() BatchOptions {
	return BatchOptions{ProducerID: NoProducer, ProducerEpoch: NoEpoch, BaseSequence: NoSequence}
}

// Builder makes batches. Its memory is reused from batch to batch.
type Builder struct {
	opts    BatchOptions
	records []byte // uncompressed
	body    []byte // of the record being appended
	count   int32
	last    int64 // offset delta

	baseTimestamp, maxTimestamp int64
}

// Reset starts a new batch.
func (b *Builder) Reset(opts BatchOptions) {
	*b = Builder{opts: opts, records: b.records[:0], body: b.body, last: -1, maxTimestamp: NoTimestamp}
}

// Len is the size of the records so far, uncompressed.
func (b *Builder) Len() int { return len(b.records) }

// Count is the number of records so far.
func (b *Builder) Count() int32 { return b.count }

// Append adds a record at the next offset.
func (b *Builder) Append(timestamp int64, key, value []byte, headers ...Header) {
	b.AppendAt(&Record{Offset: b.opts.BaseOffset + Offset(b.last) + 1, Timestamp: timestamp, Key: key, Value: value, Headers: headers})
}

// AppendAt adds a record at its own offset, which lies behind those before it.
func (b *Builder) AppendAt(r *Record) {
	if b.count == 0 {
		b.baseTimestamp = r.Timestamp
		if b.opts.HasDeleteHorizon {
			b.baseTimestamp = b.opts.DeleteHorizon
		}
	}
	b.maxTimestamp = max(b.maxTimestamp, r.Timestamp)
	b.last = int64(r.Offset - b.opts.BaseOffset)
	b.count++

	body := append(b.body[:0], 0)
	body = binary.AppendVarint(body, r.Timestamp-b.baseTimestamp)
	body = binary.AppendVarint(body, b.last)
	body = appendNullable(body, r.Key)
	body = appendNullable(body, r.Value)
	body = binary.AppendVarint(body, int64(len(r.Headers)))
	for _, h := range r.Headers {
		body = append(binary.AppendVarint(body, int64(len(h.Key))), h.Key...)
		body = appendNullable(body, h.Value)
	}
	b.body = body
	b.records = append(binary.AppendVarint(b.records, int64(len(body))), body...)
}

func appendNullable(dst, v []byte) []byte {
	if v == nil {
		return binary.AppendVarint(dst, -1)
	}
	return append(binary.AppendVarint(dst, int64(len(v))), v...)
}

// ExtendTo makes the batch cover the offsets up to last, of which the records behind those appended are gone.
func (b *Builder) ExtendTo(last Offset) { b.last = max(b.last, int64(last-b.opts.BaseOffset)) }

// Build appends the batch to dst and returns it. A batch without records covers the offsets ExtendTo gave it, at least one.
func (b *Builder) Build(dst []byte) ([]byte, error) {
	at := len(dst)
	dst = slices.Grow(dst, HeaderBytes+len(b.records))
	dst = append(dst, make([]byte, HeaderBytes)...)
	if b.count > 0 {
		var err error
		if dst, err = b.opts.Codec.compress(dst, b.records); err != nil {
			return nil, fmt.Errorf("compress %d records: %w", b.count, err)
		}
	}
	b.putHeader(Batch(dst[at:]))
	return dst, nil
}

func (b *Builder) putHeader(h Batch) {
	attributes := uint16(b.opts.Codec)
	for _, bit := range []struct {
		set bool
		bit uint16
	}{{b.opts.LogAppendTime, logAppendTimeBit}, {b.opts.Transactional, transactionalBit},
		{b.opts.Control, controlBit}, {b.opts.HasDeleteHorizon, deleteHorizonBit}} {
		if bit.set {
			attributes |= bit.bit
		}
	}
	be := binary.BigEndian
	h.SetBaseOffset(b.opts.BaseOffset)
	be.PutUint32(h[lengthAt:], uint32(len(h)-logOverhead))
	h.SetLeaderEpoch(b.opts.LeaderEpoch)
	h[magicAt] = 2
	be.PutUint16(h[attributesAt:], attributes)
	be.PutUint32(h[lastOffsetDeltaAt:], uint32(max(b.last, 0)))
	be.PutUint64(h[baseTimestampAt:], uint64(b.baseTimestamp))
	be.PutUint64(h[maxTimestampAt:], uint64(b.maxTimestamp))
	be.PutUint64(h[producerIDAt:], uint64(b.opts.ProducerID))
	be.PutUint16(h[producerEpochAt:], uint16(b.opts.ProducerEpoch))
	be.PutUint32(h[baseSequenceAt:], uint32(b.opts.BaseSequence))
	be.PutUint32(h[countAt:], uint32(b.count))
	h.seal()
}
