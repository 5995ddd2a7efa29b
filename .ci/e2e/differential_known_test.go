package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
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
	{"a refusal says why in words where Kafka's says nothing", func(a answered, diff difference) bool {
		of, ok := strings.CutSuffix(diff.path, "ErrorMessage")
		code := a.milldam[of+"ErrorCode"]
		return ok && (diff.kafka == "null" || diff.kafka == "") && diff.milldam == inWords && code != "" && code != "NONE"
	}},
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
		return impossibleMarker(a.req) && strings.HasSuffix(diff.path, ".ErrorCode") && diff.kafka == "UNKNOWN_SERVER_ERROR" && diff.milldam != "(absent)"
	}},
	{"a marker without partitions is left out of the answer", func(a answered, _ difference) bool {
		return isAPI(a.req, kmsg.WriteTxnMarkers) && a.kafka["connection"] == noAnswer && (emptyMarker(a.req) || hollowMarker(a) || repetitiveMarker(a.req))
	}},
	{"beside a resource of a type that does not exist the others are described", func(a answered, diff difference) bool {
		r, ok := a.req.(*kmsg.DescribeConfigsRequest)
		return ok && a.kafka[element(diff.path)+".ErrorCode"] == "INVALID_REQUEST" && slices.ContainsFunc(r.Resources, func(res kmsg.DescribeConfigsRequestResource) bool { return !hasConfigs(res.ResourceType) })
	}},
	{"a request that names a resource twice is answered", func(a answered, _ difference) bool {
		return a.kafka["connection"] == noAnswer && namesResourceTwice(a.req)
	}},
	{"with an operation of no known number all of a request is INVALID_REQUEST", func(a answered, diff difference) bool {
		r, ok := a.req.(*kmsg.IncrementalAlterConfigsRequest)
		return ok && diff.milldam == "INVALID_REQUEST" && slices.ContainsFunc(r.Resources, func(res kmsg.IncrementalAlterConfigsRequestResource) bool {
			return slices.ContainsFunc(res.Configs, hasUnknownOp)
		})
	}},
	{"a rule or filter with UNKNOWN in it, and a rule with ANY or MATCH", func(a answered, diff difference) bool {
		if a.kafka["connection"] == closedConn {
			return slices.ContainsFunc(aclNumbers(a.req), aclNumber.isUnknown)
		}
		return isAPI(a.req, kmsg.CreateACLs) && slices.ContainsFunc(aclNumbers(a.req), aclNumber.isWide) && a.kafka[element(diff.path)+".ErrorCode"] == "UNKNOWN_SERVER_ERROR"
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
		if of, isMessage := strings.CutSuffix(diff.path, "ErrorMessage"); isMessage && ok && illegalAcks(r) {
			return a.milldam[of+"ErrorCode"] != a.kafka[of+"ErrorCode"]
		}
		return ok && illegalAcks(r) && strings.HasSuffix(diff.path, ".ErrorCode") && diff.milldam == "INVALID_REQUIRED_ACKS" && onlyRefused(a.milldam, diff.milldam) &&
			diff.kafka != "NONE"
	}},
	{"topics with an id of zeros are UNKNOWN_TOPIC_ID", func(a answered, _ difference) bool {
		unknown := 0
		for _, value := range a.milldam {
			if value == "UNKNOWN_TOPIC_ID" || value == "UNKNOWN_TOPIC_OR_PARTITION" {
				unknown++
			}
		}
		return zeroIDAmongOthers(a.req) && unknown > 1 && (a.kafka["ErrorCode"] == "UNKNOWN_SERVER_ERROR" || a.kafka["connection"] == noAnswer)
	}},
	{"a request of brokers without a transaction is answered", func(a answered, _ difference) bool {
		r, ok := a.req.(*kmsg.AddPartitionsToTxnRequest)
		return ok && r.Version >= 4 && len(r.Transactions) == 0 && a.kafka["connection"] == noAnswer
	}},
	{"an isolation level that does not exist is INVALID_REQUEST", func(a answered, diff difference) bool {
		switch r := a.req.(type) {
		case *kmsg.FetchRequest:
			odd := r.IsolationLevel < 0 || r.IsolationLevel > 1
			return odd && (a.milldam["ErrorCode"] == "INVALID_REQUEST" || diff.kafka == "UNKNOWN_SERVER_ERROR" && diff.milldam == "INVALID_REQUEST")
		case *kmsg.ListOffsetsRequest:
			return (r.IsolationLevel < 0 || r.IsolationLevel > 1) && diff.kafka == "UNKNOWN_SERVER_ERROR" && diff.milldam == "INVALID_REQUEST"
		}
		return false
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
		if !partitionID.MatchString(diff.path) {
			return false
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
		return ok && a.kafka[element(diff.path)+".ErrorCode"] == "DUPLICATE_RESOURCE" && namesUserTwice(r)
	}},
	{"those that begin in its records or before", func(a answered, diff difference) bool {
		part, _, ok := strings.Cut(diff.path, ".AbortedTransactions[")
		first, err := strconv.ParseInt(a.kafka[diff.path+".FirstOffset"], 10, 64)
		return ok && isAPI(a.req, kmsg.Fetch) && diff.milldam == "(absent)" && err == nil && first >= endOfBatches(a.milldam, part)
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

func hasUnknownOp(c kmsg.IncrementalAlterConfigsRequestResourceConfig) bool {
	return c.Op < 0 || c.Op > 3
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

// endOfBatches is the offset behind the last batch of a partition in an answer.
func endOfBatches(answer map[string]string, part string) (end int64) {
	for path, batch := range answer {
		var base, delta int64
		if n, _ := fmt.Sscanf(batch, "offset %d+%d ", &base, &delta); n == 2 && strings.HasPrefix(path, part+".RecordBatches[") {
			end = max(end, base+delta+1)
		}
	}
	return end
}

// element is the path of the outermost array element on a path.
func element(path string) string {
	before, _, _ := strings.Cut(path, "]")
	return before + "]"
}

// mayBeUnanswered tells the requests that Kafka may leave without an answer.
func mayBeUnanswered(req kmsg.Request) bool {
	r, ok := req.(*kmsg.AddPartitionsToTxnRequest)
	return emptyMarker(req) || manyMarkers(req) || repetitiveMarker(req) || zeroIDAmongOthers(req) || nullRecords(req) || ok && r.Version >= 4 && len(r.Transactions) == 0 || namesResourceTwice(req)
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

// zeroIDAmongOthers tells a Fetch request for more than one partition, of which one at least is of a topic whose id is none.
func zeroIDAmongOthers(req kmsg.Request) bool {
	r, ok := req.(*kmsg.FetchRequest)
	if !ok || r.Version < 13 {
		return false
	}
	zero, all := false, 0
	for _, t := range r.Topics {
		zero = zero || t.TopicID == [16]byte{} && len(t.Partitions) > 0
		all += len(t.Partitions)
	}
	return zero && all > 1
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

// repetitiveMarker tells a request with a marker that names a partition twice.
func repetitiveMarker(req kmsg.Request) bool {
	r, ok := req.(*kmsg.WriteTxnMarkersRequest)
	return ok && slices.ContainsFunc(r.Markers, func(m kmsg.WriteTxnMarkersRequestMarker) bool {
		seen := map[string]bool{}
		for _, t := range m.Topics {
			for _, partition := range t.Partitions {
				at := fmt.Sprint(t.Topic, " ", partition)
				if seen[at] {
					return true
				}
				seen[at] = true
			}
		}
		return false
	})
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

// hasConfigs tells the types of resources that have configs.
func hasConfigs(kind kmsg.ConfigResourceType) bool {
	return slices.Contains([]kmsg.ConfigResourceType{2, 4, 8, 16, 32}, kind)
}

// namesResourceTwice tells an AlterConfigs request with a resource that is there twice; all types that do not exist are one to Kafka.
func namesResourceTwice(req kmsg.Request) bool {
	r, ok := req.(*kmsg.AlterConfigsRequest)
	if !ok {
		return false
	}
	seen := map[string]bool{}
	for _, res := range r.Resources {
		if !hasConfigs(res.ResourceType) {
			res.ResourceType = kmsg.ConfigResourceTypeUnknown
		}
		id := fmt.Sprint(res.ResourceType, " ", res.ResourceName)
		if seen[id] {
			return true
		}
		seen[id] = true
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

// aclNumber is a number of a rule or filter: 0 is UNKNOWN in each of them, 1 is ANY, and 2 MATCH where it is of a pattern.
type aclNumber struct {
	n       int8
	pattern bool
}

func (n aclNumber) isUnknown() bool { return n.n == 0 }
func (n aclNumber) isWide() bool    { return n.n == 1 || n.n == 2 && n.pattern }

func aclNumbers(req kmsg.Request) (all []aclNumber) {
	add := func(kind kmsg.ACLResourceType, pattern kmsg.ACLResourcePatternType, operation kmsg.ACLOperation, permission kmsg.ACLPermissionType) {
		all = append(all, aclNumber{n: int8(kind)}, aclNumber{int8(pattern), true}, aclNumber{n: int8(operation)}, aclNumber{n: int8(permission)})
	}
	switch r := req.(type) {
	case *kmsg.CreateACLsRequest:
		for _, c := range r.Creations {
			add(c.ResourceType, c.ResourcePatternType, c.Operation, c.PermissionType)
		}
	case *kmsg.DescribeACLsRequest:
		add(r.ResourceType, r.ResourcePatternType, r.Operation, r.PermissionType)
	case *kmsg.DeleteACLsRequest:
		for _, f := range r.Filters {
			add(f.ResourceType, f.ResourcePatternType, f.Operation, f.PermissionType)
		}
	}
	return all
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

// ofDeletedRecords tells a difference about the record with the largest timestamp where Kafka names one that was deleted.
func (d *differential) ofDeletedRecords(a answered, diff difference) bool {
	r, ok := a.req.(*kmsg.ListOffsetsRequest)
	if !ok {
		return false
	}
	for _, t := range r.Topics {
		for _, p := range t.Partitions {
			at := fmt.Sprintf("Topics[%s].Partitions[%d].", t.Topic, p.Partition)
			if strings.HasPrefix(diff.path, at) {
				named, err := strconv.ParseInt(a.kafka[at+"Offset"], 10, 64)
				return p.Timestamp == -3 && err == nil && named >= 0 && named < d.kafka.starts[fmt.Sprintf("%s %d", t.Topic, p.Partition)]
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
