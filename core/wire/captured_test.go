package wire

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/milldam/milldam/core/record"
)

// capturedFrame is a line of testdata/golden: what a client or Apache Kafka sent, see README.md there.
type capturedFrame struct {
	key, version int16
	request      bool
	client       string
	frame        []byte
}

func (c capturedFrame) String() string {
	direction := "response"
	if c.request {
		direction = "request"
	}
	return fmt.Sprintf("%s %d, %s of %s", kmsg.NameForKey(c.key), c.version, direction, c.client)
}

func captured(t *testing.T) []capturedFrame {
	t.Helper()
	files, err := filepath.Glob("testdata/golden/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("no captures: %v", err)
	}
	var all []capturedFrame
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(text)) {
			var c capturedFrame
			var direction, digits string
			if _, err := fmt.Sscanf(line, "%d %s %s %s", &c.version, &direction, &c.client, &digits); err != nil {
				t.Fatalf("%s: %v", file, err)
			}
			if _, err := fmt.Sscanf(filepath.Base(file), "%d-", &c.key); err != nil {
				t.Fatalf("%s: %v", file, err)
			}
			if c.frame, err = hex.DecodeString(digits); err != nil {
				t.Fatalf("%s: %v", file, err)
			}
			c.request = direction == "request"
			all = append(all, c)
		}
	}
	return all
}

// TestCapturedRequestsAreUnderstood decodes what real clients sent, and encodes it again to the same bytes.
func TestCapturedRequestsAreUnderstood(t *testing.T) {
	for _, c := range captured(t) {
		if !c.request {
			continue
		}
		if r, served := RangeOf(c.key); !served || c.version < r.Min || c.version > r.Max {
			continue
		}
		h, req, err := ParseRequest(bytes.Clone(c.frame))
		if err != nil {
			t.Errorf("%v: %v", c, err)
			continue
		}
		if h.Key != c.key || h.Version != c.version {
			t.Errorf("%v: the header says %+v", c, h)
		}
		body := req.AppendTo(nil)
		if c.key == int16(kmsg.AlterUserSCRAMCredentials) && c.client == "librdkafka" {
			body = append(body, 0) // it writes the tags of its end twice; Kafka reads over that too
		}
		if head := len(c.frame) - len(body); head < minHeaderBytes+len(h.ClientID) || head > minHeaderBytes+len(h.ClientID)+1 || !bytes.Equal(c.frame[head:], body) {
			t.Errorf("%v\nwas     %x\nencoded %x", c, c.frame, body)
		}
	}
}

// TestEveryVersionServedIsCaptured finds the APIs and versions that no real client has said, or Apache Kafka answered, in the captures.
func TestEveryVersionServedIsCaptured(t *testing.T) {
	type kind struct {
		key, version int16
		request      bool
	}
	seen := map[kind]bool{}
	for _, c := range captured(t) {
		seen[kind{c.key, c.version, c.request}] = true
	}
	// Brokers send these to each other; TestGoldenTransactionFrames has them.
	ofBrokers := map[[2]int16]bool{{int16(kmsg.AddPartitionsToTxn), 4}: true, {int16(kmsg.WriteTxnMarkers), 1}: true}
	for _, r := range Served() {
		for v := r.Min; v <= r.Max; v++ {
			if ofBrokers[[2]int16{r.Key, v}] {
				continue
			}
			if !seen[kind{r.Key, v, true}] {
				t.Errorf("no request of %s %d", kmsg.NameForKey(r.Key), v)
			}
			refused := r.Key == int16(kmsg.Produce) && v < 3 // Kafka closes the connection
			if !seen[kind{r.Key, v, false}] && !refused {
				t.Errorf("no response to %s %d", kmsg.NameForKey(r.Key), v)
			}
		}
	}
}

// TestCapturedResponsesAreMadeAgain decodes what Apache Kafka answered, and encodes it to the same bytes, as our own answers are.
func TestCapturedResponsesAreMadeAgain(t *testing.T) {
	for _, c := range captured(t) {
		if c.request {
			continue
		}
		req := kmsg.RequestForKey(c.key)
		req.SetVersion(c.version)
		resp := req.ResponseKind()
		if r, _ := RangeOf(c.key); c.key == int16(kmsg.ApiVersions) && c.version > r.Max {
			resp.SetVersion(0) // who asks for more can read the first one
		}
		head := 4
		if flexibleHeader(resp) {
			head++
		}
		if err := resp.ReadFrom(c.frame[head:]); err != nil {
			t.Errorf("%v: %v", c, err)
			continue
		}
		frame := AppendResponse(nil, int32(binary.BigEndian.Uint32(c.frame)), resp)[4:]
		if fetched, ok := resp.(*kmsg.FetchResponse); ok {
			frame = asOurs(t, fetched, int32(binary.BigEndian.Uint32(c.frame)))[4:]
		}
		if !bytes.Equal(frame, c.frame) {
			t.Errorf("%v\nwas     %x\nencoded %x", c, c.frame, frame)
		}
	}
}

// asOurs writes a Fetch response with the encoder that the broker uses for it.
func asOurs(t *testing.T, in *kmsg.FetchResponse, correlation int32) []byte {
	t.Helper()
	out := FetchResponse{Version: in.Version, Error: Code(in.ErrorCode), SessionID: in.SessionID, Throttle: in.ThrottleMillis}
	for _, topic := range in.Topics {
		to := FetchTopic{Name: topic.Topic, ID: topic.TopicID}
		for _, p := range topic.Partitions {
			row := FetchPartition{Partition: p.Partition, Error: Code(p.ErrorCode), HighWatermark: record.Offset(p.HighWatermark), LastStable: record.Offset(p.LastStableOffset),
				LogStart: record.Offset(p.LogStartOffset), ReadCommitted: p.AbortedTransactions != nil}
			for _, a := range p.AbortedTransactions {
				row.Aborted = append(row.Aborted, AbortedTxn{ProducerID: record.ProducerID(a.ProducerID), First: record.Offset(a.FirstOffset)})
			}
			if len(p.RecordBatches) > 0 {
				row.Records = payload(p.RecordBatches)
			}
			to.Partitions = append(to.Partitions, row)
		}
		out.Topics = append(out.Topics, to)
	}
	var w bytes.Buffer
	if _, err := out.WriteFrame(&w, correlation); err != nil {
		t.Fatal(err)
	}
	return w.Bytes()
}
