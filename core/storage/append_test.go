package storage

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/milldam/milldam/core/record"
	"github.com/milldam/milldam/core/vfs"
)

// logWith is a log of its own with a configuration.
func logWith(t testing.TB, change func(*LogConfig)) *Log {
	t.Helper()
	c := smallConfig()
	c.SegmentBytes = 1 << 20
	change(&c)
	known := topics{topicA: {"a", c}}
	return create(t, open(t, vfs.NewMem(), known), known, topicA, 0)
}

// bases are the base offsets of the log's segments.
func bases(l *Log) string {
	var list []record.Offset
	for _, s := range l.sortedSegments() {
		list = append(list, s.base)
	}
	return fmt.Sprint(list)
}

func at(t testing.TB, ms int64) record.Batch {
	return batchOf(t, record.NewBatchOptions(), ms, fmt.Sprintf("%0100d", ms))
}

func TestSegmentsRoll(t *testing.T) {
	minute := time.Minute.Milliseconds()
	for name, c := range map[string]struct {
		change func(*LogConfig)
		times  []int64 // of one batch each, ms
		want   string
	}{
		"by size":                        {func(c *LogConfig) { c.SegmentBytes = 400 }, []int64{1, 2, 3, 4, 5}, "[0 2 4]"},
		"by the age of the records":      {func(c *LogConfig) { c.SegmentAge = time.Minute }, []int64{0, minute, minute + 1, 2*minute + 1, 2*minute + 2}, "[0 2 4]"},
		"not by an older record":         {func(c *LogConfig) { c.SegmentAge = time.Minute }, []int64{minute, 0, minute - 1, 2 * minute}, "[0]"},
		"in time for compaction":         {func(c *LogConfig) { c.CleanupCompact, c.MaxCompactionLag = true, time.Minute }, []int64{0, minute + 1}, "[0 1]"},
		"not for compaction that is off": {func(c *LogConfig) { c.MaxCompactionLag = time.Minute }, []int64{0, minute + 1}, "[0]"},
		"by the size of the offset index": {func(c *LogConfig) { c.IndexIntervalBytes, c.SegmentIndexBytes = 0, 5*offsetEntryBytes },
			[]int64{9, 8, 7, 6, 5, 4, 3}, "[0 6]"},
		"by the size of the time index": {func(c *LogConfig) { c.IndexIntervalBytes, c.SegmentIndexBytes = 0, 3*timeEntryBytes },
			[]int64{1, 2, 3, 4, 5, 6, 7}, "[0 3 6]"},
	} {
		t.Run(name, func(t *testing.T) {
			l := logWith(t, c.change)
			for _, ms := range c.times {
				mustAppend(t, l, at(t, ms))
			}
			if got := bases(l); got != c.want {
				t.Errorf("segments at %s, want %s", got, c.want)
			}
		})
	}
}

func TestSegmentsRollEarlierByTheirJitter(t *testing.T) {
	l := logWith(t, func(c *LogConfig) { c.SegmentAge, c.SegmentJitter = time.Hour, time.Hour })
	jitter := l.sortedSegments()[0].jitter
	if jitter < 0 || jitter >= time.Hour {
		t.Fatalf("a jitter of %s", jitter)
	}
	mustAppend(t, l, at(t, 0))
	mustAppend(t, l, at(t, (time.Hour-jitter).Milliseconds()))
	mustAppend(t, l, at(t, (time.Hour-jitter).Milliseconds()+1))
	if got := bases(l); got != "[0 2]" {
		t.Errorf("with a jitter of %s segments at %s", jitter, got)
	}
}

func TestSegmentsWithoutTimestampsRollByTheClock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := logWith(t, func(c *LogConfig) { c.SegmentAge = time.Minute })
		mustAppend(t, l, batchOf(t, record.NewBatchOptions(), record.NoTimestamp, "v"))
		time.Sleep(time.Minute)
		mustAppend(t, l, batchOf(t, record.NewBatchOptions(), record.NoTimestamp, "v"))
		time.Sleep(time.Millisecond)
		mustAppend(t, l, batchOf(t, record.NewBatchOptions(), record.NoTimestamp, "v"))
		if got := bases(l); got != "[0 2]" {
			t.Errorf("segments at %s", got)
		}
		if err := l.store.Close(); err != nil {
			t.Error(err)
		}
	})
}

func TestCompressionTypeOfTheTopic(t *testing.T) {
	text := strings.Repeat("many words ", 300)
	for want := record.None; want <= record.Zstd; want++ {
		l := logWith(t, func(c *LogConfig) { c.Recompress, c.Codec, c.CompressionLevel = true, want, 1 })
		for from := record.None; from <= record.Zstd; from++ {
			opts := record.NewBatchOptions()
			opts.Codec, opts.ProducerID, opts.ProducerEpoch, opts.BaseSequence = from, 7, 0, record.Sequence(2*from)
			b := batchOf(t, opts, 1000, text, "second")
			mustAppend(t, l, b)
			if a := mustAppend(t, l, b); !a.Duplicate || a.LogAppendTime != 1001 {
				t.Errorf("%s to %s sent again: %+v", from, want, a)
			}
		}
		err := l.Scan(0, l.End(), func(b record.Batch) error {
			if b.Codec() != want {
				t.Errorf("a batch of %s, compression.type is %s", b.Codec(), want)
			}
			return b.Each(1<<20, func(r *record.Record) error {
				if r.Offset%2 == 0 && string(r.Value) != text {
					t.Errorf("the value at %d in %s changed", r.Offset, want)
				}
				return nil
			})
		})
		if err != nil || l.End() != 10 {
			t.Errorf("%s: %d records, %v", want, l.End(), err)
		}
	}
}

func TestSizeLimits(t *testing.T) {
	random := strings.Repeat("0123456789abcdef", 400)
	zipped := record.NewBatchOptions()
	zipped.Codec = record.Gzip
	for name, c := range map[string]struct {
		change func(*LogConfig)
		batch  record.Batch
		want   error
	}{
		"max.message.bytes":                      {func(c *LogConfig) { c.MaxMessageBytes = 1000 }, plain(t, random), ErrTooLarge},
		"small enough when compressed":           {func(c *LogConfig) { c.MaxMessageBytes = 1000 }, batchOf(t, zipped, 1, random), nil},
		"too large when it is uncompressed":      {func(c *LogConfig) { c.MaxMessageBytes, c.Recompress = 1000, true }, batchOf(t, zipped, 1, random), ErrTooLarge},
		"segment.bytes":                          {func(c *LogConfig) { c.SegmentBytes = 1000 }, plain(t, random), ErrLargerThanSegment},
		"more than is decompressed of any batch": {func(c *LogConfig) { c.MaxMessageBytes = 20000 }, batchOf(t, zipped, 1, strings.Repeat("0", 6<<20)), ErrTooLarge},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := appendSync(logWith(t, c.change), c.batch); !errors.Is(err, c.want) {
				t.Errorf("%v, want %v", err, c.want)
			}
		})
	}
}

func TestProducersExpire(t *testing.T) {
	l := logWith(t, func(c *LogConfig) { c.ProducerExpiry = time.Hour })
	now := time.UnixMilli(1000)
	mustAppend(t, l, idempotent(t, 7, 0, 5, "v"))
	mustAppendVerified(t, l, transactional(t, 8, 0, 5, "v"))
	mustAppend(t, l, idempotent(t, 9, 0, 5, "v"))
	mustEnd(t, l, record.Marker{ProducerID: 9}) // a moment ago, while the batches are of 1970
	maintain := func(after time.Duration, want string) {
		t.Helper()
		if err := l.store.Maintain(t.Context(), now.Add(after)); err != nil {
			t.Fatal(err)
		}
		got := ""
		for _, pid := range []record.ProducerID{7, 8, 9} {
			if stateOf(l, pid).Epoch == 0 && stateOf(l, pid).LastSequence >= 0 {
				got += fmt.Sprint(pid, " ")
			}
		}
		if got != want {
			t.Errorf("after %s the producers are %s, want %s", after, got, want)
		}
	}
	maintain(time.Hour-time.Millisecond, "7 8 9 ")
	maintain(time.Hour, "8 9 ") // 8 has an open transaction
	if _, err := appendSync(l, idempotent(t, 7, 0, 99, "any sequence")); err != nil {
		t.Errorf("a forgotten producer: %v", err)
	}
	mustEnd(t, l, record.Marker{ProducerID: 8})
	maintain(time.Since(now)+2*time.Hour, "")
}

func TestSequencesWrap(t *testing.T) {
	l := logWith(t, func(*LogConfig) {})
	const largest = 1<<31 - 1
	mustAppend(t, l, idempotent(t, 7, 0, largest-1, "a", "b")) // up to the largest
	mustAppend(t, l, idempotent(t, 7, 0, 0, "c"))
	mustAppend(t, l, idempotent(t, 8, 0, largest, "a", "b")) // over the end
	mustAppend(t, l, idempotent(t, 8, 0, 1, "c"))
	if a := mustAppend(t, l, idempotent(t, 8, 0, largest, "a", "b")); !a.Duplicate || a.BaseOffset != 3 {
		t.Errorf("sent again: %+v", a)
	}
	if _, err := appendSync(l, idempotent(t, 7, 0, 2, "d")); !errors.Is(err, ErrOutOfOrderSequence) {
		t.Errorf("a gap behind the wrap: %v", err)
	}
}
