package file

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"syscall"

	"github.com/milldam/milldam/connect"
	"github.com/milldam/milldam/core/vfs"
)

// appendFile is a file of whole, synced lines.
type appendFile struct {
	fs   vfs.FS
	path string
	log  *slog.Logger
	lock io.Closer
	file vfs.File // nil after a failure: it is opened again

	size   int64 // of what is synced
	failed bool  // bytes behind size may be there, of a write or sync that failed
}

// open makes and locks the file, and cuts half a line off its end.
func (a *appendFile) open() error {
	info, err := a.fs.Stat(a.path)
	switch {
	case err == nil && info.IsDir():
		return connect.Permanent(fmt.Errorf("%s is a folder; set sink.file.path to a file in it, as in %s", a.path, filepath.Join(a.path, "out.ndjson")))
	case err == nil && !info.Mode().IsRegular():
		return connect.Permanent(fmt.Errorf("%s is no regular file; `sink: {stdout: {}}` writes to the terminal", a.path))
	}
	if err := a.makeFolder(filepath.Dir(a.path)); err != nil {
		return a.explain("make the folder of", err)
	}
	if a.lock == nil {
		lock, err := a.fs.Lock(a.path + ".lock")
		var held *vfs.LockedError
		if errors.As(err, &held) && held.PID == os.Getpid() {
			return fmt.Errorf("%s is written by another pipeline; end that one, or choose another sink.file.path", a.path)
		}
		if errors.As(err, &held) {
			return fmt.Errorf("%s is written by process %d; end that one, or choose another sink.file.path", a.path, held.PID)
		}
		if err != nil {
			return a.explain("lock", err)
		}
		a.lock = lock
	}
	return a.reopen()
}

// makeFolder makes dir, durably, with its parents.
func (a *appendFile) makeFolder(dir string) error {
	if _, err := a.fs.Stat(dir); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	parent := filepath.Dir(dir)
	if err := a.makeFolder(parent); err != nil {
		return err
	}
	if err := a.fs.MkdirAll(dir); err != nil {
		return err
	}
	return a.fs.SyncDir(parent)
}

// reopen opens the file; bytes of a failed write are cut off it.
func (a *appendFile) reopen() error {
	f, err := a.fs.OpenReadWrite(a.path)
	if errors.Is(err, fs.ErrNotExist) {
		f, err = a.fs.Create(a.path)
		a.failed = false
	}
	if err == nil {
		err = a.fs.SyncDir(filepath.Dir(a.path)) // also of a file that was there: the one that made it may have crashed before
	}
	if err == nil {
		err = a.trim(f)
	}
	if err != nil {
		if f != nil {
			err = errors.Join(err, f.Close())
		}
		return a.explain("open", err)
	}
	a.file = f
	return nil
}

// trim cuts off what is no whole line, and what a failed write left.
func (a *appendFile) trim(f vfs.File) error {
	size, err := f.Size()
	if err != nil {
		return err
	}
	keep, ending := size, []byte(nil)
	if a.failed && size >= a.size {
		keep = a.size
	} else if keep, ending, err = wholeLines(f, size); err != nil {
		return err
	}
	if keep < size {
		a.log.Warn("cut what a write that did not end left behind the last whole line; it is written again", "path", a.path, "bytes", size-keep)
		if err := f.Truncate(keep); err != nil {
			return err
		}
	}
	if _, err := f.WriteAt(ending, keep); err != nil {
		return err
	}
	if keep < size || len(ending) > 0 {
		if err := f.Sync(); err != nil {
			return err
		}
	}
	a.size, a.failed = keep+int64(len(ending)), false
	return nil
}

// maxCutBytes is the longest half line that is cut: a file that ends in more is none that this sink wrote.
const maxCutBytes = 16 << 20

// wholeLines returns the length of the whole lines of a file, and what is missing behind them: a last line that is JSON lacks only its end.
func wholeLines(f io.ReaderAt, size int64) (keep int64, ending []byte, err error) {
	var tail []byte
	for span := int64(4 << 10); ; span *= 8 {
		span = min(span, size, maxCutBytes+1)
		tail = make([]byte, span)
		if _, err := f.ReadAt(tail, size-span); err != nil && !errors.Is(err, io.EOF) {
			return 0, nil, err
		}
		end := bytes.LastIndexByte(tail, '\n')
		tail = tail[end+1:]
		if end >= 0 || span == size {
			break
		}
		if span > maxCutBytes {
			return 0, nil, connect.Permanent(fmt.Errorf("it ends in a line of more than %d bytes, so it is no file of lines; choose another sink.file.path", maxCutBytes))
		}
	}
	if len(tail) > 0 && json.Valid(tail) {
		return size, []byte{'\n'}, nil
	}
	return size - int64(len(tail)), nil, nil
}

// append writes lines behind the others and syncs them. After an error nothing of them counts.
func (a *appendFile) append(texts [][]byte) error {
	if a.file != nil && !a.untouched() {
		a.log.Warn("the file was moved, removed or written by others; it is opened again", "path", a.path)
		if err := a.give(); err != nil {
			return err
		}
	}
	if a.file == nil {
		if err := a.open(); err != nil {
			return err
		}
	}
	n, err := a.file.WriteVecAt(texts, a.size)
	if err == nil {
		err = a.file.Sync()
	}
	if err != nil {
		// A sync is not tried again, since it would say that all is well: the lines themselves are written again, over what is there.
		a.failed = true
		return errors.Join(a.explain("write", err), a.give())
	}
	a.size += int64(n)
	return nil
}

// untouched tells whether the file at path is as it was left.
func (a *appendFile) untouched() bool {
	info, err := a.fs.Stat(a.path)
	return err == nil && info.Size() == a.size
}

// give closes the file; the lock stays.
func (a *appendFile) give() error {
	f := a.file
	a.file = nil
	return f.Close()
}

func (a *appendFile) close() error {
	var errs []error
	if a.file != nil {
		errs = append(errs, a.give())
	}
	if a.lock != nil {
		errs = append(errs, a.lock.Close())
		a.lock = nil
	}
	return errors.Join(errs...)
}

// explain says what to do about an error of the file system.
func (a *appendFile) explain(what string, err error) error {
	err = fmt.Errorf("%s %s: %w", what, a.path, err)
	switch {
	case errors.Is(err, fs.ErrPermission), errors.Is(err, syscall.EROFS):
		return connect.Permanent(fmt.Errorf("%w; let the user that runs milldam write there, or choose another sink.file.path", err))
	case errors.Is(err, syscall.ENOTDIR), errors.Is(err, syscall.EISDIR), errors.Is(err, syscall.ENAMETOOLONG):
		return connect.Permanent(fmt.Errorf("%w; correct sink.file.path", err))
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return fmt.Errorf("%w; make room there, and it goes on by itself", err)
	}
	return err
}
