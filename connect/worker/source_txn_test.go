package worker_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/milldam/milldam/connect"
	"github.com/milldam/milldam/connect/worker"
	"github.com/milldam/milldam/core/client"
)

// needsTransactions skips the test where the broker has no transactions.
func (c *cluster) needsTransactions() {
	c.t.Helper()
	versions, err := kmsg.NewPtrApiVersionsRequest().RequestWith(c.within(), c.kafka)
	if err != nil {
		c.t.Fatal(err)
	}
	if !slices.ContainsFunc(versions.ApiKeys, func(k kmsg.ApiVersionsResponseApiKey) bool { return k.ApiKey == kmsg.EndTxn.Int16() }) {
		c.t.Skip("the broker has no transactions")
	}
}

// gate holds back all that a client writes and reads while it is closed.
type gate struct{ sync.RWMutex }

type gatedConn struct {
	net.Conn
	gate *gate
}

func (c gatedConn) Write(b []byte) (int, error) {
	c.gate.RLock()
	defer c.gate.RUnlock()
	return c.Conn.Write(b)
}

func (c gatedConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	c.gate.RLock()
	defer c.gate.RUnlock()
	return n, err
}

// through returns the way to the cluster through a gate.
func (c *cluster) through(g *gate) client.Options {
	o := c.options
	if o.Dial == nil {
		o.Dial = (&net.Dialer{}).DialContext
	}
	dial := o.Dial
	o.Dial = func(ctx context.Context, network, addr string) (net.Conn, error) {
		conn, err := dial(ctx, network, addr)
		if err != nil {
			return nil, err
		}
		return gatedConn{conn, g}, nil
	}
	return o
}

func exactlyOnce(o *worker.SourceOptions) { o.ExactlyOnce = true }

// TestSourceInTransactionsIsReadOnce cuts tasks off at arbitrary moments: they can neither commit nor abort what they have open, until the
// next one is at work.
func TestSourceInTransactionsIsReadOnce(t *testing.T) {
	c := newCluster(t)
	c.needsTransactions()
	topic := c.topic("out", 1)
	end := 0
	for i := range 5 {
		end += 1000
		g := &gate{}
		task := c.sourceTask(&source{end: end}, topic, exactlyOnce, func(o *worker.SourceOptions) { o.Client = c.through(g) })
		r := start(t, task)
		c.eventually("some records", func() bool { return task.Progress().Out > int64(i*100) })
		g.Lock()
		r.cancel()
		defer g.Unlock()
	}
	end += 1000
	task := c.sourceTask(&source{end: end, finite: true}, topic, exactlyOnce)
	if err := start(t, task).wait(t); err != nil {
		t.Fatal(err)
	}
	if p := task.Progress(); !p.Ended || p.Done != int64(end) || p.Total != int64(end) {
		t.Errorf("progress %+v", p)
	}
	if got := c.inTopic(topic); got != numbers(0, end) {
		t.Errorf("the topic holds %d bytes, want %d: each number once, in order", len(got), len(numbers(0, end)))
	}
}

// TestSourceTaskThatWasReplacedIsFenced pauses a task, lets another take over, and lets it go on.
func TestSourceTaskThatWasReplacedIsFenced(t *testing.T) {
	c := newCluster(t)
	c.needsTransactions()
	topic := c.topic("out", 1)
	g := &gate{}
	first := c.sourceTask(&source{end: 500}, topic, exactlyOnce, func(o *worker.SourceOptions) { o.Client = c.through(g) })
	zombie := start(t, first)
	c.eventually("the first task to write", func() bool { return first.Progress().Out > 0 })
	g.Lock()
	if err := start(t, c.sourceTask(&source{end: 800, finite: true}, topic, exactlyOnce)).wait(t); err != nil {
		t.Fatal(err)
	}
	g.Unlock()
	// It may have had nothing left to commit; then it waits for its source, and is stopped.
	select {
	case err := <-zombie.done:
		if err == nil || !strings.Contains(err.Error(), "another process runs this pipeline") {
			t.Errorf("the first task ended with %v", err)
		}
	case <-time.After(2 * time.Second):
		if err := zombie.stop(t); err != nil {
			t.Error(err)
		}
	}
	if got := c.inTopic(topic); got != numbers(0, 800) {
		t.Errorf("the topic holds %s", got)
	}
}

// TestPositionsDoNotWaitForOthers has a transaction open in the topic of positions, of a pipeline that nobody runs.
func TestPositionsDoNotWaitForOthers(t *testing.T) {
	c := newCluster(t)
	c.needsTransactions()
	topic := c.topic("out", 1)
	run := func(end int) {
		t.Helper()
		if err := start(t, c.sourceTask(&source{end: end, finite: true}, topic, exactlyOnce)).wait(t); err != nil {
			t.Fatal(err)
		}
	}
	run(100)
	other, err := client.New(c.options, kgo.TransactionalID(c.prefix+"other"))
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	if err := other.BeginTransaction(); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"other", "p"} { // not even what it says of this pipeline counts
		r := &kgo.Record{Topic: worker.PositionsTopic, Key: fmt.Appendf(nil, `{"pipeline":%q,"partition":"numbers"}`, c.prefix+name), Value: []byte(`{"version":1,"position":"NTA="}`)}
		if err := other.ProduceSync(c.within(), r).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
	run(200)
	if err := other.EndTransaction(c.within(), kgo.TryAbort); err != nil {
		t.Fatal(err)
	}
	run(300)
	if got := c.inTopic(topic); got != numbers(0, 300) {
		t.Errorf("the topic holds %d records: %.700s", len(strings.Fields(got)), got)
	}
}

func incompressible(n int) []byte {
	b := make([]byte, n)
	rand.NewChaCha8([32]byte{}).Read(b)
	return b
}

// TestARefusedRecordLeavesTheOthersInTheirTransaction has steps that fail, drop, and make records that are too large for the client, or for
// the topic.
func TestARefusedRecordLeavesTheOthersInTheirTransaction(t *testing.T) {
	c := newCluster(t)
	c.needsTransactions()
	topic, dead := c.topic("out", 1), c.topic("dead", 1)
	for name, size := range map[string]string{topic: "100000", dead: "8000000"} {
		if _, err := c.admin.AlterTopicConfigs(c.within(), maxMessageBytes(size), name); err != nil {
			t.Fatal(err)
		}
	}
	steps := func(r connect.Record) (connect.Record, bool, error) {
		switch string(r.Value) {
		case "3":
			return r, false, nil
		case "5":
			return r, false, errors.New("value.x is missing")
		case "7":
			r.Value = bytes.Repeat([]byte("7"), 2<<20)
		case "14":
			r.Value = incompressible(200_000)
		}
		return r, true, nil
	}
	task := c.sourceTask(&source{end: 20, finite: true}, topic, exactlyOnce, func(o *worker.SourceOptions) { o.Transform, o.Errors.DeadLetter = steps, dead })
	if err := start(t, task).wait(t); err != nil {
		t.Fatal(err)
	}
	if got := c.inTopic(topic); got != "0 1 2 4 6 8 9 10 11 12 13 15 16 17 18 19" {
		t.Errorf("the topic holds %s", got)
	}
	letters := map[string]int{}
	for _, r := range c.read(dead) {
		letters[fmt.Sprintf("%.2s", r.Value)]++
	}
	if p := task.Progress(); len(letters) != 3 || letters["5"] != 1 || letters["7"] != 1 || letters["14"] != 1 || p.Dead != 3 || p.Dropped != 1 || p.Out != 16 || p.In != 20 {
		t.Errorf("dead letters %v, progress %+v", letters, p)
	}
}

// TestOffsetsGoPastMarkers has a topic that ends with the marker of a transaction: the sink's group stands behind it.
func TestOffsetsGoPastMarkers(t *testing.T) {
	c := newCluster(t)
	c.needsTransactions()
	topic := c.topic("in", 1)
	if err := start(t, c.sourceTask(&source{end: 30, finite: true}, topic, exactlyOnce)).wait(t); err != nil {
		t.Fatal(err)
	}
	s := newSink()
	task := c.sinkTask(s, topic)
	start(t, task)
	c.eventually("the end, behind a marker", func() bool {
		ends, err := c.admin.ListEndOffsets(c.within(), topic)
		if err != nil {
			t.Fatal(err)
		}
		end, _ := ends.Lookup(topic, 0)
		return end.Offset > 30 && c.committed("g", topic) == end.Offset
	})
	if got := len(s.values()); got != 30 || task.Progress().In != 30 {
		t.Errorf("the sink has %d records, want 30; progress %+v", got, task.Progress())
	}
}
