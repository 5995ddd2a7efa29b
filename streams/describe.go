package streams

import (
	"fmt"
	"slices"
	"strings"
)

// Description is what a topology does, as data: its operators in the order of their declaration, divided into the parts that run
// as one task for each partition. It marshals to JSON.
type Description struct {
	Parts []DescribedPart `json:"parts"`
}

// DescribedPart is a part of a topology that is connected without repartition topics.
type DescribedPart struct {
	Operators []DescribedOperator `json:"operators"`
}

// DescribedOperator is one operator.
type DescribedOperator struct {
	Name string `json:"name"`
	Kind string `json:"kind"`
	// From are the operators whose records it gets, Table the one whose table it reads.
	From  []string `json:"from,omitempty"`
	Table string   `json:"table,omitempty"`
	// Reads, Writes and Changelog are topics; those of the topology itself begin with the ApplicationID at run time.
	Reads     string `json:"reads,omitempty"`
	Writes    string `json:"writes,omitempty"`
	Changelog string `json:"changelog,omitempty"`
	// Key and Value are the codecs of these topics.
	Key    string `json:"key,omitempty"`
	Value  string `json:"value,omitempty"`
	Window string `json:"window,omitempty"`
	Idle   string `json:"idle_after,omitempty"`
}

// applicationPrefix stands for the ApplicationID in descriptions.
const applicationPrefix = "APPLICATION"

// Describe returns what the topology does. Inferred codecs are shown: they are part of what other programs must know.
func (t *Topology) Describe() Description {
	p := &plan{app: applicationPrefix}
	var d Description
	for _, sub := range t.subtopologies() {
		var part DescribedPart
		for _, n := range sub.nodes {
			part.Operators = append(part.Operators, describe(p, n))
		}
		d.Parts = append(d.Parts, part)
	}
	return d
}

func describe(p *plan, n *node) DescribedOperator {
	o := DescribedOperator{Name: n.name, Kind: string(n.kind), Key: n.key, Value: n.value, Window: n.window}
	for _, parent := range n.parents {
		o.From = append(o.From, parent.name)
	}
	if n.table != nil {
		o.Table = n.table.name
	}
	switch n.kind {
	case kindSource, kindTable:
		o.Reads = n.topic
	case kindSink:
		o.Writes = n.topic
	case kindRepartition:
		o.Reads, o.Writes = p.topic(n), p.topic(n)
	}
	if n.changelog {
		o.Changelog = p.changelog(n)
	}
	if n.idle.after > 0 {
		o.Idle = n.idle.after.String()
	}
	return o
}

// String is the description as text, one line for each operator.
func (d Description) String() string {
	var b strings.Builder
	for i, part := range d.Parts {
		fmt.Fprintf(&b, "part %d\n", i)
		for _, o := range part.Operators {
			b.WriteString("  " + o.Kind + " " + o.Name)
			for _, field := range []struct{ label, value string }{
				{"from", strings.Join(o.From, ", ")}, {"table", o.Table}, {"reads", o.Reads}, {"writes", o.Writes},
				{"changelog", o.Changelog}, {"key", o.Key}, {"value", o.Value}, {"window", o.Window}, {"idle after", o.Idle},
			} {
				if field.value != "" && field.value != o.Name {
					b.WriteString("; " + field.label + " " + field.value)
				}
			}
			b.WriteByte('\n')
		}
	}
	return b.String()
}

// Mermaid is the description as a flowchart, to be drawn by anything that shows Markdown.
func (d Description) Mermaid() string {
	var b strings.Builder
	b.WriteString("flowchart LR\n")
	ids := map[string]string{} // of operators and topics
	id := func(name string) string {
		if ids[name] == "" {
			ids[name] = fmt.Sprintf("n%d", len(ids))
		}
		return ids[name]
	}
	quote := func(s string) string { return strings.ReplaceAll(s, `"`, "#quot;") }
	var edges, topics []string
	topic := func(name string) string {
		if !slices.Contains(topics, name) {
			topics = append(topics, name)
		}
		return id("topic " + name)
	}
	for i, part := range d.Parts {
		fmt.Fprintf(&b, "  subgraph p%d[\"part %d\"]\n", i, i)
		for _, o := range part.Operators {
			fmt.Fprintf(&b, "    %s[\"%s\"]\n", id(o.Name), quote(o.label()))
			into := id(o.Name)
			if o.Kind == string(kindRepartition) {
				into = topic(o.Writes)
			}
			for _, from := range o.From {
				edges = append(edges, id(from)+" --> "+into)
			}
			if o.Table != "" {
				edges = append(edges, id(o.Table)+" -.-> "+id(o.Name))
			}
			if o.Reads != "" {
				edges = append(edges, topic(o.Reads)+" --> "+id(o.Name))
			}
			if o.Writes != "" && o.Kind == string(kindSink) {
				edges = append(edges, id(o.Name)+" --> "+topic(o.Writes))
			}
			if o.Changelog != "" {
				edges = append(edges, id(o.Name)+" -.-> "+topic(o.Changelog))
			}
		}
		b.WriteString("  end\n")
	}
	for _, name := range topics {
		fmt.Fprintf(&b, "  %s[(\"%s\")]\n", id("topic "+name), quote(name))
	}
	for _, edge := range edges {
		b.WriteString("  " + edge + "\n")
	}
	return b.String()
}

func (o DescribedOperator) label() string {
	label := o.Kind + " " + o.Name
	if strings.HasPrefix(o.Name, o.Kind+"-") {
		label = o.Kind
	}
	if o.Window != "" {
		label += "<br/>" + o.Window
	}
	return label
}
