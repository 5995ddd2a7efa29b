package pipelines_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/milldam/milldam/connect"
	"github.com/milldam/milldam/core/client"
	"github.com/milldam/milldam/core/config"
	"github.com/milldam/milldam/core/vfs"
	"github.com/milldam/milldam/pipelines"
	"github.com/milldam/milldam/runtime/node"
)

// memory is a connector whose sources are lists and whose sink is one; by name, so that YAML reaches it.
type memory struct {
	mu     sync.Mutex
	lists  map[string][]string
	got    map[string][]string
	broken map[string]error // what the sink of a name answers
	hold   chan struct{}    // sources wait for it; nil is not
}

type memoryConfig struct {
	Name string `yaml:"name" required:"true"`
}

func (m *memory) plugin() connect.Plugin {
	p := connect.WithSource(connect.Plugin{Name: "memory"}, func(c memoryConfig) (connect.Source, error) { return &memorySource{m: m, name: c.Name}, nil })
	return connect.WithSink(p, func(c memoryConfig) (connect.Sink, error) { return &memorySink{m: m, name: c.Name}, nil })
}

type memorySource struct {
	m    *memory
	name string
	done bool
}

func (s *memorySource) Open(_ context.Context, task connect.SourceTask) error {
	_, s.done = task.Positions["all"]
	return nil
}

func (s *memorySource) Read(ctx context.Context) (connect.SourceBatch, error) {
	if s.m.hold != nil {
		select {
		case <-s.m.hold:
		case <-ctx.Done():
			return connect.SourceBatch{}, ctx.Err()
		}
	}
	if s.done {
		return connect.SourceBatch{}, io.EOF
	}
	s.done = true
	b := connect.SourceBatch{Partition: "all", Position: []byte("read")}
	for _, v := range s.m.lists[s.name] {
		b.Records = append(b.Records, connect.Record{Value: []byte(v)})
	}
	return b, nil
}

func (s *memorySource) Close() error { return nil }

type memorySink struct {
	m    *memory
	name string
	task connect.SinkTask
}

func (s *memorySink) Open(_ context.Context, task connect.SinkTask) error {
	s.task = task
	return nil
}

func (s *memorySink) Write(_ context.Context, b connect.SinkBatch) error {
	s.m.mu.Lock()
	defer s.m.mu.Unlock()
	if err := s.m.broken[s.name]; err != nil {
		return err
	}
	for _, r := range b.Records {
		s.m.got[s.name] = append(s.m.got[s.name], string(r.Value))
	}
	s.task.Ack(b.TopicPartition, b.Next)
	return nil
}

func (s *memorySink) Flush(context.Context, connect.FlushReason) error { return nil }
func (s *memorySink) Buffered() int64                                  { return 0 }
func (s *memorySink) Revoke([]connect.TopicPartition)                  {}
func (s *memorySink) Close() error                                     { return nil }

// in returns what the sink of a name has, sorted.
func (m *memory) in(name string) []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	got := slices.Clone(m.got[name])
	slices.Sort(got)
	return got
}

func (m *memory) breaks(name string, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.broken[name] = err
}

// world is a node, and pipelines that run on it.
type world struct {
	t       *testing.T
	memory  *memory
	options client.Options
	manager *pipelines.Manager
}

func newWorld(t *testing.T) *world {
	t.Helper()
	n, err := node.Start(t.Context(), node.Options{FS: vfs.NewMem(), Kafka: "127.0.0.1:0", HTTP: node.None})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := n.Close(); err != nil {
			t.Error(err)
		}
	})
	return &world{t: t, options: n.Client(), memory: &memory{lists: map[string][]string{}, got: map[string][]string{}, broken: map[string]error{}}}
}

// run starts pipelines; they are stopped before the node.
func (w *world) run(yaml string) {
	w.t.Helper()
	r, err := connect.NewRegistry(w.memory.plugin())
	if err != nil {
		w.t.Fatal(err)
	}
	specs, errs := pipelines.Load([]pipelines.File{{Name: "p.yaml", Text: []byte(yaml)}}, r, config.Options{})
	if len(errs) > 0 {
		w.t.Fatal(errs.Render())
	}
	w.manager, err = pipelines.NewManager(specs, pipelines.Options{Client: w.options, InstanceID: "here", Logger: slog.New(slog.NewTextHandler(w.t.Output(), nil))})
	if err != nil {
		w.t.Fatal(err)
	}
	w.manager.Start()
	manager := w.manager
	w.t.Cleanup(func() { w.stop(manager) })
}

func (w *world) stop(m *pipelines.Manager) {
	w.t.Helper()
	began := time.Now()
	if err := m.Close(); err != nil {
		w.t.Error(err)
	}
	if took := time.Since(began); took > 5*time.Second {
		w.t.Errorf("the pipelines took %s to stop", took)
	}
}

func (w *world) status(name string) pipelines.Status {
	for _, s := range w.manager.Status() {
		if s.Name == name {
			return s
		}
	}
	w.t.Fatalf("no pipeline %s", name)
	return pipelines.Status{}
}

func (w *world) eventually(what string, ok func() bool) {
	w.t.Helper()
	deadline := time.NewTimer(30 * time.Second)
	defer deadline.Stop()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-tick.C:
		case <-deadline.C:
			w.t.Fatalf("not within 30 s: %s; %+v", what, w.manager.Status())
		}
	}
}

func (w *world) produce(topic string, values ...string) {
	w.t.Helper()
	cl, err := client.New(w.options)
	if err != nil {
		w.t.Fatal(err)
	}
	defer cl.Close()
	for _, v := range values {
		if err := cl.ProduceSync(w.t.Context(), &kgo.Record{Topic: topic, Value: []byte(v)}).FirstErr(); err != nil {
			w.t.Fatal(err)
		}
	}
}

func (w *world) topic(name string) {
	w.t.Helper()
	admin, err := client.NewAdmin(w.options)
	if err != nil {
		w.t.Fatal(err)
	}
	defer admin.Close()
	if _, err := admin.CreateTopic(w.t.Context(), 1, 1, nil, name); err != nil {
		w.t.Fatal(err)
	}
}

// config is one setting of a topic.
func (w *world) config(topic, key string) string {
	w.t.Helper()
	admin, err := client.NewAdmin(w.options)
	if err != nil {
		w.t.Fatal(err)
	}
	defer admin.Close()
	described, err := admin.DescribeTopicConfigs(w.t.Context(), topic)
	if err != nil {
		w.t.Fatal(err)
	}
	for _, c := range described[0].Configs {
		if c.Key == key {
			return c.MaybeValue()
		}
	}
	return ""
}

func TestFromConnectorToConnector(t *testing.T) {
	w := newWorld(t)
	w.memory.lists["in"] = []string{`{"a":1}`, `{"a":2}`, `{"a":3}`}
	w.run(`
pipeline: p
source: { memory: { name: in } }
steps:
  - where: value.a > 1
  - map: { b: value.a * 10 }
sink: { memory: { name: out } }
`)
	w.eventually("two records", func() bool { return len(w.memory.in("out")) == 2 })
	if got := w.memory.in("out"); !slices.Equal(got, []string{`{"b":20}`, `{"b":30}`}) {
		t.Errorf("got %q", got)
	}
	w.eventually("nothing is left", func() bool { return w.status("p").Lag() == 0 })
	if s := w.status("p"); s.State != pipelines.Running || s.In() != 3 || s.Out() != 2 || len(s.Hops) != 2 || s.Hops[0].Dropped != 1 {
		t.Errorf("status %+v", s)
	}
	// Started again on what is there, it sends nothing twice.
	w.stop(w.manager)
	w.run(`
pipeline: p
source: { memory: { name: in } }
sink: { memory: { name: out } }
`)
	w.eventually("the source is at its end again", func() bool { return isClosed(w.manager.Ended("p")) })
	w.eventually("nothing is left", func() bool { return w.status("p").Lag() == 0 })
	if got := w.memory.in("out"); len(got) != 2 {
		t.Errorf("after the second start %q", got)
	}
}

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// TestAfterWaitsForTheSource holds back the first source: what comes after it must not begin.
func TestAfterWaitsForTheSource(t *testing.T) {
	w := newWorld(t)
	w.memory.lists["one"], w.memory.lists["two"] = []string{`{"n":1}`}, []string{`{"n":2}`}
	w.memory.hold = make(chan struct{})
	w.run(`
pipeline: second
after: [first]
source: { memory: { name: two } }
sink: { topic: { name: numbers } }
---
pipeline: first
source: { memory: { name: one } }
sink: { topic: { name: numbers, create: { config: { retention.ms: -1, segment.ms: 1d } } } }
---
pipeline: reader
source: { topic: { names: [numbers] } }
sink: { memory: { name: out } }
`)
	w.eventually("the second waits, and says for what", func() bool {
		s := w.status("second")
		return s.State == pipelines.Waiting && strings.Contains(s.Detail, "first") && w.status("first").State == pipelines.Running
	})
	close(w.memory.hold)
	w.eventually("both are done", func() bool {
		return w.status("first").State == pipelines.Done && w.status("second").State == pipelines.Done && len(w.memory.in("out")) == 2
	})
	if got := w.config("numbers", "retention.ms"); got != "-1" {
		t.Errorf("retention.ms of what the pipeline created is %q", got)
	}
	if got := w.config("numbers", "segment.ms"); got != "86400000" {
		t.Errorf("segment.ms of what the pipeline created is %q", got)
	}
}

func TestABlockedPipelineSaysWhyAndGoesOn(t *testing.T) {
	w := newWorld(t)
	w.topic("in")
	w.memory.breaks("out", connect.Permanent(errors.New("no such index: make it")))
	w.run("pipeline: p\nsource: { topic: { names: [in] } }\nsink: { memory: { name: out } }\n")
	w.produce("in", `{"n":1}`)
	w.eventually("it is blocked", func() bool {
		s := w.status("p")
		return s.State == pipelines.Blocked && strings.Contains(s.Detail, "make it")
	})
	w.memory.breaks("out", nil)
	w.eventually("it goes on by itself", func() bool { return len(w.memory.in("out")) == 1 && w.status("p").State == pipelines.Running })
}

func TestDeadLettersOfStepsAndTheirLimit(t *testing.T) {
	w := newWorld(t)
	w.topic("in")
	w.run(`
pipeline: p
source: { topic: { names: [in] } }
steps: [{ where: value.n > 0 }]
sink: { memory: { name: out } }
errors: { dead_letter: { topic: dead } }
---
pipeline: strict
source: { topic: { names: [in] } }
steps: [{ where: value.n > 0 }]
sink: { memory: { name: strict } }
errors: { dead_letter: { topic: dead-strict, halt_above: 1% in 5m } }
---
pipeline: letters
source: { topic: { names: [dead] } }
sink: { memory: { name: letters } }
`)
	w.produce("in", `{"n":1}`, `no JSON`, `{"n":2}`)
	w.eventually("two records and a letter", func() bool { return len(w.memory.in("out")) == 2 && len(w.memory.in("letters")) == 1 })
	if got := w.memory.in("letters"); got[0] != "no JSON" {
		t.Errorf("letters %q", got)
	}
	if s := w.status("p"); s.Dead() != 1 || s.State != pipelines.Running {
		t.Errorf("status %+v", s)
	}
	w.eventually("the strict one stops", func() bool {
		s := w.status("strict")
		return s.State == pipelines.Blocked && strings.Contains(s.Detail, "halt_above")
	})
}

// TestWindowsAndJoinsRunOnTheEngine counts by key, and adds what a table knows; the sink sees it through an internal topic.
func TestWindowsAndJoinsRunOnTheEngine(t *testing.T) {
	w := newWorld(t)
	w.memory.lists["names"] = []string{`{"id":"a","name":"Anna"}`, `{"id":"b","name":"Ben"}`}
	for i := range 10 {
		w.memory.lists["events"] = append(w.memory.lists["events"], fmt.Sprintf(`{"id":%q,"at":%d}`, string(rune('a'+i%2)), i*1000))
	}
	w.run(`
pipeline: names
source: { memory: { name: names } }
sink: { topic: { name: names, key: value.id, create: { config: { cleanup.policy: compact } } } }
---
pipeline: events
source: { memory: { name: events } }
sink: { topic: { name: events, key: value.id, time: value.at } }
---
pipeline: counts
after: [names, events]
source: { topic: { names: [events] } }
steps:
  - window: { tumbling: 1m, by: key, idle: 200ms, emit: final }
    aggregate: { n: count() }
  - join: { table: names, fields: { name: table.name } }
  - map: { name: value.name, n: value.n }
sink: { memory: { name: out } }
`)
	w.eventually("two counts", func() bool { return len(w.memory.in("out")) == 2 })
	if got := w.memory.in("out"); !slices.Equal(got, []string{`{"name":"Anna","n":5}`, `{"name":"Ben","n":5}`}) {
		t.Errorf("got %q", got)
	}
}

func TestStartLatestPassesOverWhatIsThere(t *testing.T) {
	w := newWorld(t)
	w.topic("in")
	w.produce("in", `{"n":1}`)
	w.run("pipeline: p\nsource: { topic: { names: [in], start: latest } }\nsink: { memory: { name: out } }\n")
	w.eventually("it runs, and knows that nothing is left", func() bool { s := w.status("p"); return s.State == pipelines.Running && s.Lag() == 0 })
	w.produce("in", `{"n":2}`)
	w.eventually("the second", func() bool { return len(w.memory.in("out")) > 0 })
	if got := w.memory.in("out"); !slices.Equal(got, []string{`{"n":2}`}) {
		t.Errorf("got %q", got)
	}
}
