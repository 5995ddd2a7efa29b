package worker_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/milldam/milldam/connect"
	"github.com/milldam/milldam/connect/worker"
	"github.com/milldam/milldam/core/config"
)

// eachOnce checks that the values from..to are there once each.
func eachOnce(t testing.TB, s *sink, from, to int) {
	t.Helper()
	seen := s.values()
	for i := from; i < to; i++ {
		if n := seen[strconv.Itoa(i)]; n != 1 {
			t.Errorf("record %d is there %d times", i, n)
		}
	}
	if len(seen) != to-from {
		t.Errorf("%d different records, want %d", len(seen), to-from)
	}
}

func TestSinkGetsEveryRecordOnceAndInOrder(t *testing.T) {
	c := newCluster(t)
	topic := c.topic("in", 4)
	c.produce(topic, 4, 0, 1000)
	s := newSink()
	task := c.sinkTask(s, topic)
	r := start(t, task)
	c.eventually("1000 records", func() bool { return task.Progress().Out == 1000 })
	c.produce(topic, 4, 1000, 1500)
	c.eventually("1500 records committed", func() bool { return c.committed("g", topic) == 1500 })
	if err := r.stop(t); err != nil {
		t.Fatal(err)
	}
	eachOnce(t, s, 0, 1500)
	for part, values := range s.mu.durable {
		if !slices.IsSortedFunc(values, func(a, b string) int { x, _ := strconv.Atoi(a); y, _ := strconv.Atoi(b); return x - y }) {
			t.Errorf("%v is out of order", part)
		}
	}
	if p := task.Progress(); p.In != 1500 || p.Out != 1500 || p.Retries != 0 || s.mu.closed != 1 {
		t.Errorf("progress %+v, closed %d times", p, s.mu.closed)
	}

	again := newSink()
	r = start(t, c.sinkTask(again, topic))
	c.produce(topic, 4, 1500, 1501)
	c.eventually("one more", func() bool { return len(again.values()) == 1 })
	if err := r.stop(t); err != nil {
		t.Fatal(err)
	}
	eachOnce(t, again, 1500, 1501)
}

// TestABatchWaitsNoLongerThanItsLinger keeps records coming, each sooner than the linger after the one before.
func TestABatchWaitsNoLongerThanItsLinger(t *testing.T) {
	c := newCluster(t)
	topic := c.topic("in", 1)
	s := newSink()
	const linger, bound = time.Second, 20 * time.Second
	s.batch = connect.Batch{Records: 1 << 20, Size: 1 << 30, Linger: config.Duration(linger)}
	r := start(t, c.sinkTask(s, topic))
	next, began := 0, time.Now()
	c.eventually("something is written while records keep coming", func() bool {
		c.produce(topic, 1, next, next+1)
		next++
		return len(s.values()) > 0 || time.Since(began) > bound
	})
	if len(s.values()) == 0 {
		t.Errorf("nothing of %d records is written after %s, with a linger of %s", next, bound, linger)
	}
	if err := r.stop(t); err != nil {
		t.Fatal(err)
	}
}

func TestSinkFailuresAreTriedAgain(t *testing.T) {
	c := newCluster(t)
	topic := c.topic("in", 1)
	c.produce(topic, 1, 0, 100)
	s := newSink()
	var attempts atomic.Int64
	s.write = func(_ context.Context, b connect.SinkBatch) error {
		switch n := attempts.Add(1); {
		case n <= 3:
			return errors.New("the server is down")
		case n == 4: // half of the batch fails, in part for good
			return &connect.BatchError{Records: []connect.RecordError{
				{Index: 1, Outcome: connect.Retry, Err: errors.New("busy")}, {Index: 2, Outcome: connect.Poison, Err: errors.New("bad")}}}
		case n == 5 && len(b.Records) == 1:
			return errors.New("down again")
		}
		return nil
	}
	deadLetters := c.topic("dead", 1)
	task := c.sinkTask(s, topic, func(o *worker.SinkOptions) {
		o.Errors.DeadLetter = deadLetters
		s.batch = connect.Batch{Records: 1000, Size: 1 << 20, Linger: 1e6}
	})
	r := start(t, task)
	c.eventually("all committed", func() bool { return c.committed("g", topic) == 100 })
	if err := r.stop(t); err != nil {
		t.Fatal(err)
	}
	if p := task.Progress(); p.Out != 99 || p.Dead != 1 || p.Retries < 5 || p.Failure != "" {
		t.Errorf("progress %+v", p)
	}
	seen := s.values()
	if len(seen) != 99 || seen["2"] != 0 || seen["1"] != 1 || seen["99"] != 1 {
		t.Errorf("%d records, of 1 and 2 %d and %d", len(seen), seen["1"], seen["2"])
	}
	dead := c.read(deadLetters)
	if len(dead) != 1 || string(dead[0].Value) != "2" || string(dead[0].Key) != "k2" {
		t.Fatalf("dead letters: %v", dead)
	}
	headers := map[string]string{}
	for _, h := range dead[0].Headers {
		headers[h.Key] = string(h.Value)
	}
	want := map[string]string{worker.HeaderError: "bad", worker.HeaderOperator: c.prefix + "p/sink", worker.HeaderTopic: topic, worker.HeaderPartition: "0", worker.HeaderOffset: "2"}
	if fmt.Sprint(headers) != fmt.Sprint(want) {
		t.Errorf("headers %v, want %v", headers, want)
	}
}

// TestWhatOnlyAnOwnerMendsEndsTheTask also holds that what was before is written and committed, and is not written again.
func TestWhatOnlyAnOwnerMendsEndsTheTask(t *testing.T) {
	refuse := func(outcome connect.Outcome) func(context.Context, connect.SinkBatch) error {
		return func(_ context.Context, b connect.SinkBatch) error {
			for i, r := range b.Records {
				if string(r.Value) == "50" {
					return &connect.BatchError{Records: []connect.RecordError{{Index: i, Outcome: outcome, Err: errors.New("no such index")}}}
				}
			}
			return nil
		}
	}
	for name, x := range map[string]struct {
		write     func(context.Context, connect.SinkBatch) error
		transform worker.Transform
		committed int64
		message   []string
	}{
		"a permanent error":            {write: func(context.Context, connect.SinkBatch) error { return connect.Permanent(errors.New("bad key")) }, message: []string{"bad key"}},
		"blocked":                      {write: refuse(connect.Block), message: []string{"in-0 at offset 50", "no such index"}},
		"poison, no dead-letter topic": {write: refuse(connect.Poison), message: []string{"in-0 at offset 50", "errors.dead_letter"}},
		"a step fails": {transform: func(r connect.Record) (connect.Record, bool, error) {
			if string(r.Value) == "50" {
				return r, false, errors.New("value.x is missing")
			}
			return r, true, nil
		}, committed: 50, message: []string{"in-0 at offset 50", "value.x is missing"}},
	} {
		t.Run(name, func(t *testing.T) {
			c := newCluster(t)
			topic := c.topic("in", 1)
			c.produce(topic, 1, 0, 100)
			s := newSink()
			s.write = x.write
			task := c.sinkTask(s, topic, func(o *worker.SinkOptions) { o.Transform = x.transform })
			err := start(t, task).wait(t)
			if !errors.Is(err, connect.ErrPermanent) {
				t.Fatalf("error %v is not permanent", err)
			}
			for _, want := range x.message {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("error %q does not say %q", err, want)
				}
			}
			if got := c.committed("g", topic); got != x.committed {
				t.Errorf("committed %d, want %d", got, x.committed)
			}
		})
	}
}

func TestOnlyWhatIsDurableIsCommitted(t *testing.T) {
	c := newCluster(t)
	topic := c.topic("in", 1)
	c.produce(topic, 1, 0, 100)
	s := newSink()
	s.buffered = true
	task := c.sinkTask(s, topic)
	r := start(t, task)
	c.eventually("two ticks after all is read", func() bool { return task.Progress().In == 100 && s.flushes(connect.FlushTick) >= 3 })
	if got := c.committed("g", topic); got != 0 || task.Progress().Out != 0 {
		t.Errorf("committed %d and %d out while the sink holds everything", got, task.Progress().Out)
	}
	if err := r.stop(t); err != nil {
		t.Fatal(err)
	}
	if got := c.committed("g", topic); got != 100 {
		t.Errorf("committed %d after the stop, want 100", got)
	}
	eachOnce(t, s, 0, 100)
}

func TestMemoryStaysWithinTheBudget(t *testing.T) {
	c := newCluster(t)
	topic := c.topic("in", 1)
	s := newSink()
	s.buffered = true
	most := atomic.Int64{}
	s.write = func(context.Context, connect.SinkBatch) error {
		most.Store(max(most.Load(), s.Buffered()))
		return nil
	}
	const budget = 2000
	task := c.sinkTask(s, topic, func(o *worker.SinkOptions) { o.MemoryBytes = budget })
	r := start(t, task)
	c.produce(topic, 1, 100_000, 110_000) // 60,000 bytes
	c.eventually("all read", func() bool { return task.Progress().In == 10_000 })
	if err := r.stop(t); err != nil {
		t.Fatal(err)
	}
	eachOnce(t, s, 100_000, 110_000)
	if s.flushes(connect.FlushPressure) == 0 || most.Load() > 12*budget {
		t.Errorf("%d flushes for pressure, at most %d bytes held", s.flushes(connect.FlushPressure), most.Load())
	}
}

func TestPartitionsMoveWithoutLoss(t *testing.T) {
	c := newCluster(t)
	topic := c.topic("in", 4)
	c.produce(topic, 4, 0, 400)
	one, two := newSink(), newSink()
	one.buffered, two.buffered = true, true
	first := c.sinkTask(one, topic)
	r1 := start(t, first)
	c.eventually("the first has read all", func() bool { return first.Progress().In == 400 })
	second := c.sinkTask(two, topic)
	r2 := start(t, second)
	c.eventually("the first gave partitions up", func() bool {
		one.mu.Lock()
		defer one.mu.Unlock()
		return len(one.mu.revoked) == 2
	})
	c.produce(topic, 4, 400, 800)
	c.eventually("both have read the rest", func() bool { return first.Progress().In+second.Progress().In >= 800 })
	if err := errors.Join(r1.stop(t), r2.stop(t)); err != nil {
		t.Fatal(err)
	}
	for v, n := range two.values() {
		one.mu.durable[connect.TopicPartition{}] = append(one.mu.durable[connect.TopicPartition{}], slices.Repeat([]string{v}, n)...)
	}
	eachOnce(t, one, 0, 800)
	if second.Progress().In == 0 {
		t.Error("the second got nothing")
	}
}

// TestAHangingSinkLetsPartitionsGo holds a write until it is interrupted: the group must not wait for a server that does not answer.
func TestAHangingSinkLetsPartitionsGo(t *testing.T) {
	c := newCluster(t)
	topic := c.topic("in", 2)
	c.produce(topic, 2, 0, 10)
	s := newSink()
	hanging := make(chan struct{}, 100)
	s.write = func(ctx context.Context, _ connect.SinkBatch) error {
		hanging <- struct{}{}
		<-ctx.Done()
		return ctx.Err()
	}
	r1 := start(t, c.sinkTask(s, topic))
	<-hanging
	two := newSink()
	second := c.sinkTask(two, topic)
	r2 := start(t, second)
	c.eventually("the second got its partition", func() bool { return second.Progress().Out == 5 })
	began := time.Now()
	if err := r1.stop(t); err != nil {
		t.Error(err)
	}
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("a task whose sink hangs took %s to stop", took)
	}
	c.eventually("the second got everything", func() bool { return second.Progress().Out == 10 })
	if err := r2.stop(t); err != nil {
		t.Error(err)
	}
	eachOnce(t, two, 0, 10)
}

func TestARestartedMemberTakesItsPlaceAtOnce(t *testing.T) {
	c := newCluster(t)
	topic := c.topic("in", 2)
	named := func(o *worker.SinkOptions) { o.InstanceID = "here" }
	s := newSink()
	r := start(t, c.sinkTask(s, topic, named))
	c.produce(topic, 2, 0, 10)
	c.eventually("ten", func() bool { return len(s.values()) == 10 })
	if err := r.stop(t); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	again := newSink()
	r = start(t, c.sinkTask(again, topic, named))
	c.produce(topic, 2, 10, 20)
	c.eventually("ten more", func() bool { return len(again.values()) == 10 })
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("the restarted member took %s, and a session is 45 s", took)
	}
	if err := r.stop(t); err != nil {
		t.Fatal(err)
	}
	eachOnce(t, again, 10, 20)
}
