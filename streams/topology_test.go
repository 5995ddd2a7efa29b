package streams_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/milldam/milldam/streams"
)

type secret struct{ _ int }

func TestBuildNamesWhatIsWrong(t *testing.T) {
	str := streams.String
	for _, c := range []struct {
		name    string
		declare func(t *streams.Topology)
		want    string
	}{
		{"nothing", func(t *streams.Topology) {}, "reads no topic"},
		{"no name", func(t *streams.Topology) { t.Stream("a", str, str).GroupByKey().Count("") }, `aggregate "aggregate-1": has no name`},
		{"name twice", func(t *streams.Topology) {
			g := t.Stream("a", str, str).GroupByKey()
			g.Count("n")
			g.Count("n")
		}, `aggregate "n": the name is taken`},
		{"bad name", func(t *streams.Topology) { t.Stream("a", str, str).GroupByKey().Count("a b") }, "letters, digits"},
		{"topic twice", func(t *streams.Topology) { t.Stream("a", str, str); t.Table("a", str, str) }, `topic "a" is read by the source "a" already`},
		{"no codec", func(t *streams.Topology) { t.Stream("a", str, streams.Codec[string](nil)) }, "no codec"},
		{"a codec that cannot work", func(t *streams.Topology) {
			t.Stream("a", str, str).MapValues(func(string) secret { return secret{} }).To("b")
		}, "no exported field"},
		{"a channel", func(t *streams.Topology) {
			t.Stream("a", str, str).GroupByKey().Aggregate("c", func() chan int { return nil }, func(c chan int, _ string) chan int { return c })
		}, "JSON cannot write chan int"},
		{"an interface", func(t *streams.Topology) {
			t.Stream("a", str, str).GroupByKey().Aggregate("e", func() []error { return nil }, func(e []error, _ string) []error { return e })
		}, "interface error"},
		{"keys that moved", func(t *streams.Topology) {
			t.Stream("a", str, str).Map(func(k, v string) (string, string) { return v, k }).Filter(func(string, string) bool { return true }).GroupByKey().Count("n")
		}, "map-1\": gives the records other keys"},
		{"join of moved keys", func(t *streams.Topology) {
			t.Stream("a", str, str).Map(func(k, v string) (string, string) { return v, k }).
				Join("j", t.Table("b", str, str), func(v, _ string) string { return v })
		}, "put a Rekey between"},
		{"window of nothing", func(t *streams.Topology) { t.Stream("a", str, str).GroupByKey().Window(streams.Tumbling(0)).Count("n") }, "at least 1ms"},
		{"gaps", func(t *streams.Topology) {
			t.Stream("a", str, str).GroupByKey().Window(streams.Hopping(time.Second, time.Minute)).Count("n")
		}, "would be lost"},
		{"too many windows", func(t *streams.Topology) {
			t.Stream("a", str, str).GroupByKey().Window(streams.Hopping(time.Hour, time.Second)).Count("n")
		}, "more than the limit of 1000"},
		{"idle", func(t *streams.Topology) { t.Stream("a", str, str).IdleAfter(0) }, "above zero"},
		{"idle twice", func(t *streams.Topology) { t.Stream("a", str, str).IdleAfter(1).IdleAfter(2) }, "one topic has one"},
		{"dead letters to nowhere", func(t *streams.Topology) {
			t.Stream("a", str, str).OnUndecodable(streams.OnError{Then: streams.DeadLetter})
		}, "need a topic"},
		{"two topologies", func(t *streams.Topology) {
			t.Stream("a", str, str).Merge(streams.NewTopology().Stream("b", str, str))
		}, "another topology"},
	} {
		t.Run(c.name, func(t *testing.T) {
			top := streams.NewTopology()
			c.declare(top)
			if err := top.Build(); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %q in it", err, c.want)
			}
		})
	}
}

func TestJoinedTopicsNeedEqualPartitions(t *testing.T) {
	join := func(rekey bool) *streams.Topology {
		top := streams.NewTopology()
		s := top.Stream("in", streams.String, streams.String)
		if rekey {
			s = s.Rekey("by-value", func(_, v string) string { return v })
		}
		s.Join("names", top.Table("table", streams.String, streams.String), func(v, t string) string { return v + t }).To("out")
		return top
	}
	o := streams.SimulationOptions{Partitions: map[string]int32{"in": 3, "table": 2}}
	if _, err := streams.Simulate(join(false), o); err == nil || !strings.Contains(err.Error(), `join "names": its topics need the same number of partitions, but in has 3 and table has 2`) {
		t.Error(err)
	}
	// A repartition topic gets as many as the table has.
	s := simulate(t, join(true), o)
	for i := range 10 {
		must(t, s.Send("table", msg(fmt.Sprint(i), "t", 0)))
		must(t, s.SendTo("in", int32(i%3), msg("", fmt.Sprint(i), 1)))
	}
	if n := len(s.Read("out")); n != 10 {
		t.Errorf("%d of 10 joined", n)
	}
}

func TestErrorPolicies(t *testing.T) {
	bad := errors.New("bad value")
	for _, c := range []struct {
		name    string
		policy  streams.OnError
		fails   int // how often the value b fails
		out     []string
		letters []string
		err     bool
	}{
		{name: "fail", fails: 1, err: true},
		{name: "skip", policy: streams.OnError{Then: streams.Skip}, fails: 1, out: []string{"k=A@1", "k=C@3"}},
		{name: "retry", policy: streams.OnError{Retries: 2}, fails: 2, out: []string{"k=A@1", "k=B@2", "k=C@3"}},
		{name: "retry too little", policy: streams.OnError{Retries: 2}, fails: 3, err: true},
		{name: "dead letter", policy: streams.OnError{Retries: 1, Then: streams.DeadLetter, Topic: "letters"}, fails: 9,
			out: []string{"k=A@1", "k=C@3"}, letters: []string{"k=b@2"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			top := streams.NewTopology()
			failed := 0
			top.Stream("in", streams.String, streams.String).
				TryMap("upper", c.policy, func(_ context.Context, _, v string) (string, error) {
					if v == "b" && failed < c.fails {
						failed++
						return "", bad
					}
					return strings.ToUpper(v), nil
				}).To("out")
			s := simulate(t, top, streams.SimulationOptions{})
			err := s.Send("in", msg("k", "a", 1), msg("k", "b", 2), msg("k", "c", 3))
			if c.err {
				var at *streams.RecordError
				if !errors.Is(err, bad) || !errors.As(err, &at) || at.Offset != 1 || at.Operator != `try-map "upper"` {
					t.Errorf("got %v", err)
				}
				return
			}
			must(t, err)
			want(t, s.Read("out"), c.out...)
			want(t, s.Read("letters"), c.letters...)
			for _, m := range s.Read("letters") {
				for key, value := range map[string]string{streams.HeaderError: "bad value", streams.HeaderTopic: "in", streams.HeaderPartition: "0", streams.HeaderOffset: "1"} {
					if !slices.ContainsFunc(m.Headers, func(h streams.Header) bool { return h.Key == key && string(h.Value) == value }) {
						t.Errorf("no header %s=%s in %v", key, value, m.Headers)
					}
				}
			}
		})
	}
}

func TestUndecodableRecords(t *testing.T) {
	top := streams.NewTopology()
	top.Stream("in", streams.String, streams.JSON[int]()).
		OnUndecodable(streams.OnError{Then: streams.DeadLetter, Topic: "letters"}).To("out")
	s := simulate(t, top, streams.SimulationOptions{})
	must(t, s.Send("in", msg("k", "1", 1), msg("k", "{", 2), msg("k", "3", 3)))
	want(t, s.Read("out"), "k=1@1", "k=3@3")
	want(t, s.Read("letters"), "k={@2")
}

func TestBranchMergeAndPeek(t *testing.T) {
	top := streams.NewTopology()
	seen := 0
	branches := top.Stream("in", streams.String, streams.String).
		Peek(func(string, string) { seen++ }).
		Branch(func(_, v string) bool { return v < "b" }, func(_, v string) bool { return v < "c" })
	branches[0].Merge(branches[2]).To("outer")
	branches[1].To("inner")
	s := simulate(t, top, streams.SimulationOptions{})
	must(t, s.Send("in", msg("k", "a", 1), msg("k", "b", 2), msg("k", "c", 3)))
	want(t, s.Read("outer"), "k=a@1", "k=c@3")
	want(t, s.Read("inner"), "k=b@2")
	if seen != 3 {
		t.Errorf("saw %d records, want 3", seen)
	}
}

// A stateful operator behind a merge is one for each task, not one for each stream.
func TestMergedStreamsShareTheirState(t *testing.T) {
	top := streams.NewTopology()
	in := top.Stream("in", streams.String, streams.String)
	in.Filter(func(_, v string) bool { return v == "a" }).
		Merge(in.Filter(func(_, v string) bool { return v == "b" })).
		GroupByKey().Reduce("joined", func(a, b string) string { return a + b }).To("out")
	s := simulate(t, top, streams.SimulationOptions{})
	must(t, s.Send("in", msg("k", "a", 1)))
	must(t, s.Send("in", msg("k", "b", 2)))
	want(t, s.Read("out"), "k=a@1", "k=ab@2")
}

func TestMaxFuture(t *testing.T) {
	top := streams.NewTopology()
	top.Stream("in", streams.String, streams.String).
		MaxFuture(time.Minute, streams.OnError{Then: streams.DeadLetter, Topic: "future"}).To("out")
	s := simulate(t, top, streams.SimulationOptions{Now: at(1000)})
	must(t, s.Send("in", msg("k", "now", 61_000), msg("k", "poison", 61_001)))
	want(t, s.Read("out"), "k=now@61000")
	want(t, s.Read("future"), "k=poison@61001")
}

// Records whose types are known only at run time go the same way: pipelines are built so.
func TestDynamicRecords(t *testing.T) {
	values := streams.JSON[map[string]any]()
	top := streams.NewTopology()
	top.Stream("in", streams.String, values).
		ProcessValues("where", streams.OnError{}, func(_ context.Context, r *streams.Record[string, map[string]any], emit func(map[string]any)) error {
			r.Value["from"] = r.Source.Topic
			if r.Value["n"] != nil {
				emit(r.Value)
			}
			return nil
		}).
		Codecs(streams.String, values).
		GroupBy("by", func(_ string, v map[string]any) string { return v["group"].(string) }).
		Window(streams.Tumbling(time.Second)).
		TryAggregate("sum", streams.Float64, streams.OnError{Then: streams.Skip}, func() float64 { return 0 },
			func(_ context.Context, sum float64, r *streams.Record[string, map[string]any]) (float64, error) {
				n, ok := r.Value["n"].(float64)
				if !ok {
					return 0, errors.New("n is no number")
				}
				return sum + n, nil
			}).
		Updates(func(group string, w streams.Window, sum float64) string {
			return fmt.Sprintf("%s %v", w.Start.Format("05"), sum)
		}).
		To("out")
	s := simulate(t, top, streams.SimulationOptions{})
	must(t, s.Send("in",
		msg("a", `{"group":"g","n":1}`, 1000), msg("b", `{"group":"g"}`, 1001), msg("c", `{"group":"g","n":"x"}`, 1002), msg("d", `{"group":"g","n":2.5}`, 1003)))
	want(t, s.Read("out"), "g=01 1@1000", "g=01 3.5@1003")
	if n := s.Metrics().Skipped.Load(); n != 1 {
		t.Errorf("%d skipped, want 1", n)
	}
}
