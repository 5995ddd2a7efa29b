package vfs

import (
	"errors"
	"io"
	"io/fs"
	"slices"
	"strings"
	"sync"
	"time"
)

// Op is a kind of operation.
type Op int

// The operations that rules choose from. Reading ones are OpOpen, OpRead, OpList and OpStat; the others change something.
const (
	OpCreate Op = iota + 1
	OpOpen
	OpRead
	OpWrite
	OpSync
	OpTruncate
	OpRename
	OpRemove
	OpMkdir
	OpSyncDir
	OpList
	OpStat
	OpLock
)

func (o Op) reads() bool { return o == OpOpen || o == OpRead || o == OpList || o == OpStat }

// ErrCrashed is what every operation returns after a Crash rule.
var ErrCrashed = errors.New("the machine has crashed")

// Rule does something to operations. Without Ops it is about every operation that changes something.
type Rule struct {
	Ops  []Op
	Path string // a part of the name; empty is any
	// N is the operation it hits, counted from 1 among those it is about; 0 hits all of them from the first on, until Lift.
	N int
	// Err is what the operation returns.
	Err error
	// Short makes a write write half its bytes first.
	Short bool
	// Lost makes a sync that returns Err lose what it should have made durable, though it can still be read: no later sync does it, unless it is written once more. So does
	// Linux, which takes pages that it could not write for clean. It is for files of a Mem.
	Lost bool
	// Delay is waited before the operation.
	Delay time.Duration
	// Crash makes this and every later operation of the whole file system return ErrCrashed.
	Crash bool

	seen   int
	lifted bool
}

// Faulty is a file system with faults.
type Faulty struct {
	under FS
	mu    struct {
		sync.Mutex
		rules   []*Rule
		changes int
		crashed bool
	}
}

// Fault puts rules over under.
func Fault(under FS, rules ...*Rule) *Faulty {
	f := &Faulty{under: under}
	f.mu.rules = rules
	return f
}

// Add puts one more rule.
func (f *Faulty) Add(r *Rule) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.mu.rules = append(f.mu.rules, r)
}

// Lift ends a rule.
func (f *Faulty) Lift(r *Rule) {
	f.mu.Lock()
	defer f.mu.Unlock()
	r.lifted = true
}

// Changes is the number of operations so far that change something.
func (f *Faulty) Changes() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.mu.changes
}

// Crashed tells whether a Crash rule has struck.
func (f *Faulty) Crashed() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.mu.crashed
}

// verdict is what the rules make of one operation.
type verdict struct {
	err   error
	short bool
	lost  bool
	delay time.Duration
}

func (f *Faulty) judge(op Op, name string) verdict {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.mu.crashed {
		return verdict{err: ErrCrashed}
	}
	if !op.reads() {
		f.mu.changes++
	}
	var v verdict
	for _, r := range f.mu.rules {
		about := slices.Contains(r.Ops, op) || len(r.Ops) == 0 && !op.reads()
		if r.lifted || !about || !strings.Contains(name, r.Path) {
			continue
		}
		if r.seen++; r.N != 0 && r.seen != r.N {
			continue
		}
		v.delay += r.Delay
		if r.Crash {
			f.mu.crashed = true
			v.err, v.short = ErrCrashed, r.Short
		}
		if r.Err != nil && v.err == nil {
			v.err, v.short, v.lost = r.Err, r.Short, r.Lost
		}
	}
	return v
}

// apply waits and returns the error the operation has to return instead of being done.
func (f *Faulty) apply(op Op, opName, name string) error {
	return f.judge(op, name).apply(opName, name)
}

func (v verdict) apply(opName, name string) error {
	if v.delay > 0 {
		time.Sleep(v.delay)
	}
	if v.err != nil {
		return &fs.PathError{Op: opName, Path: name, Err: v.err}
	}
	return nil
}

func (f *Faulty) file(file File, err error, name string) (File, error) {
	if err != nil {
		return nil, err
	}
	return &faultyFile{File: file, fs: f, name: name}, nil
}

// Create implements FS.
func (f *Faulty) Create(name string) (File, error) {
	if err := f.apply(OpCreate, "create", name); err != nil {
		return nil, err
	}
	file, err := f.under.Create(name)
	return f.file(file, err, name)
}

// Open implements FS.
func (f *Faulty) Open(name string) (File, error) {
	if err := f.apply(OpOpen, "open", name); err != nil {
		return nil, err
	}
	file, err := f.under.Open(name)
	return f.file(file, err, name)
}

// OpenReadWrite implements FS.
func (f *Faulty) OpenReadWrite(name string) (File, error) {
	if err := f.apply(OpOpen, "open", name); err != nil {
		return nil, err
	}
	file, err := f.under.OpenReadWrite(name)
	return f.file(file, err, name)
}

// Remove implements FS.
func (f *Faulty) Remove(name string) error {
	if err := f.apply(OpRemove, "remove", name); err != nil {
		return err
	}
	return f.under.Remove(name)
}

// RemoveAll implements FS.
func (f *Faulty) RemoveAll(name string) error {
	if err := f.apply(OpRemove, "remove", name); err != nil {
		return err
	}
	return f.under.RemoveAll(name)
}

// Rename implements FS; rules see the new name.
func (f *Faulty) Rename(oldname, newname string) error {
	if err := f.apply(OpRename, "rename", newname); err != nil {
		return err
	}
	return f.under.Rename(oldname, newname)
}

// MkdirAll implements FS.
func (f *Faulty) MkdirAll(dir string) error {
	if err := f.apply(OpMkdir, "mkdir", dir); err != nil {
		return err
	}
	return f.under.MkdirAll(dir)
}

// List implements FS.
func (f *Faulty) List(dir string) ([]string, error) {
	if err := f.apply(OpList, "list", dir); err != nil {
		return nil, err
	}
	return f.under.List(dir)
}

// Stat implements FS.
func (f *Faulty) Stat(name string) (fs.FileInfo, error) {
	if err := f.apply(OpStat, "stat", name); err != nil {
		return nil, err
	}
	return f.under.Stat(name)
}

// SyncDir implements FS.
func (f *Faulty) SyncDir(dir string) error {
	if err := f.apply(OpSyncDir, "sync", dir); err != nil {
		return err
	}
	return f.under.SyncDir(dir)
}

// Lock implements FS.
func (f *Faulty) Lock(name string) (io.Closer, error) {
	if err := f.apply(OpLock, "lock", name); err != nil {
		return nil, err
	}
	return f.under.Lock(name)
}

// Usage implements FS.
func (f *Faulty) Usage(dir string) (total, free uint64, err error) { return f.under.Usage(dir) }

type faultyFile struct {
	File
	fs   *Faulty
	name string
}

func (f *faultyFile) ReadAt(p []byte, off int64) (int, error) {
	if err := f.fs.apply(OpRead, "read", f.name); err != nil {
		return 0, err
	}
	return f.File.ReadAt(p, off)
}

func (f *faultyFile) CopyTo(w io.Writer, off, n int64) (int64, error) {
	if err := f.fs.apply(OpRead, "read", f.name); err != nil {
		return 0, err
	}
	return f.File.CopyTo(w, off, n)
}

func (f *faultyFile) WriteAt(p []byte, off int64) (int, error) {
	return f.WriteVecAt([][]byte{p}, off)
}

func (f *faultyFile) WriteVecAt(bufs [][]byte, off int64) (int, error) {
	v := f.fs.judge(OpWrite, f.name)
	if v.delay > 0 {
		time.Sleep(v.delay)
	}
	if v.err == nil {
		return f.File.WriteVecAt(bufs, off)
	}
	failed := &fs.PathError{Op: "write", Path: f.name, Err: v.err}
	if !v.short {
		return 0, failed
	}
	all := slices.Concat(bufs...)
	n, err := f.File.WriteAt(all[:len(all)/2], off)
	return n, errors.Join(failed, err)
}

func (f *faultyFile) Truncate(size int64) error {
	if err := f.fs.apply(OpTruncate, "truncate", f.name); err != nil {
		return err
	}
	return f.File.Truncate(size)
}

func (f *faultyFile) Sync() error {
	v := f.fs.judge(OpSync, f.name)
	if err := v.apply("sync", f.name); err != nil {
		if m, ok := f.File.(*memFile); ok && v.lost {
			m.lose()
		}
		return err
	}
	return f.File.Sync()
}
