package streams_test

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/milldam/milldam/streams"
)

// The tables of these tests are the behaviours that users of Kafka Streams count on; times are milliseconds.

const ms = time.Millisecond

// counts declares a windowed count whose updates go to the topic updates, final values to final, late records to late. Values
// are written as [start,end)=n.
func counts(spec streams.WindowSpec, idle time.Duration) *streams.Topology {
	t := streams.NewTopology()
	s := t.Stream("in", streams.String, streams.String)
	if idle > 0 {
		s = s.IdleAfter(idle)
	}
	w := s.GroupByKey().Window(spec)
	w.Late().To("late")
	table := w.Count("counts")
	show := func(_ string, w streams.Window, n int64) string {
		return fmt.Sprintf("[%d,%d)=%d", w.Start.UnixMilli(), w.End.UnixMilli(), n)
	}
	table.Updates(show).To("updates")
	table.Final(show).To("final")
	return t
}

func sendTimes(t *testing.T, s *streams.Simulation, key string, times ...int64) {
	t.Helper()
	for _, at := range times {
		must(t, s.Send("in", msg(key, strconv.FormatInt(at, 10), at)))
	}
}

// values prints the values of records with their times.
func values(messages []streams.Message) string {
	var out []string
	for _, m := range messages {
		out = append(out, fmt.Sprintf("%s@%d", m.Value, m.Time.UnixMilli()))
	}
	return strings.Join(out, " ")
}

func TestWindows(t *testing.T) {
	for _, c := range []struct {
		name                 string
		spec                 streams.WindowSpec
		times                []int64
		updates, final, late string
	}{
		{
			name: "tumbling, grace 1", spec: streams.Tumbling(2 * ms).Grace(1 * ms), times: []int64{0, 1, 2, 1, 0, 5, 0},
			updates: "[0,2)=1@0 [0,2)=2@1 [2,4)=1@2 [0,2)=3@1 [0,2)=4@1 [4,6)=1@5",
			final:   "[0,2)=4@1 [2,4)=1@2", late: "0@0",
		},
		{
			name: "tumbling, grace 2", spec: streams.Tumbling(2 * ms).Grace(2 * ms), times: []int64{0, 1, 2, 0, 3, 0, 4, 0, 30},
			updates: "[0,2)=1@0 [0,2)=2@1 [2,4)=1@2 [0,2)=3@1 [2,4)=2@3 [0,2)=4@1 [4,6)=1@4 [30,32)=1@30",
			final:   "[0,2)=4@1 [2,4)=2@3 [4,6)=1@4", late: "0@0",
		},
		{
			name: "hopping, a late record is kept in some windows", spec: streams.Hopping(10*ms, 5*ms).Grace(90 * ms),
			times:   []int64{100, 0, 1, 2, 3, 4, 5, 6},
			updates: "[95,105)=1@100 [100,110)=1@100 [5,15)=1@5 [5,15)=2@6",
			late:    "0@0 1@1 2@2 3@3 4@4",
		},
		{
			name: "hopping, no window before 1970", spec: streams.Hopping(10*ms, 5*ms), times: []int64{0, 5, 30},
			updates: "[0,10)=1@0 [0,10)=2@5 [5,15)=1@5 [25,35)=1@30 [30,40)=1@30",
			final:   "[0,10)=2@5 [5,15)=1@5",
		},
		{
			name: "the end of a window is not in it", spec: streams.Tumbling(10 * ms), times: []int64{9, 10, 9, 19, 20},
			updates: "[0,10)=1@9 [10,20)=1@10 [10,20)=2@19 [20,30)=1@20",
			final:   "[0,10)=1@9 [10,20)=2@19", late: "9@9",
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := simulate(t, counts(c.spec, 0), streams.SimulationOptions{})
			sendTimes(t, s, "k", c.times...)
			for topic, want := range map[string]string{"updates": c.updates, "final": c.final, "late": c.late} {
				if got := values(s.Read(topic)); got != want {
					t.Errorf("%s\n got %s\nwant %s", topic, got, want)
				}
			}
			// In one batch the same records give the same values.
			s = simulate(t, counts(c.spec, 0), streams.SimulationOptions{})
			var all []streams.Message
			for _, at := range c.times {
				all = append(all, msg("k", strconv.FormatInt(at, 10), at))
			}
			must(t, s.Send("in", all...))
			if got := values(s.Read("final")); got != c.final {
				t.Errorf("final, in one batch\n got %s\nwant %s", got, c.final)
			}
			if got := values(s.Read("late")); got != c.late {
				t.Errorf("late, in one batch\n got %s\nwant %s", got, c.late)
			}
		})
	}
}

func TestHoppingCountsEachMissedWindow(t *testing.T) {
	s := simulate(t, counts(streams.Hopping(10*ms, 5*ms).Grace(90*ms), 0), streams.SimulationOptions{})
	sendTimes(t, s, "k", 100, 0, 1, 2, 3, 4, 5, 6)
	if n := s.Metrics().LateWindows.Load(); n != 7 {
		t.Errorf("%d missed windows, want 7", n)
	}
	if n := s.Metrics().Late.Load(); n != 5 {
		t.Errorf("%d late records, want 5", n)
	}
}

// G1, W5: time goes on where it was, and what was emitted is not emitted again.
func TestTimePersistsOverARestart(t *testing.T) {
	s := simulate(t, counts(streams.Hopping(10*ms, 5*ms).Grace(5*ms), 0), streams.SimulationOptions{})
	sendTimes(t, s, "A", 0)
	sendTimes(t, s, "B", 5)
	sendTimes(t, s, "C", 15)
	want(t, s.Read("final"), "A=[0,10)=1@0", "B=[0,10)=1@5")
	must(t, s.Restart())
	sendTimes(t, s, "D", 2) // late, by the time of before the restart
	want(t, s.Read("late"), "D=2@2")
	sendTimes(t, s, "D", 25)
	want(t, s.Read("final")[2:], "B=[5,15)=1@5", "C=[10,20)=1@15")
}

// G2
func TestRecordsWithoutKeyOrValueAreDroppedAndCounted(t *testing.T) {
	top := streams.NewTopology()
	s := top.Stream("in", streams.String, streams.String)
	s.GroupByKey().Count("counts").To("counts")
	table := top.Table("table", streams.String, streams.String)
	s.Join("join", table, func(v, t string) string { return v + t }).To("joined")
	sim := simulate(t, top, streams.SimulationOptions{})
	must(t, sim.Send("in", streams.Message{Value: []byte("v")}, streams.Message{Key: []byte("k")}))
	if n := len(sim.Read("counts")) + len(sim.Read("joined")); n > 0 {
		t.Errorf("%d records came out", n)
	}
	if n := sim.Metrics().DroppedNull.Load(); n != 4 {
		t.Errorf("%d dropped, want 4", n)
	}
}

// G3
func TestLeftJoinKeepsRecordsWithoutKey(t *testing.T) {
	top := streams.NewTopology()
	top.Stream("in", streams.String, streams.String).
		LeftJoin("join", top.Table("table", streams.String, streams.String), leftJoined).To("out")
	s := simulate(t, top, streams.SimulationOptions{})
	must(t, s.Send("in", streams.Message{Value: []byte("E"), Time: at(16)}))
	out := s.Read("out")
	if len(out) != 1 || out[0].Key != nil || values(out) != "E-⊥@16" {
		t.Error(values(out))
	}
}

func leftJoined(v, t string, ok bool) string {
	if !ok {
		t = "⊥"
	}
	return v + "-" + t
}

// T1, on the input O of the tables: L is the stream, R the table; bold rows come out of order.
func TestStreamTableJoin(t *testing.T) {
	const input = "L⊥1 R⊥2 LA3 Ra4 LB5 Rb6 L⊥7 R⊥8 LC9 Rc10 R⊥11 L⊥12 R⊥13 Rd7 LD6 L⊥2 R⊥3 Re14 LE15 L⊥10 R⊥9 LF4 Rf3"
	for _, c := range []struct{ kind, want string }{
		{"inner", "B-a@5 D-d@6 E-e@15"},
		{"left", "A-⊥@3 B-a@5 C-⊥@9 D-d@6 E-e@15 F-⊥@4"},
	} {
		t.Run(c.kind, func(t *testing.T) {
			top := streams.NewTopology()
			left, right := top.Stream("L", streams.String, streams.String), top.Table("R", streams.String, streams.String)
			if c.kind == "inner" {
				left.Join("join", right, func(v, t string) string { return v + "-" + t }).To("out")
			} else {
				left.LeftJoin("join", right, leftJoined).To("out")
			}
			s := simulate(t, top, streams.SimulationOptions{})
			for _, step := range strings.Fields(input) {
				runes := []rune(step)
				when, _ := strconv.ParseInt(string(runes[2:]), 10, 64) // the constant has numbers
				m := streams.Message{Key: []byte("k"), Time: at(when)}
				if runes[1] != '⊥' {
					m.Value = []byte(string(runes[1]))
				}
				must(t, s.Send(string(runes[0]), m))
			}
			if got := values(s.Read("out")); got != c.want {
				t.Errorf("got %s, want %s", got, c.want)
			}
		})
	}
}

// I1
func TestInputsAreMergedByTime(t *testing.T) {
	top := streams.NewTopology()
	one := top.Stream("one", streams.String, streams.String).IdleAfter(1000 * ms)
	two := top.Stream("two", streams.String, streams.String).IdleAfter(1000 * ms)
	one.Merge(two).To("out")
	s := simulate(t, top, streams.SimulationOptions{})
	must(t, s.Send("one", msg("k", "A", 10)))
	want(t, s.Read("out"))
	must(t, s.Send("two", msg("k", "B", 20)))
	want(t, s.Read("out"), "k=A@10")
	must(t, s.Advance(999*ms))
	want(t, s.Read("out"), "k=A@10")
	must(t, s.Advance(1*ms))
	want(t, s.Read("out"), "k=A@10", "k=B@20")
}

func TestIdlenessClosesAllWindows(t *testing.T) {
	s := simulate(t, counts(streams.Tumbling(100*ms), 5*time.Second), streams.SimulationOptions{})
	sendTimes(t, s, "k", 10, 250)
	want(t, s.Read("final"), "k=[0,100)=1@10")
	must(t, s.Advance(4999*ms))
	want(t, s.Read("final"), "k=[0,100)=1@10")
	must(t, s.Advance(1*ms))
	want(t, s.Read("final"), "k=[0,100)=1@10", "k=[200,300)=1@250")

	// Behind the idle close a record is late, also when time itself has not come so far, and over a restart.
	sendTimes(t, s, "k", 299)
	must(t, s.Restart())
	sendTimes(t, s, "k", 299, 300)
	want(t, s.Read("late"), "k=299@299", "k=299@299")
	if n := s.Metrics().Late.Load(); n != 2 {
		t.Errorf("%d late, want 2", n)
	}
	must(t, s.Advance(5*time.Second))
	want(t, s.Read("final")[2:], "k=[300,400)=1@300")
}

// An overflow of time must neither loop nor close anything.
func TestAbsurdTimesMoveNothing(t *testing.T) {
	for _, spec := range []streams.WindowSpec{streams.Tumbling(100 * ms), streams.Hopping(100*ms, 10*ms)} {
		s := simulate(t, counts(spec, 5*time.Second), streams.SimulationOptions{})
		sendTimes(t, s, "k", 1000, math.MaxInt64, math.MaxInt64-50, math.MinInt64, -1, 1001)
		if n := s.Metrics().Late.Load(); n != 4 {
			t.Errorf("%s: %d late, want 4", spec, n)
		}
		want(t, s.Read("final"))
		must(t, s.Advance(5*time.Second))
		if got := s.Read("final"); len(got) == 0 {
			t.Errorf("%s: nothing was closed", spec)
		}
	}
}

func TestIdleTimeCountsFromTheRestart(t *testing.T) {
	s := simulate(t, counts(streams.Tumbling(100*ms), 5*time.Second), streams.SimulationOptions{})
	sendTimes(t, s, "k", 10)
	must(t, s.Advance(4*time.Second))
	must(t, s.Restart())
	must(t, s.Advance(4*time.Second))
	want(t, s.Read("final"))
	must(t, s.Advance(1*time.Second))
	want(t, s.Read("final"), "k=[0,100)=1@10")
}

// merged counts what comes from two topics.
func merged(idle time.Duration) *streams.Topology {
	top := streams.NewTopology()
	one, two := top.Stream("in", streams.String, streams.String), top.Stream("two", streams.String, streams.String)
	if idle > 0 {
		one, two = one.IdleAfter(idle), two.IdleAfter(idle)
	}
	one.Merge(two).GroupByKey().Window(streams.Tumbling(100 * ms)).Count("counts").
		Final(func(_ string, w streams.Window, n int64) string { return fmt.Sprintf("%d=%d", w.Start.UnixMilli(), n) }).To("final")
	return top
}

func TestAnIdlePartitionTakesTheTimeOfTheOthers(t *testing.T) {
	s := simulate(t, merged(5*time.Second), streams.SimulationOptions{})
	must(t, s.Send("two", msg("k", "", 50)))
	sendTimes(t, s, "k", 60, 150, 250, 350)
	want(t, s.Read("final"))
	must(t, s.Advance(4*time.Second))
	sendTimes(t, s, "k", 450) // keeps its own partition from being idle
	must(t, s.Advance(1*time.Second))
	want(t, s.Read("final"), "k=0=2@60", "k=100=1@150", "k=200=1@250", "k=300=1@350")
}

// TestASlowWriterMakesNobodyLate has two tasks write to a repartition topic, of which one is far behind.
func TestASlowWriterMakesNobodyLate(t *testing.T) {
	top := streams.NewTopology()
	w := top.Stream("in", streams.String, streams.String).IdleAfter(time.Second).
		GroupBy("all", func(_, _ string) string { return "all" }).Window(streams.Tumbling(100 * ms))
	w.Late().To("late")
	w.Count("counts").
		Final(func(_ string, w streams.Window, n int64) string { return fmt.Sprintf("%d=%d", w.Start.UnixMilli(), n) }).To("final")
	s := simulate(t, top, streams.SimulationOptions{Partitions: map[string]int32{"in": 2}})
	for _, at := range []int64{10, 110, 210, 310} {
		must(t, s.SendTo("in", 0, msg("a", "", at)))
	}
	want(t, s.Read("final"))
	for _, at := range []int64{20, 120, 220, 230} {
		must(t, s.SendTo("in", 1, msg("b", "", at)))
	}
	want(t, s.Read("final"), "all=0=2@20", "all=100=2@120")
	must(t, s.Restart())
	must(t, s.SendTo("in", 1, msg("b", "", 240)))
	must(t, s.Advance(time.Second))
	want(t, s.Read("final")[2:], "all=200=4@240", "all=300=1@310")
	want(t, s.Read("late"))
}

func TestATableIsReadBeforeTheFirstRecordOfAStream(t *testing.T) {
	top := streams.NewTopology()
	top.Stream("in", streams.String, streams.String).
		Join("join", top.Table("table", streams.String, streams.String), func(v, t string) string { return v + t }).To("out")
	s := simulate(t, top, streams.SimulationOptions{})
	// The table's record is newer than the stream's, so by time alone it would come too late.
	must(t, s.Send("table", msg("k", "t", 1000)))
	must(t, s.Restart())
	must(t, s.Send("in", msg("k", "v", 1)))
	want(t, s.Read("out"), "k=vt@1")
}

func TestTableUpdatesGoOnOnce(t *testing.T) {
	top := streams.NewTopology()
	top.Table("table", streams.String, streams.String).To("out")
	s := simulate(t, top, streams.SimulationOptions{})
	must(t, s.Send("table", msg("k", "1", 1), msg("k", "2", 2)))
	must(t, s.Restart())
	must(t, s.Send("table", streams.Message{Key: []byte("k"), Time: at(3)}))
	want(t, s.Read("out"), "k=1@1", "k=2@2", "k=⊥@3")
}

func TestAClosedWindowLeavesTheChangelogByTombstone(t *testing.T) {
	s := simulate(t, counts(streams.Tumbling(100*ms), 0), streams.SimulationOptions{})
	sendTimes(t, s, "k", 10, 20, 150)
	left := map[string][]byte{}
	for _, m := range s.Read("simulation-counts-changelog") {
		left[string(m.Key)] = m.Value
		if m.Value == nil {
			delete(left, string(m.Key))
		}
	}
	if len(left) != 1 {
		t.Errorf("the changelog has %d windows, want the open one", len(left))
	}
}
