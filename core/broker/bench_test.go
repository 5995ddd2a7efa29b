package broker_test

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/milldam/milldam/core/record"
	"github.com/milldam/milldam/core/vfs"
)

const (
	benchTopic      = "bench"
	benchPartitions = 8
	benchDepth      = 5 // requests in flight on a connection
)

// benchBatch is a batch of about size bytes, in records of 100.
func benchBatch(b *testing.B, size int) []byte {
	var builder record.Builder
	builder.Reset(record.NewBatchOptions())
	for value := make([]byte, 100); builder.Len() < size; {
		builder.Append(time.Now().UnixMilli(), nil, value)
	}
	batch, err := builder.Build(nil)
	must(b, err)
	return batch
}

// produceFrame is a Produce request as it goes over the wire.
func produceFrame(partition int32, batch []byte) []byte {
	p := kmsg.NewProduceRequestTopicPartition()
	p.Partition, p.Records = partition, batch
	t := kmsg.NewProduceRequestTopic()
	t.Topic, t.Partitions = benchTopic, []kmsg.ProduceRequestTopicPartition{p}
	req := kmsg.NewPtrProduceRequest()
	req.Version, req.Acks, req.TimeoutMillis = 7, -1, 30_000
	req.Topics = []kmsg.ProduceRequestTopic{t}
	return kmsg.NewRequestFormatter().AppendRequest(nil, req, 0)
}

// checkProduced reads a response and fails on an error code.
func checkProduced(r *bufio.Reader) error {
	var head [4]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return err
	}
	frame := make([]byte, binary.BigEndian.Uint32(head[:]))
	if _, err := io.ReadFull(r, frame); err != nil {
		return err
	}
	resp := kmsg.NewPtrProduceResponse()
	resp.Version = 7
	if err := resp.ReadFrom(frame[4:]); err != nil { // behind the correlation id
		return err
	}
	if code := resp.Topics[0].Partitions[0].ErrorCode; code != 0 {
		return fmt.Errorf("error code %d", code)
	}
	return nil
}

// BenchmarkProduce sends batches of 16 KiB over TCP, five requests of each connection in flight, and counts what is acknowledged. The broker is in
// this process, on the real file system.
func BenchmarkProduce(b *testing.B) {
	for _, connections := range []int{1, 16} {
		b.Run(fmt.Sprintf("connections=%d", connections), func(b *testing.B) {
			b.Chdir(b.TempDir())
			r := start(b, vfs.OS())
			_, err := kadm.NewClient(r.client(b)).CreateTopic(b.Context(), benchPartitions, 1, nil, benchTopic)
			must(b, err)
			batch := benchBatch(b, 16<<10)
			b.SetBytes(int64(len(batch)))
			b.ReportAllocs()
			work := make(chan struct{}, connections*benchDepth)
			var ended sync.WaitGroup
			for i := range connections {
				ended.Go(func() {
					if err := produceLoop(r.addr, produceFrame(int32(i%benchPartitions), batch), work); err != nil {
						b.Error(err)
						for range work { // so that nobody waits for this connection
						}
					}
				})
			}
			for b.Loop() {
				work <- struct{}{}
			}
			close(work)
			ended.Wait()
		})
	}
}

// produceLoop sends frame for each piece of work, and reads the answers behind.
func produceLoop(addr string, frame []byte, work <-chan struct{}) error {
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		return err
	}
	defer conn.Close()
	sent, read := make(chan struct{}, benchDepth), make(chan error, 1)
	go func() {
		r := bufio.NewReader(conn)
		var failed error
		for range sent {
			if failed == nil {
				failed = checkProduced(r)
			}
		}
		read <- failed
	}()
	for range work {
		sent <- struct{}{}
		if _, err = conn.Write(frame); err != nil {
			break
		}
	}
	close(sent)
	if failed := <-read; failed != nil {
		return failed
	}
	return err
}
