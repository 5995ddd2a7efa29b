package storage

import (
	"bytes"
	"errors"
	"slices"

	"github.com/milldam/milldam/core/record"
)

// Timed is a record found by its time.
type Timed struct {
	Offset    record.Offset
	Timestamp int64 // ms
	Epoch     record.LeaderEpoch
}

// OffsetForTime returns the first committed record of time ts (ms) or later; ok is false when there is none.
func (l *Log) OffsetForTime(ts int64) (found Timed, ok bool, err error) {
	// All places at once: what the flusher writes meanwhile is found behind them, in the tail or not.
	l.mu.Lock()
	from, committed := l.mu.start, l.mu.committed
	var places []place
	for i, s := range l.mu.segments {
		if s.written > 0 {
			places = append(places, l.placeLockedAt(i))
		}
	}
	l.mu.Unlock()
	for _, p := range places {
		if p.end <= from {
			continue
		}
		first, skip, err := p.seekTime(ts)
		if err != nil {
			return Timed{}, false, l.foundDamage(err)
		}
		if !skip {
			if found, ok, err := l.firstAtOrAfter(ts, max(from, first), min(p.end, committed)); ok || err != nil {
				return found, ok, err
			}
		}
		from = p.end
	}
	return l.firstAtOrAfter(ts, from, committed)
}

// seekTime returns from where on to look; skip is true when no record of the segment is young enough.
func (p *place) seekTime(ts int64) (from record.Offset, skip bool, err error) {
	var x *index
	if p.live != nil && p.liveFrom == 0 {
		x = p.live
	} else if x, err = p.segment.loadOlder(p.liveFrom); err != nil {
		return 0, false, err
	}
	whole := p.live == nil || p.liveFrom == 0
	if whole && x.maxTimestamp < ts {
		return 0, true, nil
	}
	if e, ok := x.beforeTime(ts); ok && x.fromFiles {
		if x, err = p.segment.provenTime(x, e, p.liveFrom); err != nil {
			return 0, false, err
		}
	}
	return p.segment.base + record.Offset(x.seekTime(ts)), false, nil
}

// firstAtOrAfter looks at the records in [from, to) one after the other.
func (l *Log) firstAtOrAfter(ts int64, from, to record.Offset) (found Timed, ok bool, err error) {
	err = l.Scan(from, to, func(b record.Batch) error {
		if b.MaxTimestamp() < ts || b.IsControl() {
			return nil
		}
		return b.Each(l.decompressed(), func(r *record.Record) error {
			if r.Timestamp < ts || r.Offset < from || r.Offset >= to {
				return nil
			}
			found, ok = Timed{r.Offset, r.Timestamp, b.LeaderEpoch()}, true
			return errFound
		})
	})
	if errors.Is(err, errFound) {
		err = nil
	}
	return found, ok, err
}

// decompressed is how large a batch's records may be that was checked when it came in.
func (l *Log) decompressed() int {
	return maxDecompressed * max(int(l.config().MaxMessageBytes), directBytes)
}

// MaxTimestamp returns the committed record with the largest timestamp, the first of several; ok is false in an empty log.
func (l *Log) MaxTimestamp() (found Timed, ok bool, err error) {
	start, committed := l.Start(), l.Committed()
	largest := Timed{Timestamp: record.NoTimestamp}
	var in []byte
	err = l.Scan(start, committed, func(b record.Batch) error {
		if b.MaxTimestamp() > largest.Timestamp && !b.IsControl() {
			largest.Timestamp, in = b.MaxTimestamp(), append(in[:0], b...)
		}
		return nil
	})
	if err != nil || in == nil {
		return Timed{}, false, err
	}
	b := record.Batch(bytes.Clone(in))
	err = b.Each(l.decompressed(), func(r *record.Record) error {
		if r.Timestamp != b.MaxTimestamp() || r.Offset < start {
			return nil
		}
		found, ok = Timed{r.Offset, r.Timestamp, b.LeaderEpoch()}, true
		return errFound
	})
	if errors.Is(err, errFound) {
		err = nil
	}
	return found, ok, err
}

// sortedSegments is for callers that hold no lock.
func (l *Log) sortedSegments() []*segment {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.mu.segments)
}
