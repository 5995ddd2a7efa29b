package broker_test

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/milldam/milldam/core/vfs"
)

// The clients that were listened to numbered their topics and groups; here all have the number 0.
var (
	anyNumber  = regexp.MustCompile(`franz-[0-9]+`)
	topicNames = []string{"franz-0", "franz-00"}
)

func zeroed(name []byte) []byte {
	return append([]byte("franz-"), bytes.Repeat([]byte("0"), len(name)-len("franz-"))...)
}

// capturedRequests are the requests that clients sent to Apache Kafka, one for each API and version, see core/wire.
func capturedRequests(t testing.TB) [][]byte {
	t.Helper()
	files, err := filepath.Glob("../wire/testdata/golden/*.txt")
	must(t, err)
	var requests [][]byte
	for _, name := range files {
		f, err := os.Open(name)
		must(t, err)
		defer f.Close()
		lines := bufio.NewScanner(f)
		lines.Buffer(nil, 1<<20)
		for lines.Scan() {
			if words := strings.Fields(lines.Text()); len(words) == 4 && words[1] == "request" {
				data, err := hex.DecodeString(words[3])
				must(t, err)
				requests = append(requests, anyNumber.ReplaceAllFunc(data, zeroed))
			}
		}
		must(t, lines.Err())
	}
	if len(requests) < 100 {
		t.Fatalf("%d captured requests", len(requests))
	}
	return requests
}

// FuzzRequests sends any request twice to a new broker: it is answered or its connection is closed, nothing panics, and others are served as before. Time is
// that of a bubble, so that a long poll or a rebalance costs none.
func FuzzRequests(f *testing.F) {
	for _, request := range capturedRequests(f) {
		f.Add(request)
	}
	ask := kmsg.NewPtrMetadataRequest()
	ask.SetVersion(4)
	ask.AllowAutoTopicCreation = true
	for _, name := range topicNames {
		ask.Topics = append(ask.Topics, kmsg.MetadataRequestTopic{Topic: &name})
	}
	metadata := kmsg.NewRequestFormatter().AppendRequest(nil, ask, 1)[4:]
	f.Fuzz(func(t *testing.T, request []byte) {
		if len(request) > 64<<10 {
			return
		}
		synctest.Test(t, func(t *testing.T) {
			r := startInMemory(t, vfs.NewMem(), map[string]string{"num.partitions": "1", "offsets.topic.num.partitions": "1", "transaction.state.log.num.partitions": "1"})
			defer r.close()
			if err := r.asks(t, metadata); err != nil { // makes the topics
				t.Fatal(err)
			}
			_ = r.asks(t, request, request) // it may be closed or left waiting
			if err := r.asks(t, metadata); err != nil {
				t.Fatalf("after % x a neighbour gets no answer: %v", request, err)
			}
		})
	})
}

// asks sends requests over a new connection, each after the answer to the one before.
func (r *running) asks(t *testing.T, requests ...[]byte) error {
	t.Helper()
	c, err := r.memory.Dial(t.Context(), "", "")
	must(t, err)
	defer c.Close()
	for _, request := range requests {
		must(t, c.SetDeadline(time.Now().Add(patience)))
		if _, err := c.Write(append(binary.BigEndian.AppendUint32(nil, uint32(len(request))), request...)); err != nil {
			return err
		}
		var size [4]byte
		if _, err := io.ReadFull(c, size[:]); err != nil {
			return err
		}
		if _, err := io.CopyN(io.Discard, c, int64(binary.BigEndian.Uint32(size[:]))); err != nil {
			return err
		}
	}
	return nil
}
