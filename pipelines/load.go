package pipelines

import (
	"fmt"
	"slices"
	"strings"

	"github.com/milldam/milldam/connect"
	"github.com/milldam/milldam/connect/expression"
	"github.com/milldam/milldam/core/config"
)

// Load reads the pipelines of files and checks everything that can be checked without a connection. With errors it returns the
// pipelines that have none.
func Load(files []File, registry *connect.Registry, opts config.Options) ([]*Spec, config.Errors) {
	var specs, named []*Spec
	var errs config.Errors
	whole := true // every file could be read to its end
	for _, f := range files {
		docs, more := config.Parse(f.Name, f.Text)
		errs = append(errs, more...)
		whole = whole && len(more) == 0
		for _, doc := range docs {
			spec, more := decodeSpec(doc, opts, registry)
			if spec.Name != "" {
				named = append(named, spec)
			}
			if len(more) == 0 {
				more = checkTopology(spec)
			}
			errs = append(errs, more...)
			if len(more) == 0 {
				specs = append(specs, spec)
			}
		}
	}
	// Between pipelines, one with an error of its own still counts by its name, so that no other error follows from that one. After a
	// syntax error names are not known.
	errs = append(errs, checkNames(named)...)
	if whole {
		errs = append(errs, checkAfter(specs, named)...)
	}
	errs = append(errs, checkLoops(specs)...)
	return specs, errs.Sort()
}

// checkTopology builds the graph of the stream hop, which finds what only the engine knows to be wrong.
func checkTopology(s *Spec) config.Errors {
	for _, h := range s.Plan().Hops {
		if h.Kind != StreamHop {
			continue
		}
		o := topologyOptions{newRuntime: func() *expression.Runtime { return expression.NewRuntime(0) }, onError: s.deadLetters()}
		if _, err := buildTopology(s, h, o); err != nil {
			return config.Errors{s.node.Errorf("%v", err)}
		}
	}
	return nil
}

func checkNames(specs []*Spec) config.Errors {
	var errs config.Errors
	first := map[string]*Spec{}
	for _, s := range specs {
		if other, twice := first[s.Name]; twice {
			n := at(s.node, "pipeline")
			errs = append(errs, n.Errorf("there is a pipeline %q already, at %s:%d", s.Name, other.Position.File, other.Position.Line).
				WithHint("each pipeline needs its own name"))
			continue
		}
		first[s.Name] = s
	}
	return errs
}

// checkAfter checks that after names pipelines whose source has an end, and that they do not wait for each other. Of named, those that are not among
// specs have an error of their own.
func checkAfter(specs, named []*Spec) config.Errors {
	var errs config.Errors
	names := make([]string, len(named))
	for i, s := range named {
		names[i] = s.Name
	}
	byName := map[string]*Spec{}
	for _, s := range specs {
		byName[s.Name] = s
	}
	for _, s := range specs {
		items, _ := at(s.node, "after").Items() // it was decoded without error
		for i, name := range s.After {
			n := items[i]
			other := byName[name]
			switch {
			case !slices.Contains(names, name):
				errs = append(errs, n.Errorf("there is no pipeline %q%s", name, config.DidYouMean(name, names)))
			case other != nil && other.Source.Topic != nil:
				errs = append(errs, n.Errorf("%q reads a topic, which has no end to wait for", name).
					WithHint("after takes pipelines that read from a connector"))
			}
		}
	}
	waits := func(name string) []string {
		if s := byName[name]; s != nil {
			return s.After
		}
		return nil
	}
	for _, cycle := range cycles(names, waits) {
		s := byName[cycle[0]]
		errs = append(errs, at(s.node, "after").Errorf("these pipelines wait for each other: %s", strings.Join(append(cycle, cycle[0]), " -> ")))
	}
	return errs
}

// checkLoops finds pipelines whose records come back to them.
func checkLoops(specs []*Spec) config.Errors {
	byName := map[string]*Spec{}
	names := make([]string, len(specs))
	for i, s := range specs {
		names[i], byName[s.Name] = s.Name, s
	}
	feeds := func(name string) []string {
		var next []string
		sink := byName[name].Sink.Topic
		for _, s := range specs {
			if sink != nil && s.Source.Topic != nil && slices.Contains(s.Source.Topic.Names, sink.Name) {
				next = append(next, s.Name)
			}
		}
		return next
	}
	var errs config.Errors
	for _, cycle := range cycles(names, feeds) {
		var b strings.Builder
		for _, name := range cycle {
			fmt.Fprintf(&b, "%s -> topic %s -> ", name, byName[name].Sink.Topic.Name)
		}
		last := byName[cycle[len(cycle)-1]]
		errs = append(errs, at(last.node, "sink", "topic", "name").Errorf("the records go in a loop: %s%s", b.String(), cycle[0]).
			WithHint("write to another topic"))
	}
	return errs
}

// cycles returns each cycle of a graph once, beginning with its first node in the order of nodes.
func cycles(nodes []string, next func(string) []string) [][]string {
	var found [][]string
	done := map[string]bool{}
	var path []string
	var visit func(node string)
	visit = func(node string) {
		if i := slices.Index(path, node); i >= 0 {
			found = append(found, slices.Clone(path[i:]))
			return
		}
		if done[node] {
			return
		}
		path = append(path, node)
		for _, n := range next(node) {
			visit(n)
		}
		path = path[:len(path)-1]
		done[node] = true
	}
	for _, node := range nodes {
		visit(node)
	}
	return found
}
