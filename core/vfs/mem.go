package vfs

import (
	"errors"
	"io"
	"io/fs"
	"path"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Mem is a file system in memory. It tells what has been synced from what has not; see CrashClone. The zero value is not usable; NewMem makes one.
type Mem struct {
	mu struct {
		sync.Mutex
		root     *memNode
		locks    map[string]bool
		capacity int64 // bytes; 0 is no limit
		used     int64
	}
}

// memNode is a file or a directory.
type memNode struct {
	modified time.Time

	entries, synced map[string]*memNode // of a directory: as it is, and as SyncDir last saw it; nil for a file

	data    []byte   // of a file, as it is
	durable []byte   // as Sync last saw it
	pending []change // what was done since, in order
}

// change is one write or, when data is nil, one truncation to off.
type change struct {
	off  int64
	data []byte
}

// defaultCapacity is what Usage reports of a Mem without a limit.
const defaultCapacity = 16 << 30

// NewMem returns an empty file system.
func NewMem() *Mem {
	m := &Mem{}
	m.mu.root = newDir()
	m.mu.locks = map[string]bool{}
	return m
}

func newDir() *memNode {
	return &memNode{modified: time.Now(), entries: map[string]*memNode{}, synced: map[string]*memNode{}}
}

func (n *memNode) isDir() bool { return n.entries != nil }

// SetCapacity limits the sum of all file sizes, in bytes; what would pass it fails with ENOSPC. 0 is no limit.
func (m *Mem) SetCapacity(bytes int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.mu.capacity = bytes
}

// split returns the parts of a name; relative and absolute names are the same.
func split(name string) []string {
	name = strings.Trim(path.Clean("/"+name), "/")
	if name == "" {
		return nil
	}
	return strings.Split(name, "/")
}

func pathError(op, name string, err error) error { return &fs.PathError{Op: op, Path: name, Err: err} }

// findLocked returns the node called name.
func (m *Mem) findLocked(op, name string) (*memNode, error) {
	n := m.mu.root
	for _, part := range split(name) {
		if n = n.entries[part]; n == nil {
			return nil, pathError(op, name, fs.ErrNotExist)
		}
	}
	return n, nil
}

// parentLocked returns the directory that holds name, and the last part of name.
func (m *Mem) parentLocked(op, name string) (*memNode, string, error) {
	parts := split(name)
	if len(parts) == 0 {
		return nil, "", pathError(op, name, fs.ErrInvalid)
	}
	dir, err := m.findLocked(op, path.Join(parts[:len(parts)-1]...))
	if err == nil && !dir.isDir() {
		err = pathError(op, name, syscall.ENOTDIR)
	}
	if err != nil {
		return nil, "", pathError(op, name, errors.Unwrap(err))
	}
	return dir, parts[len(parts)-1], nil
}

func (m *Mem) fileLocked(op, name string) (*memNode, error) {
	n, err := m.findLocked(op, name)
	if err == nil && n.isDir() {
		err = pathError(op, name, syscall.EISDIR)
	}
	return n, err
}

// Create implements FS.
func (m *Mem) Create(name string) (File, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	dir, base, err := m.parentLocked("create", name)
	if err != nil {
		return nil, err
	}
	n := dir.entries[base]
	switch {
	case n == nil:
		n = &memNode{modified: time.Now()}
		dir.entries[base] = n
	case n.isDir():
		return nil, pathError("create", name, syscall.EISDIR)
	default:
		m.resizeLocked(n, 0)
	}
	return &memFile{fs: m, node: n, name: name, writable: true}, nil
}

// Open implements FS.
func (m *Mem) Open(name string) (File, error) { return m.open(name, false) }

// OpenReadWrite implements FS.
func (m *Mem) OpenReadWrite(name string) (File, error) { return m.open(name, true) }

func (m *Mem) open(name string, writable bool) (File, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	n, err := m.fileLocked("open", name)
	if err != nil {
		return nil, err
	}
	return &memFile{fs: m, node: n, name: name, writable: writable}, nil
}

// Remove implements FS.
func (m *Mem) Remove(name string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	dir, base, err := m.parentLocked("remove", name)
	if err != nil {
		return err
	}
	n := dir.entries[base]
	switch {
	case n == nil:
		return pathError("remove", name, fs.ErrNotExist)
	case n.isDir() && len(n.entries) > 0:
		return pathError("remove", name, syscall.ENOTEMPTY)
	}
	m.unlinkLocked(dir, base)
	return nil
}

// RemoveAll implements FS.
func (m *Mem) RemoveAll(name string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	dir, base, err := m.parentLocked("remove", name)
	if errors.Is(err, fs.ErrNotExist) || err == nil && dir.entries[base] == nil {
		return nil
	}
	if err != nil {
		return err
	}
	m.unlinkLocked(dir, base)
	return nil
}

func (m *Mem) unlinkLocked(dir *memNode, base string) {
	var free func(n *memNode)
	free = func(n *memNode) {
		m.mu.used -= int64(len(n.data))
		for _, child := range n.entries {
			free(child)
		}
	}
	free(dir.entries[base])
	delete(dir.entries, base)
	dir.modified = time.Now()
}

// Rename implements FS.
func (m *Mem) Rename(oldname, newname string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	from, fromBase, err := m.parentLocked("rename", oldname)
	if err != nil {
		return err
	}
	to, toBase, err := m.parentLocked("rename", newname)
	if err != nil {
		return err
	}
	n, target := from.entries[fromBase], to.entries[toBase]
	switch {
	case n == nil:
		return pathError("rename", oldname, fs.ErrNotExist)
	case n == target:
		return nil
	case target != nil && target.isDir() && (!n.isDir() || len(target.entries) > 0):
		return pathError("rename", newname, syscall.ENOTEMPTY)
	case target != nil:
		m.unlinkLocked(to, toBase)
	}
	delete(from.entries, fromBase)
	to.entries[toBase] = n
	return nil
}

// MkdirAll implements FS.
func (m *Mem) MkdirAll(dir string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	n := m.mu.root
	for _, part := range split(dir) {
		child := n.entries[part]
		if child == nil {
			child = newDir()
			n.entries[part] = child
		}
		if !child.isDir() {
			return pathError("mkdir", dir, syscall.ENOTDIR)
		}
		n = child
	}
	return nil
}

// List implements FS.
func (m *Mem) List(dir string) ([]string, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	n, err := m.findLocked("list", dir)
	if err != nil {
		return nil, err
	}
	if !n.isDir() {
		return nil, pathError("list", dir, syscall.ENOTDIR)
	}
	names := make([]string, 0, len(n.entries))
	for name := range n.entries {
		names = append(names, name)
	}
	slices.Sort(names)
	return names, nil
}

// Stat implements FS.
func (m *Mem) Stat(name string) (fs.FileInfo, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	n, err := m.findLocked("stat", name)
	if err != nil {
		return nil, err
	}
	return memInfo{name: path.Base(name), size: int64(len(n.data)), dir: n.isDir(), modified: n.modified}, nil
}

// SyncDir implements FS.
func (m *Mem) SyncDir(dir string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	n, err := m.findLocked("sync", dir)
	if err != nil {
		return err
	}
	if !n.isDir() {
		return pathError("sync", dir, syscall.ENOTDIR)
	}
	n.synced = cloneEntries(n.entries)
	return nil
}

func cloneEntries(entries map[string]*memNode) map[string]*memNode {
	c := make(map[string]*memNode, len(entries))
	for name, n := range entries {
		c[name] = n
	}
	return c
}

// Lock implements FS. The lock is held within this Mem; a clone starts without locks, as a machine does after a crash.
func (m *Mem) Lock(name string) (io.Closer, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	key := path.Join(split(name)...)
	if m.mu.locks[key] {
		return nil, &LockedError{Path: name}
	}
	dir, base, err := m.parentLocked("lock", name)
	if err != nil {
		return nil, err
	}
	if dir.entries[base] == nil {
		dir.entries[base] = &memNode{modified: time.Now()}
	}
	m.mu.locks[key] = true
	return &memLock{fs: m, key: key}, nil
}

type memLock struct {
	fs  *Mem
	key string
}

// Close gives up the lock. Idempotent.
func (l *memLock) Close() error {
	l.fs.mu.Lock()
	defer l.fs.mu.Unlock()
	delete(l.fs.mu.locks, l.key)
	return nil
}

// Usage implements FS.
func (m *Mem) Usage(string) (total, free uint64, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	capacity := m.mu.capacity
	if capacity == 0 {
		capacity = defaultCapacity
	}
	return uint64(capacity), uint64(max(0, capacity-m.mu.used)), nil
}

// roomLocked tells whether a file may grow by more bytes.
func (m *Mem) roomLocked(more int64) bool {
	return more <= 0 || m.mu.capacity == 0 || m.mu.used+more <= m.mu.capacity
}

// resizeLocked sets the length of a file and notes the change.
func (m *Mem) resizeLocked(n *memNode, size int64) {
	m.mu.used += size - int64(len(n.data))
	n.data = resized(n.data, size)
	n.pending = append(n.pending, change{off: size})
	n.modified = time.Now()
}

// resized returns data with the length size, grown with zeros.
func resized(data []byte, size int64) []byte {
	if int64(len(data)) >= size {
		clear(data[size:])
		return data[:size]
	}
	return slices.Grow(data, int(size)-len(data))[:size]
}

// memFile is one open file.
type memFile struct {
	fs       *Mem
	node     *memNode
	name     string
	writable bool
	closed   bool // guarded by fs.mu
}

// usableLocked tells why the file cannot be used for op.
func (f *memFile) usableLocked(op string, write bool) error {
	switch {
	case f.closed:
		return pathError(op, f.name, fs.ErrClosed)
	case write && !f.writable:
		return pathError(op, f.name, syscall.EBADF)
	}
	return nil
}

func (f *memFile) ReadAt(p []byte, off int64) (int, error) {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	if err := f.usableLocked("read", false); err != nil {
		return 0, err
	}
	if off < 0 {
		return 0, pathError("read", f.name, fs.ErrInvalid)
	}
	if off >= int64(len(f.node.data)) {
		if len(p) == 0 {
			return 0, nil
		}
		return 0, io.EOF
	}
	n := copy(p, f.node.data[off:])
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

func (f *memFile) WriteAt(p []byte, off int64) (int, error) { return f.WriteVecAt([][]byte{p}, off) }

func (f *memFile) WriteVecAt(bufs [][]byte, off int64) (int, error) {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	if err := f.usableLocked("write", true); err != nil {
		return 0, err
	}
	if off < 0 {
		return 0, pathError("write", f.name, fs.ErrInvalid)
	}
	written := 0
	for _, b := range bufs {
		at := off + int64(written)
		grow := at + int64(len(b)) - int64(len(f.node.data))
		if !f.fs.roomLocked(grow) {
			return written, pathError("write", f.name, syscall.ENOSPC)
		}
		if grow > 0 {
			f.fs.mu.used += grow
			f.node.data = resized(f.node.data, at+int64(len(b)))
		}
		copy(f.node.data[at:], b)
		if len(b) > 0 {
			f.node.pending = append(f.node.pending, change{off: at, data: slices.Clone(b)})
		}
		written += len(b)
	}
	f.node.modified = time.Now()
	return written, nil
}

func (f *memFile) StartSync(off, n int64) error { return nil }

func (f *memFile) CopyTo(w io.Writer, off, n int64) (int64, error) { return copyRange(w, f, off, n) }

func (f *memFile) Close() error {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	if err := f.usableLocked("close", false); err != nil {
		return err
	}
	f.closed = true
	return nil
}

func (f *memFile) Size() (int64, error) {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	if err := f.usableLocked("stat", false); err != nil {
		return 0, err
	}
	return int64(len(f.node.data)), nil
}

func (f *memFile) Truncate(size int64) error {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	if err := f.usableLocked("truncate", true); err != nil {
		return err
	}
	switch {
	case size < 0:
		return pathError("truncate", f.name, fs.ErrInvalid)
	case !f.fs.roomLocked(size - int64(len(f.node.data))):
		return pathError("truncate", f.name, syscall.ENOSPC)
	}
	f.fs.resizeLocked(f.node, size)
	return nil
}

func (f *memFile) Sync() error {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	if err := f.usableLocked("sync", false); err != nil {
		return err
	}
	for _, c := range f.node.pending {
		f.node.durable = c.applyTo(f.node.durable)
	}
	f.node.pending = nil
	return nil
}

// lose takes what was changed since the last Sync for synced, which it is not.
func (f *memFile) lose() {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	f.node.pending = nil
}

// applyTo does the change to data and returns it.
func (c change) applyTo(data []byte) []byte {
	if c.data == nil {
		return resized(data, c.off)
	}
	if end := c.off + int64(len(c.data)); end > int64(len(data)) {
		data = resized(data, end)
	}
	copy(data[c.off:], c.data)
	return data
}

// memInfo implements fs.FileInfo.
type memInfo struct {
	name     string
	size     int64
	dir      bool
	modified time.Time
}

func (i memInfo) Name() string       { return i.name }
func (i memInfo) Size() int64        { return i.size }
func (i memInfo) ModTime() time.Time { return i.modified }
func (i memInfo) IsDir() bool        { return i.dir }
func (i memInfo) Sys() any           { return nil }
func (i memInfo) Mode() fs.FileMode {
	if i.dir {
		return fs.ModeDir | dirMode
	}
	return fileMode
}
