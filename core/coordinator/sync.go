package coordinator

import (
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/milldam/milldam/core/wire"
)

// memberOf checks that a request comes from a member of the current generation.
func (gr *group) memberOf(id string, instance *string, generation int32) (*member, wire.Code) {
	if gr == nil || gr.state == dead {
		return nil, wire.UnknownMemberID
	}
	if instance != nil {
		current, ok := gr.static[*instance]
		if !ok {
			return nil, wire.UnknownMemberID
		}
		if current != id {
			return nil, wire.FencedInstanceID
		}
	}
	m := gr.members[id]
	switch {
	case m == nil:
		return nil, wire.UnknownMemberID
	case generation != gr.generation:
		return nil, wire.IllegalGeneration
	}
	return m, wire.None
}

// Sync handles a SyncGroup request.
func (g *Groups) Sync(_ Client, req *kmsg.SyncGroupRequest, reply func(*kmsg.SyncGroupResponse)) {
	_, code := g.enter(req.Group)
	if code != wire.None {
		reply(failedSync(code))
		return
	}
	defer g.mu.Unlock()
	gr := g.mu.groups[req.Group]
	m, code := gr.memberOf(req.MemberID, req.InstanceID, req.Generation)
	if code == wire.None && (req.ProtocolType != nil && *req.ProtocolType != gr.protocolType || req.Protocol != nil && *req.Protocol != gr.protocol) {
		code = wire.InconsistentGroupProtocol
	}
	if code == wire.None && gr.state == preparing {
		code = wire.RebalanceInProgress
	}
	if code != wire.None {
		reply(failedSync(code))
		return
	}
	g.heard(m)
	if gr.state == stable {
		reply(gr.assignment(m))
		return
	}
	m.answerSync(failedSync(wire.RebalanceInProgress))
	m.sync = reply
	if m.id == gr.leader {
		g.assign(gr, req.GroupAssignment)
	}
}

// assignment is the answer with a member's assignment.
func (gr *group) assignment(m *member) *kmsg.SyncGroupResponse {
	r := kmsg.NewPtrSyncGroupResponse()
	protocol, protocolType := gr.protocol, gr.protocolType
	r.ProtocolType, r.Protocol, r.MemberAssignment = &protocolType, &protocol, m.assignment
	if r.MemberAssignment == nil {
		r.MemberAssignment = []byte{}
	}
	return r
}

// assign takes the leader's assignment, makes it durable, and gives it to all.
func (g *Groups) assign(gr *group, list []kmsg.SyncGroupRequestGroupAssignment) {
	if gr.assigned == gr.generation { // the leader asks again: the assignment that is being written holds
		return
	}
	gr.assigned = gr.generation
	assignments := map[string][]byte{}
	for id := range gr.members {
		assignments[id] = []byte{}
	}
	for _, a := range list {
		if gr.members[a.MemberID] != nil {
			assignments[a.MemberID] = append([]byte{}, a.MemberAssignment...) // it points into the request's frame
		}
	}
	generation := gr.generation
	g.write(gr.shard, []entry{{group: gr.name, metadata: gr.value(assignments)}}, func(code wire.Code) {
		if gr.state != completing || gr.generation != generation {
			return // another rebalance began, and answered those who wait
		}
		if code != wire.None {
			for _, m := range gr.members {
				m.answerSync(failedSync(code))
			}
			g.prepareRebalance(gr)
			return
		}
		g.mu.deadlines.stop(gr.rebalance)
		gr.setState(stable)
		for id, m := range gr.members {
			m.assignment = assignments[id]
			g.heard(m)
			m.answerSync(gr.assignment(m))
		}
	})
}

// Heartbeat handles a Heartbeat request.
func (g *Groups) Heartbeat(req *kmsg.HeartbeatRequest, reply func(*kmsg.HeartbeatResponse)) {
	r := kmsg.NewPtrHeartbeatResponse()
	_, code := g.enter(req.Group)
	if code == wire.None {
		gr := g.mu.groups[req.Group]
		var m *member
		if m, code = gr.memberOf(req.MemberID, req.InstanceID, req.Generation); code == wire.None {
			g.heard(m)
			if gr.state == preparing {
				code = wire.RebalanceInProgress
			}
		}
		g.mu.Unlock()
	}
	r.ErrorCode = int16(code)
	reply(r)
}

// Leave handles a LeaveGroup request.
func (g *Groups) Leave(req *kmsg.LeaveGroupRequest, reply func(*kmsg.LeaveGroupResponse)) {
	r := kmsg.NewPtrLeaveGroupResponse()
	_, code := g.enter(req.Group)
	if code != wire.None {
		r.ErrorCode = int16(code)
		reply(r)
		return
	}
	defer g.mu.Unlock()
	gr := g.mu.groups[req.Group]
	if req.Version < 3 {
		r.ErrorCode = int16(g.leave(gr, req.MemberID, nil))
		reply(r)
		return
	}
	for _, in := range req.Members {
		out := kmsg.NewLeaveGroupResponseMember()
		out.MemberID, out.InstanceID = in.MemberID, in.InstanceID
		out.ErrorCode = int16(g.leave(gr, in.MemberID, in.InstanceID))
		r.Members = append(r.Members, out)
	}
	reply(r)
}

// leave removes one member. A static member may be named by its instance id alone, by who takes it out of service.
func (g *Groups) leave(gr *group, id string, instance *string) wire.Code {
	if gr == nil {
		return wire.UnknownMemberID
	}
	if instance != nil {
		current, ok := gr.static[*instance]
		switch {
		case !ok:
			return wire.UnknownMemberID
		case id != "" && id != current:
			return wire.FencedInstanceID
		}
		id = current
	}
	if d, ok := gr.pending[id]; ok {
		g.mu.deadlines.stop(d)
		delete(gr.pending, id)
		g.tryCompleteJoin(gr)
		g.forgetIfUnused(gr)
		return wire.None
	}
	m := gr.members[id]
	if m == nil {
		return wire.UnknownMemberID
	}
	g.removeMember(gr, m)
	g.afterLeaving(gr)
	return wire.None
}
