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
	metadata *kmsg.GroupMetadataValue
}

// Versions of the keys and values, as Kafka 4.3 writes them.
const (
	offsetKeyVersion     = 1
	groupKeyVersion      = 2
	offsetValueVersion   = 3
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
			CommitTimestamp: e.offset.committed}
		return k.AppendTo(nil), v.AppendTo(nil)
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
	switch version := binary.BigEndian.Uint16(key); version {
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
		e.offset = &offset{offset: v.Offset, leaderEpoch: v.LeaderEpoch, metadata: v.Metadata, committed: v.CommitTimestamp}
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
	}
	return e, false
}

// maxEntriesBytes bounds what a batch of the offsets topic may decompress to.
const maxEntriesBytes = 64 << 20

// entriesOf calls fn with every record of a batch that is known here.
func entriesOf(b record.Batch, fn func(entry)) error {
	if b.IsControl() {
		return nil
	}
	return b.Each(maxEntriesBytes, func(r *record.Record) error {
		if e, ok := decode(r.Key, r.Value); ok {
			fn(e)
		}
		return nil
	})
}

// batchOf encodes records as one batch.
func batchOf(list []entry) ([]byte, error) {
	var b record.Builder
	b.Reset(record.NewBatchOptions())
	now := time.Now().UnixMilli()
	for _, e := range list {
		key, value := e.encode()
		b.Append(now, key, value)
	}
	return b.Build(nil)
}
