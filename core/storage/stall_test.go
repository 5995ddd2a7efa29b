package storage

import (
	"errors"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/milldam/milldam/core/vfs"
)

// TestStalledSyncIsToldAndEndsByItself: acknowledgements wait for as long as the disk takes; what is there is read meanwhile.
func TestStalledSyncIsToldAndEndsByItself(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		known, fs := twoTopics(), vfs.Fault(vfs.NewMem())
		s, told := openTelling(t, fs, known)
		a, b := create(t, s, known, topicA, 0), create(t, s, known, topicB, 0)
		mustAppend(t, a, plain(t, "before"))
		synctest.Wait() // a second file of the write-ahead log is made
		if got := told.String(); got != "" {
			t.Errorf("the log says\n%s", got)
		}
		stall := &vfs.Rule{Ops: []vfs.Op{vfs.OpSync}, Path: walSuffix, N: 1, Delay: 3 * time.Minute}
		fs.Add(stall)
		began, acked := time.Now(), make(chan error, 2)
		for _, l := range []*Log{a, b} {
			go func() {
				_, err := appendSync(l, plain(t, "waits"))
				acked <- err
			}()
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		if len(acked) > 0 || a.Committed() != 1 || b.Committed() != 0 {
			t.Errorf("while the disk stalls %d appends are acknowledged, and the logs are committed up to %d and %d", len(acked), a.Committed(), b.Committed())
		}
		if got := readCommitted(t, a, 0); len(got) != 1 {
			t.Errorf("while the disk stalls a consumer sees %v", got)
		}
		if got := told.String(); !strings.Contains(got, "has not taken a write") || !strings.Contains(got, "dir=data") {
			t.Errorf("while the disk stalls the log says\n%s", got)
		}
		for range 2 {
			if err := <-acked; err != nil {
				t.Error(err)
			}
		}
		if took := time.Since(began); took != 3*time.Minute {
			t.Errorf("acknowledged after %v", took)
		}
		mustAppend(t, b, plain(t, "after"))
		if got := told.String(); time.Since(began) != 3*time.Minute || !strings.Contains(got, "took=3m0s") {
			t.Errorf("behind the stall, after %v, the log says\n%s", time.Since(began), got)
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
}

// TestNothingIsCheckpointedBehindAFailedSync: the segment that could not be synced is read as if it had been, a second sync of it succeeds, and a checkpoint would say that recovery
// need not look at what is lost.
func TestNothingIsCheckpointedBehindAFailedSync(t *testing.T) {
	known, mem := twoTopics(), vfs.NewMem()
	fs := vfs.Fault(mem)
	s, told := openTelling(t, fs, known)
	l := create(t, s, known, topicA, 0)
	for range 20 { // less than asks for a checkpoint
		mustAppend(t, l, plain(t, strings.Repeat("v", 1000)))
	}
	if err := l.flushTail(nil); err != nil {
		t.Fatal(err)
	}
	fs.Add(&vfs.Rule{Ops: []vfs.Op{vfs.OpSync}, Path: logSuffix, N: 1, Err: syscall.EIO, Lost: true})
	for range 3 {
		err := s.Maintain(t.Context(), time.UnixMilli(2000)) // seals, and makes a checkpoint
		if err == nil {
			err = s.checkpoint()
		}
		if err == nil {
			t.Error("a checkpoint is made behind a failed sync")
		}
	}
	if _, err := appendSync(l, plain(t, "v")); !errors.Is(err, ErrOffline) || !errors.Is(err, syscall.EIO) {
		t.Errorf("append: %v", err)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if got := told.String(); strings.Count(got, "storage is offline") != 1 || !strings.Contains(got, "dir=data") || !strings.Contains(got, "start milldam anew") {
		t.Errorf("the log says\n%s", got)
	}
	for what, left := range map[string]*vfs.Mem{"a power failure": mem.CrashClone(nil), "a restart": mem} {
		s := open(t, left, known)
		if end := s.Log(topicA, 0).End(); end != 20 {
			t.Errorf("after %s the log ends at %d", what, end)
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		if end := open(t, left.CrashClone(nil), known).Log(topicA, 0).End(); end != 20 {
			t.Errorf("after %s, and a power failure behind it, the log ends at %d", what, end)
		}
	}
}

// TestUnsyncedEndOfTheWriteAheadLogIsWrittenAgain: what the sync failed for can be read when the process starts again, is taken for there, and may be acknowledged as a duplicate.
func TestUnsyncedEndOfTheWriteAheadLogIsWrittenAgain(t *testing.T) {
	known, mem := twoTopics(), vfs.NewMem()
	fs := vfs.Fault(mem)
	opts := smallOptions(fs, known)
	opts.WALFiles = 1 // none is made beside the first, so that the next sync is that of the next append
	s, _, err := Open(t.Context(), opts)
	if err != nil {
		t.Fatal(err)
	}
	l := create(t, s, known, topicA, 0)
	mustAppend(t, l, idempotent(t, 7, 0, 0, "before"))
	fs.Add(&vfs.Rule{Ops: []vfs.Op{vfs.OpSync}, Path: walSuffix, N: 1, Err: syscall.EIO, Lost: true})
	if _, err := appendSync(l, idempotent(t, 7, 0, 1, "failed")); !errors.Is(err, ErrOffline) {
		t.Fatalf("append: %v", err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	again := open(t, mem, known)
	if a := mustAppend(t, again.Log(topicA, 0), idempotent(t, 7, 0, 1, "failed")); !a.Duplicate || a.BaseOffset != 1 {
		t.Errorf("sent again: %+v", a)
	}
	mustAppend(t, again.Log(topicA, 0), idempotent(t, 7, 0, 2, "after"))
	want := []seen{{0, "k0", clip("before")}, {1, "k0", clip("failed")}, {2, "k0", clip("after")}}
	if got := readCommitted(t, open(t, mem.CrashClone(nil), known).Log(topicA, 0), 0); !slices.Equal(got, want) {
		t.Errorf("after a power failure a consumer sees %v, want %v", got, want)
	}
}
