package storage

import (
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/milldam/milldam/core/record"
	"github.com/milldam/milldam/core/vfs"
)

// FileKind says what a file of a data folder holds.
type FileKind string

// The kinds of files that can be read one by one.
const (
	SegmentFile     FileKind = "segment"
	OffsetIndexFile FileKind = "offset index"
	TimeIndexFile   FileKind = "time index"
	TxnIndexFile    FileKind = "transaction index"
	SnapshotFile    FileKind = "producer snapshot"
	EpochsFile      FileKind = "leader epochs"
	TopicIDFile     FileKind = "topic id"
	CheckpointFile  FileKind = "checkpoint"
	WALFile         FileKind = "write-ahead log"
)

// KindOf tells the kind of a file by its name, "" when it is none of these.
func KindOf(name string) FileKind {
	base := path.Base(name)
	if kind, ok := fixedNames[base]; ok {
		return kind
	}
	if _, ok := segmentBase(base, path.Ext(base)); !ok { // raft's log, and the metadata's snapshots, have two numbers
		return ""
	}
	return suffixKinds[path.Ext(base)]
}

var fixedNames = map[string]FileKind{epochsFile: EpochsFile, metadataFile: TopicIDFile, checkpointFile: CheckpointFile}

var suffixKinds = map[string]FileKind{logSuffix: SegmentFile, asideSuffix: SegmentFile, indexSuffix: OffsetIndexFile, timeSuffix: TimeIndexFile, txnSuffix: TxnIndexFile,
	snapshotSuffix: SnapshotFile, walSuffix: WALFile}

// OffsetIndexEntry is an entry of an offset index: the batch at Position ends at Offset.
type OffsetIndexEntry struct {
	Offset   int64 `json:"offset"`
	Position int64 `json:"position"`
}

// TimeIndexEntry is an entry of a time index: up to Offset no record is younger than Timestamp.
type TimeIndexEntry struct {
	Offset    int64 `json:"offset"`
	Timestamp int64 `json:"timestamp"`
}

// TxnIndexEntry is an entry of a transaction index: an aborted transaction.
type TxnIndexEntry struct {
	Version    int16 `json:"version"`
	ProducerID int64 `json:"producerId"`
	First      int64 `json:"first"`
	Last       int64 `json:"last"` // its marker
	LastStable int64 `json:"lastStable"`
}

// EpochEntry says where a leader epoch begins.
type EpochEntry struct {
	Epoch int32 `json:"epoch"`
	Start int64 `json:"start"`
}

// ProducerEntry is the state of a producer in a producer snapshot.
type ProducerEntry struct {
	ProducerID       int64 `json:"producerId"`
	Epoch            int16 `json:"epoch"`
	LastSequence     int32 `json:"lastSequence"` // -1 without a batch of the epoch
	LastOffset       int64 `json:"lastOffset"`   // likewise
	Timestamp        int64 `json:"timestamp"`
	CoordinatorEpoch int32 `json:"coordinatorEpoch"` // -1 without a marker
	TxnFirst         int64 `json:"txnFirst"`         // -1 without an open transaction
}

// TopicIDEntry is the content of partition.metadata.
type TopicIDEntry struct {
	TopicID string `json:"topicId"`
}

// CheckpointEntry is a partition in the checkpoint: below Recovered everything is in segments.
type CheckpointEntry struct {
	TopicID   string `json:"topicId"`
	Partition int32  `json:"partition"`
	Start     int64  `json:"start"`
	Recovered int64  `json:"recovered"`
	Segment   int64  `json:"segment"`
	Position  int64  `json:"position"` // of Recovered in the segment
	Cleaned   int64  `json:"cleaned"`
	Producers int    `json:"producers"`
	Aborted   int    `json:"aborted"`
	Landmarks int    `json:"landmarks"`
	WALFrom   uint64 `json:"walFrom"` // sequence of the first write-ahead log file that is still needed, the same in all rows
}

// WALEntry is a record of a write-ahead log file. What does not belong to its kind is zero.
type WALEntry struct {
	Position        int64  `json:"position"`
	Kind            string `json:"kind"` // append, direct, log start, remove
	TopicID         string `json:"topicId"`
	Partition       int32  `json:"partition"`
	Offset          int64  `json:"offset"`
	Segment         int64  `json:"segment"`
	SegmentPosition int64  `json:"segmentPosition"`
	Bytes           int64  `json:"bytes"`
	LeaderEpoch     int32  `json:"leaderEpoch"`
	Synced          int64  `json:"synced"` // the file was synced up to here before
}

var walKindNames = map[walKind]string{walAppend: "append", walDirect: "direct", walLogStart: "log start", walRemove: "remove"}

func topicIDText(id record.TopicID) string { return base64.RawURLEncoding.EncodeToString(id[:]) }

// ReadBatches calls fn with each batch of a segment file, or of one that was put aside, and its position. At damage it ends with ErrCorrupt.
func ReadBatches(fsys vfs.FS, name string, fn func(b record.Batch, at int64) error) error {
	f, err := fsys.Open(name)
	if err != nil {
		return err
	}
	size, err := f.Size()
	if err == nil {
		err = batchesOf(f, 0, size, fn)
	}
	return errors.Join(err, f.Close())
}

// ReadWAL calls fn with each record of a write-ahead log file; b is nil when it has no batch. At the end it tells the first damage on its way as ErrCorrupt. A
// torn end is none.
func ReadWAL(fsys vfs.FS, name string, fn func(e WALEntry, b record.Batch) error) error {
	var damage error
	_, err := replayFile(fsys, name, func(at int64, h walHead, batch []byte) error {
		return fn(WALEntry{at, walKindNames[h.kind], topicIDText(h.topic), h.partition, int64(h.offset), int64(h.segment), h.position, int64(h.length), int32(h.epoch), int64(h.synced)}, batch)
	}, func(d walDamage) {
		if damage == nil {
			damage = fmt.Errorf("%w from byte %d to %d", ErrCorrupt, d.at, d.next)
		}
	})
	return errors.Join(err, damage)
}

// replayFile reads one write-ahead log file as recovery does, and returns where its records end: 0 when it was never begun.
func replayFile(fsys vfs.FS, name string, entry func(at int64, h walHead, batch []byte) error, damaged func(walDamage)) (end int64, err error) {
	f, err := fsys.Open(name)
	if err != nil {
		return 0, err
	}
	header := make([]byte, walHeaderBytes)
	n, _ := f.ReadAt(header, 0) // a file too short for a header was never begun
	file := &walFile{name: name, file: f}
	if file.sequence, file.previous = parseWALHeader(header[:n]); file.sequence == 0 {
		return 0, f.Close()
	}
	reading := &walReplay{file: file}
	reading.record = func(h walHead, batch []byte) error { return entry(reading.end, h, batch) }
	reading.damaged = func(d walDamage) error { damaged(d); return nil }
	_, err = reading.run()
	return reading.end, errors.Join(err, f.Close())
}

// ReadEntries returns what a small file holds, one of the Entry types for each line, as it stands there: whether it is true a Verifier tells. What cannot be read is
// ErrBadEntries, with the entries in front of it.
func ReadEntries(fsys vfs.FS, name string) (rows []any, err error) {
	data, err := vfs.ReadFile(fsys, name)
	if err != nil {
		return nil, err
	}
	base := fileBase(name)
	switch kind := KindOf(name); kind {
	case OffsetIndexFile:
		return entriesOf(data, offsetEntryBytes, func(b []byte) any {
			return OffsetIndexEntry{int64(base) + int64(binary.BigEndian.Uint32(b)), int64(binary.BigEndian.Uint32(b[4:]))}
		})
	case TimeIndexFile:
		return entriesOf(data, timeEntryBytes, func(b []byte) any {
			return TimeIndexEntry{int64(base) + int64(binary.BigEndian.Uint32(b[8:])), int64(binary.BigEndian.Uint64(b))}
		})
	case TxnIndexFile:
		return entriesOf(data, txnIndexEntryBytes, func(b []byte) any {
			f := fields{data: b}
			return TxnIndexEntry{int16(f.u16()), f.i64(), f.i64(), f.i64(), f.i64()}
		})
	case SnapshotFile:
		return producerEntries(data)
	case EpochsFile:
		list, err := decodeEpochs(data)
		for _, e := range list {
			rows = append(rows, EpochEntry{int32(e.epoch), int64(e.start)})
		}
		return rows, unreadable(err)
	case TopicIDFile:
		id, err := decodeMetadata(data)
		if err != nil {
			return nil, unreadable(err)
		}
		return []any{TopicIDEntry{topicIDText(id)}}, nil
	case CheckpointFile:
		return checkpointEntries(data)
	default:
		return nil, fmt.Errorf("%s: a %s is not read entry by entry", name, kind)
	}
}

// ErrBadEntries says that a file beside the segments cannot be read, or is not what the segments say.
var ErrBadEntries = errors.New("damaged file")

// badEntries is an error that is ErrBadEntries, and says what exactly.
type badEntries struct{ error }

func (badEntries) Is(target error) bool { return target == ErrBadEntries }

func (e badEntries) Unwrap() error { return e.error }

// unreadable makes the error of a decoder one that is ErrBadEntries.
func unreadable(err error) error {
	if err == nil {
		return nil
	}
	return badEntries{err}
}

// fileBase is the offset in a file's name, 0 when it has none.
func fileBase(name string) record.Offset {
	base, _ := segmentBase(path.Base(name), path.Ext(name))
	return base
}

func entriesOf(data []byte, size int, entry func([]byte) any) (rows []any, err error) {
	at := 0
	for ; len(data)-at >= size; at += size {
		rows = append(rows, entry(data[at:]))
	}
	if at < len(data) {
		err = badEntries{fmt.Errorf("damaged at position %d: an entry has %d bytes, %d are there", at, size, len(data)-at)}
	}
	return rows, err
}

func producerEntries(data []byte) (rows []any, err error) {
	p, err := decodeSnapshot(data)
	if err != nil {
		return nil, unreadable(err)
	}
	for _, id := range slices.Sorted(maps.Keys(p.known)) {
		k := p.known[id]
		e := ProducerEntry{int64(id), int16(k.epoch), int32(record.NoSequence), int64(noOffset), k.timestamp, k.coordinatorEpoch, int64(k.txnFirst)}
		if n := len(k.batches); n > 0 {
			e.LastSequence, e.LastOffset = int32(k.batches[n-1].last), int64(k.batches[n-1].lastOffset)
		}
		rows = append(rows, e)
	}
	return rows, nil
}

func checkpointEntries(data []byte) (rows []any, err error) {
	c, err := decodeCheckpoint(data)
	if err != nil {
		return nil, unreadable(err)
	}
	for _, l := range c.logs {
		rows = append(rows, CheckpointEntry{topicIDText(l.topic), l.partition, int64(l.start), int64(l.recovered), int64(l.segment), l.position, int64(l.cleaned),
			len(l.producers.known), len(l.aborted), len(l.landmarks), c.walFrom})
	}
	return rows, nil
}

// TopicOf returns the topic that a file of a partition's folder belongs to, by the folder's name; "" when that is no partition's.
func TopicOf(name string) string {
	folder := path.Base(path.Dir(name))
	i := strings.LastIndexByte(folder, '-')
	if i < 0 {
		return ""
	}
	if _, err := strconv.ParseUint(folder[i+1:], 10, 31); err != nil {
		return ""
	}
	return folder[:i]
}
