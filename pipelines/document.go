package pipelines

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/milldam/milldam/connect"
	"github.com/milldam/milldam/connect/expression"
	"github.com/milldam/milldam/core/config"
)

// document is a pipeline as YAML declares it. Sections whose meaning depends on others are captured and read afterwards.
type document struct {
	Pipeline string      `yaml:"pipeline" required:"true" doc:"Name of the pipeline: its consumer group and its internal topics are named after it."`
	After    []string    `yaml:"after" doc:"Pipelines whose sources must be read to their end, and acknowledged, before this one starts."`
	Source   captured    `yaml:"source" required:"true" doc:"Where records come from: topic, or a connector."`
	Steps    []captured  `yaml:"steps" doc:"What happens to each record, in order."`
	Sink     captured    `yaml:"sink" required:"true" doc:"Where records go: topic, or a connector."`
	Errors   ErrorPolicy `yaml:"errors" doc:"What happens to records that cannot be processed or written."`
	Delivery captured    `yaml:"delivery" type:"text" doc:"The guarantee: at-least-once, as without it, or exactly-once."`
	Tests    []captured  `yaml:"tests" doc:"Records given, and records wanted: see milldam pipeline test."`
}

// captured keeps a section for later.
type captured struct {
	node config.Node
	set  bool
}

// ConfigType names the type.
func (captured) ConfigType() string { return "a section" }

// DecodeConfig keeps the node.
func (c *captured) DecodeConfig(n config.Node) error {
	c.node, c.set = n, true
	return nil
}

// decodeSpec reads one document.
func decodeSpec(doc *config.Document, opts config.Options, registry *connect.Registry) (*Spec, config.Errors) {
	root := doc.Node(opts)
	var d document
	errs := root.Decode(&d)
	s := &Spec{Name: d.Pipeline, Position: root.Position(), After: d.After, Errors: d.Errors, node: root}
	if d.Pipeline != "" && !pipelineName.MatchString(d.Pipeline) {
		errs = append(errs, at(root, "pipeline").Errorf("%q is no name for a pipeline", d.Pipeline).WithHint("letters, digits, ., _ and -, at most %d", maxNameBytes))
	}
	if d.Errors.DeadLetter != nil && d.Errors.DeadLetter.Topic != "" {
		errs = append(errs, checkTopicName(at(root, "errors", "dead_letter"), "topic", d.Errors.DeadLetter.Topic)...)
	}
	if d.Source.set {
		errs = append(errs, s.decodeSource(d.Source.node, registry)...)
	}
	scope, more := s.decodeSteps(d.Steps)
	errs = append(errs, more...)
	if d.Sink.set {
		errs = append(errs, s.decodeSink(d.Sink.node, registry, scope)...)
	}
	s.Delivery = AtLeastOnce
	if d.Delivery.set {
		errs = append(errs, s.decodeDelivery(d.Delivery.node)...)
	}
	for _, t := range d.Tests {
		test, more := decodeTest(t.node)
		errs = append(errs, more...)
		s.Tests = append(s.Tests, test)
	}
	return s, errs
}

// maxNameBytes bounds the name of a pipeline, since groups and topics are named after it.
const maxNameBytes = 80

var (
	pipelineName = regexp.MustCompile(`^[a-zA-Z0-9][a-zA-Z0-9._-]{0,79}$`)
	topicName    = regexp.MustCompile(`^[a-zA-Z0-9._-]{1,249}$`)
)

// at returns the node below n that path names, or the deepest that exists.
func at(n config.Node, path ...string) config.Node {
	for _, name := range path {
		entries, _ := n.Entries() // what is wrong with it was reported when it was decoded
		i := slices.IndexFunc(entries, func(e config.Entry) bool { return e.Key == name })
		if i < 0 {
			return n
		}
		n = entries[i].Value
	}
	return n
}

func checkTopicName(section config.Node, name, topic string) config.Errors {
	if topicName.MatchString(topic) && topic != "." && topic != ".." {
		return nil
	}
	return config.Errors{at(section, name).Errorf("%q is no name for a topic", topic).WithHint("letters, digits, ., _ and -, at most 249")}
}

func asErrors(n config.Node, err error) config.Errors {
	var all config.Errors
	var one *config.Error
	switch {
	case err == nil:
		return nil
	case errors.As(err, &all):
		return all
	case errors.As(err, &one):
		return config.Errors{one}
	}
	return config.Errors{n.Errorf("%v", err)}
}

// choose reads a section that must hold one of names, or of the connectors that have the side.
func choose(n config.Node, side string, registry *connect.Registry) (config.Entry, connect.Plugin, config.Errors) {
	var plugin connect.Plugin
	entries, errs := n.Entries()
	if len(errs) > 0 {
		return config.Entry{}, plugin, errs
	}
	known := []string{"topic"}
	for _, p := range registry.Plugins() {
		if side == "source" && p.SourceConfig != nil || side == "sink" && p.SinkConfig != nil {
			known = append(known, p.Name)
		}
	}
	known = slices.Compact(slices.Sorted(slices.Values(known)))
	if len(entries) == 0 {
		return config.Entry{}, plugin, config.Errors{n.KeyErrorf("is empty").WithHint("one of %s", strings.Join(known, ", "))}
	}
	for _, e := range entries {
		if slices.Contains(known, e.Key) {
			continue
		}
		message := fmt.Sprintf("unknown connector%s", config.DidYouMean(e.Key, known))
		if _, exists := registry.Plugin(e.Key); exists {
			message = fmt.Sprintf("the connector %s has no %s", e.Key, side)
		}
		errs = append(errs, e.Value.KeyErrorf("%s", message).WithHint("%ss there are: %s", side, strings.Join(known, ", ")))
	}
	if len(entries) > 1 && len(errs) == 0 {
		errs = append(errs, entries[1].Value.KeyErrorf("a %s is one thing, %s stands above already", side, entries[0].Key).
			WithHint("write a second pipeline for it"))
	}
	if len(errs) > 0 {
		return config.Entry{}, plugin, errs
	}
	plugin, _ = registry.Plugin(entries[0].Key) // absent for topic
	return entries[0], plugin, nil
}

func (s *Spec) decodeSource(n config.Node, registry *connect.Registry) config.Errors {
	e, plugin, errs := choose(n, "source", registry)
	switch {
	case len(errs) > 0:
		return errs
	case e.Key == "topic":
		s.Source.Topic = new(TopicSource)
		errs = e.Value.Decode(s.Source.Topic)
		if len(errs) == 0 && len(s.Source.Topic.Names) == 0 {
			errs = config.Errors{at(e.Value, "names").Errorf("has no topic")}
		}
		for _, name := range s.Source.Topic.Names {
			errs = append(errs, checkTopicName(e.Value, "names", name)...)
		}
		return errs
	}
	s.Source.Connector = &Connector{Name: e.Key, Plugin: plugin, Config: plugin.SourceConfig()}
	return e.Value.Decode(s.Source.Connector.Config)
}

// topicSinkFields is the section sink.topic, but for the expressions, whose names depend on the steps.
type topicSinkFields struct {
	Name   string       `yaml:"name" required:"true" doc:"The topic to write."`
	Key    captured     `yaml:"key" type:"an expression" doc:"The key of the record; the key it has when absent."`
	Time   captured     `yaml:"time" type:"an expression" doc:"The timestamp of the record; the one it has when absent."`
	Value  captured     `yaml:"value" type:"an expression" doc:"The value of the record; the value it has when absent."`
	Create *TopicCreate `yaml:"create" doc:"How to create the topic when it does not exist."`
}

func (s *Spec) decodeSink(n config.Node, registry *connect.Registry, scope expression.Scope) config.Errors {
	e, plugin, errs := choose(n, "sink", registry)
	switch {
	case len(errs) > 0:
		return errs
	case e.Key != "topic":
		s.Sink.Connector = &Connector{Name: e.Key, Plugin: plugin, Config: plugin.SinkConfig()}
		return e.Value.Decode(s.Sink.Connector.Config)
	}
	var f topicSinkFields
	errs = e.Value.Decode(&f)
	sink := &TopicSink{Name: f.Name, Create: TopicCreate{Partitions: 1, Replicas: 1}}
	if f.Create != nil {
		sink.Create = *f.Create
	}
	if f.Name != "" {
		errs = append(errs, checkTopicName(e.Value, "name", f.Name)...)
	}
	for _, x := range []struct {
		from captured
		to   *expression.Expression
	}{{f.Key, &sink.Key}, {f.Time, &sink.Time}, {f.Value, &sink.Value}} {
		if x.from.set {
			compiled, err := expression.FromNode(x.from.node, scope)
			errs = append(errs, asErrors(x.from.node, err)...)
			*x.to = compiled
		}
	}
	s.Sink.Topic = sink
	return errs
}

// decodeSteps reads the steps in order and returns the scope behind the last.
func (s *Spec) decodeSteps(steps []captured) (expression.Scope, config.Errors) {
	var scope expression.Scope
	var errs config.Errors
	for _, c := range steps {
		step, more := decodeStep(c.node, scope)
		errs = append(errs, more...)
		if step.Window != nil {
			if scope&expression.WithWindow != 0 {
				errs = append(errs, at(c.node, "window").KeyErrorf("a pipeline has one window").WithHint("write the result to a topic, and a second pipeline that reads it"))
			}
			scope |= expression.WithWindow
		}
		if step.Window != nil || step.Join != nil || step.Where != nil || step.Map != nil {
			s.Steps = append(s.Steps, step)
		}
	}
	return scope, errs
}

var stepNames = []string{"where", "map", "window", "join"}

func decodeStep(n config.Node, scope expression.Scope) (Step, config.Errors) {
	step := Step{node: n}
	entries, errs := n.Entries()
	if len(errs) > 0 {
		return step, errs
	}
	sections := map[string]config.Node{}
	kind := ""
	for _, e := range entries {
		sections[e.Key] = e.Value
		switch {
		case e.Key == "aggregate":
		case !slices.Contains(stepNames, e.Key):
			err := e.Value.KeyErrorf("unknown step%s", config.DidYouMean(e.Key, append(stepNames, "aggregate")))
			errs = append(errs, err.WithHint("steps there are: %s", strings.Join(stepNames, ", ")))
		case kind != "":
			errs = append(errs, e.Value.KeyErrorf("a step is one thing, %s stands above already", kind).WithHint("start a step of its own with -"))
		default:
			kind = e.Key
		}
	}
	aggregate, aggregates := sections["aggregate"]
	switch {
	case len(errs) > 0:
		return step, errs
	case aggregates && kind != "window":
		return step, config.Errors{aggregate.KeyErrorf("aggregate needs a window in the same step").WithHint("as in window: { tumbling: 1m }")}
	case kind == "":
		return step, config.Errors{n.Errorf("the step is empty").WithHint("steps there are: %s", strings.Join(stepNames, ", "))}
	case kind == "window" && !aggregates:
		return step, config.Errors{sections[kind].KeyErrorf("a window needs an aggregate in the same step").WithHint("as in aggregate: { n: count() }")}
	}
	switch kind {
	case "where":
		step.Where, errs = decodeWhere(sections[kind], scope)
	case "map":
		step.Map, errs = decodeMap(sections[kind], scope)
	case "window":
		step.Window, errs = decodeWindow(sections[kind], aggregate)
	case "join":
		step.Join, errs = decodeJoin(sections[kind], scope)
	}
	return step, errs
}
