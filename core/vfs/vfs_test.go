package vfs

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path"
	"slices"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// everyFS runs test on the operating system's files and on memory.
func everyFS(t *testing.T, test func(t *testing.T, fs FS, dir string)) {
	t.Run("os", func(t *testing.T) { test(t, OS(), t.TempDir()) })
	t.Run("mem", func(t *testing.T) {
		m := NewMem()
		must(t, m.MkdirAll("/a/dir"))
		test(t, m, "/a/dir")
	})
	t.Run("faulty without rules", func(t *testing.T) { test(t, Fault(OS()), t.TempDir()) })
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func write(t testing.TB, fs FS, name, content string, sync bool) {
	t.Helper()
	f, err := fs.Create(name)
	must(t, err)
	_, err = f.WriteAt([]byte(content), 0)
	must(t, err)
	if sync {
		must(t, f.Sync())
	}
	must(t, f.Close())
}

// content returns what name holds, or the error as text.
func content(fs FS, name string) string {
	b, err := ReadFile(fs, name)
	if err != nil {
		if errors.Is(err, ErrNotExist) {
			return "missing"
		}
		return err.Error()
	}
	return string(b)
}

func TestFilesReadBackWhatWasWritten(t *testing.T) {
	everyFS(t, func(t *testing.T, fs FS, dir string) {
		name := path.Join(dir, "f")
		f, err := fs.Create(name)
		must(t, err)
		var bufs [][]byte
		var want []byte
		for i := range 3000 { // more than one system call takes
			b := bytes.Repeat([]byte{byte(i)}, i%7)
			bufs, want = append(bufs, b), append(want, b...)
		}
		n, err := f.WriteVecAt(bufs, 10)
		if err != nil || n != len(want) {
			t.Fatalf("WriteVecAt = %d, %v; want %d", n, err, len(want))
		}
		must(t, f.StartSync(10, int64(n)))
		must(t, f.Sync())
		size, err := f.Size()
		if err != nil || size != int64(10+len(want)) {
			t.Errorf("Size = %d, %v", size, err)
		}
		got := make([]byte, len(want)+5)
		n, err = f.ReadAt(got, 10)
		if n != len(want) || !errors.Is(err, io.EOF) || !bytes.Equal(got[:n], want) {
			t.Errorf("ReadAt past the end = %d, %v", n, err)
		}
		must(t, f.Truncate(4))
		must(t, f.Truncate(8))
		must(t, f.Close())
		if got := content(fs, name); got != string(make([]byte, 8)) {
			t.Errorf("after truncation: %q", got)
		}
		if f.Close() == nil {
			t.Error("a second Close returned no error")
		}
	})
}

func TestNames(t *testing.T) {
	everyFS(t, func(t *testing.T, fs FS, dir string) {
		at := func(name string) string { return path.Join(dir, name) }
		must(t, fs.MkdirAll(at("x/y")))
		write(t, fs, at("x/b"), "b", true)
		write(t, fs, at("x/a"), "a", true)
		names, err := fs.List(at("x"))
		if err != nil || !slices.Equal(names, []string{"a", "b", "y"}) {
			t.Errorf("List = %v, %v", names, err)
		}
		must(t, fs.Rename(at("x/a"), at("x/b")))
		if got := content(fs, at("x/b")) + content(fs, at("x/a")); got != "amissing" {
			t.Errorf("after rename: %q", got)
		}
		if err := fs.Remove(at("x")); !errors.Is(err, syscall.ENOTEMPTY) {
			t.Errorf("Remove of a full directory: %v", err)
		}
		for _, err := range []error{fs.Remove(at("none")), fs.Rename(at("none"), at("n")), second(fs.Open(at("none"))), second(fs.OpenReadWrite(at("none"))), second(fs.Stat(at("none"))), second(fs.Create(at("no/dir")))} {
			if !errors.Is(err, ErrNotExist) {
				t.Errorf("of a missing name: %v", err)
			}
		}
		must(t, fs.RemoveAll(at("none")))
		must(t, fs.RemoveAll(at("x")))
		must(t, fs.SyncDir(dir))
		if ok, err := Exists(fs, at("x")); ok || err != nil {
			t.Errorf("Exists after RemoveAll = %v, %v", ok, err)
		}
		must(t, WriteFileAtomic(fs, at("whole"), []byte("one")))
		must(t, WriteFileAtomic(fs, at("whole"), []byte("two")))
		if got := content(fs, at("whole")); got != "two" {
			t.Errorf("WriteFileAtomic left %q", got)
		}
		if total, free, err := fs.Usage(dir); err != nil || free == 0 || total < free {
			t.Errorf("Usage = %d, %d, %v", total, free, err)
		}
	})
}

func second[T any](_ T, err error) error { return err }

func TestLockNamesItsHolder(t *testing.T) {
	everyFS(t, func(t *testing.T, fs FS, dir string) {
		name := path.Join(dir, "lock")
		l, err := fs.Lock(name)
		must(t, err)
		_, err = fs.Lock(name)
		var locked *LockedError
		if !errors.As(err, &locked) {
			t.Fatalf("the second Lock: %v", err)
		}
		if _, isOS := fs.(osFS); isOS && locked.PID != os.Getpid() {
			t.Errorf("PID = %d, want %d", locked.PID, os.Getpid())
		}
		must(t, l.Close())
		again, err := fs.Lock(name)
		must(t, err)
		must(t, again.Close())
	})
}

func TestCrashKeepsOnlyWhatWasSynced(t *testing.T) {
	m := NewMem()
	must(t, m.MkdirAll("d"))
	must(t, m.SyncDir("/"))
	write(t, m, "d/synced", "1", true)
	write(t, m, "d/content only", "2", true)
	must(t, m.SyncDir("d"))
	must(t, m.Remove("d/content only"))
	write(t, m, "d/name not synced", "3", true)
	write(t, m, "d/new", "4", true)
	must(t, m.Rename("d/new", "d/synced"))
	f, err := m.OpenReadWrite("d/synced")
	must(t, err)
	_, err = f.WriteAt([]byte("later"), 0)
	must(t, err)

	c := m.CrashClone(nil)
	for name, want := range map[string]string{"d/synced": "1", "d/content only": "2", "d/name not synced": "missing", "d/new": "missing"} {
		if got := content(c, name); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
	must(t, m.SyncDir("d"))
	if got := content(m.CrashClone(nil), "d/synced"); got != "4" {
		t.Errorf("a renamed file whose directory was synced: %q, want its synced content", got)
	}
	must(t, f.Sync())
	if got := content(m.CrashClone(nil), "d/synced"); got != "later" {
		t.Errorf("after Sync: %q", got)
	}
	if got := content(c, "d/synced"); got != "1" {
		t.Errorf("the clone changed with its original: %q", got)
	}
}

func TestCrashWithChanceKeepsAllThatWasSynced(t *testing.T) {
	m := NewMem()
	write(t, m, "f", "0123456789", true)
	must(t, m.SyncDir("/"))
	f, err := m.OpenReadWrite("f")
	must(t, err)
	_, err = f.WriteAt([]byte("abcdef"), 10)
	must(t, err)
	write(t, m, "g", "x", false)
	seen := map[string]bool{}
	for seed := range uint64(200) {
		c := m.CrashClone(rand.New(rand.NewPCG(seed, 0)))
		got := content(c, "f")
		if len(got) < 10 || got != "0123456789abcdef"[:len(got)] {
			t.Fatalf("seed %d: %q", seed, got)
		}
		seen[got] = true
		seen["g "+content(c, "g")] = true
	}
	for _, want := range []string{"0123456789", "0123456789abcdef", "0123456789abc", "g missing", "g ", "g x"} {
		if !seen[want] {
			t.Errorf("200 seeds never gave %q", want)
		}
	}
}

func TestCapacity(t *testing.T) {
	m := NewMem()
	m.SetCapacity(10)
	write(t, m, "f", "12345678", false)
	f, err := m.OpenReadWrite("f")
	must(t, err)
	if _, err := f.WriteAt([]byte("abc"), 8); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("a write past the capacity: %v", err)
	}
	if _, err := f.WriteAt([]byte("ab"), 8); err != nil {
		t.Errorf("a write up to the capacity: %v", err)
	}
	must(t, m.Remove("f"))
	if _, free, err := m.Usage("/"); err != nil || free != 10 {
		t.Errorf("free after removal: %d, %v", free, err)
	}
}

func TestFaults(t *testing.T) {
	broken := errors.New("broken")
	t.Run("the N-th", func(t *testing.T) {
		f := Fault(NewMem(), &Rule{Ops: []Op{OpWrite}, Path: "log", N: 2, Err: broken, Short: true})
		file, err := f.Create("log")
		must(t, err)
		other, err := f.Create("other")
		must(t, err)
		_, err = other.WriteAt([]byte("x"), 0)
		must(t, err)
		_, err = file.WriteAt([]byte("first"), 0)
		must(t, err)
		n, err := file.WriteVecAt([][]byte{[]byte("abc"), []byte("def")}, 5)
		var pathErr *fs.PathError
		if n != 3 || !errors.Is(err, broken) || !errors.As(err, &pathErr) || pathErr.Path != "log" {
			t.Errorf("the second write: %d, %v", n, err)
		}
		if got := content(f, "log"); got != "firstabc" {
			t.Errorf("a short write left %q", got)
		}
		if _, err = file.WriteAt([]byte("z"), 0); err != nil {
			t.Errorf("the third write: %v", err)
		}
		if f.Changes() != 6 {
			t.Errorf("Changes = %d, want 6", f.Changes())
		}
	})
	t.Run("every one, until lifted", func(t *testing.T) {
		full := &Rule{Ops: []Op{OpCreate, OpSync}, Err: syscall.ENOSPC}
		f := Fault(NewMem(), full)
		for range 2 {
			if _, err := f.Create("f"); !errors.Is(err, syscall.ENOSPC) {
				t.Errorf("Create: %v", err)
			}
		}
		f.Lift(full)
		write(t, f, "f", "x", true)
	})
	t.Run("crash", func(t *testing.T) {
		for n := 1; n <= 4; n++ {
			f := Fault(NewMem(), &Rule{N: n, Crash: true})
			err := WriteFileAtomic(f, "f", []byte("x"))
			if !errors.Is(err, ErrCrashed) || !f.Crashed() {
				t.Errorf("operation %d: %v", n, err)
			}
			if _, err := f.Stat("f"); !errors.Is(err, ErrCrashed) {
				t.Errorf("after the crash: %v", err)
			}
		}
	})
	t.Run("a sync that loses what it should have written", func(t *testing.T) {
		m := NewMem()
		f := Fault(m, &Rule{Ops: []Op{OpSync}, N: 2, Err: syscall.EIO, Lost: true})
		write(t, f, "f", "first", true)
		must(t, m.SyncDir("."))
		file, err := f.OpenReadWrite("f")
		must(t, err)
		_, err = file.WriteAt([]byte("second"), 0)
		must(t, err)
		if err := file.Sync(); !errors.Is(err, syscall.EIO) {
			t.Errorf("the failing sync: %v", err)
		}
		must(t, file.Sync())
		if now, left := content(m, "f"), content(m.CrashClone(nil), "f"); now != "second" || left != "first" {
			t.Errorf("it reads %q, and a power failure leaves %q", now, left)
		}
		_, err = file.WriteAt([]byte("second"), 0)
		must(t, err)
		must(t, file.Sync())
		if left := content(m.CrashClone(nil), "f"); left != "second" {
			t.Errorf("written once more, a power failure leaves %q", left)
		}
	})
	t.Run("delay", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			f := Fault(NewMem(), &Rule{Ops: []Op{OpSync}, Delay: time.Second})
			began := time.Now()
			write(t, f, "f", "x", true)
			if took := time.Since(began); took != time.Second {
				t.Errorf("the sync took %s", took)
			}
		})
	})
}

// TestAtomicWriteSurvivesEveryCrash cuts WriteFileAtomic at each of its operations.
func TestAtomicWriteSurvivesEveryCrash(t *testing.T) {
	for n := 1; ; n++ {
		m := NewMem()
		must(t, WriteFileAtomic(m, "f", []byte("old")))
		f := Fault(m, &Rule{N: n, Crash: true})
		err := WriteFileAtomic(f, "f", []byte("new"))
		for seed := range uint64(20) {
			got := content(m.CrashClone(rand.New(rand.NewPCG(seed, 1))), "f")
			if got != "old" && got != "new" || err == nil && got != "new" {
				t.Fatalf("cut at %d (%v): %q", n, err, got)
			}
		}
		if err == nil {
			return
		}
	}
}

func Example() {
	m := NewMem()
	if err := WriteFileAtomic(m, "greeting", []byte("hello")); err != nil {
		fmt.Println(err)
	}
	fmt.Println(content(m.CrashClone(nil), "greeting"))
	// Output: hello
}
