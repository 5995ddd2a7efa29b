package storage

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"

	"github.com/milldam/milldam/core/record"
	"github.com/milldam/milldam/core/vfs"
)

// replay applies the write-ahead log.
func (r *recovery) replay(ctx context.Context, walFrom uint64) error {
	w := r.store.wal
	if r.scan && len(w.mu.full) > 0 {
		walFrom = w.mu.full[0].sequence
	}
	if err := r.adoptTorn(walFrom); err != nil {
		return err
	}
	if r.scan && len(w.mu.full) > 0 {
		walFrom = lastRun(w.mu.full)
		r.store.walFrom = walFrom // the next checkpoint says so
	}
	needed := slices.IndexFunc(w.mu.full, func(f *walFile) bool { return f.sequence >= walFrom })
	if needed < 0 {
		needed = len(w.mu.full)
	}
	w.mu.free = append(w.mu.free, w.mu.full[:needed]...)
	w.mu.full = w.mu.full[needed:]
	durable := r.store.opts.Flush == FlushDurable
	for i, f := range w.mu.full {
		if err := ctx.Err(); err != nil {
			return err
		}
		if i > 0 && f.sequence != w.mu.full[i-1].sequence+1 {
			return fmt.Errorf("write-ahead log file %d is missing; restore it, or restore the whole folder from a backup", w.mu.full[i-1].sequence+1)
		}
		until := int64(0)
		if i+1 < len(w.mu.full) {
			until = w.mu.full[i+1].previous
		}
		reading := &walReplay{file: f, until: until,
			record:  func(h walHead, batch []byte) error { return r.apply(f.sequence, h, batch) },
			damaged: func(d walDamage) error { return r.damagedRecord(f, d) }}
		ended, err := reading.run()
		if err != nil {
			return fmt.Errorf("replay write-ahead log file %s: %w", f.name, err)
		}
		f.size = reading.end
		if !ended { // what is torn behind its end is over; the next crash must find a file that is whole
			if durable {
				if err := f.rewrite(reading.synced); err != nil {
					return fmt.Errorf("write the end of write-ahead log file %s once more: %w", f.name, err)
				}
			}
			if err := f.end(durable); err != nil {
				return err
			}
		}
		if w.previous = 0; durable || ended && until > 0 {
			w.previous = f.size
		}
	}
	return nil
}

// lastRun is the first of the sequences that follow one another up to the last. Without a checkpoint it is where to begin: files are given back in their order, so one that is
// not there was used again, and so may have been all in front of it, which keep their sequence until then. What else is missing, the positions of later records tell.
func lastRun(full []*walFile) uint64 {
	i := len(full) - 1
	for i > 0 && full[i-1].sequence+1 == full[i].sequence {
		i--
	}
	return full[i].sequence
}

// adoptTorn takes back the files whose header decayed: they hold records of a sequence that is missing, or of the next one.
func (r *recovery) adoptTorn(walFrom uint64) error {
	w := r.store.wal
	for _, sequence := range missingSequences(w.mu.full, walFrom) {
		for i, f := range w.mu.free {
			if f.sequence != 0 {
				continue
			}
			f.sequence = sequence
			there, err := f.any()
			if err != nil {
				return err
			}
			if !there {
				f.sequence = 0
				continue
			}
			r.store.opts.Logger.Warn("the header of a write-ahead log file is damaged; what is in it tells its place", "file", path.Join(w.dir, f.name), "sequence", sequence)
			w.mu.free = slices.Delete(w.mu.free, i, i+1)
			w.mu.full = append(w.mu.full, f)
			w.mu.nextSequence = max(w.mu.nextSequence, sequence+1)
			break
		}
	}
	slices.SortFunc(w.mu.full, bySequence)
	return nil
}

// missingSequences are those from walFrom on that the files leave out, and the next one.
func missingSequences(full []*walFile, walFrom uint64) []uint64 {
	var missing []uint64
	next := walFrom
	for _, f := range full {
		if f.sequence < walFrom {
			continue
		}
		for ; next < f.sequence; next++ {
			if missing = append(missing, next); len(missing) > len(full)+1 { // more than decay explains
				return missing
			}
		}
		next = f.sequence + 1
	}
	return append(missing, next)
}

// damagedRecord takes the partition offline whose batch was damaged in the write-ahead log. Where it cannot be told whose it was, any partition may
// have lost what was acknowledged, so none may serve.
func (r *recovery) damagedRecord(f *walFile, d walDamage) error {
	name := path.Join(r.store.wal.dir, f.name)
	switch {
	case d.mended:
		r.store.opts.Logger.Warn("a flipped bit in the write-ahead log was mended", "file", name, "position", d.at)
		return nil
	case d.head == nil:
		return fmt.Errorf("%w: it is damaged from byte %d to %d, and it cannot be told which partitions have lost records there; restore the folder from a "+
			"backup, or see what is left with: milldam log verify %s", ErrCorrupt, d.at, d.next, name)
	}
	l := r.logOf(*d.head)
	if l == nil || d.head.offset < l.mu.end {
		return nil
	}
	l.damaged(fmt.Errorf("%w: write-ahead log file %s, byte %d: the batch at offset %d is damaged", ErrCorrupt, name, d.at, d.head.offset))
	return nil
}

// logOf returns the log that a record is of, nil when its topic is gone.
func (r *recovery) logOf(h walHead) *Log {
	s := r.store
	if r.removed[h.topic] {
		return nil
	}
	key := logKey{h.topic, h.partition}
	if l := s.mu.logs[key]; l != nil {
		return l
	}
	topic, config, known := r.topic(h.topic)
	if !known {
		return nil
	}
	l := newLog(s, h.topic, topic, h.partition, config)
	s.mu.logs[key] = l
	return l
}

// apply applies one record. Everything it may meet twice it skips the second time.
func (r *recovery) apply(sequence uint64, h walHead, batch []byte) error {
	r.out.WALRecords++
	s := r.store
	if h.kind == walRemove {
		return r.removeTopic(h.topic)
	}
	l := r.logOf(h)
	if l == nil {
		return nil
	}
	if l.mu.err != nil || l.mu.damage != nil {
		return r.setAside(l, h, batch)
	}
	if h.kind == walLogStart {
		if h.offset <= l.mu.end {
			l.raiseStartLocked(h.offset)
		}
		return nil
	}
	if h.offset < l.mu.end {
		return nil
	}
	if err := r.add(l, sequence, h, batch); err != nil && !errors.Is(err, ErrCorrupt) {
		return err // nobody knows what is there, and nothing is lost
	} else if err != nil {
		l.damaged(fmt.Errorf("replay offset %d: %w", h.offset, err))
		return r.setAside(l, h, batch)
	}
	if s.tailMemory() > s.opts.TailBytes && s.disk.level.Load() != diskCritical { // on a full disk it waits in memory, as much as the write-ahead log has
		return s.flushTails(s.Logs())
	}
	return nil
}

// setAside keeps what the write-ahead log has of a damaged partition beside its segments: the log itself is used again.
func (r *recovery) setAside(l *Log, h walHead, batch []byte) error {
	known := l.mu.end
	if l.kept != nil {
		known = l.kept.recovered
	}
	if h.kind != walAppend || h.offset < known {
		return nil
	}
	fsys := r.store.opts.FS
	f := r.aside[l]
	if f == nil {
		name := path.Join(l.dir, offsetName(h.offset)+asideSuffix)
		if there, err := vfs.Exists(fsys, name); there || err != nil {
			return err // an earlier recovery kept it
		}
		if err := l.prepareDir(); err != nil {
			return err
		}
		file, err := fsys.Create(name)
		if err != nil {
			return err
		}
		f = &asideFile{File: file}
		r.aside[l] = f
	}
	_, err := f.WriteAt(batch, f.size)
	f.size += int64(len(batch))
	return err
}

// asideFile holds batches of a damaged partition that its log cannot have.
type asideFile struct {
	vfs.File
	size int64
}

// closeAside makes what was set aside durable.
func (r *recovery) closeAside() error {
	for l, f := range r.aside {
		if err := errors.Join(f.Sync(), f.Close()); err != nil {
			return err
		}
		if err := l.enter(); err != nil {
			return err
		}
	}
	return nil
}

// add puts a batch at the end of its log, in the segment and at the position it had.
func (r *recovery) add(l *Log, sequence uint64, h walHead, batch []byte) error {
	active := l.mu.segments[len(l.mu.segments)-1]
	if h.segment != active.base {
		if h.segment != l.mu.end || h.segment < active.base {
			return fmt.Errorf("%w: it lies in segment %d, the log is in %d", ErrCorrupt, h.segment, active.base)
		}
		active = l.rollLocked(h.segment)
	}
	if h.position != active.size || h.offset != l.mu.end && active.size > 0 && r.store.opts.Flush == FlushDurable {
		return fmt.Errorf("%w: it is at offset %d and position %d, the log ends at %d and %d", ErrCorrupt, h.offset, h.position, l.mu.end, active.size)
	}
	r.out.Replayed++
	r.out.ReplayedBytes += int64(h.length)
	if h.kind == walDirect {
		return l.addDirect(active, h)
	}
	e := l.placeLocked(bytes.Clone(batch), active)
	e.wal, e.direct = sequence, false
	l.mu.committed, l.mu.unstable = l.mu.end, nil
	return nil
}

// addDirect takes over a batch that lies in its segment already.
func (l *Log) addDirect(active *segment, h walHead) error {
	if err := l.flushTail(nil); err != nil {
		return err
	}
	end := h.position + int64(h.length)
	if info, err := l.store.opts.FS.Stat(active.file(logSuffix)); errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%w: segment %d is missing", ErrCorrupt, active.base)
	} else if err != nil {
		return err
	} else if info.Size() < end { // before memory is taken for it
		return fmt.Errorf("%w: segment %d has %d bytes, %d were synced", ErrCorrupt, active.base, info.Size(), end)
	}
	return active.batches(h.position, end, func(b record.Batch, at int64) error {
		if at != h.position || b.BaseOffset() != h.offset || len(b) != int(h.length) {
			return fmt.Errorf("%w: another batch lies at position %d of segment %d", ErrCorrupt, at, active.base)
		}
		l.placeLocked(bytes.Clone(b), active)
		l.mu.tail, l.mu.tailBytes = nil, 0
		l.store.tailBytes.Add(-int64(h.length))
		active.wroteLocked(b, active.size)
		l.mu.written, l.mu.committed, l.mu.unstable = l.mu.end, l.mu.end, nil
		l.mu.flushed.apply(b)
		return nil
	})
}

// removeTopic deletes what is left of a topic whose removal was durable.
func (r *recovery) removeTopic(id record.TopicID) error {
	r.removed[id] = true
	s := r.store
	for key, l := range s.mu.logs {
		if key.topic != id {
			continue
		}
		if f := r.aside[l]; f != nil {
			delete(r.aside, l)
			if err := f.Close(); err != nil {
				return err
			}
		}
		l.dropTail(ErrRemoved)
		delete(s.mu.logs, key)
		if err := l.removeFiles(); err != nil {
			return err
		}
	}
	s.mu.list = nil
	return nil
}
