package coordinator

import (
	"maps"
	"slices"
	"time"

	"github.com/milldam/milldam/core/wire"
)

// Groups change their type while members are up: to the consumer type when the first member of that protocol joins, and back when the last has left. One without
// members becomes what the first member speaks.

// upgrade makes a group of the consumer type out of a classic one. What it adds to the change is taken back with the request that asked for it.
func (g *Groups) upgrade(gr *group) (*change, *refusal) {
	if len(gr.members) > 0 {
		if why := g.checkUpgrade(gr); why != nil {
			return nil, why
		}
	}
	c := makeConsumer(gr.name, gr.shard)
	x := g.change(c)
	if d := gr.shard.groups[gr.name]; d != nil && d.metadata != nil {
		x.add(entry{group: gr.name})
	}
	if why := g.takeMembers(x, gr); why != nil {
		x.rollback()
		return nil, why
	}
	x.then(func() {
		g.retire(gr, wire.RebalanceInProgress)
		g.mu.consumers[c.name] = c
		for _, m := range c.state().members {
			g.heardConsumer(c, m)
		}
	})
	return x, nil
}

func (g *Groups) checkUpgrade(gr *group) *refusal {
	switch {
	case !g.opts.Consumer.Migration.upgrades():
		return refuse(wire.GroupIDNotFound, "Cannot upgrade classic group %s to consumer group because online upgrade is disabled.", gr.name)
	case gr.protocolType != consumerProtocol:
		return refuse(wire.GroupIDNotFound, "Cannot upgrade classic group %s to consumer group because the group does not use the consumer embedded protocol.", gr.name)
	case len(gr.members) > g.opts.Consumer.MaxSize:
		return refuse(wire.GroupIDNotFound, "Cannot upgrade classic group %s to consumer group because the group size exceeds the consumer group maximum size.", gr.name)
	}
	return nil
}

// takeMembers adds the records of a consumer group with the members, and the assignment, of a classic one.
func (g *Groups) takeMembers(x *change, gr *group) *refusal {
	topics := g.topics()
	for _, id := range slices.Sorted(maps.Keys(gr.members)) {
		m := gr.members[id]
		sub, ok := subscriptionOf(m.protocols[0].Metadata)
		have, userData, ok2 := toPartitions(m.assignment, topics)
		switch {
		case !ok || !ok2:
			return refuse(wire.GroupIDNotFound, "Cannot upgrade classic group %s to consumer group because the embedded consumer protocol is malformed.", gr.name)
		case userData:
			return refuse(wire.GroupIDNotFound, "Cannot upgrade classic group %s to consumer group because an unsupported custom assignor is in use.", gr.name)
		}
		x.emit(memberFact{id, &memberMetadata{instance: m.instance, rack: sub.Rack, client: m.client, topics: slices.Compact(slices.Sorted(slices.Values(sub.Topics))),
			rebalanceMs: int32(m.rebalance / time.Millisecond), classic: &classicMember{sessionMs: int32(m.session / time.Millisecond), protocols: m.protocols}}})
		x.emit(targetFact{id, have})
		x.emit(currentFact{id, &currentAssignment{gr.generation, gr.generation, memberStable, have.owned(gr.generation), owned{}}})
	}
	if len(gr.members) > 0 {
		x.emit(groupEpoch{gr.generation, metadataHash(topics, x.state().subscribed())})
		x.emit(targetEpoch{epoch: gr.generation})
	}
	return nil
}

// retire ends what lives of a classic group; those who wait are told code.
func (g *Groups) retire(gr *group, code wire.Code) {
	for _, m := range gr.members {
		g.mu.deadlines.stop(m.alive)
		m.answerJoin(gr, failedJoin(m.id, code))
		m.answerSync(failedSync(code))
	}
	for _, d := range gr.pending {
		g.mu.deadlines.stop(d)
	}
	g.mu.deadlines.stop(gr.rebalance)
	gr.state = dead
	delete(g.mu.groups, gr.name)
}

// downgrades tells whether a group is to become a classic one: members are left, all of them classic, and it may.
func (g *Groups) downgrades(c *consumer) bool {
	st := c.state()
	if len(st.members) == 0 || !g.opts.Consumer.Migration.downgrades() || len(st.members) > g.opts.MaxGroupSize {
		return false
	}
	for _, m := range st.members {
		if m.classic == nil {
			return false
		}
	}
	return true
}

// downgrade makes a classic group out of one of the consumer type, whose members join again.
func (g *Groups) downgrade(x *change) {
	c, topics, st := x.c, g.topics(), x.state()
	gr := g.newGroup(c.name, c.shard)
	gr.generation, gr.assigned, gr.protocolType, gr.state = st.epoch, st.epoch, consumerProtocol, stable
	assignments := map[string][]byte{}
	for _, id := range slices.Sorted(maps.Keys(st.members)) {
		m := st.members[id]
		assignments[id] = classicAssignment(st.targets[id], topics, m.classic)
		gr.members[id] = &member{id: id, instance: m.instance, client: m.client, protocolType: consumerProtocol, protocols: m.classic.protocols,
			session: time.Duration(m.classic.sessionMs) * time.Millisecond, rebalance: time.Duration(m.rebalanceMs) * time.Millisecond, assignment: assignments[id]}
		if gr.leader == "" {
			gr.leader = id
		}
	}
	gr.protocol = gr.vote()
	x.removeGroup()
	x.add(entry{group: c.name, metadata: gr.value(assignments)})
	x.then(func() {
		g.endConsumer(c)
		g.mu.groups[c.name] = gr
		for _, m := range gr.members {
			g.addMember(gr, m)
		}
		g.prepareRebalance(gr)
	})
}

// removeGroup adds the removal of all records of the group.
func (x *change) removeGroup() {
	st := x.state()
	for _, id := range slices.Sorted(maps.Keys(st.members)) {
		x.forget(st.members[id])
	}
	for _, regex := range slices.Sorted(maps.Keys(st.regexes)) {
		x.emit(regexFact{regex: regex})
	}
	x.emit(targetGone{})
	x.emit(groupGone{})
}

// endConsumer ends what lives of a consumer group.
func (g *Groups) endConsumer(c *consumer) {
	for _, d := range c.timers {
		g.mu.deadlines.stop(d)
	}
	clear(c.timers)
	delete(g.mu.consumers, c.name)
}

// makeClassic takes the records of a consumer group without members away, so that it can be a classic one.
func (g *Groups) makeClassic(c *consumer) {
	x := g.change(c)
	x.removeGroup()
	gr := g.newGroup(c.name, c.shard)
	x.then(func() {
		g.endConsumer(c)
		g.mu.groups[c.name] = gr
	})
	x.commit(func(wire.Code) {})
}
