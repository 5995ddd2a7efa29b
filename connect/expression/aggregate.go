package expression

import (
	"fmt"
	"slices"

	"github.com/expr-lang/expr/ast"
	"github.com/expr-lang/expr/conf"
	"github.com/expr-lang/expr/parser"
	"github.com/expr-lang/expr/types"

	"github.com/milldam/milldam/core/config"
)

// aggregateNames are the functions over the records of a window.
var aggregateNames = []string{"count", "sum", "min", "max", "mean"}

// maxAggregates bounds the functions of one aggregate: each is state per group and window.
const maxAggregates = 16

// Aggregate is an expression over count(), sum(x), min(x), max(x) and mean(x) of a window's records; x is an expression over one record. Around
// the functions it may use key and window, as in sum(value.amount) / count().
type Aggregate struct {
	source string
	calls  []aggregateCall
	result Expression
}

type aggregateCall struct {
	name     string
	argument Expression // absent for count()
}

// CompileAggregate compiles source. Its error is a *CompileError.
func CompileAggregate(source string) (Aggregate, error) {
	if err := checkSource(source); err != nil {
		return Aggregate{}, err
	}
	cfg := withAggregates(newConfig(WithWindow | onlyGroup))
	tree, err := parser.ParseWithConfig(source, cfg)
	if err != nil {
		return Aggregate{}, compileError(source, WithWindow|onlyGroup, err)
	}
	found := &callCollector{}
	ast.Walk(&tree.Node, found)
	a := Aggregate{source: source}
	switch {
	case found.err != nil:
		return Aggregate{}, found.err
	case len(found.calls) == 0:
		return Aggregate{}, &CompileError{Width: len([]rune(source)), Message: "an aggregate needs one of count(), sum(x), min(x), max(x) or mean(x)"}
	case len(found.calls) > maxAggregates:
		return Aggregate{}, &CompileError{Message: fmt.Sprintf("more than %d functions in one aggregate", maxAggregates)}
	}
	for _, c := range found.calls {
		compiled := aggregateCall{name: c.name}
		if c.argument != nil {
			argument := &parser.Tree{Node: c.argument, Source: tree.Source}
			if compiled.argument, err = finish(source, argument, withAggregates(newConfig(noOrigin)), noOrigin); err != nil {
				return Aggregate{}, err
			}
		}
		a.calls = append(a.calls, compiled)
	}
	env := environment(WithWindow | onlyGroup)
	for i := range a.calls {
		env[resultName(i)] = types.Any
	}
	cfg.WithEnv(env)
	a.result, err = finishAggregate(source, tree, cfg)
	return a, err
}

// withAggregates puts the aggregate functions in the place of expr's list functions of the same names.
func withAggregates(cfg *conf.Config) *conf.Config {
	for _, name := range aggregateNames {
		cfg.Functions[name] = function(name, unreachable, func(...any) any { return nil })
	}
	return cfg
}

// resultName is the name under which the result of the i-th function stands in the outer expression.
func resultName(i int) string { return fmt.Sprintf("aggregate%d", i) }

func finishAggregate(source string, tree *parser.Tree, cfg *conf.Config) (Expression, error) {
	replaced := &callReplacer{}
	ast.Walk(&tree.Node, replaced)
	return finish(source, tree, cfg, WithWindow|onlyGroup)
}

type foundCall struct {
	name     string
	argument ast.Node
}

// callCollector finds the aggregate functions of a tree.
type callCollector struct {
	calls []foundCall
	err   error
}

func aggregateOf(node ast.Node) (*ast.CallNode, string, bool) {
	c, ok := node.(*ast.CallNode)
	if !ok {
		return nil, "", false
	}
	id, ok := c.Callee.(*ast.IdentifierNode)
	if !ok || !slices.Contains(aggregateNames, id.Value) {
		return nil, "", false
	}
	return c, id.Value, true
}

// Visit looks at one node.
func (f *callCollector) Visit(node *ast.Node) {
	c, name, ok := aggregateOf(*node)
	if !ok || f.err != nil {
		return
	}
	at := c.Location()
	wrong := &CompileError{Offset: at.From, Width: len(name)}
	call := foundCall{name: name}
	switch {
	case len(c.Arguments) == 1:
		call.argument = c.Arguments[0]
		inner := &callCollector{}
		ast.Walk(&c.Arguments[0], inner)
		if len(inner.calls) > 0 {
			wrong.Message = fmt.Sprintf("%s inside of %s: aggregates do not nest", inner.calls[0].name, name)
			f.err = wrong
		}
	case len(c.Arguments) > 1 || name != "count":
		wrong.Message = fmt.Sprintf("%s takes one expression over a record, as in %s(value.amount)", name, name)
		f.err = wrong
	}
	f.calls = append(f.calls, call)
}

// callReplacer puts the name of its result in the place of each function, in the order of callCollector.
type callReplacer struct{ count int }

// Visit replaces one node.
func (r *callReplacer) Visit(node *ast.Node) {
	if _, _, ok := aggregateOf(*node); ok {
		ast.Patch(node, &ast.IdentifierNode{Value: resultName(r.count)})
		r.count++
	}
}

// Source returns the text it was compiled from.
func (a *Aggregate) Source() string { return a.source }

// DecodeConfig compiles the text of a field.
func (a *Aggregate) DecodeConfig(n config.Node) error {
	text, err := n.Text()
	if err != nil {
		return err
	}
	compiled, err := CompileAggregate(text)
	if err != nil {
		return place(n, text, 0, err)
	}
	*a = compiled
	return nil
}

// ConfigType names the type.
func (Aggregate) ConfigType() string { return "an aggregate" }

// Add takes the record of m into state, and returns the new state. A state that is nil is that of no record; state itself is not changed.
func (a *Aggregate) Add(state State, m *Message) (State, error) {
	next := make(State, len(a.calls))
	copy(next, state)
	for i, c := range a.calls {
		var v any
		if !c.argument.IsZero() {
			var err error
			if v, err = c.argument.Eval(m); err != nil {
				return nil, err
			}
		}
		if err := next[i].add(c.name, v, !c.argument.IsZero()); err != nil {
			return nil, fmt.Errorf("%s: %w", shorten(a.source), err)
		}
	}
	return next, nil
}

// Result returns what the aggregate is for state; m gives key and window.
func (a *Aggregate) Result(state State, m *Message) (any, error) {
	for i, c := range a.calls {
		var acc accumulator
		if i < len(state) {
			acc = state[i]
		}
		m.env[resultName(i)] = acc.result(c.name)
	}
	return a.result.Eval(m)
}
