package storage

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"log/slog"
	"slices"

	"github.com/milldam/milldam/core/record"
	"github.com/milldam/milldam/core/vfs"
)

// Kafka's .txnindex has no checksum, and no file means that nothing was aborted: a flipped bit, or a file that is lost, would show aborted records. So the checkpoint
// has the checksum of each, and one that is not what it says is made anew from the segment's batches. A checksum in the file would keep Kafka's tools from reading it, and
// building every index anew would have the first read of every old segment read all of it.

// txnIndexSum is what is known of a complete segment's transaction index.
type txnIndexSum struct {
	segment record.Offset // its base
	sum     uint32        // of the file, when that is known; else only the batches tell what was aborted
	known   bool
}

func sumOfTxns(segment record.Offset, index []byte) txnIndexSum {
	return txnIndexSum{segment, crc32.Checksum(index, castagnoli), true}
}

// findTxnIndex returns the place of the segment with base in a list that is sorted by segments.
func findTxnIndex(list []txnIndexSum, base record.Offset) (i int, ok bool) {
	return slices.BinarySearchFunc(list, base, func(t txnIndexSum, want record.Offset) int { return cmp.Compare(t.segment, want) })
}

// setTxnIndexLocked notes what index the segments in [base, end) have after one that is complete took their place.
func (l *Log) setTxnIndexLocked(base, end record.Offset, aborted []AbortedTxn) {
	from, _ := findTxnIndex(l.mu.txnIndexes, base)
	to, _ := findTxnIndex(l.mu.txnIndexes, end)
	var now []txnIndexSum
	if len(aborted) > 0 {
		now = []txnIndexSum{sumOfTxns(base, encodeTxnIndex(aborted))}
	}
	l.mu.txnIndexes = slices.Replace(l.mu.txnIndexes, from, to, now...)
}

// segmentTxns are the aborted transactions whose markers are in a complete segment, in the order of the markers.
type segmentTxns struct {
	aborted []AbortedTxn
	// Of a segment that was read for them: its end, and the transactions that are open there.
	end  record.Offset
	open []openTxn
}

// settled says below which offset every transaction has ended by the end of the segment, as far as that is known.
func (t *segmentTxns) settled() record.Offset {
	if len(t.open) > 0 {
		return t.open[0].first
	}
	return t.end
}

// loadTxns returns the aborted transactions of a complete segment.
func (s *segment) loadTxns(index txnIndexSum) (*segmentTxns, error) {
	if txns := s.txns.Load(); txns != nil {
		return txns, nil
	}
	data, err := vfs.ReadFile(s.log.store.opts.FS, s.file(txnSuffix))
	if s.replaced.Load() {
		return nil, errReplaced
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	stored, readable := decodeTxnIndex(data, s.base, s.end)
	if !readable || !index.known || index.sum != crc32.Checksum(data, castagnoli) {
		return s.rebuildTxns(stored)
	}
	txns := &segmentTxns{aborted: stored}
	s.txns.Store(txns)
	return txns, nil
}

// rebuildTxns makes the transaction index anew from the batches. That is right of a compacted segment too: what compaction leaves of an aborted transaction are batches
// without records, and as long as it leaves any, the marker.
func (s *segment) rebuildTxns(stored []AbortedTxn) (*segmentTxns, error) {
	l := s.log
	l.rebuilding.Lock()
	defer l.rebuilding.Unlock()
	if txns := s.txns.Load(); txns != nil { // somebody else did
		return txns, nil
	}
	txns, err := l.txnsFromBatches(s)
	if err != nil {
		return nil, l.foundDamage(err)
	}
	s.tellRebuilt(stored, txns.aborted)
	if err := s.keepTxns(txns.aborted); errors.Is(err, errReplaced) {
		return nil, err
	} else if err != nil {
		l.store.opts.Logger.Warn("a transaction index could not be written: it is built again after the next start", "file", s.file(txnSuffix), "error", err)
	}
	s.txns.Store(txns)
	return txns, nil
}

// tellRebuilt says that an index was built anew, unless it is the same. After a crash soon after a compaction that need not be damage: the file is younger than the
// checkpoint, and leaves out only what has no records any more.
func (s *segment) tellRebuilt(stored, built []AbortedTxn) {
	if slices.Equal(stored, built) {
		return
	}
	level := slog.LevelInfo
	if slices.ContainsFunc(built, func(a AbortedTxn) bool { return s.log.shows(a, stored) }) {
		level = slog.LevelWarn
	}
	s.log.store.opts.Logger.Log(context.Background(), level, "a transaction index is not what the checkpoint says and is built anew from the segment", "file", s.file(txnSuffix))
}

// shows tells whether an index would show consumers records of an aborted transaction.
func (l *Log) shows(a AbortedTxn, index []AbortedTxn) bool {
	if slices.ContainsFunc(index, func(o AbortedTxn) bool { return o.ProducerID == a.ProducerID && o.Last == a.Last && o.First <= a.First }) {
		return false
	}
	there := false
	err := l.Scan(a.First, a.First+1, func(b record.Batch) error {
		there = b.BaseOffset() == a.First && b.ProducerID() == a.ProducerID && b.Count() > 0
		return nil
	})
	return there || err != nil
}

// keepTxns writes an index that was made anew.
func (s *segment) keepTxns(list []AbortedTxn) error {
	l := s.log
	l.io.Lock()
	defer l.io.Unlock()
	if s.replaced.Load() {
		return errReplaced
	}
	if err := l.Err(); err != nil {
		return err
	}
	if err := s.replaceTxnIndex(list); err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.setTxnIndexLocked(s.base, s.end, list)
	return nil
}

// txnsFromBatches finds a segment's aborted transactions in the log, from the nearest place in front of its end on of which is known which transactions are open there.
func (l *Log) txnsFromBatches(s *segment) (*segmentTxns, error) {
	segments := l.sortedSegments()
	at := slices.Index(segments, s)
	if at < 0 {
		return nil, errReplaced
	}
	first, state := at, producers{}
	for known := false; ; first-- {
		if state, known = l.producersAt(segments, first); known || first == 0 {
			break
		}
	}
	txns := &segmentTxns{end: s.end}
	for _, seg := range segments[first : at+1] {
		err := seg.batches(0, seg.size, func(b record.Batch, _ int64) error {
			if ended, ok := state.apply(b); ok && ended.aborted && seg == s {
				txns.aborted = append(txns.aborted, ended.AbortedTxn)
			}
			return nil
		})
		if err != nil {
			return nil, fmt.Errorf("read segment %d: %w", seg.base, err)
		}
	}
	txns.open = state.open
	return txns, nil
}

// producersAt returns the state of the producers at the beginning of a segment, or at least their open transactions. Without producers there is no snapshot, so that one
// that is missing says nothing.
func (l *Log) producersAt(segments []*segment, i int) (p producers, known bool) {
	if data, err := vfs.ReadFile(l.store.opts.FS, segments[i].file(snapshotSuffix)); err == nil {
		if p, err = decodeSnapshot(data); err == nil {
			return p, true
		}
	}
	if i == 0 {
		return producers{}, false
	}
	txns := segments[i-1].txns.Load()
	if txns == nil || txns.end == 0 {
		return producers{}, false
	}
	return producersWith(txns.open), true
}

// producersWith is a state of which only the open transactions are known.
func producersWith(open []openTxn) producers {
	p := producers{known: map[record.ProducerID]*producer{}, open: slices.Clone(open)}
	for _, t := range open {
		p.known[t.producer] = &producer{epoch: noProducerEpoch, coordinatorEpoch: noCoordinatorEpoch, txnFirst: t.first}
	}
	return p
}
