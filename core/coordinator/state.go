package coordinator

import (
	"cmp"
	"maps"
	"slices"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/milldam/milldam/core/record"
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
	committed   int64          // ms
	topic       record.TopicID // none: it was not known
	at          record.Offset  // of its record: of two, the later one holds
}

// durable is what the log says of a group.
type durable struct {
	offsets  map[offsetKey]offset
	pending  map[offsetKey]map[record.ProducerID]offset // of transactions that are under way
	metadata *kmsg.GroupMetadataValue                   // of a group of the classic type that has, or had, members
	consumer *consumerGroup                             // of a group of the consumer type
}

// groupOffset names an offset.
type groupOffset struct {
	group string
	key   offsetKey
}

// shard is the durable state of one partition of the offsets topic.
type shard struct {
	log    OffsetsLog
	broken bool  // a write was lost after it was applied: only a restart helps
	gone   bool  // its log was removed, and another shard may be in its place
	tail   *tail // of the last write under way
	groups map[string]*durable
	open   map[record.ProducerID]map[groupOffset]bool // what each transaction under way has in pending
}

func newShard(log OffsetsLog) *shard {
	return &shard{log: log, groups: map[string]*durable{}, open: map[record.ProducerID]map[groupOffset]bool{}}
}

func (s *shard) group(name string) *durable {
	d := s.groups[name]
	if d == nil {
		d = &durable{offsets: map[offsetKey]offset{}, pending: map[offsetKey]map[record.ProducerID]offset{}}
		s.groups[name] = d
	}
	return d
}

// applyOffset changes an offset as a record says, which is at that offset of the log and was written within the transaction of a producer, or NoProducer.
// It, applyGroup and applyMarker are all that change the state.
func (s *shard) applyOffset(r entry, at record.Offset, producer record.ProducerID) {
	d := s.group(r.group)
	switch {
	case r.offset == nil:
		delete(d.offsets, r.key)
		for id := range d.pending[r.key] {
			s.forgetPending(id, groupOffset{r.group, r.key})
		}
	default:
		o := *r.offset
		o.at = at
		if producer == record.NoProducer {
			d.offsets[r.key] = o
		} else {
			s.addPending(d, producer, groupOffset{r.group, r.key}, o)
		}
	}
	s.dropIfEmpty(r.group)
}

// applyGroup changes what a group is as a record says, and returns what takes that back.
func (s *shard) applyGroup(r entry) (undo func()) {
	d := s.group(r.group)
	defer s.dropIfEmpty(r.group)
	if r.fact == nil {
		old := d.metadata
		d.metadata = r.metadata
		return func() { s.group(r.group).metadata = old }
	}
	old := d.consumer
	back := func() { s.group(r.group).consumer = old }
	switch _, gone := r.fact.(groupGone); {
	case gone:
		d.consumer = nil
		return back
	case old == nil:
		d.consumer = newConsumerGroup()
	}
	undoFact := r.fact.apply(d.consumer)
	if d.consumer.isNothing() { // what compaction has left of the removals in a group that is gone
		d.consumer = nil
	}
	return func() { undoFact(); back() }
}

func (s *shard) dropIfEmpty(group string) {
	if d := s.groups[group]; d != nil && len(d.offsets) == 0 && len(d.pending) == 0 && d.metadata == nil && d.consumer == nil {
		delete(s.groups, group)
	}
}

func (s *shard) addPending(d *durable, producer record.ProducerID, what groupOffset, o offset) {
	if d.pending[what.key] == nil {
		d.pending[what.key] = map[record.ProducerID]offset{}
	}
	d.pending[what.key][producer] = o
	if s.open[producer] == nil {
		s.open[producer] = map[groupOffset]bool{}
	}
	s.open[producer][what] = true
}

func (s *shard) forgetPending(producer record.ProducerID, what groupOffset) {
	d := s.groups[what.group]
	if delete(d.pending[what.key], producer); len(d.pending[what.key]) == 0 {
		delete(d.pending, what.key)
	}
	if delete(s.open[producer], what); len(s.open[producer]) == 0 {
		delete(s.open, producer)
	}
}

// applyMarker ends the transaction of a producer: what it has pending holds, unless something later was committed beside it, or is dropped. It returns
// the groups that were concerned.
func (s *shard) applyMarker(producer record.ProducerID, commit bool) []string {
	touched := map[string]bool{}
	for what := range maps.Clone(s.open[producer]) {
		d := s.groups[what.group]
		o := d.pending[what.key][producer]
		s.forgetPending(producer, what)
		if old, ok := d.offsets[what.key]; commit && (!ok || old.at < o.at) {
			d.offsets[what.key] = o
		}
		touched[what.group] = true
		s.dropIfEmpty(what.group)
	}
	return slices.Sorted(maps.Keys(touched))
}

// has tells whether an offset is committed or about to be.
func (d *durable) has(key offsetKey) bool {
	_, ok := d.offsets[key]
	return ok || len(d.pending[key]) > 0
}

// allKeys are the offsets that are committed or about to be.
func (d *durable) allKeys() []offsetKey {
	keys := slices.Collect(maps.Keys(d.offsets))
	for key := range d.pending {
		if _, ok := d.offsets[key]; !ok {
			keys = append(keys, key)
		}
	}
	return keys
}

// sortedKeys are the committed offsets in the order of topic and partition.
func (d *durable) sortedKeys() []offsetKey {
	return slices.SortedFunc(maps.Keys(d.offsets), func(a, b offsetKey) int {
		return cmp.Or(cmp.Compare(a.topic, b.topic), cmp.Compare(a.partition, b.partition))
	})
}
