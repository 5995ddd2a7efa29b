package storage

import (
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/milldam/milldam/core/record"
)

// checkBatch checks what can be checked of a batch by itself.
func checkBatch(b record.Batch, c *LogConfig, origin AppendOrigin, now time.Time) error {
	err := b.Verify()
	if origin != FromCoordinator && (err == nil || errors.Is(err, record.ErrCRC)) { // it is whole: Kafka looks at these before the checksum
		if b.BaseOffset() != 0 {
			return fmt.Errorf("%w: base offset %d, a producer's is 0", ErrInvalidRecord, b.BaseOffset())
		}
		if err := checkSize(b, c); err != nil {
			return err
		}
	}
	if err != nil {
		switch {
		case errors.Is(err, record.ErrCRC):
			return fmt.Errorf("%w: %w", ErrCorrupt, err)
		case errors.Is(err, record.ErrMagic):
			return fmt.Errorf("%w: %w", ErrMagic, err)
		case errors.Is(err, record.ErrCodec):
			return fmt.Errorf("%w: %w", ErrUnsupportedCodec, err)
		}
		return fmt.Errorf("%w: %w", ErrInvalidRecord, err)
	}
	if origin == FromCoordinator {
		return nil
	}
	switch {
	case b.IsControl():
		return fmt.Errorf("%w: clients do not write control batches", ErrInvalidRecord)
	case b.IsTransactional() && b.ProducerID() == record.NoProducer:
		return fmt.Errorf("%w: a transactional batch without a producer", ErrInvalidRecord)
	case b.ProducerID() != record.NoProducer && (b.BaseSequence() < 0 || b.ProducerEpoch() < 0):
		return fmt.Errorf("%w: producer %d with epoch %d and sequence %d", ErrInvalidRecord, b.ProducerID(), b.ProducerEpoch(), b.BaseSequence())
	case int64(b.Count()) != int64(b.LastOffsetDelta())+1 || b.Count() == 0:
		return fmt.Errorf("%w: %d records, last offset delta %d", ErrInvalidRecord, b.Count(), b.LastOffsetDelta())
	case b.HasLogAppendTime():
		return fmt.Errorf("%w: a producer's timestamps are create times", ErrInvalidRecord)
	}
	return checkRecords(b, c, now)
}

func checkSize(b record.Batch, c *LogConfig) error {
	switch {
	case len(b) > int(c.MaxMessageBytes):
		return fmt.Errorf("%w: %d bytes, max.message.bytes is %d", ErrTooLarge, len(b), c.MaxMessageBytes)
	case int64(len(b)) > c.SegmentBytes:
		return fmt.Errorf("%w: %d bytes, segment.bytes is %d", ErrLargerThanSegment, len(b), c.SegmentBytes)
	}
	return nil
}

// recompressed is a batch as compression.type wants it, which may be larger.
func recompressed(b record.Batch, c *LogConfig) (record.Batch, error) {
	again, err := b.Recompress(c.Codec, c.CompressionLevel, int(c.MaxMessageBytes)*maxDecompressed)
	if err != nil {
		return nil, err
	}
	return again, checkSize(again, c)
}

// maxDecompressed is how many times max.message.bytes the records of a batch may take when they are decompressed. Text compresses to a
// tenth or a twentieth; what passes this is there to do harm.
const maxDecompressed = 256

// checkRecords looks into the records: they are as many as the header says, their offsets have no gap, compacted topics get keys, and every timestamp is
// allowed.
func checkRecords(b record.Batch, c *LogConfig, now time.Time) error {
	r, err := b.Summarize(int(c.MaxMessageBytes) * maxDecompressed)
	times := c.times(now)
	switch {
	case errors.Is(err, record.ErrTooLarge):
		return fmt.Errorf("%w: %w", ErrTooLarge, err)
	case errors.Is(err, record.ErrInvalid) && b.Codec() != record.None: // bytes that are not of their codec, most likely
		return fmt.Errorf("%w: %w", ErrCorrupt, err)
	case errors.Is(err, record.ErrInvalid): // with the right checksum: its producer made it so
		return fmt.Errorf("%w: %w", ErrInvalidRecord, err)
	case err != nil:
		return err
	case r.Gaps:
		return fmt.Errorf("%w: the records' offsets have a gap", ErrInvalidRecord)
	case c.CleanupCompact && r.NullKeys, !c.LogAppendTime && !(times.has(r.MinTimestamp) && times.has(r.MaxTimestamp)):
		return badRecords(b, c, times)
	}
	if largest := max(r.MaxTimestamp, record.NoTimestamp); largest != b.MaxTimestamp() {
		b.SetMaxTimestamp(largest) // as Kafka: time lookups rely on it
	}
	return nil
}

// badRecords tells which records of a batch are refused.
func badRecords(b record.Batch, c *LogConfig, times timeRange) error {
	refused := &RecordErrors{}
	err := b.Each(int(c.MaxMessageBytes)*maxDecompressed, func(r *record.Record) error {
		var err error
		if c.CleanupCompact && r.Key == nil {
			err = fmt.Errorf("%w: a compacted topic takes no record without a key", ErrInvalidRecord)
		} else if !c.LogAppendTime {
			err = times.check(r.Timestamp)
		}
		if err != nil {
			refused.Records = append(refused.Records, RecordError{Index: int32(r.Offset - b.BaseOffset()), Err: err})
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("%w: %w", ErrInvalidRecord, err)
	}
	return refused
}

// timeRange is between which times, in ms, a record's must lie.
type timeRange struct{ first, last int64 }

func (c *LogConfig) times(now time.Time) timeRange {
	r := timeRange{math.MinInt64, math.MaxInt64}
	if c.TimestampBeforeMax >= 0 {
		r.first = now.Add(-c.TimestampBeforeMax).UnixMilli()
	}
	if c.TimestampAfterMax >= 0 {
		r.last = now.Add(c.TimestampAfterMax).UnixMilli()
	}
	return r
}

// has tells whether a record may have a time.
func (r timeRange) has(ms int64) bool {
	return ms == record.NoTimestamp || r.first <= ms && ms <= r.last
}

func (r timeRange) check(ms int64) error {
	if r.has(ms) {
		return nil
	}
	return fmt.Errorf("%w: %d lies outside message.timestamp.before.max.ms and message.timestamp.after.max.ms", ErrTimestamp, ms)
}
