package storage

import (
	"fmt"
	"testing"

	"github.com/milldam/milldam/core/record"
	"github.com/milldam/milldam/core/vfs"
)

// TestMaxTimestampWithinBounds compares with a walk over all records, for every bound and log start, live, after a crash and after a clean restart.
func TestMaxTimestampWithinBounds(t *testing.T) {
	c := smallConfig()
	c.IndexIntervalBytes = 400
	known, fs := topics{topicA: {"a", c}}, vfs.NewMem()
	s := open(t, fs, known)
	l := create(t, s, known, topicA, 0)
	var stamps []int64
	for i := range 90 {
		ts := int64(i*100 - (i%11)*450) // out of order, and the largest of a batch is its second
		mustAppend(t, l, batchOf(t, record.NewBatchOptions(), ts, fmt.Sprintf("%0200d", i), "second"))
		stamps = append(stamps, ts, ts+1)
	}
	check := func(l *Log) {
		t.Helper()
		for bound := l.Start() + l.Start()%2; bound <= l.End(); bound += 2 {
			want := Timed{Offset: -1, Timestamp: record.NoTimestamp}
			for off := l.Start(); off < bound; off++ {
				if stamps[off] > want.Timestamp {
					want = Timed{Offset: off, Timestamp: stamps[off]}
				}
			}
			got, ok, err := l.MaxTimestamp(bound)
			if err != nil || ok != (want.Offset >= 0) || ok && got != want {
				t.Fatalf("in [%d, %d): %+v, %v, %v; want %+v", l.Start(), bound, got, ok, err, want)
			}
		}
	}
	check(l)
	for _, start := range []record.Offset{1, 57, 120} {
		if _, err := l.DeleteRecords(t.Context(), start); err != nil {
			t.Fatal(err)
		}
		check(l)
	}
	check(open(t, fs.CrashClone(nil), known).Log(topicA, 0))
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	check(open(t, fs, known).Log(topicA, 0))
}
