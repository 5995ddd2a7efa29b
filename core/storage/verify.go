package storage

import (
	"errors"
	"fmt"
	"path"
	"strings"

	"github.com/milldam/milldam/core/record"
	"github.com/milldam/milldam/core/vfs"
)

// FileReport says how far a file of a data folder holds what was written.
type FileReport struct {
	File    string `json:"file"`
	Batches int    `json:"batches"` // that are whole
	End     int64  `json:"end"`     // position behind the last of them
	Offset  int64  `json:"offset"`  // behind the last of them; -1 without one
	Damage  string `json:"damage,omitempty"`
}

// CanVerify tells whether VerifyFile knows files of this name.
func CanVerify(name string) bool {
	return path.Base(name) == checkpointFile || strings.HasSuffix(name, logSuffix) || strings.HasSuffix(name, ".wal") || strings.HasSuffix(name, snapshotSuffix)
}

// VerifyFile reads one file, and changes nothing: a segment, a write-ahead log file, a producer snapshot or the checkpoint. What stands behind the last synced
// byte of a running node's file, or of one that was killed, may be torn: of a segment that is told as damage too.
func VerifyFile(fsys vfs.FS, name string) (FileReport, error) {
	out := FileReport{File: name, Offset: -1}
	var err error
	switch {
	case strings.HasSuffix(name, logSuffix):
		err = out.segment(fsys, name)
	case strings.HasSuffix(name, ".wal"):
		err = out.wal(fsys, name)
	default:
		data, failed := vfs.ReadFile(fsys, name)
		if failed != nil {
			return out, failed
		}
		out.End = int64(len(data))
		if path.Base(name) == checkpointFile {
			_, err = decodeCheckpoint(data)
		} else {
			_, err = decodeSnapshot(data)
		}
		if err != nil {
			out.Damage, err = err.Error(), nil
		}
	}
	return out, err
}

func (r *FileReport) count(b record.Batch, end int64) {
	r.Batches++
	r.End, r.Offset = end, int64(b.NextOffset())
}

func (r *FileReport) segment(fsys vfs.FS, name string) error {
	f, err := fsys.Open(name)
	if err != nil {
		return err
	}
	size, err := f.Size()
	if err == nil {
		next := record.Offset(0)
		if base, ok := segmentBase(path.Base(name), logSuffix); ok {
			next = base
		}
		err = batchesOf(f, 0, size, func(b record.Batch, at int64) error {
			if b.BaseOffset() < next {
				return fmt.Errorf("%w at position %d: it begins at offset %d, the one in front ends at %d", ErrCorrupt, at, b.BaseOffset(), next-1)
			}
			next = b.NextOffset()
			r.count(b, at+int64(len(b)))
			return nil
		})
	}
	if errors.Is(err, ErrCorrupt) {
		r.Damage, err = err.Error(), nil
	}
	return errors.Join(err, f.Close())
}

func (r *FileReport) wal(fsys vfs.FS, name string) error {
	f, err := fsys.Open(name)
	if err != nil {
		return err
	}
	header := make([]byte, walHeaderBytes)
	n, _ := f.ReadAt(header, 0) // a file too short for a header was never begun
	file := &walFile{name: name, file: f}
	if file.sequence, file.previous = parseWALHeader(header[:n]); file.sequence == 0 {
		return f.Close()
	}
	reading := &walReplay{file: file,
		record: func(h walHead, batch []byte) error {
			if h.kind == walAppend {
				r.count(record.Batch(batch), 0)
			}
			return nil
		},
		damaged: func(d walDamage) error {
			if r.Damage == "" {
				r.Damage = fmt.Sprintf("%v from byte %d to %d", ErrCorrupt, d.at, d.next)
			}
			return nil
		}}
	_, err = reading.run()
	r.End = reading.end
	return errors.Join(err, f.Close())
}
