package meta

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"path"
	"runtime"
	"sync"
	"sync/atomic"

	"github.com/hashicorp/raft-wal/segment"
	"github.com/hashicorp/raft-wal/types"

	"github.com/milldam/milldam/core/vfs"
)

// walFiles is raft-wal's file system on ours.
type walFiles struct{ fs vfs.FS }

func (w walFiles) ListDir(dir string) ([]string, error) { return w.fs.List(dir) }

func (w walFiles) Create(dir, name string, _ uint64) (types.WritableFile, error) {
	full := path.Join(dir, name)
	there, err := vfs.Exists(w.fs, full)
	if err != nil {
		return nil, err
	}
	if there {
		return nil, &fs.PathError{Op: "create", Path: full, Err: fs.ErrExist}
	}
	f, err := w.fs.Create(full)
	if err != nil {
		return nil, err
	}
	return f, w.fs.SyncDir(dir)
}

func (w walFiles) Delete(dir, name string) error {
	if err := w.fs.Remove(path.Join(dir, name)); err != nil {
		return err
	}
	return w.fs.SyncDir(dir)
}

func (w walFiles) OpenReader(dir, name string) (types.ReadableFile, error) {
	return w.fs.Open(path.Join(dir, name))
}

func (w walFiles) OpenWriter(dir, name string) (types.WritableFile, error) {
	return w.fs.OpenReadWrite(path.Join(dir, name))
}

// stableStore keeps what raft must never forget (term and vote) and the list of raft-wal's segments, in one small file that is replaced as a whole.
//
// Raft panics when its term or vote cannot be written. A disk that fails must not take the process down: after raft was started a failure is told
// to onFail, and the goroutine of raft that asked ends instead of getting the error. Raft does nothing any more from then on, as it must.
type stableStore struct {
	fs      vfs.FS
	name    string
	onFail  func(error)
	running atomic.Bool // raft was started: it is raft's goroutine that calls SetStable
	mu      struct {
		sync.Mutex
		content stableContent
		err     error // the first failure: what is on disk is unknown from then on
	}
}

// stableContent is the file's content: JSON behind a header of magic 8 and checksum 4.
type stableContent struct {
	Values   map[string][]byte
	Segments types.PersistentState
}

// number is a value that raft keeps as a number, 0 when there is none.
func (c stableContent) number(key string) uint64 {
	if b := c.Values[key]; len(b) == 8 {
		return binary.LittleEndian.Uint64(b)
	}
	return 0
}

// segmentFileName is the name of a segment's file.
func segmentFileName(info types.SegmentInfo) string { return segment.FileName(info) }

const (
	stableFile  = "stable"
	stableMagic = "milldamM"
)

// ErrDamaged says that the metadata on disk is not what was written. Nothing is repaired or deleted by itself.
var ErrDamaged = errors.New("cluster metadata is damaged")

// RestoreAdvice is what to do when what was acknowledged cannot be read.
const RestoreAdvice = "restore the metadata folder from a backup; docs/how-to/inspect-and-repair.md has the choices"

// fileDamage is damage in one file; it is ErrDamaged.
type fileDamage struct {
	file string
	what error
}

func damagedFile(file, format string, args ...any) error {
	return &fileDamage{file, fmt.Errorf(format, args...)}
}

func (d *fileDamage) Error() string {
	return fmt.Sprintf("%v: %s: %v; %s", ErrDamaged, d.file, d.what, RestoreAdvice)
}

func (d *fileDamage) Is(target error) bool { return target == ErrDamaged }

func (d *fileDamage) Unwrap() error { return d.what }

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Load implements types.MetaStore.
func (s *stableStore) Load(dir string) (types.PersistentState, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.name = path.Join(dir, stableFile)
	content, _, err := readStable(s.fs, s.name)
	s.mu.content = content
	return content.Segments, err
}

// readStable reads the file; without one the content is empty.
func readStable(fsys vfs.FS, name string) (c stableContent, there bool, err error) {
	c.Values = map[string][]byte{}
	data, err := vfs.ReadFile(fsys, name)
	if errors.Is(err, fs.ErrNotExist) {
		return c, false, nil
	}
	if err != nil {
		return c, false, err
	}
	const head = len(stableMagic) + 4
	if len(data) < head || string(data[:len(stableMagic)]) != stableMagic ||
		binary.BigEndian.Uint32(data[len(stableMagic):]) != crc32.Checksum(data[head:], castagnoli) {
		return c, true, damagedFile(name, "its checksum does not hold")
	}
	if err := json.Unmarshal(data[head:], &c); err != nil {
		return c, true, damagedFile(name, "%w", err)
	}
	if c.Values == nil {
		c.Values = map[string][]byte{}
	}
	return c, true, nil
}

// fileOf is the name of the segment that an entry is in.
func (s *stableStore) fileOf(index uint64) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	name := ""
	for _, info := range s.mu.content.Segments.Segments {
		if info.BaseIndex <= index {
			name = segment.FileName(info)
		}
	}
	return name
}

// writeLocked makes the content durable.
func (s *stableStore) writeLocked() error {
	if s.mu.err != nil {
		return s.mu.err
	}
	body, err := json.Marshal(s.mu.content)
	if err != nil {
		return err
	}
	data := binary.BigEndian.AppendUint32([]byte(stableMagic), crc32.Checksum(body, castagnoli))
	if err := vfs.WriteFileAtomic(s.fs, s.name, append(data, body...)); err != nil {
		s.mu.err = fmt.Errorf("write %s: %w", s.name, err)
	}
	return s.mu.err
}

// CommitState implements types.MetaStore.
func (s *stableStore) CommitState(state types.PersistentState) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mu.content.Segments = state
	return s.writeLocked()
}

// GetStable implements types.MetaStore.
func (s *stableStore) GetStable(key []byte) ([]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.mu.content.Values[string(key)], s.mu.err
}

// SetStable implements types.MetaStore.
func (s *stableStore) SetStable(key, value []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mu.content.Values[string(key)] = value
	err := s.writeLocked()
	if err != nil && s.running.Load() {
		s.onFail(err)
		runtime.Goexit()
	}
	return err
}

// Close implements types.MetaStore.
func (s *stableStore) Close() error { return nil }
