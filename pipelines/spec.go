package pipelines

import (
	"github.com/milldam/milldam/connect"
	"github.com/milldam/milldam/connect/expression"
	"github.com/milldam/milldam/core/config"
)

// Spec is one pipeline as its document declares it, checked.
type Spec struct {
	Name     string
	Position config.Position // of the document
	After    []string
	Source   Source
	Steps    []Step
	Sink     Sink
	Errors   ErrorPolicy
	Delivery Delivery
	Tests    []Test

	node config.Node
}

// Delivery is how often what a record causes is there in the end, for readers of committed records.
type Delivery string

const (
	AtLeastOnce Delivery = "at-least-once" // when the document says nothing
	ExactlyOnce Delivery = "exactly-once"
)

// Source is where records come from: topics, or a connector.
type Source struct {
	Topic     *TopicSource
	Connector *Connector
}

// TopicSource reads topics of the cluster.
type TopicSource struct {
	Names     []string  `yaml:"names" required:"true" doc:"The topics to read."`
	Start     string    `yaml:"start" default:"earliest" enum:"earliest,latest" doc:"Where to begin when the pipeline has read nothing yet."`
	Isolation Isolation `yaml:"isolation" default:"read_committed" enum:"read_committed,read_uncommitted" doc:"Whether to wait for the end of transactions and leave out aborted ones."`
}

// Isolation says which records of transactions are read.
type Isolation string

// ReadUncommitted reads all, also those of transactions that have not ended or were aborted.
const ReadUncommitted Isolation = "read_uncommitted"

// readsUncommitted tells whether a hop that reads topics gets uncommitted records; what lies between two hops is read committed.
func (s *Spec) readsUncommitted(h Hop) bool {
	return s.Source.Topic != nil && s.Source.Topic.Isolation == ReadUncommitted && h.Group == s.group()
}

// Connector is a connector with its configuration.
type Connector struct {
	Name   string
	Plugin connect.Plugin
	Config any // what Plugin.SourceConfig or Plugin.SinkConfig returned, filled
}

// Sink is where records go: a topic, or a connector.
type Sink struct {
	Topic     *TopicSink
	Connector *Connector
}

// TopicSink writes to a topic of the cluster. Fields that are absent keep what the record has.
type TopicSink struct {
	Name   string
	Key    expression.Expression
	Time   expression.Expression
	Value  expression.Expression
	Create TopicCreate
}

// TopicCreate is how a topic is made that does not exist.
type TopicCreate struct {
	Partitions int32             `yaml:"partitions" default:"1" doc:"Number of partitions."`
	Replicas   int16             `yaml:"replicas" default:"1" doc:"Number of replicas."`
	Config     map[string]string `yaml:"config" doc:"Topic settings under Kafka's names, as in cleanup.policy: compact; durations such as 7d and sizes such as 1GiB are taken too."`
}

// Validate checks the numbers.
func (c TopicCreate) Validate() error {
	switch {
	case c.Partitions < 1 || c.Partitions > maxPartitions:
		return config.Fieldf("partitions", "must be from 1 to %d", maxPartitions)
	case c.Replicas < 1:
		return config.Fieldf("replicas", "must be at least 1")
	}
	return nil
}

// maxPartitions bounds what a pipeline may create by a slip of the finger.
const maxPartitions = 10_000

// Step is one step; exactly one field is set.
type Step struct {
	Where  *Where
	Map    *Map
	Window *Window
	Join   *Join

	node config.Node
}

// Kind names the step as its YAML does.
func (s Step) Kind() string {
	switch {
	case s.Where != nil:
		return "where"
	case s.Map != nil:
		return "map"
	case s.Window != nil:
		return "window"
	}
	return "join"
}

// stateful tells whether the step needs more than the record at hand.
func (s Step) stateful() bool { return s.Window != nil || s.Join != nil }

// stateless tells whether no step of the pipeline needs state.
func (s *Spec) stateless() bool {
	for _, step := range s.Steps {
		if step.stateful() {
			return false
		}
	}
	return true
}

// field is a named expression: one entry of map, or of the fields of a join.
type field struct {
	name       string
	expression expression.Expression
}
