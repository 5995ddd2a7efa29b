package coordinator

import (
	"maps"
	"slices"

	"github.com/milldam/milldam/core/record"
)

// reconcile is the next step of a member towards its target: it gives back what it shall not have, and only then goes to the target's epoch and gets what
// nobody has any more. has is what the member says it has; nil when it did not say. changed tells that it subscribes to something else than before.
func (c *consumerGroup) reconcile(m *consumerMember, topics Topics, has partitions, changed bool) *currentAssignment {
	switch {
	case m.state == memberStable && m.epoch == c.targetEpoch:
		if changed {
			return c.unsubscribe(m, topics, has)
		}
		return m.currentAssignment
	case m.state == memberUnrevoked && m.hasAny(m.revoking, has):
		if changed {
			return c.unsubscribe(m, topics, has)
		}
		return m.currentAssignment
	}
	return c.next(m, topics, has)
}

// hasAny tells whether a member still has some of the partitions, as far as is known.
func (m *consumerMember) hasAny(o owned, has partitions) bool {
	if has == nil {
		return true
	}
	for topic, list := range has {
		for _, p := range list {
			if _, ok := o[topic][p]; ok {
				return true
			}
		}
	}
	return false
}

// subscribedIDs are the topics that a member may have partitions of.
func (c *consumerGroup) subscribedIDs(m *consumerMember, topics Topics) map[record.TopicID]bool {
	ids := map[record.TopicID]bool{}
	for _, name := range c.topicsOf(m) {
		if id, _, ok := topics.Topic(name); ok {
			ids[id] = true
		}
	}
	return ids
}

// unsubscribe takes partitions of topics away that the member is not subscribed to any more, ahead of the next target.
func (c *consumerGroup) unsubscribe(m *consumerMember, topics Topics, has partitions) *currentAssignment {
	ids := c.subscribedIDs(m, topics)
	assigned, revoking := owned{}, maps.Clone(m.revoking)
	if revoking == nil {
		revoking = owned{}
	}
	for topic, list := range m.assigned {
		if ids[topic] {
			assigned[topic] = list
			continue
		}
		all := maps.Clone(list)
		maps.Copy(all, revoking[topic])
		revoking[topic] = all
	}
	switch {
	case len(assigned) == len(m.assigned):
		return m.currentAssignment
	case m.hasAny(revoking, has):
		return &currentAssignment{m.epoch, m.epoch, memberUnrevoked, assigned, revoking}
	}
	return &currentAssignment{m.epoch, m.epoch, m.state, assigned, m.revoking}
}

func (c *consumerGroup) next(m *consumerMember, topics Topics, has partitions) *currentAssignment {
	ids, target := c.subscribedIDs(m, topics), c.targets[m.id]
	assigned, revoking, free := owned{}, owned{}, partitions{}
	unreleased := false
	for topic, list := range m.assigned {
		for p, epoch := range list {
			if ids[topic] && contains(target[topic], p) {
				assigned.add(topic, p, epoch)
			} else {
				revoking.add(topic, p, epoch)
			}
		}
	}
	for topic, list := range target {
		for _, p := range list {
			if _, mine := m.assigned[topic][p]; mine || !ids[topic] {
				continue
			}
			_, wasMine := m.revoking[topic][p]
			if _, taken := c.owners[topicPartition{topic, p}]; taken && !wasMine {
				unreleased = true
			} else {
				free[topic] = append(free[topic], p)
			}
		}
	}
	if len(revoking) > 0 && m.hasAny(revoking, has) {
		return &currentAssignment{m.epoch, m.epoch, memberUnrevoked, assigned, revoking}
	}
	for topic, list := range free {
		for _, p := range list {
			assigned.add(topic, p, c.targetEpoch)
		}
	}
	state := memberStable
	if unreleased {
		state = memberUnreleased
	}
	return &currentAssignment{c.targetEpoch, m.epoch, state, assigned, owned{}}
}

func contains(list []int32, p int32) bool {
	_, ok := slices.BinarySearch(list, p)
	return ok
}

func (o owned) add(topic record.TopicID, p, epoch int32) {
	if o[topic] == nil {
		o[topic] = map[int32]int32{}
	}
	o[topic][p] = epoch
}

// waits tells whether a member waits for partitions that others have not given back.
func (c *consumerGroup) waits(m *consumerMember) bool {
	for topic, list := range c.targets[m.id] {
		for _, p := range list {
			_, mine := m.assigned[topic][p]
			if _, taken := c.owners[topicPartition{topic, p}]; taken && !mine {
				return true
			}
		}
	}
	return false
}

func (a *currentAssignment) same(b *currentAssignment) bool {
	return a == b || a.epoch == b.epoch && a.previous == b.previous && a.state == b.state && sameOwned(a.assigned, b.assigned) && sameOwned(a.revoking, b.revoking)
}
