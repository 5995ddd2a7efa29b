package coordinator

import (
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/milldam/milldam/core/invariant"
	"github.com/milldam/milldam/core/wire"
)

// memberIDVersion is the JoinGroup version from which a new member is first given an id and comes again with it (KIP-394).
const memberIDVersion = 4

// skipAssignmentVersion is the one from which a leader can be told that nothing has to be assigned (KIP-814).
const skipAssignmentVersion = 9

// Join handles a JoinGroup request.
func (g *Groups) Join(client Client, req *kmsg.JoinGroupRequest, reply func(*kmsg.JoinGroupResponse)) {
	session := time.Duration(req.SessionTimeoutMillis) * time.Millisecond
	switch {
	case req.Group == "":
		reply(failedJoin(req.MemberID, wire.InvalidGroupID))
		return
	case session < g.opts.MinSession || session > g.opts.MaxSession:
		reply(failedJoin(req.MemberID, wire.InvalidSessionTimeout))
		return
	}
	s, code := g.enter(req.Group)
	if code != wire.None {
		reply(failedJoin(req.MemberID, code))
		return
	}
	defer g.mu.Unlock()
	if c := g.mu.consumers[req.Group]; c != nil {
		if len(c.state().members) > 0 {
			g.joinConsumer(c, client, req, reply)
			return
		}
		g.makeClassic(c)
	}
	gr := g.mu.groups[req.Group]
	if gr == nil {
		if req.MemberID != "" {
			reply(failedJoin(req.MemberID, wire.UnknownMemberID))
			return
		}
		gr = g.newGroup(req.Group, s)
		g.mu.groups[req.Group] = gr
	}
	if gr.state == dead {
		reply(failedJoin(req.MemberID, wire.CoordinatorNotAvailable))
		return
	}
	if code := g.join(gr, client, req, session, reply); code != wire.None {
		reply(failedJoin(req.MemberID, code))
	}
}

// join decides what becomes of a join; code is not None when it is refused, else reply is or will be called.
func (g *Groups) join(gr *group, c Client, req *kmsg.JoinGroupRequest, session time.Duration, reply func(*kmsg.JoinGroupResponse)) wire.Code {
	known := req.MemberID
	if known == "" && req.InstanceID != nil {
		known = gr.static[*req.InstanceID]
	}
	switch {
	case !gr.supports(known, req.ProtocolType, req.Protocols):
		return wire.InconsistentGroupProtocol
	case !g.takes(gr, gr.members[known]):
		return wire.GroupMaxSizeReached
	}
	rebalance := time.Duration(req.RebalanceTimeoutMillis) * time.Millisecond
	if req.Version < 1 || rebalance <= 0 {
		rebalance = session
	}
	m := &member{id: req.MemberID, instance: req.InstanceID, client: c, protocolType: req.ProtocolType, protocols: ownProtocols(req.Protocols), session: session, rebalance: rebalance, join: reply}
	if req.MemberID == "" {
		return g.joinNew(gr, m, req)
	}
	if m.instance != nil {
		if id, ok := gr.static[*m.instance]; ok && id != m.id {
			return wire.FencedInstanceID
		} else if !ok && gr.members[m.id] == nil && gr.pending[m.id] == nil {
			return wire.UnknownMemberID
		}
	}
	if d, ok := gr.pending[m.id]; ok {
		g.mu.deadlines.stop(d)
		delete(gr.pending, m.id)
		g.enterMember(gr, m)
		return wire.None
	}
	old := gr.members[m.id]
	if old == nil {
		return wire.UnknownMemberID
	}
	g.rejoin(gr, old, m)
	return wire.None
}

// takes tells whether a group has room for who joins; m is nil for a new member. While members join again those count that have, so that a group which is larger
// than it may be by now loses its last ones.
func (g *Groups) takes(gr *group, m *member) bool {
	switch gr.state {
	case empty:
		return true
	case preparing:
		joined := 0
		for _, other := range gr.members {
			if other.join != nil {
				joined++
			}
		}
		return m != nil && m.join != nil || joined < g.opts.MaxGroupSize
	}
	return m != nil || len(gr.members) < g.opts.MaxGroupSize
}

// joinNew takes in a member without an id.
func (g *Groups) joinNew(gr *group, m *member, req *kmsg.JoinGroupRequest) wire.Code {
	prefix := m.client.ID
	if m.instance != nil {
		prefix = *m.instance
	}
	id, err := newMemberID(prefix)
	if err != nil {
		return wire.UnknownServerError
	}
	m.id = id
	if m.instance != nil {
		if old := gr.members[gr.static[*m.instance]]; old != nil {
			g.replaceStatic(gr, old, m, req.Version)
			return wire.None
		}
		g.enterMember(gr, m)
		return wire.None
	}
	if req.Version >= memberIDVersion {
		gr.pending[id] = g.mu.deadlines.after(m.session, func() {
			delete(gr.pending, id)
			g.tryCompleteJoin(gr)
		})
		m.join(failedJoin(id, wire.MemberIDRequired))
		return wire.None
	}
	g.enterMember(gr, m)
	return wire.None
}

// enterMember adds a member that was not there, which makes all share anew.
func (g *Groups) enterMember(gr *group, m *member) {
	if len(gr.members) == 0 {
		gr.protocolType = m.protocolType
	}
	g.addMember(gr, m)
	if gr.state == preparing {
		if gr.initial { // more may come
			g.extendInitial(gr)
			return
		}
		g.tryCompleteJoin(gr)
		return
	}
	g.prepareRebalance(gr)
}

// rejoin takes what a member says anew.
func (g *Groups) rejoin(gr *group, old, m *member) {
	changed := !sameProtocols(old.protocols, m.protocols)
	old.answerJoin(gr, failedJoin(old.id, wire.RebalanceInProgress)) // a request that the client gave up
	old.client, old.protocols, old.session, old.rebalance, old.join = m.client, m.protocols, m.session, m.rebalance, m.join
	g.heard(old)
	switch {
	case gr.state == preparing:
		g.tryCompleteJoin(gr)
	case gr.state == completing && !changed:
		old.answerJoin(gr, gr.joined(old))
	case gr.state == stable && !changed && old.id != gr.leader:
		old.answerJoin(gr, gr.joined(old))
	default:
		old.answerSync(failedSync(wire.RebalanceInProgress))
		g.prepareRebalance(gr)
	}
}

// replaceStatic puts a static member that was started again in the place of its former self. In a stable group that would choose the same protocol nobody
// else notices: what else the member says about itself is not compared, since Java clients put the generation they last knew in it.
func (g *Groups) replaceStatic(gr *group, old, m *member, version int16) {
	wasLeader := gr.leader == old.id
	reply := m.join
	m.join, m.assignment, m.asked = nil, old.assignment, old.asked
	old.answerJoin(gr, failedJoin(old.id, wire.FencedInstanceID))
	old.answerSync(failedSync(wire.FencedInstanceID))
	g.mu.deadlines.stop(old.alive)
	delete(gr.members, old.id)
	g.addMember(gr, m)
	if wasLeader {
		gr.leader = m.id
	}
	if gr.state != stable || gr.vote() != gr.protocol {
		m.join = reply
		switch gr.state {
		case preparing:
			g.tryCompleteJoin(gr)
		default:
			g.prepareRebalance(gr)
		}
		return
	}
	assignments := map[string][]byte{}
	for id, x := range gr.members {
		assignments[id] = x.assignment
	}
	generation, oldID := gr.generation, old.id
	g.write(gr.shard, []entry{{group: gr.name, metadata: gr.value(assignments)}}, func(code wire.Code) {
		if code != wire.None {
			reply(failedJoin(m.id, code))
			return
		}
		if gr.members[m.id] != m || gr.generation != generation {
			reply(failedJoin(m.id, wire.UnknownMemberID))
			return
		}
		r := gr.joined(m)
		if wasLeader && version >= skipAssignmentVersion {
			r.SkipAssignment = true
		} else if wasLeader {
			r.LeaderID, r.Members = oldID, nil // so that it does not assign
		}
		reply(r)
	})
}

// prepareRebalance makes all members join again.
func (g *Groups) prepareRebalance(gr *group) {
	for _, m := range gr.members {
		m.answerSync(failedSync(wire.RebalanceInProgress))
	}
	fromEmpty := gr.state == empty
	gr.setState(preparing)
	g.mu.deadlines.stop(gr.rebalance)
	if fromEmpty && g.opts.InitialRebalanceDelay > 0 {
		gr.initial = true
		g.extendInitial(gr)
		return
	}
	gr.rebalance = g.mu.deadlines.after(gr.longestRebalance(), func() { g.completeJoin(gr) })
	g.tryCompleteJoin(gr)
}

// extendInitial waits once more for further first members, at most as long as a rebalance may take.
func (g *Groups) extendInitial(gr *group) {
	g.mu.deadlines.stop(gr.rebalance)
	wait := min(g.opts.InitialRebalanceDelay, max(0, gr.longestRebalance()-time.Since(gr.since)))
	gr.rebalance = g.mu.deadlines.after(wait, func() {
		gr.initial = false
		g.completeJoin(gr)
	})
}

// tryCompleteJoin goes on when every member has joined again.
func (g *Groups) tryCompleteJoin(gr *group) {
	if gr.state != preparing || gr.initial || len(gr.pending) > 0 {
		return
	}
	for _, m := range gr.members {
		if m.join == nil {
			return
		}
	}
	g.completeJoin(gr)
}

// completeJoin ends the wait: who has not joined again is out, the others are a new generation. A static member that is away keeps its place until its
// session ends; while all are, there is no new generation, since each starts the sessions anew.
func (g *Groups) completeJoin(gr *group) {
	if gr.state != preparing {
		return
	}
	g.mu.deadlines.stop(gr.rebalance)
	for _, m := range gr.members {
		if m.join == nil && m.instance == nil {
			g.removeMember(gr, m)
		}
	}
	if len(gr.members) > 0 && !gr.anyJoined() {
		gr.rebalance = g.mu.deadlines.after(gr.longestRebalance(), func() { g.completeJoin(gr) })
		return
	}
	if leader := gr.members[gr.leader]; leader == nil || leader.join == nil {
		for _, m := range gr.members {
			if m.join != nil {
				gr.leader = m.id
				break
			}
		}
	}
	gr.generation++
	if len(gr.members) == 0 {
		gr.setState(empty)
		gr.leader, gr.protocol = "", ""
		g.write(gr.shard, []entry{{group: gr.name, metadata: gr.value(nil)}}, func(wire.Code) {})
		return
	}
	if invariant.On {
		invariant.Check(gr.members[gr.leader] != nil, "group %s: its leader %q is no member", gr.name, gr.leader)
	}
	g.mu.counts.rebalances++
	gr.protocol = gr.vote()
	gr.setState(completing)
	for _, m := range gr.members {
		g.heard(m)
		m.answerJoin(gr, gr.joined(m))
	}
	generation := gr.generation
	gr.rebalance = g.mu.deadlines.after(gr.longestRebalance(), func() { g.syncEnded(gr, generation) })
}

func (gr *group) anyJoined() bool {
	for _, m := range gr.members {
		if m.join != nil {
			return true
		}
	}
	return false
}

// syncEnded removes members that have not asked for their assignment in time, static ones too: nobody consumes their partitions.
func (g *Groups) syncEnded(gr *group, generation int32) {
	if gr.state != completing && gr.state != stable || gr.generation != generation {
		return
	}
	late := false
	for _, m := range gr.members {
		if m.asked != generation {
			g.removeMember(gr, m)
			late = true
		}
	}
	if late {
		g.prepareRebalance(gr)
	}
}
