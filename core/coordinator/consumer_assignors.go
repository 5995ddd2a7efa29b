package coordinator

import (
	"cmp"
	"slices"

	"github.com/milldam/milldam/core/record"
)

// Names of the assignors, Kafka's.
const (
	uniformAssignor = "uniform"
	rangeAssignor   = "range"
)

// assignorInput is what an assignor goes by.
type assignorInput struct {
	members    []string // in a fixed order
	subscribed map[string][]record.TopicID
	counts     map[record.TopicID]int32
	current    map[string]partitions // the target before
}

var assignors = map[string]func(assignorInput) map[string]partitions{uniformAssignor: assignUniform, rangeAssignor: assignRange}

// compareMembers orders static members, by their instance id, before the others: a static one that is started again has its place.
func compareMembers(a, b *consumerMember) int {
	switch {
	case a.instance != nil && b.instance != nil:
		return cmp.Compare(*a.instance, *b.instance)
	case a.instance != nil:
		return -1
	case b.instance != nil:
		return 1
	}
	return cmp.Compare(a.id, b.id)
}

// subscribers are the members by topic, in their order.
func (in assignorInput) subscribers() map[record.TopicID][]string {
	out := map[record.TopicID][]string{}
	for _, id := range in.members {
		for _, topic := range in.subscribed[id] {
			out[topic] = append(out[topic], id)
		}
	}
	return out
}

// assignRange gives each member a range of every topic, so that the same numbers of two topics go to the same member.
func assignRange(in assignorInput) map[string]partitions {
	out := map[string]partitions{}
	for topic, members := range in.subscribers() {
		n, m := int(in.counts[topic]), len(members)
		next := 0
		for i, id := range members {
			size := n / m
			if i < n%m {
				size++
			}
			for p := next; p < next+size; p++ {
				if out[id] == nil {
					out[id] = partitions{}
				}
				out[id][topic] = append(out[id][topic], int32(p))
			}
			next += size
		}
	}
	return out
}

// uniform is an assignment in the making.
type uniform struct {
	in      assignorInput
	all     []topicPartition
	readers map[record.TopicID][]string
	owner   map[topicPartition]string
	load    map[string]int
}

// assignUniform gives all members about as many partitions, and moves as few as it can: what a member had it keeps, up to its share.
func assignUniform(in assignorInput) map[string]partitions {
	u := &uniform{in: in, readers: in.subscribers(), owner: map[topicPartition]string{}, load: map[string]int{}}
	for _, topic := range sortedTopics(u.readers) {
		for p := range in.counts[topic] {
			u.all = append(u.all, topicPartition{topic, p})
		}
	}
	if u.sameForAll() {
		u.keep(len(u.all)/len(in.members), len(u.all)%len(in.members))
		u.deal()
	} else {
		u.keep(len(u.all), 0)
		u.place()
		u.balance()
	}
	return u.result()
}

// sameForAll tells whether all members are subscribed to the same topics.
func (u *uniform) sameForAll() bool {
	for _, readers := range u.readers {
		if len(readers) != len(u.in.members) {
			return false
		}
	}
	return len(u.in.members) > 0
}

// keep leaves each member what it had and may still have, up to share; more of them may have one beyond it.
func (u *uniform) keep(share, more int) {
	for _, id := range u.in.members {
		mine := map[record.TopicID]bool{}
		for _, topic := range u.in.subscribed[id] {
			mine[topic] = true
		}
		had := u.in.current[id]
		for _, topic := range sortedTopics(had) {
			for _, p := range had[topic] {
				tp := topicPartition{topic, p}
				if !mine[topic] || p >= u.in.counts[topic] || u.owner[tp] != "" {
					continue
				}
				if u.load[id] >= share {
					if more == 0 || u.load[id] > share {
						continue
					}
					more--
				}
				u.give(tp, id)
			}
		}
	}
}

func (u *uniform) give(tp topicPartition, id string) {
	u.owner[tp] = id
	u.load[id]++
}

// deal gives what is left to the members that have less than their share, and then one each to others until nothing is left.
func (u *uniform) deal() {
	share := len(u.all) / len(u.in.members)
	left := slices.DeleteFunc(slices.Clone(u.all), func(tp topicPartition) bool { return u.owner[tp] != "" })
	for _, limit := range []int{share, share + 1} {
		for _, id := range u.in.members {
			for len(left) > 0 && u.load[id] < limit {
				u.give(left[0], id)
				left = left[1:]
			}
		}
	}
}

// place gives what nobody has to the member that has least of those that may have it, the topics that few may have first.
func (u *uniform) place() {
	left := slices.DeleteFunc(slices.Clone(u.all), func(tp topicPartition) bool { return u.owner[tp] != "" })
	slices.SortStableFunc(left, func(a, b topicPartition) int { return cmp.Compare(len(u.readers[a.topic]), len(u.readers[b.topic])) })
	for _, tp := range left {
		u.give(tp, u.least(tp.topic))
	}
}

// least is the member with the fewest partitions of those that read the topic.
func (u *uniform) least(topic record.TopicID) string {
	return slices.MinFunc(u.readers[topic], func(a, b string) int { return cmp.Compare(u.load[a], u.load[b]) })
}

// balancePasses bounds how often balance looks at all partitions; each pass moves them closer to even.
const balancePasses = 16

// balance moves partitions from who has more than one too many to who has fewer.
func (u *uniform) balance() {
	for range balancePasses {
		moved := false
		var topic record.TopicID
		to := ""
		for _, tp := range u.all { // topic by topic
			if to == "" || tp.topic != topic {
				topic, to = tp.topic, u.least(tp.topic)
			}
			if from := u.owner[tp]; u.load[from] > u.load[to]+1 {
				u.load[from]--
				u.give(tp, to)
				moved, to = true, ""
			}
		}
		if !moved {
			return
		}
	}
}

func (u *uniform) result() map[string]partitions {
	out := map[string]partitions{}
	for _, tp := range u.all { // in the order of topics and partitions
		id := u.owner[tp]
		if out[id] == nil {
			out[id] = partitions{}
		}
		out[id][tp.topic] = append(out[id][tp.topic], tp.partition)
	}
	return out
}
