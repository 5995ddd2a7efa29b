package coordinator

import (
	"bytes"
	"maps"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/milldam/milldam/core/wire"
)

// groupState is where a group is in its life, by Kafka's names.
type groupState string

const (
	empty      groupState = "Empty"
	preparing  groupState = "PreparingRebalance"
	completing groupState = "CompletingRebalance"
	stable     groupState = "Stable"
	dead       groupState = "Dead"
)

// group is a group while the process lives. Guarded by Groups.mu.
type group struct {
	name  string
	shard *shard
	state groupState

	generation   int32
	assigned     int32 // the last generation whose leader has said who gets what
	protocolType string
	protocol     string
	leader       string
	since        time.Time // of the state

	members map[string]*member
	static  map[string]string    // instance id to member id
	pending map[string]*deadline // ids that were given out, until their member joins

	rebalance *deadline // end of the wait for members to join, or to ask for their assignment
	initial   bool      // the first members wait for others
}

// member is one member of a group.
type member struct {
	id           string
	instance     *string
	client       Client
	protocolType string
	protocols    []kmsg.JoinGroupRequestProtocol
	session      time.Duration
	rebalance    time.Duration
	assignment   []byte

	alive *deadline
	asked int32                         // the last generation that it asked its assignment of
	join  func(*kmsg.JoinGroupResponse) // nil when it does not wait
	sync  func(*kmsg.SyncGroupResponse)
}

func (g *Groups) newGroup(name string, s *shard) *group {
	return &group{name: name, shard: s, state: empty, since: time.Now(), members: map[string]*member{}, static: map[string]string{}, pending: map[string]*deadline{}}
}

// restored is a group as its log left it: stable, with members that have a session's time to show themselves.
func (g *Groups) restored(name string, s *shard, d *durable) *group {
	gr := g.newGroup(name, s)
	v := d.metadata
	if v == nil {
		return gr
	}
	gr.generation, gr.protocolType = v.Generation, v.ProtocolType
	if v.CurrentStateTimestamp >= 0 {
		gr.since = time.UnixMilli(v.CurrentStateTimestamp)
	}
	if len(v.Members) == 0 {
		return gr
	}
	gr.state = stable
	gr.protocol, gr.leader = deref(v.Protocol), deref(v.Leader)
	for _, r := range v.Members {
		p := kmsg.NewJoinGroupRequestProtocol()
		p.Name, p.Metadata = gr.protocol, r.Subscription
		m := &member{id: r.MemberID, instance: r.InstanceID, client: Client{r.ClientID, r.ClientHost}, protocolType: v.ProtocolType,
			protocols: []kmsg.JoinGroupRequestProtocol{p}, session: time.Duration(r.SessionTimeoutMillis) * time.Millisecond,
			rebalance: time.Duration(r.RebalanceTimeoutMillis) * time.Millisecond, assignment: r.Assignment}
		g.addMember(gr, m)
	}
	return gr
}

func deref(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

func (gr *group) setState(s groupState) { gr.state, gr.since = s, time.Now() }

// addMember adds a member and starts its session.
func (g *Groups) addMember(gr *group, m *member) {
	gr.members[m.id] = m
	if m.instance != nil {
		gr.static[*m.instance] = m.id
	}
	if gr.leader == "" {
		gr.leader = m.id
	}
	m.alive = g.mu.deadlines.after(m.session, func() { g.sessionEnded(gr, m) })
}

// heard starts a member's session anew.
func (g *Groups) heard(m *member) { g.mu.deadlines.move(m.alive, m.session) }

// sessionEnded removes a member that was not heard of. One that waits for an answer of ours is not to blame.
func (g *Groups) sessionEnded(gr *group, m *member) {
	if gr.members[m.id] != m {
		return
	}
	if m.join != nil || m.sync != nil {
		g.heard(m)
		return
	}
	g.opts.Logger.Info("a member's session has ended", "group", gr.name, "member", m.id)
	g.removeMember(gr, m)
	g.afterLeaving(gr)
}

func (g *Groups) removeMember(gr *group, m *member) {
	delete(gr.members, m.id)
	if m.instance != nil && gr.static[*m.instance] == m.id {
		delete(gr.static, *m.instance)
	}
	g.mu.deadlines.stop(m.alive)
	m.answerJoin(gr, failedJoin(m.id, wire.UnknownMemberID))
	m.answerSync(failedSync(wire.UnknownMemberID))
	if gr.leader == m.id {
		gr.leader = ""
		for _, id := range slices.Sorted(maps.Keys(gr.members)) {
			gr.leader = id
			break
		}
	}
}

// afterLeaving goes on when members have gone: the rest share anew, or the group is empty.
func (g *Groups) afterLeaving(gr *group) {
	switch gr.state {
	case stable, completing:
		g.prepareRebalance(gr)
	case preparing:
		g.tryCompleteJoin(gr)
	}
}

func (m *member) answerJoin(gr *group, r *kmsg.JoinGroupResponse) {
	if m.join == nil {
		return
	}
	if r.ProtocolType == nil && gr.protocolType != "" {
		r.ProtocolType = &gr.protocolType
	}
	fn := m.join
	m.join = nil
	fn(r)
}

func (m *member) answerSync(r *kmsg.SyncGroupResponse) {
	if m.sync == nil {
		return
	}
	fn := m.sync
	m.sync = nil
	fn(r)
}

func failedSync(code wire.Code) *kmsg.SyncGroupResponse {
	r := kmsg.NewPtrSyncGroupResponse()
	r.ErrorCode = int16(code)
	return r
}

// supports tells whether protocols fit the group's: one at least that every member knows, other than the one called id, whose they are or will be.
func (gr *group) supports(id, protocolType string, protocols []kmsg.JoinGroupRequestProtocol) bool {
	if len(gr.members) == 0 {
		return protocolType != "" && len(protocols) > 0
	}
	if protocolType != gr.protocolType {
		return false
	}
	for _, p := range protocols {
		if gr.allKnow(p.Name, id) {
			return true
		}
	}
	return false
}

// allKnow tells whether every member knows a protocol; except, when not empty, is one that is not asked.
func (gr *group) allKnow(protocol, except string) bool {
	for id, m := range gr.members {
		if id != except && m.metadata(protocol) == nil {
			return false
		}
	}
	return true
}

// metadata is what the member said for a protocol; not nil when it knows it.
func (m *member) metadata(protocol string) []byte {
	for _, p := range m.protocols {
		if p.Name == protocol {
			if p.Metadata == nil {
				return []byte{}
			}
			return p.Metadata
		}
	}
	return nil
}

// vote chooses the protocol: of those that all know, the one most members put first.
func (gr *group) vote() string {
	votes := map[string]int{}
	for _, m := range gr.members {
		for _, p := range m.protocols {
			if gr.allKnow(p.Name, "") {
				votes[p.Name]++
				break
			}
		}
	}
	best := ""
	for _, name := range slices.Sorted(maps.Keys(votes)) {
		if best == "" || votes[name] > votes[best] {
			best = name
		}
	}
	return best
}

func sameProtocols(a, b []kmsg.JoinGroupRequestProtocol) bool {
	return slices.EqualFunc(a, b, func(x, y kmsg.JoinGroupRequestProtocol) bool {
		return x.Name == y.Name && bytes.Equal(x.Metadata, y.Metadata)
	})
}

// joined is the answer to a member that is in. The leader is told the members.
func (gr *group) joined(m *member) *kmsg.JoinGroupResponse {
	r := kmsg.NewPtrJoinGroupResponse()
	protocol, protocolType := gr.protocol, gr.protocolType
	r.Generation, r.Protocol, r.ProtocolType, r.LeaderID, r.MemberID = gr.generation, &protocol, &protocolType, gr.leader, m.id
	if m.id == gr.leader {
		r.Members = gr.memberList()
	}
	return r
}

func (gr *group) memberList() []kmsg.JoinGroupResponseMember {
	var list []kmsg.JoinGroupResponseMember
	for _, id := range slices.Sorted(maps.Keys(gr.members)) {
		m := gr.members[id]
		row := kmsg.NewJoinGroupResponseMember()
		row.MemberID, row.InstanceID, row.ProtocolMetadata = m.id, m.instance, m.metadata(gr.protocol)
		list = append(list, row)
	}
	return list
}

// value is the group as its log keeps it.
func (gr *group) value(assignments map[string][]byte) *kmsg.GroupMetadataValue {
	v := &kmsg.GroupMetadataValue{Version: metadataValueVersion, ProtocolType: gr.protocolType, Generation: gr.generation, CurrentStateTimestamp: time.Now().UnixMilli()}
	if len(gr.members) == 0 {
		return v
	}
	protocol, leader := gr.protocol, gr.leader
	v.Protocol, v.Leader = &protocol, &leader
	for _, id := range slices.Sorted(maps.Keys(gr.members)) {
		m := gr.members[id]
		v.Members = append(v.Members, kmsg.GroupMetadataValueMember{MemberID: m.id, InstanceID: m.instance, ClientID: m.client.ID, ClientHost: m.client.Host,
			RebalanceTimeoutMillis: int32(m.rebalance / time.Millisecond), SessionTimeoutMillis: int32(m.session / time.Millisecond),
			Subscription: m.metadata(gr.protocol), Assignment: assignments[id]})
	}
	return v
}

// longestRebalance is how long the slowest member may take to join again.
func (gr *group) longestRebalance() time.Duration {
	var longest time.Duration
	for _, m := range gr.members {
		longest = max(longest, m.rebalance)
	}
	return longest
}
