package storage

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
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

// VerifyFile reads one file of a kind that KindOf knows, and changes nothing. Index files are held against the segments beside them. Of a segment every batch is
// shown to check too, unless that is nil. What stands behind the last synced byte of a running node's file, or of one that was killed, may be torn: of a
// segment that is told as damage too.
func VerifyFile(fsys vfs.FS, name string, check func(record.Batch) error) (FileReport, error) {
	out := FileReport{File: name, Kind: KindOf(name), Offset: -1}
	var err error
	switch out.Kind {
	case SegmentFile:
		if err = out.segment(fsys, name, check); err == nil {
			err = out.synced(fsys, name)
		}
	case WALFile:
		err = out.wal(fsys, name)
	default:
		err = out.entries(fsys, name)
	}
	if errors.Is(err, ErrCorrupt) || errors.Is(err, ErrBadEntries) {
		out.Damage, err = err.Error(), nil
	}
	if out.Damage != "" {
		out.Next = advice[out.Kind]
		if out.Kind == SegmentFile && unsettled(fsys, name) {
			out.Next = "it was written behind the last checkpoint: if the node was killed, start it, and it cuts what is torn and takes what was acknowledged from the write-ahead log; else " + out.Next
		}
	}
	return out, err
}

// unsettled tells whether a segment's file, or the segment beside an index, may have changed since the last checkpoint, as after a kill: its end may be torn, and what lies
// beside it may be of an earlier stop. Both are mended at the next start, as is a compaction that was not finished. Of a copy of a partition's folder that is not known.
func unsettled(fsys vfs.FS, name string) bool {
	dir := path.Dir(name)
	names, err := fsys.List(dir)
	if err == nil && slices.ContainsFunc(names, func(n string) bool { return path.Ext(n) == swapSuffix }) {
		return true
	}
	c, row, ok := rowBeside(fsys, dir)
	if !ok || !needsWAL(fsys, path.Join(dir, "..", "..", walDir), c.walFrom) {
		return false
	}
	return row == nil || fileBase(name) >= row.segment
}

// rowBeside finds the checkpoint of the store that a partition's folder is in, and what it says of the partition: nil when nothing.
func rowBeside(fsys vfs.FS, dir string) (c *checkpoint, row *checkpointLog, ok bool) {
	text, err := vfs.ReadFile(fsys, path.Join(dir, metadataFile))
	if err != nil {
		return nil, nil, false
	}
	data, err := vfs.ReadFile(fsys, path.Join(dir, "..", "..", checkpointFile))
	if err != nil {
		return nil, nil, false
	}
	id, badID := decodeMetadata(text)
	c, badCheckpoint := decodeCheckpoint(data)
	if badID != nil || badCheckpoint != nil {
		return nil, nil, false
	}
	i := slices.IndexFunc(c.logs, func(l checkpointLog) bool {
		return l.topic == id && strings.HasSuffix(dir, fmt.Sprintf("-%d", l.partition))
	})
	if i < 0 {
		return c, nil, true
	}
	return c, &c.logs[i], true
}

// synced holds the length of the segment that was active at the last checkpoint against it.
func (r *FileReport) synced(fsys vfs.FS, name string) error {
	_, row, ok := rowBeside(fsys, path.Dir(name))
	if !ok || row == nil || path.Ext(name) != logSuffix || fileBase(name) != row.segment || r.End >= row.position {
		return nil
	}
	return fmt.Errorf("%w at position %d: it ends there, and %d bytes were synced", ErrCorrupt, r.End, row.position)
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
func (r *FileReport) wal(fsys vfs.FS, name string) (err error) {
	free := false
	if data, err := vfs.ReadFile(fsys, path.Join(path.Dir(name), "..", checkpointFile)); err == nil {
		c, err := decodeCheckpoint(data)
		free = err == nil && walSequence(fsys, name) < c.walFrom
	}
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
func (r *FileReport) entries(fsys vfs.FS, name string) error {
	rows, err := ReadEntries(fsys, name)
	r.Entries = len(rows)
	if info, failed := fsys.Stat(name); failed == nil {
		r.End = info.Size()
	}
	if err != nil {
		return err
	}
	if r.Kind != EpochsFile && unsettled(fsys, name) {
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
		err = scanFile(f, 0, size, windowBytes, func(b record.Batch, at int64) error {
			found = fn(b, at)
			return found
		})
		if found == nil && errors.Is(err, ErrCorrupt) {
			err = errUnknown
		}
	}
	return errors.Join(err, f.Close())
}
