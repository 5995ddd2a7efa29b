// Command franz is a franz-go client that uses as much of the protocol as it can, for capture: once with the versions of each Kafka release that it knows.
package main

import (
	"context"
	"fmt"
	"log"
	"os"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
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
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		use(ctx, os.Args[1], fmt.Sprintf("franz-%d", at), v)
		cancel()
	}
}

// tell prints what went wrong, and goes on: not every release has every API.
func tell(what string, err error) {
	if err != nil {
		fmt.Println(what+":", err)
	}
}

func use(ctx context.Context, broker, name string, v *kversion.Versions) {
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
	administer(ctx, admin, name)
	authenticate(ctx, opts)
	produceAndConsume(ctx, opts, name)
	transact(ctx, opts, name)
	afterwards(ctx, admin, name)
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
