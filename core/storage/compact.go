package storage

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"time"

	"github.com/milldam/milldam/core/record"
)

// maxCompactionKeys bounds the memory of one compaction: it goes as far into the log as this many different keys reach.
const maxCompactionKeys = 4 << 20

// compact keeps the latest record of each key of the sealed segments. Offsets stay; a tombstone stays for delete.retention.ms after the
// compaction that saw it first. Each segment is rewritten beside its place and renamed over itself, so a crash leaves the old one or the
// new one.
func (l *Log) compact(ctx context.Context, c LogConfig, now time.Time) error {
	list := l.compactable(c, now)
	if len(list) == 0 {
		return nil
	}
	l.io.Lock()
	cleaned := l.cleanedUpTo
	l.io.Unlock()
	var clean, dirty int64
	for _, p := range list {
		if p.end <= cleaned {
			clean += p.written
		} else {
			dirty += p.written
		}
	}
	horizons := l.dueHorizons(list, cleaned, now)
	if dirty == 0 && !horizons || dirty > 0 && float64(dirty)/float64(clean+dirty) < c.MinCleanableRatio && !horizons {
		return nil
	}
	latest, reached, err := l.latestOffsets(ctx, list, cleaned)
	if err != nil {
		return err
	}
	for _, p := range list {
		if err := ctx.Err(); err != nil {
			return err
		}
		if p.segment.base >= reached {
			break
		}
		if err := l.compactSegment(p, latest, c, now); err != nil {
			return fmt.Errorf("compact segment %d: %w", p.segment.base, err)
		}
	}
	l.io.Lock()
	defer l.io.Unlock()
	l.cleanedUpTo = max(l.cleanedUpTo, reached)
	return nil
}

// rollForCompaction seals an active segment that is older than max.compaction.lag.ms, or segment.ms, allows.
func (l *Log) rollForCompaction(c LogConfig, now time.Time) error {
	if err := l.flushTail(nil); err != nil {
		return err
	}
	l.mu.Lock()
	active := l.mu.segments[len(l.mu.segments)-1]
	age := time.Duration(-1)
	if active.hasFirst {
		age = now.Sub(time.UnixMilli(active.first))
	}
	limit := c.SegmentAge
	if c.MaxCompactionLag >= 0 && (limit < 0 || c.MaxCompactionLag < limit) {
		limit = c.MaxCompactionLag
	}
	if len(l.mu.tail) == 0 && active.size > 0 && limit >= 0 && age > limit {
		l.rollLocked(l.mu.end)
	}
	l.mu.Unlock()
	return l.flushTail(nil)
}

// compactable returns the segments that may be rewritten: sealed, whole, and with nothing younger than min.compaction.lag.ms.
func (l *Log) compactable(c LogConfig, now time.Time) []place {
	l.mu.Lock()
	defer l.mu.Unlock()
	var list []place
	for i, s := range l.mu.segments {
		if !l.sealedLocked(s) {
			break
		}
		if c.MinCompactionLag > 0 {
			largest := s.largest.Load()
			if largest == nil || now.Sub(time.UnixMilli(*largest)) < c.MinCompactionLag {
				break
			}
		}
		if s.size > 0 {
			list = append(list, l.placeLockedAt(i))
		}
	}
	return list
}

// dueHorizons tells whether some compacted segment holds tombstones whose time is over.
func (l *Log) dueHorizons(list []place, cleaned record.Offset, now time.Time) bool {
	for _, p := range list {
		if p.end > cleaned {
			break
		}
		due := false
		err := p.segment.scan(0, p.written, windowBytes, func(b record.Batch, _ int64) error {
			if ms, ok := b.DeleteHorizon(); ok && ms <= now.UnixMilli() {
				due = true
				return errFound
			}
			return nil
		})
		if err != nil && !errors.Is(err, errFound) {
			return false // compaction itself will say so
		}
		if due {
			return true
		}
	}
	return false
}

// latestOffsets maps each key of the segments that are not compacted yet to its last offset, and returns how far that goes.
func (l *Log) latestOffsets(ctx context.Context, list []place, cleaned record.Offset) (map[string]record.Offset, record.Offset, error) {
	latest, reached := map[string]record.Offset{}, cleaned
	for _, p := range list {
		if p.end <= cleaned {
			continue
		}
		if err := ctx.Err(); err != nil {
			return nil, 0, err
		}
		if len(latest) > maxCompactionKeys {
			break
		}
		err := p.segment.batches(0, p.written, func(b record.Batch, _ int64) error {
			if b.IsControl() {
				return nil
			}
			return b.Each(l.decompressed(), func(r *record.Record) error {
				if r.Key != nil {
					latest[string(r.Key)] = r.Offset
				}
				return nil
			})
		})
		if err != nil {
			return nil, 0, err
		}
		reached = p.end
	}
	return latest, reached, nil
}

// compactSegment rewrites one segment.
func (l *Log) compactSegment(p place, latest map[string]record.Offset, c LogConfig, now time.Time) error {
	l.io.Lock()
	defer l.io.Unlock()
	seg, fsys := p.segment, l.store.opts.FS
	l.mu.Lock()
	gone := len(l.mu.segments) == 0 || l.mu.segments[0].base > seg.base || l.mu.err != nil
	lastOf := map[record.ProducerID]record.Offset{}
	for id, known := range l.mu.producers.known {
		if n := len(known.batches); n > 0 {
			lastOf[id] = known.batches[n-1].lastOffset
		}
	}
	l.mu.Unlock()
	if gone {
		return nil
	}
	temp := seg.file(logSuffix) + cleanedSuffix
	f, err := fsys.Create(temp)
	if err != nil {
		return err
	}
	w := &compactor{latest: latest, lastOf: lastOf, limit: l.decompressed(), now: now.UnixMilli(),
		horizon: now.Add(c.DeleteRetention).UnixMilli(), end: p.end, index: newIndex(), interval: int64(c.IndexIntervalBytes), base: seg.base}
	err = seg.batches(0, p.written, func(b record.Batch, _ int64) error { return w.rewrite(b) })
	if err == nil {
		_, err = f.WriteAt(w.out, 0)
	}
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return errors.Join(err, fsys.Remove(temp))
	}
	if int64(len(w.out)) == p.written && w.unchanged {
		return fsys.Remove(temp)
	}
	return l.replaceSegment(seg, temp, w)
}

// replaceSegment puts a compacted segment in its place. The caller holds io.
func (l *Log) replaceSegment(seg *segment, temp string, w *compactor) error {
	fsys := l.store.opts.FS
	// Index files of the old segment point into it: they go first, and are built anew when a crash comes between.
	for _, suffix := range []string{indexSuffix, timeSuffix} {
		if err := fsys.Remove(seg.file(suffix)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	if err := fsys.SyncDir(l.dir); err != nil {
		return err
	}
	next := &segment{log: l, base: seg.base, end: seg.end, size: int64(len(w.out)), written: int64(len(w.out)), sealed: true,
		liveFrom: int64(len(w.out)), first: seg.first, hasFirst: seg.hasFirst}
	seg.replaced.Store(true)
	l.rewrites.Add(1)
	err := errors.Join(fsys.Rename(temp, seg.file(logSuffix)), l.store.files.forget(seg.file(logSuffix)), fsys.SyncDir(l.dir))
	if err != nil {
		l.fail(err)
		return err
	}
	l.mu.Lock()
	for i, s := range l.mu.segments {
		if s == seg {
			l.mu.segments = slices.Clone(l.mu.segments)
			l.mu.segments[i] = next
			break
		}
	}
	l.mu.Unlock()
	return next.complete(w.index, seg.end, nil, producers{})
}

// compactor collects the batches of a compacted segment.
type compactor struct {
	latest   map[string]record.Offset
	lastOf   map[record.ProducerID]record.Offset
	limit    int
	now      int64
	horizon  int64 // for tombstones seen for the first time
	end      record.Offset
	base     record.Offset
	interval int64

	out       []byte
	index     *index
	builder   record.Builder
	unchanged bool
	changed   bool
}

// rewrite keeps what must be kept of one batch. The last batch of a producer stays even when it is empty, for its sequence, and so does the last of
// the segment, so that the log never ends before its records did.
func (w *compactor) rewrite(b record.Batch) error {
	if b.IsControl() {
		w.emit(b)
		return nil
	}
	horizon, hadHorizon := b.DeleteHorizon()
	var kept []record.Record
	tombstones := false
	err := b.Each(w.limit, func(r *record.Record) error {
		if last, ok := w.latest[string(r.Key)]; r.Key == nil || ok && last > r.Offset {
			return nil
		}
		if r.Value == nil {
			if hadHorizon && horizon <= w.now {
				return nil
			}
			tombstones = true
		}
		c := *r
		c.Key, c.Value, c.Headers = clone(r.Key), clone(r.Value), nil
		for _, h := range r.Headers {
			c.Headers = append(c.Headers, record.Header{Key: h.Key, Value: clone(h.Value)})
		}
		kept = append(kept, c)
		return nil
	})
	if err != nil {
		return err
	}
	mustStay := b.LastOffset() == w.lastOf[b.ProducerID()] && b.ProducerID() != record.NoProducer || b.NextOffset() >= w.end
	switch {
	case len(kept) == 0 && !mustStay:
		w.changed = true
		return nil
	case len(kept) == int(b.Count()) && (!tombstones || hadHorizon):
		w.emit(b)
		return nil
	}
	w.changed = true
	opts := record.BatchOptions{Codec: b.Codec(), BaseOffset: b.BaseOffset(), LeaderEpoch: b.LeaderEpoch(), ProducerID: b.ProducerID(),
		ProducerEpoch: b.ProducerEpoch(), BaseSequence: b.BaseSequence(), Transactional: b.IsTransactional(), LogAppendTime: b.HasLogAppendTime(),
		HasDeleteHorizon: tombstones || hadHorizon, DeleteHorizon: w.horizon}
	if hadHorizon {
		opts.DeleteHorizon = horizon
	}
	w.builder.Reset(opts)
	for i := range kept {
		w.builder.AppendAt(&kept[i])
	}
	w.builder.ExtendTo(b.LastOffset())
	built, err := w.builder.Build(nil)
	if err != nil {
		return err
	}
	w.emit(record.Batch(built))
	return nil
}

func clone(b []byte) []byte {
	if b == nil {
		return nil
	}
	return append([]byte{}, b...)
}

func (w *compactor) emit(b record.Batch) {
	w.index.add(b, w.base, int64(len(w.out)), w.interval)
	w.out = append(w.out, b...)
	w.unchanged = !w.changed
}
