package storage

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"slices"

	"github.com/milldam/milldam/core/record"
	"github.com/milldam/milldam/core/vfs"
)

// AbortedTxn is an aborted transaction as read_committed consumers need it: they pass over what the producer wrote from First up to the marker at Last.
type AbortedTxn struct {
	ProducerID  record.ProducerID
	First, Last record.Offset
	// LastStable is the last stable offset once the marker was written: no transaction that starts below it ends behind the marker.
	LastStable record.Offset
}

// Layout of an entry of Kafka's .txnindex, which lies in the segment of the marker: version 2 bytes, producer id 8, first offset 8, last offset 8, last
// stable offset 8.
const (
	txnIndexVersion    = 0
	txnIndexEntryBytes = 34
)

func encodeTxnIndex(list []AbortedTxn) []byte {
	be := binary.BigEndian
	out := make([]byte, 0, len(list)*txnIndexEntryBytes)
	for _, a := range list {
		out = be.AppendUint16(out, txnIndexVersion)
		for _, v := range []int64{int64(a.ProducerID), int64(a.First), int64(a.Last), int64(a.LastStable)} {
			out = be.AppendUint64(out, uint64(v))
		}
	}
	return out
}

// decodeTxnIndex reads the index of a segment with the offsets [base, end). It has no checksum, so whatever does not add up makes ok false.
func decodeTxnIndex(data []byte, base, end record.Offset) (list []AbortedTxn, ok bool) {
	if len(data)%txnIndexEntryBytes != 0 {
		return nil, false
	}
	f := fields{data: data}
	for range len(data) / txnIndexEntryBytes {
		version := f.u16()
		a := AbortedTxn{record.ProducerID(f.i64()), record.Offset(f.i64()), record.Offset(f.i64()), record.Offset(f.i64())}
		previous := AbortedTxn{Last: base - 1}
		if n := len(list); n > 0 {
			previous = list[n-1]
		}
		if version != txnIndexVersion || a.ProducerID < 0 || a.First < 0 || a.First >= a.Last || a.Last <= previous.Last || a.Last >= end ||
			a.First < previous.LastStable || a.LastStable < previous.LastStable || a.LastStable > a.Last+1 {
			return nil, false
		}
		list = append(list, a)
	}
	return list, true
}

// loadAborted returns the aborted transactions whose markers are in a segment that is complete, in the order of the markers.
func (s *segment) loadAborted() ([]AbortedTxn, error) {
	if known := s.indexed.Load(); known != nil {
		return *known, nil
	}
	data, err := vfs.ReadFile(s.log.store.opts.FS, s.file(txnSuffix))
	if s.replaced.Load() {
		return nil, errReplaced
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	list, ok := decodeTxnIndex(data, s.base, s.end)
	if !ok {
		s.log.store.opts.Logger.Warn("a damaged transaction index is built anew", "file", s.file(txnSuffix))
		if list, err = s.log.abortedFromBatches(s); err != nil {
			return nil, err
		}
	}
	s.indexed.Store(&list)
	return list, nil
}

// abortedFromBatches finds a segment's aborted transactions in the log, from the nearest state of the producers in front of it on.
func (l *Log) abortedFromBatches(s *segment) ([]AbortedTxn, error) {
	var state producers
	segments := l.sortedSegments()
	i := slices.Index(segments, s)
	if i < 0 {
		return nil, errReplaced
	}
	for ; i >= 0; i-- {
		data, err := vfs.ReadFile(l.store.opts.FS, segments[i].file(snapshotSuffix))
		if err != nil {
			continue
		}
		if p, err := decodeSnapshot(data); err == nil {
			state = p
			break
		}
	}
	var list []AbortedTxn
	for _, seg := range segments[max(i, 0):] {
		err := seg.batches(0, seg.size, func(b record.Batch, _ int64) error {
			if ended, ok := state.apply(b); ok && ended.aborted && seg == s {
				list = append(list, ended.AbortedTxn)
			}
			return nil
		})
		if err != nil || seg == s {
			return list, err
		}
	}
	return list, nil
}

// Aborted returns the aborted transactions with records in [from, to), by first offset. to must not be above LastStable. Beside compaction and retention
// use ReadCommitted.
func (l *Log) Aborted(from, to record.Offset) ([]AbortedTxn, error) {
	var found []AbortedTxn
	for _, part := range l.abortedFrom(from) {
		list := part.live
		if list == nil {
			var err error
			if list, err = part.segment.loadAborted(); err != nil {
				return nil, fmt.Errorf("aborted transactions of %s: %w", l, err)
			}
		}
		done := false
		if found, done = collectAborted(found, list, from, to); done {
			break
		}
	}
	slices.SortFunc(found, func(a, b AbortedTxn) int { return int(a.First - b.First) })
	return found, nil
}

// abortedPart is where the aborted transactions of a segment are: in memory, or in its index file.
type abortedPart struct {
	segment *segment
	live    []AbortedTxn
}

// abortedFrom returns the segments from the one on that holds offset. A transaction's entry is in the segment of its marker, so that no earlier one matters.
func (l *Log) abortedFrom(offset record.Offset) []abortedPart {
	l.mu.Lock()
	defer l.mu.Unlock()
	var parts []abortedPart
	for _, s := range l.mu.segments[l.segmentAtLocked(offset):] {
		if known := s.indexed.Load(); s.live == nil && (known == nil || len(*known) > 0) || len(s.aborted) > 0 {
			parts = append(parts, abortedPart{s, slices.Clip(s.aborted)})
		}
	}
	return parts
}

// collectAborted adds those of list, which is in the order of the markers, that have records in [from, to). done says that no later one has any.
func collectAborted(found, list []AbortedTxn, from, to record.Offset) (_ []AbortedTxn, done bool) {
	first, _ := slices.BinarySearchFunc(list, from, func(a AbortedTxn, want record.Offset) int { return int(a.Last - want) })
	for _, a := range list[first:] {
		if a.First < to {
			found = append(found, a)
		}
		if a.LastStable >= to {
			return found, true
		}
	}
	return found, false
}
