package e2e

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/milldam/milldam/core/record"
)

// recoveryMB, in the environment, is how many megabytes of log TestRecoveryUnderLoad fills, and makes it hold the node to its goals: `make recovery` sets it.
const recoveryMB = "RECOVERY_MB"

const (
	// What a node may take after a kill, by docs/benchmarks.md, where nothing else runs on the machine.
	recoveryBound = 5 * time.Second
	emptyBound    = 50 * time.Millisecond
	manyBound     = 400 * time.Millisecond

	recoveryPartitions = 1000
	manyPartitions     = 10_000
	shortMB            = 100
)

// strictTimes tells whether bounds of time are held, and not only told.
func strictTimes() bool { return os.Getenv(recoveryMB) != "" }

func heldTo(t testing.TB, what string, took, bound time.Duration) {
	t.Helper()
	t.Logf("%s: %s, to be at most %s", what, took.Round(time.Millisecond), bound)
	if strictTimes() && took > bound {
		t.Errorf("%s took %s, at most %s", what, took, bound)
	}
}

// TestRecoveryUnderLoad kills a node while it is written to, starts it again, and measures until every partition produces and fetches.
func TestRecoveryUnderLoad(t *testing.T) {
	megabytes := shortMB
	if text := os.Getenv(recoveryMB); text != "" {
		var err error
		if megabytes, err = strconv.Atoi(text); err != nil {
			t.Fatal(err)
		}
	}
	n := startDev(t, t.TempDir(), nil)
	milldam(t, "topic", "create", "filled", "-p", fmt.Sprint(recoveryPartitions), "-c", "retention.ms=-1", "-b", n.kafka)
	r := newRawClient(t, n.kafka, "filled", recoveryPartitions)
	began := time.Now()
	stop := r.fill(int64(megabytes) << 20)
	t.Logf("%d MB written in %s", megabytes, time.Since(began).Round(time.Second))
	n.kill()
	stop()
	acked := r.ends()

	began = time.Now()
	n.start()
	ready := time.Since(began)
	r = newRawClient(t, n.kafka, "filled", recoveryPartitions)
	for p, end := range r.listEnds() {
		if end < acked[p] {
			t.Errorf("partition %d ends at %d, %d were acknowledged", p, end, acked[p])
		}
	}
	r.produceAll()
	produced := time.Since(began)
	r.fetchAll()
	fetched := time.Since(began)
	t.Logf("ready after %s, produced to all after %s, fetched from all after %s", ready.Round(time.Millisecond), produced.Round(time.Millisecond), fetched.Round(time.Millisecond))
	t.Logf("the node says:\n%s", n.log)
	heldTo(t, fmt.Sprintf("recovery of %d MB in %d partitions", megabytes, recoveryPartitions), fetched, recoveryBound)
}

// TestStartTimes measures from the start of the process until it produces and fetches: an empty node, and one with many partitions.
func TestStartTimes(t *testing.T) {
	dir := t.TempDir()
	n := startDev(t, dir, nil)
	n.terminate()
	best := time.Hour
	for range 3 { // the first one reads the binary from the disk
		empty := &node{t: t, dir: t.TempDir(), args: append([]string{"dev"}, n.args[1:]...)}
		empty.args[2] = empty.dir
		t.Cleanup(empty.kill)
		began := time.Now()
		empty.start()
		best = min(best, time.Since(began))
		empty.terminate()
	}
	heldTo(t, "start of an empty node", best, emptyBound)

	partitions := manyPartitions
	if testing.Short() {
		partitions /= 10
	}
	n.start()
	milldam(t, "topic", "create", "many", "-p", fmt.Sprint(partitions), "-c", "retention.ms=-1", "-b", n.kafka)
	r := newRawClient(t, n.kafka, "many", partitions)
	r.batch = smallBatch(t)
	r.produceAll()
	code, stopped := n.terminate()
	if code != 0 {
		t.Fatalf("exit %d\n%s", code, n.log)
	}
	t.Logf("stopped in %s", stopped.Round(time.Millisecond))
	best = time.Hour
	for range 3 {
		began := time.Now()
		n.start()
		best = min(best, time.Since(began))
		n.terminate()
	}
	n.start()
	r = newRawClient(t, n.kafka, "many", partitions)
	r.fetchAll()
	heldTo(t, fmt.Sprintf("start with %d partitions", partitions), best, manyBound)
}

// rawClient produces and fetches whole batches, to many partitions in one request.
type rawClient struct {
	t          testing.TB
	broker     *kgo.Broker
	topic      string
	id         [16]byte
	partitions int
	batch      []byte
	acked      []atomic.Int64 // end of what was acknowledged
}

// fillBatch is a batch of 64 KiB.
func fillBatch(t testing.TB) []byte {
	t.Helper()
	var b record.Builder
	b.Reset(record.NewBatchOptions())
	for i := range 63 {
		b.Append(time.Now().UnixMilli(), fmt.Appendf(nil, "%d", i), bytes.Repeat([]byte("m"), 1<<10))
	}
	batch, err := b.Build(nil)
	if err != nil {
		t.Fatal(err)
	}
	return batch
}

func smallBatch(t testing.TB) []byte {
	t.Helper()
	var b record.Builder
	b.Reset(record.NewBatchOptions())
	b.Append(time.Now().UnixMilli(), nil, []byte("m"))
	batch, err := b.Build(nil)
	if err != nil {
		t.Fatal(err)
	}
	return batch
}

func newRawClient(t testing.TB, broker, topic string, partitions int) *rawClient {
	t.Helper()
	cl, err := kgo.NewClient(kgo.SeedBrokers(broker))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cl.Close)
	r := &rawClient{t: t, topic: topic, partitions: partitions, batch: fillBatch(t), acked: make([]atomic.Int64, partitions)}
	req := kmsg.NewPtrMetadataRequest()
	row := kmsg.NewMetadataRequestTopic()
	row.Topic = kmsg.StringPtr(topic)
	req.Topics = append(req.Topics, row)
	resp, err := req.RequestWith(t.Context(), cl)
	if err != nil {
		t.Fatal(err)
	}
	r.id = resp.Topics[0].TopicID
	r.broker = cl.Broker(int(resp.Brokers[0].NodeID))
	return r
}

// produce writes one batch to each of the partitions in [from, to), and notes what was acknowledged.
func (r *rawClient) produce(ctx context.Context, from, to int) error {
	req := kmsg.NewPtrProduceRequest()
	req.Acks, req.TimeoutMillis = -1, 60_000
	topic := kmsg.NewProduceRequestTopic()
	topic.Topic, topic.TopicID = r.topic, r.id
	for p := from; p < to; p++ {
		part := kmsg.NewProduceRequestTopicPartition()
		part.Partition, part.Records = int32(p), bytes.Clone(r.batch)
		topic.Partitions = append(topic.Partitions, part)
	}
	req.Topics = append(req.Topics, topic)
	got, err := r.broker.RetriableRequest(ctx, req)
	if err != nil {
		return err
	}
	count := int64(record.Batch(r.batch).Count())
	for _, p := range got.(*kmsg.ProduceResponse).Topics[0].Partitions {
		if p.ErrorCode != 0 {
			return fmt.Errorf("produce to partition %d: error %d", p.Partition, p.ErrorCode)
		}
		for end := p.BaseOffset + count; ; {
			old := r.acked[p.Partition].Load()
			if old >= end || r.acked[p.Partition].CompareAndSwap(old, end) {
				break
			}
		}
	}
	return nil
}

// atOnce is how many partitions one request is about.
const atOnce = 20

// fill writes until so many bytes are acknowledged, and goes on writing until stop is called, which waits for the end of it.
func (r *rawClient) fill(want int64) (stop func()) {
	ctx, cancel := context.WithCancel(r.t.Context())
	r.t.Cleanup(cancel)
	var wg sync.WaitGroup
	var written, next atomic.Int64
	done := make(chan error, 4)
	enough := sync.OnceFunc(func() { close(done) })
	for range 4 {
		wg.Go(func() {
			for ctx.Err() == nil {
				from := int(next.Add(1)-1) * atOnce % r.partitions
				if err := r.produce(ctx, from, min(from+atOnce, r.partitions)); err != nil {
					if written.Load() < want {
						r.t.Errorf("fill: %v", err)
					}
					enough()
					return
				}
				if written.Add(int64(atOnce*len(r.batch))) >= want {
					enough()
				}
			}
		})
	}
	<-done
	return func() { cancel(); wg.Wait() }
}

func (r *rawClient) ends() []int64 {
	ends := make([]int64, r.partitions)
	for p := range ends {
		ends[p] = r.acked[p].Load()
	}
	return ends
}

// listEnds asks for the end of each partition.
func (r *rawClient) listEnds() []int64 {
	r.t.Helper()
	req := kmsg.NewPtrListOffsetsRequest()
	req.ReplicaID = -1
	topic := kmsg.NewListOffsetsRequestTopic()
	topic.Topic = r.topic
	for p := range r.partitions {
		part := kmsg.NewListOffsetsRequestTopicPartition()
		part.Partition, part.Timestamp = int32(p), -1
		topic.Partitions = append(topic.Partitions, part)
	}
	req.Topics = append(req.Topics, topic)
	got, err := r.broker.RetriableRequest(r.t.Context(), req)
	if err != nil {
		r.t.Fatal(err)
	}
	ends := make([]int64, r.partitions)
	for _, p := range got.(*kmsg.ListOffsetsResponse).Topics[0].Partitions {
		if p.ErrorCode != 0 {
			r.t.Fatalf("end of partition %d: error %d", p.Partition, p.ErrorCode)
		}
		ends[p.Partition] = p.Offset
	}
	return ends
}

// produceAll writes one batch to each partition.
func (r *rawClient) produceAll() {
	r.t.Helper()
	for from := 0; from < r.partitions; from += 100 {
		if err := r.produce(r.t.Context(), from, min(from+100, r.partitions)); err != nil {
			r.t.Fatal(err)
		}
	}
}

// fetchAll reads one batch of each partition, from the middle of what it has.
func (r *rawClient) fetchAll() {
	r.t.Helper()
	ends := r.listEnds()
	for from := 0; from < r.partitions; from += 100 {
		req := kmsg.NewPtrFetchRequest()
		req.MaxBytes, req.MinBytes, req.SessionEpoch = 50<<20, 1, -1
		topic := kmsg.NewFetchRequestTopic()
		topic.Topic, topic.TopicID = r.topic, r.id
		for p := from; p < min(from+100, r.partitions); p++ {
			part := kmsg.NewFetchRequestTopicPartition()
			part.Partition, part.FetchOffset, part.PartitionMaxBytes, part.CurrentLeaderEpoch = int32(p), ends[p]/2, 70<<10, -1
			topic.Partitions = append(topic.Partitions, part)
		}
		req.Topics = append(req.Topics, topic)
		got, err := r.broker.RetriableRequest(r.t.Context(), req)
		if err != nil {
			r.t.Fatal(err)
		}
		parts := got.(*kmsg.FetchResponse).Topics[0].Partitions
		for _, p := range parts {
			if first, _, err := record.Next(p.RecordBatches); p.ErrorCode != 0 || err != nil || first.Verify() != nil {
				r.t.Fatalf("fetch of partition %d: error %d, %d bytes, %v", p.Partition, p.ErrorCode, len(p.RecordBatches), err)
			}
		}
		if len(parts) != min(100, r.partitions-from) {
			r.t.Fatalf("fetched from %d partitions", len(parts))
		}
	}
}
