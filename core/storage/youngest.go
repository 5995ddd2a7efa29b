package storage

import (
	"errors"
	"slices"

	"github.com/milldam/milldam/core/record"
)

// MaxTimestamp returns the record below bound with the largest timestamp, the first of several; ok is false when there is none. bound is where a
// batch begins.
func (l *Log) MaxTimestamp(bound record.Offset) (found Timed, ok bool, err error) {
	for {
		before := l.rewrites.Load()
		found, ok, err = l.maxTimestamp(bound)
		if !errors.Is(err, errReplaced) && (err != nil || ok || l.rewrites.Load() == before) { // what was found first may be gone when it is looked for
			return found, ok, err
		}
	}
}

func (l *Log) maxTimestamp(bound record.Offset) (found Timed, ok bool, err error) {
	start, places := l.places()
	top := youngest{timestamp: record.NoTimestamp}
	from, err := l.youngestOfCut(start, bound, &top)
	for i := 0; i < len(places) && err == nil; i++ {
		if p := &places[i]; p.end > from && p.segment.base < bound {
			err = p.youngest(from, bound, &top)
			from = p.end
		}
	}
	if err == nil {
		err = l.Scan(from, bound, func(b record.Batch) error {
			top.see(b)
			return nil
		})
	}
	if err != nil || top.timestamp == record.NoTimestamp {
		return Timed{}, false, err
	}
	return l.firstAtOrAfter(top.timestamp, start, top.last, top.last+1)
}

// youngest is the first batch with the largest timestamp so far.
type youngest struct {
	timestamp int64
	last      record.Offset // of the batch
}

// see looks at a batch; one that compaction emptied has no record of its time.
func (y *youngest) see(b record.Batch) {
	if b.Count() > 0 {
		y.take(b.MaxTimestamp(), b.LastOffset())
	}
}

func (y *youngest) take(timestamp int64, last record.Offset) {
	if timestamp > y.timestamp {
		*y = youngest{timestamp, last}
	}
}

// youngestOfCut looks at the batch that start lies in the middle of, whose largest timestamp may be of a record that is gone. It returns where the next begins.
func (l *Log) youngestOfCut(start, bound record.Offset, top *youngest) (next record.Offset, err error) {
	next = start
	err = l.Scan(start, min(start+1, bound), func(b record.Batch) error {
		if b.BaseOffset() >= start {
			return nil
		}
		next = b.NextOffset()
		return b.Each(l.decompressed(), func(r *record.Record) error {
			if r.Offset >= start {
				top.take(r.Timestamp, b.LastOffset())
			}
			return nil
		})
	})
	return next, err
}

// youngest looks at the segment's batches in [from, to).
func (p *place) youngest(from, to record.Offset, top *youngest) error {
	if p.liveFrom > 0 {
		older, err := p.segment.olderAt(int64(to-p.segment.base), p.liveFrom)
		if err != nil {
			return err
		}
		// The last entries of index files were proven when they were read, so a whole segment needs no more than them.
		whole := p.live == nil && from <= p.segment.base && to >= p.end
		if err := p.youngestIn(older, whole, 0, p.liveFrom, from, to, top); err != nil {
			return err
		}
	}
	if p.live == nil {
		return nil
	}
	return p.youngestIn(p.live, false, p.liveFrom, p.written, from, to, top)
}

// youngestIn looks at those between the positions start and end, which index is of. What it knows up to its last entry below to is not looked at.
func (p *place) youngestIn(index *index, whole bool, start, end int64, from, to record.Offset, top *youngest) error {
	base := p.segment.base
	switch {
	case whole:
		top.take(index.maxTimestamp, base+record.Offset(index.maxRelative))
		return nil
	case from <= base && !index.fromFiles:
		if known, upTo, ok := index.youngestBefore(int64(to - base)); ok {
			top.take(known.timestamp, base+record.Offset(known.relative))
			start = upTo
		}
	}
	err := p.segment.scan(start, end, wholeWindow, func(b record.Batch, _ int64) error {
		if b.BaseOffset() >= to {
			return errFound
		}
		if b.BaseOffset() >= from {
			top.see(b)
		}
		return nil
	})
	if errors.Is(err, errFound) {
		return nil
	}
	return err
}

// youngestBefore returns the youngest record of all before position upTo, where the batch of the last entry before base+relative begins.
func (x *index) youngestBefore(relative int64) (youngest timeEntry, upTo int64, ok bool) {
	i, _ := slices.BinarySearchFunc(x.offsets, relative, func(e offsetEntry, want int64) int { return int(int64(e.relative) - want) })
	if i == 0 {
		return timeEntry{}, 0, false
	}
	at := x.offsets[i-1]
	j, _ := slices.BinarySearchFunc(x.times, at.relative, func(e timeEntry, want uint32) int { return int(int64(e.relative) - int64(want)) })
	if j == 0 {
		return timeEntry{timestamp: record.NoTimestamp}, int64(at.position), true
	}
	return x.times[j-1], int64(at.position), true
}
