package broker_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// groupScript sends requests about groups of both types and writes down what came back.
type groupScript struct {
	*txnScript
	group string
}

// TestGroupsAnswerAsKafka plays a script and compares with what Apache Kafka 4.3.1 answered; see TestTransactionsAnswerAsKafka.
func TestGroupsAnswerAsKafka(t *testing.T) {
	compareWithKafka(t, "testdata/groups-kafka-4.3.1.txt", func(s *txnScript) {
		s.createTopic()
		g := &groupScript{txnScript: s}
		for _, part := range []struct {
			title string
			play  func()
		}{{"heartbeats that are refused", g.playRefused}, {"reconciliation", g.playReconciliation}, {"commits", g.playCommits}, {"static members", g.playStatic}, {"the classic protocol", g.playClassic}, {"static members of the classic protocol", g.playClassicStatic},
			{"from classic to consumer and back", g.playMigration}, {"groups that are not there", g.playUnknown}} {
			g.chapter(part.title)
			g.group = g.id
			g.computeAtOnce()
			part.play()
		}
	})
}

// computeAtOnce lets the group have a new target as often as it needs one.
func (s *groupScript) computeAtOnce() {
	s.t.Helper()
	req := kmsg.NewPtrIncrementalAlterConfigsRequest()
	resource, config := kmsg.NewIncrementalAlterConfigsRequestResource(), kmsg.NewIncrementalAlterConfigsRequestResourceConfig()
	config.Name, config.Value = "consumer.assignment.interval.ms", kmsg.StringPtr("0")
	resource.ResourceType, resource.ResourceName = kmsg.ConfigResourceTypeGroupConfig, s.group
	resource.Configs = append(resource.Configs, config)
	req.Resources = append(req.Resources, resource)
	if r := s.request(1, req).(*kmsg.IncrementalAlterConfigsResponse); r.Resources[0].ErrorCode != 0 {
		s.t.Fatal(codeName(r.Resources[0].ErrorCode))
	}
	<-time.After(300 * time.Millisecond) // until a broker that is not its own controller knows it
}

// heartbeat sends a ConsumerGroupHeartbeat: a full one as of a member that joins, which change makes what it is to be.
func (s *groupScript) heartbeat(what, member string, epoch int32, change func(*kmsg.ConsumerGroupHeartbeatRequest)) *kmsg.ConsumerGroupHeartbeatResponse {
	s.t.Helper()
	r := kmsg.NewPtrConsumerGroupHeartbeatRequest()
	r.Group, r.MemberID, r.MemberEpoch, r.RebalanceTimeoutMillis = s.group, member, epoch, 30_000
	r.SubscribedTopicNames, r.Topics = []string{s.topic}, []kmsg.ConsumerGroupHeartbeatRequestTopic{}
	if change != nil {
		change(r)
	}
	resp := s.request(1, r).(*kmsg.ConsumerGroupHeartbeatResponse)
	assignment := "none"
	if resp.Assignment != nil {
		assignment = "[]"
		for _, t := range resp.Assignment.Topics {
			assignment = fmt.Sprint(t.Partitions)
		}
	}
	message := ""
	if resp.ErrorMessage != nil {
		message = " " + strings.ReplaceAll(*resp.ErrorMessage, s.group, "GROUP")
	}
	s.say("  heartbeat of %q, %d, %s: %s%s, epoch %d, interval %d, assignment %s", member, epoch, what, codeName(resp.ErrorCode), message, resp.MemberEpoch,
		resp.HeartbeatIntervalMillis, assignment)
	return resp
}

// brief makes a heartbeat one that says only what a member has; nil is that it does not say.
func (s *groupScript) brief(has []int32) func(*kmsg.ConsumerGroupHeartbeatRequest) {
	return func(r *kmsg.ConsumerGroupHeartbeatRequest) {
		r.RebalanceTimeoutMillis, r.SubscribedTopicNames, r.Topics = -1, nil, nil
		if has != nil {
			r.Topics = []kmsg.ConsumerGroupHeartbeatRequestTopic{{TopicID: s.topicID, Partitions: has}}
		}
	}
}

func instance(id string) func(*kmsg.ConsumerGroupHeartbeatRequest) {
	return func(r *kmsg.ConsumerGroupHeartbeatRequest) { r.InstanceID = &id }
}

func (s *groupScript) describe() {
	s.t.Helper()
	modern := kmsg.NewPtrConsumerGroupDescribeRequest()
	modern.Groups, modern.IncludeAuthorizedOperations = []string{s.group}, true
	g := s.request(1, modern).(*kmsg.ConsumerGroupDescribeResponse).Groups[0]
	s.say("  ConsumerGroupDescribe: %s, state %q, epochs %d %d, assignor %q, operations %d", codeName(g.ErrorCode), g.State, g.Epoch, g.AssignmentEpoch, g.AssignorName, g.AuthorizedOperations)
	slices.SortFunc(g.Members, func(a, b kmsg.ConsumerGroupDescribeResponseGroupMember) int {
		return strings.Compare(a.MemberID, b.MemberID)
	})
	partitions := func(a kmsg.Assignment) (list []int32) {
		for _, t := range a.TopicPartitions {
			list = append(list, t.Partitions...)
		}
		return list
	}
	for _, m := range g.Members {
		s.say("    epoch %d, %d topics, regex %v, has %v, shall have %v, type %d, static %v", m.MemberEpoch, len(m.SubscribedTopics), *m.SubscribedTopicRegex,
			partitions(m.Assignment), partitions(m.TargetAssignment), m.MemberType, m.InstanceID != nil)
	}
	classic := kmsg.NewPtrDescribeGroupsRequest()
	classic.Groups, classic.IncludeAuthorizedOperations = []string{s.group}, true
	c := s.request(6, classic).(*kmsg.DescribeGroupsResponse).Groups[0]
	s.say("  DescribeGroups: %s, state %q, protocol %q %q, %d members, operations %d", codeName(c.ErrorCode), c.State, c.ProtocolType, c.Protocol, len(c.Members), c.AuthorizedOperations)
	list := kmsg.NewPtrListGroupsRequest()
	for _, g := range s.request(5, list).(*kmsg.ListGroupsResponse).Groups {
		if g.Group == s.group {
			s.say("  ListGroups: %q %q %q", g.ProtocolType, g.GroupState, g.GroupType)
		}
	}
}

func (s *groupScript) commit(what, member string, epoch int32, version int16) {
	s.t.Helper()
	r := kmsg.NewPtrOffsetCommitRequest()
	r.Group, r.MemberID, r.Generation = s.group, member, epoch
	topic, p := kmsg.NewOffsetCommitRequestTopic(), kmsg.NewOffsetCommitRequestTopicPartition()
	p.Offset, p.Metadata, topic.Topic, topic.TopicID = 3, kmsg.StringPtr("m"), s.topic, s.topicID
	topic.Partitions = append(topic.Partitions, p)
	r.Topics = append(r.Topics, topic)
	resp := s.request(version, r).(*kmsg.OffsetCommitResponse)
	s.say("  OffsetCommit v%d of %s: %s", version, what, codeName(resp.Topics[0].Partitions[0].ErrorCode))
}

func (s *groupScript) fetch(what string, member *string, epoch int32) {
	s.t.Helper()
	r := kmsg.NewPtrOffsetFetchRequest()
	in, topic := kmsg.NewOffsetFetchRequestGroup(), kmsg.NewOffsetFetchRequestGroupTopic()
	in.Group, in.MemberID, in.MemberEpoch = s.group, member, epoch
	topic.TopicID, topic.Partitions = s.topicID, []int32{0, 1}
	in.Topics = append(in.Topics, topic)
	r.Groups = append(r.Groups, in)
	g := s.request(10, r).(*kmsg.OffsetFetchResponse).Groups[0]
	line := ""
	for _, t := range g.Topics {
		for _, p := range t.Partitions {
			line += fmt.Sprintf(", %d at %d epoch %d %q %s", p.Partition, p.Offset, p.LeaderEpoch, *p.Metadata, codeName(p.ErrorCode))
		}
	}
	s.say("  OffsetFetch of %s: %s%s", what, codeName(g.ErrorCode), line)
}

func (s *groupScript) join(what, member string, protocolType string, metadata []byte) *kmsg.JoinGroupResponse {
	s.t.Helper()
	return s.joinAs(what, member, 9, func(r *kmsg.JoinGroupRequest) {
		r.ProtocolType, r.Protocols[0].Metadata = protocolType, metadata
	})
}

// joinAs sends a JoinGroup of a consumer, which change makes what it is to be.
func (s *groupScript) joinAs(what, member string, version int16, change func(*kmsg.JoinGroupRequest)) *kmsg.JoinGroupResponse {
	s.t.Helper()
	r := kmsg.NewPtrJoinGroupRequest()
	r.Group, r.MemberID, r.ProtocolType, r.SessionTimeoutMillis, r.RebalanceTimeoutMillis = s.group, member, "consumer", 10_000, 10_000
	protocol := kmsg.NewJoinGroupRequestProtocol()
	protocol.Name, protocol.Metadata = "range", subscription(s.topic)
	r.Protocols = append(r.Protocols, protocol)
	if change != nil {
		change(r)
	}
	resp := s.request(version, r).(*kmsg.JoinGroupResponse)
	text := func(p *string) string {
		if p == nil {
			return "null"
		}
		return *p
	}
	s.say("  JoinGroup, %s: %s, generation %d, protocol %s %s, %d members, leads %v, skip %v", what, codeName(resp.ErrorCode), resp.Generation, text(resp.ProtocolType),
		text(resp.Protocol), len(resp.Members), resp.LeaderID == resp.MemberID && resp.MemberID != "", resp.SkipAssignment)
	return resp
}

func (s *groupScript) sync(what, member string, generation int32, protocol *string, assignment []byte) {
	s.t.Helper()
	r := kmsg.NewPtrSyncGroupRequest()
	r.Group, r.MemberID, r.Generation, r.Protocol = s.group, member, generation, protocol
	if protocol != nil {
		r.ProtocolType = kmsg.StringPtr("consumer")
	}
	if assignment != nil {
		a := kmsg.NewSyncGroupRequestGroupAssignment()
		a.MemberID, a.MemberAssignment = member, assignment
		r.GroupAssignment = append(r.GroupAssignment, a)
	}
	resp := s.request(5, r).(*kmsg.SyncGroupResponse)
	var got kmsg.ConsumerMemberAssignment
	list := "nothing"
	if len(resp.MemberAssignment) > 0 && got.ReadFrom(resp.MemberAssignment) == nil {
		list = "[]"
		for _, t := range got.Topics {
			list = fmt.Sprint(t.Partitions)
		}
	}
	s.say("  SyncGroup, %s: %s, %s", what, codeName(resp.ErrorCode), list)
}

func (s *groupScript) classicHeartbeat(what, member string, generation int32) {
	s.t.Helper()
	r := kmsg.NewPtrHeartbeatRequest()
	r.Group, r.MemberID, r.Generation = s.group, member, generation
	s.say("  Heartbeat, %s: %s", what, codeName(s.request(4, r).(*kmsg.HeartbeatResponse).ErrorCode))
}

func (s *groupScript) leave(what, member string, instance *string) {
	s.t.Helper()
	r, m := kmsg.NewPtrLeaveGroupRequest(), kmsg.NewLeaveGroupRequestMember()
	m.MemberID, m.InstanceID = member, instance
	r.Group, r.Members = s.group, append(r.Members, m)
	resp := s.request(5, r).(*kmsg.LeaveGroupResponse)
	s.say("  LeaveGroup, %s: %s, %s", what, codeName(resp.ErrorCode), codeName(resp.Members[0].ErrorCode))
}

func (s *groupScript) delete() {
	s.t.Helper()
	r := kmsg.NewPtrDeleteGroupsRequest()
	r.Groups = []string{s.group}
	s.say("  DeleteGroups: %s", codeName(s.request(2, r).(*kmsg.DeleteGroupsResponse).Groups[0].ErrorCode))
}

func (s *groupScript) deleteOffset(what, topic string, partition int32) {
	s.t.Helper()
	r, t, p := kmsg.NewPtrOffsetDeleteRequest(), kmsg.NewOffsetDeleteRequestTopic(), kmsg.NewOffsetDeleteRequestTopicPartition()
	p.Partition, t.Topic = partition, topic
	t.Partitions = append(t.Partitions, p)
	r.Group, r.Topics = s.group, append(r.Topics, t)
	resp := s.request(0, r).(*kmsg.OffsetDeleteResponse)
	code := "nothing"
	if len(resp.Topics) > 0 {
		code = codeName(resp.Topics[0].Partitions[0].ErrorCode)
	}
	s.say("  OffsetDelete of %s: %s, %s", what, codeName(resp.ErrorCode), code)
}

func subscription(topics ...string) []byte {
	m := kmsg.ConsumerMemberMetadata{Version: 3, Topics: topics, Generation: -1}
	return m.AppendTo(nil)
}

func (s *groupScript) playRefused() {
	type request = kmsg.ConsumerGroupHeartbeatRequest
	for _, tc := range []struct {
		what   string
		epoch  int32
		change func(*request)
	}{
		{"of a group that is not there", 1, nil},
		{"leaves a group that is not there", -1, nil},
		{"without a group", 0, func(r *request) { r.Group = "" }},
		{"of a blank group", 0, func(r *request) { r.Group = " " }},
		{"without a member id", 0, func(r *request) { r.MemberID = "" }},
		{"with an epoch below all", -3, nil},
		{"leaves for a while without an instance", -2, nil},
		{"with an empty instance id", 0, instance("")},
		{"with an empty rack", 0, func(r *request) { r.RackID = kmsg.StringPtr("") }},
		{"without a rebalance timeout", 0, func(r *request) { r.RebalanceTimeoutMillis = -1 }},
		{"without partitions", 0, func(r *request) { r.Topics = nil }},
		{"with partitions", 0, func(r *request) {
			r.Topics = []kmsg.ConsumerGroupHeartbeatRequestTopic{{TopicID: s.topicID, Partitions: []int32{0}}}
		}},
		{"without a subscription", 0, func(r *request) { r.SubscribedTopicNames = nil }},
		{"with an assignor that is none", 0, func(r *request) { r.ServerAssignor = kmsg.StringPtr("none") }},
		{"with an empty list of topics", 0, func(r *request) { r.SubscribedTopicNames = []string{} }},
		{"with an empty regex", 0, func(r *request) { r.SubscribedTopicNames, r.SubscribedTopicRegex = nil, kmsg.StringPtr("") }},
		{"with topics", 0, nil},
		{"of an epoch to come", 9, nil},
		{"with an instance nobody knows", 2, instance("i")},
	} {
		s.heartbeat(tc.what, "a", tc.epoch, tc.change)
	}
	s.heartbeat("somebody", "x", 1, nil)
	s.describe()
}

func (s *groupScript) playReconciliation() {
	a := s.heartbeat("joins", "a", 0, nil)
	b := s.heartbeat("joins", "b", 0, nil)
	s.describe()
	told := s.heartbeat("is to give back", "a", a.MemberEpoch, s.brief(nil))
	kept := told.Assignment.Topics[0].Partitions
	s.describe()
	s.heartbeat("has all still", "a", a.MemberEpoch, s.brief([]int32{0, 1, 2}))
	s.heartbeat("waits", "b", b.MemberEpoch, s.brief(nil))
	now := s.heartbeat("has given back", "a", a.MemberEpoch, s.brief(kept))
	s.heartbeat("of the epoch before, with what it has", "a", a.MemberEpoch, s.brief(kept))
	s.heartbeat("of the epoch before, without", "a", a.MemberEpoch, s.brief(nil))
	s.heartbeat("gets what is free", "b", b.MemberEpoch, s.brief(nil))
	s.describe()
	s.heartbeat("says all", "a", now.MemberEpoch, func(r *kmsg.ConsumerGroupHeartbeatRequest) {
		s.brief(kept)(r)
		r.RebalanceTimeoutMillis, r.SubscribedTopicNames = 30_000, []string{s.topic}
	})
	s.heartbeat("joins again", "a", 0, nil)
	s.deleteOffset("a topic that is read", s.topic, 0)
	s.deleteOffset("a topic that is not there", "none", 0)
	s.deleteOffset("a partition that is not there", s.topic, 99)
	s.delete()
	s.leave("a member of the other protocol", "b", nil)
	s.leave("somebody", "x", nil)
	s.classicHeartbeat("of a member of the other protocol", "a", now.MemberEpoch)
	s.sync("of a member of the other protocol", "a", now.MemberEpoch, kmsg.StringPtr("range"), nil)
	s.join("of Connect", "", "connect", []byte{0})
	s.heartbeat("leaves", "a", -1, nil)
	s.heartbeat("leaves again", "a", -1, nil)
	s.describe()
	s.delete()
	s.describe()
}

func (s *groupScript) playCommits() {
	s.commit("a tool", "", -1, 10)
	s.fetch("a tool", nil, -1)
	a := s.heartbeat("joins", "a", 0, nil)
	e := a.MemberEpoch
	for _, version := range []int16{8, 9, 10} {
		s.commit("the member", "a", e, version)
		s.commit("the member, before it had it", "a", e-1, version)
		s.commit("the member, of an epoch to come", "a", e+1, version)
		s.commit("a tool", "", -1, version)
		s.commit("somebody", "x", e, version)
	}
	id, other, none := "a", "x", ""
	s.fetch("the member", &id, e)
	s.fetch("the member, stale", &id, e-1)
	s.fetch("the member, of an epoch to come", &id, e+1)
	s.fetch("somebody", &other, 1)
	s.fetch("nobody", &none, -1)
	s.fetch("a tool", nil, -1)
	s.heartbeat("leaves", "a", -1, nil)
	s.commit("a tool, nobody being there", "", -1, 9)
	s.commit("the member that left", "a", e, 9)
	s.fetch("the member that left", &id, e)
}

func (s *groupScript) playStatic() {
	first := s.heartbeat("joins", "s1", 0, instance("i"))
	s.heartbeat("of the same instance", "s2", 0, instance("i"))
	s.heartbeat("leaves for a while, by another", "s2", -2, instance("i"))
	s.heartbeat("leaves for a while", "s1", -2, instance("i"))
	s.describe()
	s.heartbeat("comes back", "s2", 0, instance("i"))
	s.heartbeat("its former self", "s1", first.MemberEpoch, instance("i"))
	s.describe()
	s.leave("the instance, by a tool", "", kmsg.StringPtr("i"))
	s.describe()
}

func (s *groupScript) playClassic() {
	type request = kmsg.JoinGroupRequest
	rangeProtocol := kmsg.StringPtr("range")
	s.joinAs("too short a session", "", 9, func(r *request) { r.SessionTimeoutMillis = 5999 })
	s.joinAs("too long a session", "", 9, func(r *request) { r.SessionTimeoutMillis = 1_800_001 })
	s.joinAs("without protocols", "", 9, func(r *request) { r.Protocols = nil })
	id := s.joinAs("without an id", "", 9, nil).MemberID
	s.describe()
	s.classicHeartbeat("before it joined", id, 0)
	j := s.joinAs("with it", id, 9, nil)
	s.describe()
	s.classicHeartbeat("before it has an assignment", id, j.Generation)
	s.commit("the member, before it has an assignment", id, j.Generation, 8)
	s.joinAs("again, the same", id, 9, nil)
	s.joinAs("of another type", id, 9, func(r *request) { r.ProtocolType = "connect" })
	s.joinAs("of a newcomer with another protocol", "", 9, func(r *request) { r.Protocols[0].Name = "other" })
	s.joinAs("of an id nobody knows", "who", 9, nil)
	s.sync("of another protocol", id, j.Generation, kmsg.StringPtr("other"), nil)
	s.sync("of another generation", id, j.Generation+1, rangeProtocol, nil)
	s.sync("of somebody", "who", j.Generation, rangeProtocol, nil)
	a := kmsg.ConsumerMemberAssignment{Version: 3, Topics: []kmsg.ConsumerMemberAssignmentTopic{{Topic: s.topic, Partitions: []int32{0, 1, 2}}}}
	s.sync("of the leader", id, j.Generation, rangeProtocol, a.AppendTo(nil))
	s.sync("again", id, j.Generation, rangeProtocol, nil)
	s.describe()
	s.classicHeartbeat("stable", id, j.Generation)
	s.classicHeartbeat("of an older generation", id, j.Generation-1)
	s.classicHeartbeat("of a newer generation", id, j.Generation+1)
	s.classicHeartbeat("of somebody", "who", j.Generation)
	for _, version := range []int16{2, 8, 9} {
		s.commit("the member", id, j.Generation, version)
		s.commit("the member, of an older generation", id, j.Generation-1, version)
		s.commit("the member, without a generation", id, -1, version)
		s.commit("a tool", "", -1, version)
		s.commit("somebody", "who", j.Generation, version)
	}
	s.fetch("the member", &id, j.Generation)
	s.fetch("the member, stale", &id, j.Generation+1)
	s.delete()
	s.joinAs("of the leader, stable", id, 9, nil)
	s.leave("somebody", "who", nil)
	s.leave("the member, by an instance", "", kmsg.StringPtr("i"))
	s.leave("the member", id, nil)
	s.leave("the member again", id, nil)
	s.describe()
	s.commit("a tool, nobody being there", "", -1, 8)
	s.commit("the member that left", id, -1, 8)
	s.commit("the member that left", id, j.Generation, 8)
	old := s.joinAs("of an old client", "", 1, nil)
	s.describe()
	s.leave("it", old.MemberID, nil)
	s.deleteOffset("a topic that nobody reads", s.topic, 0)
	s.delete()
	s.describe()
}

func (s *groupScript) playClassicStatic() {
	rangeProtocol := kmsg.StringPtr("range")
	static := func(r *kmsg.JoinGroupRequest) { r.InstanceID = kmsg.StringPtr("i") }
	first := s.joinAs("of an instance", "", 9, static)
	a := kmsg.ConsumerMemberAssignment{Version: 3, Topics: []kmsg.ConsumerMemberAssignmentTopic{{Topic: s.topic, Partitions: []int32{0}}}}
	s.sync("of the leader", first.MemberID, first.Generation, rangeProtocol, a.AppendTo(nil))
	second := s.joinAs("of the same instance", "", 9, static)
	s.joinAs("of its former self", first.MemberID, 9, static)
	s.classicHeartbeat("of its former self, which does not name its instance", first.MemberID, first.Generation)
	s.sync("of the new one, which does not name its instance", second.MemberID, second.Generation, rangeProtocol, nil)
	s.describe()
	s.joinAs("of an old client, of the same instance", "", 5, static)
	s.joinAs("of an instance and an id nobody knows", "who", 9, func(r *kmsg.JoinGroupRequest) { r.InstanceID = kmsg.StringPtr("other") })
	s.leave("an instance nobody knows", "", kmsg.StringPtr("other"))
	s.leave("the instance, by its former self", first.MemberID, kmsg.StringPtr("i"))
	s.leave("the instance", "", kmsg.StringPtr("i"))
	s.describe()
}

func (s *groupScript) playMigration() {
	rangeProtocol := kmsg.StringPtr("range")
	id := s.join("without an id", "", "consumer", subscription(s.topic)).MemberID
	j := s.join("with it", id, "consumer", subscription(s.topic))
	s.sync("without a protocol", id, j.Generation, nil, nil)
	a := kmsg.ConsumerMemberAssignment{Version: 3, Topics: []kmsg.ConsumerMemberAssignmentTopic{{Topic: s.topic, Partitions: []int32{0, 1, 2}}}}
	s.sync("of the leader", id, j.Generation, rangeProtocol, a.AppendTo(nil))
	s.classicHeartbeat("stable", id, j.Generation)
	s.deleteOffset("a topic that is read", s.topic, 0)
	s.heartbeat("of a member the classic group does not know", "n", 3, nil)
	n := s.heartbeat("joins the classic group", "n", 0, nil)
	s.describe()
	s.classicHeartbeat("is to join again", id, j.Generation)
	s.commit("the classic member", id, j.Generation, 8)
	s.commit("the classic member, of a generation to come", id, j.Generation+9, 8)
	s.sync("before it joined again", id, j.Generation, rangeProtocol, nil)
	again := s.join("again", id, "consumer", subscription(s.topic))
	s.sync("again", id, again.Generation, rangeProtocol, nil)
	s.sync("of another generation", id, again.Generation+1, rangeProtocol, nil)
	s.sync("of another protocol", id, again.Generation, kmsg.StringPtr("other"), nil)
	s.classicHeartbeat("has joined again", id, again.Generation)
	s.heartbeat("goes on", "n", n.MemberEpoch, s.brief(nil))
	s.describe()
	s.join("of an id nobody knows", "who", "consumer", subscription(s.topic))
	s.join("without a protocol type", "", "", subscription(s.topic))
	s.heartbeat("leaves, and only the classic member is left", "n", -1, nil)
	s.describe()
	s.leave("the classic member", id, nil)
	s.describe()
	s.delete()
}

func (s *groupScript) playUnknown() {
	s.describe()
	s.classicHeartbeat("of a group that is not there", "m", 1)
	s.sync("of a group that is not there", "m", 1, kmsg.StringPtr("range"), nil)
	s.leave("a group that is not there", "m", nil)
	s.join("of a group that is not there, with an id", "m", "consumer", subscription(s.topic))
	s.commit("a member of a group that is not there", "m", 1, 8)
	s.commit("a member of a group that is not there", "m", 1, 10)
	s.fetch("a member of a group that is not there", kmsg.StringPtr("m"), 1)
	s.deleteOffset("a group that is not there", s.topic, 0)
	s.delete()
	s.group = ""
	s.join("without a group", "", "consumer", subscription(s.topic))
	s.commit("a tool, without a group", "", -1, 8)
}
