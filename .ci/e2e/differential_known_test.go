package e2e

import (
	"os"
	"path/filepath"
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
		return strings.Contains(diff.path, "/1]") && (diff.kafka == "(absent)" || diff.milldam == "(absent)")
	}},
	{"`eligible.leader.replicas.version`", func(req kmsg.Request, diff difference) bool {
		return isAPI(req, kmsg.ApiVersions) && strings.Contains(diff.path, "Features[")
	}},
	{"that Kafka refuses it comes from eligible leader replicas", func(_ kmsg.Request, diff difference) bool {
		return strings.Contains(diff.path, "[min.insync.replicas") && (strings.Contains(diff.path, "Source") || strings.Contains(diff.path, "Synonyms"))
	}},
	{"a negative producer epoch is INVALID_PRODUCER_EPOCH", func(req kmsg.Request, diff difference) bool {
		return isAPI(req, kmsg.WriteTxnMarkers) && diff.kafka == "UNKNOWN_SERVER_ERROR" && diff.milldam == "INVALID_PRODUCER_EPOCH"
	}},
	{"a resource of a type that does not exist, or one named twice", func(req kmsg.Request, diff difference) bool {
		if isAPI(req, kmsg.DescribeConfigs, kmsg.AlterConfigs, kmsg.IncrementalAlterConfigs) {
			return diff.path == "connection" || diff.kafka == "INVALID_REQUEST" || diff.milldam == "INVALID_REQUEST" || diff.kafka == "(absent)" && strings.HasPrefix(diff.path, "Resources")
		}
		return false
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
	{"illegal `acks` are INVALID_REQUIRED_ACKS for every partition", func(req kmsg.Request, diff difference) bool {
		return isAPI(req, kmsg.Produce) && diff.milldam == "INVALID_REQUIRED_ACKS"
	}},
	{"a topic with an id of zeros is UNKNOWN_TOPIC_ID", func(req kmsg.Request, diff difference) bool {
		return isAPI(req, kmsg.Fetch) && (diff.path == "ErrorCode" && diff.kafka == "UNKNOWN_SERVER_ERROR" || diff.kafka == "(absent)" && strings.HasPrefix(diff.path, "Topics"))
	}},
	{"a request of brokers that names a transaction twice", func(req kmsg.Request, diff difference) bool {
		return isAPI(req, kmsg.AddPartitionsToTxn) && req.GetVersion() >= 4 && (diff.kafka == noAnswer || diff.kafka == "(absent)" || diff.milldam == "(absent)")
	}},
	{"path of a log folder", func(req kmsg.Request, diff difference) bool {
		return isAPI(req, kmsg.DescribeLogDirs) && strings.HasSuffix(diff.path, ".Dir")
	}},
}

func isAPI(req kmsg.Request, keys ...kmsg.Key) bool {
	for _, key := range keys {
		if req.Key() == int16(key) {
			return true
		}
	}
	return false
}

// TestKnownDifferencesAreDocumented holds the list of differences against the page that gives the reasons.
func TestKnownDifferencesAreDocumented(t *testing.T) {
	page, err := os.ReadFile(filepath.Join("..", "..", "docs", "reference", "protocol.md"))
	if err != nil {
		t.Fatal(err)
	}
	for _, k := range knownDifferences {
		if !strings.Contains(string(page), k.row) {
			t.Errorf("protocol.md has no row with %q", k.row)
		}
	}
}
