package storage

import (
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/milldam/milldam/core/record"
)

// checkBatch checks what can be checked of a batch by itself.
func checkBatch(b record.Batch, c LogConfig, origin AppendOrigin, now time.Time) error {
	if err := b.Verify(); err != nil {
		switch {
		case errors.Is(err, record.ErrCRC), errors.Is(err, record.ErrTruncated):
			return fmt.Errorf("%w: %w", ErrCorrupt, err)
		case errors.Is(err, record.ErrMagic):
			return fmt.Errorf("%w: %w", ErrMagic, err)
		case errors.Is(err, record.ErrCodec):
			return fmt.Errorf("%w: %w", ErrUnsupportedCodec, err)
		}
		return fmt.Errorf("%w: %w", ErrInvalidRecord, err)
	}
	if len(b) > int(c.MaxMessageBytes) && origin == FromClient {
		return fmt.Errorf("%w: %d bytes, max.message.bytes is %d", ErrTooLarge, len(b), c.MaxMessageBytes)
	}
	if origin == FromCoordinator {
		return nil
	}
	switch {
	case b.IsControl():
		return fmt.Errorf("%w: clients do not write control batches", ErrInvalidRecord)
	case b.IsTransactional():
		return fmt.Errorf("%w: the batch belongs to a transaction that is not known here", ErrInvalidRecord)
	case b.BaseOffset() != 0:
		return fmt.Errorf("%w: base offset %d, a producer's is 0", ErrInvalidRecord, b.BaseOffset())
	case int64(b.Count()) != int64(b.LastOffsetDelta())+1 || b.Count() == 0:
		return fmt.Errorf("%w: %d records, last offset delta %d", ErrInvalidRecord, b.Count(), b.LastOffsetDelta())
	case b.HasLogAppendTime():
		return fmt.Errorf("%w: a producer's timestamps are create times", ErrInvalidRecord)
	}
	if c.LogAppendTime {
		return checkRecords(b, c, nil)
	}
	earliest, latest := int64(math.MinInt64), int64(math.MaxInt64)
	if c.TimestampBeforeMax >= 0 {
		earliest = now.Add(-c.TimestampBeforeMax).UnixMilli()
	}
	if c.TimestampAfterMax >= 0 {
		latest = now.Add(c.TimestampAfterMax).UnixMilli()
	}
	return checkRecords(b, c, func(ts int64) error {
		if ts == record.NoTimestamp || ts >= earliest && ts <= latest {
			return nil
		}
		return fmt.Errorf("%w: %d lies outside message.timestamp.before.max.ms and message.timestamp.after.max.ms", ErrTimestamp, ts)
	})
}

// maxDecompressed is how many times max.message.bytes the records of a batch may take when they are decompressed. Text compresses to a
// tenth or a twentieth; what passes this is there to do harm.
const maxDecompressed = 256

// checkRecords walks the records: they are as many as the header says, their offsets have no gap, compacted topics get keys, and every timestamp is
// allowed.
func checkRecords(b record.Batch, c LogConfig, timestamp func(int64) error) error {
	next, largest := record.Offset(0), record.NoTimestamp
	err := b.Each(int(c.MaxMessageBytes)*maxDecompressed, func(r *record.Record) error {
		switch {
		case r.Offset != next:
			return fmt.Errorf("%w: record %d has offset delta %d", ErrInvalidRecord, next, r.Offset)
		case c.CleanupCompact && r.Key == nil:
			return fmt.Errorf("%w: a compacted topic takes no record without a key", ErrInvalidRecord)
		}
		next++
		largest = max(largest, r.Timestamp)
		if timestamp != nil {
			return timestamp(r.Timestamp)
		}
		return nil
	})
	switch {
	case errors.Is(err, record.ErrTooLarge):
		return fmt.Errorf("%w: %w", ErrTooLarge, err)
	case errors.Is(err, record.ErrInvalid):
		return fmt.Errorf("%w: %w", ErrCorrupt, err)
	case err != nil:
		return err
	}
	if largest != b.MaxTimestamp() {
		b.SetMaxTimestamp(largest) // as Kafka: time lookups rely on it
	}
	return nil
}
