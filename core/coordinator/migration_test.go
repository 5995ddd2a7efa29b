package coordinator

import (
	"slices"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/milldam/milldam/core/wire"
)

// consumerOf is a client of the classic protocol that is a consumer of the topics and has those partitions.
func (c *consumers) consumerOf(has partitions, topics ...string) *subscriber {
	var sub kmsg.ConsumerMemberMetadata
	sub.Version, sub.Topics, sub.Generation = 3, topics, -1
	for _, id := range sortedTopics(has) {
		name, _ := c.topics.Name(id)
		sub.OwnedPartitions = append(sub.OwnedPartitions, kmsg.ConsumerMemberMetadataOwnedPartition{Topic: name, Partitions: has[id]})
	}
	return &subscriber{protocols: []string{"cooperative-sticky"}, metadata: string(sub.AppendTo(nil))}
}

// owns tells the member in its next join what it has.
func (c *consumers) owns(m *subscriber, has partitions, topics ...string) {
	m.metadata = c.consumerOf(has, topics...).metadata
}

// rejoin joins, syncs, and returns the assignment; in a group of the consumer type nobody is waited for.
func (c *consumers) rejoin(m *subscriber) partitions {
	c.t.Helper()
	a := c.join(m)
	pass(10 * time.Millisecond)
	c.joined(m, a)
	s := c.sync(m, nil)
	pass(10 * time.Millisecond)
	if s.get() == nil || s.get().ErrorCode != 0 {
		c.t.Fatalf("sync: %+v", s.get())
	}
	return c.assigned(s.get().MemberAssignment)
}

func (c *consumers) assigned(assignment []byte) partitions {
	c.t.Helper()
	p, _, ok := toPartitions(assignment, c.topics)
	if !ok {
		c.t.Fatalf("an assignment of %x", assignment)
	}
	return p
}

// classicGroup makes a classic group in which the members, of which the first leads, have one partition of t each.
func (c *consumers) classicGroup(list ...*subscriber) {
	c.t.Helper()
	var joins []*answer[kmsg.JoinGroupResponse]
	for _, m := range list {
		joins = append(joins, c.join(m))
	}
	for i, m := range list[:len(list)-1] {
		c.joined(m, joins[i])
		joins[i] = c.join(m)
	}
	assignments := map[string]string{}
	for i, m := range list {
		c.joined(m, joins[i])
		var a kmsg.ConsumerMemberAssignment
		a.Version = 3
		a.Topics = []kmsg.ConsumerMemberAssignmentTopic{{Topic: "t", Partitions: []int32{int32(i)}}}
		assignments[m.id] = string(a.AppendTo(nil))
	}
	for _, m := range list {
		c.sync(m, assignments)
	}
	pass(time.Second)
}

func TestClassicGroupBecomesAConsumerGroupAndBack(t *testing.T) {
	consumerBubble(t, someTopics{"t": 2}, Options{}, func(t *testing.T, c *consumers) {
		old1, old2 := c.consumerOf(nil, "t"), c.consumerOf(nil, "t")
		c.classicGroup(old1, old2)
		if code := c.commit(old1, 5); code != wire.None {
			t.Fatal(code)
		}
		fresh := &modern{id: "new"}
		if code := c.beat(fresh); code != wire.None {
			t.Fatal(code)
		}
		if g := c.describedConsumer(); g.ErrorCode != 0 || len(g.Members) != 3 || g.State != "Reconciling" {
			t.Fatalf("%+v", g)
		}
		c.expectUpgraded(old1, old2)
		// Three members and two partitions: one classic member has to give its own back, or the new one gets none.
		has := map[*subscriber]partitions{old1: {topicID("t"): {0}}, old2: {topicID("t"): {1}}}
		for range 4 {
			for _, m := range []*subscriber{old1, old2} {
				if c.heartbeat(m) == wire.RebalanceInProgress {
					c.owns(m, has[m], "t")
					has[m] = c.rejoin(m)
				}
			}
			if code := c.beat(fresh); code != wire.None {
				t.Fatal(code)
			}
		}
		c.shares(&modern{id: "1", has: has[old1]}, &modern{id: "2", has: has[old2]}, fresh)
		if code := c.commit(old2, 6); code != wire.None {
			t.Errorf("a commit of a classic member: %d", code)
		}
		c.restart()
		for _, m := range []*subscriber{old1, old2} {
			if code := c.heartbeat(m); code != wire.None {
				t.Errorf("after a restart: %d", code)
			}
		}
		fresh.epoch = leaveEpoch
		if r := c.send(fresh.request()); r.ErrorCode != 0 {
			t.Fatalf("%+v", r)
		}
		c.expectDowngraded(old1, old2)
	})
}

func (c *consumers) expectUpgraded(old ...*subscriber) {
	c.t.Helper()
	for _, m := range old {
		if code := c.heartbeat(m); code != wire.RebalanceInProgress {
			c.t.Errorf("the classic member is told %d", code)
		}
	}
	if g := c.described(); g.State != string(dead) {
		c.t.Errorf("as a classic group it is %s", g.State)
	}
	if g := c.rebuilt().mu.consumers[theGroup]; g == nil {
		c.t.Error("it is no consumer group after a restart")
	}
}

func (c *consumers) expectDowngraded(old ...*subscriber) {
	c.t.Helper()
	pass(time.Second)
	if g := c.described(); g.State != string(preparing) || len(g.Members) != len(old) {
		c.t.Errorf("%+v", g)
	}
	b := c.rebuilt()
	if g := b.described(); g.State != string(stable) || len(g.Members) != len(old) || b.mu.consumers[theGroup] != nil {
		c.t.Errorf("after a restart: %+v", g)
	}
	var joins []*answer[kmsg.JoinGroupResponse]
	for _, m := range old {
		joins = append(joins, c.join(m))
	}
	for i, m := range old {
		c.joined(m, joins[i])
	}
	if at, code := c.fetched(false); at != 6 || code != wire.None {
		c.t.Errorf("the offset is %d (%d)", at, code)
	}
}

func TestMigrationPolicies(t *testing.T) {
	for _, tc := range []struct {
		policy   MigrationPolicy
		up, down wire.Code
	}{
		{Bidirectional, wire.None, wire.None}, {UpgradeOnly, wire.None, wire.None}, {DowngradeOnly, wire.GroupIDNotFound, wire.None},
		{NoMigration, wire.GroupIDNotFound, wire.InconsistentGroupProtocol},
	} {
		t.Run(string(tc.policy), func(t *testing.T) {
			consumerBubble(t, someTopics{"t": 2}, Options{Consumer: ConsumerOptions{Migration: tc.policy}}, func(t *testing.T, c *consumers) {
				old := c.consumerOf(nil, "t")
				c.classicGroup(old)
				if code := c.beat(&modern{id: "new"}); code != tc.up {
					t.Errorf("a new member in a classic group: %d, want %d", code, tc.up)
				}
			})
			consumerBubble(t, someTopics{"t": 2}, Options{Consumer: ConsumerOptions{Migration: tc.policy}}, func(t *testing.T, c *consumers) {
				fresh := &modern{id: "new"}
				c.settle(fresh)
				old := c.consumerOf(nil, "t")
				a := c.join(old)
				pass(time.Second)
				if code := wire.Code(a.get().ErrorCode); code != tc.down {
					t.Fatalf("a classic member in a consumer group: %d, want %d", code, tc.down)
				}
				if tc.down != wire.None {
					return
				}
				fresh.epoch = leaveEpoch
				c.send(fresh.request())
				pass(time.Second)
				isClassic := c.mu.groups[theGroup] != nil
				if want := tc.policy.downgrades(); isClassic != want {
					t.Errorf("when the last new member has left it is classic: %v", isClassic)
				}
			})
		})
	}
}

func TestGroupsOfOtherProtocolsStayClassic(t *testing.T) {
	consumerBubble(t, someTopics{"t": 2}, Options{}, func(t *testing.T, c *consumers) {
		c.stable(&subscriber{metadata: "\x00"}) // no subscription
		if code := c.beat(&modern{id: "new"}); code != wire.GroupIDNotFound {
			t.Errorf("%d", code)
		}
		if g := c.described(); g.State != string(stable) {
			t.Errorf("%s", g.State)
		}
	})
}

func TestEmptyGroupTakesTheTypeOfItsFirstMember(t *testing.T) {
	consumerBubble(t, someTopics{"t": 2}, Options{}, func(t *testing.T, c *consumers) {
		old := c.consumerOf(nil, "t")
		c.classicGroup(old)
		c.commit(old, 3)
		c.leave(old)
		pass(time.Second)
		fresh := &modern{id: "new"}
		c.settle(fresh)
		c.shares(fresh)
		fresh.epoch = leaveEpoch
		c.send(fresh.request())
		old.id = ""
		c.classicGroup(old)
		for _, b := range []*bench{c.bench, c.rebuilt()} {
			if g := b.described(); g.State != string(stable) {
				t.Errorf("%+v", g)
			}
			if at, _ := b.fetched(false); at != 3 {
				t.Errorf("the offset is %d", at)
			}
		}
	})
}

func TestClassicMemberIsToldToJoinWhenItsPartitionsAreFree(t *testing.T) {
	consumerBubble(t, someTopics{"t": 2}, Options{}, func(t *testing.T, c *consumers) {
		fresh := &modern{id: "new"}
		c.settle(fresh)
		old := c.consumerOf(nil, "t")
		if has := c.rejoin(old); len(has) > 0 {
			t.Fatalf("it got %v while the other has it", has)
		}
		if code := c.heartbeat(old); code != wire.None {
			t.Errorf("while it has to wait: %d", code)
		}
		c.settle(fresh)
		if code := c.heartbeat(old); code != wire.RebalanceInProgress {
			t.Errorf("when it is free: %d", code)
		}
		has := c.rejoin(old)
		c.shares(fresh, &modern{id: "old", has: has})
		if code := c.leave(old); code != wire.None {
			t.Errorf("leave: %d", code)
		}
		c.settle(fresh)
		c.shares(fresh)
	})
}

func TestClassicMemberThatDoesNotJoinAgainIsRemoved(t *testing.T) {
	consumerBubble(t, someTopics{"t": 2}, Options{}, func(t *testing.T, c *consumers) {
		old, fresh := c.consumerOf(nil, "t"), &modern{id: "new"}
		c.classicGroup(old)
		c.beat(fresh)
		for range 5 { // it goes on with heartbeats, and does not do what it is told
			if code := c.heartbeat(old); code != wire.RebalanceInProgress {
				t.Fatal(code)
			}
			pass(7 * time.Second)
			if code := c.beat(fresh); code != wire.None {
				t.Fatal(code)
			}
		}
		if code := c.heartbeat(old); code != wire.UnknownMemberID {
			t.Errorf("after its time: %d", code)
		}
		c.settle(fresh)
		c.shares(fresh)
	})
}

func TestCommitsOfConsumers(t *testing.T) {
	consumerBubble(t, someTopics{"t": 2}, Options{}, func(t *testing.T, c *consumers) {
		m := &modern{id: "a"}
		c.settle(m)
		had := m.epoch
		c.settle(m, &modern{id: "b"})
		commit := func(who string, epoch int32, version int16) wire.Code {
			r := kmsg.NewPtrOffsetCommitRequest()
			r.Version, r.Group, r.MemberID, r.Generation = version, theGroup, who, epoch
			topic := kmsg.NewOffsetCommitRequestTopic()
			p := kmsg.NewOffsetCommitRequestTopicPartition()
			topic.Topic, p.Partition, p.Offset = "t", m.has[topicID("t")][0], 1
			topic.Partitions = append(topic.Partitions, p)
			r.Topics = append(r.Topics, topic)
			var a answer[kmsg.OffsetCommitResponse]
			c.CommitOffsets(r, a.take)
			pass(time.Second)
			return wire.Code(a.get().Topics[0].Partitions[0].ErrorCode)
		}
		for name, tc := range map[string]struct {
			who     string
			epoch   int32
			version int16
			want    wire.Code
		}{
			"current":                  {"a", m.epoch, 9, wire.None},
			"since it has it":          {"a", had, 9, wire.None},
			"before it had it":         {"a", had - 1, 9, wire.StaleMemberEpoch},
			"newer":                    {"a", m.epoch + 1, 9, wire.StaleMemberEpoch},
			"somebody":                 {"x", m.epoch, 9, wire.UnknownMemberID},
			"of a version without":     {"a", m.epoch, 8, wire.UnsupportedVersion},
			"a tool, while it is used": {"", -1, 9, wire.UnknownMemberID},
		} {
			if got := commit(tc.who, tc.epoch, tc.version); got != tc.want {
				t.Errorf("%s: %d, want %d", name, got, tc.want)
			}
		}
	})
}

func TestFetchOfConsumers(t *testing.T) {
	consumerBubble(t, someTopics{"t": 2}, Options{}, func(t *testing.T, c *consumers) {
		m := &modern{id: "a"}
		c.settle(m)
		for name, tc := range map[string]struct {
			member *string
			epoch  int32
			want   wire.Code
		}{
			"the member": {&m.id, m.epoch, wire.None},
			"a tool":     {nil, -1, wire.None},
			"stale":      {&m.id, m.epoch + 1, wire.StaleMemberEpoch},
			"unknown":    {kmsg.StringPtr("x"), m.epoch, wire.UnknownMemberID},
		} {
			in := kmsg.NewOffsetFetchRequestGroup()
			in.Group, in.MemberID, in.MemberEpoch = theGroup, tc.member, tc.epoch
			if got := wire.Code(c.fetchGroup(in, false).ErrorCode); got != tc.want {
				t.Errorf("%s: %d, want %d", name, got, tc.want)
			}
		}
	})
}

func TestOffsetsOfTopicsThatAreReadStay(t *testing.T) {
	consumerBubble(t, someTopics{"t": 2, "u": 1}, Options{}, func(t *testing.T, c *consumers) {
		tool := &subscriber{generation: -1}
		if code := c.commit(tool, 1); code != wire.None {
			t.Fatal(code)
		}
		remove := func() wire.Code {
			r := kmsg.NewPtrOffsetDeleteRequest()
			r.Group = theGroup
			topic := kmsg.NewOffsetDeleteRequestTopic()
			topic.Topic = "t"
			topic.Partitions = append(topic.Partitions, kmsg.NewOffsetDeleteRequestTopicPartition())
			r.Topics = append(r.Topics, topic)
			var a answer[kmsg.OffsetDeleteResponse]
			c.DeleteOffsets(r, a.take)
			pass(time.Second)
			if a.get().ErrorCode != 0 {
				return wire.Code(a.get().ErrorCode)
			}
			return wire.Code(a.get().Topics[0].Partitions[0].ErrorCode)
		}
		m := &modern{id: "a"}
		c.settle(m)
		if code := remove(); code != wire.GroupSubscribedToTopic {
			t.Errorf("with a consumer: %d", code)
		}
		pass(c.Groups.opts.OffsetsRetention + time.Hour)
		m.epoch = 0
		c.settle(m)
		c.Expire(time.Now())
		pass(time.Second)
		if at, _ := c.fetched(false); at != 1 {
			t.Errorf("an offset that is subscribed to has expired: %d", at)
		}
		m.epoch = leaveEpoch
		c.send(m.request())
		old := c.consumerOf(nil, "t")
		c.classicGroup(old)
		if code := remove(); code != wire.GroupSubscribedToTopic {
			t.Errorf("with a classic consumer: %d", code)
		}
		c.owns(old, nil, "u")
		c.classicGroup(old)
		if code := remove(); code != wire.None {
			t.Errorf("of a topic that nobody reads: %d", code)
		}
		if at, _ := c.fetched(false); at != -1 {
			t.Errorf("it is still there: %d", at)
		}
	})
}

func TestOffsetsExpireTopicByTopic(t *testing.T) {
	consumerBubble(t, someTopics{"t": 2, "u": 1}, Options{}, func(t *testing.T, c *consumers) {
		if code := c.commit(&subscriber{generation: -1}, 1); code != wire.None {
			t.Fatal(code)
		}
		m := &modern{id: "a", topics: []string{"u"}}
		c.settle(m)
		pass(c.Groups.opts.OffsetsRetention - 10*time.Second)
		m.epoch = 0
		c.settle(m)
		c.Expire(time.Now())
		pass(time.Second)
		if at, _ := c.fetched(false); at != 1 {
			t.Fatalf("before its time: %d", at)
		}
		pass(10 * time.Second)
		c.settle(m)
		c.Expire(time.Now())
		pass(time.Second)
		for _, b := range []*bench{c.bench, c.rebuilt()} {
			if at, _ := b.fetched(false); at != -1 {
				t.Errorf("after its time: %d", at)
			}
		}
		if g := c.describedConsumer(); g.State != "Stable" {
			t.Errorf("the group: %+v", g)
		}
	})
}

func TestListOfBothTypes(t *testing.T) {
	consumerBubble(t, someTopics{"t": 2}, Options{}, func(t *testing.T, c *consumers) {
		c.settle(&modern{id: "a"})
		r := kmsg.NewPtrOffsetCommitRequest()
		r.Group, r.Generation = "other", -1
		topic := kmsg.NewOffsetCommitRequestTopic()
		topic.Topic, topic.Partitions = "t", append(topic.Partitions, kmsg.NewOffsetCommitRequestTopicPartition())
		r.Topics = append(r.Topics, topic)
		c.CommitOffsets(r, func(*kmsg.OffsetCommitResponse) {})
		pass(time.Second)
		for _, tc := range []struct {
			types, states []string
			want          []string
		}{
			{nil, nil, []string{"g Stable consumer consumer", "other Empty classic "}},
			{[]string{"Consumer"}, nil, []string{"g Stable consumer consumer"}},
			{[]string{"classic"}, nil, []string{"other Empty classic "}},
			{nil, []string{"stable"}, []string{"g Stable consumer consumer"}},
			{[]string{"share"}, nil, nil},
		} {
			req := kmsg.NewPtrListGroupsRequest()
			req.TypesFilter, req.StatesFilter = tc.types, tc.states
			var a answer[kmsg.ListGroupsResponse]
			c.List(req, a.take)
			var got []string
			for _, g := range a.get().Groups {
				got = append(got, g.Group+" "+g.GroupState+" "+g.GroupType+" "+g.ProtocolType)
			}
			if !slices.Equal(got, tc.want) {
				t.Errorf("types %v, states %v: %q", tc.types, tc.states, got)
			}
		}
	})
}
