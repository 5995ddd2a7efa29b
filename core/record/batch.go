package record

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
)

// Batch is one whole record batch as on the wire and on disk.
type Batch []byte

// Positions in the header; see the package comment.
const (
	lengthAt          = 8
	epochAt           = 12
	magicAt           = 16
	crcAt             = 17
	attributesAt      = 21
	lastOffsetDeltaAt = 23
	baseTimestampAt   = 27
	maxTimestampAt    = 35
	producerIDAt      = 43
	producerEpochAt   = 51
	baseSequenceAt    = 53
	countAt           = 57

	// HeaderBytes is the size of a batch without its records.
	HeaderBytes = 61
	// logOverhead is what precedes the bytes that the length field counts.
	logOverhead = 12
)

// Bits of the attributes.
const (
	codecMask         = 0x07
	logAppendTimeBit  = 1 << 3
	transactionalBit  = 1 << 4
	controlBit        = 1 << 5
	deleteHorizonBit  = 1 << 6
	unknownAttributes = ^uint16(0x7f)
)

// NoProducer is the producer id of batches that are not idempotent.
const NoProducer ProducerID = -1

// NoEpoch is the producer epoch of batches that are not idempotent.
const NoEpoch ProducerEpoch = -1

// NoSequence is the sequence of batches that are not idempotent, of markers, and of what a coordinator writes for a producer.
const NoSequence Sequence = -1

// NoTimestamp is the timestamp of a batch without one.
const NoTimestamp int64 = -1

// Errors of batches that are not what they claim. Callers branch on them to answer the right protocol error.
var (
	ErrTruncated = errors.New("the batch ends too early")
	ErrMagic     = errors.New("the batch has another version than 2")
	ErrCRC       = errors.New("the checksum does not match")
	ErrInvalid   = errors.New("the batch contradicts itself")
	ErrCodec     = errors.New("unknown compression codec")
	ErrTooLarge  = errors.New("the batch is larger than allowed when decompressed")
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Next returns the first batch of buf and what follows it. ErrTruncated says that buf ends inside it, ErrInvalid and ErrMagic that
// no batch starts there.
func Next(buf []byte) (b Batch, rest []byte, err error) {
	if len(buf) < HeaderBytes {
		return nil, buf, ErrTruncated
	}
	if magic := buf[magicAt]; magic != 2 {
		return nil, buf, fmt.Errorf("%w: %d", ErrMagic, magic)
	}
	length := int64(int32(binary.BigEndian.Uint32(buf[lengthAt:]))) + logOverhead
	if length < HeaderBytes {
		return nil, buf, fmt.Errorf("%w: length %d", ErrInvalid, length)
	}
	if length > int64(len(buf)) {
		return nil, buf, ErrTruncated
	}
	return Batch(buf[:length:length]), buf[length:], nil
}

// SizeIn returns the size of the batch whose header starts header, which may end after the length field.
func SizeIn(header []byte) (int, error) {
	if len(header) < logOverhead {
		return 0, ErrTruncated
	}
	length := int64(int32(binary.BigEndian.Uint32(header[lengthAt:]))) + logOverhead
	if length < HeaderBytes {
		return 0, fmt.Errorf("%w: length %d", ErrInvalid, length)
	}
	return int(length), nil
}

// Verify checks everything of the header that needs no decompression: sizes, version, checksum, and that counts and offsets agree.
func (b Batch) Verify() error {
	whole, rest, err := Next(b)
	switch {
	case err != nil:
		return err
	case len(rest) > 0:
		return fmt.Errorf("%w: %d bytes follow it", ErrInvalid, len(rest))
	case whole.CRC() != whole.Checksum():
		return ErrCRC
	}
	return b.checkHeader()
}

func (b Batch) checkHeader() error {
	switch count, delta := b.Count(), b.LastOffsetDelta(); {
	case count < 0 || delta < 0:
		return fmt.Errorf("%w: %d records, last offset delta %d", ErrInvalid, count, delta)
	case int64(count) > int64(delta)+1:
		return fmt.Errorf("%w: %d records for %d offsets", ErrInvalid, count, int64(delta)+1)
	case b.BaseOffset() < 0 || int64(b.BaseOffset()) > int64(b.BaseOffset())+int64(delta):
		return fmt.Errorf("%w: base offset %d, last offset delta %d", ErrInvalid, b.BaseOffset(), delta)
	case !b.Codec().known():
		return fmt.Errorf("%w %d", ErrCodec, b.Codec())
	}
	return nil
}

func (b Batch) u16(at int) uint16 { return binary.BigEndian.Uint16(b[at:]) }
func (b Batch) u32(at int) uint32 { return binary.BigEndian.Uint32(b[at:]) }
func (b Batch) u64(at int) uint64 { return binary.BigEndian.Uint64(b[at:]) }

// BaseOffset is the offset of the first record the batch was made with.
func (b Batch) BaseOffset() Offset { return Offset(b.u64(0)) }

// LastOffset is the offset of the last record the batch was made with; compaction keeps it.
func (b Batch) LastOffset() Offset { return b.BaseOffset() + Offset(b.LastOffsetDelta()) }

// NextOffset is the offset after LastOffset.
func (b Batch) NextOffset() Offset { return b.LastOffset() + 1 }

// LeaderEpoch is the epoch of the leader that appended the batch.
func (b Batch) LeaderEpoch() LeaderEpoch { return LeaderEpoch(b.u32(epochAt)) }

// CRC is the stored checksum, Checksum the one of the content.
func (b Batch) CRC() uint32 { return b.u32(crcAt) }

// Checksum computes the checksum of the content.
func (b Batch) Checksum() uint32 { return crc32.Checksum(b[attributesAt:], castagnoli) }

func (b Batch) attributes() uint16 { return b.u16(attributesAt) }

// Codec is how the records are compressed.
func (b Batch) Codec() Codec { return Codec(b.attributes() & codecMask) }

// HasLogAppendTime tells whether MaxTimestamp is the time of every record.
func (b Batch) HasLogAppendTime() bool { return b.attributes()&logAppendTimeBit != 0 }

// IsTransactional tells whether the batch belongs to a transaction.
func (b Batch) IsTransactional() bool { return b.attributes()&transactionalBit != 0 }

// IsControl tells whether the batch holds a transaction marker.
func (b Batch) IsControl() bool { return b.attributes()&controlBit != 0 }

// DeleteHorizon is the time, in ms, from which compaction may drop the tombstones of the batch; ok is false before compaction first saw it.
func (b Batch) DeleteHorizon() (ms int64, ok bool) {
	return int64(b.u64(baseTimestampAt)), b.attributes()&deleteHorizonBit != 0
}

// LastOffsetDelta is LastOffset less BaseOffset.
func (b Batch) LastOffsetDelta() int32 { return int32(b.u32(lastOffsetDeltaAt)) }

// BaseTimestamp is what the timestamps of the records are relative to, in ms.
func (b Batch) BaseTimestamp() int64 { return int64(b.u64(baseTimestampAt)) }

// MaxTimestamp is the largest timestamp of the records, in ms.
func (b Batch) MaxTimestamp() int64 { return int64(b.u64(maxTimestampAt)) }

// ProducerID is the idempotent producer that sent the batch, or NoProducer.
func (b Batch) ProducerID() ProducerID { return ProducerID(b.u64(producerIDAt)) }

// ProducerEpoch belongs to ProducerID.
func (b Batch) ProducerEpoch() ProducerEpoch { return ProducerEpoch(b.u16(producerEpochAt)) }

// BaseSequence is the sequence of the first record, LastSequence that of the last.
func (b Batch) BaseSequence() Sequence { return Sequence(b.u32(baseSequenceAt)) }

// LastSequence is the sequence of the last record.
func (b Batch) LastSequence() Sequence {
	if first := b.BaseSequence(); first != NoSequence {
		return first.Add(b.LastOffsetDelta())
	}
	return NoSequence
}

// Count is the number of records the batch holds.
func (b Batch) Count() int32 { return int32(b.u32(countAt)) }

// SetBaseOffset sets the base offset, which the checksum does not cover.
func (b Batch) SetBaseOffset(o Offset) { binary.BigEndian.PutUint64(b, uint64(o)) }

// SetLeaderEpoch sets the leader epoch, which the checksum does not cover.
func (b Batch) SetLeaderEpoch(e LeaderEpoch) { binary.BigEndian.PutUint32(b[epochAt:], uint32(e)) }

// SetLogAppendTime gives every record the time ms and computes the checksum anew.
func (b Batch) SetLogAppendTime(ms int64) {
	binary.BigEndian.PutUint16(b[attributesAt:], b.attributes()|logAppendTimeBit)
	binary.BigEndian.PutUint64(b[maxTimestampAt:], uint64(ms))
	b.seal()
}

// SetMaxTimestamp sets the largest timestamp and computes the checksum anew.
func (b Batch) SetMaxTimestamp(ms int64) {
	binary.BigEndian.PutUint64(b[maxTimestampAt:], uint64(ms))
	b.seal()
}

// seal writes the checksum.
func (b Batch) seal() { binary.BigEndian.PutUint32(b[crcAt:], b.Checksum()) }

// Add returns the sequence n records further; after the largest int32 comes 0.
func (s Sequence) Add(n int32) Sequence {
	sum := int64(s) + int64(n)
	if sum > maxSequence {
		sum -= maxSequence + 1
	}
	return Sequence(sum)
}

const maxSequence = 1<<31 - 1
