package worker_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/milldam/milldam/connect"
	"github.com/milldam/milldam/connect/worker"
	"github.com/milldam/milldam/core/client"
	"github.com/milldam/milldam/core/vfs"
	"github.com/milldam/milldam/runtime/node"
)

// cluster is one node in memory, or the brokers that MILLDAM_TEST_BROKERS names, which may be Apache Kafka.
type cluster struct {
	t       testing.TB
	options client.Options
	prefix  string // of names in a cluster that others use as well
	kafka   *kgo.Client
	admin   *kadm.Client
}

func newCluster(t testing.TB) *cluster {
	t.Helper()
	c := &cluster{t: t}
	if brokers := os.Getenv("MILLDAM_TEST_BROKERS"); brokers != "" {
		c.options.Brokers, c.prefix = []string{brokers}, fmt.Sprintf("t%d-", time.Now().UnixNano())
	} else {
		n, err := node.Start(t.Context(), node.Options{FS: vfs.NewMem(), Kafka: "127.0.0.1:0", HTTP: node.None})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := n.Close(); err != nil {
				t.Error(err)
			}
		})
		c.options = n.Client()
	}
	var err error
	if c.kafka, err = client.New(c.options, kgo.RecordPartitioner(kgo.ManualPartitioner())); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.kafka.Close)
	c.admin = kadm.NewClient(c.kafka)
	return c
}

// patience is how long anything may take on a machine that has much else to do.
const patience = 2 * time.Minute

// within bounds what a test waits for.
func (c *cluster) within() context.Context {
	ctx, cancel := context.WithTimeout(c.t.Context(), patience)
	c.t.Cleanup(cancel)
	return ctx
}

func (c *cluster) topic(name string, partitions int32) string {
	c.t.Helper()
	name = c.prefix + name
	if _, err := c.admin.CreateTopic(c.within(), partitions, 1, nil, name); err != nil {
		c.t.Fatal(err)
	}
	return name
}

// produce writes values to partition 0, 1, 2 and so on in turn.
func (c *cluster) produce(topic string, partitions int32, from, to int) {
	c.t.Helper()
	var records []*kgo.Record
	for i := from; i < to; i++ {
		records = append(records, &kgo.Record{Topic: topic, Partition: int32(i) % partitions, Key: fmt.Appendf(nil, "k%d", i), Value: fmt.Appendf(nil, "%d", i)})
	}
	if err := c.kafka.ProduceSync(c.within(), records...).FirstErr(); err != nil {
		c.t.Fatal(err)
	}
}

// committed is the group's offset of each partition of a topic, added up.
func (c *cluster) committed(group, topic string) int64 {
	c.t.Helper()
	offsets, err := c.admin.FetchOffsets(c.within(), c.prefix+group)
	if err != nil {
		c.t.Fatal(err)
	}
	sum := int64(0)
	for _, o := range offsets[topic] {
		sum += max(o.At, 0)
	}
	return sum
}

// read returns the committed records of a topic up to its end.
func (c *cluster) read(topic string) []*kgo.Record {
	c.t.Helper()
	ends, err := c.admin.ListEndOffsets(c.within(), topic)
	if err != nil {
		c.t.Fatal(err)
	}
	left := map[int32]int64{}
	ends.Each(func(o kadm.ListedOffset) {
		if o.Offset > 0 {
			left[o.Partition] = o.Offset
		}
	})
	cl, err := client.New(c.options, kgo.ConsumeTopics(topic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
		kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.KeepControlRecords())
	if err != nil {
		c.t.Fatal(err)
	}
	defer cl.Close()
	var out []*kgo.Record
	for len(left) > 0 {
		fetches := cl.PollFetches(c.within())
		if err := fetches.Err(); err != nil {
			c.t.Fatal(err)
		}
		for r := range fetches.RecordsAll() {
			if !r.Attrs.IsControl() {
				out = append(out, r)
			}
			if r.Offset+1 >= left[r.Partition] {
				delete(left, r.Partition)
			}
		}
	}
	return out
}

// eventually waits until ok is true.
func (c *cluster) eventually(what string, ok func() bool) {
	c.t.Helper()
	deadline := time.NewTimer(patience)
	defer deadline.Stop()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-tick.C:
		case <-deadline.C:
			c.t.Fatalf("not within %s: %s", patience, what)
		}
	}
}

// run is a task that runs; stop ends it and returns its error.
type run struct {
	cancel context.CancelFunc
	done   chan error
}

func start(t testing.TB, task interface{ Run(context.Context) error }) *run {
	ctx, cancel := context.WithCancel(context.Background())
	r := &run{cancel, make(chan error, 1)}
	go func() { r.done <- task.Run(ctx) }()
	t.Cleanup(func() { cancel() })
	return r
}

func (r *run) stop(t testing.TB) error {
	t.Helper()
	r.cancel()
	return r.wait(t)
}

func (r *run) wait(t testing.TB) error {
	t.Helper()
	select {
	case err := <-r.done:
		return err
	case <-time.After(patience):
		t.Fatal("the task does not end")
		return nil
	}
}

// sink is a system that records go to, and that fails as a test wants it to.
type sink struct {
	write    func(ctx context.Context, b connect.SinkBatch) error // nil: all is well
	batch    connect.Batch
	buffered bool // keeps what Write takes until Flush

	task connect.SinkTask
	mu   struct {
		sync.Mutex
		durable map[connect.TopicPartition][]string
		kept    []connect.SinkBatch
		revoked []connect.TopicPartition
		flushes map[connect.FlushReason]int
		closed  int
	}
}

func newSink() *sink {
	s := &sink{}
	s.mu.durable = map[connect.TopicPartition][]string{}
	s.mu.flushes = map[connect.FlushReason]int{}
	return s
}

func (s *sink) Open(_ context.Context, task connect.SinkTask) error {
	s.task = task
	return nil
}

func (s *sink) Batch() connect.Batch { return s.batch }

func (s *sink) Write(ctx context.Context, b connect.SinkBatch) error {
	if s.write != nil {
		if err := s.write(ctx, b); err != nil {
			var partial *connect.BatchError
			if errors.As(err, &partial) {
				s.store(without(b, partial), false)
			}
			return err
		}
	}
	s.mu.Lock()
	keep := s.buffered
	if keep {
		s.mu.kept = append(s.mu.kept, b)
	}
	s.mu.Unlock()
	if !keep {
		s.store(b, true)
	}
	return nil
}

func without(b connect.SinkBatch, e *connect.BatchError) connect.SinkBatch {
	failed := map[int]bool{}
	for _, f := range e.Records {
		failed[f.Index] = true
	}
	var left []connect.Record
	for i, r := range b.Records {
		if !failed[i] {
			left = append(left, r)
		}
	}
	b.Records = left
	return b
}

func (s *sink) store(b connect.SinkBatch, ack bool) {
	s.mu.Lock()
	for _, r := range b.Records {
		s.mu.durable[b.TopicPartition] = append(s.mu.durable[b.TopicPartition], string(r.Value))
	}
	s.mu.Unlock()
	if ack {
		s.task.Ack(b.TopicPartition, b.Next)
	}
}

func (s *sink) Flush(_ context.Context, reason connect.FlushReason) error {
	s.mu.Lock()
	s.mu.flushes[reason]++
	var out []connect.SinkBatch
	if reason != connect.FlushTick {
		out, s.mu.kept = s.mu.kept, nil
	}
	s.mu.Unlock()
	for _, b := range out {
		s.store(b, true)
	}
	return nil
}

func (s *sink) Buffered() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	sum := int64(0)
	for _, b := range s.mu.kept {
		for _, r := range b.Records {
			sum += int64(len(r.Value))
		}
	}
	return sum
}

func (s *sink) Revoke(parts []connect.TopicPartition) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mu.revoked = append(s.mu.revoked, parts...)
}

func (s *sink) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mu.closed++
	return nil
}

// values are those that are durable, of all partitions.
func (s *sink) values() map[string]int {
	s.mu.Lock()
	defer s.mu.Unlock()
	seen := map[string]int{}
	for _, values := range s.mu.durable {
		for _, v := range values {
			seen[v]++
		}
	}
	return seen
}

func (s *sink) flushes(reason connect.FlushReason) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.mu.flushes[reason]
}

// fast are errors that are tried again at once.
var fast = worker.Errors{First: time.Millisecond, Longest: 10 * time.Millisecond}

func (c *cluster) sinkTask(s connect.Sink, topic string, change ...func(*worker.SinkOptions)) *worker.SinkTask {
	o := worker.SinkOptions{Pipeline: c.prefix + "p", Client: c.options, Group: c.prefix + "g", Topics: []string{topic}, Sink: s, Errors: fast, MemoryBytes: 1 << 20,
		Logger: slog.New(slog.NewTextHandler(c.t.Output(), nil))}
	for _, f := range change {
		f(&o)
	}
	return worker.NewSinkTask(o)
}
