package storage

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"path"
	"sync"
	"sync/atomic"

	"github.com/milldam/milldam/core/vfs"
)

// diskGuard refuses appends before the disk is full, so that what is acknowledged still comes to its segments, and what makes room (deletions,
// retention) can be written. It works in three steps, by the bytes that are free beside what is in memory and has to be written still:
//
//   - below minFree clients are refused. Groups, transactions and metadata go on, and so do reads and deletions.
//   - below reserve the reserve file is given up: that many bytes more for those.
//   - when half of that is used too, groups and transactions are refused. What is left is for the metadata.
//
// Each ends by itself once a quarter more than its bound is free.
type diskGuard struct {
	fs      vfs.FS
	dir     string
	logger  *slog.Logger
	wanted  int64         // Options.MinFreeBytes
	reserve int64         // size of the reserve file, 0 for none
	pending *atomic.Int64 // bytes in memory that will be in segments

	io       sync.Mutex   // held by who looks; guards the two below
	reserved bool         // the reserve file is there
	told     bool         // that the file system does not say how full it is
	since    atomic.Int64 // bytes appended since somebody looked
	level    atomic.Int32
	free     atomic.Int64
	minFree  atomic.Int64
}

// Levels of a disk.
const (
	diskRoomy    int32 = iota
	diskFull           // clients are refused
	diskCritical       // groups and transactions too
)

const (
	defaultMinFree = 1 << 30
	minFreeShare   = 20 // of the disk: one part in this many, when that is more
	minFreeMost    = 4  // and at most one part in this many
	reserveMost    = 32 // one part of the disk in this many
	// lookEvery is after how many appended bytes the guard looks again; the owner calls LookAtDisk besides.
	lookEvery = 8 << 20
)

// DefaultReserveBytes is the size of the reserve file.
const DefaultReserveBytes = 64 << 20

// reserveFile holds room for what makes room.
const reserveFile = "reserve"

func newDiskGuard(o Options, pending *atomic.Int64) *diskGuard {
	return &diskGuard{fs: o.FS, dir: o.Dir, logger: o.Logger, wanted: o.MinFreeBytes, reserve: max(0, o.ReserveBytes), pending: pending}
}

// limits are the bounds on a disk of this size.
func (d *diskGuard) limits(total int64) (minFree, reserve int64) {
	minFree = d.wanted
	if minFree == 0 {
		minFree = min(max(defaultMinFree, total/minFreeShare), total/minFreeMost)
	}
	return minFree, min(d.reserve, total/reserveMost)
}

// appended notes bytes that were taken, and looks at the disk when they are many.
func (d *diskGuard) appended(bytes int) {
	if d.since.Add(int64(bytes)) < lookEvery {
		return
	}
	d.since.Store(0)
	d.look()
}

// hasRoom looks whether bytes more can be had without clients being refused for it; so they can where nobody can tell.
func (d *diskGuard) hasRoom(bytes int64) bool {
	d.look()
	minFree := d.minFree.Load()
	return minFree == 0 || d.level.Load() == diskRoomy && d.free.Load()-d.pending.Load()-bytes >= minFree
}

// look takes the disk's measure.
func (d *diskGuard) look() {
	d.io.Lock()
	defer d.io.Unlock()
	total, free, err := d.fs.Usage(d.dir)
	if err != nil {
		if !d.told {
			d.logger.Warn("how full the disk is cannot be told", "dir", d.dir, "error", err)
		}
		d.told = true
		return
	}
	minFree, reserve := d.limits(int64(total))
	left := int64(free) - d.pending.Load()
	d.free.Store(int64(free))
	d.minFree.Store(minFree)
	if left < reserve && d.reserved {
		if err := d.giveUp(); err != nil {
			d.logger.Error("the reserve cannot be given up", "file", path.Join(d.dir, reserveFile), "error", err)
		}
		left += reserve
	}
	old := d.level.Load()
	level := next(old, left, minFree, reserve/2)
	d.level.Store(level)
	switch {
	case level > old && level == diskFull:
		d.logger.Error("the disk is nearly full: produce requests are refused until there is room again", "dir", d.dir, "free_bytes", free, "wanted_bytes", minFree)
	case level > old:
		d.logger.Error("the disk is full: offset commits and transactions are refused until there is room again", "dir", d.dir, "free_bytes", free)
	case level < old && level == diskRoomy:
		d.logger.Info("there is room on the disk again: produce requests are taken", "dir", d.dir, "free_bytes", free)
	}
}

// next is the level after one look: it rises at once, and falls a quarter above its bound.
func next(old int32, left, full, critical int64) int32 {
	margin := func(level int32, bound int64) int64 {
		if old >= level {
			return bound + bound/4
		}
		return bound
	}
	switch {
	case left < margin(diskCritical, critical):
		return diskCritical
	case left < margin(diskFull, full):
		return diskFull
	}
	return diskRoomy
}

// check tells why an append is refused, if it is.
func (d *diskGuard) check(origin AppendOrigin) error {
	switch level := d.level.Load(); {
	case level == diskRoomy, level == diskFull && origin != FromClient:
		return nil
	}
	return fmt.Errorf("%w: %d bytes are free below %s and %d are to stay so; delete topics, or lower their retention, and it goes on by itself",
		ErrDiskFull, d.free.Load(), d.dir, d.minFree.Load())
}

// giveUp removes the reserve file. The caller holds io.
func (d *diskGuard) giveUp() error {
	d.reserved = false
	return ReleaseReserve(d.fs, d.dir)
}

// keep makes the reserve file where it is missing and there is room for it. It takes as long as writing it does.
func (d *diskGuard) keep() error {
	d.io.Lock()
	defer d.io.Unlock()
	total, _, err := d.fs.Usage(d.dir)
	if err != nil || d.reserved || d.level.Load() != diskRoomy {
		return nil // the look has told
	}
	_, reserve := d.limits(int64(total))
	if reserve == 0 {
		return nil
	}
	name := path.Join(d.dir, reserveFile)
	if info, err := d.fs.Stat(name); err == nil && info.Size() == reserve {
		d.reserved = true
		return nil
	}
	if err := preWrite(d.fs, name, reserve); err != nil {
		return errors.Join(fmt.Errorf("make the reserve of the disk: %w", err), d.giveUp())
	}
	d.reserved = true
	return nil
}

// ReleaseReserve removes the reserve file of the store in dir, so that it can be opened on a full disk.
func ReleaseReserve(fsys vfs.FS, dir string) error {
	if err := fsys.Remove(path.Join(dir, reserveFile)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// preWrite makes a file of size bytes whose blocks are there.
func preWrite(fsys vfs.FS, name string, size int64) error {
	f, err := fsys.Create(name)
	if err != nil {
		return err
	}
	return errors.Join(writeZeros(f, size), f.Close())
}

// writeZeros fills the first size bytes of f, durably.
func writeZeros(f vfs.File, size int64) error {
	zeros := make([]byte, min(size, zeroChunk))
	for at := int64(0); at < size; at += int64(len(zeros)) {
		if _, err := f.WriteAt(zeros[:min(size-at, int64(len(zeros)))], at); err != nil {
			return err
		}
	}
	return f.Sync()
}

// LookAtDisk looks how full the disk is, which decides whether appends are refused. The store looks by itself after some bytes; the owner calls it every
// second or so, for what others do to the disk. When they have taken the folder away, the store goes offline: what it wrote to files without a name would be gone with
// the process.
func (s *Store) LookAtDisk() {
	wal := path.Join(s.opts.Dir, walDir)
	if there, err := vfs.Exists(s.opts.FS, wal); err == nil && !there {
		s.fail(fmt.Errorf("%s is gone: somebody removed or moved the data folder", wal))
	}
	s.disk.look()
}

// DiskFull tells whether clients' appends are refused.
func (s *Store) DiskFull() bool { return s.disk.level.Load() != diskRoomy }

// DiskFree is how many bytes were free when somebody looked last, and how many are to stay so.
func (s *Store) DiskFree() (free, minFree int64) { return s.disk.free.Load(), s.disk.minFree.Load() }
