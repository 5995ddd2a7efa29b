package pipelines

import (
	"time"

	"github.com/milldam/milldam/connect"
	"github.com/milldam/milldam/connect/expression"
	"github.com/milldam/milldam/core/config"
)

// Test is one entry of the section tests: records given, and records wanted.
type Test struct {
	Name     string
	Position config.Position

	given  []connect.Record
	tables map[string][]connect.Record
	want   []any // what config decodes: values, or sections of key, value, headers
}

// testFields is one entry of tests as YAML declares it.
type testFields struct {
	Name   string                   `yaml:"name" doc:"What the test is about."`
	Given  []givenRecord            `yaml:"given" required:"true" doc:"The records the source delivers, in order."`
	Tables map[string][]givenRecord `yaml:"tables" doc:"The rows of the topics that joins read, by topic."`
	Want   captured                 `yaml:"want" required:"true" doc:"The records the sink gets, in order: values, or sections whose keys are all among key, value and headers."`
}

type givenRecord struct {
	Key       captured          `yaml:"key" doc:"The key: text, or a value that becomes JSON."`
	Value     captured          `yaml:"value" doc:"The value, which becomes JSON; absent or null is a tombstone."`
	Headers   map[string]string `yaml:"headers" doc:"The headers."`
	Timestamp captured          `yaml:"timestamp" doc:"The time: RFC 3339 or epoch milliseconds; the epoch when absent."`
	Topic     string            `yaml:"topic" doc:"The topic; the first of the source when absent."`
	Partition int32             `yaml:"partition" doc:"The partition."`
	Offset    int64             `yaml:"offset" doc:"The offset; the place in the list when 0."`
}

func decodeTest(n config.Node) (Test, config.Errors) {
	var f testFields
	errs := n.Decode(&f)
	t := Test{Name: f.Name, Position: n.Position(), tables: map[string][]connect.Record{}}
	for i, g := range f.Given {
		r, more := g.record(int64(i))
		t.given, errs = append(t.given, r), append(errs, more...)
	}
	for topic, rows := range f.Tables {
		for i, g := range rows {
			r, more := g.record(int64(i))
			r.Topic = topic
			t.tables[topic], errs = append(t.tables[topic], r), append(errs, more...)
		}
	}
	if f.Want.set {
		errs = append(errs, f.Want.node.Decode(&t.want)...)
	}
	return t, errs
}

func (g givenRecord) record(index int64) (connect.Record, config.Errors) {
	r := connect.Record{Topic: g.Topic, Partition: g.Partition, Offset: g.Offset, Timestamp: time.UnixMilli(0).UTC()}
	if r.Offset == 0 {
		r.Offset = index
	}
	var errs config.Errors
	if g.Key.set {
		var key any
		errs = append(errs, g.Key.node.Decode(&key)...)
		if key != nil {
			text, err := expression.Text(key)
			errs = append(errs, asErrors(g.Key.node, err)...)
			r.Key = []byte(text)
		}
	}
	if g.Value.set {
		var value any
		errs = append(errs, g.Value.node.Decode(&value)...)
		if value != nil {
			text, err := expression.Append(nil, value)
			errs = append(errs, asErrors(g.Value.node, err)...)
			r.Value = text
		}
	}
	for name, text := range g.Headers {
		r.Headers = append(r.Headers, connect.Header{Key: name, Value: []byte(text)})
	}
	if g.Timestamp.set {
		var at any
		errs = append(errs, g.Timestamp.node.Decode(&at)...)
		t, err := expression.Time(at)
		errs = append(errs, asErrors(g.Timestamp.node, err)...)
		r.Timestamp = t
	}
	return r, errs
}
