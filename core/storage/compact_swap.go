package storage

import (
	"errors"
	"fmt"
	"io/fs"
	"math"
	"path"
	"slices"
	"strings"

	"github.com/milldam/milldam/core/record"
	"github.com/milldam/milldam/core/vfs"
)

// A compacted segment takes the place of one or more, in steps of which each leaves something to go on with:
//
//  1. <base>.log.cleaned is written and synced. Without the next file it is nothing, and opening removes it.
//  2. <base>.<end>.swap, an empty file, appears: from now on the segments in [base, end) are the compacted one.
//  3. The compacted one is renamed over <base>.log, the others are removed, then the .swap file. Opening does the same.
//
// Index files of the old segments point into them: they go before the rename, and are built anew when a crash comes before the new ones. The transaction
// index is replaced before step 2. Whichever of log and index a crash leaves old, they agree: compaction takes a transaction out of the index a round after its last batch
// and two before its marker; an index that speaks of more than its segment holds, as one of a merged segment that did not come to be, is cut at the next start.

const swapSuffix = ".swap"

func (s *segment) swapFile(end record.Offset) string {
	return path.Join(s.log.dir, offsetName(s.base)+"."+offsetName(end)+swapSuffix)
}

// swapRange returns the range in the name of a .swap file.
func swapRange(name string) (base, end record.Offset, ok bool) {
	digits, ok := strings.CutSuffix(name, swapSuffix)
	if !ok || len(digits) != 41 || digits[20] != '.' {
		return 0, 0, false
	}
	base, ok = segmentBase(digits[:20], "")
	end, okEnd := segmentBase(digits[21:], "")
	return base, end, ok && okEnd && base < end
}

func (l *Log) createCleaned(s *segment) (vfs.File, error) {
	return l.store.opts.FS.Create(s.file(logSuffix) + cleanedSuffix)
}

// dropCleaned removes a compacted segment that is not needed.
func (l *Log) dropCleaned(s *segment) error {
	err := l.store.opts.FS.Remove(s.file(logSuffix) + cleanedSuffix)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// replaceSegments puts what w wrote in the place of list.
func (l *Log) replaceSegments(list []place, w *compactor) error {
	l.io.Lock()
	defer l.io.Unlock()
	first := list[0].segment
	if l.Err() != nil {
		return firstOf(l.Err(), l.dropCleaned(first))
	}
	err := l.swap(list, w)
	if err != nil && !errors.Is(l.Err(), ErrRemoved) {
		l.fail(fmt.Errorf("replace segment %d of %s by a compacted one: %w", first.base, l, err))
	}
	return err
}

// swap does the steps 2 and 3. The caller holds io.
func (l *Log) swap(list []place, w *compactor) error {
	fsys, first := l.store.opts.FS, list[0].segment
	if err := first.replaceTxnIndex(w.aborted); err != nil {
		return err
	}
	if err := fsys.SyncDir(l.dir); err != nil { // the compacted one is there before what says so
		return err
	}
	marker, err := fsys.Create(first.swapFile(w.end))
	if err != nil {
		return err
	}
	if err := firstOf(marker.Close(), fsys.SyncDir(l.dir)); err != nil {
		return err
	}
	if err := first.removeIndexes(); err != nil {
		return err
	}
	next := &segment{log: l, base: first.base, end: w.end, size: w.written, written: w.written, sealed: true, liveFrom: w.written, first: w.first, hasFirst: w.any}
	next.txns.Store(&segmentTxns{aborted: w.aborted})
	next.sound.inherit(next.size)
	l.rewrites.Add(1)
	for _, p := range list {
		p.segment.replaced.Store(true)
	}
	if err := fsys.Rename(first.file(logSuffix)+cleanedSuffix, first.file(logSuffix)); err != nil {
		return err
	}
	if err := l.store.files.forget(first.file(logSuffix)); err != nil {
		return err
	}
	l.install(first, len(list), next)
	if err := fsys.SyncDir(l.dir); err != nil {
		return err
	}
	for _, p := range list[1:] {
		if err := p.segment.remove(); err != nil {
			return err
		}
	}
	if err := next.complete(w.index, next.end, nil, producers{}); err != nil {
		return err
	}
	if err := fsys.SyncDir(l.dir); err != nil { // the others are gone before what says so
		return err
	}
	// Nor may it speak of the next compacted segment, which is not whole for a while.
	return firstOf(fsys.Remove(first.swapFile(w.end)), fsys.SyncDir(l.dir))
}

// install puts next in the place of n segments from first on.
func (l *Log) install(first *segment, n int, next *segment) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if i := slices.Index(l.mu.segments, first); i >= 0 {
		l.mu.segments = slices.Concat(l.mu.segments[:i], []*segment{next}, l.mu.segments[i+n:])
		l.setTxnIndexLocked(next.base, next.end, next.txns.Load().aborted)
	}
}

// replaceTxnIndex makes list the segment's transaction index.
func (s *segment) replaceTxnIndex(list []AbortedTxn) error {
	fsys := s.log.store.opts.FS
	if len(list) > 0 {
		return vfs.WriteFileAtomic(fsys, s.file(txnSuffix), encodeTxnIndex(list))
	}
	if err := fsys.Remove(s.file(txnSuffix)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

func (s *segment) removeIndexes() error {
	for _, suffix := range []string{indexSuffix, timeSuffix} {
		if err := s.log.store.opts.FS.Remove(s.file(suffix)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// finishSwaps does what a crash left undone of compactions, and returns the names of the files that are left.
func (l *Log) finishSwaps(names []string) ([]string, error) {
	fsys, changed := l.store.opts.FS, false
	swapped := map[record.Offset]bool{}
	for _, name := range names {
		base, end, ok := swapRange(name)
		if !ok {
			continue
		}
		changed, swapped[base] = true, true
		if err := l.finishSwap(names, base, end); err != nil {
			return nil, err
		}
		if err := firstOf(fsys.SyncDir(l.dir), fsys.Remove(path.Join(l.dir, name))); err != nil {
			return nil, err
		}
	}
	for _, name := range names {
		if !strings.HasSuffix(name, cleanedSuffix) {
			continue
		}
		changed = true
		if base, ok := segmentBase(name, logSuffix+cleanedSuffix); ok && !swapped[base] {
			if err := l.cutTxnIndex(names, base); err != nil {
				return nil, err
			}
		}
		if err := fsys.Remove(path.Join(l.dir, name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
	}
	if !changed {
		return names, nil
	}
	if err := fsys.SyncDir(l.dir); err != nil {
		return nil, err
	}
	return fsys.List(l.dir)
}

// cutTxnIndex takes out of a segment's transaction index what belongs to the segments behind it: it was written for a merged one that did not come to be.
func (l *Log) cutTxnIndex(names []string, base record.Offset) error {
	end := record.Offset(math.MaxInt64)
	for _, name := range names {
		if other, ok := segmentBase(name, logSuffix); ok && other > base {
			end = min(end, other)
		}
	}
	s := &segment{log: l, base: base}
	data, err := vfs.ReadFile(l.store.opts.FS, s.file(txnSuffix))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	list, ok := decodeTxnIndex(data, base, math.MaxInt64)
	kept := slices.DeleteFunc(slices.Clone(list), func(a AbortedTxn) bool { return a.Last >= end })
	if !ok || len(kept) == len(list) {
		return nil
	}
	return s.replaceTxnIndex(kept)
}

func (l *Log) finishSwap(names []string, base, end record.Offset) error {
	first := &segment{log: l, base: base}
	if err := first.removeIndexes(); err != nil {
		return err
	}
	cleaned := offsetName(base) + logSuffix + cleanedSuffix
	if slices.Contains(names, cleaned) {
		if err := l.store.opts.FS.Rename(path.Join(l.dir, cleaned), first.file(logSuffix)); err != nil {
			return err
		}
	}
	for _, name := range names {
		if other, ok := segmentBase(name, logSuffix); ok && other > base && other < end {
			if err := (&segment{log: l, base: other}).remove(); err != nil {
				return err
			}
		}
	}
	return nil
}
