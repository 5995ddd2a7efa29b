package storage

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"math/rand/v2"
	"reflect"
	"slices"
	"sync/atomic"
	"testing"

	"github.com/milldam/milldam/core/record"
	"github.com/milldam/milldam/core/vfs"
)

// oneSegment is a topic whose partition is one active segment, with an index that has many entries.
func oneSegment() topics {
	c := smallConfig()
	c.SegmentBytes, c.IndexIntervalBytes = 64<<20, 1000
	return topics{topicA: {"a", c}}
}

// filled appends batches of different sizes whose times go back and forth, and returns the times of their records.
func filled(t *testing.T, l *Log, count int, rng *rand.Rand, stamps []int64) []int64 {
	t.Helper()
	for range count {
		ts := int64(len(stamps)*100) + rng.Int64N(30_000)
		mustAppend(t, l, batchOf(t, record.NewBatchOptions(), ts, fmt.Sprintf("%0*d", 1+rng.IntN(900), 7), "second"))
		stamps = append(stamps, ts, ts+1)
	}
	return stamps
}

// readBytes counts what is read of files.
type readBytes struct {
	vfs.FS
	sum atomic.Int64
}

type countedFile struct {
	vfs.File
	sum *atomic.Int64
}

func (f countedFile) ReadAt(p []byte, off int64) (int, error) {
	n, err := f.File.ReadAt(p, off)
	f.sum.Add(int64(n))
	return n, err
}

func (r *readBytes) OpenReadWrite(name string) (vfs.File, error) {
	f, err := r.FS.OpenReadWrite(name)
	return countedFile{f, &r.sum}, err
}

// TestIndexOfASegmentIsTheOneThatWasLive builds the index of what a crash left from the segment itself.
func TestIndexOfASegmentIsTheOneThatWasLive(t *testing.T) {
	known, fs := oneSegment(), vfs.NewMem()
	s := open(t, fs, known)
	l := create(t, s, known, topicA, 0)
	filled(t, l, 400, rand.New(rand.NewPCG(1, 1)), nil)
	live := l.mu.segments[0].live
	after := open(t, fs.CrashClone(nil), known).Log(topicA, 0)
	seg := after.mu.segments[0]
	x, err := seg.loadOlder(seg.liveFrom)
	if err != nil {
		t.Fatal(err)
	}
	if n := len(x.offsets); n < 20 || !slices.Equal(x.offsets, live.offsets[:n]) || int64(live.offsets[n].position) < seg.liveFrom {
		t.Errorf("%d entries of the first %d bytes, not those that were live", n, seg.liveFrom)
	}
	if n := len(x.times); n < 5 || !slices.Equal(x.times, live.times[:n]) {
		t.Errorf("%d entries for times, not those that were live", n)
	}
}

// TestLandmarksAnswerForTheWholeSegment crashes a node again and again, with more in the active segment each time: every record is found by its offset and by its
// time, with little of the segment read for the first of them.
func TestLandmarksAnswerForTheWholeSegment(t *testing.T) {
	known, fs := oneSegment(), vfs.NewMem()
	rng := rand.New(rand.NewPCG(2, 2))
	var stamps []int64
	for round := range 4 {
		counted := &readBytes{FS: fs}
		s := open(t, counted, known)
		l := s.Log(topicA, 0)
		if l == nil {
			l = create(t, s, known, topicA, 0)
		}
		seg := l.mu.segments[0]
		if m := seg.landmarks.Load(); (m != nil) != (round > 0) || m != nil && len(m.list) < maxLandmarks-3 {
			t.Fatalf("round %d: landmarks %+v", round, m)
		}
		if round > 0 {
			checkFirstRead(t, l, counted, rng)
			checkTimes(t, l, stamps, rng)
			if seg.older.Load() != nil {
				t.Error("the whole index was built")
			}
		}
		stamps = filled(t, l, 500, rng, stamps)
		if round > 0 {
			checkTimes(t, l, stamps, rng)
		}
		fs = fs.CrashClone(rng)
	}
}

// checkFirstRead reads from the middle of a log that was just opened.
func checkFirstRead(t *testing.T, l *Log, counted *readBytes, rng *rand.Rand) {
	t.Helper()
	seg := l.mu.segments[0]
	counted.sum.Store(0)
	at := record.Offset(rng.Int64N(int64(l.End())))
	span, err := l.Read(at, 1, l.Committed(), true)
	if err != nil {
		t.Fatal(err)
	}
	if err := span.Close(); err != nil {
		t.Fatal(err)
	}
	if sum, most := counted.sum.Load(), seg.liveFrom/5+int64(2*seekWindow.bytes); sum > most {
		t.Errorf("%d bytes were read for the batch at offset %d of a segment of %d bytes, want at most %d", sum, at, seg.liveFrom, most)
	}
}

func checkTimes(t *testing.T, l *Log, stamps []int64, rng *rand.Rand) {
	t.Helper()
	if got := read(t, l, 0); len(got) != len(stamps) {
		t.Fatalf("%d records, want %d", len(got), len(stamps))
	}
	top := slices.Max(stamps)
	for range 300 {
		ts := rng.Int64N(top + 2000)
		want := slices.IndexFunc(stamps, func(at int64) bool { return at >= ts })
		found, ok, err := l.OffsetForTime(ts, l.Committed())
		if err != nil || ok != (want >= 0) || ok && int(found.Offset) != want {
			t.Fatalf("at %d: %+v, %v, %v; want offset %d", ts, found, ok, err, want)
		}
		bound := record.Offset(2 + 2*rng.IntN(len(stamps)/2))
		youngest, ok, err := l.MaxTimestamp(bound)
		if want := slices.Max(stamps[:bound]); err != nil || !ok || youngest.Timestamp != want {
			t.Fatalf("below %d: %+v, %v, %v; want time %d", bound, youngest, ok, err, want)
		}
	}
	l.mu.Lock()
	p := l.placeLockedAt(0)
	l.mu.Unlock()
	if largest, err := p.largestTimestamp(); err != nil || largest != top {
		t.Errorf("the largest time is %d, %v; want %d", largest, err, top)
	}
}

// TestSealedBehindLandmarksHasItsWholeIndex seals a segment that was active when the node crashed.
func TestSealedBehindLandmarksHasItsWholeIndex(t *testing.T) {
	known, fs := oneSegment(), vfs.NewMem()
	rng := rand.New(rand.NewPCG(3, 3))
	s := open(t, fs, known)
	filled(t, create(t, s, known, topicA, 0), 400, rng, nil)
	fs = fs.CrashClone(nil)
	s = open(t, fs, known)
	l := s.Log(topicA, 0)
	filled(t, l, 50, rng, nil)
	seg := l.mu.segments[0]
	l.mu.Lock()
	l.rollLocked(l.mu.end)
	l.mu.Unlock()
	if err := l.flushTail(nil); err != nil {
		t.Fatal(err)
	}
	want := newIndex()
	if err := seg.extend(want, seg.size); err != nil {
		t.Fatal(err)
	}
	x, err := seg.readIndexFiles(seg.size)
	if err != nil || !slices.Equal(x.offsets, want.offsets) || x.maxTimestamp != want.maxTimestamp {
		t.Errorf("index files with %d entries up to time %d, want %d and %d; %v", len(x.offsets), x.maxTimestamp, len(want.offsets), want.maxTimestamp, err)
	}
}

func TestCheckpointOfAnOlderVersionIsRead(t *testing.T) {
	for version, less := range map[byte]int{2: 1 + timeEntryBytes + 1 + 4, 3: 4} {
		c := checkpoint{walFrom: 3, logs: []checkpointLog{{topic: topicA, recovered: 5, position: 300, first: 1000, hasFirst: true, producers: producers{known: map[record.ProducerID]*producer{}}}}}
		data := c.encode()
		data = data[:len(data)-4-less]
		data[len(checkpointMagic)] = version
		data = binary.BigEndian.AppendUint32(data, crc32.Checksum(data, castagnoli))
		got, err := decodeCheckpoint(data)
		if err != nil || !reflect.DeepEqual(got, &c) {
			t.Errorf("version %d: %+v, %v", version, got, err)
		}
	}
}
