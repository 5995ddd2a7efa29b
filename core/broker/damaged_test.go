package broker_test

import (
	"fmt"
	"path"
	"slices"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/milldam/milldam/core/meta"
	"github.com/milldam/milldam/core/vfs"
	"github.com/milldam/milldam/core/wire"
)

// makeTopic makes the topic t.
func makeTopic(t *testing.T, r *running, partitions int32) {
	t.Helper()
	_, err := r.controller.CreateTopic(t.Context(), meta.NewTopic{Name: "t", Partitions: partitions, Replicas: 1}, false)
	must(t, err)
}

// halved is a node of which the segments of these partitions were cut in half while it was stopped.
func halved(t *testing.T, fs *vfs.Mem, folders ...string) *running {
	t.Helper()
	for _, folder := range folders {
		folder = path.Join("data/logs", folder)
		names, err := fs.List(folder)
		must(t, err)
		i := slices.IndexFunc(names, func(n string) bool { return path.Ext(n) == ".log" })
		f, err := fs.OpenReadWrite(path.Join(folder, names[i]))
		must(t, err)
		size, err := f.Size()
		must(t, err)
		must(t, f.Truncate(size/2))
		must(t, f.Close())
	}
	return start(t, fs)
}

// askVersion is ask at a version.
func askVersion[R kmsg.Response](t testing.TB, r *running, req kmsg.Request, version int16) R {
	t.Helper()
	req.SetVersion(version)
	return ask[R](t, r, req)
}

// folderWith is the folder of the partition of an internal topic that has a record with word.
func folderWith(t *testing.T, fs *vfs.Mem, topic, word string) string {
	t.Helper()
	folders, err := fs.List("data/logs")
	must(t, err)
	for _, folder := range folders {
		names, err := fs.List(path.Join("data/logs", folder))
		must(t, err)
		for _, name := range names {
			data, err := vfs.ReadFile(fs, path.Join("data/logs", folder, name))
			must(t, err)
			if strings.HasPrefix(folder, topic+"-") && path.Ext(name) == ".log" && strings.Contains(string(data), word) {
				return folder
			}
		}
	}
	t.Fatalf("no partition of %s has %q", topic, word)
	return ""
}

// TestDamagedPartitionHasNoLeader asks about two partitions, one of them damaged. The answers for it are those of Apache Kafka 4.3.1 with eligible leader replicas off, on a broker one of whose
// two log directories failed.
func TestDamagedPartitionHasNoLeader(t *testing.T) {
	fs := vfs.NewMem()
	r := start(t, fs)
	makeTopic(t, r, 2)
	cl := r.client(t, kgo.DefaultProduceTopic("t"), kgo.RecordPartitioner(kgo.ManualPartitioner()))
	for p := range int32(2) {
		must(t, cl.ProduceSync(within(t), kgo.StringRecord("some text"), &kgo.Record{Partition: p, Value: []byte("v")}).FirstErr())
	}
	r.close()
	r = halved(t, fs, "t-0")

	for version := int16(0); version <= 13; version++ {
		m := kmsg.NewPtrMetadataRequest()
		topic := kmsg.NewMetadataRequestTopic()
		topic.Topic = kmsg.StringPtr("t")
		m.Topics = append(m.Topics, topic)
		got := askVersion[*kmsg.MetadataResponse](t, r, m, version).Topics[0]
		if got.ErrorCode != 0 || len(got.Partitions) != 2 {
			t.Fatalf("version %d: %+v", version, got)
		}
		want := []string{"code 5, leader -1, replicas [1], ISR [1], offline [1]", "code 0, leader 1, replicas [1], ISR [1], offline []"}
		if version < 5 {
			want[0] = strings.Replace(want[0], "offline [1]", "offline []", 1)
		}
		for i, p := range got.Partitions {
			if text := fmt.Sprintf("code %d, leader %d, replicas %v, ISR %v, offline %v", p.ErrorCode, p.Leader, p.Replicas, p.ISR, p.OfflineReplicas); text != want[i] {
				t.Errorf("version %d, partition %d: %s", version, i, text)
			}
		}
	}
	d := kmsg.NewPtrDescribeTopicPartitionsRequest()
	topic := kmsg.NewDescribeTopicPartitionsRequestTopic()
	topic.Topic = "t"
	d.Topics, d.ResponsePartitionLimit = append(d.Topics, topic), 10
	for i, p := range ask[*kmsg.DescribeTopicPartitionsResponse](t, r, d).Topics[0].Partitions {
		want := []string{"code 0, leader -1, ISR [1], offline [1], ELR [] []", "code 0, leader 1, ISR [1], offline [], ELR [] []"}[i]
		if text := fmt.Sprintf("code %d, leader %d, ISR %v, offline %v, ELR %v %v", p.ErrorCode, p.LeaderID, p.ISR, p.OfflineReplicas, p.EligibleLeaderReplicas, p.LastKnownELR); text != want {
			t.Errorf("described partition %d: %s", i, text)
		}
	}
	for election, want := range [][]wire.Code{{wire.PreferredLeaderMissing, wire.ElectionNotNeeded}, {wire.EligibleLeadersMissing, wire.ElectionNotNeeded}} {
		e := kmsg.NewPtrElectLeadersRequest()
		topic := kmsg.NewElectLeadersRequestTopic()
		topic.Topic, topic.Partitions = "t", []int32{0, 1}
		e.ElectionType, e.Topics = int8(election), append(e.Topics, topic)
		for i, p := range askVersion[*kmsg.ElectLeadersResponse](t, r, e, 2).Topics[0].Partitions {
			if wire.Code(p.ErrorCode) != want[i] {
				t.Errorf("election %d of partition %d: %d", election, i, p.ErrorCode)
			}
		}
	}
}

// TestRequestsThatReachADamagedPartition asks without looking for a leader.
func TestRequestsThatReachADamagedPartition(t *testing.T) {
	fs := vfs.NewMem()
	r := start(t, fs)
	makeTopic(t, r, 1)
	must(t, r.client(t, kgo.DefaultProduceTopic("t")).ProduceSync(within(t), kgo.StringRecord("some text")).FirstErr())
	id := r.controller.Image().Topic("t").ID
	r.close()
	r = halved(t, fs, "t-0")

	fetch := kmsg.NewPtrFetchRequest()
	fetchTopic, fetchPart := kmsg.NewFetchRequestTopic(), kmsg.NewFetchRequestTopicPartition()
	fetch.MaxBytes, fetch.SessionEpoch, fetchTopic.TopicID, fetchPart.PartitionMaxBytes = 1<<20, -1, id, 1<<20
	fetchTopic.Partitions = append(fetchTopic.Partitions, fetchPart)
	fetch.Topics = append(fetch.Topics, fetchTopic)
	list := kmsg.NewPtrListOffsetsRequest()
	listTopic, listPart := kmsg.NewListOffsetsRequestTopic(), kmsg.NewListOffsetsRequestTopicPartition()
	listTopic.Topic, listPart.Timestamp = "t", -1
	listTopic.Partitions = append(listTopic.Partitions, listPart)
	list.Topics = append(list.Topics, listTopic)
	remove := kmsg.NewPtrDeleteRecordsRequest()
	removeTopic := kmsg.NewDeleteRecordsRequestTopic()
	removeTopic.Topic = "t"
	removeTopic.Partitions = append(removeTopic.Partitions, kmsg.NewDeleteRecordsRequestTopicPartition())
	remove.Topics = append(remove.Topics, removeTopic)
	epoch := kmsg.NewPtrOffsetForLeaderEpochRequest()
	epochTopic := kmsg.NewOffsetForLeaderEpochRequestTopic()
	epochTopic.Topic = "t"
	epochTopic.Partitions = append(epochTopic.Partitions, kmsg.NewOffsetForLeaderEpochRequestTopicPartition())
	epoch.Topics = append(epoch.Topics, epochTopic)
	producers := kmsg.NewPtrDescribeProducersRequest()
	producersTopic := kmsg.NewDescribeProducersRequestTopic()
	producersTopic.Topic, producersTopic.Partitions = "t", []int32{0}
	producers.Topics = append(producers.Topics, producersTopic)
	for what, code := range map[string]int16{
		"fetch":           askVersion[*kmsg.FetchResponse](t, r, fetch, 13).Topics[0].Partitions[0].ErrorCode,
		"offsets":         askVersion[*kmsg.ListOffsetsResponse](t, r, list, 9).Topics[0].Partitions[0].ErrorCode,
		"delete records":  askVersion[*kmsg.DeleteRecordsResponse](t, r, remove, 2).Topics[0].Partitions[0].ErrorCode,
		"end of an epoch": askVersion[*kmsg.OffsetForLeaderEpochResponse](t, r, epoch, 4).Topics[0].Partitions[0].ErrorCode,
		"producers":       askVersion[*kmsg.DescribeProducersResponse](t, r, producers, 0).Topics[0].Partitions[0].ErrorCode,
	} {
		if wire.Code(code) != wire.KafkaStorageError {
			t.Errorf("%s: code %d", what, code)
		}
	}
}

// TestDamagedInternalPartitionHasNoCoordinator damages a partition of each internal topic: what is kept there has no coordinator, what is kept elsewhere has.
func TestDamagedInternalPartitionHasNoCoordinator(t *testing.T) {
	fs := vfs.NewMem()
	r := start(t, fs)
	makeTopic(t, r, 1)
	for _, id := range []string{"lost", "kept"} {
		cl := r.client(t, kgo.DefaultProduceTopic("t"), kgo.TransactionalID("txn-"+id))
		must(t, cl.BeginTransaction())
		must(t, cl.ProduceSync(within(t), kgo.StringRecord("v")).FirstErr())
		must(t, cl.EndTransaction(within(t), kgo.TryCommit))
		commit := kmsg.NewPtrOffsetCommitRequest()
		topic, part := kmsg.NewOffsetCommitRequestTopic(), kmsg.NewOffsetCommitRequestTopicPartition()
		commit.Group, topic.Topic, part.Offset = "group-"+id, "t", 1
		topic.Partitions = append(topic.Partitions, part)
		commit.Topics = append(commit.Topics, topic)
		if got := askVersion[*kmsg.OffsetCommitResponse](t, r, commit, 8).Topics[0].Partitions[0]; got.ErrorCode != 0 {
			t.Fatalf("commit: %+v", got)
		}
	}
	r.close()
	r = halved(t, fs, folderWith(t, fs, "__consumer_offsets", "group-lost"), folderWith(t, fs, "__transaction_state", "txn-lost"))

	for id, lost := range map[string]bool{"lost": true, "kept": false} {
		for kind, key := range []string{"group-" + id, "txn-" + id} {
			for _, version := range []int16{2, 6} {
				f := kmsg.NewPtrFindCoordinatorRequest()
				f.CoordinatorType, f.CoordinatorKey, f.CoordinatorKeys = int8(kind), key, []string{key}
				resp := askVersion[*kmsg.FindCoordinatorResponse](t, r, f, version)
				code, node, port := resp.ErrorCode, resp.NodeID, resp.Port
				if version == 6 {
					code, node, port = resp.Coordinators[0].ErrorCode, resp.Coordinators[0].NodeID, resp.Coordinators[0].Port
				}
				if lost && (code != 15 || node != -1 || port != -1) || !lost && (code != 0 || node != 1 || port <= 0) {
					t.Errorf("the coordinator of %s, version %d: code %d, node %d, port %d", key, version, code, node, port)
				}
			}
		}
		want := int16(0)
		if lost {
			want = int16(wire.NotCoordinator)
		}
		offsets := kmsg.NewPtrOffsetFetchRequest()
		group := kmsg.NewOffsetFetchRequestGroup()
		group.Group = "group-" + id
		offsets.Groups = append(offsets.Groups, group)
		if got := askVersion[*kmsg.OffsetFetchResponse](t, r, offsets, 8).Groups[0]; got.ErrorCode != want {
			t.Errorf("offsets of group-%s: %+v", id, got)
		}
		init := kmsg.NewPtrInitProducerIDRequest()
		init.TransactionalID, init.TransactionTimeoutMillis = kmsg.StringPtr("txn-"+id), 10000
		if got := askVersion[*kmsg.InitProducerIDResponse](t, r, init, 4); got.ErrorCode != want {
			t.Errorf("producer id of txn-%s: %+v", id, got)
		}
		txns := kmsg.NewPtrDescribeTransactionsRequest()
		txns.TransactionalIDs = []string{"txn-" + id}
		if got := ask[*kmsg.DescribeTransactionsResponse](t, r, txns).TransactionStates[0]; got.ErrorCode != want {
			t.Errorf("txn-%s is described as %+v", id, got)
		}
	}
}
