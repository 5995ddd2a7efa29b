package storage

import (
	"encoding/binary"
	"fmt"
	"slices"

	"github.com/milldam/milldam/core/record"
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

// Aborted returns the aborted transactions with records in [from, to), by first offset. to must not be above LastStable. Beside compaction and retention
// use ReadCommitted.
func (l *Log) Aborted(from, to record.Offset) ([]AbortedTxn, error) {
	var found []AbortedTxn
	for part, ok := l.nextAborted(l.segmentBase(from)); ok; part, ok = l.nextAborted(part.segment.base + 1) {
		txns, err := part.load()
		if err != nil {
			return nil, fmt.Errorf("aborted transactions of %s: %w", l, err)
		}
		done := false
		if found, done = collectAborted(found, txns.aborted, from, to); done || txns.settled() >= to {
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
	index   txnIndexSum
}

func (p *abortedPart) load() (*segmentTxns, error) {
	if p.live != nil {
		return &segmentTxns{aborted: p.live}, nil
	}
	return p.segment.loadTxns(p.index)
}

// segmentBase is where the segment that holds offset begins. A transaction's entry is in the segment of its marker, so that no earlier one matters to who reads from there.
func (l *Log) segmentBase(offset record.Offset) record.Offset {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.mu.segments[l.segmentAtLocked(offset)].base
}

// nextAborted returns the first segment from base on that has, or may have, aborted transactions. Those that have none cost nothing, and none is looked at that
// the caller does not come to: mostly the first that is found tells that no later one matters.
func (l *Log) nextAborted(base record.Offset) (part abortedPart, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if i, _ := findTxnIndex(l.mu.txnIndexes, base); i < len(l.mu.txnIndexes) {
		index := l.mu.txnIndexes[i]
		return abortedPart{segment: l.mu.segments[l.segmentAtLocked(index.segment)], index: index}, true
	}
	for _, s := range l.mu.segments[l.firstLiveLocked():] {
		if s.base >= base && len(s.aborted) > 0 {
			return abortedPart{segment: s, live: slices.Clip(s.aborted)}, true
		}
	}
	return abortedPart{}, false
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
