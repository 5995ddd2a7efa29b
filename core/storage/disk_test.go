package storage

import (
	"errors"
	"fmt"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/milldam/milldam/core/record"
	"github.com/milldam/milldam/core/vfs"
)

// fillDisk appends to l until clients are refused, and returns the last batch that was taken.
func fillDisk(t *testing.T, s *Store, l *Log) record.Batch {
	t.Helper()
	var last record.Batch
	for i := range record.Sequence(2000) {
		b := idempotent(t, 5, 0, i, fmt.Sprintf("%04000d", i))
		_, err := appendSync(l, b)
		if errors.Is(err, ErrDiskFull) {
			return last
		}
		if err != nil {
			t.Fatalf("append %d: %v", i, err)
		}
		last = b
		s.LookAtDisk()
	}
	t.Fatal("the disk does not fill")
	return nil
}

func TestFullDiskRefusesClientsAndResumes(t *testing.T) { synctest.Test(t, testFullDisk) }

// testFullDisk waits before each look until the flusher has nothing to do: it changes how much is free.
func testFullDisk(t *testing.T) {
	known, fs := twoTopics(), vfs.NewMem()
	fs.SetCapacity(2 << 20)
	opts := smallOptions(fs, known)
	opts.MinFreeBytes, opts.ReserveBytes = 300<<10, 64<<10
	s, _, err := Open(t.Context(), opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	l, internal := create(t, s, known, topicA, 0), create(t, s, known, topicB, 0)
	must(s.Maintain(t.Context(), time.Now())) // which makes the reserve
	if there, err := vfs.Exists(fs, "data/reserve"); !there || err != nil {
		t.Fatalf("no reserve: %v", err)
	}
	last := fillDisk(t, s, l)
	end := l.End()

	if got := read(t, l, 0); len(got) != int(end) {
		t.Errorf("%d of %d records are read from a full disk", len(got), end)
	}
	if a, err := appendSync(l, append(record.Batch(nil), last...)); err != nil || !a.Duplicate {
		t.Errorf("what was taken, sent again: %+v, %v", a, err)
	}
	internally := func() error {
		done := make(chan error, 1)
		p := NewPending(func(err error) { done <- err })
		_, err := internal.Append(plain(t, fmt.Sprintf("%01000d", 1)), 0, FromCoordinator, nil, p)
		p.Arm()
		return errors.Join(err, <-done)
	}
	must(internally())
	// Others fill the disk: the reserve is given up, and coordinators go on until half of it is used. What is in memory still counts as used.
	must(s.flushTails(s.Logs()))
	synctest.Wait()
	other, err := fs.Create("other")
	must(err)
	_, free, err := fs.Usage("data")
	must(err)
	_, err = other.WriteAt(make([]byte, int64(free)-30<<10), 0)
	must(err)
	s.LookAtDisk()
	if there, err := vfs.Exists(fs, "data/reserve"); there || err != nil {
		t.Fatalf("the reserve is there still: %v", err)
	}
	must(internally())
	synctest.Wait()
	_, free, err = fs.Usage("data")
	must(err)
	_, err = other.WriteAt(make([]byte, 10<<10), int64(2<<20)) // a hole costs nothing here but what it is long
	if !errors.Is(err, syscall.ENOSPC) {
		t.Fatalf("free are %d: %v", free, err)
	}
	// As much is free as clients are refused at, whatever the store has written by itself meanwhile.
	synctest.Wait()
	must(other.Truncate(0))
	_, free, err = fs.Usage("data")
	must(err)
	_, err = other.WriteAt(make([]byte, int64(free)-opts.MinFreeBytes+8<<10), 0)
	must(err)
	s.LookAtDisk()
	if _, err := appendSync(l, plain(t, "v")); !errors.Is(err, ErrDiskFull) {
		t.Errorf("at the bound: %v", err)
	}
	// DeleteRecords makes room, and it goes on by itself.
	_, err = l.DeleteRecords(t.Context(), end)
	must(err)
	for range 2 {
		must(s.Maintain(t.Context(), time.Now()))
	}
	synctest.Wait()
	if a, err := appendSync(l, plain(t, "room again")); err != nil || a.BaseOffset != end {
		t.Errorf("with room again: %+v, %v", a, err)
	}
	must(s.Maintain(t.Context(), time.Now()))
	if there, err := vfs.Exists(fs, "data/reserve"); !there || err != nil {
		t.Errorf("the reserve is not made again: %v", err)
	}
	must(s.Err())
}

// TestDiskIsLookedAtAsItFills has nobody look but the store itself, at batches that go to the write-ahead log and at those that go straight to their segments.
func TestDiskIsLookedAtAsItFills(t *testing.T) {
	for name, bytes := range map[string]int{"small batches": 100 << 10, "large batches": directBytes + 1} {
		t.Run(name, func(t *testing.T) {
			config := smallConfig()
			config.SegmentBytes = 8 << 20
			known, fs := topics{topicA: {"a", config}}, vfs.NewMem()
			fs.SetCapacity(128 << 20)
			opts := smallOptions(fs, known)
			opts.MinFreeBytes = 40 << 20
			s, _, err := Open(t.Context(), opts)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { s.Close() })
			l, b := create(t, s, known, topicA, 0), plain(t, strings.Repeat("x", bytes))
			for err == nil {
				_, err = appendSync(l, append(record.Batch(nil), b...))
			}
			if _, free, _ := fs.Usage("data"); !errors.Is(err, ErrDiskFull) || int64(free) < opts.MinFreeBytes-2*lookEvery {
				t.Errorf("with %d bytes free: %v", free, err)
			}
		})
	}
}

// TestFullDiskIsLeftToOthers has the coordinators write more than a write-ahead log file on a full disk: no file is pre-written in what is left, those there are go round.
func TestFullDiskIsLeftToOthers(t *testing.T) {
	known, fs := twoTopics(), vfs.NewMem()
	fs.SetCapacity(4 << 20)
	opts := smallOptions(fs, known)
	opts.MinFreeBytes, opts.ReserveBytes, opts.WALFileBytes, opts.WALFiles = 1<<20, 128<<10, 512<<10, 4
	s, _, err := Open(t.Context(), opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	l := create(t, s, known, topicA, 0)
	if err := s.Maintain(t.Context(), time.Now()); err != nil {
		t.Fatal(err)
	}
	other, err := fs.Create("other")
	if err != nil {
		t.Fatal(err)
	}
	_, free, err := fs.Usage("data")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := other.WriteAt(make([]byte, int64(free)-700<<10), 0); err != nil {
		t.Fatal(err)
	}
	s.LookAtDisk()
	for i := range 1000 {
		done := make(chan error, 1)
		p := NewPending(func(err error) { done <- err })
		_, err := l.Append(plain(t, fmt.Sprintf("%01000d", i)), 0, FromCoordinator, nil, p)
		if err == nil {
			p.Arm()
			err = <-done
		}
		if errors.Is(err, ErrDiskFull) {
			break
		}
		if err != nil {
			t.Fatalf("commit %d: %v", i, err)
		}
		if i%10 == 9 { // as the node does each second
			if _, err := l.DeleteRecords(t.Context(), l.End()); err != nil {
				t.Fatal(err)
			}
			if err := s.Maintain(t.Context(), time.Now()); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := s.Err(); err != nil {
		t.Error(err)
	}
}

func TestFolderThatIsTakenAwayTakesTheStoreOffline(t *testing.T) {
	known, fs := twoTopics(), vfs.NewMem()
	s, _, err := Open(t.Context(), smallOptions(fs, known))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	l := create(t, s, known, topicA, 0)
	mustAppend(t, l, plain(t, "v"))
	s.LookAtDisk()
	if err := s.Err(); err != nil {
		t.Fatal(err)
	}
	if err := fs.RemoveAll("data"); err != nil {
		t.Fatal(err)
	}
	s.LookAtDisk()
	if _, err := appendSync(l, plain(t, "v")); !errors.Is(err, ErrOffline) || !strings.Contains(err.Error(), "data/wal is gone") {
		t.Errorf("without its folder: %v", err)
	}
}

// TestNoSpaceLeft fills the disk behind the guard's back: the store latches offline, and opens anew with everything it acknowledged.
func TestNoSpaceLeft(t *testing.T) {
	known, fs := twoTopics(), vfs.NewMem()
	fs.SetCapacity(1 << 20)
	opts := smallOptions(fs, known)
	opts.MinFreeBytes = 1
	s, _, err := Open(t.Context(), opts)
	if err != nil {
		t.Fatal(err)
	}
	l := create(t, s, known, topicA, 0)
	acked := 0
	for i := 0; ; i++ {
		if _, err := appendSync(l, plain(t, fmt.Sprintf("%d:%04000d", i, i))); err != nil {
			if !errors.Is(err, ErrOffline) || !errors.Is(err, syscall.ENOSPC) {
				t.Fatalf("append %d: %v", i, err)
			}
			break
		}
		acked++
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	fs.SetCapacity(4 << 20)
	again, r := openRecovered(t, fs, known)
	if got := read(t, again.Log(topicA, 0), 0); len(got) < acked || len(r.Offline) > 0 {
		t.Errorf("%d records, %d were acknowledged; %v", len(got), acked, r.Offline)
	}
	mustAppend(t, again.Log(topicA, 0), plain(t, "v"))
}

func TestLevelsOfADisk(t *testing.T) {
	for name, x := range map[string]struct {
		old  int32
		left int64
		want int32
	}{
		"roomy":                          {diskRoomy, 1000, diskRoomy},
		"at the bound":                   {diskRoomy, 999, diskFull},
		"full stays so a quarter longer": {diskFull, 1249, diskFull},
		"and ends there":                 {diskFull, 1250, diskRoomy},
		"critical at once":               {diskRoomy, 99, diskCritical},
		"critical stays so":              {diskCritical, 124, diskCritical},
		"critical becomes full":          {diskCritical, 125, diskFull},
	} {
		if got := next(x.old, x.left, 1000, 100); got != x.want {
			t.Errorf("%s: %d, want %d", name, got, x.want)
		}
	}
}
