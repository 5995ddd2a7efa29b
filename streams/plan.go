package streams

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// plan is a topology on the topics of a cluster: its parts, their tasks, and the topics it needs for itself.
type plan struct {
	app        string
	subs       []*subtopology
	partitions map[string]int32 // of every topic that is read, repartitioned through, or a changelog
	writerOf   map[*node]*subtopology
}

// subtopology is a part of a topology whose operators are connected without repartition topics. It has a task for each partition
// of its inputs.
type subtopology struct {
	id     int
	nodes  []*node
	inputs []*node // sources, tables and repartitions that it reads
	stores []*node // with changelog
	tasks  int32
	keeps  bool // it has a store, so that decoded values must not refer to fetched bytes
}

// topic is the full name of the topic that n reads or writes.
func (p *plan) topic(n *node) string {
	if n.kind == kindRepartition {
		return p.app + "-" + n.topic + "-repartition"
	}
	return n.topic
}

// changelog is the name of the changelog topic of n.
func (p *plan) changelog(n *node) string { return p.app + "-" + n.name + "-changelog" }

// writers is the number of tasks that write to the repartition n.
func (p *plan) writers(n *node) int32 { return p.writerOf[n].tasks }

// subtopologies divides the topology, in the order of the declarations.
func (t *Topology) subtopologies() []*subtopology {
	group := make([]int, len(t.nodes)) // the lowest id of the nodes it is connected with
	for i := range group {
		group[i] = i
	}
	var find func(i int) int
	find = func(i int) int {
		if group[i] != i {
			group[i] = find(group[i])
		}
		return group[i]
	}
	connect := func(a, b int) {
		a, b = find(a), find(b)
		group[max(a, b)] = min(a, b)
	}
	for _, n := range t.nodes {
		if n.table != nil {
			connect(n.id, n.table.id)
		}
		if n.kind == kindRepartition {
			continue // the node stands with its readers
		}
		for _, p := range n.parents {
			connect(n.id, p.id)
		}
	}
	byGroup := map[int]*subtopology{}
	var subs []*subtopology
	for _, n := range t.nodes {
		sub := byGroup[find(n.id)]
		if sub == nil {
			sub = &subtopology{id: len(subs)}
			byGroup[find(n.id)] = sub
			subs = append(subs, sub)
		}
		sub.add(n)
	}
	return subs
}

func (s *subtopology) add(n *node) {
	s.nodes = append(s.nodes, n)
	s.keeps = s.keeps || n.keeps
	switch n.kind {
	case kindSource, kindTable, kindRepartition:
		s.inputs = append(s.inputs, n)
	}
	if n.changelog {
		s.stores = append(s.stores, n)
	}
}

// sourceTopics returns the topics that must exist to be read.
func (t *Topology) sourceTopics() []string { return t.topicsOf(kindSource, kindTable) }

// sinkTopics returns the topics that must exist to be written to.
func (t *Topology) sinkTopics() []string { return t.topicsOf(kindSink) }

func (t *Topology) topicsOf(kinds ...nodeKind) []string {
	var topics []string
	for _, n := range t.nodes {
		if slices.Contains(kinds, n.kind) && n.topic != "" {
			topics = append(topics, n.topic)
		}
	}
	slices.Sort(topics)
	return slices.Compact(topics)
}

// plan lays the topology on topics with these partitions.
func (t *Topology) plan(app string, partitions map[string]int32) (*plan, error) {
	p := &plan{app: app, subs: t.subtopologies(), partitions: map[string]int32{}, writerOf: map[*node]*subtopology{}}
	for _, topic := range t.sourceTopics() {
		if partitions[topic] <= 0 {
			return nil, fmt.Errorf("topic %q does not exist: create it, as in `milldam topic create %s`", topic, topic)
		}
		p.partitions[topic] = partitions[topic]
	}
	for _, sub := range p.subs {
		for _, n := range sub.nodes {
			if n.kind == kindRepartition {
				p.writerOf[n] = p.subOf(n.parents[0])
			}
		}
	}
	groups, err := p.copartitioned()
	if err != nil {
		return nil, err
	}
	if err := p.size(groups); err != nil {
		return nil, err
	}
	for _, sub := range p.subs {
		for _, n := range sub.stores {
			p.partitions[p.changelog(n)] = sub.tasks
		}
	}
	return p, nil
}

func (p *plan) subOf(n *node) *subtopology {
	for _, sub := range p.subs {
		if slices.Contains(sub.nodes, n) {
			return sub
		}
	}
	return nil // every node is in one
}

// copartition is a set of inputs that must have the same number of partitions, because a join brings them together.
type copartition struct {
	join   *node
	inputs []*node
	fixed  int32 // partitions of those that are given, 0 when all are repartitions
}

// copartitioned finds the inputs that joins bring together, and compares those that are given.
func (p *plan) copartitioned() ([]copartition, error) {
	var groups []copartition
	var errs []error
	for _, sub := range p.subs {
		for _, n := range sub.nodes {
			if n.table == nil {
				continue
			}
			g := copartition{join: n, inputs: append(inputsOf(n.parents[0]), inputsOf(n.table)...)}
			var counts []string
			for _, in := range g.inputs {
				if in.kind == kindRepartition {
					continue
				}
				count := p.partitions[in.topic]
				counts = append(counts, fmt.Sprintf("%s has %d", in.topic, count))
				if g.fixed == 0 {
					g.fixed = count
				}
				if g.fixed != count {
					errs = append(errs, fmt.Errorf("%s: its topics need the same number of partitions, but %s: put a Rekey before the join, or make the topics alike", n, strings.Join(counts, " and ")))
				}
			}
			groups = append(groups, g)
		}
	}
	return groups, errors.Join(errs...)
}

// inputsOf returns the inputs of its subtopology from which records of n come.
func inputsOf(n *node) []*node {
	switch n.kind {
	case kindSource, kindTable, kindRepartition:
		return []*node{n}
	}
	var inputs []*node
	for _, p := range n.parents {
		inputs = append(inputs, inputsOf(p)...)
	}
	return inputs
}

// size sets the partitions of repartition topics and the number of tasks. A repartition has as many partitions as its writers
// have tasks, or as the inputs it is joined with have. One depends on another, so it is repeated until nothing changes.
func (p *plan) size(groups []copartition) error {
	for round := 0; ; round++ {
		changed := false
		set := func(n *node, count int32) {
			if topic := p.topic(n); p.partitions[topic] < count {
				p.partitions[topic] = count
				changed = true
			}
		}
		for _, sub := range p.subs {
			for _, n := range sub.inputs {
				if count := p.partitions[p.topic(n)]; count > sub.tasks {
					sub.tasks, changed = count, true
				}
			}
		}
		for n, writer := range p.writerOf {
			if joined := slices.IndexFunc(groups, func(g copartition) bool { return g.fixed > 0 && slices.Contains(g.inputs, n) }); joined >= 0 {
				set(n, groups[joined].fixed)
			} else {
				set(n, writer.tasks)
			}
		}
		for _, g := range groups {
			highest := slices.MaxFunc(g.inputs, func(a, b *node) int { return cmp.Compare(p.partitions[p.topic(a)], p.partitions[p.topic(b)]) })
			for _, n := range g.inputs {
				if n.kind == kindRepartition {
					set(n, p.partitions[p.topic(highest)])
				}
			}
		}
		if !changed {
			break
		}
	}
	for _, g := range groups {
		for _, n := range g.inputs {
			if count := p.partitions[p.topic(n)]; count != p.partitions[p.topic(g.inputs[0])] {
				return fmt.Errorf("%s: its inputs %s and %s cannot get the same number of partitions", g.join, n, g.inputs[0])
			}
		}
	}
	return nil
}
