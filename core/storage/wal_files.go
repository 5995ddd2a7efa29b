package storage

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"path"
	"slices"
	"sync"

	"github.com/milldam/milldam/core/vfs"
)

// wal is the set of write-ahead log files: the one that is written, those that are full and wait until what they hold is in segments, and
// those that are free to be used again.
type wal struct {
	fs        vfs.FS
	dir       string
	fileBytes int64
	keep      int

	active   *walFile   // the committer's
	previous int64      // where the file in front of the next one ends, if that is synced
	ended    []*walFile // the committer's: full, but their round is not advanced yet

	mu struct {
		sync.Mutex
		free, full   []*walFile
		files        int // of all
		nextNumber   uint64
		nextSequence uint64
	}
}

// openWAL opens the files that are there. Those with records are in full, in the order they were written; there is no active one yet.
func openWAL(o Options) (*wal, error) {
	w := &wal{fs: o.FS, dir: path.Join(o.Dir, walDir), fileBytes: o.WALFileBytes, keep: o.WALFiles}
	w.mu.nextNumber, w.mu.nextSequence = 1, 1
	if err := w.fs.MkdirAll(w.dir); err != nil {
		return nil, err
	}
	if err := w.fs.SyncDir(w.dir); err != nil { // a file that a former life did not come to sync the name of is used now
		return nil, err
	}
	names, err := w.fs.List(w.dir)
	if err != nil {
		return nil, err
	}
	for _, name := range names {
		number, ok := walNumber(name)
		if !ok {
			continue
		}
		f, err := w.fs.OpenReadWrite(path.Join(w.dir, name))
		if err != nil {
			return nil, errors.Join(err, w.close())
		}
		header := make([]byte, walHeaderBytes)
		n, _ := f.ReadAt(header, 0) // a file too short for a header has none
		size, err := f.Size()
		if err != nil {
			return nil, errors.Join(err, f.Close(), w.close())
		}
		file := &walFile{name: name, file: f, made: size}
		file.sequence, file.previous = parseWALHeader(header[:n])
		file.torn = file.sequence == 0 && bytes.ContainsFunc(header[:n], func(r rune) bool { return r != 0 })
		if file.sequence == 0 {
			w.mu.free = append(w.mu.free, file)
		} else {
			w.mu.full = append(w.mu.full, file)
		}
		w.mu.files++
		w.mu.nextNumber = max(w.mu.nextNumber, number+1)
		w.mu.nextSequence = max(w.mu.nextSequence, file.sequence+1)
	}
	slices.SortFunc(w.mu.full, bySequence)
	return w, nil
}

func bySequence(a, b *walFile) int { return cmp.Compare(a.sequence, b.sequence) }

// next makes another file the active one: a free one, or a new one that grows as it is written, so that the committer never waits for a file
// to be pre-written. sync makes the end of the old file durable first.
func (w *wal) next(sync bool) error {
	if w.active != nil {
		if err := w.active.end(sync); err != nil {
			return err
		}
		if w.previous = 0; sync {
			w.previous = w.active.size
		}
		w.ended = append(w.ended, w.active)
		w.active = nil
	}
	w.mu.Lock()
	sequence := w.mu.nextSequence
	w.mu.nextSequence++
	var file *walFile
	if len(w.mu.free) > 0 {
		file, w.mu.free = w.mu.free[0], w.mu.free[1:]
	}
	w.mu.Unlock()
	if file == nil {
		var err error
		if file, err = w.make(0); err != nil {
			return err
		}
	}
	w.active = file
	return file.begin(sequence, w.previous)
}

// hasFree tells whether next has a file that is there.
func (w *wal) hasFree() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.mu.free) > 0
}

// make makes one more file, of which size bytes are pre-written.
func (w *wal) make(size int64) (*walFile, error) {
	w.mu.Lock()
	name := walName(w.mu.nextNumber)
	w.mu.nextNumber++
	w.mu.files++
	w.mu.Unlock()
	return makeWALFile(w.fs, w.dir, name, size)
}

// publish hands the files that ended to the flusher. The committer calls it when their rounds are advanced.
func (w *wal) publish() {
	if len(w.ended) == 0 {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.mu.full = append(w.mu.full, w.ended...)
	w.ended = nil
}

// state tells what there is to do: files to be made, or full ones to be freed.
func (w *wal) state() (free, full, files int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.mu.free), len(w.mu.full), w.mu.files
}

// prepare pre-writes one more free file.
func (w *wal) prepare() error {
	f, err := w.make(w.fileBytes)
	if err != nil {
		return err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.mu.free = append(w.mu.free, f)
	return nil
}

// fullUpTo returns the sequence of the newest full file, 0 when there is none.
func (w *wal) fullUpTo() uint64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	if n := len(w.mu.full); n > 0 {
		return w.mu.full[n-1].sequence
	}
	return 0
}

// release frees the full files up to sequence, whose records nobody needs any more, and removes those above the number that is kept. A released file keeps its old
// sequence in its header until it is begun again: its records are replayed after a crash, and skipped as known.
func (w *wal) release(sequence uint64) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	for len(w.mu.full) > 0 && w.mu.full[0].sequence <= sequence {
		f := w.mu.full[0]
		w.mu.full = w.mu.full[1:]
		if w.mu.files <= w.keep {
			w.mu.free = append(w.mu.free, f)
			continue
		}
		w.mu.files--
		if err := errors.Join(f.file.Close(), w.fs.Remove(path.Join(w.dir, f.name))); err != nil {
			return fmt.Errorf("remove write-ahead log file %s: %w", f.name, err)
		}
	}
	return nil
}

func (w *wal) close() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	var err error
	for _, f := range slices.Concat(w.mu.free, w.mu.full, w.ended, []*walFile{w.active}) {
		if f != nil {
			err = errors.Join(err, f.file.Close())
		}
	}
	w.mu.free, w.mu.full, w.ended, w.active = nil, nil, nil, nil
	return err
}
