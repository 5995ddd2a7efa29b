package expression

import (
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strconv"
	"time"

	"github.com/expr-lang/expr/builtin"
	"github.com/expr-lang/expr/vm/runtime"
)

// runtimeFunctions take time or chance; guard hands them the Runtime as their first argument.
var runtimeFunctions = []string{"now", "uuid", "rand", "randint", "oneof"}

func function(name string, call func(args ...any) (any, error), signatures ...any) *builtin.Function {
	f := &builtin.Function{Name: name, Func: call}
	for _, s := range signatures {
		f.Types = append(f.Types, reflect.TypeOf(s))
	}
	return f
}

// functions are what expressions may call beside the built-in ones of expr.
var functions = []*builtin.Function{
	function("parse_time", parseTime, func(any) time.Time { return time.Time{} }, func(any, string) time.Time { return time.Time{} }),
	function("format_time", formatTime, func(any, string) string { return "" }),
	function("now", unreachable, func() time.Time { return time.Time{} }),
	function("uuid", unreachable, func() string { return "" }),
	function("rand", unreachable, func() float64 { return 0 }),
	function("randint", unreachable, func(int, int) int { return 0 }),
	function("oneof", unreachable, func(any, ...any) any { return nil }),

	function(hiddenPrefix+"now", func(args ...any) (any, error) { return args[0].(*Runtime).Now().UTC(), nil }, func(any) time.Time { return time.Time{} }),
	function(hiddenPrefix+"uuid", func(args ...any) (any, error) { return args[0].(*Runtime).uuid(), nil }, func(any) string { return "" }),
	function(hiddenPrefix+"rand", func(args ...any) (any, error) { return args[0].(*Runtime).Rand.Float64(), nil }, func(any) float64 { return 0 }),
	function(hiddenPrefix+"randint", randint, func(any, int, int) int { return 0 }),
	function(hiddenPrefix+"oneof", oneof, func(any, any, ...any) any { return nil }),

	function("repeat", boundedRepeat, func(string, int) string { return "" }),
	function("replace", boundedReplace, func(string, string, string) string { return "" }),
	function("join", boundedJoin, func(any) string { return "" }, func(any, string) string { return "" }),
	function("concat", boundedConcat, func(any, ...any) []any { return nil }),
	function("uniq", boundedUniq, func(any) []any { return nil }),
	function("flatten", boundedFlatten, func(any) []any { return nil }),
	function("string", toText, func(any) string { return "" }),
	function("toJSON", toJSON, func(any) string { return "" }),
	function("fromJSON", fromJSON, func(string) any { return nil }),

	function(strictField, func(args ...any) (any, error) { return field(args[0], args[1].(string), args[2].(string), true) }, func(any, string, string) any { return nil }),
	function(maybeField, func(args ...any) (any, error) { return field(args[0], args[1].(string), args[2].(string), false) }, func(any, string, string) any { return nil }),
	function(tick, func(args ...any) (any, error) { return nil, args[0].(*Runtime).tick(1) }, func(any) any { return nil }),
	function(guardedAdd, boundedAdd, func(any, any) any { return nil }),
	function(guardedIn, boundedIn, func(any, any, any) bool { return false }),
}

// unreachable stands for the functions that guard replaces.
func unreachable(...any) (any, error) { return nil, errors.New("not available here") }

func parseTime(args ...any) (any, error) {
	if len(args) == 1 {
		return Time(args[0])
	}
	text, ok := args[0].(string)
	if !ok {
		return nil, fmt.Errorf("parse_time wants text, got %s", describe(args[0]))
	}
	return ParseTime(text, args[1].(string))
}

func formatTime(args ...any) (any, error) {
	t, err := Time(args[0])
	if err != nil {
		return nil, err
	}
	return FormatTime(t, args[1].(string))
}

func randint(args ...any) (any, error) {
	low, high := runtime.ToInt(args[1]), runtime.ToInt(args[2])
	if high < low || uint64(high)-uint64(low) == 1<<64-1 {
		return nil, fmt.Errorf("randint(%d, %d): the second number must not be below the first", low, high)
	}
	return int(uint64(low) + args[0].(*Runtime).Rand.Uint64N(uint64(high)-uint64(low)+1)), nil
}

func oneof(args ...any) (any, error) {
	choices := args[1:]
	return choices[args[0].(*Runtime).Rand.IntN(len(choices))], nil
}

// uuid returns a random UUID, version 4.
func (r *Runtime) uuid() string {
	high, low := r.Rand.Uint64(), r.Rand.Uint64()
	high = high&^0xf000 | 0x4000
	low = low&^(3<<62) | 2<<62
	return fmt.Sprintf("%08x-%04x-%04x-%04x-%012x", high>>32, high>>16&0xffff, high&0xffff, low>>48, low&0xffffffffffff)
}

func (r *Runtime) tick(n int) error {
	if r.iterations += n; r.iterations > maxIterations {
		return fmt.Errorf("the loops of the expression run more than %d times", maxIterations)
	}
	return nil
}

// Time returns what v says as a time: a time, RFC 3339 text, or epoch milliseconds.
func Time(v any) (time.Time, error) {
	switch v := v.(type) {
	case time.Time:
		return v.UTC(), nil
	case int:
		return time.UnixMilli(int64(v)).UTC(), nil
	case int64:
		return time.UnixMilli(v).UTC(), nil
	case float64:
		return time.UnixMilli(int64(v)).UTC(), nil
	case string:
		t, err := time.Parse(time.RFC3339Nano, v)
		if err != nil {
			return t, fmt.Errorf("%q is no time by RFC 3339 (2001-01-02T15:04:05Z); parse_time(text, layout) reads other forms", shorten(v))
		}
		return t.UTC(), nil
	}
	return time.Time{}, fmt.Errorf("expected a time, got %s", describe(v))
}

// Text returns v as text: text as it is, a number in its shortest form, all else as JSON.
func Text(v any) (string, error) {
	switch v := v.(type) {
	case string:
		return v, nil
	case int:
		return strconv.Itoa(v), nil
	case int64:
		return strconv.FormatInt(v, 10), nil
	case float64:
		return strconv.FormatFloat(v, 'g', -1, 64), nil
	case json.Number:
		return string(v), nil
	case time.Time:
		return v.UTC().Format(time.RFC3339Nano), nil
	case []byte:
		return string(v), nil
	}
	text, err := Append(nil, v)
	return string(text), err
}
