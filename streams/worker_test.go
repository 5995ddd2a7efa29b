package streams

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/milldam/milldam/core/client"
)

// cluster is a broker with topics for one test.
type cluster struct {
	t       testing.TB
	options client.Options
	client  *kgo.Client
	admin   *kadm.Client
	prefix  string
}

func newCluster(t testing.TB) *cluster {
	t.Helper()
	o := startBroker(t)
	kc, err := client.New(o, kgo.RecordPartitioner(kgo.BasicConsistentPartitioner(newPartitioner)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(kc.Close)
	return &cluster{t: t, options: o, client: kc, admin: kadm.NewClient(kc), prefix: fmt.Sprintf("t%d-", time.Now().UnixNano())}
}

func (c *cluster) topic(name string, partitions int32) string {
	c.t.Helper()
	if _, err := c.admin.CreateTopic(context.Background(), partitions, 1, map[string]*string{"retention.ms": kadm.StringPtr("-1")}, c.prefix+name); err != nil {
		c.t.Fatal(err)
	}
	return c.prefix + name
}

// produce writes records, whose partitions follow from their keys.
func (c *cluster) produce(topic string, records ...*kgo.Record) {
	c.t.Helper()
	for _, r := range records {
		r.Topic, r.Partition = topic, anyPartition
	}
	if err := c.client.ProduceSync(context.Background(), records...).FirstErr(); err != nil {
		c.t.Fatal(err)
	}
}

// read returns the committed records that topic has now.
func (c *cluster) read(topic string) []*kgo.Record {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	ends, err := c.admin.ListEndOffsets(ctx, topic)
	if err != nil {
		c.t.Fatal(err)
	}
	starts, err := c.admin.ListStartOffsets(ctx, topic)
	if err != nil {
		c.t.Fatal(err)
	}
	kc, err := client.New(c.options, kgo.ConsumeTopics(topic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
		kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.KeepControlRecords())
	if err != nil {
		c.t.Fatal(err)
	}
	defer kc.Close()
	left := map[int32]int64{}
	ends.Each(func(o kadm.ListedOffset) {
		if first, _ := starts.Lookup(o.Topic, o.Partition); first.Offset < o.Offset {
			left[o.Partition] = o.Offset
		}
	})
	var records []*kgo.Record
	for len(left) > 0 && ctx.Err() == nil {
		for r := range kc.PollFetches(ctx).RecordsAll() {
			if !r.Attrs.IsControl() {
				records = append(records, r)
			}
			if r.Offset+1 >= left[r.Partition] {
				delete(left, r.Partition)
			}
		}
	}
	if len(left) > 0 {
		c.t.Fatalf("%s cannot be read to %v", topic, left)
	}
	return records
}

// patience is how long anything may take on a machine that has much else to do.
const patience = 2 * time.Minute

// eventually waits until done returns true.
func (c *cluster) eventually(what string, done func() bool) {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	for !done() {
		if sleep(ctx, 20*time.Millisecond) != nil {
			c.t.Fatalf("timed out waiting for %s", what)
		}
	}
}

func (c *cluster) start(top *Topology, o Options) *Worker {
	c.t.Helper()
	w, err := c.startUnchecked(top, o)
	if err != nil {
		c.t.Fatal(err)
	}
	c.t.Cleanup(func() {
		if err := w.Close(); err != nil {
			c.t.Error(err)
		}
	})
	return w
}

// startUnchecked starts a worker that may end with an error.
func (c *cluster) startUnchecked(top *Topology, o Options) (*Worker, error) {
	o.Client = c.options
	if o.ApplicationID == "" {
		o.ApplicationID = c.prefix + "app"
	}
	o.CommitInterval = 20 * time.Millisecond
	if testing.Verbose() {
		o.Logger = slog.New(slog.NewTextHandler(os.Stderr, nil))
	}
	return Start(context.Background(), top, o)
}

type result struct {
	Key    string
	Start  int64
	Count  int64
	Friend string
}

const windowMs = 1000

// countingTopology is a windowed count joined with a table. Only records of all partitions close its windows, so that it makes no difference how long something takes.
func countingTopology(in, table, out string, rekey bool) *Topology {
	top := NewTopology()
	countInto(top, top.Stream(in, String, String).IdleAfter(time.Hour), table, out, rekey)
	return top
}

// countInto counts the records of s.
func countInto(top *Topology, s Stream[string, string], table, out string, rekey bool) {
	g := s.GroupByKey()
	if rekey {
		g = s.GroupBy("by-value", func(_, v string) string { return v })
	}
	g.Window(Tumbling(windowMs*time.Millisecond)).Count("counts").
		Final(func(k string, w Window, n int64) result { return result{Key: k, Start: w.Start.UnixMilli(), Count: n} }).
		Join("friend", top.Table(table, String, String), func(r result, friend string) result {
			r.Friend = friend
			return r
		}).
		To(out)
}

// counted makes records of 20 keys over 5 windows and what must be counted of them.
func counted(n int) ([]*kgo.Record, map[string]int64) {
	var records []*kgo.Record
	want := map[string]int64{}
	for i := range n {
		key, at := fmt.Sprintf("k%d", i%20), int64(i)*5*windowMs/int64(n)
		records = append(records, &kgo.Record{Key: []byte(key), Value: []byte(key), Timestamp: time.UnixMilli(at)})
		want[fmt.Sprintf("%s@%d", key, at/windowMs*windowMs)]++
	}
	return records, want
}

func friends() []*kgo.Record {
	var records []*kgo.Record
	for i := range 20 {
		records = append(records, &kgo.Record{Key: fmt.Appendf(nil, "k%d", i), Value: fmt.Appendf(nil, "f%d", i), Timestamp: time.UnixMilli(0)})
	}
	return records
}

// closing are records behind the windows of counted, for all keys and so in all partitions.
func closing() []*kgo.Record {
	records := friends()
	for _, r := range records {
		r.Value, r.Timestamp = r.Key, time.UnixMilli(5*windowMs)
	}
	return records
}

func (c *cluster) results(topic string) map[string][]int64 {
	c.t.Helper()
	got := map[string][]int64{}
	for _, r := range c.read(topic) {
		var v result
		if err := json.Unmarshal(r.Value, &v); err != nil {
			c.t.Fatal(err)
		}
		if want := "f" + strings.TrimPrefix(v.Key, "k"); v.Friend != want {
			c.t.Fatalf("%s was joined with %q", v.Key, v.Friend)
		}
		key := fmt.Sprintf("%s@%d", v.Key, v.Start)
		got[key] = append(got[key], v.Count)
	}
	return got
}

func TestWorkerCountsEachWindowOnce(t *testing.T) {
	for _, delivery := range []Delivery{AtLeastOnce, ExactlyOnce} {
		for _, rekey := range []bool{false, true} {
			t.Run(fmt.Sprintf("delivery %d repartition %v", delivery, rekey), func(t *testing.T) { countWindows(t, delivery, rekey) })
		}
	}
}

func countWindows(t *testing.T, delivery Delivery, rekey bool) {
	c := newCluster(t)
	if delivery == ExactlyOnce {
		c.needsTransactions()
	}
	in, table, out := c.topic("in", 4), c.topic("table", 4), c.topic("out", 4)
	records, want := counted(5000)
	c.produce(table, friends()...)
	c.produce(in, append(records, closing()...)...)
	w := c.start(countingTopology(in, table, out, rekey), Options{Delivery: delivery})
	c.eventually("all windows", func() bool {
		return w.Metrics().Closed.Load() >= int64(len(want)) && w.Metrics().RecordsOut.Load() >= int64(len(want))
	})
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	got := c.results(out)
	for key, n := range want {
		if !slices.Equal(got[key], []int64{n}) {
			t.Errorf("%s: got %v, want %d", key, got[key], n)
		}
	}
	if len(got) != len(want) || w.Metrics().Late.Load() > 0 {
		t.Errorf("%d windows, want %d; %d late", len(got), len(want), w.Metrics().Late.Load())
	}
	if rekey {
		c.wantPurged(w)
	}
	// Started again it has nothing to do.
	w = c.start(countingTopology(in, table, out, rekey), Options{Delivery: delivery})
	c.eventually("the second start", func() bool { return w.Status().Tasks > 0 && c.caughtUp(w) })
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if again := c.results(out); !maps.EqualFunc(again, got, slices.Equal[[]int64]) {
		t.Error("the second start wrote again")
	}
}

func (c *cluster) caughtUp(w *Worker) bool {
	s := w.Status()
	return len(s.Inputs) > 0 && !slices.ContainsFunc(s.Inputs, func(in InputStatus) bool { return in.Position < in.End })
}

// wantPurged checks that repartition topics hold nothing that is committed.
func (c *cluster) wantPurged(w *Worker) {
	c.t.Helper()
	for topic := range w.mu.member.plan.partitions {
		if !strings.HasSuffix(topic, "-repartition") {
			continue
		}
		starts, err := c.admin.ListStartOffsets(context.Background(), topic)
		if err != nil {
			c.t.Fatal(err)
		}
		purged := false
		starts.Each(func(o kadm.ListedOffset) { purged = purged || o.Offset > 0 })
		if !purged {
			c.t.Errorf("%s was not purged", topic)
		}
	}
}

// TestKilledWorkerLosesNothing kills workers at arbitrary moments. What was counted is never lower than the truth.
func TestKilledWorkerLosesNothing(t *testing.T) {
	c := newCluster(t)
	in, table, out := c.topic("in", 4), c.topic("table", 4), c.topic("out", 4)
	c.produce(table, friends()...)
	records, want := counted(20_000)
	top := func() *Topology { return countingTopology(in, table, out, true) }
	for i := range 5 {
		c.produce(in, records[i*4000:(i+1)*4000]...)
		w := c.start(top(), Options{InstanceID: "one"})
		goal := w.Metrics().RecordsIn.Load() + 1000*int64(i)
		c.eventually("some records", func() bool { return w.Metrics().RecordsIn.Load() > goal })
		w.kill()
		if err := w.Wait(); err != nil && !errors.Is(err, context.Canceled) {
			t.Fatal(err)
		}
	}
	c.produce(in, closing()...)
	c.start(top(), Options{InstanceID: "one"})
	var got map[string][]int64
	c.eventually("all windows", func() bool {
		got = c.results(out)
		return len(got) >= len(want)
	})
	for key, n := range want {
		if slices.Max(got[key]) < n {
			t.Errorf("%s: got %v, want at least %d", key, got[key], n)
		}
	}
}

// TestTasksMoveBetweenWorkers lets a second worker join and the first one leave.
func TestTasksMoveBetweenWorkers(t *testing.T) {
	c := newCluster(t)
	in, table, out := c.topic("in", 4), c.topic("table", 4), c.topic("out", 4)
	c.produce(table, friends()...)
	records, want := counted(8000)
	top := func() *Topology { return countingTopology(in, table, out, false) }
	first := c.start(top(), Options{})
	c.produce(in, records[:4800]...)
	c.eventually("some records", func() bool { return first.Metrics().RecordsIn.Load() > 100 })
	second := c.start(top(), Options{})
	c.eventually("a fair division", func() bool { return first.Status().Tasks == 2 && second.Status().Tasks == 2 })
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	c.eventually("all tasks in one worker", func() bool { return second.Status().Tasks == 4 })
	c.produce(in, append(records[4800:], closing()...)...)
	var got map[string][]int64
	c.eventually("all windows", func() bool {
		got = c.results(out)
		return len(got) >= len(want)
	})
	for key, n := range want {
		if slices.Max(got[key]) < n {
			t.Errorf("%s: got %v, want at least %d", key, got[key], n)
		}
	}
}

func TestWorkerSaysWhatIsWrong(t *testing.T) {
	c := newCluster(t)
	in := c.topic("in", 1)
	c.produce(in, &kgo.Record{Value: []byte("no JSON")})
	top := NewTopology()
	top.Stream(in, String, JSON[map[string]int]()).Peek(func(string, map[string]int) {})
	w, err := Start(context.Background(), top, Options{Client: c.options, ApplicationID: c.prefix + "app"})
	if err != nil {
		t.Fatal(err)
	}
	err = w.Wait()
	if failed := (*RecordError)(nil); !errors.As(err, &failed) || failed.Topic != in || failed.Offset != 0 {
		t.Fatal(err)
	}
}

func TestWorkerWaitsForItsTopics(t *testing.T) {
	c := newCluster(t)
	top := NewTopology()
	top.Stream(c.prefix+"in", String, String).To(c.prefix + "out")
	w := c.start(top, Options{})
	c.eventually("the topics to be named", func() bool {
		return strings.Contains(w.Status().State, "waiting for topic "+c.prefix+"in, "+c.prefix+"out")
	})
	in := c.topic("in", 1)
	out := c.topic("out", 1)
	c.produce(in, &kgo.Record{Value: []byte("x")})
	c.eventually("the record", func() bool { return len(c.read(out)) == 1 })
}
