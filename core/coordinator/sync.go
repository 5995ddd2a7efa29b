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

// syncProtocolVersion is the SyncGroup version from which members say which protocol they believe in (KIP-559).
const syncProtocolVersion = 5

// Sync handles a SyncGroup request.
func (g *Groups) Sync(_ Client, req *kmsg.SyncGroupRequest, reply func(*kmsg.SyncGroupResponse)) {
	if req.Group == "" {
		reply(failedSync(wire.InvalidGroupID))
		return
	}
	if req.Version >= syncProtocolVersion && (req.ProtocolType == nil || req.Protocol == nil) {
		reply(failedSync(wire.InconsistentGroupProtocol))
		return
	}
	_, code := g.enter(req.Group)
	if code != wire.None {
		reply(failedSync(code))
		return
	}
	defer g.mu.Unlock()
	if c := g.mu.consumers[req.Group]; c != nil {
		g.syncConsumer(c, req, reply)
		return
	}
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
	m.asked = gr.generation
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
	if req.Group == "" {
		r.ErrorCode = int16(wire.InvalidGroupID)
		reply(r)
		return
	}
	_, code := g.enter(req.Group)
	if code == wire.None {
		code = g.heartbeat(req)
		g.mu.Unlock()
	}
	r.ErrorCode = int16(code)
	reply(r)
}

func (g *Groups) heartbeat(req *kmsg.HeartbeatRequest) wire.Code {
	if c := g.mu.consumers[req.Group]; c != nil {
		return g.heartbeatConsumer(c, req)
	}
	gr := g.mu.groups[req.Group]
	m, code := gr.memberOf(req.MemberID, req.InstanceID, req.Generation)
	if code != wire.None {
		return code
	}
	g.heard(m)
	if gr.state == preparing {
		return wire.RebalanceInProgress
	}
	return wire.None
}

// leaveManyVersion is the LeaveGroup version from which several members leave at once (KIP-345).
const leaveManyVersion = 3

// Leave handles a LeaveGroup request.
func (g *Groups) Leave(req *kmsg.LeaveGroupRequest, reply func(*kmsg.LeaveGroupResponse)) {
	r := kmsg.NewPtrLeaveGroupResponse()
	if req.Group == "" {
		r.ErrorCode = int16(wire.InvalidGroupID)
		reply(r)
		return
	}
	_, code := g.enter(req.Group)
	if code != wire.None {
		r.ErrorCode = int16(code)
		reply(r)
		return
	}
	defer g.mu.Unlock()
	members := req.Members
	if req.Version < leaveManyVersion {
		one := kmsg.NewLeaveGroupRequestMember()
		one.MemberID = req.MemberID
		members = []kmsg.LeaveGroupRequestMember{one}
	}
	answer := func(codes []wire.Code) {
		if req.Version < leaveManyVersion {
			r.ErrorCode = int16(codes[0])
			reply(r)
			return
		}
		for i, in := range members {
			out := kmsg.NewLeaveGroupResponseMember()
			out.MemberID, out.InstanceID, out.ErrorCode = in.MemberID, in.InstanceID, int16(codes[i])
			r.Members = append(r.Members, out)
		}
		reply(r)
	}
	if c := g.mu.consumers[req.Group]; c != nil {
		x := g.change(c)
		codes := g.leaveConsumer(x, members)
		x.commit(func(code wire.Code) {
			if r.ErrorCode = int16(code); code != wire.None {
				reply(r)
				return
			}
			answer(codes)
		})
		return
	}
	gr := g.mu.groups[req.Group]
	var codes []wire.Code
	for _, in := range members {
		codes = append(codes, g.leave(gr, in.MemberID, in.InstanceID))
	}
	answer(codes)
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
