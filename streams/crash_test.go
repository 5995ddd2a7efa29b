package streams

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// crashing counts by another key, so that state, repartition and windows are all in play.
func crashing() *Topology {
	top := NewTopology()
	w := top.Stream("in", String, String).IdleAfter(time.Second).
		GroupBy("by-value", func(_, v string) string { return v }).
		Window(Tumbling(100 * time.Millisecond))
	w.Late().To("late")
	w.Count("counts").
		Final(func(k string, w Window, n int64) string {
			return fmt.Sprintf("%s@%d=%d", k, w.Start.UnixMilli(), n)
		}).To("final")
	return top
}

// crashTest sends what is to be counted to crashing.
type crashTest struct {
	messages []Message
	truth    map[string]int // windows
}

func newCrashTest() crashTest {
	c := crashTest{truth: map[string]int{}}
	for i := range 60 {
		at := int64(i * 10)
		value := fmt.Sprintf("v%d", i%3)
		c.messages = append(c.messages, Message{Key: fmt.Appendf(nil, "k%d", i%5), Value: []byte(value), Time: time.UnixMilli(at)})
		c.truth[fmt.Sprintf("%s@%d", value, at/100*100)]++
	}
	return c
}

// run lets the process die before step n that makes something durable, and once more on the way back, and go on from what there is. It
// reports whether it came to step n, and the counts that were sent of each window.
func (c crashTest) run(t *testing.T, n int, delivery Delivery) (crashed bool, s *Simulation, counts map[string][]int) {
	t.Helper()
	s, err := Simulate(crashing(), SimulationOptions{Partitions: map[string]int32{"in": 2}, Delivery: delivery})
	if err != nil {
		t.Fatal(err)
	}
	s.spare = n
	alive := func(err error) {
		t.Helper()
		if errors.Is(err, errCrashed) {
			crashed = true
			s.spare = n % 7 // the way back from a crash is cut as well
			if err = errors.Join(s.Restart(), s.run()); errors.Is(err, errCrashed) {
				s.spare = -1
				err = errors.Join(s.Restart(), s.run())
			}
			s.spare = -1
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	for i := 0; i < len(c.messages); i += 7 {
		alive(s.Send("in", c.messages[i:min(i+7, len(c.messages))]...))
	}
	alive(s.Advance(time.Second))
	s.spare = -1
	alive(s.Advance(time.Second))
	counts = map[string][]int{}
	for _, m := range s.Read("final") {
		window, count, _ := strings.Cut(string(m.Value), "=")
		n, err := strconv.Atoi(count)
		if err != nil {
			t.Fatal(err)
		}
		counts[window] = append(counts[window], n)
	}
	return crashed, s, counts
}

// TestACrashAtAnyStepNeverLowersACount lets the process die before each single thing that is made durable - a record of an
// output, a change, a repartition record, the offsets.
func TestACrashAtAnyStepNeverLowersACount(t *testing.T) {
	test := newCrashTest()
	for n, crashed := 0, true; crashed; n++ {
		var s *Simulation
		var counts map[string][]int
		crashed, s, counts = test.run(t, n, AtLeastOnce)
		for window, want := range test.truth {
			if len(counts[window]) == 0 || slices.Min(counts[window]) < want {
				t.Fatalf("crash before step %d: %s was sent with %d, it is %d", n, window, counts[window], want)
			}
		}
		// Without a crash each is exact, and sent once.
		if !crashed && (len(s.Read("final")) != len(test.truth) || len(s.Read("late")) > 0) {
			t.Errorf("without a crash: %d values, want %d; %d late", len(s.Read("final")), len(test.truth), len(s.Read("late")))
		}
	}
}

// TestACrashAtAnyStepOfATransactionChangesNothing is the same with transactions: before each record in them, the offsets, and the end.
// Whoever reads what is committed sees what would be there without a crash, and so does the changelog.
func TestACrashAtAnyStepOfATransactionChangesNothing(t *testing.T) {
	test := newCrashTest()
	aborts := 0
	for n, crashed := 0, true; crashed; n++ {
		var s *Simulation
		var counts map[string][]int
		crashed, s, counts = test.run(t, n, ExactlyOnce)
		for window, want := range test.truth {
			if !slices.Equal(counts[window], []int{want}) {
				t.Fatalf("crash before step %d: %s was sent with %d, want it once with %d", n, window, counts[window], want)
			}
		}
		if len(counts) != len(test.truth) || len(s.Read("late")) > 0 {
			t.Fatalf("crash before step %d: %d windows, want %d; %d late", n, len(counts), len(test.truth), len(s.Read("late")))
		}
		left := map[string]bool{}
		for _, m := range s.Read("simulation-counts-changelog") {
			left[string(m.Key)] = m.Value != nil
		}
		for key, there := range left {
			if there {
				t.Fatalf("crash before step %d: the closed window %q is still in the changelog", n, key)
			}
		}
		for _, logs := range s.logs {
			for _, log := range logs {
				aborts += len(log.aborted)
			}
		}
	}
	if aborts == 0 {
		t.Error("no record was in an aborted transaction")
	}
}

// TestATableIsReadToItsEndFirst has a table whose records are newer than those of the stream, all of them there at the start.
func TestATableIsReadToItsEndFirst(t *testing.T) {
	top := NewTopology()
	top.Stream("in", String, String).
		Join("join", top.Table("table", String, String), func(v, t string) string { return v + t }).To("out")
	s, err := Simulate(top, SimulationOptions{})
	if err != nil {
		t.Fatal(err)
	}
	s.append("in", 0, Message{Key: []byte("k"), Value: []byte("v"), Time: time.UnixMilli(1)})
	for i := range 2000 {
		s.append("table", 0, Message{Key: []byte("k"), Value: fmt.Appendf(nil, "t%d", i), Time: time.UnixMilli(1000)})
	}
	if err := errors.Join(s.Restart(), s.run()); err != nil {
		t.Fatal(err)
	}
	out := s.Read("out")
	if len(out) != 1 || string(out[0].Value) != "vt1999" {
		t.Errorf("joined %v, want the table's last value", out)
	}
}

// TestAReaderAloneRestarted has only the task behind the repartition begin anew: its writers do not tell again what they told.
func TestAReaderAloneRestarted(t *testing.T) {
	s, err := Simulate(crashing(), SimulationOptions{Partitions: map[string]int32{"in": 2}})
	if err != nil {
		t.Fatal(err)
	}
	restartReaders := func() {
		t.Helper()
		for i, old := range s.tasks {
			if old.id.sub == 1 {
				s.tasks[i] = newTask(s.plan, old.id, old.environment)
				if err := s.restore(s.tasks[i]); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	send := func(at int64) {
		t.Helper()
		if err := s.SendTo("in", 0, Message{Key: []byte("k"), Value: []byte("v"), Time: time.UnixMilli(at)}); err != nil {
			t.Fatal(err)
		}
	}
	send(10)
	if err := s.Advance(time.Second); err != nil { // both writers are idle from now on
		t.Fatal(err)
	}
	restartReaders()
	send(110)
	restartReaders()
	if err := s.Advance(time.Second); err != nil {
		t.Fatal(err)
	}
	if got := s.Read("final"); len(got) != 2 {
		t.Errorf("got %d windows, want 2", len(got))
	}
}

// TestNoWindowClosesBeforeTheTablesAreRead has a task that restored a window, and whose table comes late: what the window's end sends is
// joined with it.
func TestNoWindowClosesBeforeTheTablesAreRead(t *testing.T) {
	top := NewTopology()
	countInto(top, top.Stream("in", String, String).IdleAfter(time.Second), "table", "out", false)
	if err := top.Build(); err != nil {
		t.Fatal(err)
	}
	p, err := top.plan("app", map[string]int32{"in": 1, "table": 1, "out": 1})
	if err != nil {
		t.Fatal(err)
	}
	now := time.Unix(1000, 0)
	restored := newTask(p, taskID{0, 0}, environment{metrics: &Metrics{}, now: func() time.Time { return now }, sleep: sleep})
	step := func(after time.Duration) (sent int) {
		t.Helper()
		now = now.Add(after)
		for did := true; did; {
			if did, err = restored.step(t.Context()); err != nil {
				t.Fatal(err)
			}
			for _, in := range restored.uncertified() {
				in.certified, did = true, true
			}
		}
		return len(restored.produced())
	}
	ends := map[string]int64{"in": 5, "table": 1}
	for _, in := range restored.inputs {
		var committed *mark
		if in.source.Topic == "in" {
			committed = &mark{offset: 5}
		}
		if err := restored.resume(in, committed, 0, ends[in.source.Topic]); err != nil {
			t.Fatal(err)
		}
	}
	window := &kgo.Record{Key: append(make([]byte, 8), "k"...), Value: []byte{0, 0, 0, 0, 0, 0, 0, 5}, Timestamp: time.UnixMilli(7)}
	if err := restored.restoreStore(restored.stores[0], []*kgo.Record{window}); err != nil {
		t.Fatal(err)
	}
	restored.restored()
	if n := step(time.Minute); n != 0 {
		t.Fatalf("%d records were sent before the table was read", n)
	}
	for _, in := range restored.inputs {
		if in.isTable() {
			in.add([]*kgo.Record{{Key: []byte("k"), Value: []byte("friend")}}, 1)
		}
	}
	if n := step(0); n != 0 {
		t.Errorf("%d records were sent before the input was idle for a second", n)
	}
	if n := step(time.Second); n != 1 {
		t.Errorf("%d records were sent when the window closed, want 1", n)
	}
}
