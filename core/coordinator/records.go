package coordinator

import (
	"encoding/binary"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/milldam/milldam/core/record"
)

// entry is one record of the offsets topic: an offset or a group, or the removal of one.
type entry struct {
	group    string
	isOffset bool
	key      offsetKey
	offset   *offset
	metadata *kmsg.GroupMetadataValue // of a classic group
	fact     fact                     // of a consumer group
}

// Versions of the keys and values, as Kafka 4.3 writes them.
const (
	offsetKeyVersion     = 1
	groupKeyVersion      = 2
	offsetValueVersion   = 4
	metadataValueVersion = 3
)

// encode returns key and value of the record; a removal has no value.
func (e entry) encode() (key, value []byte) {
	if e.isOffset {
		k := kmsg.OffsetCommitKey{Version: offsetKeyVersion, Group: e.group, Topic: e.key.topic, Partition: e.key.partition}
		if e.offset == nil {
			return k.AppendTo(nil), nil
		}
		v := kmsg.OffsetCommitValue{Version: offsetValueVersion, Offset: e.offset.offset, LeaderEpoch: e.offset.leaderEpoch, Metadata: e.offset.metadata,
			CommitTimestamp: e.offset.committed, TopicID: e.offset.topic}
		return k.AppendTo(nil), v.AppendTo(nil)
	}
	if e.fact != nil {
		return e.fact.encode(e.group)
	}
	k := kmsg.GroupMetadataKey{Version: groupKeyVersion, Group: e.group}
	if e.metadata == nil {
		return k.AppendTo(nil), nil
	}
	v := *e.metadata
	v.Version = metadataValueVersion
	return k.AppendTo(nil), v.AppendTo(nil)
}

// decode reads a record. ok is false for kinds of records that are not known here, which newer nodes may write.
func decode(key, value []byte) (e entry, ok bool) {
	if len(key) < 2 {
		return e, false
	}
	switch version := int16(binary.BigEndian.Uint16(key)); version {
	case 0, offsetKeyVersion:
		var k kmsg.OffsetCommitKey
		if k.ReadFrom(key) != nil {
			return e, false
		}
		e = entry{group: k.Group, isOffset: true, key: offsetKey{k.Topic, k.Partition}}
		if value == nil {
			return e, true
		}
		var v kmsg.OffsetCommitValue
		if v.ReadFrom(value) != nil {
			return e, false
		}
		e.offset = &offset{offset: v.Offset, leaderEpoch: v.LeaderEpoch, metadata: v.Metadata, committed: v.CommitTimestamp, topic: v.TopicID}
		return e, true
	case groupKeyVersion:
		var k kmsg.GroupMetadataKey
		if k.ReadFrom(key) != nil {
			return e, false
		}
		e = entry{group: k.Group}
		if value == nil {
			return e, true
		}
		v := new(kmsg.GroupMetadataValue)
		if v.ReadFrom(value) != nil {
			return e, false
		}
		v.Version = metadataValueVersion
		e.metadata = v
		return e, true
	default:
		e.group, e.fact, ok = decodeFact(version, key, value)
		return e, ok
	}
}

// maxEntriesBytes bounds what a batch of the offsets topic may decompress to.
const maxEntriesBytes = 64 << 20

// replay applies what a batch of the log says.
func (s *shard) replay(b record.Batch) error {
	if b.IsControl() {
		m, ok, err := b.Marker()
		if ok {
			s.applyMarker(m.ProducerID, m.Commit)
		}
		return err
	}
	producer := record.NoProducer
	if b.IsTransactional() {
		producer = b.ProducerID()
	}
	return b.Each(maxEntriesBytes, func(r *record.Record) error {
		switch e, ok := decode(r.Key, r.Value); {
		case !ok:
		case e.isOffset:
			s.applyOffset(e, r.Offset, producer)
		default:
			s.applyGroup(e)
		}
		return nil
	})
}

// batchOf encodes records as one batch, of a transaction or of none.
func batchOf(list []entry, txn Txn) ([]byte, error) {
	opts := record.NewBatchOptions()
	opts.ProducerID, opts.ProducerEpoch, opts.Transactional = txn.ID, txn.Epoch, txn.ID != record.NoProducer
	var b record.Builder
	b.Reset(opts)
	now := time.Now().UnixMilli()
	for _, e := range list {
		key, value := e.encode()
		b.Append(now, key, value)
	}
	return b.Build(nil)
}
