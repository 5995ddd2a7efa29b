package storage

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/milldam/milldam/core/record"
)

// replay applies the write-ahead log.
func (r *recovery) replay(ctx context.Context, walFrom uint64) error {
	w := r.store.wal
	needed := slices.IndexFunc(w.mu.full, func(f *walFile) bool { return f.sequence >= walFrom })
	if needed < 0 {
		needed = len(w.mu.full)
	}
	w.mu.free = append(w.mu.free, w.mu.full[:needed]...)
	w.mu.full = w.mu.full[needed:]
	for i, f := range w.mu.full {
		if err := ctx.Err(); err != nil {
			return err
		}
		if i > 0 && f.sequence != w.mu.full[i-1].sequence+1 {
			return fmt.Errorf("write-ahead log file %d is missing; restore it, or restore the whole folder from a backup", w.mu.full[i-1].sequence+1)
		}
		end, ended, err := f.replay(func(h walHead, batch []byte) error { return r.apply(f.sequence, h, batch) })
		if err != nil {
			return fmt.Errorf("replay write-ahead log file %s: %w", f.name, err)
		}
		if !ended && i < len(w.mu.full)-1 && r.store.opts.Flush == FlushDurable && !r.onlyTorn(w.mu.full[i+1:]) {
			return fmt.Errorf("%w: write-ahead log file %s is damaged at byte %d; restore it, or restore the whole folder from a backup", ErrCorrupt, f.name, end)
		}
		f.size = end
		if !ended { // what is torn behind its end is over; the next crash must find a file that is whole
			if err := f.end(r.store.opts.Flush == FlushDurable); err != nil {
				return err
			}
		}
	}
	return nil
}

// onlyTorn tells whether the files hold no record: the crash came when the first of them was begun, before the end of the file in front was synced.
func (r *recovery) onlyTorn(files []*walFile) bool {
	for _, f := range files {
		some := errors.New("a record")
		if _, ended, err := f.replay(func(walHead, []byte) error { return some }); ended || err != nil {
			return false
		}
	}
	return true
}

// apply applies one record. Everything it may meet twice it skips the second time.
func (r *recovery) apply(sequence uint64, h walHead, batch []byte) error {
	r.out.WALRecords++
	s := r.store
	if h.kind == walRemove {
		return r.removeTopic(h.topic)
	}
	if r.removed[h.topic] {
		return nil
	}
	topic, config, known := s.opts.Topic(h.topic)
	if !known {
		return nil
	}
	l := s.mu.logs[logKey{h.topic, h.partition}]
	if l == nil {
		l = newLog(s, h.topic, topic, h.partition, config)
		s.mu.logs[logKey{h.topic, h.partition}] = l
	}
	if l.mu.err != nil {
		return nil
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
	if err := r.add(l, sequence, h, batch); err != nil {
		l.damaged(fmt.Errorf("replay offset %d: %w", h.offset, err))
	}
	if s.tailBytes.Load() > s.opts.TailBytes {
		return s.flushTails(s.Logs())
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
	if info, err := l.store.opts.FS.Stat(active.file(logSuffix)); err != nil {
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
		active.written, l.mu.written, l.mu.committed, l.mu.unstable = active.size, l.mu.end, l.mu.end, nil
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
		l.dropTail(ErrRemoved)
		delete(s.mu.logs, key)
		if err := l.removeFiles(); err != nil {
			return err
		}
	}
	s.mu.list = nil
	return nil
}
