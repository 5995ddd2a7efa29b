package state

import (
	"fmt"
	"slices"
	"strconv"
	"testing"
)

// number writes numbers as digits.
type number struct{}

func (number) Append(dst []byte, v int) ([]byte, error) {
	return strconv.AppendInt(dst, int64(v), 10), nil
}
func (number) Decode(src []byte) (int, error) { return strconv.Atoi(string(src)) }

// flushed returns what a flush writes, as key=value@time.
func flushed(t *testing.T, flush func(func(Change) error) error) []string {
	t.Helper()
	out := []string{}
	err := flush(func(c Change) error {
		value := string(c.Value)
		if c.Value == nil {
			value = "gone"
		}
		out = append(out, fmt.Sprintf("%s=%s@%d", c.Key, value, c.Time))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func wantChanges(t *testing.T, got []string, want ...string) {
	t.Helper()
	if !slices.Equal(got, want) && len(got)+len(want) > 0 {
		t.Errorf("flushed %q, want %q", got, want)
	}
}

func TestFlushWritesEachChangedKeyOnce(t *testing.T) {
	s := NewStore[int](number{})
	for i := range 100 {
		s.Upsert([]byte("a"), i, int64(i))
	}
	s.Upsert([]byte("b"), 1, 7)
	wantChanges(t, flushed(t, s.Flush), "a=99@99", "b=1@7")
	wantChanges(t, flushed(t, s.Flush))
	s.Set(s.Get([]byte("b")), 2, 8)
	wantChanges(t, flushed(t, s.Flush), "b=2@8")
}

func TestDeletedKeysLeaveByTombstoneIfTheyWereWritten(t *testing.T) {
	s := NewStore[int](number{})
	s.Upsert([]byte("a"), 1, 1)
	s.Delete([]byte("a"))
	wantChanges(t, flushed(t, s.Flush))
	s.Upsert([]byte("a"), 2, 2)
	wantChanges(t, flushed(t, s.Flush), "a=2@2")
	s.Delete([]byte("a"))
	s.Upsert([]byte("a"), 3, 3)
	wantChanges(t, flushed(t, s.Flush), "a=gone@2", "a=3@3")
	s.Delete([]byte("a"))
	wantChanges(t, flushed(t, s.Flush), "a=gone@3")
	if s.Len() != 0 {
		t.Errorf("%d keys left", s.Len())
	}
}

func TestRestoreIsWhatWasFlushed(t *testing.T) {
	s, restored := NewStore[int](number{}), NewStore[int](number{})
	write := func() {
		t.Helper()
		if err := s.Flush(restored.Restore); err != nil {
			t.Fatal(err)
		}
	}
	s.Upsert([]byte("a"), 1, 1)
	s.Upsert([]byte("b"), 2, 2)
	write()
	s.Delete([]byte("a"))
	s.Upsert([]byte("b"), 3, 3)
	write()
	if b := restored.Get([]byte("b")); restored.Len() != 1 || b.Value != 3 || b.Time != 3 {
		t.Errorf("restored %d keys, b is %+v", restored.Len(), b)
	}
	wantChanges(t, flushed(t, restored.Flush))
	if err := restored.Restore(Change{Key: []byte("c"), Value: []byte("x")}); err == nil {
		t.Error("a value that cannot be decoded was restored")
	}
}

func key(start int64, k string) string { return string(windowKey(start, k)) }

func TestAClosedWindowGoesOnlyAfterItsOffsetsAreCommitted(t *testing.T) {
	w := NewWindows[int](number{})
	w.Insert(0, []byte("b"), 1, 5)
	w.Insert(0, []byte("a"), 2, 6)
	w.Insert(10, []byte("a"), 3, 15)
	wantChanges(t, flushed(t, w.Flush), key(0, "b")+"=1@5", key(0, "a")+"=2@6", key(10, "a")+"=3@15")
	w.Committed()

	w.Set(0, w.Get(0, []byte("a")), 9, 7)
	entries := w.Close(0)
	if len(entries) != 2 || entries[0].Key() != "a" || entries[0].Value != 9 || entries[1].Key() != "b" {
		t.Fatalf("closed with %+v", entries)
	}
	// Neither the last change nor the tombstones are written before the commit.
	wantChanges(t, flushed(t, w.Flush))
	wantChanges(t, flushed(t, w.Flush))
	if w.Leaving() {
		t.Error("leaves before the commit")
	}
	w.Committed()
	if !w.Leaving() {
		t.Error("does not leave after the commit")
	}
	got := flushed(t, w.Flush)
	slices.Sort(got)
	wantChanges(t, got, key(0, "a")+"=gone@7", key(0, "b")+"=gone@5")
	if w.Leaving() || !slices.Equal(w.Starts(), []int64{10}) {
		t.Errorf("leaving %v, open %v", w.Leaving(), w.Starts())
	}
}

func TestAWindowClosedBeforeItWasFlushedIsNeverWritten(t *testing.T) {
	w := NewWindows[int](number{})
	w.Insert(0, []byte("a"), 1, 5)
	w.Close(0)
	wantChanges(t, flushed(t, w.Flush))
	w.Committed()
	wantChanges(t, flushed(t, w.Flush))
}

// A window closed after the flush is not covered by the offsets that are committed then.
func TestAWindowClosedDuringACommitWaitsForTheNext(t *testing.T) {
	w := NewWindows[int](number{})
	w.Insert(0, []byte("a"), 1, 5)
	wantChanges(t, flushed(t, w.Flush), key(0, "a")+"=1@5")
	w.Close(0)
	w.Committed()
	wantChanges(t, flushed(t, w.Flush))
	w.Committed()
	wantChanges(t, flushed(t, w.Flush), key(0, "a")+"=gone@5")
}

func TestWindowsAreRestoredAndDropped(t *testing.T) {
	w, restored := NewWindows[int](number{}), NewWindows[int](number{})
	for _, start := range []int64{20, 0, 10} {
		w.Insert(start, []byte("a"), int(start), start)
	}
	if err := w.Flush(restored.Restore); err != nil {
		t.Fatal(err)
	}
	if err := restored.Restore(Change{Key: windowKey(20, "a")}); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(restored.Starts(), []int64{0, 10}) {
		t.Fatalf("restored the windows %v", restored.Starts())
	}
	restored.Drop(0)
	wantChanges(t, flushed(t, restored.Flush), key(0, "a")+"=gone@0")
	if err := restored.Restore(Change{Key: []byte("short"), Value: []byte("1")}); err == nil {
		t.Error("a key without a window was restored")
	}
}
