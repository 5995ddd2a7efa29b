package coordinator

import (
	"maps"
	"slices"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/milldam/milldam/core/record"
)

// A group of the consumer type (KIP-848), as its records say. Everything reachable from it is replaced, never changed, but for the maps that apply sets.
type consumerGroup struct {
	epoch        int32 // of the group: it rises when the target has to be computed anew
	metadataHash int64 // of the topics subscribed to

	targetEpoch int32 // of the group when the target was computed
	targetTime  int64 // ms, when that was

	members map[string]*consumerMember
	targets map[string]partitions
	regexes map[string]*resolvedRegex

	static map[string]string        // instance id to member id
	owners map[topicPartition]int32 // epoch of the member that has the partition, or has still to give it back
}

type topicPartition struct {
	topic     record.TopicID
	partition int32
}

// partitions are partitions by topic, sorted.
type partitions map[record.TopicID][]int32

// owned are partitions with the epoch of the member when it got each.
type owned map[record.TopicID]map[int32]int32

// consumerMember is a member: what it said, and where its assignment stands. Immutable.
type consumerMember struct {
	id string
	*memberMetadata
	*currentAssignment
}

// memberMetadata is what a member says of itself.
type memberMetadata struct {
	instance, rack *string
	client         Client
	topics         []string // sorted
	regex          string
	rebalanceMs    int32
	assignor       *string
	classic        *classicMember // nil when it speaks the consumer protocol
}

// classicMember is what a member of the classic protocol says.
type classicMember struct {
	sessionMs int32
	protocols []kmsg.JoinGroupRequestProtocol
}

func (m *memberMetadata) same(o *memberMetadata) bool {
	text := func(a, b *string) bool { return (a == nil) == (b == nil) && deref(a) == deref(b) }
	if (m.classic == nil) != (o.classic == nil) || m.classic != nil && (m.classic.sessionMs != o.classic.sessionMs || !sameProtocols(m.classic.protocols, o.classic.protocols)) {
		return false
	}
	return m.client == o.client && m.regex == o.regex && m.rebalanceMs == o.rebalanceMs && slices.Equal(m.topics, o.topics) && text(m.instance, o.instance) &&
		text(m.rack, o.rack) && text(m.assignor, o.assignor)
}

// memberState is where a member is on its way to its target, by Kafka's numbers.
type memberState int8

const (
	memberStable     memberState = 0 // it has what it shall have
	memberUnrevoked  memberState = 1 // it has to give partitions back
	memberUnreleased memberState = 2 // it waits for partitions that others have to give back
)

// currentAssignment is where a member's assignment stands.
type currentAssignment struct {
	epoch, previous int32
	state           memberState
	assigned        owned
	revoking        owned // what it has to give back
}

// resolvedRegex is what a regular expression matched at a time.
type resolvedRegex struct {
	topics  []string // sorted
	version int64    // of the metadata
	at      int64    // ms
}

// leftStatic is the epoch of a static member that has left for a while (KIP-848).
const leftStatic int32 = -2

// What is not known of a member.
var (
	noAssignment = &currentAssignment{previous: -1}
	noMetadata   = &memberMetadata{}
)

// firstEpoch is the epoch of a group, and of its target, before either is written: Kafka's.
const firstEpoch int32 = 1

func newConsumerGroup() *consumerGroup {
	return &consumerGroup{epoch: firstEpoch, targetEpoch: firstEpoch, members: map[string]*consumerMember{}, targets: map[string]partitions{}, regexes: map[string]*resolvedRegex{},
		static: map[string]string{}, owners: map[topicPartition]int32{}}
}

// isNothing tells that no record of the group is left.
func (c *consumerGroup) isNothing() bool {
	return c.epoch <= firstEpoch && c.targetEpoch <= firstEpoch && len(c.members) == 0 && len(c.targets) == 0 && len(c.regexes) == 0
}

// fact is one record of a consumer group. Facts change the group, and nothing else does.
type fact interface {
	// apply changes the group, and returns what takes the change back.
	apply(c *consumerGroup) (undo func())
	// encode returns the record; a removal has no value.
	encode(group string) (key, value []byte)
}

// set sets or, when there is no value, removes an entry of a map.
func set[K comparable, V any](m map[K]V, key K, value V, there bool) (undo func()) {
	old, had := m[key]
	if there {
		m[key] = value
	} else {
		delete(m, key)
	}
	return func() {
		if had {
			m[key] = old
		} else {
			delete(m, key)
		}
	}
}

// groupEpoch is the group's epoch.
type groupEpoch struct {
	epoch int32
	hash  int64
}

func (f groupEpoch) apply(c *consumerGroup) func() {
	epoch, hash := c.epoch, c.metadataHash
	c.epoch, c.metadataHash = f.epoch, f.hash
	return func() { c.epoch, c.metadataHash = epoch, hash }
}

// targetEpoch is the epoch the target was computed for.
type targetEpoch struct {
	epoch int32
	at    int64
}

func (f targetEpoch) apply(c *consumerGroup) func() {
	epoch, at := c.targetEpoch, c.targetTime
	c.targetEpoch, c.targetTime = f.epoch, f.at
	return func() { c.targetEpoch, c.targetTime = epoch, at }
}

// memberFact is what a member says; nil when it is gone.
type memberFact struct {
	id       string
	metadata *memberMetadata
}

func (f memberFact) apply(c *consumerGroup) func() {
	undoCurrent := func() {}
	if f.metadata == nil { // it may be all that compaction has left of the removal
		undoCurrent = currentFact{id: f.id}.apply(c)
	}
	m := &consumerMember{f.id, f.metadata, noAssignment}
	old := c.members[f.id]
	undoStatic := func() {}
	if old != nil {
		m.currentAssignment = old.currentAssignment
		if i := old.instance; i != nil && c.static[*i] == f.id {
			undoStatic = set(c.static, *i, "", false)
		}
	}
	undoMember := set(c.members, f.id, m, f.metadata != nil)
	undoNewStatic := func() {}
	if f.metadata != nil && f.metadata.instance != nil {
		undoNewStatic = set(c.static, *f.metadata.instance, f.id, true)
	}
	return func() { undoNewStatic(); undoMember(); undoStatic(); undoCurrent() }
}

// targetFact is what a member shall have; nil when it is gone.
type targetFact struct {
	id   string
	have partitions
}

func (f targetFact) apply(c *consumerGroup) func() {
	return set(c.targets, f.id, f.have, f.have != nil)
}

// currentFact is where a member's assignment stands; nil when it has none any more.
type currentFact struct {
	id  string
	now *currentAssignment
}

func (f currentFact) apply(c *consumerGroup) func() {
	old := c.members[f.id]
	if old == nil && f.now == nil {
		return func() {}
	}
	m := &consumerMember{f.id, noMetadata, noAssignment}
	if f.now != nil {
		m.currentAssignment = f.now
	}
	if old != nil { // else what it said comes later in the log, which was compacted
		m.memberMetadata = old.memberMetadata
		c.disown(old)
	}
	c.own(m)
	undo := set(c.members, f.id, m, true)
	return func() {
		c.disown(m)
		if undo(); old != nil {
			c.own(old)
		}
	}
}

func (c *consumerGroup) own(m *consumerMember) {
	for _, o := range []owned{m.assigned, m.revoking} {
		for topic, list := range o {
			for p := range list {
				c.owners[topicPartition{topic, p}] = m.epoch
			}
		}
	}
}

// disown frees what a member had, but for what another has by now: a static member that took its place.
func (c *consumerGroup) disown(m *consumerMember) {
	for _, o := range []owned{m.assigned, m.revoking} {
		for topic, list := range o {
			for p := range list {
				if tp := (topicPartition{topic, p}); c.owners[tp] == m.epoch {
					delete(c.owners, tp)
				}
			}
		}
	}
}

// regexFact is what a regular expression matched; nil when nobody uses it any more.
type regexFact struct {
	regex    string
	resolved *resolvedRegex
}

func (f regexFact) apply(c *consumerGroup) func() {
	return set(c.regexes, f.regex, f.resolved, f.resolved != nil)
}

// subscribed tells how many members are subscribed to each topic.
func (c *consumerGroup) subscribed() map[string]int {
	counts := map[string]int{}
	for _, m := range c.members {
		for _, t := range c.topicsOf(m) {
			counts[t]++
		}
	}
	return counts
}

// topicsOf are the topics that a member is subscribed to, sorted.
func (c *consumerGroup) topicsOf(m *consumerMember) []string {
	r := c.regexes[m.regex]
	if m.regex == "" || r == nil {
		return m.topics
	}
	if len(m.topics) == 0 {
		return r.topics
	}
	return slices.Compact(slices.Sorted(slices.Values(slices.Concat(m.topics, r.topics))))
}

// partitions are the partitions without the epochs.
func (o owned) partitions() partitions {
	out := partitions{}
	for topic, list := range o {
		out[topic] = slices.Sorted(maps.Keys(list))
	}
	return out
}

func sameOwned(a, b owned) bool {
	return maps.EqualFunc(a, b, maps.Equal[map[int32]int32, map[int32]int32])
}

func samePartitions(a, b partitions) bool { return maps.EqualFunc(a, b, slices.Equal[[]int32]) }
