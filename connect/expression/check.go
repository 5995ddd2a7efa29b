package expression

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/expr-lang/expr/ast"

	"github.com/milldam/milldam/core/config"
)

// hiddenPrefix starts the names that only guard writes into an expression.
const (
	hiddenPrefix = "__"
	runtimeName  = hiddenPrefix + "runtime"
	strictField  = hiddenPrefix + "field" // (object, name, path): an error when it is missing
	maybeField   = hiddenPrefix + "maybe" // (object, name, path): nil when it is missing
	tick         = hiddenPrefix + "tick"  // (runtime): counts an iteration
	guardedAdd   = hiddenPrefix + "add"   // (a, b)
	guardedIn    = hiddenPrefix + "in"    // (runtime, needle, list)
)

// nameCollector finds the record's names that a tree uses, and refuses the hidden ones.
type nameCollector struct {
	uses names
	err  error
}

// Visit looks at one node.
func (c *nameCollector) Visit(node *ast.Node) {
	id, ok := (*node).(*ast.IdentifierNode)
	if !ok {
		return
	}
	if strings.HasPrefix(id.Value, hiddenPrefix) || id.Value == "$env" {
		at := id.Location()
		c.err = &CompileError{Offset: at.From, Width: max(1, at.To-at.From), Message: "unknown name " + id.Value}
	}
	if bit := slices.Index(recordNames, id.Value); bit >= 0 {
		c.uses |= 1 << bit
	}
}

// guard rewrites a checked tree: a field access becomes a call that knows the path for its error, loops count their
// iterations, and operators that can build large values are bounded. ast.Walk visits children first.
type guard struct{}

// Visit rewrites one node.
func (guard) Visit(node *ast.Node) {
	switch n := (*node).(type) {
	case *ast.MemberNode:
		if name, ok := n.Property.(*ast.StringNode); ok && !n.Method && isDynamic(n.Node) {
			patch(node, strictField, n.Node, name, &ast.StringNode{Value: pathOf(n.Node)})
		}
	case *ast.ChainNode: // holds at least one ?.
		lenient(n.Node)
	case *ast.BinaryNode:
		guardBinary(node, n)
	case *ast.PredicateNode:
		n.Node = &ast.SequenceNode{Nodes: []ast.Node{call(tick, &ast.IdentifierNode{Value: runtimeName}), n.Node}}
	case *ast.CallNode:
		if id, ok := n.Callee.(*ast.IdentifierNode); ok && slices.Contains(runtimeFunctions, id.Value) {
			patch(node, hiddenPrefix+id.Value, append([]ast.Node{&ast.IdentifierNode{Value: runtimeName}}, n.Arguments...)...)
		}
	}
}

func guardBinary(node *ast.Node, n *ast.BinaryNode) {
	switch n.Operator {
	case "??":
		lenient(n.Left)
	case "+":
		if mayBeText(n.Left) && mayBeText(n.Right) {
			patch(node, guardedAdd, n.Left, n.Right)
		}
	case "in":
		switch n.Right.(type) {
		case *ast.ArrayNode, *ast.MapNode: // as long as the source at most
		default:
			patch(node, guardedIn, &ast.IdentifierNode{Value: runtimeName}, n.Left, n.Right)
		}
	}
}

// isDynamic tells whether the type of a node is known only when the expression runs; fields of other types are checked before.
func isDynamic(n ast.Node) bool {
	if c, ok := n.(*ast.CallNode); ok {
		if id, ok := c.Callee.(*ast.IdentifierNode); ok && strings.HasPrefix(id.Value, hiddenPrefix) {
			return true
		}
	}
	t := n.Type()
	return t == nil || t.Kind() == reflect.Interface || t == reflect.TypeFor[map[string]any]() && !n.Nature().Strict
}

func mayBeText(n ast.Node) bool {
	t := n.Type()
	return t == nil || t.Kind() == reflect.Interface || t.Kind() == reflect.String
}

func call(name string, args ...ast.Node) *ast.CallNode {
	return &ast.CallNode{Callee: &ast.IdentifierNode{Value: name}, Arguments: args}
}

func patch(node *ast.Node, name string, args ...ast.Node) { ast.Patch(node, call(name, args...)) }

// pathOf names what a node stands for, as the user wrote it.
func pathOf(n ast.Node) string {
	if c, ok := n.(*ast.CallNode); ok {
		id, named := c.Callee.(*ast.IdentifierNode)
		if named && (id.Value == strictField || id.Value == maybeField) {
			return c.Arguments[2].(*ast.StringNode).Value + "." + c.Arguments[1].(*ast.StringNode).Value
		}
	}
	if m, ok := n.(*ast.MemberNode); ok {
		return pathOf(m.Node) + "[" + m.Property.String() + "]"
	}
	if strings.Contains(n.String(), hiddenPrefix) {
		return "the value"
	}
	return n.String()
}

// lenient makes the field accesses of a chain give nil for what is missing.
func lenient(n ast.Node) {
	for {
		switch at := n.(type) {
		case *ast.CallNode:
			id, ok := at.Callee.(*ast.IdentifierNode)
			if !ok || id.Value != strictField && id.Value != maybeField {
				return
			}
			id.Value = maybeField
			n = at.Arguments[0]
		case *ast.MemberNode:
			n = at.Node
		case *ast.ChainNode:
			n = at.Node
		default:
			return
		}
	}
}

// field returns base.name.
func field(base any, name, path string, strict bool) (any, error) {
	switch b := base.(type) {
	case map[string]any:
		v, ok := b[name]
		if ok || !strict {
			return v, nil
		}
		return nil, missingField(b, name, path)
	case nil:
		if !strict || path == "table" || strings.HasPrefix(path, "table.") {
			return nil, nil
		}
		return nil, fmt.Errorf("%s is null, it has no field %q; %s?.%s gives null instead", path, name, path, name)
	case time.Time:
		if method := reflect.ValueOf(b).MethodByName(name); method.IsValid() {
			return method.Interface(), nil
		}
	}
	if !strict {
		return nil, nil
	}
	return nil, fmt.Errorf("%s is %s, it has no field %q", path, describe(base), name)
}

func missingField(object map[string]any, name, path string) error {
	const shown = 12
	known := make([]string, 0, len(object))
	for k := range object {
		known = append(known, k)
	}
	slices.Sort(known)
	meant := config.DidYouMean(name, known)
	if len(known) > shown {
		known = append(known[:shown], "...")
	}
	has := "it has " + strings.Join(known, ", ")
	if len(known) == 0 {
		has = "it is empty"
	}
	return fmt.Errorf("%s has no field %q%s (%s); %s?.%s gives null instead", path, name, meant, has, path, name)
}

// describe names a value for an error.
func describe(v any) string {
	switch v := v.(type) {
	case nil:
		return "null"
	case string:
		return fmt.Sprintf("the text %q", shorten(v))
	case bool:
		return fmt.Sprintf("%v", v)
	case []any:
		return "a list"
	case map[string]any:
		return "an object"
	case time.Time:
		return "a time"
	case int, int64, float64:
		return fmt.Sprintf("the number %v", v)
	}
	return fmt.Sprintf("%T", v)
}
