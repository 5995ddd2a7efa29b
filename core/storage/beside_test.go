package storage

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"testing"
	"time"

	"github.com/milldam/milldam/core/record"
	"github.com/milldam/milldam/core/vfs"
)

// TestReadersBesideCompactionAndRetention reads, looks up times and lists aborted transactions while segments are replaced and removed: a reader may find that its offset is
// gone, and nothing else.
func TestReadersBesideCompactionAndRetention(t *testing.T) {
	c := compactedConfig()
	c.CleanupDelete, c.RetentionBytes, c.DeleteRetention, c.SegmentBytes = true, 6<<10, 0, 1<<10
	known := topics{topicA: {"a", c}}
	l := create(t, open(t, vfs.NewMem(), known), known, topicA, 0)
	ctx, stop := context.WithCancel(t.Context())
	var readers sync.WaitGroup
	reading := func(read func() error) {
		readers.Go(func() {
			for ctx.Err() == nil {
				if err := read(); err != nil && !errors.Is(err, ErrOffsetOutOfRange) {
					t.Error(err)
					return
				}
			}
		})
	}
	reading(func() error {
		for at := l.Start(); at < l.LastStable(); at += 7 {
			span, _, err := l.ReadCommitted(at, 2000, true)
			if err != nil {
				return err
			}
			if _, err := span.WriteTo(io.Discard); err != nil {
				return err
			}
			if err := span.Close(); err != nil {
				return err
			}
		}
		return nil
	})
	reading(func() error { return l.Scan(l.Start(), l.Committed(), func(record.Batch) error { return nil }) })
	reading(func() error {
		_, _, err := l.OffsetForTime(1000, l.Committed())
		return err
	})
	reading(func() error {
		_, _, err := l.MaxTimestamp(l.Committed())
		return err
	})
	sequence := record.Sequence(0)
	for i := range 400 {
		b := transactional(t, 7, 0, sequence, fmt.Sprint(i), "second")
		if sequence += 2; i%3 == 0 {
			mustAppend(t, l, plain(t, fmt.Sprint(i)))
		}
		mustAppendVerified(t, l, b)
		mustEnd(t, l, record.Marker{ProducerID: 7, Commit: i%2 == 0})
		if i%5 == 0 {
			if err := l.store.Maintain(t.Context(), time.UnixMilli(2000)); err != nil {
				t.Error(err)
				break
			}
		}
	}
	stop()
	readers.Wait()
}
