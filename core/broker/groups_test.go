package broker_test

import (
	"fmt"
	"testing"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/milldam/milldam/core/vfs"
)

// joinConsumer sends the first heartbeat of a member.
func joinConsumer(t *testing.T, cl *kgo.Client, group, member, topic string) *kmsg.ConsumerGroupHeartbeatResponse {
	t.Helper()
	r := kmsg.NewPtrConsumerGroupHeartbeatRequest()
	r.Group, r.MemberID, r.RebalanceTimeoutMillis, r.SubscribedTopicNames = group, member, 60_000, []string{topic}
	r.Topics = []kmsg.ConsumerGroupHeartbeatRequestTopic{}
	resp, err := r.RequestWith(within(t), cl)
	must(t, err)
	must(t, kerr.ErrorForCode(resp.ErrorCode))
	return resp
}

func TestConsumerGroupFollowsTheMetadata(t *testing.T) {
	r := start(t, vfs.NewMem())
	cl := r.client(t)
	adm := kadm.NewClient(cl)
	_, err := adm.CreateTopic(within(t), 2, 1, nil, "t")
	must(t, err)
	resp := joinConsumer(t, cl, "g", "m", "t")
	if resp.HeartbeatIntervalMillis != 5000 || len(resp.Assignment.Topics) != 1 || len(resp.Assignment.Topics[0].Partitions) != 2 {
		t.Fatalf("%+v", resp)
	}
	alter := kmsg.NewPtrIncrementalAlterConfigsRequest()
	resource := kmsg.NewIncrementalAlterConfigsRequestResource()
	resource.ResourceType, resource.ResourceName = kmsg.ConfigResourceTypeGroupConfig, "g"
	for key, value := range map[string]string{"consumer.heartbeat.interval.ms": "7000", "consumer.assignment.interval.ms": "0"} {
		config := kmsg.NewIncrementalAlterConfigsRequestResourceConfig()
		config.Name, config.Value = key, kmsg.StringPtr(value)
		resource.Configs = append(resource.Configs, config)
	}
	alter.Resources = append(alter.Resources, resource)
	altered, err := alter.RequestWith(within(t), cl)
	must(t, err)
	must(t, kerr.ErrorForCode(altered.Resources[0].ErrorCode))
	_, err = adm.CreatePartitions(within(t), 3, "t")
	must(t, err)
	beat := kmsg.NewPtrConsumerGroupHeartbeatRequest()
	beat.Group, beat.MemberID, beat.MemberEpoch = "g", "m", resp.MemberEpoch
	again, err := beat.RequestWith(within(t), cl)
	must(t, err)
	must(t, kerr.ErrorForCode(again.ErrorCode))
	if again.HeartbeatIntervalMillis != 7000 || again.MemberEpoch != resp.MemberEpoch+1 || len(again.Assignment.Topics[0].Partitions) != 5 {
		t.Errorf("%+v", again)
	}
}

func TestConsumerGroupSurvivesARestartOfTheBroker(t *testing.T) {
	fs := vfs.NewMem()
	r := start(t, fs)
	cl := r.client(t)
	_, err := kadm.NewClient(cl).CreateTopic(within(t), 2, 1, nil, "t")
	must(t, err)
	resp := joinConsumer(t, cl, "g", "m", "t")
	cl.Close()
	r.close()
	r = start(t, fs)
	cl = r.client(t)
	beat := kmsg.NewPtrConsumerGroupHeartbeatRequest()
	beat.Group, beat.MemberID, beat.MemberEpoch = "g", "m", resp.MemberEpoch
	again, err := beat.RequestWith(within(t), cl)
	must(t, err)
	if again.ErrorCode != 0 || again.MemberEpoch != resp.MemberEpoch {
		t.Errorf("%+v", again)
	}
	describe := kmsg.NewPtrConsumerGroupDescribeRequest()
	describe.Groups = []string{"g", "none"}
	described, err := describe.RequestWith(within(t), cl)
	must(t, err)
	if g := described.Groups[0]; g.State != "Stable" || len(g.Members) != 1 || fmt.Sprint(g.Members[0].Assignment.TopicPartitions[0].Partitions) != "[0 1]" {
		t.Errorf("%+v", g)
	}
	if code := described.Groups[1].ErrorCode; code != kerr.GroupIDNotFound.Code {
		t.Errorf("a group that is not there: %d", code)
	}
}

// TestOffsetsStayWhenTheirTopicIsConfiguredAnew restarts with another number of partitions of __consumer_offsets: that is for when it is made, and groups are
// where they were put.
func TestOffsetsStayWhenTheirTopicIsConfiguredAnew(t *testing.T) {
	fs := vfs.NewMem()
	r := startConfigured(t, fs, map[string]string{"offsets.topic.num.partitions": "7"})
	groups := []string{"a", "b", "c", "d", "e", "f", "g", "h"}
	cl := r.client(t)
	admin := kadm.NewClient(cl)
	_, err := admin.CreateTopic(within(t), 1, 1, nil, "t")
	must(t, err)
	for _, group := range groups {
		var offsets kadm.Offsets
		offsets.AddOffset("t", 0, 42, -1)
		must(t, admin.CommitAllOffsets(within(t), group, offsets))
	}
	cl.Close()
	r.close()

	for _, partitions := range []string{"3", "50"} {
		r = startConfigured(t, fs, map[string]string{"offsets.topic.num.partitions": partitions})
		cl := r.client(t)
		for _, group := range groups {
			got, err := kadm.NewClient(cl).FetchOffsets(within(t), group)
			must(t, err)
			if o, _ := got.Lookup("t", 0); o.At != 42 {
				t.Errorf("with %s partitions, group %s is at %d, want 42", partitions, group, o.At)
			}
		}
		cl.Close()
		r.close()
	}
}

// TestGroupsBeginAnewWhenTheirTopicIsDeleted is about an operator's mistake, which Kafka lets him make: groups and offsets are lost, and all is made anew.
func TestGroupsBeginAnewWhenTheirTopicIsDeleted(t *testing.T) {
	fs := vfs.NewMem()
	r := start(t, fs)
	cl := r.client(t)
	admin := kadm.NewClient(cl)
	_, err := admin.CreateTopic(within(t), 1, 1, nil, "t")
	must(t, err)
	commit := func(group string) {
		var offsets kadm.Offsets
		offsets.AddOffset("t", 0, 42, -1)
		must(t, admin.CommitAllOffsets(within(t), group, offsets))
	}
	at := func(group string) int64 {
		got, err := admin.FetchOffsets(within(t), group)
		must(t, err)
		o, there := got.Lookup("t", 0)
		if !there {
			return -1
		}
		return o.At
	}
	commit("before")
	joinConsumer(t, cl, "modern", "m", "t")
	deleted, err := admin.DeleteTopics(within(t), "__consumer_offsets")
	must(t, err)
	must(t, deleted["__consumer_offsets"].Err)
	if listed, err := admin.ListGroups(within(t)); err != nil || len(listed) != 0 {
		t.Errorf("groups are left: %v, %v", listed, err)
	}
	if o := at("before"); o != -1 {
		t.Errorf("the offset that was committed is %d", o)
	}
	beat := kmsg.NewPtrConsumerGroupHeartbeatRequest()
	beat.Group, beat.MemberID, beat.MemberEpoch = "modern", "m", 1
	if lost, err := beat.RequestWith(within(t), cl); err != nil || lost.ErrorCode != kerr.GroupIDNotFound.Code {
		t.Errorf("a member of before: %+v, %v", lost, err)
	}
	commit("after")
	joinConsumer(t, cl, "modern", "m", "t")
	cl.Close()
	r.close()
	r = start(t, fs)
	cl = r.client(t)
	admin = kadm.NewClient(cl)
	if before, after := at("before"), at("after"); before != -1 || after != 42 {
		t.Errorf("after a restart: %d and %d, want -1 and 42", before, after)
	}
}

// TestInternalTopicsAreThoseOfTheCoordinators: no other name that begins like theirs, and however they are made.
func TestInternalTopicsAreThoseOfTheCoordinators(t *testing.T) {
	r := startConfigured(t, vfs.NewMem(), map[string]string{"offsets.topic.num.partitions": "4", "transaction.state.log.num.partitions": "5"})
	cl := r.client(t) // which makes the topics it asks for
	admin := kadm.NewClient(cl)
	for topic, partitions := range map[string]int{"__consumer_offsets": 4, "__transaction_state": 5, "__consumer_offsets_old": 1} {
		req := kmsg.NewPtrMetadataRequest()
		asked := kmsg.NewMetadataRequestTopic()
		asked.Topic, req.AllowAutoTopicCreation = kmsg.StringPtr(topic), true
		req.Topics = append(req.Topics, asked)
		resp, err := req.RequestWith(within(t), cl)
		must(t, err)
		if got := resp.Topics[0]; got.ErrorCode != 0 || len(got.Partitions) != partitions || got.IsInternal != (partitions > 1) {
			t.Errorf("%s: error %d, %d partitions, internal %v", topic, got.ErrorCode, len(got.Partitions), got.IsInternal)
		}
	}
	deleted, err := admin.DeleteTopics(within(t), "__consumer_offsets_old")
	must(t, err)
	must(t, deleted["__consumer_offsets_old"].Err)
}

func TestTxnOffsetCommitOfAnUnknownTopic(t *testing.T) {
	r := start(t, vfs.NewMem())
	cl := r.client(t)
	req := kmsg.NewPtrTxnOffsetCommitRequest()
	req.TransactionalID, req.Group, req.ProducerID, req.ProducerEpoch = "txn", "g", 1, 0
	topic := kmsg.NewTxnOffsetCommitRequestTopic()
	topic.Topic = "none"
	topic.Partitions = append(topic.Partitions, kmsg.NewTxnOffsetCommitRequestTopicPartition())
	req.Topics = append(req.Topics, topic)
	resp, err := req.RequestWith(within(t), cl)
	must(t, err)
	if code := resp.Topics[0].Partitions[0].ErrorCode; code != kerr.UnknownTopicOrPartition.Code {
		t.Errorf("%d", code)
	}
}
