package storage

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"path"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/milldam/milldam/core/record"
	"github.com/milldam/milldam/core/vfs"
)

// checkTxnIndexes builds the transaction index of every complete segment from its batches: it must be the one that was written as the batches came in. Compaction's says
// of transactions that have no batch any more that they were aborted, until their markers go too.
func checkTxnIndexes(t testing.TB, l *Log) {
	t.Helper()
	l.mu.Lock()
	complete, cleaned := slices.Clone(l.mu.segments[:l.firstLiveLocked()]), l.mu.cleaned
	l.mu.Unlock()
	for _, s := range complete {
		data, err := vfs.ReadFile(l.store.opts.FS, s.file(txnSuffix))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			t.Fatal(err)
		}
		stored, ok := decodeTxnIndex(data, s.base, s.end)
		if !ok {
			t.Fatalf("%s: the transaction index of segment %d cannot be read", l, s.base)
		}
		built, err := l.txnsFromBatches(s)
		if err != nil {
			t.Fatal(err)
		}
		if s.base >= cleaned && !compacted(t, s) && !slices.Equal(built.aborted, stored) {
			t.Fatalf("%s: segment %d says that %v were aborted, its index %v", l, s.base, built.aborted, stored)
		}
		if slices.ContainsFunc(built.aborted, func(a AbortedTxn) bool { return l.shows(a, stored) }) {
			t.Fatalf("%s: compacted segment %d says that %v were aborted, its index %v", l, s.base, built.aborted, stored)
		}
	}
}

// abortedParts are all segments that have, or may have, aborted transactions.
func abortedParts(l *Log) (list []abortedPart) {
	for part, ok := l.nextAborted(0); ok; part, ok = l.nextAborted(part.segment.base + 1) {
		list = append(list, part)
	}
	return list
}

// compacted tells whether a segment shows that it was compacted, which after a crash may be more than the log knows.
func compacted(t testing.TB, s *segment) (shows bool) {
	t.Helper()
	next := s.base
	err := s.batches(0, s.size, func(b record.Batch, _ int64) error {
		_, horizon := b.DeleteHorizon()
		shows = shows || horizon || b.BaseOffset() != next || b.Count() == 0
		next = b.NextOffset()
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return shows
}

// abortedInSegments is a closed store with transactions of two producers that overlap and go over several segments each, and what a consumer sees of it.
func abortedInSegments(t *testing.T) (fs *vfs.Mem, known topics, want []seen, indexes []string) {
	t.Helper()
	fs, known = vfs.NewMem(), twoTopics()
	s := open(t, fs, known)
	l := create(t, s, known, topicA, 0)
	for i := range record.Sequence(8) {
		for _, pid := range []record.ProducerID{7, 8} {
			mustAppendVerified(t, l, transactional(t, pid, 0, i, fmt.Sprintf("%d:%0900d", pid, i)))
			for range 9 {
				mustAppend(t, l, plain(t, fmt.Sprintf("%0900d", i)))
			}
			if i > 0 { // the other one's began before
				mustEnd(t, l, record.Marker{ProducerID: 15 - pid, Commit: (int(i)+int(pid))%3 == 0})
			}
		}
	}
	want = readCommitted(t, l, 0)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	names, err := fs.List("data/logs/a-0")
	if err != nil {
		t.Fatal(err)
	}
	last := ""
	for _, name := range names {
		if path.Ext(name) == logSuffix {
			last = strings.TrimSuffix(name, logSuffix)
		}
	}
	for _, name := range names {
		if path.Ext(name) == txnSuffix && name != last+txnSuffix { // of the active segment the checkpoint has it all
			indexes = append(indexes, path.Join("data/logs/a-0", name))
		}
	}
	if len(indexes) < 4 {
		t.Fatalf("transaction indexes: %v", indexes)
	}
	return fs, known, want, indexes
}

// toldLog is what a store logs.
type toldLog struct {
	mu   sync.Mutex
	text strings.Builder
}

func (o *toldLog) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.Write(p)
}

func (o *toldLog) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}

// openTelling opens a store and returns what it logs.
func openTelling(t *testing.T, fs vfs.FS, known topics) (*Store, *toldLog) {
	t.Helper()
	var told toldLog
	opts := smallOptions(fs, known)
	opts.Logger = slog.New(slog.NewTextHandler(&told, nil))
	s, _, err := Open(t.Context(), opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s, &told
}

// TestTxnIndexIsBuiltAnew damages or removes transaction indexes of a store that is not running. A consumer sees no aborted record, the files are as they were, and the
// next start has nothing to tell.
func TestTxnIndexIsBuiltAnew(t *testing.T) {
	flip := func(at int) func([]byte) []byte {
		return func(b []byte) []byte { b[at] ^= 1; return b }
	}
	for name, change := range map[string]func([]byte) []byte{
		"removed":                nil,
		"empty":                  func([]byte) []byte { return nil },
		"cut in an entry":        func(b []byte) []byte { return b[:len(b)-1] },
		"an entry less":          func(b []byte) []byte { return b[:len(b)-txnIndexEntryBytes] },
		"another producer":       flip(9),
		"another first offset":   flip(17),
		"another marker":         flip(25),
		"another stable offset":  flip(33),
		"another version":        flip(1),
		"the one of nobody else": func(b []byte) []byte { return make([]byte, len(b)) },
	} {
		for _, lost := range []string{"nothing else", "checkpoint", "snapshots", "checkpoint and snapshots"} {
			t.Run(name+"/"+lost, func(t *testing.T) {
				fsys, known, want, indexes := abortedInSegments(t)
				before := allFiles(t, fsys, "data/logs/a-0")
				for _, index := range indexes {
					if change == nil {
						if err := fsys.Remove(index); err != nil {
							t.Fatal(err)
						}
						continue
					}
					alter(t, fsys, index, change)
				}
				for file := range before {
					if path.Ext(file) == snapshotSuffix && strings.Contains(lost, "snapshots") {
						delete(before, file)
						if err := fsys.Remove(path.Join("data/logs/a-0", file)); err != nil {
							t.Fatal(err)
						}
					}
				}
				if strings.HasPrefix(lost, "checkpoint") {
					if err := fsys.Remove("data/checkpoint"); err != nil {
						t.Fatal(err)
					}
				}
				s, told := openTelling(t, fsys, known)
				l := s.Log(topicA, 0)
				if got := readCommitted(t, l, want[len(want)/2].offset); !slices.Equal(got, want[len(want)/2:]) {
					t.Errorf("from the middle a consumer sees %v, want %v", got, want)
				}
				if got := readCommitted(t, l, 0); !slices.Equal(got, want) {
					t.Errorf("a consumer sees %v, want %v", got, want)
				}
				if n := strings.Count(told.String(), "built anew"); n != len(indexes) && !strings.HasPrefix(lost, "checkpoint") {
					t.Errorf("%d indexes, and the log says\n%s", len(indexes), told)
				}
				checkTxnIndexes(t, l)
				if err := s.Close(); err != nil {
					t.Fatal(err)
				}
				for file, data := range allFiles(t, fsys, "data/logs/a-0") {
					if was, ok := before[file]; ok && data != was {
						t.Errorf("%s is not what it was", file)
					}
				}
				s, told = openTelling(t, fsys, known)
				if got := readCommitted(t, s.Log(topicA, 0), 0); !slices.Equal(got, want) || strings.Contains(told.String(), "built anew") {
					t.Errorf("after the next start a consumer sees %v, want %v; the log says\n%s", got, want, told)
				}
			})
		}
	}
}

// TestTxnIndexOfADamagedSegmentIsNotBuilt: what the batches tell is not to be had, so nobody is told less than all that was aborted.
func TestTxnIndexOfADamagedSegmentIsNotBuilt(t *testing.T) {
	fsys, known, want, indexes := abortedInSegments(t)
	if err := fsys.Remove(indexes[1]); err != nil {
		t.Fatal(err)
	}
	alter(t, fsys, strings.TrimSuffix(indexes[1], txnSuffix)+logSuffix, func(b []byte) []byte { b[len(b)/2] ^= 1; return b })
	s := open(t, fsys, known)
	base, _ := segmentBase(path.Base(indexes[1]), txnSuffix)
	_, _, err := s.Log(topicA, 0).ReadCommitted(base, 3000, true)
	if !errors.Is(err, ErrDamaged) {
		t.Errorf("%v", err)
	}
	if _, _, err = s.Log(topicA, 0).ReadCommitted(want[0].offset, 3000, true); !errors.Is(err, ErrDamaged) {
		t.Errorf("the partition serves: %v", err)
	}
}

// TestCrashBehindACompactionIsNoDamage: the index is younger than the checkpoint that has its checksum.
func TestCrashBehindACompactionIsNoDamage(t *testing.T) {
	x := newCompacting(t, nil)
	for i := range record.Sequence(40) {
		x.put(producerOpts(7, 0, i, true), fmt.Sprint("k", i%7), fmt.Appendf(nil, "%0400d", i))
		mustEnd(t, x.Log, record.Marker{ProducerID: 7, Commit: i%2 == 0})
	}
	want := fmt.Sprint(readCommitted(t, x.Log, 0)[13:])
	x.compact()
	s, told := openTelling(t, x.fs.CrashClone(nil), x.known)
	got := fmt.Sprint(readCommitted(t, s.Log(topicA, 0), 0))
	if got != want || strings.Contains(told.String(), "level=WARN") {
		t.Errorf("a consumer sees %s, want %s; the log says\n%s", got, want, told)
	}
}

// TestAbortMarkerStaysBehindItsBatches: a compaction that knows of no aborted transaction must not take the marker from batches that it leaves, or the transaction would never end.
func TestAbortMarkerStaysBehindItsBatches(t *testing.T) {
	tracker := newTxnTracker(nil)
	tracker.batch(transactional(t, 7, 0, 0, "v"))
	marker := record.Marker{ProducerID: 7}.Batch(1000)
	if needed, aborted := tracker.marker(marker); !needed || aborted != nil {
		t.Errorf("needed %v, %v", needed, aborted)
	}
	if needed, _ := tracker.marker(marker); needed {
		t.Error("a marker that ends nothing is needed")
	}
}
