package storage

import (
	"errors"
	"fmt"
	"path"
	"slices"

	"github.com/milldam/milldam/core/record"
	"github.com/milldam/milldam/core/vfs"
)

// errUnknown ends the check of an index whose segment cannot be read to its end.
var errUnknown = errors.New("the segment is damaged")

// wrongEntry tells which entry of an index file is not true.
func wrongEntry(i, size int, what string, args ...any) error {
	return badEntries{fmt.Errorf("damaged at position %d: entry %d "+what, append([]any{i * size, i}, args...)...)}
}

// told takes away the errors that only end a check.
func told(err error) error {
	if errors.Is(err, errFound) || errors.Is(err, errUnknown) {
		return nil
	}
	return err
}

// verifyOffsets checks that every entry stands for a batch that begins at its position and ends at its offset, in their order.
func verifyOffsets(fsys vfs.FS, name string, rows []any) error {
	i := 0
	err := headersBeside(fsys, name, func(b record.Batch, at int64) error {
		if i == len(rows) {
			return errFound
		}
		switch e := rows[i].(OffsetIndexEntry); {
		case e.Position < at:
			return wrongEntry(i, offsetEntryBytes, "has position %d for offset %d: no batch begins there behind the entry in front", e.Position, e.Offset)
		case e.Position == at && e.Offset != int64(b.LastOffset()):
			return wrongEntry(i, offsetEntryBytes, "has offset %d for position %d: the batch there ends at %d", e.Offset, e.Position, b.LastOffset())
		case e.Position == at:
			i++
		}
		return nil
	})
	if err == nil && i < len(rows) {
		e := rows[i].(OffsetIndexEntry)
		return wrongEntry(i, offsetEntryBytes, "has position %d for offset %d: no batch begins there", e.Position, e.Offset)
	}
	return told(err)
}

// verifyTimes checks that every entry stands for the batch that ends at its offset, and that it is younger than all in front.
func verifyTimes(fsys vfs.FS, name string, rows []any) error {
	i, youngest := 0, int64(record.NoTimestamp)
	err := headersBeside(fsys, name, func(b record.Batch, at int64) error {
		if i == len(rows) {
			return errFound
		}
		younger := b.Count() > 0 && b.MaxTimestamp() > youngest
		if younger {
			youngest = b.MaxTimestamp()
		}
		switch e, last := rows[i].(TimeIndexEntry), int64(b.LastOffset()); {
		case e.Offset < last:
			return wrongEntry(i, timeEntryBytes, "has offset %d: no batch ends there behind the entry in front", e.Offset)
		case e.Offset == last && (!younger || e.Timestamp != youngest):
			return wrongEntry(i, timeEntryBytes, "has time %d for offset %d: the batch there has %d, the youngest up to it %d", e.Timestamp, e.Offset, b.MaxTimestamp(), youngest)
		case e.Offset == last:
			i++
		}
		return nil
	})
	if err == nil && i < len(rows) {
		return wrongEntry(i, timeEntryBytes, "has offset %d: no batch ends there", rows[i].(TimeIndexEntry).Offset)
	}
	return told(err)
}

// rebuiltTxns are the aborted transactions of a segment as the log tells them.
type rebuiltTxns struct {
	state  producers
	from   record.Offset // where the reading began
	next   record.Offset // where the next batch begins, unless compaction left a gap
	gaps   bool
	list   []AbortedTxn
	wanted bool // it is the segment of the index that is read
}

func (t *rebuiltTxns) batch(b record.Batch, _ int64) error {
	t.gaps = t.gaps || b.BaseOffset() != t.next
	t.next = b.NextOffset()
	if ended, ok := t.state.apply(b); ok && ended.aborted && t.wanted {
		t.list = append(t.list, ended.AbortedTxn)
	}
	return nil
}

// rebuildTxns reads the log from the nearest producer snapshot in front of the segment with base on.
func rebuildTxns(fsys vfs.FS, dir string, base record.Offset) (*rebuiltTxns, error) {
	bases, err := segmentsIn(fsys, dir)
	if err != nil {
		return nil, err
	}
	i, there := slices.BinarySearch(bases, base)
	if !there {
		return nil, badEntries{fmt.Errorf("there is no %s beside it", offsetName(base)+logSuffix)}
	}
	t := &rebuiltTxns{}
	for first := i; ; first-- {
		data, err := vfs.ReadFile(fsys, path.Join(dir, offsetName(bases[first])+snapshotSuffix))
		if err == nil {
			t.state, err = decodeSnapshot(data)
		}
		if err != nil && first > 0 {
			continue
		}
		t.from, t.next = bases[first], bases[first]
		for _, b := range bases[first : i+1] {
			t.wanted = b == base
			if err := ReadBatches(fsys, path.Join(dir, offsetName(b)+logSuffix), t.batch); errors.Is(err, ErrCorrupt) {
				return nil, errUnknown
			} else if err != nil {
				return nil, err
			}
		}
		return t, nil
	}
}

// segmentsIn returns the base offsets of the segments in a partition's folder.
func segmentsIn(fsys vfs.FS, dir string) (bases []record.Offset, err error) {
	names, err := fsys.List(dir)
	for _, n := range names {
		if base, ok := segmentBase(n, logSuffix); ok {
			bases = append(bases, base)
		}
	}
	slices.Sort(bases)
	return bases, err
}

// verifyTxns checks that a transaction index says what the log says. Where compaction took batches away, the index still has where they were.
func verifyTxns(fsys vfs.FS, name string, rows []any) error {
	log, err := rebuildTxns(fsys, path.Dir(name), fileBase(name))
	if err != nil {
		return told(err)
	}
	found := log.list
	for i, row := range rows {
		e := row.(TxnIndexEntry)
		if e.Version != txnIndexVersion {
			return wrongEntry(i, txnIndexEntryBytes, "has version %d, this milldam knows %d", e.Version, txnIndexVersion)
		}
		for len(found) > 0 && int64(found[0].Last) < e.Last && log.gaps && found[0].First < log.from {
			found = found[1:] // nothing is left of it but its marker
		}
		if len(found) == 0 || int64(found[0].Last) != e.Last || int64(found[0].ProducerID) != e.ProducerID {
			return wrongEntry(i, txnIndexEntryBytes, "says that producer %d aborted at offset %d: the log has no such marker, or another in front of it", e.ProducerID, e.Last)
		}
		first, stable := int64(found[0].First), int64(found[0].LastStable)
		if same := e.First == first && e.LastStable == stable; !same && (!log.gaps || e.First > first || e.LastStable > stable) {
			return wrongEntry(i, txnIndexEntryBytes, "has first offset %d and last stable offset %d for the transaction of producer %d that ends at %d, the log says %d and %d",
				e.First, e.LastStable, e.ProducerID, e.Last, first, stable)
		}
		found = found[1:]
	}
	for _, a := range found {
		if !log.gaps || a.First >= log.from {
			return badEntries{fmt.Errorf("damaged at position %d: the transaction of producer %d that was aborted at offset %d is missing", len(rows)*txnIndexEntryBytes, a.ProducerID, a.Last)}
		}
	}
	return nil
}

// verifyEpochs holds the leader epochs against the first batch of each segment.
func verifyEpochs(fsys vfs.FS, name string) error {
	data, err := vfs.ReadFile(fsys, name)
	if err != nil {
		return err
	}
	list, err := decodeEpochs(data)
	if err != nil {
		return unreadable(err)
	}
	bases, err := segmentsIn(fsys, path.Dir(name))
	for _, base := range bases {
		segment := offsetName(base) + logSuffix
		err := headersBeside(fsys, path.Join(path.Dir(name), segment), func(b record.Batch, _ int64) error {
			if want := list.at(b.BaseOffset()); want != b.LeaderEpoch() {
				return badEntries{fmt.Errorf("damaged: at offset %d it has leader epoch %d, the first batch of %s has %d", b.BaseOffset(), want, segment, b.LeaderEpoch())}
			}
			return errFound
		})
		if err := told(err); err != nil {
			return err
		}
	}
	return err
}
