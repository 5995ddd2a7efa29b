package streams

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"math/rand/v2"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/milldam/milldam/core/client"
)

// needsTransactions skips the test where the broker has no transactions.
func (c *cluster) needsTransactions() {
	c.t.Helper()
	versions, err := kmsg.NewPtrApiVersionsRequest().RequestWith(context.Background(), c.client)
	if err != nil {
		c.t.Fatal(err)
	}
	if !slices.ContainsFunc(versions.ApiKeys, func(k kmsg.ApiVersionsResponseApiKey) bool { return k.ApiKey == kmsg.EndTxn.Int16() }) {
		c.t.Skip("the broker has no transactions")
	}
}

// gate lets connections through, or holds everything on them back.
type gate struct {
	mu     sync.Mutex
	closed chan struct{} // nil while it is open
	writes int           // until it closes by itself; 0 is never
}

func (g *gate) close() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.closeLocked()
}

func (g *gate) closeLocked() {
	if g.closed == nil {
		g.closed = make(chan struct{})
	}
}

func (g *gate) isClosed() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.closed != nil
}

func (g *gate) open() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.writes = 0
	if g.closed != nil {
		close(g.closed)
		g.closed = nil
	}
}

func (g *gate) pass() {
	g.mu.Lock()
	closed := g.closed
	g.mu.Unlock()
	if closed != nil {
		<-closed
	}
}

// count takes one write from those that are let through.
func (g *gate) count() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.writes == 0 {
		return
	}
	if g.writes--; g.writes == 0 {
		g.closeLocked()
	}
}

// gatedConn is a connection through a gate.
type gatedConn struct {
	net.Conn
	gate *gate
}

func (c gatedConn) Write(b []byte) (int, error) {
	c.gate.count()
	c.gate.pass()
	return c.Conn.Write(b)
}

func (c gatedConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	c.gate.pass()
	return n, err
}

// through returns the way to the cluster through a gate.
func (c *cluster) through(g *gate) *cluster {
	dial := c.options.Dial
	if dial == nil {
		dial = (&net.Dialer{}).DialContext
	}
	gated := *c
	gated.options.Dial = func(ctx context.Context, network, addr string) (net.Conn, error) {
		g.pass()
		conn, err := dial(ctx, network, addr)
		if err != nil {
			return nil, err
		}
		return gatedConn{conn, g}, nil
	}
	return &gated
}

// exact asserts that each window was sent once, with what was counted.
func exact(t *testing.T, got map[string][]int64, want map[string]int64) {
	t.Helper()
	for key, n := range want {
		if !slices.Equal(got[key], []int64{n}) {
			t.Errorf("%s: got %v, want %d once", key, got[key], n)
		}
	}
	if len(got) != len(want) {
		t.Errorf("%d windows, want %d", len(got), len(want))
	}
}

// TestKilledWorkerChangesNothing kills workers at arbitrary moments, sometimes with a transaction that is left open.
func TestKilledWorkerChangesNothing(t *testing.T) {
	c := newCluster(t)
	c.needsTransactions()
	in, table, out := c.topic("in", 4), c.topic("table", 4), c.topic("out", 4)
	c.produce(table, friends()...)
	records, want := counted(20_000)
	top := func() *Topology { return countingTopology(in, table, out, true) }
	for i := range 6 {
		c.produce(in, records[i*3000:(i+1)*3000]...)
		g := &gate{}
		w := c.through(g).start(top(), Options{InstanceID: "one", Delivery: ExactlyOnce})
		goal := 700 * int64(i)
		c.eventually("some records", func() bool { return w.Metrics().RecordsIn.Load() > goal || c.caughtUp(w) })
		if i%2 == 0 {
			g.close() // nothing that it does from now on arrives
		}
		w.kill()
		if i%2 == 0 {
			g.open()
		}
		if err := w.Wait(); err != nil && !errors.Is(err, context.Canceled) {
			t.Fatal(err)
		}
	}
	c.produce(in, append(records[18_000:], closing()...)...)
	w := c.start(top(), Options{InstanceID: "one", Delivery: ExactlyOnce})
	c.eventually("all windows", func() bool { return len(c.results(out)) >= len(want) && c.caughtUp(w) })
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	exact(t, c.results(out), want)
}

// TestACutAtAnyRequestChangesNothing holds back what a worker sends from its n-th request on, and kills it: between any two of those that
// make a transaction. What it had sent, or was about to, arrives when the next one is starting.
func TestACutAtAnyRequestChangesNothing(t *testing.T) {
	c := newCluster(t)
	c.needsTransactions()
	in, table, out := c.topic("in", 2), c.topic("table", 2), c.topic("out", 2)
	c.produce(table, friends()...)
	const cuts, each = 60, 100
	records, want := counted(cuts * each)
	for n := range cuts {
		c.produce(in, records[n*each:(n+1)*each]...)
		g := &gate{writes: 20 + n}
		w := c.through(g).start(countingTopology(in, table, out, true), Options{InstanceID: "one", Delivery: ExactlyOnce, Lanes: 1})
		c.eventually("the cut", func() bool { return g.isClosed() || c.caughtUp(w) && w.Metrics().RecordsIn.Load() > 0 })
		w.kill()
		g.open()
		if err := w.Wait(); err != nil && !errors.Is(err, context.Canceled) {
			t.Fatal(err)
		}
	}
	c.produce(in, closing()...)
	w := c.start(countingTopology(in, table, out, true), Options{InstanceID: "one", Delivery: ExactlyOnce})
	c.eventually("all windows", func() bool { return len(c.results(out)) >= len(want) && c.caughtUp(w) })
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	exact(t, c.results(out), want)
}

// TestTasksThatMoveChangeNothing lets workers join and leave while there is work.
func TestTasksThatMoveChangeNothing(t *testing.T) {
	c := newCluster(t)
	c.needsTransactions()
	in, table, out := c.topic("in", 4), c.topic("table", 4), c.topic("out", 4)
	c.produce(table, friends()...)
	records, want := counted(20_000)
	o := Options{Delivery: ExactlyOnce}
	first := c.start(countingTopology(in, table, out, true), o)
	c.produce(in, records[:5000]...)
	c.eventually("some records", func() bool { return first.Metrics().RecordsIn.Load() > 100 })
	second := c.start(countingTopology(in, table, out, true), o)
	c.produce(in, records[5000:10_000]...)
	c.eventually("a fair division", func() bool { return first.Status().Tasks == 4 && second.Status().Tasks == 4 })
	c.produce(in, records[10_000:15_000]...)
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	c.produce(in, append(records[15_000:], closing()...)...)
	c.eventually("all windows", func() bool {
		return len(c.results(out)) >= len(want) && second.Status().Tasks == 8 && c.caughtUp(second)
	})
	if err := second.Close(); err != nil {
		t.Fatal(err)
	}
	exact(t, c.results(out), want)
}

// TestAZombieIsFenced pauses a worker, lets another of the same name take over, and lets the first go on.
func TestAZombieIsFenced(t *testing.T) {
	for _, instance := range []string{"one", ""} {
		t.Run(fmt.Sprintf("instance %q", instance), func(t *testing.T) { fenceZombie(t, instance) })
	}
}

func fenceZombie(t *testing.T, instance string) {
	c := newCluster(t)
	c.needsTransactions()
	in, out := c.topic("in", 2), c.topic("out", 2)
	top := func() *Topology {
		top := NewTopology()
		top.Stream(in, String, String).GroupByKey().Count("counts").To(out)
		return top
	}
	produce := func(from, to int) {
		var records []*kgo.Record
		for i := from; i < to; i++ {
			records = append(records, &kgo.Record{Key: fmt.Appendf(nil, "k%d", i%10), Value: []byte("v")})
		}
		c.produce(in, records...)
	}
	sent := func() map[string][]int64 {
		got := map[string][]int64{}
		for _, r := range c.read(out) {
			n, err := Int64.Decode(r.Value)
			if err != nil {
				t.Fatal(err)
			}
			got[string(r.Key)] = append(got[string(r.Key)], n)
		}
		return got
	}
	total := func() (n int) {
		for _, counts := range sent() {
			n += len(counts)
		}
		return n
	}
	o := Options{InstanceID: instance, Delivery: ExactlyOnce, SessionTimeout: 6 * time.Second, TransactionTimeout: 5 * time.Second}
	g := &gate{}
	paused := *c.through(g)
	zombie, err := paused.startUnchecked(top(), o)
	if err != nil {
		t.Fatal(err)
	}
	produce(0, 500)
	c.eventually("the first to count", func() bool { return total() == 500 })
	produce(500, 1000) // some of it may be in an open transaction when it pauses
	g.close()
	second := c.start(top(), o)
	produce(1000, 1500)
	c.eventually("the second to take over", func() bool { return total() == 1500 })
	g.open()
	produce(1500, 2000)
	if instance != "" {
		if err := zombie.Wait(); !errors.Is(err, kerr.FencedInstanceID) || !strings.Contains(err.Error(), "give each its own") {
			t.Errorf("the zombie ended with %v", err)
		}
	} else {
		// It has another name, so it joins again, and takes a share.
		c.eventually("the first to join again", func() bool { return zombie.Status().Tasks == 1 && second.Status().Tasks == 1 })
	}
	produce(2000, 2500)
	c.eventually("everything", func() bool { return total() >= 2500 })
	if err := second.Close(); err != nil {
		t.Fatal(err)
	}
	if err := zombie.Close(); err != nil && instance == "" {
		t.Fatal(err)
	}
	for key, counts := range sent() {
		for i, n := range counts {
			if n != int64(i+1) {
				t.Fatalf("%s was counted %v", key, counts)
			}
		}
	}
	if n := total(); n != 2500 {
		t.Errorf("%d counts were sent, want 2500", n)
	}
}

// transfer moves an amount between two accounts.
type transfer struct {
	From, To string
	Amount   int64
}

// bank keeps the balances of accounts, and sends each new one.
func bank(in, out string) *Topology {
	top := NewTopology()
	top.Stream(in, String, JSON[transfer]()).
		FlatMapValues(func(t transfer) iter.Seq[transfer] {
			return func(yield func(transfer) bool) {
				if yield(transfer{From: t.From, Amount: -t.Amount}) {
					yield(transfer{From: t.To, Amount: t.Amount})
				}
			}
		}).
		GroupBy("by-account", func(_ string, t transfer) string { return t.From }).
		Aggregate("balances", func() int64 { return 0 }, func(balance int64, t transfer) int64 { return balance + t.Amount }).
		To(out)
	return top
}

// transfers are between 10 accounts, in no order of time.
func transfers(n int) (messages []Message, amounts map[string][]int64) {
	amounts = map[string][]int64{}
	for i := range n {
		from, to, amount := fmt.Sprintf("a%d", i*7%10), fmt.Sprintf("a%d", (i*3+1)%10), int64(i+1)
		value, err := JSON[transfer]().Append(nil, transfer{from, to, amount})
		if err != nil {
			panic(err)
		}
		messages = append(messages, Message{Key: []byte(strconv.Itoa(i % 5)), Value: value, Time: time.UnixMilli(10_000 + int64(i*7919%10_000))})
		amounts[from] = append(amounts[from], -amount)
		amounts[to] = append(amounts[to], amount)
	}
	return messages, amounts
}

// checkBank asserts that each amount changed its account once: the differences between the balances of an account are its amounts, in any
// order, and all balances together are 0.
func checkBank(balances map[string][]int64, amounts map[string][]int64) error {
	sum := int64(0)
	for account, want := range amounts {
		var got []int64
		before := int64(0)
		for _, b := range balances[account] {
			got = append(got, b-before)
			before = b
		}
		sum += before
		want = slices.Clone(want)
		slices.Sort(got)
		slices.Sort(want)
		if !slices.Equal(got, want) {
			return fmt.Errorf("account %s changed %d times, want %d, or by other amounts", account, len(got), len(want))
		}
	}
	if sum != 0 {
		return fmt.Errorf("the balances add up to %d", sum)
	}
	return nil
}

// TestACrashAtAnyStepKeepsTheBalances crashes before each thing that becomes durable.
func TestACrashAtAnyStepKeepsTheBalances(t *testing.T) {
	messages, amounts := transfers(60)
	for n, crashed := 0, true; crashed; n++ {
		s, err := Simulate(bank("in", "out"), SimulationOptions{Partitions: map[string]int32{"in": 2, "out": 2}, Delivery: ExactlyOnce})
		if err != nil {
			t.Fatal(err)
		}
		s.spare, crashed = n, false
		for i := 0; i < len(messages); i += 9 {
			err := s.Send("in", messages[i:min(i+9, len(messages))]...)
			for errors.Is(err, errCrashed) {
				crashed = true
				s.spare = -1
				err = errors.Join(s.Restart(), s.run())
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		balances := map[string][]int64{}
		for _, m := range s.Read("out") {
			b, err := Int64.Decode(m.Value)
			if err != nil {
				t.Fatal(err)
			}
			balances[string(m.Key)] = append(balances[string(m.Key)], b)
		}
		if err := checkBank(balances, amounts); err != nil {
			t.Fatalf("crash before step %d: %v", n, err)
		}
	}
}

// TestAKilledBankKeepsTheBalances is the same with a broker.
func TestAKilledBankKeepsTheBalances(t *testing.T) {
	c := newCluster(t)
	c.needsTransactions()
	in, out := c.topic("in", 3), c.topic("out", 3)
	messages, amounts := transfers(3000)
	produce := func(from, to int) {
		var records []*kgo.Record
		for _, m := range messages[from:to] {
			records = append(records, &kgo.Record{Key: m.Key, Value: m.Value, Timestamp: m.Time})
		}
		c.produce(in, records...)
	}
	for i := range 4 {
		produce(i*500, (i+1)*500)
		g := &gate{}
		w := c.through(g).start(bank(in, out), Options{InstanceID: "bank", Delivery: ExactlyOnce})
		c.eventually("some records", func() bool { return w.Metrics().RecordsOut.Load() > 300 })
		g.close()
		w.kill()
		g.open()
		if err := w.Wait(); err != nil && !errors.Is(err, context.Canceled) {
			t.Fatal(err)
		}
	}
	produce(2000, 3000)
	w := c.start(bank(in, out), Options{InstanceID: "bank", Delivery: ExactlyOnce})
	c.eventually("all transfers", func() bool { return len(c.read(out)) >= 2*len(messages) && c.caughtUp(w) })
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	balances := map[string][]int64{}
	for _, r := range c.read(out) {
		b, err := Int64.Decode(r.Value)
		if err != nil {
			t.Fatal(err)
		}
		balances[string(r.Key)] = append(balances[string(r.Key)], b)
	}
	if err := checkBank(balances, amounts); err != nil {
		t.Error(err)
	}
}

// conserving counts numbers by window, and has somewhere to go for those that are late and those that are none.
func conserving(rekey bool) *Topology {
	top := NewTopology()
	s := top.Stream("in", String, String).IdleAfter(time.Second).
		TryMap("number", OnError{Then: DeadLetter, Topic: "dead"}, func(_ context.Context, _, v string) (int, error) { return strconv.Atoi(v) })
	g := s.GroupByKey()
	if rekey {
		g = s.GroupBy("by-tens", func(_ string, n int) string { return strconv.Itoa(n / 10) })
	}
	w := g.Window(Tumbling(100 * time.Millisecond).Grace(20 * time.Millisecond))
	w.Late().To("late")
	w.Count("counts").Final(func(k string, w Window, n int64) int64 { return n }).To("final")
	return top
}

// conserved is some input, with records that come late, that are no numbers, and one from a time that cannot be.
func conserved(random *rand.Rand) (messages []Message) {
	for i := range 150 {
		m := Message{Key: fmt.Appendf(nil, "k%d", i%3), Value: []byte(strconv.Itoa(random.IntN(50))), Time: time.UnixMilli(int64(i)*10 - random.Int64N(200) + 200)}
		switch random.IntN(15) {
		case 0:
			m.Value = []byte("no number")
		case 1:
			m.Time = time.UnixMilli(1 << 60)
		}
		messages = append(messages, m)
	}
	return messages
}

// TestNothingIsLostOrTwiceAndReplayEqualsLive crashes at random: each record is counted, late or a dead letter, once. Without a repartition, whose readers hear
// of time when its writers commit, who gets all of it at once and without a crash ends with the same.
func TestNothingIsLostOrTwiceAndReplayEqualsLive(t *testing.T) {
	for _, rekey := range []bool{true, false} {
		t.Run(fmt.Sprintf("repartition %v", rekey), func(t *testing.T) { conserve(t, rekey) })
	}
}

func conserve(t *testing.T, rekey bool) {
	for seed := range uint64(60) {
		random := rand.New(rand.NewPCG(seed, 0))
		messages := conserved(random)
		run := func(chunk func() int, spare func() int) (outcome [3][]string) {
			s, err := Simulate(conserving(rekey), SimulationOptions{Delivery: ExactlyOnce})
			if err != nil {
				t.Fatal(err)
			}
			for rest := messages; len(rest) > 0; {
				n := min(chunk(), len(rest))
				s.spare = spare()
				err := s.Send("in", rest[:n]...)
				for errors.Is(err, errCrashed) {
					s.spare = spare()
					err = errors.Join(s.Restart(), s.run())
				}
				if err != nil {
					t.Fatal(err)
				}
				rest = rest[n:]
			}
			s.spare = -1
			if err := errors.Join(s.run(), s.Advance(time.Second), s.Advance(time.Second)); err != nil {
				t.Fatal(err)
			}
			for i, topic := range []string{"final", "late", "dead"} {
				for _, m := range s.Read(topic) {
					outcome[i] = append(outcome[i], fmt.Sprintf("%s=%s@%d", m.Key, m.Value, m.Time.UnixMilli()))
				}
				slices.Sort(outcome[i])
			}
			total := len(outcome[1]) + len(outcome[2])
			for _, m := range s.Read("final") {
				n, err := Int64.Decode(m.Value)
				if err != nil {
					t.Fatal(err)
				}
				total += int(n)
			}
			if total != len(messages) {
				t.Fatalf("seed %d: %d records came out, %d went in", seed, total, len(messages))
			}
			return outcome
		}
		live := run(func() int { return 1 + random.IntN(20) }, func() int { return random.IntN(60) })
		replay := run(func() int { return len(messages) }, func() int { return -1 })
		for i, what := range []string{"windows", "late records", "dead letters"} {
			if !rekey && !slices.Equal(live[i], replay[i]) {
				t.Fatalf("seed %d: %s differ: live %v, replayed %v", seed, what, live[i], replay[i])
			}
		}
	}
}

// TestMarkersHoldNothingBack has the marker of a transaction, whose time is that of the clock, before a record that is older than those
// of another input.
func TestMarkersHoldNothingBack(t *testing.T) {
	c := newCluster(t)
	c.needsTransactions()
	left, right, out := c.topic("left", 1), c.topic("right", 1), c.topic("out", 1)
	producer, err := client.New(c.options, kgo.TransactionalID(c.prefix+"writer"))
	if err != nil {
		t.Fatal(err)
	}
	defer producer.Close()
	for at := range int64(3) { // each a transaction, with its marker behind it
		if err := producer.BeginTransaction(); err != nil {
			t.Fatal(err)
		}
		if err := producer.ProduceSync(t.Context(), &kgo.Record{Topic: left, Value: fmt.Append(nil, at), Timestamp: time.UnixMilli(at)}).FirstErr(); err != nil {
			t.Fatal(err)
		}
		if err := producer.EndTransaction(t.Context(), kgo.TryCommit); err != nil {
			t.Fatal(err)
		}
	}
	c.produce(right, &kgo.Record{Value: []byte("9"), Timestamp: time.UnixMilli(9)})
	top := NewTopology()
	top.Stream(left, String, String).IdleAfter(time.Second).Merge(top.Stream(right, String, String).IdleAfter(time.Second)).To(out)
	c.start(top, Options{})
	var got []string
	c.eventually("all records", func() bool {
		got = nil
		for _, r := range c.read(out) {
			got = append(got, string(r.Value))
		}
		return len(got) == 4
	})
	if !slices.IsSorted(got) {
		t.Errorf("merged as %v", got)
	}
}
