package storage

import (
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

// OffsetForTime returns the first record below bound of time ts (ms) or later; ok is false when there is none. As in Kafka a marker is a record too.
func (l *Log) OffsetForTime(ts int64, bound record.Offset) (found Timed, ok bool, err error) {
	for {
		if found, ok, err = l.offsetForTime(ts, bound); !errors.Is(err, errReplaced) {
			return found, ok, err
		}
	}
}

func (l *Log) offsetForTime(ts int64, bound record.Offset) (found Timed, ok bool, err error) {
	from, places := l.places()
	for _, p := range places {
		if p.end <= from {
			continue
		}
		first, skip, err := p.seekTime(ts)
		if err != nil {
			return Timed{}, false, l.foundDamage(err)
		}
		if !skip {
			if found, ok, err := l.firstAtOrAfter(ts, from, max(from, first), min(p.end, bound)); ok || err != nil {
				return found, ok, err
			}
		}
		from = p.end
	}
	return l.firstAtOrAfter(ts, from, from, bound)
}

// places returns the log start and all that is in segment files, at once: what the flusher writes meanwhile is found behind them, in the tail or not.
func (l *Log) places() (start record.Offset, places []place) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for i, s := range l.mu.segments {
		if s.written > 0 {
			places = append(places, l.placeLockedAt(i))
		}
	}
	return l.mu.start, places
}

// seekTime returns from where on to look; skip is true when no record of the segment is young enough.
func (p *place) seekTime(ts int64) (from record.Offset, skip bool, err error) {
	x := p.live
	if x != nil && (p.liveFrom == 0 || p.segment.dated) {
		if x.maxTimestamp < ts {
			return 0, true, nil
		}
		if e, ok := x.beforeTime(ts); ok || p.liveFrom == 0 {
			return p.segment.base + record.Offset(e.relative), false, nil
		}
	}
	if x, err = p.segment.olderAtTime(ts, p.liveFrom); err != nil {
		return 0, false, err
	}
	if p.live == nil && x.maxTimestamp < ts {
		return 0, true, nil
	}
	if e, ok := x.beforeTime(ts); ok && x.fromFiles {
		if x, err = p.segment.provenTime(x, e, p.liveFrom); err != nil {
			return 0, false, err
		}
	}
	return p.segment.base + record.Offset(x.seekTime(ts)), false, nil
}

// firstAtOrAfter looks at the records of the batches in [from, to) one after the other; those below start are gone.
func (l *Log) firstAtOrAfter(ts int64, start, from, to record.Offset) (found Timed, ok bool, err error) {
	err = l.Scan(from, to, func(b record.Batch) error {
		if b.MaxTimestamp() < ts {
			return nil
		}
		return b.Each(l.decompressed(), func(r *record.Record) error {
			if r.Timestamp < ts || r.Offset < start || r.Offset >= to {
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

// sortedSegments is for callers that hold no lock.
func (l *Log) sortedSegments() []*segment {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.mu.segments)
}
