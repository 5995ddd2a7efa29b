package coordinator

import (
	"encoding/binary"
	"hash/fnv"
	"iter"
	"maps"
	"slices"
	"time"

	"github.com/milldam/milldam/core/record"
)

// noTopics is what there is when nobody says what there is.
type noTopics struct{}

func (noTopics) Topic(string) (record.TopicID, int32, bool) { return record.TopicID{}, 0, false }
func (noTopics) Name(record.TopicID) (string, bool)         { return "", false }
func (noTopics) Names() iter.Seq[string]                    { return func(func(string) bool) {} }

func (g *Groups) topics() Topics {
	if g.opts.Topics == nil {
		return noTopics{}
	}
	return g.opts.Topics()
}

// advance takes over what a member says, has the target computed when that, or the topics, changed, and moves the member towards it.
func (g *Groups) advance(x *change, m *consumerMember, said *memberMetadata, has partitions) (*consumerMember, *refusal) {
	regexChanged := m.regex != said.regex
	if regexChanged {
		if why := checkRegex(said.regex); why != nil {
			return nil, why
		}
	}
	changed := regexChanged || !slices.Equal(m.topics, said.topics)
	if !m.memberMetadata.same(said) || x.state().members[m.id] == nil {
		x.emit(memberFact{m.id, said})
	}
	if regexChanged {
		x.dropRegexIfLast(m.regex)
	}
	rematched := g.resolveRegex(x, said.regex)
	g.bumpEpoch(x, changed || rematched)
	g.retarget(x)
	st := x.state()
	m = st.members[m.id]
	next := st.reconcile(m, g.topics(), has, changed)
	moved := !next.same(m.currentAssignment)
	if moved {
		x.emit(currentFact{m.id, next})
		m = x.state().members[m.id]
	}
	x.then(func() {
		g.heardConsumer(x.c, m)
		switch {
		case m.state != memberUnrevoked:
			g.stop(x.c, m.id, revokeTimer)
		case moved:
			g.awaitRevocation(x.c, m)
		}
	})
	return m, nil
}

// awaitRevocation gives a member its rebalance timeout to give partitions back.
func (g *Groups) awaitRevocation(c *consumer, m *consumerMember) {
	g.start(c, m.id, revokeTimer, time.Duration(m.rebalanceMs)*time.Millisecond, func() {
		if now := c.state().members[m.id]; now != nil && now.state == memberUnrevoked && now.epoch == m.epoch {
			g.fenceLate(c, m.id, "it has not given partitions back in time")
		}
	})
}

// bumpEpoch raises the group's epoch when force says so, or the topics that it is subscribed to have changed.
func (g *Groups) bumpEpoch(x *change, force bool) {
	topics := g.topics()
	if !force && x.c.topics == topics {
		return
	}
	st := x.state()
	if hash := metadataHash(topics, st.subscribed()); force || hash != st.metadataHash {
		x.emit(groupEpoch{st.epoch + 1, hash})
	}
	x.then(func() { x.c.topics = topics })
}

// metadataHash changes with everything an assignment depends on: which of the topics exist, and their partitions. 0 is none.
func metadataHash(topics Topics, subscribed map[string]int) int64 {
	h := fnv.New64a()
	found := false
	for _, name := range slices.Sorted(maps.Keys(subscribed)) {
		id, partitions, ok := topics.Topic(name)
		if !ok {
			continue
		}
		found = true
		h.Write(binary.BigEndian.AppendUint32(append([]byte(name), id[:]...), uint32(partitions)))
	}
	if !found {
		return 0
	}
	return int64(h.Sum64())
}

// retarget computes the target of a group whose epoch has risen, unless the last one is too young: then a later heartbeat does.
func (g *Groups) retarget(x *change) {
	st, now := x.state(), time.Now()
	if st.epoch <= st.targetEpoch || now.Sub(time.UnixMilli(st.targetTime)) < g.opts.Consumer.Times(x.c.name).AssignmentInterval {
		return
	}
	targets := assignors[g.assignorOf(st)](st.input(g.topics()))
	for _, id := range slices.Sorted(maps.Keys(st.members)) {
		next := targets[id]
		if next == nil {
			next = partitions{}
		}
		if old, ok := st.targets[id]; !ok || !samePartitions(old, next) {
			x.emit(targetFact{id, next})
		}
	}
	x.emit(targetEpoch{st.epoch, now.UnixMilli()})
	x.then(func() { g.mu.counts.rebalances++ })
}

// assignorOf is the assignor that most members ask for; those that ask for none do not count.
func (g *Groups) assignorOf(st *consumerGroup) string {
	votes := map[string]int{}
	for _, m := range st.members {
		if m.assignor != nil && slices.Contains(g.opts.Consumer.Assignors, *m.assignor) {
			votes[*m.assignor]++
		}
	}
	best := g.opts.Consumer.Assignors[0]
	for _, name := range g.opts.Consumer.Assignors {
		if votes[name] > votes[best] {
			best = name
		}
	}
	return best
}

// input is what an assignor needs to know.
func (st *consumerGroup) input(topics Topics) assignorInput {
	in := assignorInput{subscribed: map[string][]record.TopicID{}, counts: map[record.TopicID]int32{}, current: st.targets}
	ids := map[string]record.TopicID{}
	known := func(name string) (id record.TopicID, ok bool) {
		if id, ok = ids[name]; ok {
			return id, true
		}
		id, n, ok := topics.Topic(name)
		if ok {
			ids[name], in.counts[id] = id, n
		}
		return id, ok
	}
	for id, m := range st.members {
		in.members = append(in.members, id)
		var list []record.TopicID
		for _, name := range st.topicsOf(m) {
			if topic, ok := known(name); ok {
				list = append(list, topic)
			}
		}
		in.subscribed[id] = list
	}
	slices.SortFunc(in.members, func(a, b string) int { return compareMembers(st.members[a], st.members[b]) })
	return in
}
