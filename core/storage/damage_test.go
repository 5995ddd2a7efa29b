package storage

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/milldam/milldam/core/record"
	"github.com/milldam/milldam/core/vfs"
)

// twoClosed is a store with partitions a-0 and b-0 of 100 records each in several segments, after a clean stop.
func twoClosed(t *testing.T) (*vfs.Mem, topics, []string) {
	t.Helper()
	known, fs := twoTopics(), vfs.NewMem()
	s := open(t, fs, known)
	for _, id := range []record.TopicID{topicA, topicB} {
		l := create(t, s, known, id, 0)
		for i := range 100 {
			mustAppend(t, l, plain(t, fmt.Sprintf("%d:%0300d", i, i)))
		}
	}
	want := read(t, s.Log(topicB, 0), 0)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	return fs, known, want
}

// alter changes bytes of a file.
func alter(t *testing.T, fs vfs.FS, name string, change func([]byte) []byte) {
	t.Helper()
	data, err := vfs.ReadFile(fs, name)
	if err != nil {
		t.Fatal(err)
	}
	if err := vfs.WriteFileAtomic(fs, name, change(data)); err != nil {
		t.Fatal(err)
	}
}

func allFiles(t *testing.T, fs vfs.FS, dir string) map[string]string {
	t.Helper()
	names, err := fs.List(dir)
	if err != nil {
		t.Fatal(err)
	}
	files := map[string]string{}
	for _, name := range names {
		data, err := vfs.ReadFile(fs, dir+"/"+name)
		if err != nil {
			t.Fatal(err)
		}
		files[name] = string(data)
	}
	return files
}

// TestDamagedPartitionStaysAsItIs opens a store with a damaged partition several times: it is told each time, the others serve, and its files are not touched.
func TestDamagedPartitionStaysAsItIs(t *testing.T) {
	const dir = "data/logs/a-0"
	last := func(fs vfs.FS) string {
		names, err := fs.List(dir)
		if err != nil {
			t.Fatal(err)
		}
		log := ""
		for _, name := range names {
			if strings.HasSuffix(name, logSuffix) {
				log = dir + "/" + name
			}
		}
		return log
	}
	for name, damage := range map[string]func(fs *vfs.Mem){
		"the active segment is too short": func(fs *vfs.Mem) { alter(t, fs, last(fs), func(b []byte) []byte { return b[:10] }) },
		"the active segment is missing": func(fs *vfs.Mem) {
			if err := errors.Join(fs.Remove(last(fs)), fs.SyncDir(dir)); err != nil {
				t.Fatal(err)
			}
		},
		"the directory is missing": func(fs *vfs.Mem) {
			if err := errors.Join(fs.RemoveAll(dir), fs.SyncDir("data/logs")); err != nil {
				t.Fatal(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			fs, known, want := twoClosed(t)
			damage(fs)
			var before map[string]string
			if there, err := vfs.Exists(fs, dir); err != nil {
				t.Fatal(err)
			} else if there {
				before = allFiles(t, fs, dir)
			}
			for life := range 3 {
				s, r := openRecovered(t, fs, known)
				if len(r.Offline) != 1 || !strings.Contains(r.Offline[0].Error(), "a-0 is damaged") {
					t.Fatalf("life %d: recovery: %+v", life, r)
				}
				a, b := s.Log(topicA, 0), s.Log(topicB, 0)
				if _, err := appendSync(a, plain(t, "v")); !errors.Is(err, ErrOffline) || !errors.Is(err, ErrCorrupt) {
					t.Errorf("append to the damaged one: %v", err)
				}
				if got := read(t, b, 0); fmt.Sprint(got[:len(want)]) != fmt.Sprint(want) {
					t.Errorf("the other has %d records, want %d", len(got), len(want))
				}
				for range 100 { // over the write-ahead log's files, so that there are checkpoints
					mustAppend(t, b, plain(t, fmt.Sprintf("%01000d", life)))
				}
				if life == 1 {
					fs = fs.CrashClone(nil)
				} else if err := s.Close(); err != nil {
					t.Fatal(err)
				}
				if before != nil {
					if after := allFiles(t, fs, dir); fmt.Sprint(after) != fmt.Sprint(before) {
						t.Fatalf("life %d: the damaged partition's files changed: %d files, were %d", life, len(after), len(before))
					}
				}
			}
		})
	}
}

func TestDamagedPartitionMetadataIsRebuilt(t *testing.T) {
	fs, known, _ := twoClosed(t)
	alter(t, fs, "data/logs/a-0/partition.metadata", func(b []byte) []byte { return b[:20] })
	s, r := openRecovered(t, fs, known)
	if len(r.Offline)+len(r.Quarantined) > 0 || s.Log(topicA, 0).End() != 100 {
		t.Errorf("recovery: %+v", r)
	}
	if data, err := vfs.ReadFile(fs, "data/logs/a-0/partition.metadata"); err != nil || string(data) != string(encodeMetadata(topicA)) {
		t.Errorf("the file holds %q, %v", data, err)
	}
}

func TestUnfinishedDirectoryIsNoStranger(t *testing.T) {
	known, fs := twoTopics(), vfs.NewMem()
	if err := fs.MkdirAll("data/logs/a-0"); err != nil {
		t.Fatal(err)
	}
	s, r := openRecovered(t, fs, known)
	if len(r.Quarantined) > 0 {
		t.Errorf("quarantined: %v", r.Quarantined)
	}
	mustAppend(t, create(t, s, known, topicA, 0), plain(t, "v"))
}

// TestFlippedBitInASegmentIsNeverServed flips bits anywhere in segments, of a stopped store and of a running one. Whatever is read is what was written; where that
// is not possible the partition is offline and says where, also after a restart, and the other one serves.
func TestFlippedBitInASegmentIsNeverServed(t *testing.T) {
	from, known, _ := twoClosed(t)
	s := open(t, from.CrashClone(nil), known)
	want := map[string][]string{"a-0": read(t, s.Log(topicA, 0), 0), "b-0": read(t, s.Log(topicB, 0), 0)}
	names, err := from.List("data/logs/a-0")
	if err != nil {
		t.Fatal(err)
	}
	names = slices.DeleteFunc(names, func(n string) bool { return !strings.HasSuffix(n, logSuffix) })
	flips := 1000
	if testing.Short() {
		flips = 100
	}
	rng := rand.New(rand.NewPCG(5, 5))
	told := 0
	for range flips {
		fs := from.CrashClone(nil)
		name := "data/logs/a-0/" + names[rng.IntN(len(names))]
		var s *Store
		running := rng.IntN(2) == 0
		if running {
			s = open(t, fs, known)
		}
		data, err := vfs.ReadFile(fs, name)
		if err != nil {
			t.Fatal(err)
		}
		if len(data) == 0 {
			continue
		}
		at, bit := rng.IntN(len(data)), rng.IntN(8)
		writeAt(t, fs, name, int64(at), []byte{data[at] ^ 1<<bit})
		if !running {
			s = open(t, fs, known)
		}
		what := fmt.Sprintf("bit %d of byte %d of %s, running %v", bit, at, name, running)
		if damage := readThrough(t, what, s.Log(topicA, 0), want["a-0"], rng); damage {
			told++
			if err := s.Log(topicA, 0).Err(); !errors.Is(err, ErrDamaged) || !strings.Contains(err.Error(), name) {
				t.Fatalf("%s: %v", what, err)
			}
		} else {
			t.Fatalf("%s: all was read", what)
		}
		if readThrough(t, what, s.Log(topicB, 0), want["b-0"], rng) {
			t.Fatalf("%s: the other one: %v", what, s.Log(topicB, 0).Err())
		}
		if err := s.Close(); err != nil {
			t.Fatalf("%s: close: %v", what, err)
		}
		again, r := openRecovered(t, fs, known)
		if len(r.Offline) != 1 || again.Log(topicA, 0).Damaged() == nil {
			t.Fatalf("%s: after a restart: %v", what, r.Offline)
		}
		if err := again.Close(); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("%d flips, %d told", flips, told)
}

// readThrough reads a log as consumers do, whole answers only, and tells whether it came upon damage.
func readThrough(t *testing.T, what string, l *Log, want []string, rng *rand.Rand) (damage bool) {
	t.Helper()
	for from := record.Offset(0); from < l.Committed(); {
		span, err := l.Read(from, 400+rng.IntN(5000), l.Committed(), true)
		if errors.Is(err, ErrDamaged) {
			return true
		}
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		var buf bytes.Buffer
		_, err = span.WriteTo(&buf)
		if closed := span.Close(); closed != nil {
			t.Fatal(closed)
		}
		if errors.Is(err, ErrDamaged) {
			return true
		}
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		for rest := buf.Bytes(); ; {
			var b record.Batch
			if b, rest, err = record.Next(rest); err != nil {
				break // cut
			}
			if err := b.Each(1<<20, func(r *record.Record) error {
				if got := fmt.Sprintf("%d=%s", r.Offset, clip(string(r.Value))); r.Offset >= from && got != want[from] {
					t.Fatalf("%s: served %q for %q", what, got, want[from])
				} else if r.Offset >= from {
					from++
				}
				return nil
			}); err != nil {
				t.Fatalf("%s: %v", what, err)
			}
		}
	}
	return false
}

// TestDamagedActiveSegmentTakesWhatWasAcknowledged finds damage when the active segment is sealed: the store goes on, and what was acknowledged to the partition
// comes to its segments before the write-ahead log is used again.
func TestDamagedActiveSegmentTakesWhatWasAcknowledged(t *testing.T) {
	known, fs := twoTopics(), vfs.NewMem()
	s := open(t, fs, known)
	l := create(t, s, known, topicA, 0)
	for i := range 6 {
		mustAppend(t, l, plain(t, fmt.Sprintf("%d:%0500d", i, i)))
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	const name = "data/logs/a-0/00000000000000000000.log"
	alter(t, fs, name, func(b []byte) []byte { b[8] = 0x7f; return b }) // the length of the first batch
	for _, file := range []string{"index", "timeindex"} {
		if err := fs.Remove("data/logs/a-0/00000000000000000000." + file); err != nil {
			t.Fatal(err)
		}
	}
	s = open(t, fs, known)
	l, other := s.Log(topicA, 0), create(t, s, known, topicB, 0)
	acked := l.End()
	for i := 6; i < 40; i++ {
		a, err := appendSync(l, plain(t, fmt.Sprintf("%d:%0500d", i, i)))
		if err != nil && !errors.Is(err, ErrDamaged) {
			t.Fatal(err)
		}
		if err == nil {
			acked = a.LastOffset + 1
		}
		mustAppend(t, other, plain(t, fmt.Sprintf("%02000d", i)))
	}
	if err := l.flushTail(nil); !errors.Is(err, ErrDamaged) {
		t.Fatalf("the damage was not found: %v", err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s, r := openRecovered(t, fs, known)
	if l := s.Log(topicA, 0); len(r.Offline) != 1 || l.End() != acked {
		t.Errorf("it ends at %d, %d were acknowledged; %v", l.End(), acked, r.Offline)
	}
}
