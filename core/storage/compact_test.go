package storage

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"math/rand/v2"
	"path"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/milldam/milldam/core/record"
	"github.com/milldam/milldam/core/vfs"
)

func compactedConfig() LogConfig {
	c := smallConfig()
	c.CleanupDelete, c.CleanupCompact, c.MinCleanableRatio = false, true, 0
	return c
}

// compacting is a log that is compacted when the test says so.
type compacting struct {
	*Log
	t     testing.TB
	known topics
	fs    *vfs.Mem
	now   time.Time
}

func newCompacting(t testing.TB, change func(*LogConfig)) *compacting {
	t.Helper()
	c := compactedConfig()
	if change != nil {
		change(&c)
	}
	x := &compacting{t: t, known: topics{topicA: {"a", c}}, fs: vfs.NewMem(), now: time.Now()}
	x.Log = create(t, open(t, x.fs, x.known), x.known, topicA, 0)
	return x
}

// put appends one record; with a nil value a tombstone.
func (x *compacting) put(opts record.BatchOptions, key string, value []byte) record.Offset {
	x.t.Helper()
	var b record.Builder
	b.Reset(opts)
	b.Append(x.now.UnixMilli(), []byte(key), value)
	out, err := b.Build(nil)
	if err != nil {
		x.t.Fatal(err)
	}
	return mustAppendVerified(x.t, x.Log, out).BaseOffset
}

func (x *compacting) plain(key, value string) record.Offset {
	x.t.Helper()
	return x.put(record.NewBatchOptions(), key, []byte(value))
}

func (x *compacting) tombstone(key string) record.Offset {
	x.t.Helper()
	return x.put(record.NewBatchOptions(), key, nil)
}

// roll seals the active segment.
func (x *compacting) roll() {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.mu.segments[len(x.mu.segments)-1].size > 0 {
		x.rollLocked(x.mu.end)
	}
}

// compact seals the active segment and compacts what may be.
func (x *compacting) compact() {
	x.t.Helper()
	x.roll()
	x.maintain()
}

func (x *compacting) maintain() {
	x.t.Helper()
	if err := x.store.Maintain(x.t.Context(), x.now); err != nil {
		x.t.Fatal(err)
	}
}

func (x *compacting) restart() {
	x.t.Helper()
	if err := x.store.Close(); err != nil {
		x.t.Fatal(err)
	}
	allWhole(x.t, x.fs, "data")
	x.Log = create(x.t, open(x.t, x.fs, x.known), x.known, topicA, 0)
}

// loseTxnIndexes is restart with all transaction indexes gone, and the checkpoint that knows of them too.
func (x *compacting) loseTxnIndexes(checkpoint bool) {
	x.t.Helper()
	if err := x.store.Close(); err != nil {
		x.t.Fatal(err)
	}
	names, err := x.fs.List(x.dir)
	if errors.Is(err, fs.ErrNotExist) {
		err = nil // nothing was written yet
	}
	for _, name := range names {
		if path.Ext(name) == txnSuffix {
			err = errors.Join(err, x.fs.Remove(path.Join(x.dir, name)))
		}
	}
	if checkpoint {
		err = errors.Join(err, x.fs.Remove("data/checkpoint"))
	}
	if err != nil {
		x.t.Fatal(err)
	}
	x.Log = create(x.t, open(x.t, x.fs, x.known), x.known, topicA, 0)
}

// text is what the log holds: a line for each batch with its offsets, and the keys and values of its records.
func (x *compacting) text() string {
	x.t.Helper()
	var lines []string
	err := x.Scan(0, x.End(), func(b record.Batch) error {
		line := fmt.Sprintf("%d-%d", b.BaseOffset(), b.LastOffset())
		if b.IsControl() {
			line += " marker"
		}
		if _, ok := b.DeleteHorizon(); ok {
			line += " horizon"
		}
		err := b.Each(1<<20, func(r *record.Record) error {
			if !b.IsControl() {
				line += fmt.Sprintf(" %d:%s=%s", r.Offset, r.Key, clip(string(r.Value)))
			}
			if r.Timestamp != x.now.UnixMilli() && r.Offset != 2 && !b.IsControl() {
				return fmt.Errorf("the time of %d became %d", r.Offset, r.Timestamp)
			}
			return nil
		})
		lines = append(lines, line)
		return err
	})
	if err != nil {
		x.t.Fatal(err)
	}
	return strings.Join(lines, "\n")
}

func (x *compacting) want(lines ...string) {
	x.t.Helper()
	if got := x.text(); got != strings.Join(lines, "\n") {
		x.t.Errorf("the log holds\n%s\nwant\n%s", got, strings.Join(lines, "\n"))
	}
}

func TestCompactionKeepsTheLatestRecordOfAKey(t *testing.T) {
	x := newCompacting(t, nil)
	x.plain("a", "1")
	x.plain("b", "1")
	mustAppend(t, x.Log, batchOf(t, record.NewBatchOptions(), x.now.UnixMilli()-1, "1", "2"))
	x.plain("a", "2")
	x.plain("k0", "3")
	x.compact()
	x.want("1-1 1:b=1", "2-3 3:k1=2", "4-4 4:a=2", "5-5 5:k0=3")
	x.plain("a", "3")
	x.want("1-1 1:b=1", "2-3 3:k1=2", "4-4 4:a=2", "5-5 5:k0=3", "6-6 6:a=3")
	x.compact()
	x.want("1-1 1:b=1", "2-3 3:k1=2", "5-5 5:k0=3", "6-6 6:a=3")
	x.restart()
	x.want("1-1 1:b=1", "2-3 3:k1=2", "5-5 5:k0=3", "6-6 6:a=3")
	if x.End() != 7 || x.Start() != 0 {
		t.Errorf("the log has [%d, %d)", x.Start(), x.End())
	}
}

func TestTombstonesStayForDeleteRetention(t *testing.T) {
	x := newCompacting(t, func(c *LogConfig) { c.DeleteRetention = time.Hour })
	x.plain("a", "1")
	x.tombstone("a")
	x.plain("b", "1")
	x.now = x.now.Add(10 * time.Hour) // that it is old does not matter: the time counts from the first round
	defer func() { x.now = time.Now() }()
	check := func(lines string) {
		t.Helper()
		now := x.now
		x.now = time.UnixMilli(recordsTime(t, x.Log))
		x.want(strings.Split(lines, "\n")...)
		x.now = now
	}
	x.compact()
	check("1-1 horizon 1:a=\n2-2 2:b=1")
	x.now = x.now.Add(59 * time.Minute)
	x.maintain()
	x.restart()
	x.maintain()
	check("1-1 horizon 1:a=\n2-2 2:b=1")
	x.now = x.now.Add(2 * time.Minute)
	x.mu.Lock()
	x.mu.cleaned = 0 // as after new records: a restart forgot when the next horizon is due
	x.mu.Unlock()
	x.maintain()
	check("2-2 2:b=1")
}

// recordsTime is the time of the last record.
func recordsTime(t testing.TB, l *Log) (ms int64) {
	t.Helper()
	err := l.Scan(0, l.End(), func(b record.Batch) error {
		return b.Each(1<<20, func(r *record.Record) error {
			ms = r.Timestamp
			return nil
		})
	})
	if err != nil {
		t.Fatal(err)
	}
	return ms
}

func TestDueHorizonNeedsNoNewRecords(t *testing.T) {
	x := newCompacting(t, func(c *LogConfig) { c.DeleteRetention = time.Hour })
	x.tombstone("a")
	x.plain("b", "1")
	x.compact()
	x.want("0-0 horizon 0:a=", "1-1 1:b=1")
	written := x.now
	x.now = x.now.Add(61 * time.Minute)
	x.maintain()
	x.now = written
	x.want("1-1 1:b=1")
}

func producerOpts(pid record.ProducerID, epoch record.ProducerEpoch, sequence record.Sequence, transactional bool) record.BatchOptions {
	opts := record.NewBatchOptions()
	opts.ProducerID, opts.ProducerEpoch, opts.BaseSequence, opts.Transactional = pid, epoch, sequence, transactional
	return opts
}

func TestLastBatchOfALiveProducerStaysEmpty(t *testing.T) {
	x := newCompacting(t, nil)
	x.put(producerOpts(7, 0, 0, false), "a", []byte("1"))
	x.put(producerOpts(7, 0, 1, false), "a", []byte("2"))
	x.plain("a", "3")
	x.compact()
	x.want("1-1", "2-2 2:a=3")
	x.restart()
	if _, err := appendSync(x.Log, idempotent(t, 7, 0, 3, "v")); !errors.Is(err, ErrOutOfOrderSequence) {
		t.Errorf("sequence 3 after 1: %v", err)
	}
	x.now = x.now.Add(25 * time.Hour) // it expires
	x.maintain()
	x.now = x.now.Add(-25 * time.Hour)
	x.plain("a", "4")
	x.compact()
	x.want("3-3 3:a=4")
}

func TestCompactionIsBoundedByTheLastStableOffset(t *testing.T) {
	x := newCompacting(t, nil)
	x.plain("a", "1")
	x.plain("a", "2")
	x.roll()
	x.put(producerOpts(7, 0, 0, true), "b", []byte("1"))
	x.plain("b", "2")
	x.plain("b", "3")
	x.compact()
	x.want("1-1 1:a=2", "2-2 2:b=1", "3-3 3:b=2", "4-4 4:b=3")
	mustEnd(t, x.Log, record.Marker{ProducerID: 7, Commit: true})
	x.maintain()
	x.want("1-1 1:a=2", "2-2", "4-4 4:b=3", "5-5 marker")
}

// TestAbortedRecordsGoAndMarkersFollow: what was aborted supersedes nothing and goes at once; a marker goes delete.retention.ms after the round that found
// nothing more of its transaction.
func TestAbortedRecordsGoAndMarkersFollow(t *testing.T) {
	x := newCompacting(t, func(c *LogConfig) { c.DeleteRetention = time.Hour })
	x.plain("a", "kept")
	x.put(producerOpts(7, 0, 0, true), "a", []byte("aborted"))
	x.put(producerOpts(7, 0, 1, true), "b", []byte("aborted"))
	mustEnd(t, x.Log, record.Marker{ProducerID: 7})
	x.put(producerOpts(8, 0, 0, true), "c", []byte("1"))
	mustEnd(t, x.Log, record.Marker{ProducerID: 8, Commit: true})
	x.put(producerOpts(7, 0, 2, true), "d", []byte("1"))
	mustEnd(t, x.Log, record.Marker{ProducerID: 7, Commit: true})
	x.put(producerOpts(8, 0, 1, true), "c", []byte("2"))
	mustEnd(t, x.Log, record.Marker{ProducerID: 8, Commit: true})
	x.plain("e", "1")
	check := func(lines ...string) {
		t.Helper()
		x.want(lines...)
		if got := fmt.Sprint(readCommitted(t, x.Log, 0)); got != "[0=kept 6=1 8=2 10=1]" {
			t.Errorf("a consumer sees %s", got)
		}
	}
	aborted := func(want int) {
		t.Helper()
		if list, err := x.Aborted(0, x.End()); err != nil || len(list) != want {
			t.Errorf("aborted: %v, %v; want %d", list, err, want)
		}
	}
	x.compact() // the aborted batches were seen, so the marker stays as it is; the first of producer 8 had nothing newer before
	check("0-0 0:a=kept", "3-3 marker", "5-5 marker", "6-6 6:d=1", "7-7 marker", "8-8 8:c=2", "9-9 marker", "10-10 10:e=1")
	aborted(1)
	written := x.now
	x.mu.Lock()
	x.mu.cleaned = 0
	x.mu.Unlock()
	x.maintain() // nothing of both is left: their markers get an hour
	check("0-0 0:a=kept", "3-3 marker horizon", "5-5 marker horizon", "6-6 6:d=1", "7-7 marker", "8-8 8:c=2", "9-9 marker", "10-10 10:e=1")
	aborted(0)
	x.now = x.now.Add(61 * time.Minute)
	x.maintain()
	x.now = written
	check("0-0 0:a=kept", "6-6 6:d=1", "7-7 marker", "8-8 8:c=2", "9-9 marker", "10-10 10:e=1")
	x.restart()
	check("0-0 0:a=kept", "6-6 6:d=1", "7-7 marker", "8-8 8:c=2", "9-9 marker", "10-10 10:e=1")
}

// TestMarkerThatAloneTellsAnEpochStays: after it nothing of the producer is in the log, and an older instance must stay fenced.
func TestMarkerThatAloneTellsAnEpochStays(t *testing.T) {
	x := newCompacting(t, func(c *LogConfig) { c.DeleteRetention = 0 })
	x.put(producerOpts(7, 3, 0, true), "a", []byte("1"))
	if _, err := endVersion(x.Log, record.Marker{ProducerID: 7, ProducerEpoch: 4, Commit: true}, 2); err != nil {
		t.Fatal(err)
	}
	x.plain("a", "2")
	for range 4 {
		x.plain("b", "1")
		x.compact()
	}
	if got := x.text(); !strings.Contains(got, "1-1 marker") || strings.Contains(got, "0-0") {
		t.Errorf("the log holds\n%s", got)
	}
	if err := x.fs.Remove("data/checkpoint"); err != nil {
		t.Fatal(err)
	}
	x.Log = open(t, x.fs.CrashClone(nil), x.known).Log(topicA, 0)
	if _, err := appendVerified(x.Log, transactional(t, 7, 3, 1, "v")); !errors.Is(err, ErrProducerFenced) {
		t.Errorf("the older epoch: %v", err)
	}
}

func TestLagsAndRatioBoundCompaction(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*LogConfig)
		after  time.Duration
		dirty  int // records behind ten clean ones
		want   bool
	}{
		"nothing in the way":                 {func(c *LogConfig) {}, 0, 2, true},
		"not dirty enough":                   {func(c *LogConfig) { c.MinCleanableRatio = 0.5 }, 0, 2, false},
		"dirty enough":                       {func(c *LogConfig) { c.MinCleanableRatio = 0.5 }, 0, 40, true},
		"younger than min.compaction.lag.ms": {func(c *LogConfig) { c.MinCompactionLag = time.Hour }, 59 * time.Minute, 2, false},
		"older than min.compaction.lag.ms":   {func(c *LogConfig) { c.MinCompactionLag = time.Hour }, 61 * time.Minute, 2, true},
		"older than max.compaction.lag.ms": {func(c *LogConfig) { c.MinCleanableRatio, c.MaxCompactionLag = 0.9, time.Hour },
			61 * time.Minute, 2, true},
		"younger than max.compaction.lag.ms": {func(c *LogConfig) { c.MinCleanableRatio, c.MaxCompactionLag = 0.9, time.Hour },
			59 * time.Minute, 2, false},
	} {
		t.Run(name, func(t *testing.T) {
			x := newCompacting(t, nil)
			for i := range 10 {
				x.plain(fmt.Sprint("clean", i), "1")
			}
			x.compact()
			config := compactedConfig()
			c.change(&config)
			x.known[topicA] = topic{"a", config}
			x.SetConfig(config)
			for range c.dirty {
				x.plain("dirty", "1")
			}
			written := x.now
			x.now = x.now.Add(c.after)
			x.roll()
			x.restart()
			x.SetConfig(config)
			x.maintain()
			x.now = written
			left := strings.Count(x.text(), "dirty")
			if got := left == 1; got != c.want {
				t.Errorf("%d dirty records are left, compacted %v, want %v", left, got, c.want)
			}
		})
	}
}

func TestCompactionMergesSmallSegments(t *testing.T) {
	x := newCompacting(t, nil)
	for i := range 200 {
		x.plain(fmt.Sprint("k", i%5), fmt.Sprintf("%d:%0500d", i, i))
	}
	x.compact() // what each of the full segments leaves is small, and is merged in the next round
	x.plain("k0", "last")
	x.compact()
	if got := readCommitted(t, x.Log, 0); len(got) != 5 || got[0].String() != "196=196:00000000" {
		t.Errorf("%d records: %v", len(got), got)
	}
	if segments := x.sortedSegments(); len(segments) > 2 {
		t.Errorf("%d segments for %d bytes", len(segments), x.SizeBytes())
	}
	names, err := x.fs.List("data/logs/a-0")
	if err != nil || len(names) > 8 {
		t.Errorf("files: %v, %v", names, err)
	}
	x.restart()
	if got := readCommitted(t, x.Log, 0); len(got) != 5 {
		t.Errorf("after a restart: %v", got)
	}
}

// TestCompactionGoesAsFarAsItsMemoryReaches: a round ends where there are too many keys, in the middle of a segment, and the next goes on from there.
func TestCompactionGoesAsFarAsItsMemoryReaches(t *testing.T) {
	x := newCompacting(t, nil)
	x.store.opts.CompactionKeys = 3
	for range 2 {
		for _, key := range []string{"a", "b", "c", "d", "e"} {
			x.plain(key, "1")
		}
	}
	x.compact() // a, b and c are known up to offset 2
	if got := len(readCommitted(t, x.Log, 0)); got != 10 || x.mu.cleaned != 3 {
		t.Errorf("%d records, cleaned up to %d", got, x.mu.cleaned)
	}
	x.maintain() // d, e, and a at 5
	x.want("1-1 1:b=1", "2-2 2:c=1", "3-3 3:d=1", "4-4 4:e=1", "5-5 5:a=1", "6-6 6:b=1", "7-7 7:c=1", "8-8 8:d=1", "9-9 9:e=1")
	for range 2 {
		x.maintain()
	}
	x.want("5-5 5:a=1", "6-6 6:b=1", "7-7 7:c=1", "8-8 8:d=1", "9-9 9:e=1")
}

// TestRandomTransactionsAndCompaction compares what a read_committed consumer sees of a compacted log with a map, whatever is compacted, rolled and opened anew
// in between.
func TestRandomTransactionsAndCompaction(t *testing.T) {
	for seed := range uint64(30) {
		rng := rand.New(rand.NewPCG(seed, 4))
		x := newCompacting(t, func(c *LogConfig) {
			c.DeleteRetention, c.SegmentBytes = time.Duration(rng.IntN(2))*time.Hour, 2<<10
		})
		want := map[string]string{}
		type txn struct {
			values   map[string]string
			sequence record.Sequence
			begun    bool
		}
		producers := map[record.ProducerID]*txn{1: {}, 2: {}, 3: {}}
		for i := range 300 {
			key, value := fmt.Sprint("k", rng.IntN(8)), fmt.Sprint("v", i)
			pid := record.ProducerID(1 + rng.IntN(3))
			p := producers[pid]
			switch dice := rng.IntN(20); {
			case dice < 4:
				open := false
				for _, other := range producers {
					_, has := other.values[key]
					open = open || has
				}
				if open { // which of the two is the latest is for the application to say
					continue
				}
				x.plain(key, value)
				want[key] = value
			case dice < 12:
				for id, other := range producers {
					if _, has := other.values[key]; has && id != pid {
						key = fmt.Sprint("k", pid, "-", key)
					}
				}
				if p.values == nil {
					p.values = map[string]string{}
				}
				x.put(producerOpts(pid, 0, p.sequence, true), key, []byte(value))
				p.values[key], p.begun = value, true
				p.sequence++
			case dice < 15 && p.begun:
				commit := rng.IntN(2) == 0
				mustEnd(t, x.Log, record.Marker{ProducerID: pid, Commit: commit})
				if commit {
					maps.Copy(want, p.values)
				}
				p.values, p.begun = nil, false
			case dice < 18:
				x.compact()
			case dice == 18:
				if rng.IntN(2) == 0 {
					x.loseTxnIndexes(rng.IntN(2) == 0)
					continue
				}
				x.restart()
				for _, part := range abortedParts(x.Log) { // what is lost is built when it is asked for
					if _, err := part.load(); err != nil {
						t.Fatal(err)
					}
				}
				checkTxnIndexes(t, x.Log)
			default:
				x.fs = x.fs.CrashClone(rng)
				x.Log = create(t, open(t, x.fs, x.known), x.known, topicA, 0)
			}
		}
		for pid, p := range producers {
			if p.begun {
				mustEnd(t, x.Log, record.Marker{ProducerID: pid, Commit: true})
				maps.Copy(want, p.values)
			}
		}
		for round := range 6 {
			got := map[string]string{}
			for _, r := range readCommitted(t, x.Log, 0) {
				got[r.key] = r.value
			}
			if !maps.Equal(got, want) {
				t.Fatalf("seed %d: a consumer sees %v, want %v", seed, got, want)
			}
			if stable, end := x.LastStable(), x.End(); stable != end {
				t.Fatalf("seed %d: the log ends at %d, and is stable up to %d though no transaction is open", seed, end, stable)
			}
			if round < 3 { // with what compaction left of them
				x.loseTxnIndexes(round > 0)
				continue
			}
			x.now = x.now.Add(2 * time.Hour)
			x.compact()
			x.restart()
		}
		var keys []string
		for _, r := range readCommitted(t, x.Log, 0) {
			keys = append(keys, r.key)
		}
		if slices.Sort(keys); len(keys) != len(want) {
			t.Errorf("seed %d: after compaction %d records of %d keys: %v", seed, len(keys), len(want), keys)
		}
	}
}
