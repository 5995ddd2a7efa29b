package storage

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
	"maps"
	"slices"

	"github.com/milldam/milldam/core/record"
)

// Layout of Kafka's producer snapshot: version 2 bytes, checksum 4 of what follows, count 4, then per producer: id 8, epoch 2, last
// sequence 4, last offset 8, offset delta 4, timestamp 8, coordinator epoch 4, first offset of an open transaction 8. Without a batch of the epoch
// sequence and offset are -1.
const (
	snapshotVersion    = 1
	snapshotHeadBytes  = 10
	snapshotEntryBytes = 46
)

var errSnapshot = errors.New("damaged producer snapshot")

// encodeSnapshot writes the state as Kafka does, with the last batch of each producer.
func (p *producers) encodeSnapshot() []byte {
	be := binary.BigEndian
	out := make([]byte, snapshotHeadBytes, snapshotHeadBytes+len(p.known)*snapshotEntryBytes)
	for _, id := range slices.Sorted(maps.Keys(p.known)) {
		known := p.known[id]
		last := producerBatch{last: record.NoSequence, lastOffset: noOffset}
		if n := len(known.batches); n > 0 {
			last = known.batches[n-1]
		}
		out = be.AppendUint64(out, uint64(id))
		out = be.AppendUint16(out, uint16(known.epoch))
		out = be.AppendUint32(out, uint32(last.last))
		out = be.AppendUint64(out, uint64(last.lastOffset))
		out = be.AppendUint32(out, uint32(last.delta))
		out = be.AppendUint64(out, uint64(known.timestamp))
		out = be.AppendUint32(out, uint32(known.coordinatorEpoch))
		out = be.AppendUint64(out, uint64(known.txnFirst))
	}
	be.PutUint16(out, snapshotVersion)
	be.PutUint32(out[6:], uint32(len(p.known)))
	be.PutUint32(out[2:], crc32.Checksum(out[6:], castagnoli))
	return out
}

func decodeSnapshot(data []byte) (producers, error) {
	be := binary.BigEndian
	if len(data) < snapshotHeadBytes || be.Uint16(data) != snapshotVersion || be.Uint32(data[2:]) != crc32.Checksum(data[6:], castagnoli) {
		return producers{}, errSnapshot
	}
	count := int64(be.Uint32(data[6:]))
	if data = data[snapshotHeadBytes:]; count*snapshotEntryBytes != int64(len(data)) {
		return producers{}, errSnapshot
	}
	p := producers{known: make(map[record.ProducerID]*producer, count)}
	f := fields{data: data}
	for range count {
		id := record.ProducerID(f.u64())
		known := &producer{epoch: record.ProducerEpoch(f.u16())}
		b := producerBatch{last: record.Sequence(f.u32()), lastOffset: record.Offset(f.u64()), delta: int32(f.u32()), timestamp: f.i64()}
		known.timestamp, known.coordinatorEpoch, known.txnFirst = b.timestamp, int32(f.u32()), record.Offset(f.u64())
		if !known.possible() || p.known[id] != nil {
			return producers{}, errSnapshot
		}
		if b.lastOffset >= 0 {
			b.first = sequenceBefore(b.last, b.delta)
			known.batches = []producerBatch{b}
		}
		if !p.add(id, known) {
			return producers{}, errSnapshot
		}
	}
	return p, nil
}

// possible tells whether a producer that was read from a file could have come to be.
func (k *producer) possible() bool {
	return k.txnFirst >= noOffset && k.coordinatorEpoch >= noCoordinatorEpoch
}

// sequenceBefore is the sequence n before s, which wraps as Sequence.Add does.
func sequenceBefore(s record.Sequence, n int32) record.Sequence {
	if s == record.NoSequence {
		return s
	}
	if n < 0 || int64(s) >= int64(n) {
		return s - record.Sequence(max(n, 0))
	}
	return s - record.Sequence(n) + 1<<30 + 1<<30 // back over the end: 2^31 numbers from 0 on
}
