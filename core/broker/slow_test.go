package broker_test

import (
	"errors"
	"net"
	"os"
	"runtime"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/milldam/milldam/core/vfs"
)

// TestAClientThatNeverReadsIsHeldUp sends fetches of megabytes and never reads an answer: the broker must stop reading its requests, not gather
// answers for it, and others must not notice.
func TestAClientThatNeverReadsIsHeldUp(t *testing.T) {
	r := start(t, vfs.NewMem())
	neighbour := r.client(t, kgo.ProducerBatchCompression(kgo.NoCompression()))
	for range 8 {
		must(t, neighbour.ProduceSync(within(t), &kgo.Record{Topic: "large", Value: make([]byte, 900_000)}).FirstErr())
	}
	req := kmsg.NewPtrFetchRequest()
	req.SetVersion(11)
	req.MaxBytes, req.MaxWaitMillis, req.SessionEpoch = 50<<20, 0, -1
	topic, p := kmsg.NewFetchRequestTopic(), kmsg.NewFetchRequestTopicPartition()
	topic.Topic, p.PartitionMaxBytes = "large", 50<<20
	topic.Partitions = append(topic.Partitions, p)
	req.Topics = append(req.Topics, topic)
	frame := kmsg.NewRequestFormatter().AppendRequest(nil, req, 1)

	const connections, each = 8, 100_000
	before := heap()
	for range connections {
		conn, err := net.Dial("tcp", r.addr)
		must(t, err)
		t.Cleanup(func() { conn.Close() })
		must(t, conn.SetWriteDeadline(time.Now().Add(300*time.Millisecond)))
		sent := 0
		for ; sent < each && err == nil; sent++ {
			_, err = conn.Write(frame)
		}
		if !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("%d requests were taken from a client that reads no answers: %v", sent, err)
		}
	}
	// 7 MB for each answer, so that one gathered for each request would be thousands of megabytes.
	if grown := heap() - before; grown > 256<<20 {
		t.Errorf("%d MB are held for clients that do not read", grown>>20)
	}
	began := time.Now()
	must(t, neighbour.ProduceSync(within(t), &kgo.Record{Topic: "large", Value: []byte("x")}).FirstErr())
	if took := time.Since(began); took > time.Second {
		t.Errorf("a neighbour waited %s", took)
	}
}

func heap() int64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// TestHalfARequestHoldsNothingUp announces far more than all requests together may take, and sends no more of it.
func TestHalfARequestHoldsNothingUp(t *testing.T) {
	r := start(t, vfs.NewMem())
	neighbour := r.client(t)
	must(t, neighbour.ProduceSync(within(t), &kgo.Record{Topic: "t", Value: []byte("x")}).FirstErr())
	for range 100 {
		conn, err := net.Dial("tcp", r.addr)
		must(t, err)
		t.Cleanup(func() { conn.Close() })
		_, err = conn.Write([]byte{0, 90, 0, 0, 0, 0, 0, 9, 0, 0, 0, 1}) // 5.9 MB
		must(t, err)
	}
	began := time.Now()
	must(t, neighbour.ProduceSync(within(t), &kgo.Record{Topic: "t", Value: []byte("x")}).FirstErr())
	if took := time.Since(began); took > time.Second {
		t.Errorf("a neighbour waited %s", took)
	}
}
