package storage

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"maps"
	"slices"
	"time"

	"github.com/milldam/milldam/core/record"
)

// keptBatches is how many of a producer's last batches are remembered: as many as a client may have in flight.
const keptBatches = 5

// producerBatch is what is remembered of a batch, to answer when it comes again.
type producerBatch struct {
	first, last record.Sequence
	lastOffset  record.Offset
	delta       int32 // last offset less first
	timestamp   int64
}

func (b producerBatch) firstOffset() record.Offset { return b.lastOffset - record.Offset(b.delta) }

// producer is the state of one producer in one partition.
type producer struct {
	epoch   record.ProducerEpoch
	batches []producerBatch // oldest first, at most keptBatches
}

// producers is the state of all producers of a partition. It follows from the log alone: apply, called for every batch in order, is all that
// changes it, live and on recovery.
type producers map[record.ProducerID]*producer

// check decides whether a client's batch may be appended. duplicate is the batch it repeats, if it does.
func (p producers) check(b record.Batch) (duplicate *producerBatch, err error) {
	if b.ProducerID() == record.NoProducer {
		return nil, nil
	}
	known := p[b.ProducerID()]
	epoch, first := b.ProducerEpoch(), b.BaseSequence()
	switch {
	case first < 0 || epoch < 0:
		return nil, fmt.Errorf("%w: producer %d with epoch %d and sequence %d", ErrInvalidRecord, b.ProducerID(), epoch, first)
	case known == nil: // its state expired, or the partition is new to it: any sequence is taken
		return nil, nil
	case epoch < known.epoch:
		return nil, fmt.Errorf("%w: producer %d has epoch %d, the batch %d", ErrProducerFenced, b.ProducerID(), known.epoch, epoch)
	case epoch > known.epoch:
		if first != 0 {
			return nil, fmt.Errorf("%w: producer %d starts epoch %d with sequence %d", ErrOutOfOrderSequence, b.ProducerID(), epoch, first)
		}
		return nil, nil
	}
	for i := range known.batches {
		if kept := &known.batches[i]; kept.first == first && kept.last == b.LastSequence() {
			return kept, nil
		}
	}
	if len(known.batches) == 0 {
		return nil, nil
	}
	if last := known.batches[len(known.batches)-1].last; first != last.Add(1) {
		return nil, fmt.Errorf("%w: producer %d sent sequence %d after %d", ErrOutOfOrderSequence, b.ProducerID(), first, last)
	}
	return nil, nil
}

// apply takes over a batch that was appended.
func (p producers) apply(b record.Batch) {
	if b.ProducerID() == record.NoProducer || b.IsControl() {
		return
	}
	known := p[b.ProducerID()]
	if known == nil || known.epoch != b.ProducerEpoch() {
		known = &producer{epoch: b.ProducerEpoch()}
		p[b.ProducerID()] = known
	}
	if len(known.batches) == keptBatches {
		known.batches = slices.Delete(known.batches, 0, 1)
	}
	known.batches = append(known.batches, producerBatch{first: b.BaseSequence(), last: b.LastSequence(), lastOffset: b.LastOffset(),
		delta: b.LastOffsetDelta(), timestamp: b.MaxTimestamp()})
}

// expire forgets producers whose last batch is older than age at now.
func (p producers) expire(now time.Time, age time.Duration) {
	oldest := now.Add(-age).UnixMilli()
	maps.DeleteFunc(p, func(_ record.ProducerID, known *producer) bool {
		return len(known.batches) == 0 || known.batches[len(known.batches)-1].timestamp < oldest
	})
}

func (p producers) clone() producers {
	c := make(producers, len(p))
	for id, known := range p {
		c[id] = &producer{epoch: known.epoch, batches: slices.Clone(known.batches)}
	}
	return c
}

// Layout of Kafka's producer snapshot: version 2 bytes, checksum 4 of what follows, count 4, then per producer: id 8, epoch 2, last
// sequence 4, last offset 8, offset delta 4, timestamp 8, coordinator epoch 4, first offset of an open transaction 8.
const (
	snapshotVersion    = 1
	snapshotHeadBytes  = 10
	snapshotEntryBytes = 46
)

var errSnapshot = errors.New("damaged producer snapshot")

// encodeSnapshot writes the state as Kafka does, with the last batch of each producer.
func (p producers) encodeSnapshot() []byte {
	out := make([]byte, snapshotHeadBytes, snapshotHeadBytes+len(p)*snapshotEntryBytes)
	count := uint32(0)
	for _, id := range slices.Sorted(maps.Keys(p)) {
		known := p[id]
		if len(known.batches) == 0 {
			continue
		}
		last := known.batches[len(known.batches)-1]
		count++
		out = binary.BigEndian.AppendUint64(out, uint64(id))
		out = binary.BigEndian.AppendUint16(out, uint16(known.epoch))
		out = binary.BigEndian.AppendUint32(out, uint32(last.last))
		out = binary.BigEndian.AppendUint64(out, uint64(last.lastOffset))
		out = binary.BigEndian.AppendUint32(out, uint32(last.delta))
		out = binary.BigEndian.AppendUint64(out, uint64(last.timestamp))
		out = binary.BigEndian.AppendUint32(out, ^uint32(0))
		out = binary.BigEndian.AppendUint64(out, ^uint64(0))
	}
	binary.BigEndian.PutUint16(out, snapshotVersion)
	binary.BigEndian.PutUint32(out[6:], count)
	binary.BigEndian.PutUint32(out[2:], crc32.Checksum(out[6:], castagnoli))
	return out
}

func decodeSnapshot(data []byte) (producers, error) {
	if len(data) < snapshotHeadBytes || binary.BigEndian.Uint16(data) != snapshotVersion ||
		binary.BigEndian.Uint32(data[2:]) != crc32.Checksum(data[6:], castagnoli) {
		return nil, errSnapshot
	}
	count := int64(binary.BigEndian.Uint32(data[6:]))
	if data = data[snapshotHeadBytes:]; count*snapshotEntryBytes != int64(len(data)) {
		return nil, errSnapshot
	}
	p := make(producers, count)
	for ; len(data) > 0; data = data[snapshotEntryBytes:] {
		b := producerBatch{last: record.Sequence(binary.BigEndian.Uint32(data[10:])), lastOffset: record.Offset(binary.BigEndian.Uint64(data[14:])),
			delta: int32(binary.BigEndian.Uint32(data[22:])), timestamp: int64(binary.BigEndian.Uint64(data[26:]))}
		b.first = sequenceBefore(b.last, b.delta)
		p[record.ProducerID(binary.BigEndian.Uint64(data))] = &producer{epoch: record.ProducerEpoch(binary.BigEndian.Uint16(data[8:])), batches: []producerBatch{b}}
	}
	return p, nil
}

// sequenceBefore is the sequence n before s, which wraps as Sequence.Add does.
func sequenceBefore(s record.Sequence, n int32) record.Sequence {
	if n < 0 || int64(s) >= int64(n) {
		return s - record.Sequence(max(n, 0))
	}
	return s - record.Sequence(n) + 1<<30 + 1<<30 // back over the end: 2^31 numbers from 0 on
}
