package broker_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// TestOddAnswersAreKafkas sends odd requests whose whole answers are compared with those of Apache Kafka 4.3.1; see TestTransactionsAnswerAsKafka.
func TestOddAnswersAreKafkas(t *testing.T) {
	compareWithKafka(t, "testdata/odd-answers-kafka-4.3.1.txt", func(s *txnScript) {
		s.createTopic()
		for _, part := range []struct {
			title string
			play  func(*txnScript)
		}{{"a group with a member", playGroupWithMember}, {"offsets", playOddOffsets}, {"lists of groups", playOddLists}, {"transactions", playOddTransactions},
			{"fetch", playOddFetch}, {"administration", playOddAdministration}} {
			s.chapter(part.title)
			part.play(s)
		}
	})
}

// unlike are fields that differ between two brokers, or two runs.
var unlike = map[string]bool{"Version": true, "ThrottleMillis": true, "ErrorMessage": true, "UnknownTags": true, "MemberID": true, "LeaderID": true, "ClientHost": true, "TopicID": true,
	"Host": true, "Port": true, "SessionID": true, "StartTimestamp": true, "ProducerID": true, "NodeID": true, "CoordinatorID": true, "Rack": true, "ClusterID": true, "ProtocolMetadata": true, "NodeEndpoints": true}

// whole is odd for the whole of an answer, which it returns.
func (s *txnScript) whole(what string, version int16, req kmsg.Request) kmsg.Response {
	s.t.Helper()
	resp := s.alone(version, req)
	if resp == nil {
		s.say("  %s v%d, %s: no answer", kmsg.NameForKey(req.Key()), version, what)
		return nil
	}
	text, err := json.Marshal(resp)
	must(s.t, err)
	var tree any
	must(s.t, json.Unmarshal(text, &tree))
	s.say("  %s v%d, %s: %s", kmsg.NameForKey(req.Key()), version, what, strings.TrimSuffix(strings.TrimPrefix(plainTree(tree), "{"), "}"))
	return resp
}

// plainTree writes a response in short.
func plainTree(v any) string {
	switch v := v.(type) {
	case map[string]any:
		var parts []string
		for _, key := range slices.Sorted(maps.Keys(v)) {
			value := v[key]
			if number, ok := value.(float64); ok && strings.HasPrefix(key, "ErrorCode") {
				value = codeName(int16(number))
			}
			if !unlike[key] && value != nil {
				parts = append(parts, key+"="+plainTree(value))
			}
		}
		return "{" + strings.Join(parts, " ") + "}"
	case []any:
		var parts []string
		for _, x := range v {
			parts = append(parts, plainTree(x))
		}
		slices.Sort(parts) // Kafka answers what it refuses before the rest
		return "[" + strings.Join(parts, " ") + "]"
	case float64:
		return fmt.Sprintf("%.0f", v)
	}
	return fmt.Sprint(v)
}

func playGroupWithMember(s *txnScript) {
	join := kmsg.NewPtrJoinGroupRequest()
	join.Group, join.ProtocolType, join.SessionTimeoutMillis, join.RebalanceTimeoutMillis = s.id, "consumer", 30_000, 30_000
	p := kmsg.NewJoinGroupRequestProtocol()
	p.Name = "range"
	m := kmsg.ConsumerMemberMetadata{Topics: []string{s.topic}}
	p.Metadata = m.AppendTo(nil)
	join.Protocols = append(join.Protocols, p)
	joined := s.whole("the first", 2, join).(*kmsg.JoinGroupResponse)
	describe := func(group string) {
		for _, version := range []int16{0, 5, 6} {
			r := kmsg.NewPtrDescribeGroupsRequest()
			r.Groups, r.IncludeAuthorizedOperations = []string{group}, version == 5
			s.whole("of this group", version, r)
		}
		r := kmsg.NewPtrConsumerGroupDescribeRequest()
		r.Groups = []string{group, group, ""}
		s.whole("of a classic group, twice", 1, r)
	}
	describe(s.id)
	remove := kmsg.NewPtrDeleteGroupsRequest()
	remove.Groups = []string{s.id, s.id + "-none", ""}
	s.whole("with a member, unknown, unnamed", 2, remove)
	sync := kmsg.NewPtrSyncGroupRequest()
	sync.Group, sync.MemberID, sync.Generation = s.id, joined.MemberID, joined.Generation+1
	s.whole("of a later generation", 3, sync)
	sync.Generation = joined.Generation
	a := kmsg.NewSyncGroupRequestGroupAssignment()
	a.MemberID, a.MemberAssignment = joined.MemberID, (&kmsg.ConsumerMemberAssignment{}).AppendTo(nil)
	sync.GroupAssignment = append(sync.GroupAssignment, a)
	s.whole("of another protocol", 5, func() kmsg.Request {
		other := *sync
		other.ProtocolType, other.Protocol = kmsg.StringPtr("consumer"), kmsg.StringPtr("other")
		return &other
	}())
	s.whole("of another type", 5, func() kmsg.Request {
		other := *sync
		other.ProtocolType, other.Protocol = kmsg.StringPtr("connect"), kmsg.StringPtr("range")
		return &other
	}())
	s.whole("of the leader", 3, sync)
	s.whole("of the leader again", 3, sync)
	describe(s.id)
	commit := kmsg.NewPtrOffsetCommitRequest()
	commit.Group, commit.MemberID, commit.Generation = s.id, joined.MemberID, joined.Generation
	for _, topic := range []string{s.topic} {
		t := kmsg.NewOffsetCommitRequestTopic()
		t.Topic = topic
		for i := range int32(2) {
			p := kmsg.NewOffsetCommitRequestTopicPartition()
			p.Partition, p.Offset, p.LeaderEpoch, p.Metadata = i, 5, 9, kmsg.StringPtr("m")
			t.Partitions = append(t.Partitions, p)
		}
		commit.Topics = append(commit.Topics, t)
	}
	s.whole("of the member", 8, commit)
	commit.Generation++
	s.whole("of a later generation", 8, commit)
	commit.Generation, commit.MemberID = -1, ""
	s.whole("of nobody, while there is a member", 8, commit)
	offsets := kmsg.NewPtrOffsetDeleteRequest()
	offsets.Group = s.id
	for _, topic := range []string{s.topic, "not-there"} {
		t := kmsg.NewOffsetDeleteRequestTopic()
		t.Topic = topic
		for _, i := range []int32{0, 2, 1000, -1} {
			t.Partitions = append(t.Partitions, kmsg.OffsetDeleteRequestTopicPartition{Partition: i})
		}
		offsets.Topics = append(offsets.Topics, t)
	}
	s.whole("of a subscribed topic", 0, offsets)
	beat := kmsg.NewPtrConsumerGroupHeartbeatRequest()
	beat.Group, beat.MemberID, beat.MemberEpoch, beat.RebalanceTimeoutMillis, beat.SubscribedTopicNames = s.id, "m", 3, -1, nil
	s.whole("of a member that a classic group does not know", 1, beat)
	leave := kmsg.NewPtrLeaveGroupRequest()
	leave.Group = s.id
	for _, id := range []string{"unknown", joined.MemberID, joined.MemberID, ""} {
		m := kmsg.NewLeaveGroupRequestMember()
		m.MemberID = id
		leave.Members = append(leave.Members, m)
	}
	for _, id := range []string{"unknown", ""} {
		m := kmsg.NewLeaveGroupRequestMember()
		m.InstanceID = kmsg.StringPtr(id)
		leave.Members = append(leave.Members, m)
	}
	s.whole("of strangers and twice of a member", 4, leave)
	describe(s.id)
	offsets.Topics = offsets.Topics[:1]
	s.whole("without members", 0, offsets)
	s.whole("without members, again", 0, offsets)
	remove.Groups = []string{s.id}
	s.whole("without members", 2, remove)
	s.whole("deleted", 2, remove)
	describe(s.id)
}

func playOddOffsets(s *txnScript) {
	fetch := func(what string, version int16, change func(*kmsg.OffsetFetchRequest)) {
		req := kmsg.NewPtrOffsetFetchRequest()
		req.Group = s.id
		t := kmsg.NewOffsetFetchRequestTopic()
		t.Topic, t.Partitions = s.topic, []int32{0, 2}
		req.Topics = append(req.Topics, t)
		g := kmsg.NewOffsetFetchRequestGroup()
		g.Group = s.id
		u := kmsg.NewOffsetFetchRequestGroupTopic()
		u.Topic, u.TopicID, u.Partitions = s.topic, s.topicID, []int32{0, 2}
		g.Topics = append(g.Topics, u)
		req.Groups = append(req.Groups, g)
		change(req)
		s.whole(what, version, req)
	}
	versions := func(what string, change func(*kmsg.OffsetFetchRequest)) {
		for _, version := range []int16{1, 2, 5, 7, 8, 9, 10} {
			fetch(what, version, change)
		}
	}
	versions("a group that is not there", func(*kmsg.OffsetFetchRequest) {})
	commit := kmsg.NewPtrOffsetCommitRequest()
	commit.Group, commit.Generation = s.id, -1
	t := kmsg.NewOffsetCommitRequestTopic()
	t.Topic = s.topic
	for i := range int32(2) {
		p := kmsg.NewOffsetCommitRequestTopicPartition()
		p.Partition, p.Offset, p.Metadata = i, int64(i), nil
		t.Partitions = append(t.Partitions, p)
	}
	commit.Topics = append(commit.Topics, t)
	s.whole("without metadata", 8, commit)
	versions("partitions with and without an offset", func(*kmsg.OffsetFetchRequest) {})
	versions("no group", func(r *kmsg.OffsetFetchRequest) { r.Group, r.Groups[0].Group = "", "" })
	versions("no partitions", func(r *kmsg.OffsetFetchRequest) { r.Topics[0].Partitions, r.Groups[0].Topics[0].Partitions = nil, nil })
	versions("no topics", func(r *kmsg.OffsetFetchRequest) {
		r.Topics, r.Groups[0].Topics = []kmsg.OffsetFetchRequestTopic{}, []kmsg.OffsetFetchRequestGroupTopic{}
	})
	for _, version := range []int16{2, 7, 8, 10} {
		fetch("all topics", version, func(r *kmsg.OffsetFetchRequest) { r.Topics, r.Groups[0].Topics = nil, nil })
	}
	for _, version := range []int16{8, 9, 10} {
		fetch("a group twice", version, func(r *kmsg.OffsetFetchRequest) { r.Groups = append(r.Groups, r.Groups[0]) })
		fetch("a member that the group does not have", version, func(r *kmsg.OffsetFetchRequest) {
			r.Groups[0].MemberID, r.Groups[0].MemberEpoch = kmsg.StringPtr("m"), 4
		})
		fetch("no groups", version, func(r *kmsg.OffsetFetchRequest) { r.Groups = nil })
	}
	versions("a topic and partition that are not there", func(r *kmsg.OffsetFetchRequest) {
		r.Topics[0].Topic, r.Groups[0].Topics[0].Topic, r.Groups[0].Topics[0].TopicID = "not-there", "not-there", [16]byte{9}
	})
}

func playOddLists(s *txnScript) {
	list := func(what string, version int16, change func(*kmsg.ListGroupsRequest)) {
		req := kmsg.NewPtrListGroupsRequest()
		change(req)
		r, ok := s.alone(version, req).(*kmsg.ListGroupsResponse)
		if !ok {
			s.say("  ListGroups v%d, %s: no answer", version, what)
			return
		}
		mine := 0
		for _, g := range r.Groups {
			if g.Group == s.id {
				mine++
			}
		}
		s.say("  ListGroups v%d, %s: %s, %d", version, what, codeName(r.ErrorCode), mine)
	}
	commit := kmsg.NewPtrOffsetCommitRequest()
	commit.Group, commit.Generation = s.id, -1
	t, p := kmsg.NewOffsetCommitRequestTopic(), kmsg.NewOffsetCommitRequestTopicPartition()
	t.Topic, t.Partitions = s.topic, append(t.Partitions, p)
	commit.Topics = append(commit.Topics, t)
	s.whole("of this group", 8, commit)
	for _, state := range []string{"Empty", "empty", "EMPTY", "Stable", "Dead", "Unknown", "no-such", ""} {
		list("state "+state, 5, func(r *kmsg.ListGroupsRequest) { r.StatesFilter = []string{state} })
	}
	for _, kind := range []string{"classic", "Classic", "CONSUMER", "share", "streams", "unknown", "no-such", ""} {
		list("type "+kind, 5, func(r *kmsg.ListGroupsRequest) { r.TypesFilter = []string{kind} })
	}
	list("a known and an unknown state", 5, func(r *kmsg.ListGroupsRequest) { r.StatesFilter = []string{"no-such", "Empty"} })
	list("a known and an unknown type", 5, func(r *kmsg.ListGroupsRequest) { r.TypesFilter = []string{"no-such", "classic"} })
}

func playOddTransactions(s *txnScript) {
	s.init(4, nobody, 60_000)
	list := func(what string, version int16, change func(*kmsg.ListTransactionsRequest)) {
		req := kmsg.NewPtrListTransactionsRequest()
		change(req)
		r, ok := s.alone(version, req).(*kmsg.ListTransactionsResponse)
		if !ok {
			s.say("  ListTransactions v%d, %s: no answer", version, what)
			return
		}
		mine := ""
		for _, x := range r.TransactionStates {
			if x.TransactionalID == s.id {
				mine = x.TransactionState
			}
		}
		s.say("  ListTransactions v%d, %s: %s %v %q", version, what, codeName(r.ErrorCode), r.UnknownStateFilters, mine)
	}
	for _, state := range []string{"Empty", "empty", "Ongoing", "Dead", "PrepareEpochFence", "no-such", ""} {
		list("state "+state, 1, func(r *kmsg.ListTransactionsRequest) { r.StateFilters = []string{state} })
	}
	list("the pattern of this", 2, func(r *kmsg.ListTransactionsRequest) { r.TransactionalIDPattern = kmsg.StringPtr(s.id + ".*") })
	list("a pattern of a part", 2, func(r *kmsg.ListTransactionsRequest) { r.TransactionalIDPattern = kmsg.StringPtr("script") })
	list("an empty pattern", 2, func(r *kmsg.ListTransactionsRequest) { r.TransactionalIDPattern = kmsg.StringPtr("") })
	list("a pattern that is none", 2, func(r *kmsg.ListTransactionsRequest) { r.TransactionalIDPattern = kmsg.StringPtr("(") })
	list("a pattern that is none, a state that is none", 2, func(r *kmsg.ListTransactionsRequest) {
		r.TransactionalIDPattern, r.StateFilters = kmsg.StringPtr("("), []string{"odd"}
	})
	list("a negative duration", 1, func(r *kmsg.ListTransactionsRequest) { r.DurationFilterMillis = -5 })
	list("a long duration", 1, func(r *kmsg.ListTransactionsRequest) { r.DurationFilterMillis = 3_600_000 })
	describe := kmsg.NewPtrDescribeTransactionsRequest()
	describe.TransactionalIDs = []string{s.id, s.id, "not-there", ""}
	s.whole("this twice, none and no name", 0, describe)
	find := kmsg.NewPtrFindCoordinatorRequest()
	for _, kind := range []int8{0, 1, 2, 3, -1} {
		find.CoordinatorType, find.CoordinatorKey, find.CoordinatorKeys = kind, "k", []string{"k", "", "k"}
		s.whole(fmt.Sprintf("type %d", kind), 3, find)
		s.whole(fmt.Sprintf("type %d", kind), 5, find)
	}
	find.CoordinatorType, find.CoordinatorKey, find.CoordinatorKeys = 0, "", nil
	s.whole("no key", 3, find)
	s.whole("no keys", 5, find)
}
