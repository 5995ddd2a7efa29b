package storage

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"

	"github.com/milldam/milldam/core/record"
	"github.com/milldam/milldam/core/vfs"
)

// errUnknown ends the check of an index whose segment is not there, or cannot be read to its end.
var errUnknown = errors.New("the segment cannot be read")

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
	state     producers
	next      record.Offset // where the next batch begins, unless compaction took it away
	compacted bool
	wanted    bool // it is the segment of the index that is read
	list      []AbortedTxn

	// What can be told of a compacted log, where batches and markers of transactions are gone that have no records any more.
	data    map[record.ProducerID]record.Offset // of the first records since the producer's last marker
	ended   map[record.ProducerID]record.Offset // its last marker
	markers []abortMarker
}

// abortMarker is a marker with what the log has of its transaction.
type abortMarker struct {
	producer record.ProducerID
	at       record.Offset
	data     record.Offset // of the first records, noOffset when there are none
	before   record.Offset // the producer's marker in front of it, noOffset when none is known
}

func (t *rebuiltTxns) batch(b record.Batch, _ int64) error {
	t.compacted = t.compacted || b.BaseOffset() != t.next || b.Count() == 0
	t.next = b.NextOffset()
	if ended, ok := t.state.apply(b); ok && ended.aborted && t.wanted {
		t.list = append(t.list, ended.AbortedTxn)
	}
	if !b.IsControl() {
		if _, begun := t.data[b.ProducerID()]; !begun && b.IsTransactional() && b.Count() > 0 {
			t.data[b.ProducerID()] = b.BaseOffset()
		}
		return nil
	}
	m, holds, err := b.Marker()
	if err != nil || !holds { // of a kind that has nothing to do with producers
		return nil
	}
	if !m.Commit && t.wanted {
		a := abortMarker{m.ProducerID, b.BaseOffset(), noOffset, noOffset}
		if at, ok := t.data[m.ProducerID]; ok {
			a.data = at
		}
		if at, ok := t.ended[m.ProducerID]; ok {
			a.before = at
		}
		t.markers = append(t.markers, a)
	}
	delete(t.data, m.ProducerID)
	t.ended[m.ProducerID] = b.BaseOffset()
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
		return nil, errUnknown // see headersBeside
	}
	t := &rebuiltTxns{data: map[record.ProducerID]record.Offset{}, ended: map[record.ProducerID]record.Offset{}}
	for first := i; ; first-- {
		data, err := vfs.ReadFile(fsys, path.Join(dir, offsetName(bases[first])+snapshotSuffix))
		if err == nil {
			t.state, err = decodeSnapshot(data)
		}
		if err != nil && first > 0 {
			continue
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, errUnknown // what was open in front of the log's first segment
		}
		t.next = bases[first]
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

// verifyTxns checks that a transaction index says what the log says.
func verifyTxns(fsys vfs.FS, name string, rows []any) error {
	log, err := rebuildTxns(fsys, path.Dir(name), fileBase(name))
	if err != nil {
		return told(err)
	}
	list := make([]AbortedTxn, len(rows))
	for i, row := range rows {
		e := row.(TxnIndexEntry)
		if e.Version != txnIndexVersion {
			return wrongEntry(i, txnIndexEntryBytes, "has version %d, this milldam knows %d", e.Version, txnIndexVersion)
		}
		list[i] = AbortedTxn{record.ProducerID(e.ProducerID), record.Offset(e.First), record.Offset(e.Last), record.Offset(e.LastStable)}
	}
	if log.compacted {
		return log.verifyCompacted(list)
	}
	for i, e := range list {
		if i == len(log.list) || e != log.list[i] {
			return wrongEntry(i, txnIndexEntryBytes, "is %s, the log says %s", e, abortedAt(log.list, i))
		}
	}
	if n := len(list); n < len(log.list) {
		return missingEntry(n, log.list[n].ProducerID, log.list[n].Last)
	}
	return nil
}

// String is for people.
func (a AbortedTxn) String() string {
	return fmt.Sprintf("producer %d, offsets %d to %d, last stable offset %d", a.ProducerID, a.First, a.Last, a.LastStable)
}

func abortedAt(list []AbortedTxn, i int) string {
	if i == len(list) {
		return "that no more transactions were aborted"
	}
	return list[i].String()
}

func missingEntry(i int, producer record.ProducerID, marker record.Offset) error {
	return badEntries{fmt.Errorf("damaged at position %d: the transaction of producer %d that was aborted at offset %d is missing", i*txnIndexEntryBytes, producer, marker)}
}

// verifyCompacted checks the index of a compacted log: every entry has its marker, and takes no record for aborted, nor leaves one out, that the log has.
func (t *rebuiltTxns) verifyCompacted(list []AbortedTxn) error {
	markers := t.markers
	for i, e := range list {
		for len(markers) > 0 && markers[0].at < e.Last {
			if markers[0].data != noOffset {
				return missingEntry(i, markers[0].producer, markers[0].at)
			}
			markers = markers[1:]
		}
		if len(markers) == 0 || markers[0].at != e.Last || markers[0].producer != e.ProducerID {
			return wrongEntry(i, txnIndexEntryBytes, "is %s: the log has no such marker", e)
		}
		if m := markers[0]; e.First <= m.before || e.First >= e.Last || m.data != noOffset && e.First > m.data || e.LastStable > e.Last+1 {
			return wrongEntry(i, txnIndexEntryBytes, "is %s: the log has records of it from offset %d on, and the marker in front at %d", e, m.data, m.before)
		}
		markers = markers[1:]
	}
	for _, m := range markers {
		if m.data != noOffset {
			return missingEntry(len(list), m.producer, m.at)
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
			want := list.at(b.BaseOffset())
			if before := want < 0 && len(list) > 0; !before && want != b.LeaderEpoch() { // what is in front of the log's start has none
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
