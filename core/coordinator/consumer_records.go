package coordinator

import (
	"bytes"
	"maps"
	"slices"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/milldam/milldam/core/record"
)

// Types of the keys of a consumer group's records, which are also Kafka's versions of the key. Type 4, the partitions of the topics, is of Kafka before 4.1.
const (
	consumerGroupKey     = 3
	consumerPartitionKey = 4
	consumerMemberKey    = 5
	targetEpochKey       = 6
	targetMemberKey      = 7
	currentMemberKey     = 8
	regexKey             = 16
)

// consumerValueVersion is the version of all their values.
const consumerValueVersion = 0

func versioned() []byte { return []byte{0, consumerValueVersion} }

func (f groupEpoch) encode(group string) (key, value []byte) {
	b := appendInt32(versioned(), f.epoch)
	if f.hash == 0 {
		return keyOf(consumerGroupKey, group), noTags(b)
	}
	return keyOf(consumerGroupKey, group), appendTag(b, 0, appendInt64(nil, f.hash))
}

func (f targetEpoch) encode(group string) (key, value []byte) {
	b := appendInt32(versioned(), f.epoch)
	if f.at == 0 {
		return keyOf(targetEpochKey, group), noTags(b)
	}
	return keyOf(targetEpochKey, group), appendTag(b, 0, appendInt64(nil, f.at))
}

// What a struct that may be null begins with.
const (
	absent  = 0
	present = 1
)

func (f memberFact) encode(group string) (key, value []byte) {
	key = keyOf(consumerMemberKey, group, f.id)
	m := f.metadata
	if m == nil {
		return key, nil
	}
	b := appendNullable(appendNullable(versioned(), m.instance), m.rack)
	b = appendString(appendString(b, m.client.ID), m.client.Host)
	b = appendLength(b, len(m.topics))
	for _, t := range m.topics {
		b = appendString(b, t)
	}
	b = appendInt32(appendString(b, m.regex), m.rebalanceMs)
	b = appendNullable(b, m.assignor)
	if m.classic == nil {
		return key, appendTag(b, 0, []byte{absent})
	}
	field := appendLength(appendInt32([]byte{present}, m.classic.sessionMs), len(m.classic.protocols))
	for _, p := range m.classic.protocols {
		field = appendLength(appendString(field, p.Name), len(p.Metadata))
		field = noTags(append(field, p.Metadata...))
	}
	return key, appendTag(b, 0, noTags(field))
}

func decodeMember(f *flexible) *memberMetadata {
	m := &memberMetadata{instance: f.nullable(), rack: f.nullable(), client: Client{f.string(), f.string()}, topics: f.strings(), regex: deref(f.nullable()),
		rebalanceMs: f.int32(), assignor: f.nullable()}
	slices.Sort(m.topics)
	f.tags(0, func(f *flexible) {
		if f.uvarint() == absent {
			return
		}
		c := &classicMember{sessionMs: f.int32()}
		f.each(3, func() {
			p := kmsg.NewJoinGroupRequestProtocol()
			p.Name, p.Metadata = f.string(), bytes.Clone(f.bytes())
			f.noKnownTags()
			c.protocols = append(c.protocols, p)
		})
		f.noKnownTags()
		if m.classic = c; len(c.protocols) == 0 { // a classic member always has one
			f.fail()
		}
	})
	return m
}

// sortedTopics are the keys of a map by topic id, in a fixed order.
func sortedTopics[V any](m map[record.TopicID]V) []record.TopicID {
	return slices.SortedFunc(maps.Keys(m), func(a, b record.TopicID) int { return bytes.Compare(a[:], b[:]) })
}

func (f targetFact) encode(group string) (key, value []byte) {
	key = keyOf(targetMemberKey, group, f.id)
	if f.have == nil {
		return key, nil
	}
	b := appendLength(versioned(), len(f.have))
	for _, id := range sortedTopics(f.have) {
		b = noTags(appendInt32s(append(b, id[:]...), f.have[id]))
	}
	return key, noTags(b)
}

// leastTopicBytes is what a topic with its partitions takes at least.
const leastTopicBytes = 18

func decodeTarget(f *flexible) partitions {
	have := partitions{}
	f.each(leastTopicBytes, func() {
		id := f.topicID()
		have[id] = f.int32s()
		slices.Sort(have[id])
		f.noKnownTags()
	})
	f.noKnownTags()
	return have
}

func (f currentFact) encode(group string) (key, value []byte) {
	key = keyOf(currentMemberKey, group, f.id)
	if f.now == nil {
		return key, nil
	}
	b := append(appendInt32(appendInt32(versioned(), f.now.epoch), f.now.previous), byte(f.now.state))
	return key, noTags(appendOwned(appendOwned(b, f.now.assigned), f.now.revoking))
}

func appendOwned(b []byte, o owned) []byte {
	b = appendLength(b, len(o))
	for _, id := range sortedTopics(o) {
		list := slices.Sorted(maps.Keys(o[id]))
		epochs := make([]int32, len(list))
		for i, p := range list {
			epochs[i] = o[id][p]
		}
		b = appendTag(appendInt32s(append(b, id[:]...), list), 0, appendInt32s(nil, epochs))
	}
	return b
}

func decodeCurrent(f *flexible) *currentAssignment {
	now := &currentAssignment{epoch: f.int32(), previous: f.int32(), state: memberState(f.int8())}
	now.assigned, now.revoking = decodeOwned(f, now.epoch), decodeOwned(f, now.epoch)
	f.noKnownTags()
	return now
}

// decodeOwned reads partitions; those without epochs, of Kafka before 4.3, have the member's.
func decodeOwned(f *flexible, epoch int32) owned {
	o := owned{}
	f.each(leastTopicBytes, func() {
		id, list := f.topicID(), f.int32s()
		var epochs []int32
		f.tags(0, func(f *flexible) { epochs = f.int32s() })
		o[id] = map[int32]int32{}
		for i, p := range list {
			o[id][p] = epoch
			if i < len(epochs) {
				o[id][p] = epochs[i]
			}
		}
	})
	return o
}

func (f regexFact) encode(group string) (key, value []byte) {
	key = keyOf(regexKey, group, f.regex)
	if f.resolved == nil {
		return key, nil
	}
	b := appendLength(versioned(), len(f.resolved.topics))
	for _, t := range f.resolved.topics {
		b = appendString(b, t)
	}
	return key, noTags(appendInt64(appendInt64(b, f.resolved.version), f.resolved.at))
}

// groupGone removes a consumer group. encode is of its record; decode makes it of a record of the group's epoch without a value.
type groupGone struct{}

func (groupGone) encode(group string) (key, value []byte) { return keyOf(consumerGroupKey, group), nil }

// apply is not how a group goes: the shard drops it; see shard.apply.
func (groupGone) apply(*consumerGroup) func() { return func() {} }

// targetGone removes the target's epoch.
type targetGone struct{}

func (targetGone) encode(group string) (key, value []byte) { return keyOf(targetEpochKey, group), nil }

func (targetGone) apply(c *consumerGroup) func() { return targetEpoch{epoch: firstEpoch}.apply(c) }

// keyNames is how many strings each kind of key has.
var keyNames = map[int16]int{consumerGroupKey: 1, consumerMemberKey: 2, targetEpochKey: 1, targetMemberKey: 2, currentMemberKey: 2, regexKey: 2}

// decodeFact reads a record of a consumer group. ok is false when it is none, or damaged.
func decodeFact(kind int16, key, value []byte) (group string, what fact, ok bool) {
	n := keyNames[kind]
	names, ok := keyStrings(key, n)
	if n == 0 || !ok {
		return "", nil, false
	}
	f := &flexible{b: value}
	if value != nil && f.int16() != consumerValueVersion {
		return "", nil, false
	}
	group = names[0]
	switch name := names[n-1]; {
	case kind == consumerGroupKey && value == nil:
		what = groupGone{}
	case kind == consumerGroupKey:
		e := groupEpoch{epoch: f.int32()}
		f.tags(0, func(f *flexible) { e.hash = f.int64() })
		what = e
	case kind == targetEpochKey && value == nil:
		what = targetGone{}
	case kind == targetEpochKey:
		e := targetEpoch{epoch: f.int32()}
		f.tags(0, func(f *flexible) { e.at = f.int64() })
		what = e
	default:
		what = decodeNamed(kind, name, f, value != nil)
	}
	return group, what, f.err == nil
}

// decodeNamed reads a record about a member or a regular expression.
func decodeNamed(kind int16, name string, f *flexible, there bool) fact {
	switch kind {
	case consumerMemberKey:
		if there {
			return memberFact{name, decodeMember(f)}
		}
		return memberFact{id: name}
	case targetMemberKey:
		if there {
			return targetFact{name, decodeTarget(f)}
		}
		return targetFact{id: name}
	case currentMemberKey:
		if there {
			return currentFact{name, decodeCurrent(f)}
		}
		return currentFact{id: name}
	}
	if !there {
		return regexFact{regex: name}
	}
	r := &resolvedRegex{topics: f.strings(), version: f.int64(), at: f.int64()}
	f.noKnownTags()
	return regexFact{name, r}
}
