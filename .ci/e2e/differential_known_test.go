package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// knownDifference is a difference that docs/reference/protocol.md lists with its reason.
type knownDifference struct {
	row  string // text of the row
	when func(req kmsg.Request, diff difference) bool
}

var knownDifferences = []knownDifference{
	{"an element that a request names twice", func(_ kmsg.Request, diff difference) bool {
		return repeated.MatchString(diff.path) && (diff.kafka == "(absent)" || diff.milldam == "(absent)")
	}},
	{"`eligible.leader.replicas.version`", func(req kmsg.Request, diff difference) bool {
		return isAPI(req, kmsg.ApiVersions) && unknownFeature.MatchString(diff.path)
	}},
	{"that Kafka refuses it comes from eligible leader replicas", func(_ kmsg.Request, diff difference) bool {
		return strings.Contains(diff.path, "[min.insync.replicas") && (strings.Contains(diff.path, "Source") || strings.Contains(diff.path, "Synonyms"))
	}},
	{"a marker that cannot be made, with producer id or epoch -1", func(req kmsg.Request, diff difference) bool {
		return impossibleMarker(req) && (diff.kafka == "UNKNOWN_SERVER_ERROR" || diff.milldam == "UNKNOWN_SERVER_ERROR" || diff.kafka == "(absent)")
	}},
	{"a marker without partitions is left out of the answer", func(req kmsg.Request, diff difference) bool {
		return emptyMarker(req) && (diff.path == "connection" || diff.kafka == noAnswer || diff.kafka == "(absent)" || diff.milldam == "(absent)")
	}},
	{"a resource of a type that does not exist, or one named twice", func(req kmsg.Request, diff difference) bool {
		return oddResource(req) && (diff.path == "connection" || diff.milldam == "INVALID_REQUEST" || diff.kafka == "INVALID_REQUEST" || diff.kafka == "(absent)" || diff.milldam == "(absent)")
	}},
	{"with an operation of no known number all of a request is INVALID_REQUEST", func(req kmsg.Request, diff difference) bool {
		r, ok := req.(*kmsg.IncrementalAlterConfigsRequest)
		return ok && diff.milldam == "INVALID_REQUEST" && slices.ContainsFunc(r.Resources, func(res kmsg.IncrementalAlterConfigsRequestResource) bool {
			return slices.ContainsFunc(res.Configs, func(c kmsg.IncrementalAlterConfigsRequestResourceConfig) bool { return c.Op < 0 || c.Op > 3 })
		})
	}},
	{"a rule or filter with a number that no rule can have", func(req kmsg.Request, diff difference) bool {
		return oddACLs(req) && (strings.HasPrefix(diff.path, "connection") || diff.kafka == "UNKNOWN_SERVER_ERROR" || diff.kafka == "(absent)" || diff.milldam == "INVALID_REQUEST")
	}},
	{"may place partitions otherwise than Kafka's", func(req kmsg.Request, diff difference) bool {
		return isAPI(req, kmsg.ConsumerGroupHeartbeat, kmsg.ConsumerGroupDescribe) && strings.Contains(diff.path, "Assignment.") && strings.Contains(diff.path, "Partitions")
	}},
	{"records that cannot be decompressed are CORRUPT_MESSAGE", func(req kmsg.Request, diff difference) bool {
		return isAPI(req, kmsg.Produce) && diff.kafka == "UNKNOWN_SERVER_ERROR" && slices.Contains([]string{"CORRUPT_MESSAGE", "UNSUPPORTED_COMPRESSION_TYPE", "INVALID_RECORD"}, diff.milldam)
	}},
	{"versions 0 to 2 are refused for each partition", func(req kmsg.Request, _ difference) bool {
		return isAPI(req, kmsg.Produce) && req.GetVersion() < 3
	}},
	{"illegal `acks` are INVALID_REQUIRED_ACKS for every partition", func(req kmsg.Request, diff difference) bool {
		r, ok := req.(*kmsg.ProduceRequest)
		return ok && (r.Acks < -1 || r.Acks > 1) && diff.milldam == "INVALID_REQUIRED_ACKS"
	}},
	{"a topic with an id of zeros is UNKNOWN_TOPIC_ID", func(req kmsg.Request, diff difference) bool {
		return zeroID(req) && (diff.path == "connection" || diff.kafka == "(absent)" || diff.path == "ErrorCode" && diff.kafka == "UNKNOWN_SERVER_ERROR")
	}},
	{"a request of brokers that names a transaction twice", func(req kmsg.Request, diff difference) bool {
		return oddTransactions(req) && (diff.kafka == noAnswer || diff.kafka == "(absent)" || diff.milldam == "(absent)")
	}},
	{"an isolation level that does not exist is INVALID_REQUEST", func(req kmsg.Request, diff difference) bool {
		return oddIsolation(req) && (diff.milldam == "INVALID_REQUEST" || diff.path == "ErrorCode" || diff.milldam == "(absent)" || diff.kafka == "(absent)")
	}},
	{"sizes of the internal topics", func(req kmsg.Request, diff difference) bool {
		return isAPI(req, kmsg.DescribeLogDirs) && strings.HasSuffix(diff.path, ".Size") && strings.Contains(diff.path, "Topics[__")
	}},
	{"an empty topic name is INVALID_TOPIC_EXCEPTION", func(req kmsg.Request, diff difference) bool {
		r, ok := req.(*kmsg.DescribeTopicPartitionsRequest)
		return ok && slices.ContainsFunc(r.Topics, func(t kmsg.DescribeTopicPartitionsRequestTopic) bool { return t.Topic == "" }) &&
			(diff.kafka == "UNKNOWN_SERVER_ERROR" || diff.kafka == "(absent)" || strings.HasSuffix(diff.path, ".AuthorizedOperations") || strings.HasSuffix(diff.path, ".TopicID"))
	}},
	{"Kafka refuses a request for more than 10,000 in all", func(req kmsg.Request, diff difference) bool {
		r, ok := req.(*kmsg.CreateTopicsRequest)
		return ok && diff.kafka == "POLICY_VIOLATION" && slices.ContainsFunc(r.Topics, func(t kmsg.CreateTopicsRequestTopic) bool { return t.NumPartitions > 10_000 })
	}},
	{"one request may alter both mechanisms of a user", func(req kmsg.Request, diff difference) bool {
		r, ok := req.(*kmsg.AlterUserSCRAMCredentialsRequest)
		return ok && diff.kafka == "DUPLICATE_RESOURCE" && namesUserTwice(r)
	}},
	{"an answer may end before the log does", func(req kmsg.Request, diff difference) bool { // compareRecords reads on
		return isAPI(req, kmsg.Fetch) && strings.Contains(diff.path, ".RecordBatches[") && !strings.HasSuffix(diff.path, ".RecordBatches[0]") && diff.milldam == "(absent)"
	}},
	{"records that are null are INVALID_RECORD", func(req kmsg.Request, diff difference) bool {
		return nullRecords(req) && (diff.path == "connection" || diff.kafka == "(absent)")
	}},
	{"topics without an id are answered one by one", func(req kmsg.Request, diff difference) bool {
		r, ok := req.(*kmsg.ProduceRequest)
		zeros := 0
		if ok && r.Version >= 13 {
			for _, t := range r.Topics {
				if t.TopicID == [16]byte{} {
					zeros++
				}
			}
		}
		return zeros > 1 && strings.HasPrefix(diff.path, "Topics[]")
	}},
	{"path of a log folder", func(req kmsg.Request, diff difference) bool {
		return isAPI(req, kmsg.DescribeLogDirs) && strings.HasSuffix(diff.path, ".Dir")
	}},
}

// mayBeUnanswered tells the requests that Kafka may leave without an answer.
func mayBeUnanswered(req kmsg.Request) bool {
	return emptyMarker(req) || zeroID(req) || nullRecords(req) || oddTransactions(req) || isAPI(req, kmsg.AlterConfigs) && oddResource(req)
}

func nullRecords(req kmsg.Request) bool {
	r, ok := req.(*kmsg.ProduceRequest)
	return ok && slices.ContainsFunc(r.Topics, func(t kmsg.ProduceRequestTopic) bool {
		return slices.ContainsFunc(t.Partitions, func(p kmsg.ProduceRequestTopicPartition) bool { return p.Records == nil })
	})
}

func namesUserTwice(r *kmsg.AlterUserSCRAMCredentialsRequest) bool {
	seen := map[string]int{}
	for _, u := range r.Deletions {
		seen[u.Name]++
	}
	for _, u := range r.Upsertions {
		seen[u.Name]++
	}
	for _, n := range seen {
		if n > 1 {
			return true
		}
	}
	return false
}

// zeroID tells a Fetch request for a topic whose id is none.
func zeroID(req kmsg.Request) bool {
	r, ok := req.(*kmsg.FetchRequest)
	return ok && r.Version >= 13 && slices.ContainsFunc(r.Topics, func(t kmsg.FetchRequestTopic) bool { return t.TopicID == [16]byte{} })
}

func impossibleMarker(req kmsg.Request) bool {
	r, ok := req.(*kmsg.WriteTxnMarkersRequest)
	return ok && slices.ContainsFunc(r.Markers, func(m kmsg.WriteTxnMarkersRequestMarker) bool { return m.ProducerID < 0 || m.ProducerEpoch < 0 })
}

// emptyMarker tells a request with a marker, or none, for no partition.
func emptyMarker(req kmsg.Request) bool {
	r, ok := req.(*kmsg.WriteTxnMarkersRequest)
	return ok && (len(r.Markers) == 0 || slices.ContainsFunc(r.Markers, func(m kmsg.WriteTxnMarkersRequestMarker) bool {
		return !slices.ContainsFunc(m.Topics, func(t kmsg.WriteTxnMarkersRequestMarkerTopic) bool { return len(t.Partitions) > 0 })
	}))
}

// oddIsolation tells a request with an isolation level that does not exist, or not in its version.
func oddIsolation(req kmsg.Request) bool {
	switch r := req.(type) {
	case *kmsg.FetchRequest:
		return r.IsolationLevel < 0 || r.IsolationLevel > 1 || r.Version < 7 && r.IsolationLevel != 0
	case *kmsg.ListOffsetsRequest:
		return r.IsolationLevel < 0 || r.IsolationLevel > 1
	}
	return false
}

// oddTransactions tells a request of brokers that names a transaction twice, or none.
func oddTransactions(req kmsg.Request) bool {
	r, ok := req.(*kmsg.AddPartitionsToTxnRequest)
	if !ok || r.Version < 4 {
		return false
	}
	ids := map[string]bool{}
	for _, txn := range r.Transactions {
		ids[txn.TransactionalID] = true
	}
	return len(ids) == 0 || len(ids) < len(r.Transactions)
}

// oddResource tells a request with a resource of a type that does not exist, or one named twice.
func oddResource(req kmsg.Request) bool {
	type resource struct {
		kind kmsg.ConfigResourceType
		name string
	}
	var all []resource
	switch r := req.(type) {
	case *kmsg.DescribeConfigsRequest:
		for _, res := range r.Resources {
			all = append(all, resource{res.ResourceType, res.ResourceName})
		}
	case *kmsg.AlterConfigsRequest:
		for _, res := range r.Resources {
			all = append(all, resource{res.ResourceType, res.ResourceName})
		}
	case *kmsg.IncrementalAlterConfigsRequest:
		for _, res := range r.Resources {
			all = append(all, resource{res.ResourceType, res.ResourceName})
		}
	}
	seen := map[resource]bool{}
	for _, res := range all {
		if seen[res] || !slices.Contains([]kmsg.ConfigResourceType{2, 4, 8, 16, 32}, res.kind) {
			return true
		}
		seen[res] = true
	}
	return false
}

// unknownFeature are the features of Kafka that are not there, and the levels of its metadata.
var unknownFeature = regexp.MustCompile(`Features\[[^]]*(kraft|eligible\.leader\.replicas|share|streams|metadata)\.version`)

// oddACLs tells that a request has a number that no rule, or no filter, can have.
func oddACLs(req kmsg.Request) bool {
	odd := func(least, pattern0 int8, kind kmsg.ACLResourceType, pattern kmsg.ACLResourcePatternType, operation kmsg.ACLOperation, permission kmsg.ACLPermissionType) bool {
		return int8(kind) < least || kind > 7 || int8(pattern) < pattern0 || pattern > 4 || int8(operation) < least || operation > 15 || int8(permission) < least || permission > 3
	}
	switch r := req.(type) {
	case *kmsg.CreateACLsRequest:
		return slices.ContainsFunc(r.Creations, func(c kmsg.CreateACLsRequestCreation) bool {
			return odd(2, 3, c.ResourceType, c.ResourcePatternType, c.Operation, c.PermissionType)
		})
	case *kmsg.DescribeACLsRequest:
		return odd(1, 1, r.ResourceType, r.ResourcePatternType, r.Operation, r.PermissionType)
	case *kmsg.DeleteACLsRequest:
		return slices.ContainsFunc(r.Filters, func(f kmsg.DeleteACLsRequestFilter) bool {
			return odd(1, 1, f.ResourceType, f.ResourcePatternType, f.Operation, f.PermissionType)
		})
	}
	return false
}

func isAPI(req kmsg.Request, keys ...kmsg.Key) bool {
	for _, key := range keys {
		if req.Key() == int16(key) {
			return true
		}
	}
	return false
}

const deletedRecordRow = "the record with the largest timestamp is one that is still there"

// ofDeletedRecords tells a difference about the record with the largest timestamp where records were deleted.
func (d *differential) ofDeletedRecords(req kmsg.Request, diff difference) bool {
	r, ok := req.(*kmsg.ListOffsetsRequest)
	if !ok || diff.milldam != "-1" {
		return false
	}
	for _, t := range r.Topics {
		for _, p := range t.Partitions {
			if strings.HasPrefix(diff.path, fmt.Sprintf("Topics[%s].Partitions[%d].", t.Topic, p.Partition)) {
				return p.Timestamp == -3 && d.kafka.starts[fmt.Sprintf("%s %d", t.Topic, p.Partition)] > 0
			}
		}
	}
	return false
}

// repeated is the path of an element that others of the same name come before.
var repeated = regexp.MustCompile(`/\d+\]`)

// TestKnownDifferencesAreDocumented holds the list of differences against the page that gives the reasons.
func TestKnownDifferencesAreDocumented(t *testing.T) {
	page, err := os.ReadFile(filepath.Join("..", "..", "docs", "reference", "protocol.md"))
	if err != nil {
		t.Fatal(err)
	}
	for _, k := range append([]knownDifference{{row: deletedRecordRow}}, knownDifferences...) {
		if !strings.Contains(string(page), k.row) {
			t.Errorf("protocol.md has no row with %q", k.row)
		}
	}
}
