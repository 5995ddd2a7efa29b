package e2e

import (
	"context"
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

var (
	tortureCycles = flag.Int("torture.cycles", 30, "how often TestTorture kills the broker; -short: 6")
	tortureSeed   = flag.Uint64("torture.seed", 0, "seed of the moments of TestTorture; 0 takes one and tells it")
)

// tortureSettings make what is rare happen all the time: segments are sealed, compacted and deleted, and internal topics too.
var tortureSettings = []string{"log.retention.check.interval.ms=200", "log.cleaner.backoff.ms=200", "offsets.topic.segment.bytes=1048576", "transaction.state.log.segment.bytes=1048576",
	"group.initial.rebalance.delay.ms=0", "offsets.topic.num.partitions=5", "transaction.state.log.num.partitions=5"}

// TestTorture kills the broker again and again under producers that are idempotent, transactional and copying, and members of groups of both protocols, now and then
// while it starts. After each start no committed offset may have gone back; at the end every acknowledged record is there, once and in order, transactions are
// whole or not there at all, of compacted keys the newest value is there, and every group has read everything.
func TestTorture(t *testing.T) {
	cycles, seed := *tortureCycles, *tortureSeed
	if testing.Short() {
		cycles = 6
	}
	if seed == 0 {
		seed = rand.Uint64()
	}
	t.Logf("%d cycles, -torture.seed %d", cycles, seed)
	random := rand.New(rand.NewPCG(seed, 0))
	n := startTorture(t)
	acked := startAckedProducer(t, n.kafka, "-c", "segment.ms=1500")
	for _, topic := range []string{"txn", "copied"} {
		milldam(t, "topic", "create", topic, "-p", strconv.Itoa(txnPartitions), "-c", "segment.ms=1500", "-b", n.kafka)
	}
	latest := startLatest(t, n.kafka)
	ctx, stop := context.WithCancel(t.Context())
	var running sync.WaitGroup
	defer running.Wait()
	defer stop()
	writers := startWriters(ctx, &running, n.kafka)
	startCopiers(ctx, &running, n.kafka, seed)
	groups := []*readingGroup{startGroup(ctx, t, &running, n.kafka, "classic"), startGroup(ctx, t, &running, n.kafka, "consumer")}
	for cycle := range cycles {
		pause(t, time.Duration(100+random.IntN(800))*time.Millisecond)
		floor := committedFloor(groups)
		n.kill()
		for random.IntN(4) == 0 { // and again while it starts
			n.launch()
			pause(t, time.Duration(random.IntN(150))*time.Millisecond)
			n.kill()
		}
		began := time.Now()
		n.start()
		took := time.Since(began)
		if err := neverBack(t, n.kafka, floor); err != nil {
			t.Errorf("cycle %d: %v", cycle+1, err)
		}
		t.Logf("cycle %d of %d: serves after %s; %d records, %d keyed acknowledged, %d transactions begun", cycle+1, cycles, took.Round(time.Millisecond), acked.count(), latest.count(), writersCount(writers))
		if t.Failed() {
			break
		}
	}
	pause(t, time.Second)
	acked.finish()
	latest.finish()
	acked.check()
	latest.check()
	eventually(t, 2*time.Minute, func() error { return copiedAll(t, n.kafka, acked) })
	for _, g := range groups {
		eventually(t, time.Minute, func() error { return g.readAll(acked) })
	}
	stop()
	running.Wait()
	checkTransactions(t, n.kafka, writers, cycles)
}

// startTorture starts a server in a folder that stays when the test fails, on a port that it keeps.
func startTorture(t *testing.T) *node {
	t.Helper()
	n := startServer(t, tortureSettings...)
	n.keepPort()
	t.Cleanup(func() {
		if !t.Failed() {
			return
		}
		n.kill()
		dir, err := os.MkdirTemp("", "milldam-torture")
		if err == nil {
			err = os.CopyFS(filepath.Join(dir, "data"), os.DirFS(n.dir))
		}
		t.Logf("the data is kept in %s (%v): look at it with milldam log verify", dir, err)
	})
	return n
}

// startCopiers starts what copies topic acked to copied, each record once.
func startCopiers(ctx context.Context, running *sync.WaitGroup, broker string, seed uint64) {
	for i := range 2 {
		running.Go(func() {
			for life := uint64(i) << 32; ctx.Err() == nil; life++ { // who cannot go on is started again, as an application is
				_ = copier(ctx, broker, "acked", "copied", fmt.Sprintf("copier-%d", i), seed+life)
			}
		})
	}
}

func writersCount(writers []*txnWriter) (begun int64) {
	for _, w := range writers {
		begun += w.begun.Load()
	}
	return begun
}

// latest produces ever larger numbers under a few keys to a topic that is compacted, and keeps the largest of each that was acknowledged.
type latest struct {
	*numbered
	mu    sync.Mutex
	acked map[string]int
	all   int // acknowledged records
}

// latestKeys is how many keys there are.
const latestKeys = 40

func startLatest(t testing.TB, broker string) *latest {
	t.Helper()
	milldam(t, "topic", "create", "compacted", "-p", "2", "-c", "cleanup.policy=compact", "-c", "min.cleanable.dirty.ratio=0.01", "-c", "max.compaction.lag.ms=500", "-b", broker)
	l := &latest{acked: map[string]int{}}
	l.numbered = startNumbered(t, broker, func(i int) *kgo.Record {
		return &kgo.Record{Topic: "compacted", Partition: int32(i % 2), Key: fmt.Appendf(nil, "key-%d", i%latestKeys), Value: []byte(strconv.Itoa(i))}
	}, func(r *kgo.Record) {
		n, _ := strconv.Atoi(string(r.Value))
		l.mu.Lock()
		defer l.mu.Unlock()
		l.acked[string(r.Key)], l.all = max(n, l.acked[string(r.Key)]), l.all+1
	})
	return l
}

func (l *latest) count() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.all
}

// check asserts that the values of each key grow, up to one that is not older than the newest acknowledged.
func (l *latest) check() {
	l.t.Helper()
	last := map[string]int{}
	records := readTopic(l.t, l.broker, "compacted")
	for _, r := range records {
		n, err := strconv.Atoi(string(r.Value))
		if before, ok := last[string(r.Key)]; err != nil || ok && n <= before {
			l.t.Errorf("compacted-%d: %s is %s at offset %d, and was %d before", r.Partition, r.Key, r.Value, r.Offset, before)
		}
		last[string(r.Key)] = n
	}
	for key, n := range l.acked {
		if got, ok := last[key]; !ok || got < n {
			l.t.Errorf("%s is %d (there: %v), %d was acknowledged", key, got, ok, n)
		}
	}
	l.t.Logf("%d records are left of %d keys", len(records), len(last))
}

// readingGroup is a group of two members that read all of topic acked and commit.
type readingGroup struct {
	name string
	mu   struct {
		sync.Mutex
		committed map[int32]int64 // the largest offset whose commit was acknowledged
		seen      map[string]bool
	}
}

// startGroup starts the members of a group of a protocol, "classic" or "consumer".
func startGroup(ctx context.Context, t testing.TB, running *sync.WaitGroup, broker, protocol string) *readingGroup {
	t.Helper()
	g := &readingGroup{name: "readers-" + protocol}
	g.mu.committed, g.mu.seen = map[int32]int64{}, map[string]bool{}
	if protocol == "consumer" {
		//lint:ignore SA1029 franz-go looks for this text
		ctx = context.WithValue(ctx, "opt_in_kafka_next_gen_balancer_beta", true)
	}
	for range 2 {
		cl, err := kgo.NewClient(kgo.SeedBrokers(broker), kgo.WithContext(ctx), kgo.ConsumerGroup(g.name), kgo.ConsumeTopics("acked"), kgo.DisableAutoCommit(), kgo.Balancers(kgo.CooperativeStickyBalancer()),
			kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.SessionTimeout(6*time.Second), kgo.HeartbeatInterval(500*time.Millisecond), kgo.FetchMaxWait(100*time.Millisecond),
			kgo.MetadataMinAge(100*time.Millisecond), kgo.BlockRebalanceOnPoll())
		if err != nil {
			t.Fatal(err)
		}
		running.Go(func() {
			defer cl.CloseAllowingRebalance()
			for ctx.Err() == nil {
				g.poll(ctx, cl)
				cl.AllowRebalance()
			}
		})
	}
	return g
}

func (g *readingGroup) poll(ctx context.Context, cl *kgo.Client) {
	records := cl.PollRecords(ctx, 500).Records()
	next := map[int32]int64{}
	g.mu.Lock()
	for _, r := range records {
		g.mu.seen[string(r.Value)] = true
		next[r.Partition] = r.Offset + 1
	}
	g.mu.Unlock()
	if len(records) == 0 || cl.CommitRecords(ctx, records...) != nil {
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	for p, offset := range next {
		g.mu.committed[p] = max(g.mu.committed[p], offset)
	}
}

// readAll tells whether the members have seen every acknowledged record.
func (g *readingGroup) readAll(acked *ackedProducer) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	missing := 0
	for _, value := range acked.acked {
		if !g.mu.seen[value] {
			missing++
		}
	}
	if missing > 0 {
		return fmt.Errorf("group %s has not seen %d of %d records", g.name, missing, len(acked.acked))
	}
	return nil
}

// committedFloor is what groups have committed and been acknowledged, by group and partition.
func committedFloor(groups []*readingGroup) map[string]map[int32]int64 {
	floor := map[string]map[int32]int64{}
	for _, g := range groups {
		g.mu.Lock()
		floor[g.name] = maps.Clone(g.mu.committed)
		g.mu.Unlock()
	}
	return floor
}

// neverBack tells of a committed offset that is below the floor.
func neverBack(t testing.TB, broker string, floor map[string]map[int32]int64) error {
	cl, err := kgo.NewClient(kgo.SeedBrokers(broker))
	if err != nil {
		return err
	}
	defer cl.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	for group, partitions := range floor {
		offsets, err := kadm.NewClient(cl).FetchOffsets(ctx, group)
		if err != nil {
			return fmt.Errorf("fetch the offsets of %s: %w", group, err)
		}
		for p, least := range partitions {
			if got, ok := offsets.Lookup("acked", p); !ok || got.At < least {
				return fmt.Errorf("group %s: the offset of acked-%d is %d, %d was acknowledged", group, p, got.At, least)
			}
		}
	}
	return nil
}

// copiedAll asserts that no record is copied twice, and tells how many are still to come.
func copiedAll(t testing.TB, broker string, acked *ackedProducer) error {
	t.Helper()
	seen := map[string]int{}
	for _, value := range readCommitted(t, broker, "copied") {
		if seen[value]++; seen[value] > 1 {
			t.Fatalf("%s is copied %d times", value, seen[value])
		}
	}
	missing := 0
	for _, value := range acked.acked {
		if seen[value] == 0 {
			missing++
		}
	}
	if missing > 0 {
		return fmt.Errorf("%d of %d records are not copied", missing, len(acked.acked))
	}
	return nil
}
