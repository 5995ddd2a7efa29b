// Command franz is a franz-go client that uses as much of the protocol as it can, for capture: once with the versions of each Kafka release that it knows, and once
// with the n-th version of every API that the broker has, for each n.
package main

import (
	"context"
	"fmt"
	"log"
	"os"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/kversion"
	"github.com/twmb/franz-go/pkg/sasl/plain"
)

func main() {
	if len(os.Args) != 2 {
		log.Fatal("usage: franz HOST:PORT")
	}
	for at, v := range []*kversion.Versions{kversion.V0_11_0(), kversion.V1_0_0(), kversion.V1_1_0(), kversion.V2_0_0(), kversion.V2_1_0(), kversion.V2_2_0(), kversion.V2_3_0(),
		kversion.V2_4_0(), kversion.V2_5_0(), kversion.V2_6_0(), kversion.V2_7_0(), kversion.V2_8_0(), kversion.V3_0_0(), kversion.V3_1_0(), kversion.V3_2_0(), kversion.V3_3_0(),
		kversion.V3_4_0(), kversion.V3_5_0(), kversion.V3_6_0(), kversion.V3_7_0(), kversion.V3_8_0(), kversion.V3_9_0(), kversion.V4_0_0(), nil} {
		use(os.Args[1], fmt.Sprintf("franz-%d", at), v)
	}
	refusedProduce(os.Args[1])
	for at, v := range everyVersion(os.Args[1]) {
		use(os.Args[1], fmt.Sprintf("pinned-%d", at), v)
	}
}

// oldestProduce is the first version of Produce that is served.
const oldestProduce = 3

// refusedProduce sends the versions of Produce that brokers advertise and do not serve, without records.
func refusedProduce(broker string) {
	for version := range int16(oldestProduce) {
		set := kversion.Stable()
		set.SetMaxKeyVersion(int16(kmsg.Produce), version)
		cl, err := kgo.NewClient(kgo.SeedBrokers(broker), kgo.ClientID("franz"), kgo.MaxVersions(set))
		if err != nil {
			log.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		produce := kmsg.NewPtrProduceRequest()
		produce.Acks, produce.TimeoutMillis = 1, 1000
		_, err = cl.Broker(1).Request(ctx, produce)
		tell("produce", err)
		cancel()
		cl.Close()
	}
}

// everyVersion makes the n-th set of versions from the n-th version of each API, until every version has been in one: those that no release has together are sent too.
func everyVersion(broker string) (sets []*kversion.Versions) {
	cl, err := kgo.NewClient(kgo.SeedBrokers(broker))
	if err != nil {
		log.Fatal(err)
	}
	defer cl.Close()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	resp, err := kmsg.NewPtrApiVersionsRequest().RequestWith(ctx, cl)
	if err != nil {
		log.Fatal(err)
	}
	for n, more := int16(0), true; more; n++ {
		more = false
		set := kversion.Stable()
		for _, api := range resp.ApiKeys {
			v := min(api.MinVersion+n, api.MaxVersion)
			if api.ApiKey == int16(kmsg.Produce) { // no broker takes older ones, and a producer tries for ever
				v = max(v, oldestProduce)
			}
			set.SetMaxKeyVersion(api.ApiKey, v)
			more = more || api.MinVersion+n < api.MaxVersion
		}
		sets = append(sets, set)
	}
	return sets
}

// tell prints what went wrong, and goes on: not every release has every API.
func tell(what string, err error) {
	if err != nil {
		fmt.Println(what+":", err)
	}
}

func use(broker, name string, v *kversion.Versions) {
	opts := []kgo.Opt{kgo.SeedBrokers(broker), kgo.AllowAutoTopicCreation(), kgo.ClientID("franz"), kgo.RetryTimeout(5 * time.Second)}
	if v != nil {
		opts = append(opts, kgo.MaxVersions(v))
	}
	cl, err := kgo.NewClient(opts...)
	if err != nil {
		log.Fatal(err)
	}
	defer cl.Close()
	admin := kadm.NewClient(cl)
	for _, part := range []func(context.Context){
		func(ctx context.Context) { administer(ctx, admin, name) },
		func(ctx context.Context) { authenticate(ctx, opts) },
		func(ctx context.Context) { produceAndConsume(ctx, opts, name) },
		func(ctx context.Context) { transact(ctx, opts, name) },
		func(ctx context.Context) { afterwards(ctx, admin, name) },
		func(ctx context.Context) { plainly(ctx, cl, name) },
	} {
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		part(ctx)
		cancel()
	}
}

// plainly sends what no part of franz-go sends by itself.
func plainly(ctx context.Context, cl *kgo.Client, name string) {
	join := kmsg.NewPtrConsumerGroupHeartbeatRequest()
	join.Group, join.MemberID, join.RebalanceTimeoutMillis, join.SubscribedTopicNames, join.Topics = name+"-848", "member", 30000, []string{name}, []kmsg.ConsumerGroupHeartbeatRequestTopic{}
	describe := kmsg.NewPtrConsumerGroupDescribeRequest()
	describe.Groups = []string{join.Group}
	features := kmsg.NewPtrUpdateFeaturesRequest()
	features.TimeoutMillis, features.ValidateOnly = 1000, true
	features.FeatureUpdates = []kmsg.UpdateFeaturesRequestFeatureUpdate{{Feature: "group.version", MaxVersionLevel: 1, UpgradeType: 1}}
	handshake := kmsg.NewPtrSASLHandshakeRequest()
	handshake.Mechanism = "PLAIN"
	partitions := kmsg.NewPtrDescribeTopicPartitionsRequest()
	partitions.Topics = []kmsg.DescribeTopicPartitionsRequestTopic{{Topic: name}}
	partitions.ResponsePartitionLimit = 10
	coordinator := kmsg.NewPtrFindCoordinatorRequest()
	coordinator.CoordinatorKey, coordinator.CoordinatorKeys = name, []string{name}
	for _, req := range []kmsg.Request{kmsg.NewPtrApiVersionsRequest(), kmsg.NewPtrDescribeClusterRequest(), kmsg.NewPtrListConfigResourcesRequest(), coordinator, join, describe, features, partitions,
		handshake, kmsg.NewPtrSASLAuthenticateRequest()} {
		_, err := cl.Broker(1).RetriableRequest(ctx, req)
		tell(kmsg.NameForKey(req.Key()), err)
	}
}

func administer(ctx context.Context, admin *kadm.Client, name string) {
	value := func(s string) *string { return &s }
	_, err := admin.CreateTopics(ctx, 2, 1, map[string]*string{"retention.ms": value("100000")}, name)
	tell("create topics", err)
	_, err = admin.UpdatePartitions(ctx, 3, name)
	tell("create partitions", err)
	_, err = admin.AlterTopicConfigs(ctx, []kadm.AlterConfig{{Name: "cleanup.policy", Op: kadm.AppendConfig, Value: value("compact")}}, name)
	tell("alter configs", err)
	_, err = admin.AlterTopicConfigsState(ctx, []kadm.AlterConfig{{Name: "retention.ms", Value: value("200000")}}, name)
	tell("alter configs state", err)
	_, err = admin.DescribeTopicConfigs(ctx, name)
	tell("describe configs", err)
	_, err = admin.ListTopics(ctx)
	tell("metadata", err)
	_, err = admin.DescribeAllLogDirs(ctx, nil)
	tell("log dirs", err)
	_, err = admin.AlterAllReplicaLogDirs(ctx, kadm.AlterReplicaLogDirsReq{"/elsewhere": {name: {0: {}}}})
	tell("alter log dirs", err)
	_, err = admin.ListPartitionReassignments(ctx, nil)
	tell("reassignments", err)
	var moves kadm.AlterPartitionAssignmentsReq
	moves.Assign(name, 0, []int32{1})
	_, err = admin.AlterPartitionAssignments(ctx, moves)
	tell("alter reassignments", err)
	_, err = admin.ElectLeaders(ctx, kadm.ElectPreferredReplica, kadm.TopicsSet{name: {0: {}}})
	tell("elect leaders", err)
	rules := kadm.NewACLs().Topics(name).Allow("User:a").AllowHosts("*").Operations(kadm.OpRead).ResourcePatternType(kadm.ACLPatternLiteral)
	_, err = admin.CreateACLs(ctx, rules)
	tell("create acls", err)
	_, err = admin.DescribeACLs(ctx, rules)
	tell("describe acls", err)
	_, err = admin.DeleteACLs(ctx, rules)
	tell("delete acls", err)
	_, err = admin.AlterUserSCRAMs(ctx, nil, []kadm.UpsertSCRAM{{User: name, Mechanism: kadm.ScramSha256, Iterations: 4096, Password: "p"}})
	tell("alter scram", err)
	_, err = admin.DescribeUserSCRAMs(ctx, name)
	tell("describe scram", err)
	_, err = admin.AlterClientQuotas(ctx, []kadm.AlterClientQuotaEntry{{Entity: kadm.ClientQuotaEntity{{Type: "user", Name: value(name)}}, Ops: []kadm.AlterClientQuotaOp{{Key: "producer_byte_rate", Value: 1 << 30}}}})
	tell("alter quotas", err)
	_, err = admin.DescribeClientQuotas(ctx, false, nil)
	tell("describe quotas", err)
	_, err = admin.BrokerMetadata(ctx)
	tell("brokers", err)
	_, err = admin.ApiVersions(ctx)
	tell("api versions", err)
}

// authenticate tries to, where nobody is asked.
func authenticate(ctx context.Context, opts []kgo.Opt) {
	cl, err := kgo.NewClient(append(opts, kgo.SASL(plain.Auth{User: "u", Pass: "p"}.AsMechanism()))...)
	if err != nil {
		log.Fatal(err)
	}
	defer cl.Close()
	tell("authenticate", cl.Ping(ctx))
}

func produceAndConsume(ctx context.Context, opts []kgo.Opt, name string) {
	member, err := kgo.NewClient(append(opts, kgo.ConsumerGroup(name), kgo.ConsumeTopics(name), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.FetchMaxWait(100*time.Millisecond))...)
	if err != nil {
		log.Fatal(err)
	}
	tell("produce", member.ProduceSync(ctx, &kgo.Record{Topic: name, Key: []byte("k"), Value: []byte("v"), Headers: []kgo.RecordHeader{{Key: "h", Value: []byte("x")}}}).FirstErr())
	tell("fetch", member.PollFetches(ctx).Err())
	tell("heartbeat", sleep(ctx, 3500*time.Millisecond))
	tell("commit", member.CommitUncommittedOffsets(ctx))
	member.CloseAllowingRebalance()
}

func transact(ctx context.Context, opts []kgo.Opt, name string) {
	s, err := kgo.NewGroupTransactSession(append(opts, kgo.TransactionalID(name), kgo.ConsumerGroup(name+"-txn"), kgo.ConsumeTopics(name),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.FetchMaxWait(100*time.Millisecond))...)
	if err != nil {
		log.Fatal(err)
	}
	defer s.Close()
	tell("fetch in a transaction", s.PollFetches(ctx).Err())
	tell("begin", s.Begin())
	tell("produce in a transaction", s.ProduceSync(ctx, &kgo.Record{Topic: name, Key: []byte("k"), Value: []byte("t")}).FirstErr())
	_, err = s.End(ctx, kgo.TryCommit)
	tell("commit a transaction", err)
}

func afterwards(ctx context.Context, admin *kadm.Client, name string) {
	ends, err := admin.ListEndOffsets(ctx, name)
	tell("list offsets", err)
	_, err = admin.ListOffsetsAfterMilli(ctx, 1, name)
	tell("list offsets by time", err)
	_, err = admin.ListGroups(ctx)
	tell("list groups", err)
	_, err = admin.DescribeGroups(ctx, name)
	tell("describe groups", err)
	_, err = admin.FetchOffsets(ctx, name)
	tell("fetch offsets", err)
	_, err = admin.DeleteOffsets(ctx, name, kadm.TopicsSet{name: {0: {}}})
	tell("delete offsets", err)
	_, err = admin.OffsetForLeaderEpoch(ctx, epochs(name))
	tell("epochs", err)
	_, err = admin.DescribeProducers(ctx, kadm.TopicsSet{name: {0: {}}})
	tell("describe producers", err)
	_, err = admin.ListTransactions(ctx, nil, nil)
	tell("list transactions", err)
	_, err = admin.DescribeTransactions(ctx, name)
	tell("describe transactions", err)
	_, err = admin.DeleteRecords(ctx, ends.Offsets())
	tell("delete records", err)
	_, err = admin.DeleteGroups(ctx, name)
	tell("delete groups", err)
	_, err = admin.DeleteTopics(ctx, name)
	tell("delete topics", err)
}

func epochs(topic string) kadm.OffsetForLeaderEpochRequest {
	var r kadm.OffsetForLeaderEpochRequest
	r.Add(topic, 0, 0)
	return r
}

func sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
