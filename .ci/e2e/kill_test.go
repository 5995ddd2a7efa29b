package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

const (
	// What a restarted node may take.
	readyBound     = 2 * time.Second
	pipelinesBound = 5 * time.Second
	// momentPatience is how long a kill waits for its moment; when that has passed already it comes then.
	momentPatience = 8 * time.Second
)

// moment is when a node is killed.
type moment struct {
	name string
	// starting is to kill a process that has just been started.
	starting bool
	// grows counts what grows at that moment; nil is not to wait for it.
	grows func(n *node) int64
	// within is the longest random time after that.
	within time.Duration
}

// moments are those of one demo, in order: they meet each of its parts at work.
var moments = []moment{
	{name: "flights come in", starting: true, grows: topicEnd("flights"), within: 50 * time.Millisecond},
	{name: "the process starts", starting: true, within: 300 * time.Millisecond},
	{name: "any time", within: 3 * time.Second},
	{name: "windows close", grows: topicEnd("delays-daily"), within: 50 * time.Millisecond},
	{name: "objects are uploaded", grows: countObjects, within: 200 * time.Millisecond},
}

// demosKilled makes 50 kills of the moments.
const demosKilled = 10

// topicEnd is the sum of a topic's end offsets; 0 when it is not there yet.
func topicEnd(topic string) func(n *node) int64 {
	return func(n *node) int64 {
		ctx, cancel := context.WithTimeout(n.t.Context(), 10*time.Second)
		defer cancel()
		cl, err := kgo.NewClient(kgo.SeedBrokers(n.kafka))
		if err != nil {
			n.t.Fatal(err)
		}
		defer cl.Close()
		sum := int64(0)
		if ends, err := kadm.NewClient(cl).ListEndOffsets(ctx, topic); err == nil {
			ends.Each(func(o kadm.ListedOffset) { sum += max(o.Offset, 0) })
		}
		return sum
	}
}

func countObjects(n *node) int64 {
	objects, err := filepath.Glob(filepath.Join(n.dir, "s3", "*", "*", "*", "*.parquet"))
	if err != nil {
		n.t.Fatal(err)
	}
	return int64(len(objects))
}

// await returns when what m waits for has grown, or momentPatience is over.
func (m moment) await(t testing.TB, n *node) {
	if m.grows == nil {
		return
	}
	deadline, before := time.Now().Add(momentPatience), int64(0)
	if !m.starting {
		before = m.grows(n)
	}
	for m.grows(n) == before && time.Now().Before(deadline) {
		pause(t, pollEvery/10)
	}
}

// TestDemoUnderKills kills the demo at random moments while a client produces, and at last holds everything against what must be there: whoever
// reads committed records sees each flight and each origin-day once. The objects are written at least once.
func TestDemoUnderKills(t *testing.T) {
	demos := demosKilled
	if testing.Short() {
		demos = 1
	}
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	for i := range demos {
		t.Run(fmt.Sprintf("demo %d", i+1), func(t *testing.T) { killDemo(t, random) })
	}
}

func killDemo(t *testing.T, random *rand.Rand) {
	dir := t.TempDir()
	n := startDev(t, dir, nil)
	// A client keeps the address it knows, so the node comes back at the same one, and now with the demo.
	n.keepPort()
	n.args = append(n.args, "--demo")
	p := startAckedProducer(t, n.kafka)
	eventually(t, 10*time.Second, func() error {
		if p.count() == 0 {
			return fmt.Errorf("nothing is acknowledged yet")
		}
		return nil
	})
	for _, m := range moments {
		acked := p.count()
		if m.starting {
			n.kill()
			n.launch()
		}
		m.await(t, n)
		pause(t, time.Duration(random.Int64N(int64(m.within))))
		n.kill()
		acked = p.count() - acked
		began := time.Now()
		n.start()
		checkAnswers(t, n, began)
		eventually(t, pipelinesBound-time.Since(began), func() error { return pipelinesRun(n) })
		if took := time.Since(began); took > pipelinesBound {
			t.Errorf("killed when %s: pipelines run after %s", m.name, took)
		}
		if acked > 0 && !strings.Contains(n.log.String(), "msg=recovered") {
			t.Errorf("killed when %s, after %d records were acknowledged: the start does not tell what it replayed\n%s", m.name, acked, n.log)
		}
		t.Logf("killed when %s: %d flights in, %d origin-days out and %d objects are there now, %d records acknowledged before, all runs after %s", m.name,
			topicEnd("flights")(n), topicEnd("delays-daily")(n), countObjects(n), acked, time.Since(began).Round(time.Millisecond))
	}
	p.finish()
	eventually(t, 90*time.Second, func() error { return demoDone(t, n) })
	p.check()
	checkFlights(t, n.kafka, once)
	checkDelays(t, n.kafka, once)
	checkParquet(t, filepath.Join(dir, "s3"), atLeastOnce)
}

// pause waits, unless the test ends.
func pause(t testing.TB, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-t.Context().Done():
	}
}

// checkAnswers asserts that a node which was started at began produces and fetches in time; startDev has seen /readyz.
func checkAnswers(t testing.TB, n *node, began time.Time) {
	t.Helper()
	ready := time.Since(began)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	cl, err := kgo.NewClient(kgo.SeedBrokers(n.kafka), kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{"probe": {0: kgo.NewOffset().AtStart()}}))
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	if err := cl.ProduceSync(ctx, &kgo.Record{Topic: "probe", Value: []byte("x")}).FirstErr(); err != nil {
		t.Fatalf("produce after the restart: %v", err)
	}
	produced := time.Since(began)
	if err := cl.PollFetches(ctx).Err(); err != nil {
		t.Fatalf("fetch after the restart: %v", err)
	}
	if took := time.Since(began); took > readyBound {
		t.Errorf("ready after %s, produced after %s, fetched after %s; at most %s", ready, produced, took, readyBound)
	}
}

// pipelineStates are the states of the node's pipelines by name.
func pipelineStates(n *node) (map[string]string, error) {
	resp, err := http.Get(n.http + "/api/v1/pipelines")
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	var body struct {
		Pipelines []struct{ Name, State string }
	}
	if err := json.NewDecoder(resp.Body).Decode(&body); err != nil {
		return nil, err
	}
	states := map[string]string{}
	for _, p := range body.Pipelines {
		states[p.Name] = p.State
	}
	return states, nil
}

// pipelinesRun tells of the first pipeline that neither runs, nor is done, nor waits for one of those.
func pipelinesRun(n *node) error {
	states, err := pipelineStates(n)
	if err != nil {
		return err
	}
	if len(states) == 0 {
		return fmt.Errorf("no pipelines yet")
	}
	for name, state := range states {
		if !slices.Contains([]string{"running", "done", "waiting"}, state) {
			return fmt.Errorf("pipeline %s is %s", name, state)
		}
	}
	return nil
}

// demoDone tells what of the demo is left to do.
func demoDone(t testing.TB, n *node) error {
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	cl, err := kgo.NewClient(kgo.SeedBrokers(n.kafka))
	if err != nil {
		return err
	}
	defer cl.Close()
	admin := kadm.NewClient(cl)
	windows, err := readAll(ctx, n.kafka, "delays-daily")
	if err != nil {
		return err
	}
	if len(windows) < originDays {
		return fmt.Errorf("%d of %d origin-days", len(windows), originDays)
	}
	lags, err := admin.Lag(ctx)
	if err != nil {
		return err
	}
	if len(lags) < 3 {
		return fmt.Errorf("%d groups", len(lags))
	}
	for group, lag := range lags {
		if left := lag.Lag.Total(); left != 0 || lag.Error() != nil {
			return fmt.Errorf("group %s has %d records to go: %v", group, left, lag.Error())
		}
	}
	return nil
}

// numbered produces a record each millisecond, until it is told to finish.
type numbered struct {
	t      testing.TB
	broker string
	cl     *kgo.Client
	stop   context.CancelFunc
	done   sync.WaitGroup
	mu     sync.Mutex
	failed error
}

// startNumbered produces what record makes of each number, and tells acked of what was acknowledged.
func startNumbered(t testing.TB, broker string, record func(i int) *kgo.Record, acked func(*kgo.Record)) *numbered {
	t.Helper()
	cl, err := kgo.NewClient(kgo.SeedBrokers(broker), kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.MetadataMinAge(100*time.Millisecond),
		kgo.RetryBackoffFn(func(int) time.Duration { return 50 * time.Millisecond }))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	p := &numbered{t: t, broker: broker, cl: cl, stop: cancel}
	t.Cleanup(func() { cancel(); cl.Close() })
	p.done.Go(func() {
		tick := time.NewTicker(time.Millisecond)
		defer tick.Stop()
		for i := 0; ; i++ {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
			cl.Produce(context.Background(), record(i), func(r *kgo.Record, err error) {
				if err != nil {
					p.mu.Lock()
					defer p.mu.Unlock()
					p.failed = err
					return
				}
				acked(r)
			})
		}
	})
	return p
}

// ackedProducer produces numbers and keeps those that were acknowledged.
type ackedProducer struct {
	*numbered
	mu    sync.Mutex
	acked []string
}

const ackedPartitions = 2

func startAckedProducer(t testing.TB, broker string, topicFlags ...string) *ackedProducer {
	t.Helper()
	milldam(t, append([]string{"topic", "create", "acked", "-p", fmt.Sprint(ackedPartitions), "-b", broker}, topicFlags...)...)
	milldam(t, "topic", "create", "probe", "-b", broker)
	p := &ackedProducer{}
	p.numbered = startNumbered(t, broker, func(i int) *kgo.Record {
		return &kgo.Record{Topic: "acked", Partition: int32(i % ackedPartitions), Value: fmt.Appendf(nil, "%09d", i)}
	}, func(r *kgo.Record) {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.acked = append(p.acked, string(r.Value))
	})
	return p
}

// count is how many records are acknowledged.
func (p *ackedProducer) count() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.acked)
}

// finish ends the producer after everything it sent is acknowledged.
func (p *numbered) finish() {
	p.t.Helper()
	p.stop()
	p.done.Wait()
	ctx, cancel := context.WithTimeout(p.t.Context(), 30*time.Second)
	defer cancel()
	if err := p.cl.Flush(ctx); err != nil {
		p.t.Fatalf("flush the producer: %v", err)
	}
	if p.failed != nil {
		p.t.Errorf("a record was given up: %v", p.failed)
	}
}

// check asserts that every acknowledged record is there once, and in order.
func (p *ackedProducer) check() {
	p.t.Helper()
	seen := map[string]int{}
	last := map[int32]string{}
	for _, r := range readTopic(p.t, p.broker, "acked") {
		value := string(r.Value)
		if seen[value]++; seen[value] > 1 {
			p.t.Errorf("%s is there twice, again at acked-%d offset %d", value, r.Partition, r.Offset)
		}
		if value <= last[r.Partition] && last[r.Partition] != "" {
			p.t.Errorf("acked-%d: %s comes after %s", r.Partition, value, last[r.Partition])
		}
		last[r.Partition] = value
	}
	lost := 0
	for _, value := range p.acked {
		if seen[value] == 0 {
			lost++
		}
	}
	if lost > 0 || len(p.acked) == 0 {
		p.t.Errorf("%d of %d acknowledged records are lost", lost, len(p.acked))
	}
}
