package storage

import (
	"context"
	"fmt"
	"time"

	"github.com/milldam/milldam/core/record"
)

// Maintain makes one pass of what time asks for: retention by time and size, removal of what DeleteRecords gave up, compaction, and the look
// at the room on the disk. now is compared with the records' timestamps. The owner calls it every few seconds to minutes; it returns the first
// error, after it has been at every log.
func (s *Store) Maintain(ctx context.Context, now time.Time) error {
	s.disk.look()
	if s.Err() != nil { // which was told when it happened
		return nil
	}
	s.slabs.trim()
	first := s.disk.keep()
	for _, l := range s.Logs() {
		if err := l.sealDue(now); err != nil && first == nil && l.Err() == nil {
			first = err
		}
	}
	if err := s.checkpointSealed(); err != nil {
		return err
	}
	for _, l := range s.Logs() {
		if err := ctx.Err(); err != nil {
			return err
		}
		if l.Err() != nil {
			continue
		}
		if err := l.foundDamage(l.maintain(now)); err != nil && first == nil {
			first = fmt.Errorf("maintain %s: %w", l, err)
		}
	}
	return firstOf(s.compactDirtiest(ctx, now), first)
}

func (l *Log) maintain(now time.Time) error {
	c := l.config()
	if c.CleanupDelete {
		if err := l.retain(c, now); err != nil {
			return err
		}
	}
	if err := l.removeBelowStart(); err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.expireProducersLocked(now, c.ProducerExpiry)
	return nil
}

// expireProducersLocked forgets producers that were idle for age.
func (l *Log) expireProducersLocked(now time.Time, age time.Duration) {
	l.mu.producers.expire(now, age)
	for id := range l.mu.flushed.known { // one whose next batch is in the tail lives
		if l.mu.producers.known[id] == nil {
			delete(l.mu.flushed.known, id)
		}
	}
	for id, v := range l.mu.verifying {
		if now.Sub(v.started) >= age {
			delete(l.mu.verifying, id)
		}
	}
}

// sealedLocked tells whether a segment is whole and below the last checkpoint, so that it may be rewritten or removed.
func (l *Log) sealedLocked(s *segment) bool {
	return s.sealed && s.live == nil && s.written == s.size && s.base < l.mu.checkpointed
}

// sealDue seals the active segment where time asks for it, and writes what is left of sealed ones.
func (l *Log) sealDue(now time.Time) error {
	c := l.config()
	if c.CleanupDelete {
		if err := l.rollExpired(c, now); err != nil {
			return err
		}
	}
	if c.CleanupCompact {
		if err := l.rollForCompaction(c, now); err != nil {
			return err
		}
	}
	return l.finishSealed()
}

// finishSealed writes what is left of sealed segments: only whole ones can be removed or compacted.
func (l *Log) finishSealed() error {
	l.mu.Lock()
	unfinished := len(l.mu.segments) > 1 && l.mu.segments[len(l.mu.segments)-2].live != nil
	l.mu.Unlock()
	if !unfinished {
		return nil
	}
	return l.flushTail(nil)
}

// retain raises the log start over the segments that are too old or too much.
func (l *Log) retain(c LogConfig, now time.Time) error {
	size := l.SizeBytes()
	for _, seg := range l.sortedSegments() {
		l.mu.Lock()
		sealed, written, bytes, end := l.sealedLocked(seg), seg.written, seg.size, seg.end
		l.mu.Unlock()
		if !sealed {
			return nil
		}
		tooOld := false
		if c.Retention >= 0 && written > 0 {
			largest, err := seg.largestTimestamp(written)
			if err != nil {
				return err
			}
			tooOld = now.Sub(largest) > c.Retention
		}
		tooMuch := c.RetentionBytes >= 0 && size-bytes >= c.RetentionBytes
		if !tooOld && !tooMuch {
			return nil
		}
		size -= bytes
		l.mu.Lock()
		l.raiseStartLocked(min(end, l.mu.committed))
		l.mu.Unlock()
		l.store.opts.Logger.Info("retention removes a segment", "log", l.String(), "segment", int64(seg.base), "bytes", bytes, "too_old", tooOld)
	}
	return nil
}

// rollExpired seals the active segment when all its records are too old, or none are to be kept.
func (l *Log) rollExpired(c LogConfig, now time.Time) error {
	keepsNothing := c.RetentionBytes == 0
	if c.Retention < 0 && !keepsNothing {
		return nil
	}
	if err := l.flushTail(nil); err != nil {
		return err
	}
	l.mu.Lock()
	i := len(l.mu.segments) - 1
	p := l.placeLockedAt(i)
	idle := len(l.mu.tail) == 0 && p.written > 0
	l.mu.Unlock()
	if !idle {
		return nil
	}
	if !keepsNothing {
		largest, err := p.largestTimestamp()
		if err != nil || largest < 0 || now.Sub(time.UnixMilli(largest)) <= c.Retention {
			return err
		}
	}
	l.mu.Lock()
	if len(l.mu.tail) == 0 && len(l.mu.segments) == i+1 && l.mu.segments[i].size == p.written {
		l.rollLocked(l.mu.end)
	}
	l.mu.Unlock()
	return l.flushTail(nil) // completes the segment
}

// largestTimestamp is that of what is written of an active segment.
func (p *place) largestTimestamp() (int64, error) {
	largest := record.NoTimestamp
	if p.live != nil {
		largest = p.live.maxTimestamp
	}
	if p.liveFrom > 0 && !p.segment.dated {
		x, err := p.segment.loadOlder(p.liveFrom)
		if err != nil {
			return 0, err
		}
		largest = max(largest, x.maxTimestamp)
	}
	return largest, nil
}

// removeBelowStart deletes the segments that end at or below the log start. They go oldest first, so that a crash in between leaves no hole. Their files
// are removed at once: who reads one has it open.
func (l *Log) removeBelowStart() error {
	l.io.Lock()
	defer l.io.Unlock()
	for {
		l.mu.Lock()
		seg := l.mu.segments[0]
		removable := len(l.mu.segments) > 1 && seg.end <= l.mu.start && l.sealedLocked(seg)
		if removable {
			l.mu.segments = l.mu.segments[1:]
			l.setTxnIndexLocked(seg.base, seg.end, nil)
			l.rewrites.Add(1)
			seg.replaced.Store(true) // who is about to open it finds that its offsets are gone
		}
		l.mu.Unlock()
		if !removable {
			return nil
		}
		if err := seg.remove(); err != nil {
			l.fail(err)
			return err
		}
	}
}
