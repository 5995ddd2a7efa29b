package pipelines

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/milldam/milldam/connect"
	"github.com/milldam/milldam/connect/expression"
	"github.com/milldam/milldam/core/config"
	"github.com/milldam/milldam/streams"
)

// TestResult is the outcome of one entry of tests.
type TestResult struct {
	Pipeline string          `json:"pipeline"`
	Name     string          `json:"name"`
	Position config.Position `json:"position"`
	Passed   bool            `json:"passed"`
	// Detail is, of a failed test, the error, or what was wanted and what came, line by line.
	Detail string `json:"detail,omitempty"`
}

// testTime is the time at which tests run: now() is the same in every run.
var testTime = time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)

// RunTests runs the tests of a pipeline: its steps over the given records, without a cluster and with a clock of their own. At the end of the
// records every window closes.
func RunTests(s *Spec) []TestResult {
	results := make([]TestResult, len(s.Tests))
	for i, t := range s.Tests {
		r := TestResult{Pipeline: s.Name, Name: t.Name, Position: t.Position}
		if r.Name == "" {
			r.Name = fmt.Sprintf("test %d", i+1)
		}
		got, err := s.testOutput(t)
		if err != nil {
			r.Detail = err.Error()
		} else {
			r.Detail = difference(t.want, got)
		}
		r.Passed = r.Detail == ""
		results[i] = r
	}
	return results
}

func testRuntime() *expression.Runtime {
	return &expression.Runtime{Now: func() time.Time { return testTime }, Rand: rand.New(rand.NewPCG(1, 1))}
}

func (s *Spec) testOutput(t Test) ([]connect.Record, error) {
	given := slices.Clone(t.given)
	for i := range given {
		if given[i].Topic == "" && s.Source.Topic != nil {
			given[i].Topic = s.Source.Topic.Names[0]
		}
	}
	if s.stateless() {
		c := newChain(s, 0, len(s.Steps), testRuntime())
		c.addSink(s)
		return applyAll(c, given)
	}
	for _, h := range s.Plan().Hops {
		var err error
		switch h.Kind {
		case SourceHop:
			given, err = applyAll(newChain(s, h.first, h.last, testRuntime()), given)
		case StreamHop:
			given, err = s.testStream(h, given, t.tables)
		}
		if err != nil {
			return nil, err
		}
	}
	return given, nil
}

func applyAll(c *chain, given []connect.Record) ([]connect.Record, error) {
	var out []connect.Record
	for i, r := range given {
		result, keep, err := c.apply(r)
		if err != nil {
			return nil, fmt.Errorf("given[%d]: %w", i, err)
		}
		if keep {
			out = append(out, result)
		}
	}
	return out, nil
}

// testIdle closes the windows at the end of a test whose pipeline does not close them by itself.
const testIdle = time.Hour

// testStream runs a stream hop on the engine, without a cluster.
func (s *Spec) testStream(h Hop, given []connect.Record, tables map[string][]connect.Record) ([]connect.Record, error) {
	topo, err := buildTopology(s, h, topologyOptions{newRuntime: testRuntime, idle: testIdle})
	if err != nil {
		return nil, err
	}
	sim, err := streams.Simulate(topo, streams.SimulationOptions{Now: testTime})
	if err != nil {
		return nil, err
	}
	for topic, rows := range tables {
		if err := sim.Send(topic, messages(rows)...); err != nil {
			return nil, err
		}
	}
	for i, r := range given {
		topic := r.Topic
		if !slices.Contains(h.Read, topic) {
			topic = h.Read[0]
		}
		if err := sim.Send(topic, messages([]connect.Record{r})...); err != nil {
			return nil, fmt.Errorf("given[%d]: %w", i, err)
		}
	}
	idle := testIdle
	if w := s.window(); w != nil {
		idle = max(idle, w.Idle)
	}
	if err := sim.Advance(idle); err != nil {
		return nil, err
	}
	var out []connect.Record
	for _, m := range sim.Read(h.Write) {
		r := connect.Record{Topic: m.Topic, Offset: m.Offset, Key: m.Key, Value: m.Value, Timestamp: m.Time}
		for _, header := range m.Headers {
			r.Headers = append(r.Headers, connect.Header{Key: header.Key, Value: header.Value})
		}
		out = append(out, r)
	}
	return out, nil
}

func messages(records []connect.Record) []streams.Message {
	out := make([]streams.Message, len(records))
	for i, r := range records {
		out[i] = streams.Message{Key: r.Key, Value: r.Value, Time: r.Timestamp}
		for _, h := range r.Headers {
			out[i].Headers = append(out[i].Headers, streams.Header{Key: h.Key, Value: h.Value})
		}
	}
	return out
}

// difference is empty when got is what was wanted, else it shows both, with the lines that differ marked.
func difference(want []any, got []connect.Record) string {
	wanted, came := make([]string, len(want)), make([]string, len(got))
	equal := len(want) == len(got)
	for i := range max(len(want), len(got)) {
		if i < len(want) {
			wanted[i] = show(want[i])
		}
		if i < len(got) {
			came[i] = showRecord(got[i], i < len(want) && !isRecord(want[i]))
		}
		equal = equal && matches(want[i], got[i])
	}
	if equal {
		return ""
	}
	var b strings.Builder
	for i := range max(len(want), len(got)) {
		switch {
		case i >= len(got):
			fmt.Fprintf(&b, "- %s\n", wanted[i])
		case i >= len(want):
			fmt.Fprintf(&b, "+ %s\n", came[i])
		case matches(want[i], got[i]):
			fmt.Fprintf(&b, "  %s\n", came[i])
		default:
			fmt.Fprintf(&b, "- %s\n+ %s\n", wanted[i], came[i])
		}
	}
	return fmt.Sprintf("wanted %d (-), got %d (+):\n%s", len(want), len(got), strings.TrimRight(b.String(), "\n"))
}

// isRecord tells whether a wanted entry is a section of key, value and headers, and no value.
func isRecord(want any) bool {
	m, ok := want.(map[string]any)
	if !ok || len(m) == 0 {
		return false
	}
	for name := range m {
		if name != "key" && name != "value" && name != "headers" {
			return false
		}
	}
	return true
}

func matches(want any, got connect.Record) bool {
	if !isRecord(want) {
		return matchesValue(want, got.Value)
	}
	fields := want.(map[string]any)
	if key, given := fields["key"]; given && !matchesKey(key, got.Key) {
		return false
	}
	if value, given := fields["value"]; given && !matchesValue(value, got.Value) {
		return false
	}
	headers, given := fields["headers"]
	return !given || equalValues(headers, headersOf(got))
}

func matchesKey(want any, got []byte) bool {
	if want == nil || got == nil {
		return want == nil && got == nil
	}
	text, err := expression.Text(want)
	return err == nil && text == string(got)
}

func matchesValue(want any, got []byte) bool {
	if want == nil || got == nil {
		return want == nil && (got == nil || string(got) == "null")
	}
	value, _, err := expression.Decode(got)
	return err == nil && equalValues(want, value)
}

func headersOf(r connect.Record) any {
	headers := make(map[string]any, len(r.Headers))
	for _, h := range r.Headers {
		headers[h.Key] = string(h.Value)
	}
	return headers
}

// equalValues compares decoded values; 1 and 1.0 are equal, and the order of fields does not matter.
func equalValues(a, b any) bool {
	switch x := a.(type) {
	case map[string]any:
		y, ok := b.(map[string]any)
		if !ok || len(x) != len(y) {
			return false
		}
		for name, v := range x {
			w, has := y[name]
			if !has || !equalValues(v, w) {
				return false
			}
		}
		return true
	case []any:
		y, ok := b.([]any)
		return ok && slices.EqualFunc(x, y, equalValues)
	case int64:
		if y, ok := b.(float64); ok {
			return float64(x) == y
		}
	case float64:
		if y, ok := b.(int64); ok {
			return x == float64(y)
		}
	}
	return a == b
}

func show(v any) string {
	text, err := expression.Append(nil, v)
	if err != nil {
		return fmt.Sprint(v)
	}
	return string(text)
}

// showRecord shows what came: the value when a value was wanted, else key, value and headers.
func showRecord(r connect.Record, valueOnly bool) string {
	var value any = string(r.Value)
	if decoded, _, err := expression.Decode(r.Value); err == nil {
		value = decoded
	}
	if r.Value == nil {
		value = nil
	}
	if valueOnly {
		return show(value)
	}
	fields := map[string]any{"key": nil, "value": value}
	if r.Key != nil {
		fields["key"] = string(r.Key)
	}
	if len(r.Headers) > 0 {
		fields["headers"] = headersOf(r)
	}
	return show(fields)
}
