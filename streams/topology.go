package streams

import (
	"context"
	"errors"
	"fmt"
	"regexp"
)

// Topology declares how records flow from topics through operators to topics. It is built once, by one goroutine, and then run
// by any number of workers: Start, or Simulate without a broker. Mistakes in the declaration are collected, and returned by Build.
type Topology struct {
	nodes []*node
	errs  []error
	names map[string]*node
}

// NewTopology returns an empty topology.
func NewTopology() *Topology { return &Topology{names: map[string]*node{}} }

// nodeKind says what an operator does, in the words of Describe.
type nodeKind string

const (
	kindSource      nodeKind = "source"
	kindTable       nodeKind = "table"
	kindRepartition nodeKind = "repartition"
	kindSink        nodeKind = "sink"
	kindAggregate   nodeKind = "aggregate"
	kindWindow      nodeKind = "window"
	kindJoin        nodeKind = "join"
)

// node is one declared operator, without its types.
type node struct {
	id      int
	kind    nodeKind
	name    string // given by the user, or kind and number
	parents []*node
	// table is the table that a join reads.
	table *node

	topic      string // read or written; of a repartition the suffix of its topic
	key, value string // names of the codecs with which the topic or the store is written
	window     string // of a windowed aggregate
	changelog  bool   // the operator has a store which is written to a changelog topic
	keeps      bool   // the operator keeps values of records
	idle       idlePolicy
	retimes    bool // the operator may give records another time
	// undecodable is what happens to records that the codecs of a source cannot read.
	undecodable OnError

	// open makes the operator that feeds a task: of sources, tables and repartitions.
	open func(b *taskBuild, in *input)
}

func (n *node) String() string { return fmt.Sprintf("%s %q", n.kind, n.name) }

// add declares a node. An empty name is made of the kind and a number.
func (t *Topology) add(kind nodeKind, name string, parents ...*node) *node {
	n := &node{id: len(t.nodes), kind: kind, name: name, parents: parents}
	if name == "" {
		n.name = fmt.Sprintf("%s-%d", kind, n.id)
	}
	t.nodes = append(t.nodes, n)
	return n
}

// storeName is what the name of a stateful operator may look like: it becomes part of a topic's name.
var storeName = regexp.MustCompile(`^[A-Za-z0-9._-]{1,100}$`)

// addNamed declares a node whose name is part of the name of a topic, and so must be given and be its own.
func (t *Topology) addNamed(kind nodeKind, name string, parents ...*node) *node {
	n := t.add(kind, name, parents...)
	switch other := t.names[name]; {
	case name == "":
		t.fail(n, "has no name: its topic is called after it, and must be found again after the next change of the program")
	case !storeName.MatchString(name):
		t.fail(n, "the name may have letters, digits, dot, underscore and hyphen, at most 100")
	case other != nil:
		t.fail(n, "the name is taken by the %s", other.kind)
	default:
		t.names[name] = n
	}
	return n
}

// fail keeps a mistake in the declaration of n for Build.
func (t *Topology) fail(n *node, format string, args ...any) {
	t.errs = append(t.errs, fmt.Errorf("%s: %w", n, fmt.Errorf(format, args...)))
}

// Build checks the topology. It returns all that is wrong with it, each with the name of the operator.
func (t *Topology) Build() error {
	errs := append([]error{}, t.errs...)
	errs = append(errs, t.checkTopics()...)
	return errors.Join(errs...)
}

func (t *Topology) checkTopics() []error {
	var errs []error
	read := map[string]*node{}
	for _, n := range t.nodes {
		switch {
		case n.kind == kindSource || n.kind == kindTable:
			if n.topic == "" {
				errs = append(errs, fmt.Errorf("%s: has no topic", n))
			}
			if other := read[n.topic]; other != nil {
				errs = append(errs, fmt.Errorf("%s: topic %q is read by the %s already; use that one twice", n, n.topic, other))
			}
			read[n.topic] = n
		case n.kind == kindSink && n.topic == "":
			errs = append(errs, fmt.Errorf("%s: has no topic", n))
		}
	}
	if len(read) == 0 {
		errs = append(errs, errors.New("topology: reads no topic, it needs a Stream or a Table"))
	}
	return errs
}

// push hands a batch of records to an operator. The batch and its slices belong to the caller, and are valid until push returns.
type push[K, V any] func(ctx context.Context, batch []Record[K, V]) error

// port is where an operator's records leave; children make the operators they go to.
type port[K, V any] struct {
	children []func(*taskBuild) push[K, V]
}

// open makes the operators behind the port for one task.
func (p *port[K, V]) open(b *taskBuild) push[K, V] {
	targets := make([]push[K, V], 0, len(p.children))
	for _, child := range p.children {
		targets = append(targets, child(b))
	}
	switch len(targets) {
	case 0:
		return func(context.Context, []Record[K, V]) error { return nil }
	case 1:
		return targets[0]
	}
	return func(ctx context.Context, batch []Record[K, V]) error {
		for _, target := range targets {
			if err := target(ctx, batch); err != nil {
				return err
			}
		}
		return nil
	}
}

// operator declares an operator after s. Each task has one of it, also when several streams were merged into s.
func operator[K, V, K2, V2 any](s Stream[K, V], n *node, open func(b *taskBuild, next push[K2, V2]) push[K, V]) *port[K2, V2] {
	out := &port[K2, V2]{}
	s.out.children = append(s.out.children, func(b *taskBuild) push[K, V] {
		return once(b, n, func() push[K, V] { return open(b, out.open(b)) })
	})
	return out
}
