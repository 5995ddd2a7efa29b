package coordinator

import (
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/milldam/milldam/core/wire"
)

func TestGroupIsNotJoinedWhileItIsDeleted(t *testing.T) {
	bubble(t, func(t *testing.T, b *bench) {
		m := &subscriber{}
		b.stable(m)
		if code := b.leave(m); code != wire.None {
			t.Fatal(code)
		}
		pass(time.Second)
		a := b.delete()
		late := &subscriber{instance: kmsg.StringPtr("i")}
		if j := b.join(late); j.get() == nil || wire.Code(j.get().ErrorCode) != wire.CoordinatorNotAvailable {
			t.Errorf("a join while the group is deleted: %+v", j.get())
		}
		pass(time.Second)
		if a.count() != 1 || a.get().Groups[0].ErrorCode != 0 {
			t.Fatalf("%+v", a.get())
		}
		b.stable(late)
		pass(session / 2)
		if code := b.heartbeat(late); code != wire.None {
			t.Errorf("heartbeat: %d", code)
		}
		pass(session / 2)
		if code := b.heartbeat(late); code != wire.None {
			t.Errorf("heartbeat: %d", code)
		}
		if code := b.restarted().heartbeat(late); code != wire.None {
			t.Errorf("after a restart: %d", code)
		}
	})
}

func TestGroupNamedTwiceIsDeletedOnce(t *testing.T) {
	bubble(t, func(t *testing.T, b *bench) {
		if code := b.commit(&subscriber{generation: -1}, 1); code != wire.None {
			t.Fatal(code)
		}
		req := kmsg.NewPtrDeleteGroupsRequest()
		req.Groups = []string{theGroup, "missing", theGroup}
		var a answer[kmsg.DeleteGroupsResponse]
		b.Delete(req, a.take)
		pass(time.Second)
		if a.count() != 1 || len(a.get().Groups) != 2 {
			t.Fatalf("%d answers: %+v", a.count(), a.get())
		}
		for i, want := range []wire.Code{wire.None, wire.GroupIDNotFound} {
			if got := a.get().Groups[i]; got.Group != req.Groups[i] || wire.Code(got.ErrorCode) != want {
				t.Errorf("%s: %d, want %d", got.Group, got.ErrorCode, want)
			}
		}
	})
}

func TestCommitOnTheWaySurvivesItsGroupsRemoval(t *testing.T) {
	bubble(t, func(t *testing.T, b *bench) {
		tool := &subscriber{generation: -1}
		if code := b.commit(tool, 1); code != wire.None {
			t.Fatal(code)
		}
		r := kmsg.NewPtrOffsetCommitRequest()
		topic := kmsg.NewOffsetCommitRequestTopic()
		topic.Topic = "u"
		topic.Partitions = append(topic.Partitions, kmsg.NewOffsetCommitRequestTopicPartition())
		r.Group, r.Generation, r.Topics = theGroup, -1, append(r.Topics, topic)
		var c answer[kmsg.OffsetCommitResponse]
		b.CommitOffsets(r, c.take)
		if code := b.deleted(); code != wire.None || c.count() != 1 {
			t.Fatal(code, c.count())
		}
		for _, x := range []*bench{b, b.restarted()} {
			if g := x.described(); g.State != string(empty) {
				t.Errorf("the group of the commit: %+v", g)
			}
		}
		if code := b.deleted(); code != wire.None {
			t.Errorf("deleted again: %d", code)
		}
	})
}

func TestExpiredGroupIsForgotten(t *testing.T) {
	bubble(t, func(t *testing.T, b *bench) {
		m := &subscriber{}
		b.stable(m)
		if code := b.commit(m, 1); code != wire.None {
			t.Fatal(code)
		}
		if code := b.leave(m); code != wire.None {
			t.Fatal(code)
		}
		pass(time.Hour)
		b.Expire(time.Now())
		pass(time.Second)
		if g := b.described(); g.State != string(empty) {
			t.Fatalf("before its time: %+v", g)
		}
		pass(b.opts.OffsetsRetention + time.Hour)
		b.Expire(time.Now())
		pass(time.Second)
		for _, x := range []*bench{b, b.restarted()} {
			if g := x.described(); g.State != string(dead) || len(x.mu.groups) > 0 {
				t.Errorf("after its time: %+v", g)
			}
		}
	})
}

// TestForgottenGroupsAnswerEveryMember deletes the topic of the groups while a member waits for others and a commit is on its way.
func TestForgottenGroupsAnswerEveryMember(t *testing.T) {
	bubble(t, func(t *testing.T, b *bench) {
		first, second := &subscriber{}, &subscriber{}
		b.stable(first)
		parked := b.join(second)
		var committed answer[kmsg.OffsetCommitResponse]
		b.CommitOffsets(commitRequest(&subscriber{generation: -1}, 7), committed.take)
		b.Forget()
		pass(time.Hour) // and no timer of what was does anything
		if r := parked.get(); r == nil || wire.Code(r.ErrorCode) != wire.NotCoordinator || parked.count() != 1 {
			t.Errorf("who waited: %+v, %d times", r, parked.count())
		}
		if committed.count() != 1 {
			t.Errorf("the commit was answered %d times", committed.count())
		}
	})
}

// TestForgottenConsumerGroupsAnswerEveryMember does so with a group of the consumer type, while a member's join is written.
func TestForgottenConsumerGroupsAnswerEveryMember(t *testing.T) {
	consumerBubble(t, someTopics{"t": 5}, Options{}, func(t *testing.T, c *consumers) {
		first, second := &modern{id: "a", topics: []string{"t"}}, &modern{id: "b", topics: []string{"t"}}
		c.settle(first)
		var joined answer[kmsg.ConsumerGroupHeartbeatResponse]
		c.ConsumerHeartbeat(Client{"client", "/127.0.0.1"}, second.request(), joined.take)
		c.Forget()
		pass(time.Hour) // and no timer of what was does anything
		if joined.count() != 1 || wire.Code(joined.get().ErrorCode) != wire.NotCoordinator {
			t.Errorf("who joined: %+v, %d times", joined.get(), joined.count())
		}
		if n := len(c.mu.consumers); n > 0 {
			t.Errorf("%d groups are left", n)
		}
	})
}
