package expression

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/expr-lang/expr/ast"
	"github.com/expr-lang/expr/checker"
	"github.com/expr-lang/expr/compiler"
	"github.com/expr-lang/expr/conf"
	"github.com/expr-lang/expr/file"
	"github.com/expr-lang/expr/optimizer"
	"github.com/expr-lang/expr/parser"
	"github.com/expr-lang/expr/types"
	"github.com/expr-lang/expr/vm"

	"github.com/milldam/milldam/core/config"
)

// Limits of an expression: far above what people write.
const (
	maxSourceBytes = 16 << 10
	maxNodes       = 1000    // of the syntax tree
	maxIterations  = 100_000 // of all loops of one evaluation
	maxListItems   = 100_000 // of a list that an expression builds
)

// Scope says which names an expression may use beside those of the record.
type Scope int

const (
	WithWindow Scope = 1 << iota // window.start and window.end
	WithTable                    // table, the joined row
	onlyGroup                    // of the record's names only key: the result of an Aggregate
	noOrigin                     // without topic, partition and offset: the argument of an aggregate, which may come through another topic
)

// names is the set of recordNames that an expression uses, one bit each.
type names uint

var recordNames = []string{"value", "key", "headers", "topic", "partition", "offset", "timestamp"}

// usesValue is the bit of the first of them.
const usesValue names = 1

// Expression is a compiled expression; the zero value is an absent one.
type Expression struct {
	source  string
	program *vm.Program
	uses    names
	reads   [][]string // paths of the value; an empty one is all of it
}

// CompileError is what is wrong with a source, Width characters from the character at Offset.
type CompileError struct {
	Offset, Width int
	Message       string
	Hint          string
}

// Error returns the message.
func (e *CompileError) Error() string { return e.Message }

// Compile compiles source for a scope. Its error is a *CompileError.
func Compile(source string, scope Scope) (Expression, error) {
	if err := checkSource(source); err != nil {
		return Expression{}, err
	}
	cfg := newConfig(scope)
	tree, err := parser.ParseWithConfig(source, cfg)
	if err != nil {
		return Expression{}, compileError(source, scope, err)
	}
	return finish(source, tree, cfg, scope)
}

func checkSource(source string) error {
	switch {
	case strings.TrimSpace(source) == "":
		return &CompileError{Message: "the expression is empty", Hint: `text is written in quotes: "..."`}
	case len(source) > maxSourceBytes:
		return &CompileError{Message: fmt.Sprintf("the expression has %d bytes, more than the limit of %d", len(source), maxSourceBytes)}
	}
	return nil
}

func newConfig(scope Scope) *conf.Config {
	cfg := conf.CreateNew()
	cfg.WithEnv(environment(scope))
	cfg.MaxNodes = maxNodes
	for _, f := range functions {
		cfg.Functions[f.Name] = f
	}
	return cfg
}

func environment(scope Scope) types.Map {
	env := types.Map{"key": types.Any, runtimeName: types.Any}
	if scope&onlyGroup == 0 {
		env["value"] = types.Any
		env["headers"] = types.TypeOf(map[string]any{})
		env["timestamp"] = types.TypeOf(time.Time{})
	}
	if scope&(onlyGroup|noOrigin) == 0 {
		env["topic"] = types.String
		env["partition"] = types.Int
		env["offset"] = types.Int
	}
	if scope&WithWindow != 0 {
		env["window"] = types.Map{"start": types.TypeOf(time.Time{}), "end": types.TypeOf(time.Time{})}
	}
	if scope&WithTable != 0 {
		env["table"] = types.Any
	}
	return env
}

// finish checks, guards and compiles a parsed tree.
func finish(source string, tree *parser.Tree, cfg *conf.Config, scope Scope) (Expression, error) {
	found := &nameCollector{}
	ast.Walk(&tree.Node, found)
	if found.err != nil {
		return Expression{}, found.err
	}
	reads := pathCollector{}
	ast.Walk(&tree.Node, reads)
	if _, err := checker.Check(tree, cfg); err != nil {
		return Expression{}, compileError(source, scope, err)
	}
	ast.Walk(&tree.Node, guard{})
	if _, err := checker.Check(tree, cfg); err != nil {
		return Expression{}, compileError(source, scope, err)
	}
	if err := optimizer.Optimize(&tree.Node, cfg); err != nil {
		return Expression{}, compileError(source, scope, err)
	}
	program, err := compiler.Compile(tree, cfg)
	if err != nil {
		return Expression{}, compileError(source, scope, err)
	}
	return Expression{source: source, program: program, uses: found.uses, reads: reads.all()}, nil
}

// compileError turns an error of expr into one that users understand.
func compileError(source string, scope Scope, err error) error {
	var at *file.Error
	if !errors.As(err, &at) {
		message, _, _ := strings.Cut(err.Error(), "\n")
		return &CompileError{Message: message}
	}
	out := &CompileError{Offset: at.From, Width: max(1, at.To-at.From), Message: at.Message}
	runes := []rune(source)
	out.Offset = min(out.Offset, len(runes))
	if name, ok := strings.CutPrefix(at.Message, "unknown name "); ok {
		out.Width = len([]rune(name))
		meant := config.DidYouMean(name, knownNames(scope))
		out.Message += meant
		if meant == "" {
			out.Hint = unknownNameHint(name, scope)
		}
	}
	switch {
	case strings.Contains(at.Message, `Operator("=")`):
		out.Hint = "two values are compared by =="
	case strings.Contains(at.Message, "unexpected token EOF"), strings.Contains(at.Message, "unexpected end"):
		out.Message, out.Hint = "the expression ends too early", ""
	case strings.Contains(at.Message, "unrecognized character"), strings.Contains(at.Message, "unexpected token"):
		out.Hint = `text is written in quotes, a field as value.name`
	}
	return out
}

func unknownNameHint(name string, scope Scope) string {
	switch {
	case name == "window" && scope&WithWindow == 0:
		return "window is known only after a window step"
	case name == "table" && scope&WithTable == 0:
		return "table is known only in the fields of a join"
	case scope&noOrigin != 0 && slices.Contains(recordNames, name):
		return name + " is not known in an aggregate: records may come there through another topic; map it into the value before"
	case scope&onlyGroup != 0 && slices.Contains(recordNames, name):
		return "after grouping there is no single record, wrap it: sum(...), min(...), max(...), mean(...)"
	}
	return fmt.Sprintf("text is written in quotes (%q), a field as value.%s", name, name)
}

func knownNames(scope Scope) []string {
	var known []string
	for name := range environment(scope) {
		if !strings.HasPrefix(name, hiddenPrefix) {
			known = append(known, name)
		}
	}
	for _, f := range functions {
		if !strings.HasPrefix(f.Name, hiddenPrefix) {
			known = append(known, f.Name)
		}
	}
	slices.Sort(known)
	return known
}

// IsZero tells whether the expression is absent.
func (e Expression) IsZero() bool { return e.program == nil }

// Source returns the text it was compiled from.
func (e Expression) Source() string { return e.source }

// Eval returns the value for the record of m.
func (e Expression) Eval(m *Message) (any, error) {
	if e.program == nil {
		return nil, errors.New("the expression is absent")
	}
	if err := m.fill(e); err != nil {
		return nil, err
	}
	m.runtime.iterations = 0
	out, err := m.machine.Run(e.program, m.env)
	if err != nil && m.partial { // once more with the whole value, whose fields the error may name
		if err := errors.Join(m.complete(), m.fill(e)); err != nil {
			return nil, err
		}
		m.runtime.iterations = 0
		out, err = m.machine.Run(e.program, m.env)
	}
	if err != nil {
		return nil, e.evalError(err)
	}
	return out, nil
}

// evalError keeps the message of an error of expr, without its drawing of the source.
func (e Expression) evalError(err error) error {
	message := err.Error()
	var at *file.Error
	if errors.As(err, &at) {
		message = at.Message
		if at.Prev != nil {
			message = at.Prev.Error()
		}
	}
	return fmt.Errorf("%s: %s", shorten(e.source), message)
}

// shorten cuts a long source for an error.
func shorten(source string) string {
	const shown = 80
	source = strings.Join(strings.Fields(source), " ")
	if runes := []rune(source); len(runes) > shown {
		return string(runes[:shown]) + "..."
	}
	return source
}

// Bool returns the truth value for the record of m; any other value is an error.
func (e Expression) Bool(m *Message) (bool, error) {
	v, err := e.Eval(m)
	if err != nil {
		return false, err
	}
	b, ok := v.(bool)
	if !ok {
		return false, fmt.Errorf("%s: expected true or false, got %s", shorten(e.source), describe(v))
	}
	return b, nil
}

// Text returns the value as text; ok is false for null.
func (e Expression) Text(m *Message) (text string, ok bool, err error) {
	v, err := e.Eval(m)
	if err != nil || v == nil {
		return "", false, err
	}
	text, err = Text(v)
	return text, true, err
}

// Time returns the value as a time: RFC 3339 text or epoch milliseconds count as one.
func (e Expression) Time(m *Message) (time.Time, error) {
	v, err := e.Eval(m)
	if err != nil {
		return time.Time{}, err
	}
	t, err := Time(v)
	if err != nil {
		return t, fmt.Errorf("%s: %w", shorten(e.source), err)
	}
	return t, nil
}

// DecodeConfig compiles the text of a field, for the names of a record.
func (e *Expression) DecodeConfig(n config.Node) error {
	compiled, err := FromNode(n, 0)
	*e = compiled
	return err
}

// ConfigType names the type.
func (Expression) ConfigType() string { return "an expression" }

// FromNode compiles the text of a node for a scope; its error is placed in the file.
func FromNode(n config.Node, scope Scope) (Expression, error) {
	text, err := n.Text()
	if err != nil {
		return Expression{}, err
	}
	compiled, err := Compile(text, scope)
	return compiled, place(n, text, 0, err)
}

// place turns a compile error into one of the file; offset is where the source starts in the node's text.
func place(n config.Node, text string, offset int, err error) error {
	var wrong *CompileError
	if !errors.As(err, &wrong) {
		return err
	}
	if text != n.Raw() { // references were replaced: the offset means nothing in the file
		e := n.Errorf("%s", wrong.Message)
		e.Hint = wrong.Hint
		return e
	}
	e := n.At(offset+wrong.Offset, wrong.Width, "%s", wrong.Message)
	e.Hint = wrong.Hint
	return e
}
