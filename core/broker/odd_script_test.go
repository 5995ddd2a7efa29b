package broker_test

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// TestOddRequestsAnswerAsKafka sends requests that no client should send and compares the error codes with those of Apache Kafka 4.3.1; see
// TestTransactionsAnswerAsKafka.
func TestOddRequestsAnswerAsKafka(t *testing.T) {
	compareWithKafka(t, "testdata/odd-kafka-4.3.1.txt", func(s *txnScript) {
		s.createTopic()
		for _, part := range []struct {
			title string
			play  func(*txnScript)
		}{{"markers", playOddMarkers}, {"offsets of partitions that are not there", playOddCommits}, {"produce without acknowledgement", playOddProduce}, {"groups", playOddGroups},
			{"topics", playOddTopics}, {"configs", playOddConfigs}, {"descriptions", playOddDescriptions}} {
			s.chapter(part.title)
			part.play(s)
		}
	})
}

// odd sends a request over a connection of its own and writes down every error code of the answer; a code of 0 only where it stands at the top.
func (s *txnScript) odd(what string, version int16, req kmsg.Request) kmsg.Response {
	s.t.Helper()
	resp := s.alone(version, req)
	if resp == nil {
		s.say("  %s v%d, %s: no answer", kmsg.NameForKey(req.Key()), version, what)
		return nil
	}
	s.say("  %s v%d, %s: %s", kmsg.NameForKey(req.Key()), version, what, strings.Join(codesOf(s.t, resp), ", "))
	return resp
}

// alone sends a request over a connection of its own; nil is that it is not answered.
func (s *txnScript) alone(version int16, req kmsg.Request) kmsg.Response {
	s.t.Helper()
	conn, err := net.Dial("tcp", s.conn.RemoteAddr().String())
	must(s.t, err)
	defer conn.Close()
	_, err = conn.Write(frameOf(version, req))
	must(s.t, err)
	must(s.t, conn.SetReadDeadline(time.Now().Add(10*time.Second)))
	var size [4]byte
	if _, err := io.ReadFull(conn, size[:]); err != nil {
		return nil
	}
	body := make([]byte, binary.BigEndian.Uint32(size[:]))
	_, err = io.ReadFull(conn, body)
	must(s.t, err)
	resp := req.ResponseKind()
	resp.SetVersion(version)
	if body = body[4:]; resp.IsFlexible() {
		body = body[1:]
	}
	must(s.t, resp.ReadFrom(body))
	return resp
}

// codesOf lists the error codes of a response with their place in it.
func codesOf(t *testing.T, resp kmsg.Response) []string {
	t.Helper()
	text, err := json.Marshal(resp)
	must(t, err)
	var tree any
	must(t, json.Unmarshal(text, &tree))
	var codes []string
	var walk func(path string, v any)
	walk = func(path string, v any) {
		switch v := v.(type) {
		case map[string]any:
			for key, value := range v {
				if code, isNumber := value.(float64); key == "ErrorCode" && isNumber {
					codes = append(codes, path+codeName(int16(code)))
					continue
				}
				walk(path+key+" ", value)
			}
		case []any:
			for i, value := range v {
				walk(fmt.Sprintf("%s%d ", path, i), value)
			}
		}
	}
	walk("", tree)
	slices.Sort(codes)
	return codes
}

func playOddMarkers(s *txnScript) {
	for _, p := range []producer{{id: -1, epoch: -1}, {id: -1, epoch: 0}, {id: stranger + 1, epoch: -1}, {id: stranger + 1, epoch: -2}, {id: stranger + 1, epoch: 0}, {id: -5, epoch: 0}} {
		req := kmsg.NewPtrWriteTxnMarkersRequest()
		req.Markers = []kmsg.WriteTxnMarkersRequestMarker{{ProducerID: p.id, ProducerEpoch: p.epoch,
			Topics: []kmsg.WriteTxnMarkersRequestMarkerTopic{{Topic: s.topic, Partitions: []int32{1}}}}}
		s.odd(fmt.Sprintf("producer %d, epoch %d", p.id, p.epoch), 1, req)
		req.Markers[0].Topics[0].Partitions = []int32{1000}
		s.odd(fmt.Sprintf("producer %d, epoch %d, a partition that is not there", p.id, p.epoch), 1, req)
	}
	twice := kmsg.NewPtrWriteTxnMarkersRequest()
	for _, partitions := range [][]int32{{0}, {2}, {2}} {
		twice.Markers = append(twice.Markers, kmsg.WriteTxnMarkersRequestMarker{ProducerID: stranger + 2, ProducerEpoch: 0,
			Topics: []kmsg.WriteTxnMarkersRequestMarkerTopic{{Topic: s.topic, Partitions: partitions}}})
	}
	s.odd("a producer three times", 1, twice)
}

func playOddCommits(s *txnScript) {
	for _, version := range []int16{2, 6, 9} {
		req := kmsg.NewPtrOffsetCommitRequest()
		req.Group = s.id
		for _, topic := range []string{s.topic, "not-there"} {
			t := kmsg.NewOffsetCommitRequestTopic()
			t.Topic = topic
			for _, index := range []int32{-1, 0, 1, 1000} {
				p := kmsg.NewOffsetCommitRequestTopicPartition()
				p.Partition, p.Offset = index, 5
				t.Partitions = append(t.Partitions, p)
			}
			req.Topics = append(req.Topics, t)
		}
		byPartition(s, "partitions -1, 0, 1 and 1000 of a topic and of none", version, req)
		req.Topics = req.Topics[1:]
		req.Group = ""
		byPartition(s, "of none, and no group", version, req)
	}
	for _, version := range []int16{0, 3, 5} {
		req := kmsg.NewPtrTxnOffsetCommitRequest()
		req.Group, req.TransactionalID, req.ProducerID, req.ProducerEpoch, req.Generation = s.id, s.id, stranger, 0, -1
		for _, topic := range []string{s.topic, "not-there"} {
			t := kmsg.NewTxnOffsetCommitRequestTopic()
			t.Topic = topic
			for _, index := range []int32{-1, 1000} {
				p := kmsg.NewTxnOffsetCommitRequestTopicPartition()
				p.Partition, p.Offset = index, 5
				t.Partitions = append(t.Partitions, p)
			}
			req.Topics = append(req.Topics, t)
		}
		byPartition(s, "partitions -1 and 1000 of a topic and of none", version, req)
	}
}

// byPartition is odd for offsets: Kafka answers what it refuses before the rest, so that codes are told by partition.
func byPartition(s *txnScript, what string, version int16, req kmsg.Request) {
	s.t.Helper()
	var lines []string
	add := func(topic string, partition int32, code int16) {
		lines = append(lines, fmt.Sprintf("%s-%d %s", topic, partition, codeName(code)))
	}
	switch r := s.request(version, req).(type) {
	case *kmsg.OffsetCommitResponse:
		for _, t := range r.Topics {
			for _, p := range t.Partitions {
				add(t.Topic, p.Partition, p.ErrorCode)
			}
		}
	case *kmsg.TxnOffsetCommitResponse:
		for _, t := range r.Topics {
			for _, p := range t.Partitions {
				add(t.Topic, p.Partition, p.ErrorCode)
			}
		}
	}
	slices.Sort(lines)
	s.say("  %s v%d, %s: %s", kmsg.NameForKey(req.Key()), version, what, strings.Join(lines, ", "))
}

// playOddProduce: of a request without acknowledgement a client learns by its connection alone.
func playOddProduce(s *txnScript) {
	good := batch(nobody, -1, false)
	for _, in := range []struct {
		what      string
		topic     string
		partition int32
		records   []byte
	}{{"a good batch", s.topic, 0, good}, {"a topic that is not there", "not-there", 0, good}, {"a partition that is not there", s.topic, 1000, good},
		{"a batch with a wrong checksum", s.topic, 0, append(slices.Clone(good[:len(good)-1]), good[len(good)-1]^1)}, {"a wrong name", "a b", 0, good}} {
		for _, version := range []int16{3, 9} {
			req := kmsg.NewPtrProduceRequest()
			req.Acks, req.TimeoutMillis = 0, 5000
			t, p := kmsg.NewProduceRequestTopic(), kmsg.NewProduceRequestTopicPartition()
			t.Topic, p.Partition, p.Records = in.topic, in.partition, in.records
			t.Partitions = append(t.Partitions, p)
			req.Topics = append(req.Topics, t)
			conn, err := net.Dial("tcp", s.conn.RemoteAddr().String())
			must(s.t, err)
			_, err = conn.Write(frameOf(version, req))
			must(s.t, err)
			// The answer to a second request, or the end, is what the client sees.
			conn.Write(frameOf(0, kmsg.NewPtrApiVersionsRequest())) // may fail when it is closed already
			must(s.t, conn.SetReadDeadline(time.Now().Add(10*time.Second)))
			state := "goes on"
			if _, err := io.ReadFull(conn, make([]byte, 4)); err != nil {
				state = "is closed"
			}
			conn.Close()
			s.say("  Produce v%d, %s: the connection %s", version, in.what, state)
		}
	}
}

func playOddGroups(s *txnScript) {
	for _, group := range []string{"", s.id + "-none"} {
		what := fmt.Sprintf("group of %d bytes", len(group[:min(len(group), 1)]))
		beat := kmsg.NewPtrHeartbeatRequest()
		beat.Group, beat.MemberID = group, "m"
		s.odd(what, 3, beat)
		leave := kmsg.NewPtrLeaveGroupRequest()
		leave.Group, leave.MemberID = group, "m"
		s.odd(what, 1, leave)
		several := kmsg.NewPtrLeaveGroupRequest()
		several.Group = group
		m := kmsg.NewLeaveGroupRequestMember()
		m.MemberID = "m"
		several.Members = append(several.Members, m)
		s.odd(what, 4, several)
		sync := kmsg.NewPtrSyncGroupRequest()
		sync.Group, sync.MemberID = group, "m"
		s.odd(what, 3, sync)
		offsets := kmsg.NewPtrOffsetDeleteRequest()
		offsets.Group = group
		s.odd(what, 0, offsets)
		remove := kmsg.NewPtrDeleteGroupsRequest()
		remove.Groups = []string{group}
		s.odd(what, 2, remove)
		modern := kmsg.NewPtrConsumerGroupDescribeRequest()
		modern.Groups = []string{group}
		s.odd(what, 0, modern)
		classic := kmsg.NewPtrDescribeGroupsRequest()
		classic.Groups = []string{group}
		s.odd(what, 5, classic)
	}
	join := func(what string, change func(*kmsg.JoinGroupRequest)) {
		r := kmsg.NewPtrJoinGroupRequest()
		r.Group, r.MemberID, r.ProtocolType, r.SessionTimeoutMillis, r.RebalanceTimeoutMillis = s.id+"-"+what, "", "consumer", 10_000, 10_000
		p := kmsg.NewJoinGroupRequestProtocol()
		p.Name, p.Metadata = "range", []byte{0, 0, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff}
		r.Protocols = append(r.Protocols, p)
		change(r)
		s.odd(what, 5, r)
	}
	join("no group", func(r *kmsg.JoinGroupRequest) { r.Group = "" })
	join("no protocols", func(r *kmsg.JoinGroupRequest) { r.Protocols = nil })
	join("no protocol type", func(r *kmsg.JoinGroupRequest) { r.ProtocolType = "" })
	join("no protocols of an unknown member", func(r *kmsg.JoinGroupRequest) { r.Protocols, r.MemberID = nil, "m" })
	join("no protocol type of an unknown member", func(r *kmsg.JoinGroupRequest) { r.ProtocolType, r.MemberID = "", "m" })
	join("an unknown member", func(r *kmsg.JoinGroupRequest) { r.MemberID = "m" })
	join("a session of a millisecond", func(r *kmsg.JoinGroupRequest) { r.SessionTimeoutMillis = 1 })
	join("a session of a day", func(r *kmsg.JoinGroupRequest) { r.SessionTimeoutMillis = 86_400_000 })
	join("a session of a millisecond, and no protocols", func(r *kmsg.JoinGroupRequest) { r.SessionTimeoutMillis, r.Protocols = 1, nil })
	join("a session of a millisecond, and no group", func(r *kmsg.JoinGroupRequest) { r.SessionTimeoutMillis, r.Group = 1, "" })
	beat := func(what string, change func(*kmsg.ConsumerGroupHeartbeatRequest)) {
		r := kmsg.NewPtrConsumerGroupHeartbeatRequest()
		r.Group, r.MemberID, r.RebalanceTimeoutMillis = s.id+"-beat", "m", 30_000
		r.SubscribedTopicNames, r.Topics = []string{s.topic}, []kmsg.ConsumerGroupHeartbeatRequestTopic{}
		change(r)
		s.odd(what, 0, r)
	}
	unknown := kmsg.StringPtr("unknown")
	beat("an assignor that is not there", func(r *kmsg.ConsumerGroupHeartbeatRequest) { r.ServerAssignor = unknown })
	beat("an assignor that is not there, later", func(r *kmsg.ConsumerGroupHeartbeatRequest) { r.ServerAssignor, r.MemberEpoch = unknown, 7 })
	beat("an assignor that is not there, and no rebalance timeout", func(r *kmsg.ConsumerGroupHeartbeatRequest) { r.ServerAssignor, r.RebalanceTimeoutMillis = unknown, -1 })
}

func playOddTopics(s *txnScript) {
	create := func(what string, change func(*kmsg.CreateTopicsRequest)) {
		req := kmsg.NewPtrCreateTopicsRequest()
		req.ValidateOnly, req.TimeoutMillis = true, 5000
		t := kmsg.NewCreateTopicsRequestTopic()
		t.Topic, t.NumPartitions, t.ReplicationFactor = s.topic+"-new", 1, 1
		req.Topics = append(req.Topics, t)
		change(req)
		s.odd(what, 5, req)
	}
	config := func(name string, value *string) []kmsg.CreateTopicsRequestTopicConfig {
		return []kmsg.CreateTopicsRequestTopicConfig{{Name: name, Value: value}}
	}
	create("a wrong name and no partitions", func(r *kmsg.CreateTopicsRequest) { r.Topics[0].Topic, r.Topics[0].NumPartitions = "a b", 0 })
	create("there already, and no partitions", func(r *kmsg.CreateTopicsRequest) { r.Topics[0].Topic, r.Topics[0].NumPartitions = s.topic, 0 })
	create("there already, and a config without a value", func(r *kmsg.CreateTopicsRequest) {
		r.Topics[0].Topic, r.Topics[0].Configs = s.topic, config("retention.ms", nil)
	})
	create("there already, and a wrong config", func(r *kmsg.CreateTopicsRequest) {
		r.Topics[0].Topic, r.Topics[0].Configs = s.topic, config("no.such", kmsg.StringPtr("1"))
	})
	create("no partitions and a wrong config", func(r *kmsg.CreateTopicsRequest) {
		r.Topics[0].NumPartitions, r.Topics[0].Configs = 0, config("no.such", kmsg.StringPtr("1"))
	})
	create("no replicas and a wrong config", func(r *kmsg.CreateTopicsRequest) {
		r.Topics[0].ReplicationFactor, r.Topics[0].Configs = 0, config("no.such", kmsg.StringPtr("1"))
	})
	create("a config without a value", func(r *kmsg.CreateTopicsRequest) { r.Topics[0].Configs = config("retention.ms", nil) })
	create("an assignment and a number", func(r *kmsg.CreateTopicsRequest) {
		r.Topics[0].ReplicaAssignment = []kmsg.CreateTopicsRequestTopicReplicaAssignment{{Partition: 0, Replicas: []int32{1}}}
	})
	create("the same topic twice", func(r *kmsg.CreateTopicsRequest) { r.Topics = append(r.Topics, r.Topics[0]) })
	for _, version := range []int16{4, 6} {
		remove := kmsg.NewPtrDeleteTopicsRequest()
		remove.TimeoutMillis = 5000
		remove.TopicNames = []string{"not-there", "not-there"}
		for _, name := range remove.TopicNames {
			t := kmsg.NewDeleteTopicsRequestTopic()
			t.Topic = &name
			remove.Topics = append(remove.Topics, t)
		}
		s.odd("an unknown topic twice", version, remove)
	}
	twice := kmsg.NewPtrDeleteTopicsRequest()
	for range 2 {
		t := kmsg.NewDeleteTopicsRequestTopic()
		t.Topic = &s.topic
		twice.Topics = append(twice.Topics, t)
	}
	s.odd("a topic twice", 6, twice)
	byID := kmsg.NewPtrDeleteTopicsRequest()
	for range 2 {
		t := kmsg.NewDeleteTopicsRequestTopic()
		t.TopicID = [16]byte{1, 2, 3}
		byID.Topics = append(byID.Topics, t)
	}
	s.odd("an unknown id twice", 6, byID)
	for _, kind := range []int8{0, 2, -1} {
		elect := kmsg.NewPtrElectLeadersRequest()
		elect.ElectionType = kind
		elect.Topics = []kmsg.ElectLeadersRequestTopic{{Topic: s.topic, Partitions: []int32{0, 1000}}, {Topic: "not-there", Partitions: []int32{0}}}
		s.odd(fmt.Sprintf("an election of type %d", kind), 2, elect)
	}
	mixed := kmsg.NewPtrMetadataRequest()
	mixed.Topics = []kmsg.MetadataRequestTopic{{TopicID: [16]byte{1, 2, 3}}, {Topic: &s.topic}}
	s.odd("an unknown id and a name", 12, mixed)
	update := kmsg.NewPtrUpdateFeaturesRequest()
	for _, level := range []int16{1, 2} {
		f := kmsg.NewUpdateFeaturesRequestFeatureUpdate()
		f.Feature, f.MaxVersionLevel, f.UpgradeType = "transaction.version", level, 1
		update.FeatureUpdates = append(update.FeatureUpdates, f)
	}
	update.ValidateOnly = true
	s.odd("a feature twice", 1, update)
}

func playOddConfigs(s *txnScript) {
	incremental := func(what string, change func(*kmsg.IncrementalAlterConfigsRequestResource)) {
		req := kmsg.NewPtrIncrementalAlterConfigsRequest()
		req.ValidateOnly = true
		r := kmsg.NewIncrementalAlterConfigsRequestResource()
		r.ResourceType, r.ResourceName = kmsg.ConfigResourceTypeTopic, s.topic
		r.Configs = []kmsg.IncrementalAlterConfigsRequestResourceConfig{{Name: "retention.ms", Value: kmsg.StringPtr("1000")}}
		change(&r)
		req.Resources = append(req.Resources, r)
		s.odd(what, 1, req)
	}
	type resource = kmsg.IncrementalAlterConfigsRequestResource
	incremental("a topic that is not there", func(r *resource) { r.ResourceName = "not-there" })
	incremental("a topic that is not there, and a wrong key", func(r *resource) { r.ResourceName, r.Configs[0].Name = "not-there", "no.such" })
	incremental("a topic that is not there, and a wrong value", func(r *resource) { r.ResourceName, r.Configs[0].Value = "not-there", kmsg.StringPtr("x") })
	incremental("a topic that is not there, and no value", func(r *resource) { r.ResourceName, r.Configs[0].Value = "not-there", nil })
	incremental("a wrong name", func(r *resource) { r.ResourceName = "a b" })
	incremental("no name", func(r *resource) { r.ResourceName = "" })
	incremental("no value", func(r *resource) { r.Configs[0].Value = nil })
	incremental("a key twice", func(r *resource) { r.Configs = append(r.Configs, r.Configs[0]) })
	incremental("append to what is no list", func(r *resource) { r.Configs[0].Op = kmsg.IncrementalAlterConfigOpAppend })
	incremental("a broker that is not there", func(r *resource) {
		r.ResourceType, r.ResourceName, r.Configs[0].Name = kmsg.ConfigResourceTypeBroker, "77", "log.retention.ms"
	})
	incremental("a broker that is no number", func(r *resource) {
		r.ResourceType, r.ResourceName, r.Configs[0].Name = kmsg.ConfigResourceTypeBroker, "x", "log.retention.ms"
	})
	alter := func(what string, change func(*kmsg.AlterConfigsRequestResource)) {
		req := kmsg.NewPtrAlterConfigsRequest()
		req.ValidateOnly = true
		r := kmsg.NewAlterConfigsRequestResource()
		r.ResourceType, r.ResourceName = kmsg.ConfigResourceTypeTopic, s.topic
		r.Configs = []kmsg.AlterConfigsRequestResourceConfig{{Name: "retention.ms", Value: kmsg.StringPtr("1000")}}
		change(&r)
		req.Resources = append(req.Resources, r)
		s.odd(what, 1, req)
	}
	type full = kmsg.AlterConfigsRequestResource
	alter("a topic that is not there", func(r *full) { r.ResourceName = "not-there" })
	alter("a topic that is not there, and a wrong key", func(r *full) { r.ResourceName, r.Configs[0].Name = "not-there", "no.such" })
	alter("a topic that is not there, and no value", func(r *full) { r.ResourceName, r.Configs[0].Value = "not-there", nil })
	alter("no value", func(r *full) { r.Configs[0].Value = nil })
	alter("no name", func(r *full) { r.ResourceName = "" })
	for _, value := range []string{"0", "1", "0.50", "1e-1", "0.0001", "0.00012"} {
		set := kmsg.NewPtrIncrementalAlterConfigsRequest()
		set.Resources = []kmsg.IncrementalAlterConfigsRequestResource{{ResourceType: kmsg.ConfigResourceTypeTopic, ResourceName: s.topic,
			Configs: []kmsg.IncrementalAlterConfigsRequestResourceConfig{{Name: "min.cleanable.dirty.ratio", Value: &value}, {Name: "retention.ms", Value: kmsg.StringPtr("0077")}}}}
		s.odd("a ratio of "+value, 1, set)
		<-time.After(300 * time.Millisecond) // until a broker that is not its own controller knows it
		get := kmsg.NewPtrDescribeConfigsRequest()
		get.IncludeSynonyms = true
		get.Resources = []kmsg.DescribeConfigsRequestResource{{ResourceType: kmsg.ConfigResourceTypeTopic, ResourceName: s.topic, ConfigNames: []string{"min.cleanable.dirty.ratio", "retention.ms"}}}
		if r, ok := s.odd("the ratio", 4, get).(*kmsg.DescribeConfigsResponse); ok {
			configs := r.Resources[0].Configs
			slices.SortFunc(configs, func(a, b kmsg.DescribeConfigsResponseResourceConfig) int { return strings.Compare(a.Name, b.Name) })
			for _, c := range configs {
				s.say("    %s %s, synonym %s", c.Name, *c.Value, *c.ConfigSynonyms[0].Value)
			}
		}
	}
	describe := func(what string, kind kmsg.ConfigResourceType, name string) {
		req := kmsg.NewPtrDescribeConfigsRequest()
		r := kmsg.NewDescribeConfigsRequestResource()
		r.ResourceType, r.ResourceName, r.ConfigNames = kind, name, []string{"retention.ms"}
		req.Resources = append(req.Resources, r)
		s.odd(what, 4, req)
	}
	describe("a topic that is not there", kmsg.ConfigResourceTypeTopic, "not-there")
	describe("a topic of a wrong name", kmsg.ConfigResourceTypeTopic, "a b")
	describe("a broker that is not there", kmsg.ConfigResourceTypeBroker, "77")
	describe("a broker that is no number", kmsg.ConfigResourceTypeBroker, "x")
	describe("a group without a name", kmsg.ConfigResourceTypeGroupConfig, "")
}

func playOddDescriptions(s *txnScript) {
	for _, topic := range []string{"not-there", "a b"} {
		producers := kmsg.NewPtrDescribeProducersRequest()
		producers.Topics = []kmsg.DescribeProducersRequestTopic{{Topic: topic, Partitions: []int32{0}}}
		s.odd(fmt.Sprintf("topic %q", topic), 0, producers)
		partitions := kmsg.NewPtrDescribeTopicPartitionsRequest()
		partitions.Topics = []kmsg.DescribeTopicPartitionsRequestTopic{{Topic: topic}}
		partitions.ResponsePartitionLimit = 10
		r := s.odd(fmt.Sprintf("topic %q", topic), 0, partitions).(*kmsg.DescribeTopicPartitionsResponse)
		s.say("    authorized operations %d", r.Topics[0].AuthorizedOperations)
	}
	for _, limit := range []int32{0, -1} {
		partitions := kmsg.NewPtrDescribeTopicPartitionsRequest()
		partitions.Topics = []kmsg.DescribeTopicPartitionsRequestTopic{{Topic: s.topic}}
		partitions.ResponsePartitionLimit = limit
		if r, ok := s.odd(fmt.Sprintf("a limit of %d", limit), 0, partitions).(*kmsg.DescribeTopicPartitionsResponse); ok {
			s.say("    %d partitions", len(r.Topics[0].Partitions))
		}
	}
	for _, version := range []int16{1, 5, 7, 8, 9, 11} {
		for _, at := range []int64{-1, -2, -3, -4, -5, -6, -7} {
			for _, partition := range []int32{0, 1000} {
				s.odd(fmt.Sprintf("time %d of partition %d", at, partition), version, listOf(s.topic, partition, at))
			}
		}
	}
}

func listOf(topic string, partition int32, at int64) *kmsg.ListOffsetsRequest {
	req := kmsg.NewPtrListOffsetsRequest()
	t, p := kmsg.NewListOffsetsRequestTopic(), kmsg.NewListOffsetsRequestTopicPartition()
	t.Topic, p.Partition, p.Timestamp = topic, partition, at
	t.Partitions = append(t.Partitions, p)
	req.Topics = append(req.Topics, t)
	return req
}
