package coordinator

import (
	"maps"
	"slices"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// offsetKey names a committed offset within a group.
type offsetKey struct {
	topic     string
	partition int32
}

// offset is a committed offset.
type offset struct {
	offset      int64
	leaderEpoch int32
	metadata    string
	committed   int64 // ms
}

// durable is what the log says of a group.
type durable struct {
	offsets  map[offsetKey]offset
	metadata *kmsg.GroupMetadataValue // nil: the group has offsets alone
}

// shard is the durable state of one partition of the offsets topic.
type shard struct {
	log    OffsetsLog
	groups map[string]*durable
}

func newShard(log OffsetsLog) *shard { return &shard{log: log, groups: map[string]*durable{}} }

func (s *shard) group(name string) *durable {
	d := s.groups[name]
	if d == nil {
		d = &durable{offsets: map[offsetKey]offset{}}
		s.groups[name] = d
	}
	return d
}

// apply changes the state as one record says. It is the only code that does.
func (s *shard) apply(r entry) {
	d := s.group(r.group)
	switch {
	case r.isOffset && r.offset == nil:
		delete(d.offsets, r.key)
	case r.isOffset:
		d.offsets[r.key] = *r.offset
	default:
		d.metadata = r.metadata
	}
	if len(d.offsets) == 0 && d.metadata == nil {
		delete(s.groups, r.group)
	}
}

// sortedKeys are the offsets of a group in the order of topic and partition.
func (d *durable) sortedKeys() []offsetKey {
	return slices.SortedFunc(maps.Keys(d.offsets), func(a, b offsetKey) int {
		if a.topic != b.topic {
			if a.topic < b.topic {
				return -1
			}
			return 1
		}
		return int(a.partition) - int(b.partition)
	})
}
