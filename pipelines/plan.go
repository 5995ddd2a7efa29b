package pipelines

import (
	"fmt"
	"strings"

	"github.com/milldam/milldam/core/config"
)

// HopKind says what runs a part of a pipeline.
type HopKind string

const (
	SourceHop HopKind = "source" // a connector writes a topic
	StreamHop HopKind = "stream" // topics to a topic, by the engine of the streams package
	SinkHop   HopKind = "sink"   // topics to a connector
)

// Hop is a part of a pipeline that runs on its own, from connector or topics to topic or connector.
type Hop struct {
	Kind      HopKind  `json:"kind"`
	Connector string   `json:"connector,omitempty"`
	Read      []string `json:"read,omitempty"`  // topics
	Write     string   `json:"write,omitempty"` // topic
	Group     string   `json:"group,omitempty"` // consumer group
	Internal  bool     `json:"internal,omitempty"`
	Steps     []string `json:"steps,omitempty"`
	Guarantee Delivery `json:"guarantee"`
	Why       string   `json:"why"`

	first, last int // the steps [first, last) of the spec
	create      TopicCreate
}

// Plan is how a pipeline runs.
type Plan struct {
	Pipeline string   `json:"pipeline"`
	After    []string `json:"after,omitempty"`
	Hops     []Hop    `json:"hops"`
}

// group is the consumer group of the first hop that reads topics. A sink behind a stream hop has its own.
func (s *Spec) group() string { return "pipeline-" + s.Name }

// inputTopic is the topic between a connector source and what cannot run in its worker: a stateful step, or a connector sink.
func (s *Spec) inputTopic() string { return s.Name + "-input" }

// resultTopic is the topic between stateful steps and a connector sink.
func (s *Spec) resultTopic() string { return s.Name + "-results" }

// internalTopic is how topics between the hops of one pipeline are made.
var internalTopic = TopicCreate{Partitions: 4, Replicas: 1}

// Plan divides a pipeline into hops: a connector source writes a topic, the streams engine goes from topic to topic, a connector sink reads topics.
// Steps that need nothing but the record run in the first hop there is.
func (s *Spec) Plan() Plan {
	p := Plan{Pipeline: s.Name, After: s.After}
	end := len(s.Steps)
	read, next := []string(nil), 0
	if s.Source.Connector != nil {
		next = s.firstStateful()
		h := Hop{Kind: SourceHop, Connector: s.Source.Connector.Name, last: next}
		if s.Sink.Topic != nil && next == end {
			h.Write, h.create = s.Sink.Topic.Name, s.Sink.Topic.Create
		} else {
			h.Write, h.create, h.Internal = s.inputTopic(), internalTopic, true
		}
		p.add(s, h)
		read = []string{h.Write}
		if !h.Internal {
			return p
		}
	} else {
		read = s.Source.Topic.Names
	}
	stateful := s.firstStateful() < end
	if s.Sink.Topic != nil || stateful {
		h := Hop{Kind: StreamHop, Group: s.group(), Read: read, first: next, last: end}
		if s.Sink.Topic != nil {
			h.Write, h.create = s.Sink.Topic.Name, s.Sink.Topic.Create
		} else {
			h.Write, h.create, h.Internal = s.resultTopic(), internalTopic, true
		}
		p.add(s, h)
		read, next = []string{h.Write}, end
	}
	if s.Sink.Connector != nil {
		group := s.group()
		if stateful {
			group += "-sink"
		}
		p.add(s, Hop{Kind: SinkHop, Group: group, Connector: s.Sink.Connector.Name, Read: read, first: next, last: end})
	}
	return p
}

// firstStateful is the index of the first step that needs state; the number of steps when none does.
func (s *Spec) firstStateful() int {
	for i, step := range s.Steps {
		if step.stateful() {
			return i
		}
	}
	return len(s.Steps)
}

func (p *Plan) add(s *Spec, h Hop) {
	for _, step := range s.Steps[h.first:h.last] {
		h.Steps = append(h.Steps, step.summary())
	}
	h.Guarantee, h.Why = s.guarantee(h)
	p.Hops = append(p.Hops, h)
}

func (s Step) summary() string {
	switch {
	case s.Where != nil:
		return "where " + s.Where.condition.Source()
	case s.Map != nil:
		return "map to " + strings.Join(s.Map.names, ", ")
	case s.Window != nil:
		return s.Window.summary()
	}
	return "join with table " + s.Join.Table
}

func (w *Window) summary() string {
	var b strings.Builder
	b.WriteString("window ")
	if w.Every == w.Size {
		fmt.Fprintf(&b, "tumbling %s", config.Duration(w.Size))
	} else {
		fmt.Fprintf(&b, "hopping %s every %s", config.Duration(w.Size), config.Duration(w.Every))
	}
	if !w.By.IsZero() {
		fmt.Fprintf(&b, " by %s", w.By.Source())
	}
	if w.Idle == 0 && w.Emit == EmitFinal {
		b.WriteString(" (no idle: the last windows wait for later records)")
	}
	fmt.Fprintf(&b, ": %s", strings.Join(w.names, ", "))
	return b.String()
}

// String draws the plan for people.
func (p Plan) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "pipeline %s\n", p.Pipeline)
	if len(p.After) > 0 {
		fmt.Fprintf(&b, "  starts after %s\n", strings.Join(p.After, ", "))
	}
	for i, h := range p.Hops {
		from, to := h.Connector, h.Connector
		if len(h.Read) > 0 {
			from = "topic " + strings.Join(h.Read, ", ")
		}
		if h.Write != "" {
			to = "topic " + h.Write
			if h.Internal {
				to += " (internal)"
			}
		}
		fmt.Fprintf(&b, "  %d. %s: %s -> %s", i+1, h.Kind, from, to)
		if h.Group != "" {
			fmt.Fprintf(&b, ", group %s", h.Group)
		}
		b.WriteByte('\n')
		for _, step := range h.Steps {
			fmt.Fprintf(&b, "       %s\n", step)
		}
		fmt.Fprintf(&b, "       %s: %s\n", h.Guarantee, h.Why)
	}
	return b.String()
}
