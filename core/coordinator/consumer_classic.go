package coordinator

import (
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/milldam/milldam/core/record"
	"github.com/milldam/milldam/core/wire"
)

// Members of the classic protocol in a group of the consumer type: they join to be told their assignment, which the group computes, and learn from heartbeats
// that they have to join again.

// subscriptionOf reads what a consumer said of itself in the classic protocol.
func subscriptionOf(metadata []byte) (*kmsg.ConsumerMemberMetadata, bool) {
	v := new(kmsg.ConsumerMemberMetadata)
	if len(metadata) < 2 || v.ReadFrom(metadata) != nil {
		return nil, false
	}
	return v, true
}

// joinConsumer handles a JoinGroup request to a group of the consumer type that has members.
func (g *Groups) joinConsumer(c *consumer, client Client, req *kmsg.JoinGroupRequest, reply func(*kmsg.JoinGroupResponse)) {
	fail := func(code wire.Code) { reply(failedJoin(req.MemberID, code)) }
	if g.opts.Consumer.Migration == NoMigration || !c.state().supports(req) {
		fail(wire.InconsistentGroupProtocol)
		return
	}
	id := req.MemberID
	if id == "" {
		prefix := client.ID
		if req.InstanceID != nil {
			prefix = *req.InstanceID
		}
		var err error
		if id, err = newMemberID(prefix); err != nil {
			fail(wire.UnknownServerError)
			return
		}
		if req.InstanceID == nil && req.Version >= memberIDVersion {
			reply(failedJoin(id, wire.MemberIDRequired))
			return
		}
	}
	sub, ok := subscriptionOf(req.Protocols[0].Metadata)
	if !ok {
		fail(wire.UnknownServerError) // as Kafka answers what is no subscription
		return
	}
	x := g.change(c)
	m, why := g.classicJoins(x, client, id, req, sub)
	if why != nil {
		x.rollback()
		fail(why.code)
		return
	}
	g.answerConsumerJoin(x, m, req, reply)
}

// classicJoins takes over what a joining member says.
func (g *Groups) classicJoins(x *change, client Client, id string, req *kmsg.JoinGroupRequest, sub *kmsg.ConsumerMemberMetadata) (*consumerMember, *refusal) {
	m, why := g.consumerMemberFor(x, memberRequest{id: id, instance: req.InstanceID, join: req.InstanceID == nil || req.MemberID == "", classic: true})
	if why != nil {
		return nil, why
	}
	said := *m.memberMetadata
	said.client, said.regex, said.assignor = client, "", nil
	said.topics = slices.Compact(slices.Sorted(slices.Values(sub.Topics)))
	said.rebalanceMs = req.RebalanceTimeoutMillis
	if req.Version < 1 || req.RebalanceTimeoutMillis <= 0 {
		said.rebalanceMs = req.SessionTimeoutMillis
	}
	if req.InstanceID != nil {
		said.instance = req.InstanceID
	}
	if sub.Rack != nil {
		said.rack = sub.Rack
	}
	said.classic = &classicMember{sessionMs: req.SessionTimeoutMillis, protocols: ownProtocols(req.Protocols)}
	has := partitions{}
	topics := g.topics()
	for _, t := range sub.OwnedPartitions {
		if topic, _, ok := topics.Topic(t.Topic); ok {
			has[topic] = append(has[topic], t.Partitions...)
		}
	}
	return g.advance(x, m, &said, has)
}

func (g *Groups) answerConsumerJoin(x *change, m *consumerMember, req *kmsg.JoinGroupRequest, reply func(*kmsg.JoinGroupResponse)) {
	r := kmsg.NewPtrJoinGroupResponse()
	protocolType, protocol := consumerProtocol, m.classic.protocols[0].Name
	r.MemberID, r.Generation, r.ProtocolType, r.Protocol = m.id, m.epoch, &protocolType, &protocol
	c := x.c
	x.commit(func(code wire.Code) {
		if code != wire.None {
			reply(failedJoin(req.MemberID, code))
			return
		}
		if now := g.mu.consumers[c.name]; now == c && c.state().members[m.id] != nil {
			g.stop(c, m.id, joinTimer)
			g.start(c, m.id, syncTimer, time.Duration(m.rebalanceMs)*time.Millisecond, func() { g.fenceLate(c, m.id, "it has not asked for its assignment in time") })
		}
		reply(r)
	})
}

// ownProtocols copies protocols whose metadata points into a request's frame.
func ownProtocols(list []kmsg.JoinGroupRequestProtocol) []kmsg.JoinGroupRequestProtocol {
	out := slices.Clone(list)
	for i := range out {
		out[i].Metadata = append([]byte{}, out[i].Metadata...)
	}
	return out
}

// supports tells whether a classic member may join: as a consumer, with a protocol that all classic members know.
func (c *consumerGroup) supports(req *kmsg.JoinGroupRequest) bool {
	if req.ProtocolType != consumerProtocol || len(req.Protocols) == 0 {
		return false
	}
	for _, p := range req.Protocols {
		if c.allClassicKnow(p.Name, req.MemberID, req.InstanceID) {
			return true
		}
	}
	return false
}

// allClassicKnow tells whether all classic members know a protocol, but for the one that joins again.
func (c *consumerGroup) allClassicKnow(name, except string, instance *string) bool {
	for id, m := range c.members {
		if m.classic == nil || id == except || instance != nil && c.static[*instance] == id {
			continue
		}
		if !slices.ContainsFunc(m.classic.protocols, func(p kmsg.JoinGroupRequestProtocol) bool { return p.Name == name }) {
			return false
		}
	}
	return true
}

// classicOf finds a classic member that a request of the classic protocol comes from.
func (c *consumerGroup) classicOf(id string, instance *string, generation int32) (*consumerMember, wire.Code) {
	m := c.members[id]
	if instance != nil {
		current, ok := c.static[*instance]
		if !ok {
			return nil, wire.UnknownMemberID
		}
		if current != id {
			return nil, wire.FencedInstanceID
		}
	}
	switch {
	case m == nil || m.classic == nil:
		return nil, wire.UnknownMemberID
	case m.epoch != generation:
		return nil, wire.IllegalGeneration
	}
	return m, wire.None
}

// syncConsumer handles a SyncGroup request to a group of the consumer type.
func (g *Groups) syncConsumer(c *consumer, req *kmsg.SyncGroupRequest, reply func(*kmsg.SyncGroupResponse)) {
	st := c.state()
	m, code := st.classicOf(req.MemberID, req.InstanceID, req.Generation)
	switch {
	case code != wire.None:
	case req.ProtocolType != nil && *req.ProtocolType != consumerProtocol || req.Protocol != nil && *req.Protocol != m.classic.protocols[0].Name:
		code = wire.InconsistentGroupProtocol
	case st.epoch > m.epoch && m.state != memberUnrevoked: // it has yet to join for the newest
		g.awaitJoin(c, m)
		code = wire.RebalanceInProgress
	}
	if code != wire.None {
		reply(failedSync(code))
		return
	}
	g.stop(c, m.id, syncTimer)
	g.heardConsumer(c, m)
	r := kmsg.NewPtrSyncGroupResponse()
	protocolType, protocol := consumerProtocol, m.classic.protocols[0].Name
	r.ProtocolType, r.Protocol = &protocolType, &protocol
	r.MemberAssignment = classicAssignment(m.assigned.partitions(), g.topics(), m.classic)
	g.afterWrites(c.shard, func(code wire.Code) {
		if code != wire.None {
			r = failedSync(code)
		}
		reply(r)
	})
}

// classicAssignment is an assignment as the classic protocol has it.
func classicAssignment(p partitions, topics Topics, of *classicMember) []byte {
	var a kmsg.ConsumerMemberAssignment
	if sub, ok := subscriptionOf(of.protocols[0].Metadata); ok {
		a.Version = sub.Version
	}
	for _, id := range sortedTopics(p) {
		if name, ok := topics.Name(id); ok && len(p[id]) > 0 {
			t := kmsg.NewConsumerMemberAssignmentTopic()
			t.Topic, t.Partitions = name, p[id]
			a.Topics = append(a.Topics, t)
		}
	}
	return a.AppendTo(nil)
}

// awaitJoin gives a classic member its rebalance timeout to join again.
func (g *Groups) awaitJoin(c *consumer, m *consumerMember) {
	if c.timers[memberTimer{m.id, joinTimer}] == nil {
		g.start(c, m.id, joinTimer, time.Duration(m.rebalanceMs)*time.Millisecond, func() { g.fenceLate(c, m.id, "it has not joined again in time") })
	}
}

// heartbeatConsumer handles a Heartbeat request to a group of the consumer type.
func (g *Groups) heartbeatConsumer(c *consumer, req *kmsg.HeartbeatRequest) wire.Code {
	st := c.state()
	m, code := st.classicOf(req.MemberID, req.InstanceID, req.Generation)
	if code != wire.None {
		return code
	}
	g.heardConsumer(c, m)
	if m.epoch < st.epoch || m.state == memberUnrevoked || m.state == memberUnreleased && !st.waits(m) {
		g.awaitJoin(c, m)
		return wire.RebalanceInProgress
	}
	return wire.None
}

// leaveConsumer takes members out of a group of the consumer type, on a request of the classic protocol, and returns the code of each.
func (g *Groups) leaveConsumer(x *change, list []kmsg.LeaveGroupRequestMember) []wire.Code {
	st := x.c.state()
	codes := make([]wire.Code, len(list))
	var gone []string
	for i, in := range list {
		id := in.MemberID
		if in.InstanceID != nil {
			id = st.static[*in.InstanceID]
		}
		m := st.members[id]
		switch {
		case m == nil || slices.Contains(gone, id):
			codes[i] = wire.UnknownMemberID
		case in.MemberID != "" && in.MemberID != id:
			codes[i] = wire.FencedInstanceID
		default:
			gone = append(gone, id)
		}
	}
	if len(gone) > 0 {
		g.fence(x, gone...)
	}
	return codes
}

// toPartitions reads the assignment of a classic member; what is not known any more is left out.
func toPartitions(assignment []byte, topics Topics) (p partitions, userData bool, ok bool) {
	p = partitions{}
	if len(assignment) == 0 {
		return p, false, true
	}
	var a kmsg.ConsumerMemberAssignment
	if a.ReadFrom(assignment) != nil {
		return nil, false, false
	}
	for _, t := range a.Topics {
		if id, _, known := topics.Topic(t.Topic); known {
			p[id] = append(p[id], t.Partitions...)
			slices.Sort(p[id])
		}
	}
	return p, len(a.UserData) > 0, true
}

func (p partitions) owned(epoch int32) owned {
	out := owned{}
	for topic, list := range p {
		for _, n := range list {
			out.add(record.TopicID(topic), n, epoch)
		}
	}
	return out
}
