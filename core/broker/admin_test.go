package broker_test

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/milldam/milldam/core/vfs"
	"github.com/milldam/milldam/core/wire"
)

func TestACLsAreKept(t *testing.T) {
	r := start(t, vfs.NewMem())
	admin := kadm.NewClient(r.client(t))
	rules := kadm.NewACLs().Topics("t").Groups("g").Allow("User:a").AllowHosts("*").Operations(kadm.OpRead, kadm.OpWrite).ResourcePatternType(kadm.ACLPatternLiteral)
	made, err := admin.CreateACLs(within(t), rules)
	must(t, err)
	if len(made) == 0 {
		t.Fatal("nothing was made")
	}
	for _, m := range made {
		must(t, m.Err)
	}
	all := kadm.NewACLs().AnyResource().ResourcePatternType(kadm.ACLPatternAny).Operations().Allow().Deny().AllowHosts().DenyHosts()
	found, err := admin.DescribeACLs(within(t), all)
	must(t, err)
	count := 0
	for _, f := range found {
		must(t, f.Err)
		count += len(f.Described)
	}
	if count != len(made) {
		t.Errorf("%d rules were made, %d found", len(made), count)
	}
	req := kmsg.NewPtrDeleteACLsRequest()
	for _, kind := range []kmsg.ACLResourceType{kmsg.ACLResourceTypeTopic, 0} {
		f := kmsg.NewDeleteACLsRequestFilter()
		f.ResourceType, f.ResourcePatternType, f.Operation, f.PermissionType = kind, kmsg.ACLResourcePatternTypeAny, kmsg.ACLOperationAny, kmsg.ACLPermissionTypeAny
		req.Filters = append(req.Filters, f)
	}
	req.SetVersion(3)
	resp := ask[*kmsg.DeleteACLsResponse](t, r, req)
	if good, bad := resp.Results[0], resp.Results[1]; len(good.MatchingACLs) != 2 || good.ErrorCode != 0 || bad.ErrorCode != int16(wire.InvalidRequest) { // each for itself, as in Kafka
		t.Errorf("removed: %+v", resp.Results)
	}
}

func TestScramCredentialsAreKept(t *testing.T) {
	r := start(t, vfs.NewMem())
	admin := kadm.NewClient(r.client(t))
	altered, err := admin.AlterUserSCRAMs(within(t), nil, []kadm.UpsertSCRAM{{User: "alice", Mechanism: kadm.ScramSha256, Iterations: 4096, Password: "secret"},
		{User: "alice", Mechanism: kadm.ScramSha512, Iterations: 8192, Password: "secret"}})
	must(t, err)
	must(t, altered["alice"].Err)
	users, err := admin.DescribeUserSCRAMs(within(t))
	must(t, err)
	if len(users) != 1 || len(users["alice"].CredInfos) != 2 || users["alice"].CredInfos[1].Iterations != 8192 {
		t.Errorf("users: %+v", users)
	}
	users, err = admin.DescribeUserSCRAMs(within(t), "nobody")
	must(t, err)
	if users["nobody"].Err == nil {
		t.Error("nobody was found")
	}
}

func TestClientQuotasAreKept(t *testing.T) {
	r := start(t, vfs.NewMem())
	admin := kadm.NewClient(r.client(t))
	user, byDefault := kadm.StringPtr("u"), (*string)(nil)
	altered, err := admin.AlterClientQuotas(within(t), []kadm.AlterClientQuotaEntry{
		{Entity: kadm.ClientQuotaEntity{{Type: "user", Name: user}, {Type: "client-id", Name: byDefault}}, Ops: []kadm.AlterClientQuotaOp{{Key: "producer_byte_rate", Value: 1 << 20}}},
		{Entity: kadm.ClientQuotaEntity{{Type: "ip", Name: byDefault}}, Ops: []kadm.AlterClientQuotaOp{{Key: "connection_creation_rate", Value: 100}}},
		{Entity: kadm.ClientQuotaEntity{{Type: "colour", Name: user}}, Ops: []kadm.AlterClientQuotaOp{{Key: "producer_byte_rate", Value: 1}}},
	})
	must(t, err)
	refused := 0
	for _, a := range altered {
		if a.Err != nil {
			refused++
		}
	}
	if refused != 1 {
		t.Errorf("altered: %+v", altered)
	}
	for _, tc := range []struct {
		strict bool
		filter []kadm.DescribeClientQuotaComponent
		want   int
	}{
		{false, nil, 2}, {false, []kadm.DescribeClientQuotaComponent{{Type: "user", MatchName: user, MatchType: kmsg.QuotasMatchTypeExact}}, 1},
		{true, []kadm.DescribeClientQuotaComponent{{Type: "user", MatchName: user, MatchType: kmsg.QuotasMatchTypeExact}}, 0},
		{true, []kadm.DescribeClientQuotaComponent{{Type: "ip", MatchType: kmsg.QuotasMatchTypeDefault}}, 1},
	} {
		found, err := admin.DescribeClientQuotas(within(t), tc.strict, tc.filter)
		must(t, err)
		if len(found) != tc.want {
			t.Errorf("strict %v, %v: %+v, want %d", tc.strict, tc.filter, found, tc.want)
		}
	}
}

func TestConfigResourcesAreListedByType(t *testing.T) {
	r := start(t, vfs.NewMem())
	admin := kadm.NewClient(r.client(t))
	_, err := admin.CreateTopic(within(t), 1, 1, nil, "t")
	must(t, err)
	req := kmsg.NewPtrIncrementalAlterConfigsRequest()
	for kind, config := range map[kmsg.ConfigResourceType][2]string{16: {"interval.ms", "1000"}, 32: {"consumer.session.timeout.ms", "50000"}, 8: {"root", "WARN"}} {
		in, c := kmsg.NewIncrementalAlterConfigsRequestResource(), kmsg.NewIncrementalAlterConfigsRequestResourceConfig()
		in.ResourceType, in.ResourceName, c.Name, c.Value = kind, "1", config[0], &config[1]
		in.Configs = append(in.Configs, c)
		req.Resources = append(req.Resources, in)
	}
	req.SetVersion(1)
	for _, out := range ask[*kmsg.IncrementalAlterConfigsResponse](t, r, req).Resources {
		if out.ErrorCode != 0 {
			t.Errorf("%v: %s", out.ResourceType, *out.ErrorMessage)
		}
	}
	list := func(version int16, types ...int8) (found []int8) {
		req := kmsg.NewPtrListConfigResourcesRequest()
		req.ResourceTypes = types
		req.SetVersion(version)
		resp := ask[*kmsg.ListConfigResourcesResponse](t, r, req)
		for _, c := range resp.ConfigResources {
			found = append(found, c.Type)
		}
		if resp.ErrorCode != 0 {
			return nil
		}
		slices.Sort(found)
		return found
	}
	if got := list(1); !slices.Equal(got, []int8{2, 4, 8, 16, 32}) {
		t.Errorf("of all types: %v", got)
	}
	if got := list(0); !slices.Equal(got, []int8{16}) {
		t.Errorf("in version 0: %v, want client metrics alone", got)
	}
	if got := list(1, 32, 2); !slices.Equal(got, []int8{2, 32}) {
		t.Errorf("of two types: %v", got)
	}
	if got := list(1, 2, 99); got != nil {
		t.Errorf("of a type that is none: %v", got)
	}
	described := kmsg.NewPtrDescribeConfigsRequest()
	in := kmsg.NewDescribeConfigsRequestResource()
	in.ResourceType, in.ResourceName = 8, "1"
	described.Resources = append(described.Resources, in)
	described.SetVersion(4)
	if c := ask[*kmsg.DescribeConfigsResponse](t, r, described).Resources[0].Configs; len(c) != 1 || *c[0].Value != "WARN" {
		t.Errorf("the level of the logger: %+v", c)
	}
}

// TestOneNodeAnswersAsKafkasOneNode: what moves partitions has nothing to do.
func TestOneNodeAnswersAsKafkasOneNode(t *testing.T) {
	r := start(t, vfs.NewMem())
	_, err := kadm.NewClient(r.client(t)).CreateTopic(within(t), 1, 1, nil, "t")
	must(t, err)
	elect := kmsg.NewPtrElectLeadersRequest()
	for _, topic := range []string{"t", "none"} {
		in := kmsg.NewElectLeadersRequestTopic()
		in.Topic, in.Partitions = topic, []int32{0, 7}
		elect.Topics = append(elect.Topics, in)
	}
	elect.SetVersion(2)
	var got []int16
	for _, topic := range ask[*kmsg.ElectLeadersResponse](t, r, elect).Topics {
		for _, p := range topic.Partitions {
			got = append(got, p.ErrorCode)
		}
	}
	if want := []int16{int16(wire.ElectionNotNeeded), 3, 3, 3}; !slices.Equal(got, want) {
		t.Errorf("elections: %v, want %v", got, want)
	}
	move := kmsg.NewPtrAlterPartitionAssignmentsRequest()
	in := kmsg.NewAlterPartitionAssignmentsRequestTopic()
	in.Topic = "t"
	for _, replicas := range [][]int32{{1}, nil, {}, {2}, {1, 1}} {
		p := kmsg.NewAlterPartitionAssignmentsRequestTopicPartition()
		p.Replicas = replicas
		in.Partitions = append(in.Partitions, p)
	}
	move.Topics = append(move.Topics, in)
	move.SetVersion(1)
	move.AllowReplicationFactorChange = false
	if resp := ask[*kmsg.AlterPartitionAssignmentsResponse](t, r, move); resp.AllowReplicationFactorChange {
		t.Error("the answer does not repeat what the request allows")
	}
	nothing := kmsg.NewPtrAlterPartitionAssignmentsRequest()
	nothing.Version, nothing.AllowReplicationFactorChange = 1, false
	if resp := ask[*kmsg.AlterPartitionAssignmentsResponse](t, r, nothing); !resp.AllowReplicationFactorChange {
		t.Error("the answer to no topics is not Kafka's, which has its defaults")
	}
	got = nil
	for _, p := range ask[*kmsg.AlterPartitionAssignmentsResponse](t, r, move).Topics[0].Partitions {
		got = append(got, p.ErrorCode)
	}
	if want := []int16{0, int16(wire.NoReassignmentInProgress), 39, 39, 39}; !slices.Equal(got, want) {
		t.Errorf("reassignments: %v, want %v", got, want)
	}
	dirs := kmsg.NewPtrAlterReplicaLogDirsRequest()
	for _, move := range []struct{ dir, topic string }{{"data", "t"}, {"/elsewhere", "neighbour"}, {"/elsewhere", ".."}, {"data", "t"}, {"data", strings.Repeat("t", 214)}} {
		in := kmsg.NewAlterReplicaLogDirsRequestDir()
		in.Dir = move.dir
		topic := kmsg.NewAlterReplicaLogDirsRequestDirTopic()
		topic.Topic, topic.Partitions = move.topic, []int32{0, 7}
		in.Topics = append(in.Topics, topic)
		dirs.Dirs = append(dirs.Dirs, in)
	}
	dirs.SetVersion(2)
	got = nil
	for _, topic := range ask[*kmsg.AlterReplicaLogDirsResponse](t, r, dirs).Topics {
		for _, p := range topic.Partitions {
			got = append(got, p.ErrorCode)
		}
	}
	if want := []int16{0, 3, int16(wire.LogDirNotFound), int16(wire.LogDirNotFound), int16(wire.LogDirNotFound), int16(wire.LogDirNotFound), 17, 17}; !slices.Equal(got, want) {
		t.Errorf("log dirs: %v, want %v", got, want)
	}
}

func TestAPlaintextListenerAuthenticatesNobody(t *testing.T) {
	r := start(t, vfs.NewMem())
	if resp := ask[*kmsg.SASLHandshakeResponse](t, r, kmsg.NewPtrSASLHandshakeRequest()); resp.ErrorCode != int16(wire.IllegalSASLState) {
		t.Errorf("handshake: %+v", resp)
	}
	if resp := ask[*kmsg.SASLAuthenticateResponse](t, r, kmsg.NewPtrSASLAuthenticateRequest()); resp.ErrorCode != int16(wire.IllegalSASLState) {
		t.Errorf("authenticate: %+v", resp)
	}
}

// TestASuperUserMayDoEverything: the bits are those that Apache Kafka 4.3.1 answers with its authorizer and ANONYMOUS as a super user.
func TestASuperUserMayDoEverything(t *testing.T) {
	r := start(t, vfs.NewMem())
	_, err := kadm.NewClient(r.client(t)).CreateTopic(within(t), 1, 1, nil, "t")
	must(t, err)
	req := kmsg.NewPtrMetadataRequest()
	req.IncludeClusterAuthorizedOperations, req.IncludeTopicAuthorizedOperations = true, true
	req.SetVersion(10)
	if resp := ask[*kmsg.MetadataResponse](t, r, req); resp.AuthorizedOperations != 8096 || resp.Topics[0].AuthorizedOperations != 3576 {
		t.Errorf("metadata: cluster %d, topic %d", resp.AuthorizedOperations, resp.Topics[0].AuthorizedOperations)
	}
	cluster := kmsg.NewPtrDescribeClusterRequest()
	cluster.IncludeClusterAuthorizedOperations = true
	if resp := ask[*kmsg.DescribeClusterResponse](t, r, cluster); resp.ClusterAuthorizedOperations != 8096 {
		t.Errorf("cluster: %d", resp.ClusterAuthorizedOperations)
	}
	groups := kmsg.NewPtrDescribeGroupsRequest()
	groups.Groups, groups.IncludeAuthorizedOperations = []string{"none"}, true
	groups.SetVersion(5)
	if resp := ask[*kmsg.DescribeGroupsResponse](t, r, groups); resp.Groups[0].AuthorizedOperations != 3400 {
		t.Errorf("group: %d", resp.Groups[0].AuthorizedOperations)
	}
}

func TestMetadataRefusesIDsBeforeVersion12(t *testing.T) {
	r := start(t, vfs.NewMem())
	made, err := kadm.NewClient(r.client(t)).CreateTopic(within(t), 1, 1, nil, "t")
	must(t, err)
	for _, version := range []int16{10, 11} {
		req := kmsg.NewPtrMetadataRequest()
		byID, byName := kmsg.NewMetadataRequestTopic(), kmsg.NewMetadataRequestTopic()
		byID.TopicID, byName.Topic = made.ID, kmsg.StringPtr("t")
		req.Topics = append(req.Topics, byID, byName)
		req.SetVersion(version)
		resp := ask[*kmsg.MetadataResponse](t, r, req)
		if len(resp.Topics) != 2 || len(resp.Brokers) != 0 || resp.ControllerID != -1 || resp.ClusterID != nil {
			t.Fatalf("version %d: %+v", version, resp)
		}
		for _, topic := range resp.Topics {
			if topic.ErrorCode != int16(wire.InvalidRequest) || topic.Topic == nil || len(topic.Partitions) != 0 {
				t.Errorf("version %d: %+v", version, topic)
			}
		}
	}
}

// TestMetadataByID: Java clients send an empty name beside the id.
func TestMetadataByID(t *testing.T) {
	r := start(t, vfs.NewMem())
	made, err := kadm.NewClient(r.client(t)).CreateTopic(within(t), 1, 1, nil, "t")
	must(t, err)
	for _, name := range []*string{nil, kmsg.StringPtr(""), kmsg.StringPtr("another")} {
		req := kmsg.NewPtrMetadataRequest()
		known, unknown := kmsg.NewMetadataRequestTopic(), kmsg.NewMetadataRequestTopic()
		known.Topic, known.TopicID = name, made.ID
		unknown.Topic, unknown.TopicID = name, [16]byte{7}
		req.Topics, req.IncludeTopicAuthorizedOperations = append(req.Topics, known, unknown), true
		req.SetVersion(12)
		topics := ask[*kmsg.MetadataResponse](t, r, req).Topics
		if len(topics) != 2 || topics[0].ErrorCode != 0 || topics[0].Topic == nil || *topics[0].Topic != "t" || len(topics[0].Partitions) != 1 {
			t.Fatalf("the topic: %+v", topics)
		}
		if topics[1].ErrorCode != int16(wire.UnknownTopicID) || topics[1].Topic != nil || topics[1].TopicID != unknown.TopicID {
			t.Errorf("none: %+v", topics[1])
		}
		if topics[0].AuthorizedOperations != 3576 || topics[1].AuthorizedOperations != math.MinInt32 {
			t.Errorf("operations %d on the topic, %d on none", topics[0].AuthorizedOperations, topics[1].AuthorizedOperations)
		}
	}
}

func TestDeleteTopicsOfOnesNamedTwice(t *testing.T) {
	r := start(t, vfs.NewMem())
	admin := kadm.NewClient(r.client(t))
	name := "t"
	for _, c := range []struct {
		form string // of each topic of the request: its name, its id, both or neither
		want []string
	}{
		{"name name", []string{"t none 42"}},
		{"id id", []string{"- id 42"}},
		{"name id", []string{"t id 42"}},
		{"id name", []string{"t id 42"}},
		{"name name id", []string{"t none 42", "t id 0"}},
		{"name id id", []string{"t id 42", "- id 42"}},
		{"neither neither", []string{"- none 42", "- none 42"}},
		{"neither id", []string{"- none 42", "t id 0"}},
		{"both name", []string{"t id 42", "t id 0"}},
		{"both id", []string{"t id 42", "t id 0"}},
	} {
		made, err := admin.CreateTopics(within(t), 1, 1, nil, name)
		must(t, err)
		must(t, cmp.Or(made.Error(), made[name].Err))
		req := kmsg.NewPtrDeleteTopicsRequest()
		req.TimeoutMillis = 5000
		for _, how := range strings.Fields(c.form) {
			in := kmsg.NewDeleteTopicsRequestTopic()
			if how == "name" || how == "both" {
				in.Topic = &name
			}
			if how == "id" || how == "both" {
				in.TopicID = made[name].ID
			}
			req.Topics = append(req.Topics, in)
		}
		req.SetVersion(6)
		var got []string
		for _, out := range ask[*kmsg.DeleteTopicsResponse](t, r, req).Topics {
			who, id := "-", "none"
			if out.Topic != nil {
				who = *out.Topic
			}
			if out.TopicID == made[name].ID {
				id = "id"
			}
			got = append(got, fmt.Sprintf("%s %s %d", who, id, out.ErrorCode))
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("%s: %q, want %q", c.form, got, c.want)
		}
		_, err = admin.DeleteTopics(within(t), name)
		must(t, err)
	}
}

func TestTopicsCanBeKeptFromRemoval(t *testing.T) {
	r := startConfigured(t, vfs.NewMem(), map[string]string{"delete.topic.enable": "false"})
	admin := kadm.NewClient(r.client(t))
	_, err := admin.CreateTopic(within(t), 1, 1, nil, "t")
	must(t, err)
	req := kmsg.NewPtrDeleteTopicsRequest()
	req.TopicNames, req.TimeoutMillis = []string{"t"}, 5000
	req.SetVersion(4)
	if resp := ask[*kmsg.DeleteTopicsResponse](t, r, req); resp.Topics[0].ErrorCode != int16(wire.TopicDeletionDisabled) {
		t.Errorf("removed: %+v", resp.Topics[0])
	}
}
