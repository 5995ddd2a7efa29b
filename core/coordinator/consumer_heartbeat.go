package coordinator

import (
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/milldam/milldam/core/wire"
)

// Epochs with which a member joins, and leaves.
const (
	joinEpoch  int32 = 0
	leaveEpoch int32 = -1
)

// clientMemberIDVersion is the ConsumerGroupHeartbeat version from which members choose their ids.
const clientMemberIDVersion = 1

// refusal is why a request is refused; nil when it is not.
type refusal struct {
	code wire.Code
	text string
}

func refuse(code wire.Code, format string, args ...any) *refusal {
	return &refusal{code, fmt.Sprintf(format, args...)}
}

// ConsumerHeartbeat handles a ConsumerGroupHeartbeat request: members join with it, say what they have, are told what they shall have, and leave.
func (g *Groups) ConsumerHeartbeat(client Client, req *kmsg.ConsumerGroupHeartbeatRequest, reply func(*kmsg.ConsumerGroupHeartbeatResponse)) {
	if why := g.checkHeartbeat(req); why != nil {
		reply(refusedHeartbeat(why))
		return
	}
	s, code := g.enter(req.Group)
	if code != wire.None {
		reply(refusedHeartbeat(&refusal{code: code}))
		return
	}
	defer g.mu.Unlock()
	x, why := g.consumerChange(s, req.Group, req.MemberEpoch)
	if why != nil {
		reply(refusedHeartbeat(why))
		return
	}
	var r *kmsg.ConsumerGroupHeartbeatResponse
	if req.MemberEpoch < 0 {
		r, why = g.consumerLeave(x, req)
	} else {
		r, why = g.consumerHeartbeat(x, client, req)
	}
	if why != nil {
		x.rollback()
		g.dropConsumerIfNew(x.c)
		reply(refusedHeartbeat(why))
		return
	}
	x.commit(func(code wire.Code) {
		if code != wire.None {
			r = refusedHeartbeat(&refusal{code: code})
		}
		reply(r)
	})
}

func refusedHeartbeat(why *refusal) *kmsg.ConsumerGroupHeartbeatResponse {
	r := kmsg.NewPtrConsumerGroupHeartbeatResponse()
	r.ErrorCode = int16(why.code)
	if why.text != "" {
		r.ErrorMessage = &why.text
	}
	return r
}

// checkHeartbeat checks what can be checked of a request by itself.
func (g *Groups) checkHeartbeat(req *kmsg.ConsumerGroupHeartbeatRequest) *refusal {
	empty := func(s *string) bool { return s != nil && strings.TrimSpace(*s) == "" }
	invalid := func(text string) *refusal { return &refusal{wire.InvalidRequest, text} }
	switch {
	case strings.TrimSpace(req.Group) == "":
		return invalid("GroupId can't be empty.")
	case req.MemberID == "" && (req.Version >= clientMemberIDVersion || req.MemberEpoch > 0 || req.MemberEpoch == leaveEpoch):
		return invalid("MemberId can't be empty.")
	case req.MemberEpoch < leftStatic:
		return invalid("MemberEpoch is invalid.")
	case req.MemberEpoch == leftStatic && req.InstanceID == nil:
		return invalid("InstanceId can't be null.")
	case empty(req.InstanceID):
		return invalid("InstanceId can't be empty.")
	case empty(req.RackID):
		return invalid("RackId can't be empty.")
	case req.MemberEpoch != joinEpoch: // what follows is of joins
	case req.RebalanceTimeoutMillis == -1:
		return invalid("RebalanceTimeoutMs must be provided in first request.")
	case req.Topics == nil || len(req.Topics) > 0:
		return invalid("TopicPartitions must be empty when (re-)joining.")
	case req.SubscribedTopicNames == nil && req.SubscribedTopicRegex == nil:
		return invalid("Either SubscribedTopicNames or SubscribedTopicRegex must be non-null when (re-)joining.")
	}
	if req.ServerAssignor != nil && !slices.Contains(g.opts.Consumer.Assignors, *req.ServerAssignor) {
		return refuse(wire.UnsupportedAssignor, "ServerAssignor %s is not supported. Supported assignors: %s.", *req.ServerAssignor,
			strings.Join(g.opts.Consumer.Assignors, ", "))
	}
	return nil
}

// consumerChange finds the group, or when a member joins makes it, out of one of the classic type if there is one and it may be.
func (g *Groups) consumerChange(s *shard, name string, epoch int32) (*change, *refusal) {
	if c := g.mu.consumers[name]; c != nil {
		return g.change(c), nil
	}
	gr := g.mu.groups[name]
	switch {
	case epoch != joinEpoch && gr != nil:
		return nil, refuse(wire.GroupIDNotFound, "Group %s is not a consumer group.", name)
	case epoch < 0:
		return nil, refuse(wire.GroupIDNotFound, "Group %s not found.", name)
	case epoch > 0:
		return nil, refuse(wire.GroupIDNotFound, "Consumer group %s not found.", name)
	case gr == nil:
		return g.change(g.newConsumer(name, s)), nil
	case gr.state == dead:
		return nil, &refusal{code: wire.CoordinatorNotAvailable}
	}
	return g.upgrade(gr)
}

// dropConsumerIfNew forgets a group of which there is no record.
func (g *Groups) dropConsumerIfNew(c *consumer) {
	if d := c.shard.groups[c.name]; d == nil || d.consumer == nil {
		delete(g.mu.consumers, c.name)
	}
}

func (g *Groups) consumerHeartbeat(x *change, client Client, req *kmsg.ConsumerGroupHeartbeatRequest) (*kmsg.ConsumerGroupHeartbeatResponse, *refusal) {
	has := partitionsOf(req.Topics)
	m, why := g.consumerMemberFor(x, memberRequest{id: req.MemberID, instance: req.InstanceID, epoch: req.MemberEpoch, has: has, join: req.MemberEpoch == joinEpoch})
	if why != nil {
		return nil, why
	}
	said := *m.memberMetadata
	said.client, said.classic = client, nil
	said.update(req)
	before := m.currentAssignment
	m, why = g.advance(x, m, &said, has)
	if why != nil {
		return nil, why
	}
	r := kmsg.NewPtrConsumerGroupHeartbeatResponse()
	r.MemberID, r.MemberEpoch, r.HeartbeatIntervalMillis = &m.id, m.epoch, int32(g.opts.Consumer.Times(x.c.name).Heartbeat/time.Millisecond)
	full := req.RebalanceTimeoutMillis != -1 && (req.SubscribedTopicNames != nil || req.SubscribedTopicRegex != nil) && req.Topics != nil
	if req.MemberEpoch == joinEpoch || full || !sameAssigned(before, m.currentAssignment) {
		r.Assignment = responseAssignment(m.assigned.partitions())
	}
	return r, nil
}

// sameAssigned tells whether the partitions are the same, whenever the member got them.
func sameAssigned(a, b *currentAssignment) bool {
	return a == b || samePartitions(a.assigned.partitions(), b.assigned.partitions())
}

// update takes over what a heartbeat says; what it leaves out is as before.
func (m *memberMetadata) update(req *kmsg.ConsumerGroupHeartbeatRequest) {
	if req.InstanceID != nil {
		m.instance = req.InstanceID
	}
	if req.RackID != nil {
		m.rack = req.RackID
	}
	if req.RebalanceTimeoutMillis != -1 {
		m.rebalanceMs = req.RebalanceTimeoutMillis
	}
	if req.ServerAssignor != nil {
		m.assignor = req.ServerAssignor
	}
	if req.SubscribedTopicNames != nil {
		m.topics = slices.Compact(slices.Sorted(slices.Values(req.SubscribedTopicNames)))
	}
	if req.SubscribedTopicRegex != nil {
		m.regex = *req.SubscribedTopicRegex
	}
}

func partitionsOf(list []kmsg.ConsumerGroupHeartbeatRequestTopic) partitions {
	if list == nil {
		return nil
	}
	out := partitions{}
	for _, t := range list {
		out[t.TopicID] = append(out[t.TopicID], t.Partitions...)
	}
	return out
}

func responseAssignment(p partitions) *kmsg.ConsumerGroupHeartbeatResponseAssignment {
	a := kmsg.NewConsumerGroupHeartbeatResponseAssignment()
	for _, id := range sortedTopics(p) {
		t := kmsg.NewConsumerGroupHeartbeatResponseAssignmentTopic()
		t.TopicID, t.Partitions = id, p[id]
		a.Topics = append(a.Topics, t)
	}
	return &a
}

// memberRequest says for which member a request is.
type memberRequest struct {
	id       string
	instance *string
	epoch    int32
	has      partitions
	join     bool // it may be new
	classic  bool // it speaks the classic protocol, which knows no member epochs
}

// consumerMemberFor finds the member of a request, or makes it when it joins.
func (g *Groups) consumerMemberFor(x *change, r memberRequest) (*consumerMember, *refusal) {
	st := x.state()
	if len(st.members) >= g.opts.Consumer.MaxSize && (r.id == "" || st.members[r.id] == nil) {
		return nil, refuse(wire.GroupMaxSizeReached, "The consumer group has reached its maximum capacity of %d members.", g.opts.Consumer.MaxSize)
	}
	if r.id == "" {
		id, err := newConsumerMemberID()
		if err != nil {
			return nil, &refusal{wire.UnknownServerError, err.Error()}
		}
		r.id = id
	}
	if r.instance != nil {
		return g.staticMemberFor(x, r)
	}
	m := st.members[r.id]
	switch {
	case m == nil && r.join:
		return &consumerMember{r.id, noMetadata, noAssignment}, nil
	case m == nil:
		return nil, refuse(wire.UnknownMemberID, "Member %s is not a member of group %s.", r.id, x.c.name)
	case r.classic:
		return m, nil
	}
	return m, m.checkEpoch(r)
}

// staticMemberFor is consumerMemberFor for a member with an instance id. A new one takes the place of the one that has left for a while, or that speaks
// the other protocol.
func (g *Groups) staticMemberFor(x *change, r memberRequest) (*consumerMember, *refusal) {
	st := x.state()
	old := st.members[st.static[*r.instance]]
	switch {
	case old == nil && r.join:
		return &consumerMember{r.id, noMetadata, noAssignment}, nil
	case old == nil:
		return nil, refuse(wire.UnknownMemberID, "Instance id %s is unknown.", *r.instance)
	case old.id == r.id && r.classic:
		return old, nil
	case old.id == r.id:
		return old, old.checkEpoch(r)
	case !r.join:
		return nil, refuse(wire.FencedInstanceID, "Static member %s with instance id %s was fenced by member %s.", r.id, *r.instance, old.id)
	case !r.classic && old.classic == nil && old.epoch != leftStatic:
		return nil, refuse(wire.UnreleasedInstanceID, "Static member %s with instance id %s cannot join the group because the instance id is owned by %s member.",
			r.id, *r.instance, old.id)
	}
	return x.replace(old, r), nil
}

// replace puts a member in the place of another.
func (x *change) replace(old *consumerMember, r memberRequest) *consumerMember {
	st := x.state()
	now := *old.currentAssignment
	now.epoch, now.previous = joinEpoch, joinEpoch
	if r.classic {
		now.epoch = st.targetEpoch
	}
	target, had := st.targets[old.id]
	x.forget(old)
	x.emit(memberFact{r.id, old.memberMetadata})
	if had {
		x.emit(targetFact{r.id, target})
	}
	x.emit(currentFact{r.id, &now})
	x.then(func() { x.g.stopAll(x.c, old.id) })
	return st.members[r.id]
}

// forget removes the records of a member.
func (x *change) forget(m *consumerMember) {
	x.emit(currentFact{id: m.id})
	x.emit(targetFact{id: m.id})
	x.emit(memberFact{id: m.id})
}

// checkEpoch compares the epoch of a member with the one it has here. The one before is good while the answer with the new one may have been lost.
func (m *consumerMember) checkEpoch(r memberRequest) *refusal {
	const rejoin = "The member must abandon all its partitions and rejoin."
	switch {
	case r.epoch == joinEpoch || r.epoch == m.epoch:
		return nil
	case r.epoch > m.epoch:
		return refuse(wire.FencedMemberEpoch, "The consumer group member has a greater member epoch (%d) than the one known by the group coordinator (%d). %s", r.epoch, m.epoch, rejoin)
	case r.epoch == m.previous && m.hasNoMore(r.has):
		return nil
	}
	return refuse(wire.FencedMemberEpoch, "The consumer group member has a smaller member epoch (%d) than the one known by the group coordinator (%d). %s", r.epoch, m.epoch, rejoin)
}

// hasNoMore tells whether a member has nothing but what it was assigned.
func (m *consumerMember) hasNoMore(has partitions) bool {
	for topic, list := range has {
		for _, p := range list {
			if _, ok := m.assigned[topic][p]; !ok {
				return false
			}
		}
	}
	return has != nil
}

// consumerLeave takes a member out, or, when it is static and comes back, notes that it is away.
func (g *Groups) consumerLeave(x *change, req *kmsg.ConsumerGroupHeartbeatRequest) (*kmsg.ConsumerGroupHeartbeatResponse, *refusal) {
	r := kmsg.NewPtrConsumerGroupHeartbeatResponse()
	r.MemberID, r.MemberEpoch = &req.MemberID, req.MemberEpoch
	st := x.c.state()
	m := st.members[req.MemberID]
	if req.InstanceID != nil {
		m = st.members[st.static[*req.InstanceID]]
	}
	switch {
	case m == nil:
		return nil, refuse(wire.UnknownMemberID, "Member %s is not a member of group %s.", req.MemberID, x.c.name)
	case m.id != req.MemberID:
		return nil, refuse(wire.FencedInstanceID, "Static member %s with instance id %s was fenced by member %s.", req.MemberID, *req.InstanceID, m.id)
	case req.MemberEpoch == leftStatic:
		now := *m.currentAssignment
		now.epoch, now.revoking = leftStatic, owned{}
		x.emit(currentFact{m.id, &now})
		x.then(func() { g.stop(x.c, m.id, revokeTimer) })
		return r, nil
	}
	g.fence(x, m.id)
	return r, nil
}

// fence removes members; the others share anew. When only members of the classic protocol are left, the group may be theirs again.
func (g *Groups) fence(x *change, ids ...string) {
	for _, id := range ids {
		m := x.c.state().members[id]
		x.forget(m)
		x.dropRegexIfLast(m.regex)
		x.then(func() { g.stopAll(x.c, id) })
	}
	if g.downgrades(x.c) {
		g.downgrade(x)
		return
	}
	g.bumpEpoch(x, true)
}

// newConsumerMemberID is an id for a member that has not chosen one: a UUID in Kafka's form.
func newConsumerMemberID() (string, error) {
	var b [16]byte
	if _, err := rand.Read(b[:]); err != nil {
		return "", err
	}
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return base64.RawURLEncoding.EncodeToString(b[:]), nil
}
