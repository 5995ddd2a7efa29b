package storage

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"
	"testing"

	"github.com/milldam/milldam/core/record"
	"github.com/milldam/milldam/core/vfs"
)

// benchStore is a store with the default limits on the real file system, and n logs of one topic.
func benchStore(b *testing.B, n int) []*Log {
	b.Helper()
	config := DefaultLogConfig()
	config.TimestampAfterMax, config.Retention = -1, -1
	known := topics{topicA: {"a", config}}
	s, _, err := Open(b.Context(), Options{FS: vfs.OS(), Dir: b.TempDir(), Topic: known.lookup, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		if err := s.Close(); err != nil {
			b.Error(err)
		}
	})
	logs := make([]*Log, n)
	for i := range logs {
		logs[i] = create(b, s, known, topicA, int32(i))
	}
	return logs
}

// benchBatch is a batch of about size bytes, in records of 100.
func benchBatch(b *testing.B, size int) record.Batch {
	return plain(b, slices.Repeat([]string{strings.Repeat("x", 100)}, size/112)...)
}

// BenchmarkAppend writes batches of 16 KiB to 8 partitions, 5 of each under way, and counts what is synced.
func BenchmarkAppend(b *testing.B) {
	const partitions, depth = 8, 5
	logs := benchStore(b, partitions)
	batch := benchBatch(b, 16<<10)
	b.SetBytes(int64(len(batch)))
	b.ReportAllocs()
	slots := make(chan error, partitions*depth)
	for range cap(slots) {
		slots <- nil
	}
	i := 0
	for b.Loop() {
		if err := <-slots; err != nil {
			b.Fatal(err)
		}
		p := NewPending(func(err error) { slots <- err })
		if _, err := logs[i%partitions].Append(bytes.Clone(batch), 0, FromClient, nil, p); err != nil {
			b.Fatal(err)
		}
		p.Arm()
		i++
	}
	for range cap(slots) {
		if err := <-slots; err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkGroupCommit writes a batch of 4 KiB to each of n partitions and waits until all are synced.
func BenchmarkGroupCommit(b *testing.B) {
	for _, n := range []int{1, 100, 1000} {
		b.Run(fmt.Sprintf("partitions=%d", n), func(b *testing.B) {
			logs := benchStore(b, n)
			batch := benchBatch(b, 4<<10)
			b.SetBytes(int64(n * len(batch)))
			done := make(chan error, 1)
			for b.Loop() {
				p := NewPending(func(err error) { done <- err })
				for _, l := range logs {
					if _, err := l.Append(bytes.Clone(batch), 0, FromClient, nil, p); err != nil {
						b.Fatal(err)
					}
				}
				p.Arm()
				if err := <-done; err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "rounds/s")
		})
	}
}

// BenchmarkReadSegment reads a segment through Spans of 1 MiB, whose batches are checked on the way, finds them alone, and reads the same ranges as they are.
func BenchmarkReadSegment(b *testing.B) {
	l := benchStore(b, 1)[0]
	value := strings.Repeat("v", 16<<10)
	for range 2000 {
		mustAppend(b, l, plain(b, value))
	}
	if err := l.flushTail(nil); err != nil {
		b.Fatal(err)
	}
	each := func(b *testing.B, read func(*Span) (int64, error)) {
		for b.Loop() {
			for at := record.Offset(0); at < 1900; at += 60 {
				span, err := l.Read(at, 60*(16<<10), l.Committed(), true)
				if err != nil {
					b.Fatal(err)
				}
				n, err := read(&span)
				if err := errors.Join(err, span.Close()); err != nil {
					b.Fatal(err)
				}
				b.SetBytes(n * 32)
			}
		}
	}
	b.Run("checked", func(b *testing.B) { each(b, func(s *Span) (int64, error) { return s.WriteTo(io.Discard) }) })
	b.Run("found", func(b *testing.B) { each(b, func(s *Span) (int64, error) { return int64(s.Len()), nil }) })
	b.Run("plain", func(b *testing.B) {
		buf := make([]byte, 64<<10)
		each(b, func(s *Span) (int64, error) {
			return io.CopyBuffer(struct{ io.Writer }{io.Discard}, struct{ io.Reader }{io.NewSectionReader(s.file, s.at, int64(s.length))}, buf)
		})
	})
}
