package storage

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/milldam/milldam/core/record"
	"github.com/milldam/milldam/core/vfs"
)

// FileReport says how far a file of a data folder holds what was written.
type FileReport struct {
	File    string   `json:"file"`
	Kind    FileKind `json:"kind"`
	Batches int      `json:"batches"` // that are whole
	Entries int      `json:"entries"` // of an index, a snapshot or a checkpoint, that can be read
	End     int64    `json:"end"`     // position behind the last of them
	Offset  int64    `json:"offset"`  // behind the last batch; -1 without one
	Damage  string   `json:"damage,omitempty"`
	Next    string   `json:"next,omitempty"` // what to do about the damage
}

// Verifier reads files of data folders one by one, and changes nothing. What many of them are held against, as the checkpoint of their store, it reads once. It is for one goroutine.
type Verifier struct {
	fs     vfs.FS
	topics func(store string) map[record.TopicID]string

	stores map[string]*verifiedStore
	folder *verifiedFolder // the one whose files are read
}

// NewVerifier returns a Verifier. topics tells which topics the metadata beside a store's folder knows, nil when that cannot be told: then Missing does not look for folders.
func NewVerifier(fsys vfs.FS, topics func(store string) map[record.TopicID]string) *Verifier {
	return &Verifier{fs: fsys, topics: topics, stores: map[string]*verifiedStore{}}
}

// verifiedStore is what files of a store are held against.
type verifiedStore struct {
	dir        string
	checkpoint *checkpoint // nil when none can be read
	rows       map[logKey]*checkpointLog
	needsWAL   bool
}

// verifiedFolder is the folder of a partition.
type verifiedFolder struct {
	dir   string
	store *verifiedStore
	row   *checkpointLog // what the checkpoint says of it: nil when nothing
	known bool           // whose folder it is, and what the checkpoint says
	swap  bool           // a compaction was not finished
	ends  map[record.Offset]record.Offset
}

// store returns what is known of the store in dir.
func (v *Verifier) store(dir string) *verifiedStore {
	if s := v.stores[dir]; s != nil {
		return s
	}
	s := &verifiedStore{dir: dir}
	v.stores[dir] = s
	data, err := vfs.ReadFile(v.fs, path.Join(dir, checkpointFile))
	if err != nil {
		return s
	}
	if s.checkpoint, err = decodeCheckpoint(data); err != nil {
		s.checkpoint = nil
		return s
	}
	s.rows = make(map[logKey]*checkpointLog, len(s.checkpoint.logs))
	for i := range s.checkpoint.logs {
		l := &s.checkpoint.logs[i]
		s.rows[logKey{l.topic, l.partition}] = l
	}
	s.needsWAL = needsWAL(v.fs, path.Join(dir, walDir), s.checkpoint.walFrom)
	return s
}

// open returns what is known of a partition's folder, which need not be one.
func (v *Verifier) open(dir string) *verifiedFolder {
	if v.folder != nil && v.folder.dir == dir {
		return v.folder
	}
	f := &verifiedFolder{dir: dir, store: v.store(path.Join(dir, "..", "..")), ends: map[record.Offset]record.Offset{}}
	v.folder = f
	names, err := v.fs.List(dir)
	f.swap = err == nil && slices.ContainsFunc(names, func(n string) bool { return path.Ext(n) == swapSuffix })
	text, err := vfs.ReadFile(v.fs, path.Join(dir, metadataFile))
	if err != nil || f.store.checkpoint == nil {
		return f
	}
	id, err := decodeMetadata(text)
	partition, bad := strconv.ParseInt(dir[strings.LastIndexByte(dir, '-')+1:], 10, 32)
	if err == nil && bad == nil {
		f.row, f.known = f.store.rows[logKey{id, int32(partition)}], true
	}
	return f
}

// File reads one file of a kind that KindOf knows. Index files are held against the segments beside them. Of a segment every batch is
// shown to check too, unless that is nil. What stands behind the last synced byte of a running node's file, or of one that was killed, may be torn: of a
// segment that is told as damage too.
func (v *Verifier) File(name string, check func(record.Batch) error) (FileReport, error) {
	out := FileReport{File: name, Kind: KindOf(name), Offset: -1}
	var err error
	switch out.Kind {
	case SegmentFile:
		f := v.open(path.Dir(name))
		if err = out.segment(v.fs, name, check); err == nil {
			f.ends[fileBase(name)] = record.Offset(out.Offset)
			err = f.synced(name, out.End)
		}
	case WALFile:
		err = out.wal(v.fs, name, v.store(path.Join(path.Dir(name), "..")))
	case CheckpointFile:
		err = out.entries(v.fs, name, false)
	default:
		err = out.entries(v.fs, name, v.open(path.Dir(name)).unsettled(name))
	}
	if errors.Is(err, ErrCorrupt) || errors.Is(err, ErrBadEntries) {
		out.Damage, err = err.Error(), nil
	}
	if out.Damage != "" {
		out.Next = advice[out.Kind]
		if out.Kind == SegmentFile && v.open(path.Dir(name)).unsettled(name) {
			out.Next = "it was written behind the last checkpoint: if the node was killed, start it, and it cuts what is torn and takes what was acknowledged from the write-ahead log; else " + out.Next
		}
	}
	return out, err
}

// unsettled tells whether a segment's file, or the segment beside an index, may have changed since the last checkpoint, as after a kill: its end may be torn, and what lies
// beside it may be of an earlier stop. Both are mended at the next start, as is a compaction that was not finished. Of a copy of a partition's folder that is not known.
func (f *verifiedFolder) unsettled(name string) bool {
	if f.swap {
		return true
	}
	if !f.known || !f.store.needsWAL {
		return false
	}
	return f.row == nil || fileBase(name) >= f.row.segment
}

// synced holds the length of the segment that was active at the last checkpoint against it.
func (f *verifiedFolder) synced(name string, end int64) error {
	if f.row == nil || path.Ext(name) != logSuffix || fileBase(name) != f.row.segment || end >= f.row.position {
		return nil
	}
	return fmt.Errorf("%w at position %d: it ends there, and %d bytes were synced", ErrCorrupt, end, f.row.position)
}

// needsWAL tells whether there are write-ahead log files that the next start has to read: none after a clean stop.
func needsWAL(fsys vfs.FS, dir string, from uint64) bool {
	names, err := fsys.List(dir)
	if err != nil {
		return false
	}
	return slices.ContainsFunc(names, func(name string) bool {
		sequence := walSequence(fsys, path.Join(dir, name))
		return sequence > 0 && sequence >= from
	})
}

// walSequence is the sequence of a write-ahead log file, 0 when its header does not say it.
func walSequence(fsys vfs.FS, name string) uint64 {
	f, err := fsys.Open(name)
	if err != nil {
		return 0
	}
	defer f.Close()
	header := make([]byte, walHeaderBytes)
	n, _ := f.ReadAt(header, 0) // a file too short for a header was never begun
	sequence, _ := parseWALHeader(header[:n])
	return sequence
}

const backup = "restore the folder from a backup, or delete the topic; docs/how-to/inspect-and-repair.md has the choices"

// advice is what to do about damage in a file of a kind.
var advice = map[FileKind]string{
	SegmentFile:     backup,
	WALFile:         "start the node: it takes the partitions that lost records offline by name and serves the others; docs/how-to/inspect-and-repair.md has the choices",
	OffsetIndexFile: "nothing needs to be done: no entry is believed before its batch was looked at, and the index is built anew from the segment",
	TimeIndexFile:   "nothing needs to be done: no entry is believed before its batch was looked at, and the index is built anew from the segment",
	TxnIndexFile:    "stop the node and cut the file to a single byte: it is then built anew from the segments; do not remove it, since no file says that no transaction was aborted",
	SnapshotFile:    "nothing needs to be done: the state of the producers is built anew from the segments when it is needed",
	EpochsFile:      "stop the node and remove the file: epochs are then learnt from the batches that come, and clients that ask for older ones hear that they are not known",
	TopicIDFile:     "nothing needs to be done while the checkpoint is whole: the next start writes the file anew from it; without one the folder is moved to quarantine, which deletes nothing",
	CheckpointFile:  "nothing can be done: the next start reads all segments instead; records that were deleted from the middle of a partition's first segment may be there again",
}

func (r *FileReport) count(b record.Batch, end int64) {
	r.Batches++
	r.End, r.Offset = end, int64(b.NextOffset())
}

func (r *FileReport) segment(fsys vfs.FS, name string, check func(record.Batch) error) error {
	next := fileBase(name)
	return ReadBatches(fsys, name, func(b record.Batch, at int64) error {
		if b.BaseOffset() < next {
			return fmt.Errorf("%w at position %d: it begins at offset %d, the one in front ends at %d", ErrCorrupt, at, b.BaseOffset(), next-1)
		}
		if check != nil {
			if err := check(b); err != nil {
				return fmt.Errorf("%w at position %d: the batch is what was written, and its records cannot be read: %w", ErrCorrupt, at, err)
			}
		}
		next = b.NextOffset()
		r.count(b, at+int64(len(b)))
		return nil
	})
}

// wal reads a write-ahead log file. One in front of the checkpoint waits to be written anew: nobody reads it, and a crash may have torn the beginning of its next life.
func (r *FileReport) wal(fsys vfs.FS, name string, store *verifiedStore) (err error) {
	free := store.checkpoint != nil && walSequence(fsys, name) < store.checkpoint.walFrom
	r.End, err = replayFile(fsys, name, func(_ int64, h walHead, batch []byte) error {
		if h.kind == walAppend {
			r.count(record.Batch(batch), 0)
		}
		return nil
	}, func(d walDamage) {
		if r.Damage == "" && !free {
			r.Damage = fmt.Sprintf("%v from byte %d to %d", ErrCorrupt, d.at, d.next)
		}
	})
	return err
}

// entries checks a small file: that it can be read, and what the segments beside it say of it, unless that is unsettled.
func (r *FileReport) entries(fsys vfs.FS, name string, unsettled bool) error {
	rows, err := ReadEntries(fsys, name)
	r.Entries = len(rows)
	if info, failed := fsys.Stat(name); failed == nil {
		r.End = info.Size()
	}
	if err != nil {
		return err
	}
	if r.Kind != EpochsFile && unsettled {
		return nil
	}
	switch r.Kind {
	case OffsetIndexFile:
		return verifyOffsets(fsys, name, rows)
	case TimeIndexFile:
		return verifyTimes(fsys, name, rows)
	case TxnIndexFile:
		return verifyTxns(fsys, name, rows)
	case EpochsFile:
		return verifyEpochs(fsys, name)
	}
	return nil
}

// headersBeside calls fn with each batch header of the segment beside an index file. At damage in the segment it ends: that is told of the segment.
func headersBeside(fsys vfs.FS, name string, fn func(b record.Batch, at int64) error) error {
	segment := name[:len(name)-len(path.Ext(name))] + logSuffix
	f, err := fsys.Open(segment)
	if errors.Is(err, fs.ErrNotExist) {
		return errUnknown // a removal that a crash cut short leaves it behind, and nothing reads it
	}
	if err != nil {
		return err
	}
	size, err := f.Size()
	if err == nil {
		var found error
		err = scanFile(f, 0, size, wholeWindow, func(b record.Batch, at int64) error {
			found = fn(b, at)
			return found
		})
		if found == nil && errors.Is(err, ErrCorrupt) {
			err = errUnknown
		}
	}
	return errors.Join(err, f.Close())
}
