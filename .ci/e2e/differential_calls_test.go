package e2e

import (
	endian "encoding/binary"
	"fmt"
	"hash/crc32"
	"math"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// diffCall is one call as both brokers get it: all that is random comes from its seed, and names stand for ids until a broker's own are put in.
type diffCall struct {
	key, version int16
	seed         uint64
	conn         string
	script       *diffScript

	group, member, producer string // whom the call speaks for
	what                    string // the step of an episode, for a call that is one
}

// diffScript is what both brokers share: the names in use, and what was sent so far.
type diffScript struct {
	random   *rand.Rand
	episode  int
	stamp    int64            // timestamps are near this
	sequence map[string]int32 // next sequence of a producer on a partition
}

func (s *diffScript) name(format string, args ...any) string {
	return fmt.Sprintf("d%d-", s.episode) + fmt.Sprintf(format, args...)
}

// Names of one episode.
const (
	diffTopics    = 5
	diffMembers   = 3
	diffProducers = 4
)

func (s *diffScript) topics() []string { return s.names(diffTopics, "t") }
func (s *diffScript) groups() []string {
	return append(s.names(2, "g"), s.name("c0"), s.name("c1"))
}

// transactions are the transactional ids; the last producer has none.
func (s *diffScript) transactions() []string { return s.names(diffProducers-1, "p") }

func (s *diffScript) names(n int, kind string) []string {
	var all []string
	for i := range n {
		all = append(all, s.name("%s%d", kind, i))
	}
	return all
}

// isConsumerGroup tells a group of the protocol of KIP-848.
func isConsumerGroup(group string) bool { return strings.Contains(group, "-c") }

// diffBuilder fills a request for one broker.
type diffBuilder struct {
	*diffCall
	rand *rand.Rand
	peer *diffPeer
}

// build makes the request of the call for one broker.
func (c *diffCall) build(p *diffPeer) kmsg.Request {
	b := &diffBuilder{diffCall: c, rand: rand.New(rand.NewPCG(c.seed, 1)), peer: p}
	req := kmsg.RequestForKey(c.key)
	req.SetVersion(c.version)
	b.fill(reflect.ValueOf(req).Elem())
	b.finish(req)
	if b.oneIn(5) {
		b.spoil(req)
	}
	switch r := req.(type) {
	case *kmsg.JoinGroupRequest:
		b.refuseJoin(r)
	case *kmsg.ProduceRequest:
		onlyOnce(r)
		if illegalAcks(r) && r.Version >= produceAdds { // Kafka opens the transaction, then refuses
			r.TransactionID = nil
		}
		if nullRecords(r) {
			onlyNull(r)
		}
	case *kmsg.AlterClientQuotasRequest:
		r.ValidateOnly = r.ValidateOnly || namesEntityTwice(r)
	case *kmsg.CreatePartitionsRequest:
		for _, t := range r.Topics {
			r.ValidateOnly = r.ValidateOnly || t.Count > tooManyPartitions // over it Kafka does nothing of all the request asks
		}
	case *kmsg.IncrementalAlterConfigsRequest:
		for _, res := range r.Resources {
			r.ValidateOnly = r.ValidateOnly || slices.ContainsFunc(res.Configs, hasUnknownOp)
		}
	case *kmsg.AlterConfigsRequest:
		r.ValidateOnly = r.ValidateOnly || namesResourceTwice(r)
	case *kmsg.CreateACLsRequest:
		r.Creations = onlyOdd(r.Creations, func(c kmsg.CreateACLsRequestCreation) kmsg.Request {
			return &kmsg.CreateACLsRequest{Creations: []kmsg.CreateACLsRequestCreation{c}}
		})
	case *kmsg.DeleteACLsRequest:
		r.Filters = onlyOdd(r.Filters, func(f kmsg.DeleteACLsRequestFilter) kmsg.Request {
			return &kmsg.DeleteACLsRequest{Filters: []kmsg.DeleteACLsRequestFilter{f}}
		})
	case *kmsg.WriteTxnMarkersRequest:
		r.Markers = onlyOdd(r.Markers, func(m kmsg.WriteTxnMarkersRequestMarker) kmsg.Request {
			return &kmsg.WriteTxnMarkersRequest{Markers: []kmsg.WriteTxnMarkersRequestMarker{m}}
		})
		if impossibleMarker(r) {
			r.Markers = r.Markers[:1] // Kafka answers one of a producer
		}
	}
	return req
}

// produceAdds is the version of Produce from which it adds partitions to transactions.
const produceAdds = 12

func illegalAcks(r *kmsg.ProduceRequest) bool { return r.Acks < -1 || r.Acks > 1 }

// onlyOdd leaves in a request, when there are any, the rules, filters or markers over which Kafka does some or none of what else it asks.
func onlyOdd[T any](all []T, alone func(T) kmsg.Request) []T {
	odd := slices.DeleteFunc(slices.Clone(all), func(one T) bool {
		req := alone(one)
		numbers := aclNumbers(req)
		wide := isAPI(req, kmsg.CreateACLs) && slices.ContainsFunc(numbers, aclNumber.isWide)
		return !wide && !slices.ContainsFunc(numbers, aclNumber.isUnknown) && !impossibleMarker(req)
	})
	if len(odd) == 0 {
		return all
	}
	return odd
}

// onlyOnce leaves out partitions that are named again: Kafka appends the last only, which later calls would find.
func onlyOnce(r *kmsg.ProduceRequest) {
	seen := map[string]bool{}
	for i := range r.Topics {
		t := &r.Topics[i]
		t.Partitions = slices.DeleteFunc(t.Partitions, func(p kmsg.ProduceRequestTopicPartition) bool {
			id := fmt.Sprint(t.Topic, t.TopicID, p.Partition)
			again := seen[id]
			seen[id] = true
			return again
		})
	}
}

// tooManyPartitions is more than Kafka makes at once.
const tooManyPartitions = 10_000

// finish sets what depends on more than one field.
func (b *diffBuilder) finish(req kmsg.Request) {
	switch r := req.(type) {
	case *kmsg.ProduceRequest:
		for _, t := range r.Topics {
			for i := range t.Partitions {
				t.Partitions[i].Records = b.records(t.Topic, t.Partitions[i].Partition)
			}
		}
	case *kmsg.AlterConfigsRequest:
		for _, res := range r.Resources {
			r.ValidateOnly = r.ValidateOnly || res.ResourceType != kmsg.ConfigResourceTypeTopic // the brokers stay as they are
		}
	case *kmsg.IncrementalAlterConfigsRequest:
		for _, res := range r.Resources {
			r.ValidateOnly = r.ValidateOnly || res.ResourceType != kmsg.ConfigResourceTypeTopic
		}
	case *kmsg.SyncGroupRequest:
		r.Generation = 77 // a right one may have to wait for others: rebalance makes those
	}
}

// refuseJoin makes a join that is answered at once; rebalance makes those that wait for others.
func (b *diffBuilder) refuseJoin(r *kmsg.JoinGroupRequest) {
	switch b.rand.IntN(4) {
	case 0:
		r.SessionTimeoutMillis = pick(b, int32(1), 0, -1, math.MaxInt32)
	case 1:
		r.MemberID = "nobody"
	case 2:
		r.Group = ""
	case 3:
		r.MemberID, r.Protocols = "nobody", nil
	}
	if r.MemberID == "" { // who has no id is taken in, and the groups would wait for it
		r.MemberID = "nobody"
	}
}

// onlyNull leaves in a request the partitions whose records are null: of the others Kafka appends some or none.
func onlyNull(r *kmsg.ProduceRequest) {
	r.Topics = slices.DeleteFunc(r.Topics, func(t kmsg.ProduceRequestTopic) bool { return !hasNull(t) })
	for i := range r.Topics {
		t := &r.Topics[i]
		t.Partitions = slices.DeleteFunc(t.Partitions, func(p kmsg.ProduceRequestTopicPartition) bool { return p.Records != nil })
	}
}

func hasNull(t kmsg.ProduceRequestTopic) bool {
	return slices.ContainsFunc(t.Partitions, func(p kmsg.ProduceRequestTopicPartition) bool { return p.Records == nil })
}

func (b *diffBuilder) oneIn(n int) bool { return b.rand.IntN(n) == 0 }

// pick takes one of values, the first in half of the cases.
func pick[T any](b *diffBuilder, values ...T) T {
	if b.oneIn(2) {
		return values[0]
	}
	return values[b.rand.IntN(len(values))]
}

// fill sets every field of a struct by the rule of its name.
func (b *diffBuilder) fill(v reflect.Value) {
	for i := range v.NumField() {
		f := v.Type().Field(i)
		if f.Name != "Version" && f.Name != "UnknownTags" {
			b.fillField(v.Type().Name(), f.Name, v.Field(i))
		}
	}
	if id := v.FieldByName("TopicID"); id.IsValid() {
		b.fillTopicID(v, id)
	}
	if value := v.FieldByName("Value"); value.IsValid() && value.Kind() == reflect.Pointer {
		if values := diffConfigs[v.FieldByName("Name").String()]; !b.oneIn(20) {
			set(value, values[b.rand.IntN(len(values))])
		}
	}
}

// fillTopicID sets the id of the topic named beside it; where a request may have either, one of the two.
func (b *diffBuilder) fillTopicID(v, id reflect.Value) {
	name := v.FieldByName("Topic")
	switch {
	case !name.IsValid():
		id.Set(reflect.ValueOf(b.peer.topicIDs[b.topic()]))
	case name.Kind() == reflect.String:
		id.Set(reflect.ValueOf(b.peer.topicIDs[name.String()]))
	case b.version >= 6 && b.oneIn(3) && !name.IsNil():
		if known, ok := b.peer.topicIDs[name.Elem().String()]; ok {
			id.Set(reflect.ValueOf(known))
			name.SetZero()
		}
	}
}

func (b *diffBuilder) fillField(owner, name string, v reflect.Value) {
	rule, ok := diffRules[owner+"."+name]
	if !ok {
		rule, ok = diffRules[name]
		ok = ok && !(v.Kind() == reflect.Slice && v.Type().Elem().Kind() == reflect.Struct && fillsWords[name]) // Partitions are numbers, or structs that hold one
	}
	switch {
	case ok:
		set(v, rule(b))
	case v.Kind() == reflect.Struct:
		b.fill(v)
	case v.Kind() == reflect.Slice && v.Type().Elem().Kind() == reflect.Struct:
		n := pick(b, 1, 2, 3, 0)
		v.Set(reflect.MakeSlice(v.Type(), n, n))
		for i := range n {
			if d, ok := v.Index(i).Addr().Interface().(interface{ Default() }); ok {
				d.Default()
			}
			b.fill(v.Index(i))
		}
		v.Set(unique(v))
	default:
		panic(fmt.Sprintf("no rule says what %s.%s holds: add it to diffRules", owner, name))
	}
}

// unique leaves out elements for a topic or partition that an earlier one is for: spoil makes those.
func unique(v reflect.Value) reflect.Value {
	seen := map[string]bool{}
	out := reflect.MakeSlice(v.Type(), 0, v.Len())
	for i := range v.Len() {
		key := ""
		for _, name := range []string{"Topic", "TopicID", "Partition", "Group", "TransactionalID"} {
			if f := v.Index(i).FieldByName(name); f.IsValid() {
				key += fmt.Sprint(" ", reflect.Indirect(f))
			}
		}
		if key == "" || !seen[key] {
			out = reflect.Append(out, v.Index(i))
		}
		seen[key] = true
	}
	return out
}

// fillsWords are the fields that are an array of plain values in some requests and of structs in others.
var fillsWords = map[string]bool{"Partitions": true, "Groups": true}

// set puts a value into a field of its kind; nil leaves the field alone.
func set(v reflect.Value, value any) {
	if value == nil {
		return
	}
	from := reflect.ValueOf(value)
	if v.Kind() == reflect.Pointer {
		p := reflect.New(v.Type().Elem())
		set(p.Elem(), value)
		v.Set(p)
		return
	}
	v.Set(from.Convert(v.Type()))
}

// diffRules say what a field holds, by its name or by that of its struct and its own.
var diffRules = map[string]func(*diffBuilder) any{}

func init() { // the rules of nested fields lead back here
	for names, rule := range map[string]func(*diffBuilder) any{
		// Topics and partitions.
		"Topic":                func(b *diffBuilder) any { return b.topic() },
		"TopicNames":           func(b *diffBuilder) any { return b.some(b.topic) },
		"SubscribedTopicNames": func(b *diffBuilder) any { return b.script.topics()[:1+b.rand.IntN(3)] },
		"SubscribedTopicRegex": nothing,
		"TopicID":              nothing,
		"Partition":            func(b *diffBuilder) any { return b.partition() },
		"Partitions": func(b *diffBuilder) any {
			return pick(b, []int32{0}, []int32{0, 1}, []int32{1, 2}, []int32{9}, []int32{-1}, []int32{})
		},
		"Replicas":                     func(b *diffBuilder) any { return pick(b, []int32{1}, []int32{2}, []int32{1, 1}, []int32{}) },
		"NumPartitions":                func(b *diffBuilder) any { return pick(b, 3, 1, 2, -1, 0, -2) },
		"ReplicationFactor":            func(b *diffBuilder) any { return pick(b, 1, 1, 1, -1, 0, 2) },
		"ReplicaAssignment":            nothing,
		"Assignment":                   nothing,
		"Count":                        func(b *diffBuilder) any { return pick(b, 4, 3, 2, 5, 1, 0, -1) },
		"AllowReplicationFactorChange": always(true),
		"ResponsePartitionLimit":       func(b *diffBuilder) any { return pick(b, 2000, 1, 2, 0, -1) },
		"Cursor":                       nothing,
		"ReplicaID":                    always(-1),
		"ReplicaState":                 nothing,
		"ElectionType":                 func(b *diffBuilder) any { return pick(b, 0, 1, 2) },
		"AllowAutoTopicCreation":       always(false),
		"ForgottenTopics":              nothing,
		"CurrentLeaderEpoch":           func(b *diffBuilder) any { return pick(b, -1, -1, -1, 0, 0, 3) },
		"LeaderEpoch":                  func(b *diffBuilder) any { return pick(b, 0, -1, 1, 5) },
		"LastFetchedEpoch":             always(-1), // followers send it
		"LogStartOffset":               always(-1),
		"ReplicaDirectoryID":           nothing,
		"HighWatermark":                nothing,
		"FetchOffset":                  func(b *diffBuilder) any { return pick(b, 0, 0, 1, 2, 5, 8, 13, 40, 1<<40, -1) },
		"PartitionMaxBytes":            func(b *diffBuilder) any { return pick(b, 1<<20, 1, 100, 300, 0, -1) },
		"MaxBytes":                     func(b *diffBuilder) any { return pick(b, 1<<20, 1<<20, 1, 200, 0) },
		"MinBytes":                     func(b *diffBuilder) any { return pick(b, 0, 1) },
		"MaxWaitMillis":                func(b *diffBuilder) any { return pick(b, 0, 5) },
		"IsolationLevel":               func(b *diffBuilder) any { return pick(b, 0, 1, 1) },
		"SessionID":                    nothing,
		"SessionEpoch":                 always(-1),
		"Rack":                         always(""),
		"MaxNumOffsets":                always(1),
		"Acks":                         func(b *diffBuilder) any { return pick(b, -1, 1, 0, 2, -2) },
		"TimeoutMillis":                always(10000),
		"Records":                      nothing, // made when the partition is known
		"DeleteRecordsRequestTopicPartition.Offset": func(b *diffBuilder) any { return pick(b, 1, 0, 2, 4, -1, 1000, -2) },
		"ListOffsetsRequestTopicPartition.Timestamp": func(b *diffBuilder) any {
			return pick(b, -1, -2, -3, -4, -5, -6, -7, 0, b.script.stamp, b.script.stamp+3, b.script.stamp+1000, math.MaxInt64)
		},

		// Groups.
		"Group":                               func(b *diffBuilder) any { return b.oddly(b.group, "") },
		"Groups":                              func(b *diffBuilder) any { return b.some(func() string { return b.oddly(b.anyGroup(), "") }) },
		"OffsetFetchRequestGroup.Group":       func(b *diffBuilder) any { return b.oddly(b.anyGroup(), "") },
		"OffsetFetchRequestGroup.MemberID":    nothing,
		"OffsetFetchRequestGroup.MemberEpoch": always(-1),
		"MemberID":                            func(b *diffBuilder) any { return b.oddly(b.memberID(), "nobody") },
		"Generation":                          func(b *diffBuilder) any { return b.generation() },
		"MemberEpoch":                         func(b *diffBuilder) any { return b.memberEpoch() },
		"InstanceID":                          nothing,
		"Reason":                              nothing,
		"RackID":                              nothing,
		"ServerAssignor":                      func(b *diffBuilder) any { return pick(b, "uniform", "range", "uniform", "best") },
		"RetentionTimeMillis":                 always(-1),
		"Offset":                              func(b *diffBuilder) any { return pick(b, 1, 0, 2, 5, 9, 50, -1, -2) },
		"Timestamp":                           always(-1),
		"Metadata":                            func(b *diffBuilder) any { return pick(b, "", "some", strings.Repeat("m", 5000)) },
		"RequireStable":                       func(b *diffBuilder) any { return b.oneIn(2) },
		"CoordinatorKey":                      func(b *diffBuilder) any { return pick(b, b.anyGroup(), "") },
		"CoordinatorKeys":                     func(b *diffBuilder) any { return b.some(b.anyGroup) },
		"CoordinatorType":                     func(b *diffBuilder) any { return pick(b, 0, 1, 3) },
		"SessionTimeoutMillis":                always(diffSessionMs),
		"RebalanceTimeoutMillis":              always(diffSessionMs),
		"ProtocolType":                        func(b *diffBuilder) any { return pick(b, "consumer", "consumer", "connect") },
		"Protocol":                            func(b *diffBuilder) any { return pick(b, "range", "range", "roundrobin") },
		"JoinGroupRequestProtocol.Name":       func(b *diffBuilder) any { return pick(b, "range", "roundrobin") },
		"JoinGroupRequestProtocol.Metadata":   always([]byte{0, 0, 0, 0, 0, 0, 0, 0, 0, 0}),
		"MemberAssignment":                    always([]byte{0, 0, 0, 0, 0, 0, 0, 0, 0, 0}),
		"StatesFilter": func(b *diffBuilder) any {
			return pick(b, []string{}, []string{"Empty"}, []string{"stable", "Dead"}, []string{"odd"})
		},
		"TypesFilter": func(b *diffBuilder) any {
			return pick(b, []string{}, []string{"classic"}, []string{"Consumer"}, []string{"odd"})
		},
		"ConsumerGroupHeartbeatRequest.Topics": func(b *diffBuilder) any { return nil },

		// Producers and transactions.
		"TransactionalID":                     func(b *diffBuilder) any { return b.transactionalID() },
		"ProduceRequest.TransactionID":        func(b *diffBuilder) any { return b.transactionalID() },
		"InitProducerIDRequest.ProducerID":    func(b *diffBuilder) any { return b.sometimes(b.producerNow().id, -1) },
		"InitProducerIDRequest.ProducerEpoch": func(b *diffBuilder) any { return b.sometimes(int64(b.producerNow().epoch), -1) },
		"ProducerID":                          func(b *diffBuilder) any { return b.producerNow().id },
		"ProducerEpoch":                       func(b *diffBuilder) any { return b.producerNow().epoch },
		"TransactionTimeoutMillis":            func(b *diffBuilder) any { return pick(b, 600000, 600000, 600000, 600000, 0, -1, math.MaxInt32) },
		"VerifyOnly":                          func(b *diffBuilder) any { return b.oneIn(3) },
		"Commit":                              func(b *diffBuilder) any { return b.oneIn(2) },
		"Committed":                           func(b *diffBuilder) any { return b.oneIn(2) },
		"CoordinatorEpoch":                    always(0),
		"TransactionVersion":                  always(0),
		"TransactionalIDs":                    func(b *diffBuilder) any { return b.some(b.anyTransaction) },
		"StateFilters":                        func(b *diffBuilder) any { return pick(b, []string{}, []string{"Ongoing"}, []string{"Empty", "odd"}) },
		"ProducerIDFilters":                   func(b *diffBuilder) any { return pick(b, []int64{}, []int64{b.producerNow().id}) },
		"DurationFilterMillis":                always(-1),
		"TransactionalIDPattern":              func(b *diffBuilder) any { return pick(b, ".*", b.script.name("p0"), "(") },

		// Configs, quotas, credentials, access.
		"ResourceType":  func(b *diffBuilder) any { return pick(b, 2, 2, 4, 32, 0, 7) },
		"ResourceTypes": func(b *diffBuilder) any { return pick(b, []int8{}, []int8{2}, []int8{4}, []int8{9}) },
		"ResourceName":  func(b *diffBuilder) any { return b.topic() },
		"ConfigNames": func(b *diffBuilder) any {
			return pick(b, nil, []string{"retention.ms", "cleanup.policy"}, []string{"no.such"}, []string{})
		},
		"IncludeSynonyms":                                   func(b *diffBuilder) any { return b.oneIn(2) },
		"IncludeDocumentation":                              always(false),
		"CreateTopicsRequestTopicConfig.Name":               func(b *diffBuilder) any { return b.configName() },
		"AlterConfigsRequestResourceConfig.Name":            func(b *diffBuilder) any { return b.configName() },
		"IncrementalAlterConfigsRequestResourceConfig.Name": func(b *diffBuilder) any { return b.configName() },
		"Value":                              nothing, // made when the name is known
		"Op":                                 func(b *diffBuilder) any { return pick(b, 0, 1, 2, 3, 9) },
		"ValidateOnly":                       func(b *diffBuilder) any { return b.oneIn(5) },
		"UpdateFeaturesRequest.ValidateOnly": always(true),
		"Feature":                            func(b *diffBuilder) any { return pick(b, "transaction.version", "group.version", "no.such") },
		"MaxVersionLevel":                    func(b *diffBuilder) any { return pick(b, 1, 2, 0, 9) },
		"AllowDowngrade":                     func(b *diffBuilder) any { return b.oneIn(2) },
		"UpgradeType":                        func(b *diffBuilder) any { return pick(b, 1, 2, 3, 0) },
		"EntityType":                         func(b *diffBuilder) any { return pick(b, "user", "client-id", "ip", "odd") },
		"Type":                               func(b *diffBuilder) any { return pick(b, "user", "client-id", "ip", "odd") },
		"MatchType":                          func(b *diffBuilder) any { return pick(b, 0, 1, 2, 5) },
		"Match":                              func(b *diffBuilder) any { return b.user() },
		"Strict":                             func(b *diffBuilder) any { return b.oneIn(2) },
		"AlterClientQuotasRequestEntryEntity.Name": func(b *diffBuilder) any { return b.user() },
		"AlterClientQuotasRequestEntryOp.Key": func(b *diffBuilder) any {
			return pick(b, "producer_byte_rate", "consumer_byte_rate", "request_percentage", "odd")
		},
		"AlterClientQuotasRequestEntryOp.Value": func(b *diffBuilder) any { return pick(b, 1e9, 2e9, -1) },
		"Remove":                                func(b *diffBuilder) any { return b.oneIn(3) },
		"DescribeUserSCRAMCredentialsRequestUser.Name":        func(b *diffBuilder) any { return b.user() },
		"AlterUserSCRAMCredentialsRequestDeletion.Name":       func(b *diffBuilder) any { return b.user() },
		"AlterUserSCRAMCredentialsRequestUpsertion.Name":      func(b *diffBuilder) any { return b.user() },
		"AlterUserSCRAMCredentialsRequestDeletion.Mechanism":  func(b *diffBuilder) any { return pick(b, 1, 2, 0, 3) },
		"AlterUserSCRAMCredentialsRequestUpsertion.Mechanism": func(b *diffBuilder) any { return pick(b, 1, 2, 0, 3) },
		"Iterations":          func(b *diffBuilder) any { return pick(b, 4096, 8192, 1, 16385) },
		"Salt":                always([]byte("some salt of it")),
		"SaltedPassword":      always([]byte("0123456789abcdef0123456789abcdef")),
		"Mechanism":           func(b *diffBuilder) any { return pick(b, "PLAIN", "SCRAM-SHA-256", "") },
		"SASLAuthBytes":       always([]byte("\x00user\x00pass")),
		"ResourcePatternType": func(b *diffBuilder) any { return pick(b, 3, 4, 1, 2, 0) },
		"Principal":           func(b *diffBuilder) any { return pick(b, "User:"+b.user(), "User:*", "odd", "") },
		"Host":                func(b *diffBuilder) any { return pick(b, "*", "127.0.0.1", "") },
		"Operation":           func(b *diffBuilder) any { return pick(b, 3, 1, 2, 4, 8, 0, 14) },
		"PermissionType":      func(b *diffBuilder) any { return pick(b, 3, 2, 1, 0) },

		// The cluster.
		"IncludeClusterAuthorizedOperations": func(b *diffBuilder) any { return b.oneIn(2) },
		"IncludeTopicAuthorizedOperations":   func(b *diffBuilder) any { return b.oneIn(2) },
		"IncludeAuthorizedOperations":        func(b *diffBuilder) any { return b.oneIn(2) },
		"IncludeFencedBrokers":               func(b *diffBuilder) any { return b.oneIn(2) },
		"EndpointType":                       func(b *diffBuilder) any { return pick(b, 1, 2, 0) },
		"ClientSoftwareName":                 func(b *diffBuilder) any { return pick(b, "differential", "no such client!", "") },
		"ClientSoftwareVersion":              func(b *diffBuilder) any { return pick(b, "1.0", "") },
		"ClusterID":                          nothing,
		"NodeID":                             always(-1),
		"Dir":                                always("/no/such"),
	} {
		diffRules[names] = rule
	}
}

// diffSessionMs keeps every member alive while the script runs.
const diffSessionMs = 600_000

func nothing(*diffBuilder) any                            { return nil }
func always(v any) func(*diffBuilder) any                 { return func(*diffBuilder) any { return v } }
func (b *diffBuilder) sometimes(v, otherwise int64) int64 { return pick(b, otherwise, v) }

// some are one to three values, now and then none.
func (b *diffBuilder) some(one func() string) []string {
	all := make([]string, pick(b, 1, 2, 3, 0))
	for i := range all {
		all[i] = one()
	}
	return all
}

// oddly is the usual value, in one of twenty cases the odd one.
func (b *diffBuilder) oddly(usual, odd string) string {
	if b.oneIn(20) {
		return odd
	}
	return usual
}

func (b *diffBuilder) topic() string {
	topics := b.script.topics()
	if b.oneIn(12) {
		return pick(b, b.script.name("missing"), "", "no/slash", strings.Repeat("x", 250), "..", "__consumer_offsets_")
	}
	return topics[b.rand.IntN(len(topics))]
}

func (b *diffBuilder) partition() int32 {
	if b.oneIn(12) {
		return pick(b, int32(9), -1, math.MaxInt32)
	}
	return int32(b.rand.IntN(3))
}

func (b *diffBuilder) user() string {
	return pick(b, b.script.name("alice"), b.script.name("bob"), "")
}

func (b *diffBuilder) anyGroup() string {
	groups := b.script.groups()
	return groups[b.rand.IntN(len(groups))]
}

func (b *diffBuilder) anyTransaction() string {
	ids := append(b.script.transactions(), b.script.name("missing"))
	return ids[b.rand.IntN(len(ids))]
}

// transactionalID is the producer's own; the last producer has none.
func (b *diffBuilder) transactionalID() any {
	if slices.Contains(b.script.transactions(), b.producer) {
		return b.producer
	}
	return nil
}

func (b *diffBuilder) producerNow() diffProducer {
	if p, ok := b.peer.producers[b.producer]; ok {
		return p
	}
	return diffProducer{-1, -1}
}

func (b *diffBuilder) memberID() string {
	if isConsumerGroup(b.group) {
		return b.member
	}
	return b.peer.members[b.member]
}

func (b *diffBuilder) generation() int32 {
	right := int32(-1)
	if isConsumerGroup(b.group) {
		if epoch, ok := b.peer.epochs[b.member]; ok {
			right = epoch
		}
	} else if g, ok := b.peer.joined[b.group]; ok {
		right = g
	}
	return pick(b, right, right, right, -1, right+1, right-1)
}

func (b *diffBuilder) memberEpoch() int32 {
	epoch, ok := b.peer.epochs[b.member]
	if !ok || b.oneIn(5) {
		return 0
	}
	return pick(b, epoch, epoch, epoch, -1, -2, epoch+1, epoch-1)
}

var diffConfigs = map[string][]string{
	"cleanup.policy":                          {"delete", "compact", "compact,delete", "", "odd"},
	"retention.ms":                            {"86400000", "-1", "-2", "many"},
	"retention.bytes":                         {"-1", "1073741824", "x"},
	"segment.bytes":                           {"1048576", "2000000", "10", "-1"},
	"max.message.bytes":                       {"1000000", "300", "-1", "100"}, // less than a marker's 78 bytes keeps a transaction of Kafka from ending
	"compression.type":                        {"producer", "uncompressed", "odd"},
	"min.insync.replicas":                     {"1", "2", "0"},
	"message.timestamp.type":                  {"CreateTime", "LogAppendTime", "odd"},
	"message.timestamp.before.max.ms":         {"9223372036854775807", "1000", "-1"},
	"message.timestamp.after.max.ms":          {"3600000", "9223372036854775807", "-1"},
	"unclean.leader.election.enable":          {"false", "true", "perhaps"},
	"min.cleanable.dirty.ratio":               {"0.5", "0", "1", "2"},
	"delete.retention.ms":                     {"86400000", "0", "-1"},
	"index.interval.bytes":                    {"4096", "0", "-1"},
	"flush.messages":                          {"9223372036854775807", "1", "0"},
	"preallocate":                             {"false", "true", "1"},
	"follower.replication.throttled.replicas": {"", "*", "0:1", "none"},
	"no.such.config":                          {"1"},
}

func (b *diffBuilder) configName() string {
	names := make([]string, 0, len(diffConfigs))
	for name := range diffConfigs {
		names = append(names, name)
	}
	slices.Sort(names)
	return names[b.rand.IntN(len(names))]
}

// records are one batch, now and then one that is wrong.
func (b *diffBuilder) records(topic string, partition int32) []byte {
	now := b.producerNow()
	batch := kmsg.RecordBatch{Magic: 2, ProducerID: -1, ProducerEpoch: -1, FirstSequence: -1, FirstTimestamp: b.script.stamp + int64(b.rand.IntN(10))}
	count := 1 + b.rand.IntN(3)
	if !b.oneIn(3) {
		batch.ProducerID, batch.ProducerEpoch = now.id, now.epoch
		next := b.script.sequence[sequenceKey(b.producer, topic, partition)]
		batch.FirstSequence = pick(b, next, next, next, next, next+1, max(0, next-1), 0)
		if now.id >= 0 && b.transactionalID() != nil && !b.oneIn(8) {
			batch.Attributes |= 1 << 4
		}
	}
	for i := range count {
		r := kmsg.Record{OffsetDelta: int32(i), TimestampDelta64: int64(i), Value: fmt.Appendf(nil, "value %d", b.rand.IntN(1000))}
		if !b.oneIn(4) {
			r.Key = fmt.Appendf(nil, "key %d", b.rand.IntN(4))
		}
		r.Length = int32(len(r.AppendTo(nil)) - 1)
		batch.Records = r.AppendTo(batch.Records)
	}
	batch.NumRecords, batch.LastOffsetDelta = int32(count), int32(count-1)
	batch.MaxTimestamp = batch.FirstTimestamp + int64(count-1)
	batch.Length = int32(49 + len(batch.Records))
	if b.oneIn(10) {
		switch b.rand.IntN(7) {
		case 0:
			batch.Attributes |= 1 << 5 // control
		case 1:
			batch.LastOffsetDelta++
		case 2:
			batch.Magic = 1
		case 3:
			batch.FirstOffset = 7
		case 4:
			batch.NumRecords = 0
		case 5:
			batch.FirstTimestamp = b.script.stamp + 48*3600*1000
			batch.MaxTimestamp = batch.FirstTimestamp + int64(count-1)
		case 6:
			return nil
		}
	}
	raw := sealed(batch)
	if b.oneIn(30) {
		raw[17]++ // the checksum
	}
	if b.oneIn(30) {
		raw = raw[:len(raw)-1-b.rand.IntN(len(raw)-1)]
	}
	return raw
}

// sealed is a batch with its checksum.
func sealed(batch kmsg.RecordBatch) []byte {
	raw := batch.AppendTo(nil)
	endian.BigEndian.PutUint32(raw[17:], crc32.Checksum(raw[21:], crc32.MakeTable(crc32.Castagnoli)))
	return raw
}

func sequenceKey(producer, topic string, partition int32) string {
	return fmt.Sprintf("%s %s %d", producer, topic, partition)
}

// spared are fields that only say how long to wait, or whose odd values would make a call wait.
var spared = map[string]bool{"Version": true, "UnknownTags": true, "TimeoutMillis": true, "MaxWaitMillis": true, "MinBytes": true, "SessionTimeoutMillis": true,
	"RebalanceTimeoutMillis": true, "Acks": true, "ReplicaID": true, "ReplicaState": true, "AllowAutoTopicCreation": true, "ValidateOnly": true, "TransactionVersion": true,
	"CoordinatorEpoch": true, "Records": true, "Op": true, "Name": true, "SessionEpoch": true, "SessionID": true, "LastFetchedEpoch": true, "ReplicaDirectoryID": true, "HighWatermark": true}

// spoil gives one field of the request an odd value.
func (b *diffBuilder) spoil(req kmsg.Request) {
	var fields []reflect.Value
	collect(reflect.ValueOf(req).Elem(), &fields)
	if len(fields) == 0 {
		return
	}
	v := fields[b.rand.IntN(len(fields))]
	choice := b.rand.IntN(4)
	switch v.Kind() {
	case reflect.String:
		v.SetString([]string{"", "odd", strings.Repeat("o", 300), "a b/c"}[choice])
	case reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		max := int64(1)<<(v.Type().Bits()-1) - 1
		v.SetInt([]int64{-1, 0, max, -2}[choice])
	case reflect.Bool:
		v.SetBool(!v.Bool())
	case reflect.Pointer:
		v.SetZero()
	case reflect.Slice:
		if choice == 0 && v.Len() > 0 && !slices.Contains(onceOnly, kmsg.Key(b.key)) {
			v.Set(reflect.Append(v, v.Index(0))) // twice the same
		} else if choice == 1 {
			v.SetZero()
		}
	}
}

// onceOnly are APIs in which a topic or partition named twice would change the state by which of the two counts.
var onceOnly = []kmsg.Key{kmsg.Produce, kmsg.DeleteRecords, kmsg.OffsetCommit, kmsg.TxnOffsetCommit, kmsg.AddPartitionsToTxn, kmsg.CreatePartitions, kmsg.AlterClientQuotas}

func collect(v reflect.Value, fields *[]reflect.Value) {
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			if !spared[v.Type().Field(i).Name] {
				collect(v.Field(i), fields)
			}
		}
	case reflect.Slice:
		*fields = append(*fields, v)
		for i := range v.Len() {
			if v.Type().Elem().Kind() == reflect.Struct {
				collect(v.Index(i), fields)
			}
		}
	case reflect.Pointer:
		*fields = append(*fields, v)
	case reflect.String, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64, reflect.Bool:
		*fields = append(*fields, v)
	}
}
