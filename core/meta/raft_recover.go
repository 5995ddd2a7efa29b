package meta

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"path"
	"slices"
	"time"

	"github.com/hashicorp/raft-wal/segment"
	"github.com/hashicorp/raft-wal/types"

	"github.com/milldam/milldam/core/vfs"
)

// foundLog is the Raft log as its files are.
type foundLog struct {
	dir   string
	state stableContent
	tail  *segmentScan // of the last segment; nil when it has no file
	marks marks
}

// lookAtLog reads how far the log goes, and changes nothing. What was acknowledged and cannot be read, as far as a look at the folder tells, is ErrDamaged, by the name of the file. raft-wal itself
// would make a missing segment anew, and delete those that a missing state file does not name.
func lookAtLog(fsys vfs.FS, dir string) (*foundLog, error) {
	f := &foundLog{dir: path.Join(dir, raftDir)}
	var there bool
	var err error
	if f.state, there, err = readStable(fsys, path.Join(f.dir, stableFile)); err != nil {
		return nil, err
	}
	if f.marks, err = (&endMark{fs: fsys, name: path.Join(f.dir, endFile)}).read(); err != nil {
		return nil, err
	}
	if !there {
		return f, f.checkNew(fsys, dir)
	}
	for i, info := range f.state.Segments.Segments {
		name := path.Join(f.dir, segment.FileName(info))
		if last := i == len(f.state.Segments.Segments)-1; !last || !info.SealTime.IsZero() {
			err = checkSealed(fsys, name, info)
		} else {
			err = f.readTail(fsys, name, info)
		}
		if err != nil {
			return nil, err
		}
	}
	return f, nil
}

// checkNew is for a folder without the state file, which is the first to be written: nothing else may be there.
func (f *foundLog) checkNew(fsys vfs.FS, dir string) error {
	snapshots, err := (&snapshotStore{fs: fsys, dir: path.Join(dir, snapshotsDir)}).names()
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	names, err := fsys.List(f.dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	there := append(slices.DeleteFunc(names, func(n string) bool { return n != endFile && !isLog(n) }), snapshots...)
	if len(there) == 0 {
		return nil
	}
	return damagedFile(path.Join(f.dir, stableFile), "it is missing, and %s is there, so the cluster is not new", there[0])
}

// checkSealed is for a segment that takes no more entries. What is in it is looked at when it is read: what a snapshot took over is not.
func checkSealed(fsys vfs.FS, name string, info types.SegmentInfo) error {
	f, err := fsys.Open(name)
	if errors.Is(err, fs.ErrNotExist) {
		return damagedFile(name, "it is missing: it had the entries %d to %d", info.BaseIndex, info.MaxIndex)
	}
	if err != nil {
		return err
	}
	head := make([]byte, segmentHeaderBytes)
	n, err := f.ReadAt(head, 0)
	size, failed := f.Size()
	if err = errors.Join(ignoreEnd(err), failed, f.Close()); err != nil {
		return err
	}
	if err := (&segmentScan{data: head[:n], base: info.BaseIndex, id: info.ID}).checkHeader(); err != nil {
		return damagedFile(name, "%w", err)
	}
	if end := int64(info.IndexStart + 4*(info.MaxIndex-info.BaseIndex+1)); size < end {
		return damagedFile(name, "it is cut: it has %d bytes, and had %d at least", size, end)
	}
	return nil
}

func ignoreEnd(err error) error {
	if errors.Is(err, io.EOF) {
		return nil
	}
	return err
}

// readTail is for the segment that is written: its end may be torn, but not what was acknowledged.
func (f *foundLog) readTail(fsys vfs.FS, name string, info types.SegmentInfo) error {
	data, err := vfs.ReadFile(fsys, name)
	missing := errors.Is(err, fs.ErrNotExist)
	if err != nil && !missing {
		return err
	}
	s := scanSegment(data, info.BaseIndex, info.ID)
	s.cutTorn()
	last := s.next() - 1
	switch {
	case f.reaches(last):
	case missing:
		return damagedFile(name, "it is missing%s", f.had())
	case len(data) == 0:
		return damagedFile(name, "it is empty%s", f.had())
	default:
		return damagedFile(name, "it can be read up to entry %d%s: %w", last, f.had(), s.why())
	}
	if err := s.checkHeader(); err != nil && len(s.batches) > 0 {
		return damagedFile(name, "%w", err)
	}
	if !missing {
		f.tail = s
	}
	return nil
}

// reaches tells whether a log that ends at last has all that was acknowledged, as far as is known. Without a mark that is something, unless nobody has
// ever voted, which a voter does after its first entry.
func (f *foundLog) reaches(last uint64) bool {
	if f.marks.known {
		return last >= f.marks.last
	}
	return last > 0 || len(f.state.Values[lastVoteKey]) == 0
}

// bounds are the first and the last entry; both are 0 without one.
func (f *foundLog) bounds() (first, last uint64) {
	segments := f.state.Segments.Segments
	if len(segments) == 0 {
		return 0, 0
	}
	if n := len(segments); f.tail != nil && f.tail.next() > f.tail.base {
		last = f.tail.next() - 1
	} else if n > 1 {
		last = segments[n-2].MaxIndex
	} else {
		return 0, 0
	}
	return segments[0].MinIndex, last
}

// had tells what the log must have had.
func (f *foundLog) had() string {
	if !f.marks.known {
		return ""
	}
	return fmt.Sprintf(", and the log had entries up to %d", f.marks.last)
}

// Where raft keeps in which term it voted, and for whom.
const (
	lastVoteKey      = "LastVoteTerm"
	lastCandidateKey = "LastVoteCand"
)

// mend takes away what a crash has torn at the end of the log, and ends a segment that is full: raft-wal gets into a state in which it takes nothing any more when a crash came between the write that
// filled a segment and the note of the next one.
func (f *foundLog) mend(fsys vfs.FS, stable *stableStore, logger *slog.Logger) error {
	if f.tail == nil {
		return nil
	}
	n := len(f.state.Segments.Segments) - 1
	info := f.state.Segments.Segments[n]
	name := path.Join(f.dir, segment.FileName(info))
	if torn := int64(len(f.tail.data)) - f.tail.rest; torn > 0 {
		logger.Warn("the end of the metadata log is a write that a crash tore, and is cut", "file", name, "position", f.tail.rest, "bytes", torn)
		if err := truncate(fsys, name, f.tail.rest); err != nil {
			return fmt.Errorf("cut %s: %w", name, err)
		}
	}
	sealed := f.tail.sealed()
	if sealed == 0 {
		return nil
	}
	state := f.state.Segments
	info.SealTime, info.MaxIndex, info.IndexStart = time.Now(), f.tail.next()-1, uint64(sealed)
	next := types.SegmentInfo{ID: state.NextSegmentID, BaseIndex: info.MaxIndex + 1, MinIndex: info.MaxIndex + 1, SizeLimit: info.SizeLimit, Codec: info.Codec, CreateTime: time.Now()}
	state.Segments = append(append([]types.SegmentInfo(nil), state.Segments[:n]...), info, next)
	state.NextSegmentID++
	return stable.CommitState(state)
}

// truncate cuts a file, durably.
func truncate(fsys vfs.FS, name string, size int64) error {
	f, err := fsys.OpenReadWrite(name)
	if err != nil {
		return err
	}
	if err = f.Truncate(size); err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}
