package storage

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"

	"github.com/milldam/milldam/core/vfs"
)

// damagedFile, in a partition's directory, says that the partition is damaged below what was synced, and how. It is there so that no restart takes what is
// left for all there was: without it a partition whose last records decayed in the write-ahead log would give their offsets to others.
const damagedFile = "damaged"

// asideSuffix is of files with batches that came after the damage; the name is the offset of the first.
const asideSuffix = ".aside"

// damagedError keeps why a partition does not serve.
type damagedError struct {
	log    string
	dir    string
	cause  error
	closed bool // see Log.closed: no mark keeps it from serving, and there is none to remove
}

func (e *damagedError) Error() string {
	end := "tells more; delete the topic, or remove " + path.Join(e.dir, damagedFile) + " to serve what is left"
	if e.closed {
		end = "reads what is left; restore the folder from a backup, or delete the topic"
	}
	return fmt.Sprintf("%s is damaged and does not serve: %v; nothing of it was deleted, milldam log verify %s %s", e.log, e.cause, e.dir, end)
}

func (e *damagedError) Is(target error) bool { return target == ErrOffline || target == ErrDamaged }

func (e *damagedError) Unwrap() error { return e.cause }

// damaged notes while the store is opened that a log cannot serve; all others do. Its topic may still turn out to be removed, so it is told at the end.
func (l *Log) damaged(err error) {
	if l.mu.damage == nil {
		l.mu.damage = &damagedError{log: l.String(), dir: l.dir, cause: err}
	}
}

// closed notes a log of which nothing is known but its files, since those are not what was synced: it cannot even be written to.
func (l *Log) closed(err error) {
	l.mu.damage = &damagedError{l.String(), l.dir, err, true}
	l.mu.err, l.mu.segments = l.mu.damage, []*segment{{log: l, live: newIndex()}}
	l.mu.txnIndexes = nil
}

// foundDamage takes the log offline when err says that its files are not what was written. It returns the error that callers get.
func (l *Log) foundDamage(err error) error {
	if !errors.Is(err, ErrCorrupt) || errors.Is(err, ErrOffline) { // nil too
		return err
	}
	l.mu.Lock()
	first := l.mu.damage == nil
	if first {
		l.mu.damage = &damagedError{log: l.String(), dir: l.dir, cause: err}
	}
	damage := l.mu.damage
	l.mu.Unlock()
	if first {
		l.store.opts.Logger.Error("a partition is damaged and does not serve", "log", l.String(), "error", err)
		if err := l.markDamaged(err); err != nil {
			l.store.opts.Logger.Error("the damage could not be noted: a restart serves the partition again", "log", l.String(), "error", err)
		}
	}
	return damage
}

// markDamaged makes the damage known to the next start.
func (l *Log) markDamaged(cause error) error {
	text := fmt.Sprintf("%v\n", cause)
	return vfs.WriteFileAtomic(l.store.opts.FS, path.Join(l.dir, damagedFile), []byte(text))
}

// readDamage takes over what an earlier run found.
func (l *Log) readDamage(names []string) error {
	if !slices.Contains(names, damagedFile) {
		return nil
	}
	text, err := vfs.ReadFile(l.store.opts.FS, path.Join(l.dir, damagedFile))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	l.damaged(fmt.Errorf("%w: %s", ErrCorrupt, strings.TrimPrefix(strings.TrimSpace(string(text)), ErrCorrupt.Error()+": ")))
	return nil
}

// Damaged tells why the log does not serve while others do; nil when it does.
func (l *Log) Damaged() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.mu.damage
}

// Dir is the log's directory.
func (l *Log) Dir() string { return l.dir }
