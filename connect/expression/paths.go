package expression

import (
	"maps"
	"slices"

	"github.com/expr-lang/expr/ast"
)

// paths are the fields of a value that expressions read. Most records have many more: what nobody reads is checked, and not built.
type paths struct {
	name   string
	whole  bool // it is read as a whole, its fields do not matter
	fields map[string]*paths
}

// everything is read of a value when it is not known what is.
var everything = &paths{whole: true}

// add notes that path is read.
func (p *paths) add(path []string) {
	for ; len(path) > 0 && !p.whole; path = path[1:] {
		if p.fields == nil {
			p.fields = map[string]*paths{}
		}
		next := p.fields[path[0]]
		if next == nil {
			next = &paths{name: path[0]}
			p.fields[path[0]] = next
		}
		p = next
	}
	p.whole, p.fields = true, nil
}

// field returns what is read of field name: nil for nothing.
func (p *paths) field(name []byte) *paths {
	if p.whole {
		return everything
	}
	return p.fields[string(name)]
}

// pathCollector finds, for each place where value stands in a tree, the fields that follow it. ast.Walk visits children first, so the longest path of a
// place comes last.
type pathCollector map[*ast.IdentifierNode][]string

// Visit looks at one node.
func (c pathCollector) Visit(node *ast.Node) {
	if id, ok := (*node).(*ast.IdentifierNode); ok && id.Value == "value" {
		c[id] = nil
		return
	}
	var path []string
	for at := *node; ; {
		switch n := at.(type) {
		case *ast.ChainNode:
			at = n.Node
			continue
		case *ast.MemberNode:
			if name, ok := n.Property.(*ast.StringNode); ok && !n.Method {
				path = append(path, name.Value)
				at = n.Node
				continue
			}
		case *ast.IdentifierNode:
			if n.Value == "value" {
				slices.Reverse(path)
				c[n] = path
			}
		}
		return
	}
}

func (c pathCollector) all() [][]string { return slices.Collect(maps.Values(c)) }
