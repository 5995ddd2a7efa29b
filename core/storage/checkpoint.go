package storage

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"path"
	"slices"

	"golang.org/x/sync/errgroup"

	"github.com/milldam/milldam/core/invariant"
	"github.com/milldam/milldam/core/record"
	"github.com/milldam/milldam/core/vfs"
)

// checkpoint is up to where the logs need no write-ahead log: everything below a log's recovered offset is in its segments, synced. Recovery
// starts there.
type checkpoint struct {
	walFrom uint64 // sequence of the first write-ahead log file that is still needed
	logs    []checkpointLog
}

// checkpointLog is one log's row.
type checkpointLog struct {
	topic     record.TopicID
	partition int32
	start     record.Offset
	recovered record.Offset
	segment   record.Offset // base of the segment that was active at recovered
	position  int64         // of recovered in it
	first     int64         // timestamp its rolling by time counts from
	hasFirst  bool
	producers producers    // of the batches below recovered
	aborted   []AbortedTxn // whose markers are in that segment, below recovered
	cleaned   record.Offset
	youngest  timeEntry // record of that segment below recovered, with dated
	dated     bool      // checkpoints before version 3 do not say it
	landmarks []landmark

	// txnIndexes are of the complete segments that have a transaction index. Checkpoints before version 4 do not list them.
	txnIndexes []txnIndexSum
	listed     bool
}

const (
	checkpointMagic   = "milldamC"
	checkpointVersion = 4 // 3, without the transaction indexes, and 2, without youngest and landmarks too, are read as well
)

var errCheckpoint = errors.New("damaged checkpoint")

// encode writes the layout of docs/formats/wal.md: magic, version, then everything in big endian, at the end a checksum of all before it.
func (c *checkpoint) encode() []byte {
	be := binary.BigEndian
	out := append([]byte(checkpointMagic), checkpointVersion)
	out = be.AppendUint64(out, c.walFrom)
	out = be.AppendUint32(out, uint32(len(c.logs)))
	for i := range c.logs {
		l := &c.logs[i]
		out = append(out, l.topic[:]...)
		out = be.AppendUint32(out, uint32(l.partition))
		for _, v := range []int64{int64(l.start), int64(l.recovered), int64(l.segment), l.position, l.first, int64(l.cleaned)} {
			out = be.AppendUint64(out, uint64(v))
		}
		out = be.AppendUint32(append(out, flag(l.hasFirst)), uint32(len(l.producers.known)))
		for id, p := range l.producers.known {
			out = appendProducer(out, id, p)
		}
		out = be.AppendUint32(out, uint32(len(l.aborted)))
		out = append(out, encodeTxnIndex(l.aborted)...)
		out = l.youngest.append(append(out, flag(l.dated)))
		out = append(out, byte(len(l.landmarks)))
		for _, m := range l.landmarks {
			out = m.youngest.append(m.offsetEntry.append(out))
		}
		out = be.AppendUint32(out, uint32(len(l.txnIndexes)))
		for _, t := range l.txnIndexes {
			out = be.AppendUint64(out, uint64(t.segment))
			out = be.AppendUint32(append(out, flag(t.known)), t.sum)
		}
	}
	return be.AppendUint32(out, crc32.Checksum(out, castagnoli))
}

func flag(set bool) byte {
	if set {
		return 1
	}
	return 0
}

func appendProducer(out []byte, id record.ProducerID, p *producer) []byte {
	be := binary.BigEndian
	out = be.AppendUint64(out, uint64(id))
	out = be.AppendUint16(out, uint16(p.epoch))
	out = be.AppendUint32(out, uint32(p.coordinatorEpoch))
	out = be.AppendUint64(out, uint64(p.timestamp))
	out = be.AppendUint64(out, uint64(p.txnFirst))
	out = append(out, byte(len(p.batches)))
	for _, b := range p.batches {
		out = be.AppendUint32(out, uint32(b.first))
		out = be.AppendUint32(out, uint32(b.last))
		out = be.AppendUint64(out, uint64(b.lastOffset))
		out = be.AppendUint32(out, uint32(b.delta))
		out = be.AppendUint64(out, uint64(b.timestamp))
	}
	return out
}

// fields reads big endian integers; after the end bad is true and everything is zero.
type fields struct {
	data []byte
	bad  bool
}

func (f *fields) take(n int) []byte {
	if f.bad || n > len(f.data) {
		f.bad = true
		return make([]byte, n)
	}
	b := f.data[:n]
	f.data = f.data[n:]
	return b
}

func (f *fields) u8() byte    { return f.take(1)[0] }
func (f *fields) u16() uint16 { return binary.BigEndian.Uint16(f.take(2)) }
func (f *fields) u32() uint32 { return binary.BigEndian.Uint32(f.take(4)) }
func (f *fields) u64() uint64 { return binary.BigEndian.Uint64(f.take(8)) }
func (f *fields) i64() int64  { return int64(f.u64()) }

// Sizes that bound what counts may claim.
const (
	checkpointLogBytes = 16 + 4 + 6*8 + 1 + 4 + 4
	producerHeadBytes  = 8 + 2 + 4 + 8 + 8 + 1
	txnIndexSumBytes   = 8 + 1 + 4
)

func decodeCheckpoint(data []byte) (*checkpoint, error) {
	if len(data) < len(checkpointMagic)+1+4 || string(data[:len(checkpointMagic)]) != checkpointMagic {
		return nil, errCheckpoint
	}
	body, sum := data[:len(data)-4], binary.BigEndian.Uint32(data[len(data)-4:])
	if crc32.Checksum(body, castagnoli) != sum {
		return nil, errCheckpoint
	}
	f := fields{data: body[len(checkpointMagic):]}
	version := f.u8()
	if version < 2 || version > checkpointVersion {
		return nil, fmt.Errorf("%w: version %d, this is a milldam that knows %d", errCheckpoint, version, checkpointVersion)
	}
	c := &checkpoint{walFrom: f.u64()}
	count := int(f.u32())
	if count*checkpointLogBytes > len(f.data) {
		return nil, errCheckpoint
	}
	for range count {
		var l checkpointLog
		copy(l.topic[:], f.take(16))
		l.partition = int32(f.u32())
		l.start, l.recovered, l.segment = record.Offset(f.i64()), record.Offset(f.i64()), record.Offset(f.i64())
		l.position, l.first, l.cleaned, l.hasFirst = f.i64(), f.i64(), record.Offset(f.i64()), f.u8() == 1
		l.producers = f.producers()
		l.aborted = f.aborted(l.segment, l.recovered)
		if version >= 3 {
			f.landmarks(&l)
		}
		if l.listed = version >= 4; l.listed {
			l.txnIndexes = f.txnIndexes(l.segment)
		}
		if l.partition < 0 || l.start < 0 || l.segment < 0 || l.recovered < l.segment || l.position < 0 || l.cleaned < 0 {
			return nil, errCheckpoint
		}
		c.logs = append(c.logs, l)
	}
	if f.bad || len(f.data) > 0 {
		return nil, errCheckpoint
	}
	return c, nil
}

func (f *fields) producers() producers {
	count := int(f.u32())
	if count*producerHeadBytes > len(f.data) {
		f.bad = true
		return producers{}
	}
	p := producers{known: make(map[record.ProducerID]*producer, count)}
	for range count {
		id := record.ProducerID(f.u64())
		known := &producer{epoch: record.ProducerEpoch(f.u16()), coordinatorEpoch: int32(f.u32()), timestamp: f.i64(), txnFirst: record.Offset(f.i64())}
		batches := f.u8()
		if batches > keptBatches || !known.possible() || p.known[id] != nil {
			f.bad = true
		}
		for range batches {
			known.batches = append(known.batches, producerBatch{first: record.Sequence(f.u32()), last: record.Sequence(f.u32()),
				lastOffset: record.Offset(f.u64()), delta: int32(f.u32()), timestamp: f.i64()})
		}
		if !p.add(id, known) {
			f.bad = true
		}
	}
	return p
}

func (f *fields) aborted(base, end record.Offset) []AbortedTxn {
	count := int(f.u32())
	if count*txnIndexEntryBytes > len(f.data) {
		f.bad = true
		return nil
	}
	list, ok := decodeTxnIndex(f.take(count*txnIndexEntryBytes), base, end)
	f.bad = f.bad || !ok
	return list
}

// landmarks reads what helps to find records in the active segment. What cannot be is as bad as a wrong checksum: records would be passed over.
func (f *fields) landmarks(l *checkpointLog) {
	l.dated = f.u8() == 1
	l.youngest = timeEntry{f.i64(), f.u32()}
	end := int64(l.recovered - l.segment)
	if l.dated && (!l.youngest.before(end) || l.youngest.timestamp < record.NoTimestamp) {
		f.bad = true
	}
	front := landmark{youngest: timeEntry{timestamp: record.NoTimestamp}}
	for i := range f.u8() {
		m := landmark{offsetEntry{f.u32(), f.u32()}, timeEntry{f.i64(), f.u32()}}
		rises := m.position > front.position && (m.relative > front.relative || i == 0) && m.youngest.timestamp >= front.youngest.timestamp
		if !rises || !l.dated || int64(m.position) >= l.position || int64(m.relative) >= end || !m.youngest.before(int64(m.relative)) || m.youngest.timestamp > l.youngest.timestamp {
			f.bad = true
			return
		}
		l.landmarks = append(l.landmarks, m)
		front = m
	}
}

// txnIndexes reads what is known of the transaction indexes of the segments below active.
func (f *fields) txnIndexes(active record.Offset) []txnIndexSum {
	count := int(f.u32())
	if count*txnIndexSumBytes > len(f.data) {
		f.bad = true
		return nil
	}
	var list []txnIndexSum
	front := record.Offset(-1)
	for range count {
		t := txnIndexSum{segment: record.Offset(f.i64()), known: f.u8() == 1, sum: f.u32()}
		if t.segment <= front || t.segment >= active {
			f.bad = true
			return nil
		}
		list, front = append(list, t), t.segment
	}
	return list
}

// row is the log's state for a checkpoint: what is in segments now. The batches beyond are in the write-ahead log, and so are the producers' of them.
func (l *Log) row() checkpointLog {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.kept != nil {
		return *l.kept
	}
	row := checkpointLog{topic: l.id, partition: l.partition, start: l.mu.start, recovered: l.mu.written, cleaned: l.mu.cleaned, producers: l.mu.flushed.clone()}
	row.txnIndexes, row.listed = slices.Clone(l.mu.txnIndexes), true
	seg := l.mu.segments[l.firstLiveLocked()] // where the next byte goes: those before are complete, those behind have none
	if invariant.On {
		last := l.mu.segments[len(l.mu.segments)-1]
		invariant.Check(seg == last || last.written == 0, "%s: segment %d has %d bytes, and segment %d is not complete", l, last.base, last.written, seg.base)
	}
	row.segment, row.position, row.first, row.hasFirst = seg.base, seg.written, seg.first, seg.hasFirst
	n, _ := slices.BinarySearchFunc(seg.aborted, l.mu.written, func(a AbortedTxn, end record.Offset) int { return int(a.Last - end) })
	row.aborted = slices.Clip(seg.aborted[:n])
	row.youngest, row.dated, row.landmarks = seg.youngest, seg.dated, seg.landmarksLocked()
	return row
}

// checkpoint moves what the full write-ahead log files hold into segments, syncs those, and frees the files.
func (s *Store) checkpoint() error {
	target := s.wal.fullUpTo()
	var needed []*Log
	for _, l := range s.Logs() {
		l.mu.Lock()
		if len(l.mu.tail) > 0 && l.mu.tail[0].wal != 0 && l.mu.tail[0].wal <= target {
			needed = append(needed, l)
		}
		l.mu.Unlock()
	}
	if err := s.flushTails(needed); err != nil {
		return err
	}
	if err := s.writeCheckpoint(target + 1); err != nil {
		return err
	}
	return s.wal.release(target)
}

// checkpointSealed makes a checkpoint when there are sealed segments behind the last one. Up to there recovery reads no segment, so only what lies
// below it may be compacted or removed.
func (s *Store) checkpointSealed() error {
	for _, l := range s.Logs() {
		l.mu.Lock()
		sealed := len(l.mu.segments) > 1 && l.mu.segments[len(l.mu.segments)-1].base > l.mu.checkpointed
		l.mu.Unlock()
		if sealed {
			return s.writeCheckpoint(0)
		}
	}
	return nil
}

// writeCheckpoint syncs what is in segments and writes the checkpoint for it; with walFrom 0 the same write-ahead log files stay needed. The rows are
// taken before the syncs: what is written meanwhile belongs to the next one.
func (s *Store) writeCheckpoint(walFrom uint64) error {
	s.checkpointing.Lock()
	defer s.checkpointing.Unlock()
	if err := s.Err(); err != nil {
		return err
	}
	s.walFrom = max(s.walFrom, walFrom)
	c := checkpoint{walFrom: s.walFrom}
	logs := s.Logs()
	for _, l := range logs {
		c.logs = append(c.logs, l.row())
	}
	if err := syncSegments(s.flusher.takeDirty()); err != nil {
		s.fail(err) // whoever asked: what was not synced is not known to be dirty any more
		return err
	}
	if err := s.Err(); err != nil {
		return err
	}
	data := c.encode()
	if invariant.On {
		_, err := decodeCheckpoint(data)
		invariant.Check(err == nil, "a checkpoint that nobody can read: %v, %+v", err, c.logs)
	}
	if err := vfs.WriteFileAtomic(s.opts.FS, path.Join(s.opts.Dir, checkpointFile), data); err != nil {
		return fmt.Errorf("write the checkpoint: %w", err)
	}
	for i, l := range logs {
		l.mu.Lock()
		l.mu.checkpointed = max(l.mu.checkpointed, c.logs[i].segment)
		l.mu.Unlock()
	}
	return nil
}

func syncSegments(dirty map[*segment]bool) error {
	var g errgroup.Group
	g.SetLimit(filesAtOnce)
	for seg := range dirty {
		g.Go(func() error {
			if err := seg.sync(); err != nil && !seg.gone() {
				return fmt.Errorf("sync segment %d of %s: %w", seg.base, seg.log, err)
			}
			return nil
		})
	}
	return g.Wait()
}
