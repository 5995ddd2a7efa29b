package storage

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/milldam/milldam/core/record"
	"github.com/milldam/milldam/core/vfs"
)

// topics is the metadata that a test's store asks.
type topics map[record.TopicID]topic

type topic struct {
	name   string
	config LogConfig
}

func (t topics) lookup(id record.TopicID) (string, LogConfig, bool) {
	c, ok := t[id]
	return c.name, c.config, ok
}

var topicA, topicB = record.TopicID{1}, record.TopicID{2}

func smallConfig() LogConfig {
	c := DefaultLogConfig()
	c.SegmentBytes, c.TimestampAfterMax, c.Retention = 8<<10, -1, -1
	return c
}

func twoTopics() topics {
	return topics{topicA: {"a", smallConfig()}, topicB: {"b", smallConfig()}}
}

// opened is a store with small limits, so that everything happens often.
func open(t testing.TB, fs vfs.FS, known topics) *Store {
	t.Helper()
	s, _ := openRecovered(t, fs, known)
	return s
}

func openRecovered(t testing.TB, fs vfs.FS, known topics) (*Store, Recovery) {
	t.Helper()
	s, r, err := Open(t.Context(), smallOptions(fs, known))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s, r
}

func smallOptions(fs vfs.FS, known topics) Options {
	return Options{FS: fs, Dir: "data", Topic: known.lookup, TailBytes: 64 << 10, WALFileBytes: 32 << 10, WALFiles: 2, OpenFiles: 3,
		Logger: slog.New(slog.DiscardHandler), ReserveBytes: -1, landmarkBytes: 4 << 10}
}

func create(t testing.TB, s *Store, known topics, id record.TopicID, partition int32) *Log {
	t.Helper()
	l, err := s.Create(id, known[id].name, partition, known[id].config)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// batchOf makes a batch of values with keys k0, k1, ... of timestamps from ts on.
func batchOf(t testing.TB, opts record.BatchOptions, ts int64, values ...string) record.Batch {
	t.Helper()
	var b record.Builder
	b.Reset(opts)
	for i, v := range values {
		b.Append(ts+int64(i), fmt.Appendf(nil, "k%d", i), []byte(v))
	}
	out, err := b.Build(nil)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func plain(t testing.TB, values ...string) record.Batch {
	return batchOf(t, record.NewBatchOptions(), 1000, values...)
}

// appendSync appends and waits until it is committed.
func appendSync(l *Log, b record.Batch) (Appended, error) {
	done := make(chan error, 1)
	p := NewPending(func(err error) { done <- err })
	a, err := l.Append(b, 0, FromClient, nil, p)
	p.Arm()
	if err != nil {
		return a, err
	}
	return a, <-done
}

func mustAppend(t testing.TB, l *Log, b record.Batch) Appended {
	t.Helper()
	a, err := appendSync(l, b)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// written returns what a span writes, and closes it.
func written(t testing.TB, span *Span) []byte {
	t.Helper()
	var buf bytes.Buffer
	n, err := span.WriteTo(&buf)
	if err != nil || n != int64(span.Len()) {
		t.Fatalf("WriteTo = %d, %v; Len = %d", n, err, span.Len())
	}
	if err := span.Close(); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

// read returns the values at [from, to), by way of Read, as a fetch does.
func read(t testing.TB, l *Log, from record.Offset) []string {
	t.Helper()
	var values []string
	for from < l.Committed() {
		span, err := l.Read(from, 3000, l.Committed(), true)
		if err != nil {
			t.Fatal(err)
		}
		before := from
		for rest := written(t, &span); len(rest) > 0; {
			var b record.Batch
			b, rest, err = record.Next(rest)
			if errors.Is(err, record.ErrTruncated) && from > before {
				break // the last may be cut
			}
			if err != nil {
				t.Fatal(err)
			}
			if err := b.Verify(); err != nil {
				t.Fatal(err)
			}
			err := b.Each(1<<20, func(r *record.Record) error {
				if r.Offset >= from {
					values = append(values, fmt.Sprintf("%d=%s", r.Offset, clip(string(r.Value))))
				}
				return nil
			})
			if err != nil {
				t.Fatal(err)
			}
			from = b.NextOffset()
		}
		if from == before {
			t.Fatalf("no progress at %d of %d", from, l.Committed())
		}
	}
	return values
}

func clip(s string) string {
	if len(s) > 12 {
		return s[:12]
	}
	return s
}

func TestAppendedRecordsAreRead(t *testing.T) {
	known := twoTopics()
	s := open(t, vfs.NewMem(), known)
	l := create(t, s, known, topicA, 0)
	var want []string
	for i := range 200 {
		value := fmt.Sprintf("v%d-%s", i, bytes.Repeat([]byte("x"), i*3))
		a := mustAppend(t, l, plain(t, value))
		if int(a.BaseOffset) != i || int(a.LastOffset) != i {
			t.Fatalf("append %d got offsets %d to %d", i, a.BaseOffset, a.LastOffset)
		}
		want = append(want, fmt.Sprintf("%d=%s", i, clip(value)))
	}
	if l.End() != 200 || l.Committed() != 200 {
		t.Errorf("end %d, committed %d", l.End(), l.Committed())
	}
	for _, from := range []record.Offset{0, 1, 57, 120, 199} {
		if got := read(t, l, from); fmt.Sprint(got) != fmt.Sprint(want[from:]) {
			t.Fatalf("from %d: %v", from, got)
		}
	}
	if _, err := l.Read(201, 1, 300, true); !errors.Is(err, ErrOffsetOutOfRange) {
		t.Errorf("past the end: %v", err)
	}
	if span, err := l.Read(200, 1, 300, true); err != nil || span.Len() != 0 {
		t.Errorf("at the end: %d bytes, %v", span.Len(), err)
	}
}

func TestCleanRestartKeepsEverything(t *testing.T) {
	known, fs := twoTopics(), vfs.NewMem()
	s := open(t, fs, known)
	for round := range 4 {
		for p := range int32(3) {
			l := create(t, s, known, topicA, p)
			for i := range 40 {
				mustAppend(t, l, plain(t, fmt.Sprintf("r%d-%d-%d", round, p, i), "second"))
			}
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		var r Recovery
		s, r = openRecovered(t, fs, known)
		if r.Replayed != 0 || r.TruncatedBytes != 0 || len(r.Quarantined)+len(r.Offline) > 0 {
			t.Errorf("after a clean stop: %+v", r)
		}
	}
	for p := range int32(3) {
		got := read(t, s.Log(topicA, p), 0)
		if len(got) != 320 || got[318] != fmt.Sprintf("318=r3-%d-39", p) {
			t.Errorf("partition %d: %d records, the last %s", p, len(got), got[len(got)-2])
		}
	}
}

func idempotent(t testing.TB, pid record.ProducerID, epoch record.ProducerEpoch, sequence record.Sequence, values ...string) record.Batch {
	opts := record.NewBatchOptions()
	opts.ProducerID, opts.ProducerEpoch, opts.BaseSequence = pid, epoch, sequence
	return batchOf(t, opts, 1000, values...)
}

func TestIdempotence(t *testing.T) {
	known, fs := twoTopics(), vfs.NewMem()
	s := open(t, fs, known)
	l := create(t, s, known, topicA, 0)
	for i := range 7 {
		mustAppend(t, l, idempotent(t, 9, 0, record.Sequence(2*i), "a", "b"))
	}
	check := func(l *Log) {
		t.Helper()
		for i := 2; i < 7; i++ {
			a := mustAppend(t, l, idempotent(t, 9, 0, record.Sequence(2*i), "a", "b"))
			if !a.Duplicate || int(a.BaseOffset) != 2*i || int(a.LastOffset) != 2*i+1 {
				t.Errorf("batch %d sent again: %+v", i, a)
			}
		}
		for name, c := range map[string]struct {
			batch record.Batch
			want  error
		}{
			"older than the window": {idempotent(t, 9, 0, 2, "a", "b"), ErrOutOfOrderSequence},
			"a gap":                 {idempotent(t, 9, 0, 15, "a"), ErrOutOfOrderSequence},
			"part of a batch":       {idempotent(t, 9, 0, 12, "a"), ErrOutOfOrderSequence},
			"a new epoch not at 0":  {idempotent(t, 9, 1, 14, "a"), ErrOutOfOrderSequence},
		} {
			if _, err := appendSync(l, c.batch); !errors.Is(err, c.want) {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
	check(l)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = open(t, fs, known)
	l = s.Log(topicA, 0)
	check(l)
	if end := l.End(); end != 14 {
		t.Errorf("end %d after duplicates", end)
	}
	mustAppend(t, l, idempotent(t, 9, 1, 0, "new epoch"))
	if _, err := appendSync(l, idempotent(t, 9, 0, 14, "a")); !errors.Is(err, ErrProducerFenced) {
		t.Errorf("an old epoch: %v", err)
	}
}

func TestAppendRefuses(t *testing.T) {
	known := twoTopics()
	c := smallConfig()
	c.MaxMessageBytes, c.CleanupCompact, c.TimestampAfterMax = 2000, true, time.Hour
	known[topicA] = topic{"a", c}
	s := open(t, vfs.NewMem(), known)
	l := create(t, s, known, topicA, 0)
	corrupt := plain(t, "v")
	corrupt[70] ^= 1
	control, based, txn := record.NewBatchOptions(), record.NewBatchOptions(), record.NewBatchOptions()
	control.Control, based.BaseOffset, txn.Transactional = true, 5, true
	var keyless record.Builder
	keyless.Reset(record.NewBatchOptions())
	keyless.Append(1, nil, []byte("v"))
	noKey, err := keyless.Build(nil)
	if err != nil {
		t.Fatal(err)
	}
	gap := plain(t, "a")
	gap[26] = 3 // last offset delta
	record.Batch(gap).SetMaxTimestamp(1000)
	flipped := func(b record.Batch) record.Batch {
		b[70] ^= 1
		return b
	}
	for name, c := range map[string]struct {
		batch record.Batch
		want  error
	}{
		"a flipped bit":           {corrupt, ErrCorrupt},
		"and a base offset":       {flipped(batchOf(t, based, 1, "v")), ErrInvalidRecord},
		"and too large":           {flipped(plain(t, string(make([]byte, 3000)))), ErrTooLarge},
		"half a batch":            {plain(t, "v")[:65], ErrInvalidRecord},
		"a control batch":         {batchOf(t, control, 1, "v"), ErrInvalidRecord},
		"an unknown transaction":  {batchOf(t, txn, 1, "v"), ErrInvalidRecord},
		"a base offset":           {batchOf(t, based, 1, "v"), ErrInvalidRecord},
		"no key when compacted":   {noKey, ErrInvalidRecord},
		"fewer records than said": {gap, ErrInvalidRecord},
		"too large":               {plain(t, string(make([]byte, 3000))), ErrTooLarge},
		"too far in the future":   {batchOf(t, record.NewBatchOptions(), time.Now().Add(2*time.Hour).UnixMilli(), "v"), ErrTimestamp},
	} {
		if _, err := appendSync(l, c.batch); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
	}
	if l.End() != 0 {
		t.Errorf("refused batches moved the end to %d", l.End())
	}
}

func TestLargeBatchesGoStraightToTheirSegment(t *testing.T) {
	known, fs := twoTopics(), vfs.NewMem()
	c := smallConfig()
	c.SegmentBytes = 2 << 20
	known[topicA] = topic{"a", c}
	o := smallOptions(fs, known)
	o.WALFiles = 1 // no file is made beside the first, so that nothing is checkpointed before the crash
	s, _, err := Open(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	l := create(t, s, known, topicA, 0)
	large := string(bytes.Repeat([]byte("L"), directBytes))
	for range 5 {
		mustAppend(t, l, plain(t, "small"))
		mustAppend(t, l, plain(t, large))
	}
	crashed := fs.CrashClone(nil)
	want := fmt.Sprint(read(t, l, 0))
	again, r := openRecovered(t, crashed, known)
	if got := fmt.Sprint(read(t, again.Log(topicA, 0), 0)); got != want {
		t.Errorf("after a crash: %s", got)
	}
	if r.Replayed != 10 {
		t.Errorf("replayed %d of 10", r.Replayed)
	}
}

func TestDeleteRecords(t *testing.T) {
	known, fs := twoTopics(), vfs.NewMem()
	s := open(t, fs, known)
	l := create(t, s, known, topicA, 0)
	for i := range 300 {
		mustAppend(t, l, plain(t, fmt.Sprintf("v%d-%0200d", i, i)))
	}
	if _, err := l.DeleteRecords(t.Context(), 301); !errors.Is(err, ErrOffsetOutOfRange) {
		t.Errorf("past the end: %v", err)
	}
	start, err := l.DeleteRecords(t.Context(), 250)
	if err != nil || start != 250 {
		t.Fatalf("DeleteRecords = %d, %v", start, err)
	}
	if _, err := l.Read(249, 1, 300, true); !errors.Is(err, ErrOffsetOutOfRange) {
		t.Errorf("below the start: %v", err)
	}
	for _, fs := range []*vfs.Mem{fs.CrashClone(nil), fs} {
		if fs == s.opts.FS {
			size := l.SizeBytes()
			if err := s.Maintain(t.Context(), time.Now()); err != nil {
				t.Fatal(err)
			}
			if l.SizeBytes() >= size {
				t.Errorf("no space came back: %d bytes", l.SizeBytes())
			}
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
		}
		again := open(t, fs, known).Log(topicA, 0)
		if again.Start() != 250 || len(read(t, again, 250)) != 50 {
			t.Errorf("after a restart the log starts at %d", again.Start())
		}
	}
}

func TestRetention(t *testing.T) {
	known, fs := twoTopics(), vfs.NewMem()
	s := open(t, fs, known)
	l := create(t, s, known, topicA, 0)
	base := time.Now().Add(-10 * time.Hour).UnixMilli()
	for i := range 100 {
		mustAppend(t, l, batchOf(t, record.NewBatchOptions(), base+int64(i)*int64(5*time.Minute/time.Millisecond), fmt.Sprintf("%0500d", i)))
	}
	maintain := func(change func(*LogConfig)) {
		t.Helper()
		c := smallConfig()
		change(&c)
		l.SetConfig(c)
		if err := s.Maintain(t.Context(), time.Now()); err != nil {
			t.Fatal(err)
		}
	}
	maintain(func(c *LogConfig) {})
	if l.Start() != 0 {
		t.Errorf("without a limit the log starts at %d", l.Start())
	}
	maintain(func(c *LogConfig) { c.RetentionBytes = 40 << 10 })
	if size := l.SizeBytes(); l.Start() == 0 || size < 40<<10 || size > 50<<10 {
		t.Errorf("retention.bytes of 40 KiB left %d bytes from %d on", size, l.Start())
	}
	maintain(func(c *LogConfig) { c.Retention = 4 * time.Hour })
	found, _, err := l.OffsetForTime(0, l.Committed())
	if age := time.Since(time.UnixMilli(found.Timestamp)); err != nil || age > 5*time.Hour+30*time.Minute || l.Committed() != 100 {
		t.Errorf("retention of 4 h left a record of %s, %v", age, err)
	}
	maintain(func(c *LogConfig) { c.Retention = time.Minute })
	if l.Start() != 100 || l.SizeBytes() != 0 {
		t.Errorf("with everything too old the log starts at %d with %d bytes", l.Start(), l.SizeBytes())
	}
	mustAppend(t, l, plain(t, "next"))
	if got := read(t, l, 100); fmt.Sprint(got) != "[100=next]" {
		t.Errorf("after retention took everything: %v", got)
	}
	maintain(func(c *LogConfig) { c.RetentionBytes = 1 })
	if l.Start() != 100 {
		t.Errorf("retention.bytes of 1 left nothing of the active segment: the log starts at %d", l.Start())
	}
	maintain(func(c *LogConfig) { c.RetentionBytes = 0 }) // the active segment goes too, as in Kafka
	if l.Start() != 101 || l.End() != 101 || l.SizeBytes() != 0 {
		t.Errorf("with retention.bytes of 0 the log is [%d, %d) with %d bytes", l.Start(), l.End(), l.SizeBytes())
	}
}

func TestTimes(t *testing.T) {
	known := twoTopics()
	s := open(t, vfs.NewMem(), known)
	l := create(t, s, known, topicA, 0)
	if _, ok, err := l.MaxTimestamp(l.Committed()); ok || err != nil {
		t.Errorf("of an empty log: %v, %v", ok, err)
	}
	var stamps []int64
	for i := range 150 {
		ts := int64(i*100 - (i%7)*350) // out of order
		mustAppend(t, l, batchOf(t, record.NewBatchOptions(), ts, fmt.Sprintf("%0200d", i), "second"))
		stamps = append(stamps, ts, ts+1)
	}
	for ts := int64(-2500); ts < 15100; ts += 37 {
		want := -1
		for off, at := range stamps {
			if at >= ts {
				want = off
				break
			}
		}
		found, ok, err := l.OffsetForTime(ts, l.Committed())
		if err != nil || ok != (want >= 0) || ok && (int(found.Offset) != want || found.Timestamp != stamps[want]) {
			t.Fatalf("at %d: %+v, %v, %v; want offset %d", ts, found, ok, err, want)
		}
	}
	top, ok, err := l.MaxTimestamp(l.Committed())
	if err != nil || !ok || stamps[top.Offset] != top.Timestamp {
		t.Fatalf("MaxTimestamp = %+v, %v", top, err)
	}
	for off, at := range stamps {
		if at > top.Timestamp || at == top.Timestamp && off < int(top.Offset) {
			t.Errorf("MaxTimestamp = %+v, but %d has %d", top, off, at)
		}
	}
}

func TestTimesWhileTailsAreWritten(t *testing.T) {
	known := twoTopics()
	s := open(t, vfs.NewMem(), known)
	for round := range int32(50) {
		l := create(t, s, known, topicA, round)
		for i := range 40 {
			mustAppend(t, l, batchOf(t, record.NewBatchOptions(), int64(i), fmt.Sprintf("%0200d", i)))
		}
		written := make(chan error, 1)
		go func() { written <- s.flushTails([]*Log{l}) }()
		for range 50 {
			if found, ok, err := l.OffsetForTime(3, l.Committed()); err != nil || !ok || found.Offset != 3 {
				t.Fatalf("%+v, %v, %v; want offset 3", found, ok, err)
			}
		}
		if err := <-written; err != nil {
			t.Fatal(err)
		}
	}
}

func TestRemovedTopicStaysRemoved(t *testing.T) {
	known, fs := twoTopics(), vfs.NewMem()
	s := open(t, fs, known)
	for _, id := range []record.TopicID{topicA, topicB} {
		l := create(t, s, known, id, 0)
		for i := range 100 {
			mustAppend(t, l, plain(t, fmt.Sprintf("%0300d", i)))
		}
	}
	l := s.Log(topicA, 0)
	if err := s.RemoveTopic(t.Context(), topicA); err != nil {
		t.Fatal(err)
	}
	if _, err := appendSync(l, plain(t, "v")); !errors.Is(err, ErrRemoved) {
		t.Errorf("append to a removed log: %v", err)
	}
	if there, err := vfs.Exists(fs, "data/logs/a-0"); there || err != nil {
		t.Errorf("the directory is there: %v, %v", there, err)
	}
	anew := record.TopicID{7}
	known[anew] = topic{"a", smallConfig()}
	mustAppend(t, create(t, s, known, anew, 0), plain(t, "anew"))
	// Even if metadata forgot that the topic was removed.
	again := open(t, fs.CrashClone(nil), known)
	if l := again.Log(topicA, 0); l != nil {
		t.Errorf("the removed topic came back with %d records", l.End())
	}
	if got := read(t, again.Log(anew, 0), 0); fmt.Sprint(got) != "[0=anew]" {
		t.Errorf("the topic made anew has %v", got)
	}
	if got := read(t, again.Log(topicB, 0), 0); len(got) != 100 {
		t.Errorf("the other topic has %d records", len(got))
	}
}

func TestUnknownTopicsAreQuarantined(t *testing.T) {
	known, fs := twoTopics(), vfs.NewMem()
	s := open(t, fs, known)
	mustAppend(t, create(t, s, known, topicA, 0), plain(t, "v"))
	mustAppend(t, create(t, s, known, topicB, 0), plain(t, "v"))
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	delete(known, topicA)
	again, r := openRecovered(t, fs, known)
	if fmt.Sprint(r.Quarantined) != "[a-0]" || again.Log(topicB, 0).End() != 1 {
		t.Errorf("recovery: %+v", r)
	}
	names, err := fs.List("data/quarantine")
	if err != nil || len(names) != 1 {
		t.Errorf("quarantine holds %v, %v", names, err)
	}
}

func TestFailedSyncTakesTheStoreOffline(t *testing.T) {
	known, mem := twoTopics(), vfs.NewMem()
	broken := errors.New("input/output error")
	fs := vfs.Fault(mem)
	s := open(t, fs, known)
	l := create(t, s, known, topicA, 0)
	mustAppend(t, l, plain(t, "before"))
	fs.Add(&vfs.Rule{Ops: []vfs.Op{vfs.OpSync}, Path: walName(1), N: 1, Err: broken})
	for range 2 {
		if _, err := appendSync(l, plain(t, "after")); !errors.Is(err, ErrOffline) || !errors.Is(err, broken) {
			t.Errorf("append: %v", err)
		}
	}
	if _, err := l.Read(0, 100, 1, true); !errors.Is(err, ErrOffline) {
		t.Errorf("read: %v", err)
	}
	if err := s.Close(); err != nil {
		t.Errorf("close: %v", err)
	}
	again := open(t, mem, known)
	if got := read(t, again.Log(topicA, 0), 0); got[0] != "0=before" {
		t.Errorf("after opening anew: %v", got)
	}
}

func TestDamagedSegmentTakesOnlyItsPartitionOffline(t *testing.T) {
	known, fs := twoTopics(), vfs.NewMem()
	s := open(t, fs, known)
	for _, id := range []record.TopicID{topicA, topicB} {
		mustAppend(t, create(t, s, known, id, 0), plain(t, "v"))
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	f, err := fs.OpenReadWrite("data/logs/a-0/00000000000000000000.log")
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(f.Truncate(10), f.Close()); err != nil {
		t.Fatal(err)
	}
	again, r := openRecovered(t, fs, known)
	if len(r.Offline) != 1 || !strings.Contains(r.Offline[0].Error(), "a-0 is damaged") {
		t.Errorf("recovery: %+v", r)
	}
	if _, err := appendSync(again.Log(topicA, 0), plain(t, "v")); !errors.Is(err, ErrOffline) || !errors.Is(err, ErrCorrupt) {
		t.Errorf("append to the damaged one: %v", err)
	}
	mustAppend(t, again.Log(topicB, 0), plain(t, "v"))
}

func TestLostCheckpointIsRebuilt(t *testing.T) {
	for _, damage := range []string{"removed", "damaged"} {
		t.Run(damage, func(t *testing.T) {
			known, fs := twoTopics(), vfs.NewMem()
			s := open(t, fs, known)
			l := create(t, s, known, topicA, 0)
			for i := range 200 {
				mustAppend(t, l, idempotent(t, 5, 0, record.Sequence(i), fmt.Sprintf("%0500d", i)))
			}
			want := read(t, l, 0)
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			var err error
			if damage == "removed" {
				err = fs.Remove("data/checkpoint")
			} else {
				err = vfs.WriteFileAtomic(fs, "data/checkpoint", []byte("milldamC garbage"))
			}
			if err != nil {
				t.Fatal(err)
			}
			l = open(t, fs, known).Log(topicA, 0)
			if got := read(t, l, 0); fmt.Sprint(got) != fmt.Sprint(want) {
				t.Errorf("%d records, want %d", len(got), len(want))
			}
			if a := mustAppend(t, l, idempotent(t, 5, 0, 199, fmt.Sprintf("%0500d", 199))); !a.Duplicate {
				t.Errorf("the last batch sent again: %+v", a)
			}
		})
	}
}

func TestReplicatedFlushDoesNotSync(t *testing.T) {
	known := twoTopics()
	fs := vfs.Fault(vfs.NewMem())
	opts := smallOptions(fs, known)
	opts.Flush = FlushReplicated
	s, _, err := Open(context.Background(), opts)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	l := create(t, s, known, topicA, 0)
	fs.Add(&vfs.Rule{Ops: []vfs.Op{vfs.OpSync}, Path: walName(1), Err: errors.New("synced")})
	for range 10 {
		mustAppend(t, l, plain(t, "v"))
	}
}
