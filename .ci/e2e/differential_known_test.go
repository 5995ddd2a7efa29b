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
	when func(a answered, diff difference) bool
}

// answered is a call with both answers as lines.
type answered struct {
	req            kmsg.Request // as Apache Kafka got it
	kafka, milldam map[string]string
}

var knownDifferences = []knownDifference{
	{"an element that a request names twice", func(a answered, diff difference) bool {
		return diff.kafka == "(absent)" && saysNothingNew(a.milldam, diff.path)
	}},
	{"`eligible.leader.replicas.version`", func(a answered, diff difference) bool {
		return isAPI(a.req, kmsg.ApiVersions) && unknownFeature.MatchString(diff.path)
	}},
	{"that Kafka refuses it comes from eligible leader replicas", func(a answered, diff difference) bool {
		if removesMinISR(a.req) && diff.path == "Resources[BROKER].ErrorCode" && diff.kafka == "INVALID_CONFIG" {
			return diff.milldam == "NONE"
		}
		return strings.Contains(diff.path, "[min.insync.replicas") && (strings.Contains(diff.path, "Source") || strings.Contains(diff.path, "Synonyms"))
	}},
	{"a marker that cannot be made, with producer id or epoch -1", func(a answered, diff difference) bool {
		return impossibleMarker(a.req) && (diff.kafka == "UNKNOWN_SERVER_ERROR" || diff.milldam == "UNKNOWN_SERVER_ERROR" || diff.kafka == "(absent)")
	}},
	{"a marker without partitions is left out of the answer", func(a answered, _ difference) bool {
		return isAPI(a.req, kmsg.WriteTxnMarkers) && a.kafka["connection"] == noAnswer && (emptyMarker(a.req) || hollowMarker(a))
	}},
	{"a resource of a type that does not exist, or one named twice", func(a answered, diff difference) bool {
		return oddResource(a.req) && (diff.path == "connection" || diff.milldam == "INVALID_REQUEST" || diff.kafka == "INVALID_REQUEST" || diff.kafka == "(absent)" || diff.milldam == "(absent)")
	}},
	{"with an operation of no known number all of a request is INVALID_REQUEST", func(a answered, diff difference) bool {
		r, ok := a.req.(*kmsg.IncrementalAlterConfigsRequest)
		return ok && diff.milldam == "INVALID_REQUEST" && slices.ContainsFunc(r.Resources, func(res kmsg.IncrementalAlterConfigsRequestResource) bool {
			return slices.ContainsFunc(res.Configs, func(c kmsg.IncrementalAlterConfigsRequestResourceConfig) bool { return c.Op < 0 || c.Op > 3 })
		})
	}},
	{"a rule or filter with a number that no rule can have", func(a answered, diff difference) bool {
		return oddACLs(a.req) && (strings.HasPrefix(diff.path, "connection") || diff.kafka == "UNKNOWN_SERVER_ERROR" || diff.kafka == "(absent)" || diff.milldam == "INVALID_REQUEST")
	}},
	{"may place partitions otherwise than Kafka's", func(a answered, diff difference) bool {
		return isAPI(a.req, kmsg.ConsumerGroupHeartbeat, kmsg.ConsumerGroupDescribe) && strings.Contains(diff.path, "Assignment.") && strings.Contains(diff.path, "Partitions")
	}},
	{"records that cannot be decompressed are CORRUPT_MESSAGE", func(a answered, diff difference) bool {
		return isAPI(a.req, kmsg.Produce) && strings.HasSuffix(diff.path, ".ErrorCode") && diff.kafka == "UNKNOWN_SERVER_ERROR" && slices.Contains([]string{"CORRUPT_MESSAGE", "UNSUPPORTED_COMPRESSION_TYPE", "INVALID_RECORD"}, diff.milldam)
	}},
	{"versions 0 to 2 are refused for each partition", func(a answered, diff difference) bool {
		_, closed := a.kafka["connection"]
		return isAPI(a.req, kmsg.Produce) && a.req.GetVersion() < 3 && (closed || diff.kafka == "(absent)") && onlyRefused(a.milldam, "UNSUPPORTED_VERSION")
	}},
	{"illegal `acks` are INVALID_REQUIRED_ACKS for every partition", func(a answered, diff difference) bool {
		r, ok := a.req.(*kmsg.ProduceRequest)
		return ok && (r.Acks < -1 || r.Acks > 1) && strings.HasSuffix(diff.path, ".ErrorCode") && diff.milldam == "INVALID_REQUIRED_ACKS" && onlyRefused(a.milldam, diff.milldam) &&
			diff.kafka != "NONE"
	}},
	{"a topic with an id of zeros is UNKNOWN_TOPIC_ID", func(a answered, diff difference) bool {
		return zeroID(a.req) && (diff.path == "connection" || diff.kafka == "(absent)" || diff.path == "ErrorCode" && diff.kafka == "UNKNOWN_SERVER_ERROR")
	}},
	{"a request of brokers that names a transaction twice", func(a answered, diff difference) bool {
		return oddTransactions(a.req) && (diff.kafka == noAnswer || diff.kafka == "(absent)" || diff.milldam == "(absent)")
	}},
	{"an isolation level that does not exist is INVALID_REQUEST", func(a answered, diff difference) bool {
		return oddIsolation(a.req) && (diff.milldam == "INVALID_REQUEST" || diff.path == "ErrorCode" || diff.milldam == "(absent)" || diff.kafka == "(absent)")
	}},
	{"sizes of the internal topics", func(a answered, diff difference) bool {
		return isAPI(a.req, kmsg.DescribeLogDirs) && strings.HasSuffix(diff.path, ".Size") && strings.Contains(diff.path, "Topics[__")
	}},
	{"an empty topic name is INVALID_TOPIC_EXCEPTION", func(a answered, _ difference) bool {
		r, ok := a.req.(*kmsg.DescribeTopicPartitionsRequest)
		return ok && slices.ContainsFunc(r.Topics, func(t kmsg.DescribeTopicPartitionsRequestTopic) bool { return t.Topic == "" }) &&
			a.kafka["Topics[].ErrorCode"] == "UNKNOWN_SERVER_ERROR" && a.milldam["Topics[].ErrorCode"] == "INVALID_TOPIC_EXCEPTION"
	}},
	{"Kafka refuses a request for more than 10,000 in all", func(a answered, diff difference) bool {
		r, ok := a.req.(*kmsg.CreateTopicsRequest)
		return ok && diff.kafka == "POLICY_VIOLATION" && slices.ContainsFunc(r.Topics, func(t kmsg.CreateTopicsRequestTopic) bool { return t.NumPartitions > 10_000 })
	}},
	{"more partitions than a topic may have are INVALID_PARTITIONS", func(a answered, diff difference) bool {
		r, ok := a.req.(*kmsg.CreatePartitionsRequest)
		return ok && diff.kafka == "UNKNOWN_SERVER_ERROR" && slices.ContainsFunc(r.Topics, func(t kmsg.CreatePartitionsRequestTopic) bool { return t.Count > tooManyPartitions })
	}},
	{"a partition that a request names twice is answered twice, as each asks", func(a answered, diff difference) bool {
		if !isAPI(a.req, kmsg.Fetch) {
			return false
		}
		if repeated.MatchString(diff.path) {
			return diff.kafka == "(absent)"
		}
		for n := 1; ; n++ { // Kafka's answer is one of ours
			at := partitionID.ReplaceAllString(diff.path, fmt.Sprintf("Partitions[$1/%d]", n))
			value, there := a.milldam[at]
			if !there || value == diff.kafka {
				return there
			}
		}
	}},
	{"a topic without a name and an id is UNKNOWN_TOPIC_ID", func(a answered, _ difference) bool {
		r, ok := a.req.(*kmsg.MetadataRequest)
		return ok && a.kafka["ControllerID"] == "-1" && a.milldam["Topics[].ErrorCode"] == "UNKNOWN_TOPIC_ID" && slices.ContainsFunc(r.Topics, func(t kmsg.MetadataRequestTopic) bool {
			return t.Topic == nil && t.TopicID == [16]byte{}
		})
	}},
	{"one request may alter both mechanisms of a user", func(a answered, diff difference) bool {
		r, ok := a.req.(*kmsg.AlterUserSCRAMCredentialsRequest)
		return ok && diff.kafka == "DUPLICATE_RESOURCE" && namesUserTwice(r)
	}},
	{"an answer may end before the log does", func(a answered, diff difference) bool { // compareRecords reads on
		return isAPI(a.req, kmsg.Fetch) && strings.Contains(diff.path, ".RecordBatches[") && !strings.HasSuffix(diff.path, ".RecordBatches[0]") && diff.milldam == "(absent)"
	}},
	{"records that are null are INVALID_RECORD", func(a answered, diff difference) bool {
		return nullRecords(a.req) && (diff.path == "connection" || diff.kafka == "(absent)")
	}},
	{"topics without an id are answered one by one", func(a answered, diff difference) bool {
		zeros := 0
		switch r := a.req.(type) {
		case *kmsg.ProduceRequest:
			for _, t := range r.Topics {
				if r.Version >= 13 && t.TopicID == [16]byte{} {
					zeros++
				}
			}
		case *kmsg.OffsetCommitRequest:
			for _, t := range r.Topics {
				if r.Version >= 10 && t.TopicID == [16]byte{} {
					zeros++
				}
			}
		}
		return zeros > 1 && (strings.HasPrefix(diff.path, "Topics[]") || strings.HasPrefix(diff.path, "Topics[/"))
	}},
	{"path of a log folder", func(a answered, diff difference) bool {
		return isAPI(a.req, kmsg.DescribeLogDirs) && strings.HasSuffix(diff.path, ".Dir")
	}},
}

// onlyRefused tells an answer in which every code is the one, and nothing was done.
func onlyRefused(answer map[string]string, code string) bool {
	for path, value := range answer {
		if strings.HasSuffix(path, ".ErrorCode") && value != code || strings.HasSuffix(path, ".BaseOffset") && value != "-1" {
			return false
		}
	}
	return true
}

// saysNothingNew tells that an element at a path is there a second time, with the same in it.
func saysNothingNew(answer map[string]string, element string) bool {
	if !repeated.MatchString(element) {
		return false
	}
	first := repeated.ReplaceAllString(element, "]")
	for path, value := range answer {
		if rest, ok := strings.CutPrefix(path, element); ok && answer[first+rest] != value {
			return false
		}
	}
	return true
}

// mayBeUnanswered tells the requests that Kafka may leave without an answer.
func mayBeUnanswered(req kmsg.Request) bool {
	return emptyMarker(req) || manyMarkers(req) || zeroID(req) || nullRecords(req) || oddTransactions(req) || isAPI(req, kmsg.AlterConfigs) && oddResource(req)
}

func nullRecords(req kmsg.Request) bool {
	r, ok := req.(*kmsg.ProduceRequest)
	return ok && slices.ContainsFunc(r.Topics, hasNull)
}

// namesEntityTwice tells that a request alters the quotas of an entity in two places, of which Kafka heeds one.
func namesEntityTwice(r *kmsg.AlterClientQuotasRequest) bool {
	seen := map[string]bool{}
	for _, e := range r.Entries {
		names := map[string]string{} // the last of a type counts
		for _, part := range e.Entity {
			names[part.Type] = "the default"
			if part.Name != nil {
				names[part.Type] = fmt.Sprintf("%q", *part.Name)
			}
		}
		id := fmt.Sprint(names) // in the order of the types
		if seen[id] {
			return true
		}
		seen[id] = true
	}
	return false
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

// manyMarkers tells a request of more than one marker: when Kafka skips some of them it never answers.
func manyMarkers(req kmsg.Request) bool {
	r, ok := req.(*kmsg.WriteTxnMarkersRequest)
	return ok && len(r.Markers) > 1
}

// hollowMarker tells an answer to more than one marker in which, in Milldam's words, one at least had no partition that exists.
func hollowMarker(a answered) bool {
	r, ok := a.req.(*kmsg.WriteTxnMarkersRequest)
	unknown := 0
	for path, value := range a.milldam {
		if strings.HasSuffix(path, ".ErrorCode") && value == "UNKNOWN_TOPIC_OR_PARTITION" {
			unknown++
		}
	}
	return ok && len(r.Markers) > 1 && unknown > 0
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

// removesMinISR tells an AlterConfigs request for the brokers' defaults that does not name min.insync.replicas, which Kafka sets there.
func removesMinISR(req kmsg.Request) bool {
	r, ok := req.(*kmsg.AlterConfigsRequest)
	return ok && slices.ContainsFunc(r.Resources, func(res kmsg.AlterConfigsRequestResource) bool {
		return res.ResourceType == kmsg.ConfigResourceTypeBroker && res.ResourceName == "" &&
			!slices.ContainsFunc(res.Configs, func(c kmsg.AlterConfigsRequestResourceConfig) bool { return c.Name == "min.insync.replicas" })
	})
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

var partitionID = regexp.MustCompile(`Partitions\[(\d+)\]`)

// stampedAtOnce tells two brokers that stamped the same records apart: which of them is the latest depends on whether two fell into one millisecond.
func stampedAtOnce(a answered, diff difference) bool {
	at, ok := strings.CutSuffix(diff.path, ".Offset")
	return ok && isAPI(a.req, kmsg.ListOffsets) && a.kafka[at+".Timestamp"] == ofBroker && a.milldam[at+".Timestamp"] == ofBroker
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
