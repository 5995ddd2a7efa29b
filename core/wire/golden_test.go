package wire

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// TestGoldenTransactionFrames reads what real clients and Apache Kafka sent, and writes it again to the same bytes: every version of the transaction APIs that they
// send is understood as they mean it.
func TestGoldenTransactionFrames(t *testing.T) {
	text, err := os.ReadFile("testdata/txn-frames.txt")
	if err != nil {
		t.Fatal(err)
	}
	versions := map[string]bool{}
	for line := range strings.Lines(string(text)) {
		var direction, sender, body string
		var key, version int16
		if n, _ := fmt.Sscan(line, &direction, &sender, &key, &version, &body); n != 5 {
			continue // the heading
		}
		frame, err := hex.DecodeString(body)
		if err != nil {
			t.Fatal(err)
		}
		versions[fmt.Sprint(direction, key, version)] = true
		var again []byte
		if direction == "request" {
			again, err = requestAgain(frame, key, version)
		} else {
			again, err = responseAgain(frame, key, version)
		}
		if err != nil || !bytes.Equal(again, frame) {
			t.Errorf("%s of %s, %s %d: %v\n%x became\n%x", direction, sender, kmsg.NameForKey(key), version, err, frame, again)
		}
	}
	for _, key := range []kmsg.Key{kmsg.AddPartitionsToTxn, kmsg.AddOffsetsToTxn, kmsg.EndTxn, kmsg.WriteTxnMarkers} {
		r, _ := RangeOf(int16(key))
		for v := r.Min; v <= r.Max; v++ {
			if !versions[fmt.Sprint("request", key.Int16(), v)] || !versions[fmt.Sprint("response", key.Int16(), v)] {
				t.Errorf("no frame of %s %d", key.Name(), v)
			}
		}
	}
}

func requestAgain(frame []byte, key, version int16) ([]byte, error) {
	h, req, err := ParseRequest(frame)
	if err != nil {
		return nil, err
	}
	if h.Key != key || h.Version != version {
		return nil, fmt.Errorf("it is %d %d", h.Key, h.Version)
	}
	return kmsg.NewRequestFormatter(kmsg.FormatterClientID(h.ClientID)).AppendRequest(nil, req, h.Correlation)[4:], nil
}

func responseAgain(frame []byte, key, version int16) ([]byte, error) {
	resp := kmsg.RequestForKey(key).ResponseKind()
	resp.SetVersion(version)
	body := frame[4:]
	if resp.IsFlexible() {
		body = body[1:]
	}
	if err := resp.ReadFrom(body); err != nil {
		return nil, err
	}
	correlation := int32(frame[0])<<24 | int32(frame[1])<<16 | int32(frame[2])<<8 | int32(frame[3])
	return AppendResponse(nil, correlation, resp)[4:], nil
}
