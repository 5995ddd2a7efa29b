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
	{"an element that a request names twice", func(req kmsg.Request, diff difference) bool {
		return isAPI(req, kmsg.AlterClientQuotas) && twiceOfOneType(req.(*kmsg.AlterClientQuotasRequest)) && strings.Contains(diff.path, "Entity[")
	}},
	{"`eligible.leader.replicas.version`", func(req kmsg.Request, diff difference) bool {
		return isAPI(req, kmsg.ApiVersions) && strings.Contains(diff.path, "Features[")
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
	{"an operation of no known number is INVALID_REQUEST", func(req kmsg.Request, diff difference) bool {
		return isAPI(req, kmsg.IncrementalAlterConfigs) && diff.kafka == "UNKNOWN_SERVER_ERROR"
	}},
	{"a rule or filter with a number that no rule can have", func(req kmsg.Request, diff difference) bool {
		return isAPI(req, kmsg.CreateACLs, kmsg.DescribeACLs, kmsg.DeleteACLs) && (strings.HasPrefix(diff.path, "connection") || diff.kafka == "UNKNOWN_SERVER_ERROR" || diff.kafka == "(absent)" || diff.milldam == "INVALID_REQUEST")
	}},
	{"may place partitions otherwise than Kafka's", func(req kmsg.Request, diff difference) bool {
		return isAPI(req, kmsg.ConsumerGroupHeartbeat, kmsg.ConsumerGroupDescribe) && strings.Contains(diff.path, "Assignment.") && strings.Contains(diff.path, "Partitions")
	}},
	{"records that cannot be decompressed are CORRUPT_MESSAGE", func(req kmsg.Request, diff difference) bool {
		return isAPI(req, kmsg.Produce) && diff.kafka == "UNKNOWN_SERVER_ERROR"
	}},
	{"versions 0 to 2 are refused for each partition", func(req kmsg.Request, _ difference) bool {
		return isAPI(req, kmsg.Produce) && req.GetVersion() < 3
	}},
	{"a number with a fraction among the configs", func(req kmsg.Request, diff difference) bool {
		return isAPI(req, kmsg.CreateTopics) && strings.HasSuffix(diff.path, ".Configs[min.cleanable.dirty.ratio].Value") && diff.milldam == diff.kafka+".0"
	}},
	{"the records of a refused batch are not listed", func(req kmsg.Request, diff difference) bool {
		return isAPI(req, kmsg.Produce) && diff.kafka == "has it" && strings.Contains(diff.path, "].ErrorRecords[") || strings.HasSuffix(diff.path, "].LogStartOffset") && isAPI(req, kmsg.Produce) && diff.milldam == "-1"
	}},
	{"illegal `acks` are INVALID_REQUIRED_ACKS for every partition", func(req kmsg.Request, diff difference) bool {
		return isAPI(req, kmsg.Produce) && diff.milldam == "INVALID_REQUIRED_ACKS"
	}},
	{"a topic with an id of zeros is UNKNOWN_TOPIC_ID", func(req kmsg.Request, diff difference) bool {
		return isAPI(req, kmsg.Fetch) && (diff.path == "ErrorCode" && diff.kafka == "UNKNOWN_SERVER_ERROR" || diff.kafka == "(absent)" && strings.HasPrefix(diff.path, "Topics"))
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
	{"a group of which nothing was kept is not there", func(req kmsg.Request, diff difference) bool {
		switch kmsg.Key(req.Key()) {
		case kmsg.DescribeGroups:
			return diff.kafka == "NONE" && diff.milldam == "GROUP_ID_NOT_FOUND" || diff.kafka == "Empty" && diff.milldam == "Dead"
		case kmsg.ListGroups:
			return diff.kafka == "has it" && strings.HasPrefix(diff.path, "Groups[")
		case kmsg.DeleteGroups, kmsg.OffsetDelete:
			return diff.kafka == "NONE" && diff.milldam == "GROUP_ID_NOT_FOUND"
		}
		return false
	}},
	{"path of a log folder", func(req kmsg.Request, diff difference) bool {
		return isAPI(req, kmsg.DescribeLogDirs) && strings.HasSuffix(diff.path, ".Dir")
	}},
}

// mayBeUnanswered tells the requests that Kafka may leave without an answer.
func mayBeUnanswered(req kmsg.Request) bool {
	return emptyMarker(req) || oddTransactions(req) || isAPI(req, kmsg.AlterConfigs) && oddResource(req)
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

// twiceOfOneType tells a request with an entity of two values for one type.
func twiceOfOneType(req *kmsg.AlterClientQuotasRequest) bool {
	return slices.ContainsFunc(req.Entries, func(e kmsg.AlterClientQuotasRequestEntry) bool {
		types := map[string]bool{}
		for _, part := range e.Entity {
			types[part.Type] = true
		}
		return len(types) < len(e.Entity)
	})
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
