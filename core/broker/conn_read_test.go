package broker_test

import (
	"bytes"
	"testing"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/milldam/milldam/core/record"
	"github.com/milldam/milldam/core/vfs"
)

// TestPipelinedRequestsOfEverySize sends requests behind each other that end everywhere in the reader's buffer, fit into it to the byte, and do not: what is in
// the log is what was sent, although the memory is used again.
func TestPipelinedRequestsOfEverySize(t *testing.T) {
	r := start(t, vfs.NewMem())
	_, err := kadm.NewClient(r.client(t)).CreateTopic(within(t), 1, 1, nil, "t")
	must(t, err)
	sizes := []int{1, 100, 16 << 10, 64 << 10, 1, 71 << 10, 7, 200 << 10, 64 << 10, 64 << 10, 3, 500 << 10}
	for n := 72<<10 - 200; n <= 72<<10+8; n++ {
		if n%13 == 0 {
			sizes = append(sizes, n)
		}
	}
	var sent [][]byte
	var stream []byte
	for i, size := range sizes {
		value := bytes.Repeat([]byte{byte('a' + i%26)}, size)
		var b record.Builder
		b.Reset(record.NewBatchOptions())
		b.Append(1000, nil, value)
		batch, err := b.Build(nil)
		must(t, err)
		sent, stream = append(sent, value), append(stream, kmsg.NewRequestFormatter().AppendRequest(nil, produceTo(-1, batch, "t"), 77)...)
	}
	conn := r.dial(t)
	written := make(chan error, 1)
	go func() { _, err := conn.Write(stream); written <- err }()
	for i := range sent {
		resp := kmsg.NewPtrProduceResponse()
		resp.SetVersion(9)
		must(t, readResponse(conn, resp))
		if p := resp.Topics[0].Partitions[0]; p.ErrorCode != 0 || p.BaseOffset != int64(i) {
			t.Fatalf("request %d of %d bytes: %+v", i, sizes[i], p)
		}
	}
	must(t, <-written)
	consumer := r.client(t, kgo.ConsumeTopics("t"), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	for got := 0; got < len(sent); {
		fetches := consumer.PollFetches(within(t))
		must(t, fetches.Err())
		fetches.EachRecord(func(r *kgo.Record) {
			if !bytes.Equal(r.Value, sent[got]) {
				t.Fatalf("record %d has %d bytes, begins with %.10q; sent were %d of %.1q", got, len(r.Value), r.Value, len(sent[got]), sent[got])
			}
			got++
		})
	}
}
