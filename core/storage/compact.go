package storage

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/milldam/milldam/core/record"
)

// cleanable is a log that may be compacted: its segments that are clean already, then those that are dirty.
type cleanable struct {
	log    *Log
	config LogConfig
	list   []place
	// clean is the end of what an earlier round has compacted, bound the end of list.
	clean, bound record.Offset
	ratio        float64 // of dirty bytes to all
	due          bool    // whatever the ratio: max.compaction.lag.ms, or tombstones and markers whose time is over
}

// compactDirtiest compacts the logs that are dirty enough, the dirtiest first.
func (s *Store) compactDirtiest(ctx context.Context, now time.Time) error {
	var list []cleanable
	var first error
	for _, l := range s.Logs() {
		c := l.config()
		if !c.CleanupCompact || l.Err() != nil {
			continue
		}
		d, err := l.cleanable(c, now)
		if err = l.foundDamage(err); err != nil && first == nil && l.Err() == nil {
			first = fmt.Errorf("compact %s: %w", l, err)
		}
		if err == nil && (d.due || d.ratio > c.MinCleanableRatio) {
			list = append(list, d)
		}
	}
	slices.SortStableFunc(list, func(a, b cleanable) int { return cmp.Compare(b.ratio, a.ratio) })
	for i := range list {
		if err := ctx.Err(); err != nil {
			return err
		}
		l := list[i].log
		if err := l.foundDamage(l.compact(ctx, &list[i], now)); err != nil && first == nil && l.Err() == nil {
			first = fmt.Errorf("compact %s: %w", l, err)
		}
	}
	return first
}

// cleanable looks how far the log may be compacted: sealed segments below the last stable offset, up to the first that has something younger than
// min.compaction.lag.ms.
func (l *Log) cleanable(c LogConfig, now time.Time) (cleanable, error) {
	if err := l.loadTimes(c); err != nil {
		return cleanable{}, err
	}
	stable := l.LastStable()
	l.mu.Lock()
	defer l.mu.Unlock()
	d := cleanable{log: l, config: c, clean: max(l.mu.cleaned, l.mu.segments[0].base)}
	d.bound = d.clean
	var clean, dirty int64
	oldest := int64(math.MaxInt64)
	for i, s := range l.mu.segments {
		if !l.sealedLocked(s) || s.end > stable || s.end > d.clean && !oldEnough(s, c.MinCompactionLag, now) {
			break
		}
		if s.size == 0 {
			continue
		}
		d.list, d.bound = append(d.list, l.placeLockedAt(i)), max(d.bound, s.end)
		if s.end <= d.clean {
			clean += s.size
			continue
		}
		dirty += s.size
		if s.hasFirst && s.first > 0 {
			oldest = min(oldest, s.first)
		}
	}
	if dirty > 0 {
		d.ratio = float64(dirty) / float64(clean+dirty)
	}
	tooOld := c.MaxCompactionLag >= 0 && dirty > 0 && oldest < now.Add(-c.MaxCompactionLag).UnixMilli()
	d.due = tooOld || l.mu.horizon > 0 && l.mu.horizon <= now.UnixMilli() && len(d.list) > 0
	return d, nil
}

// loadTimes reads what the lags are counted from, of segments that were there when the log was opened.
func (l *Log) loadTimes(c LogConfig) error {
	for _, s := range l.sortedSegments() {
		l.mu.Lock()
		sealed, known, written := l.sealedLocked(s), s.hasFirst, s.written
		l.mu.Unlock()
		if !sealed || written == 0 {
			continue
		}
		if c.MinCompactionLag > 0 {
			if _, err := s.largestTimestamp(written); err != nil {
				return err
			}
		}
		if c.MaxCompactionLag < 0 || known {
			continue
		}
		err := s.scan(0, written, seekWindow, func(b record.Batch, _ int64) error {
			l.mu.Lock()
			defer l.mu.Unlock()
			s.first, s.hasFirst = b.MaxTimestamp(), true
			return errFound
		})
		if err != nil && !errors.Is(err, errFound) {
			return err
		}
	}
	return nil
}

// oldEnough tells whether nothing in a sealed segment is younger than lag.
func oldEnough(s *segment, lag time.Duration, now time.Time) bool {
	if lag <= 0 {
		return true
	}
	largest := s.largest.Load()
	return largest != nil && *largest <= now.Add(-lag).UnixMilli()
}

// compact keeps the latest record of each key of the sealed segments. Offsets stay. A tombstone stays for delete.retention.ms after the
// round that saw it first, and so does a transaction marker after the round that found nothing of its transaction; what was aborted goes at once.
func (l *Log) compact(ctx context.Context, d *cleanable, now time.Time) error {
	if len(d.list) == 0 {
		return nil
	}
	l.cleaning.Lock() // the log is not removed meanwhile
	defer l.cleaning.Unlock()
	aborted, err := l.Aborted(d.list[0].segment.base, d.bound)
	if err != nil {
		return err
	}
	latest, reached, err := l.latestOffsets(ctx, d, aborted)
	if err != nil {
		return err
	}
	w := &compactor{latest: latest, reached: reached, limit: l.decompressed(), now: now.UnixMilli(), horizon: now.Add(d.config.DeleteRetention).UnixMilli(),
		interval: int64(d.config.IndexIntervalBytes), txns: newTxnTracker(aborted), stop: func() error { return firstOf(ctx.Err(), l.Err()) }}
	list := d.list
	for len(list) > 0 && list[0].segment.base < max(reached, d.clean) {
		n := groupSize(list, min(d.config.SegmentBytes, maxSegmentBytes))
		if err := l.compactGroup(list[:n], w); err != nil {
			return fmt.Errorf("segment %d: %w", list[0].segment.base, err)
		}
		list = list[n:]
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.mu.cleaned = max(l.mu.cleaned, reached)
	l.mu.horizon = w.nextHorizon
	return nil
}

// groupSize is how many segments become one: as many as a segment may hold, so that what compaction left does not end up in ever more small files.
func groupSize(list []place, limit int64) int {
	n, size := 1, list[0].written
	for n < len(list) && size+list[n].written <= limit && list[n].end-list[0].segment.base <= math.MaxInt32 {
		size += list[n].written
		n++
	}
	return n
}

// latestOffsets maps each key of the dirty segments to its last offset below reached. Aborted records do not count.
func (l *Log) latestOffsets(ctx context.Context, d *cleanable, aborted []AbortedTxn) (latest keyMap, reached record.Offset, err error) {
	latest, reached = newKeyMap(), d.clean
	dirty := slices.IndexFunc(d.list, func(p place) bool { return p.end > d.clean })
	if dirty < 0 {
		return latest, reached, nil
	}
	base := d.list[dirty].segment.base
	aborted = slices.DeleteFunc(slices.Clone(aborted), func(a AbortedTxn) bool { return a.Last < base }) // whose marker does not come any more
	txns := newTxnTracker(aborted)
	for _, p := range d.list[dirty:] {
		err := p.segment.batches(0, p.written, func(b record.Batch, _ int64) error {
			if err := firstOf(ctx.Err(), l.Err()); err != nil {
				return err
			}
			if latest.len() >= l.store.opts.CompactionKeys {
				return errFound
			}
			if b.NextOffset() > reached {
				reached = b.NextOffset()
			}
			if b.IsControl() {
				txns.marker(b)
				return nil
			}
			if txns.batch(b) || b.LastOffset() < d.clean {
				return nil
			}
			return b.Each(l.decompressed(), func(r *record.Record) error {
				if r.Key != nil {
					latest.put(r.Key, r.Offset)
				}
				return nil
			})
		})
		if errors.Is(err, errFound) {
			return latest, reached, nil
		}
		if err != nil {
			return latest, 0, err
		}
		reached = max(reached, p.end)
	}
	return latest, reached, nil
}

// compactGroup writes what stays of some segments to one in their place.
func (l *Log) compactGroup(list []place, w *compactor) error {
	lastOf := l.lastOfProducers()
	out, err := l.createCleaned(list[0].segment)
	if err != nil {
		return err
	}
	w.begin(out, list[0].segment.base, list[len(list)-1].end, lastOf)
	for _, p := range list {
		if err = p.segment.batches(0, p.written, func(b record.Batch, _ int64) error { return w.rewrite(b) }); err != nil {
			break
		}
	}
	if err == nil {
		err = w.flush()
	}
	if err == nil && (w.changed || len(list) > 1) {
		err = out.Sync()
	}
	if err = firstOf(err, out.Close()); err != nil || !w.changed && len(list) == 1 {
		return firstOf(err, l.dropCleaned(list[0].segment))
	}
	return l.replaceSegments(list, w)
}

// firstOf is the first error: what failed first says why.
func firstOf(a, b error) error {
	if a != nil {
		return a
	}
	return b
}

// lastOf says what of a producer compaction keeps, so that its state follows from the log for as long as it lives.
type lastOf struct {
	offset record.Offset        // of its last batch, noOffset when only a marker tells its epoch
	epoch  record.ProducerEpoch // of that marker
}

func (l *Log) lastOfProducers() map[record.ProducerID]lastOf {
	l.mu.Lock()
	defer l.mu.Unlock()
	last := make(map[record.ProducerID]lastOf, len(l.mu.producers.known))
	for id, k := range l.mu.producers.known {
		if n := len(k.batches); n > 0 {
			last[id] = lastOf{offset: k.batches[n-1].lastOffset}
		} else {
			last[id] = lastOf{offset: noOffset, epoch: k.epoch}
		}
	}
	return last
}

// rollForCompaction seals an active segment that is older than max.compaction.lag.ms allows.
func (l *Log) rollForCompaction(c LogConfig, now time.Time) error {
	if c.MaxCompactionLag < 0 {
		return nil
	}
	l.mu.Lock()
	active := l.mu.segments[len(l.mu.segments)-1]
	if active.size > 0 && active.hasFirst && now.Sub(time.UnixMilli(active.first)) > c.MaxCompactionLag {
		l.rollLocked(l.mu.end)
	}
	l.mu.Unlock()
	return nil
}
