package expression

import (
	"fmt"
	"reflect"
	"strings"

	"github.com/expr-lang/expr/vm/runtime"
)

// The functions here replace built-in ones of expr that can build, from a small record, more than a process holds.

var errTooLarge = fmt.Errorf("the expression builds more than %d bytes", maxValueBytes)

func boundedRepeat(args ...any) (any, error) {
	s, n := args[0].(string), runtime.ToInt(args[1])
	if n < 0 {
		return nil, fmt.Errorf("repeat(..., %d): the number must not be negative", n)
	}
	if len(s) > 0 && n > maxValueBytes/len(s) {
		return nil, errTooLarge
	}
	return strings.Repeat(s, n), nil
}

func boundedReplace(args ...any) (any, error) {
	s, from, to := args[0].(string), args[1].(string), args[2].(string)
	if count := strings.Count(s, from); len(to) > 0 && count > maxValueBytes/len(to) {
		return nil, errTooLarge
	}
	return strings.ReplaceAll(s, from, to), nil
}

func boundedJoin(args ...any) (any, error) {
	separator := ""
	if len(args) == 2 {
		separator = args[1].(string)
	}
	items, err := list(args[0])
	if err != nil {
		return nil, err
	}
	var b strings.Builder
	for i, item := range items {
		if i > 0 {
			b.WriteString(separator)
		}
		text, err := Text(item)
		if err != nil {
			return nil, err
		}
		if b.WriteString(text); b.Len() > maxValueBytes {
			return nil, errTooLarge
		}
	}
	return b.String(), nil
}

func boundedConcat(args ...any) (any, error) {
	var all []any
	for _, arg := range args {
		items, err := list(arg)
		if err != nil {
			return nil, err
		}
		if all = append(all, items...); len(all) > maxListItems {
			return nil, fmt.Errorf("concat builds more than %d items", maxListItems)
		}
	}
	return all, nil
}

// maxUniqItems bounds uniq, which compares each item with each.
const maxUniqItems = 2000

func boundedUniq(args ...any) (any, error) {
	items, err := list(args[0])
	if err != nil {
		return nil, err
	}
	if len(items) > maxUniqItems {
		return nil, fmt.Errorf("uniq of %d items, more than the limit of %d", len(items), maxUniqItems)
	}
	unique := []any{}
	for _, item := range items {
		known := false
		for _, u := range unique {
			known = known || runtime.Equal(u, item)
		}
		if !known {
			unique = append(unique, item)
		}
	}
	return unique, nil
}

func boundedFlatten(args ...any) (any, error) {
	items, err := list(args[0])
	if err != nil {
		return nil, err
	}
	return flatten(nil, items, 0)
}

func flatten(all, items []any, depth int) ([]any, error) {
	var err error
	for _, item := range items {
		inner, isList := item.([]any)
		switch {
		case isList && depth < maxJSONDepth:
			if all, err = flatten(all, inner, depth+1); err != nil {
				return nil, err
			}
		default:
			all = append(all, item)
		}
		if len(all) > maxListItems {
			return nil, fmt.Errorf("flatten builds more than %d items", maxListItems)
		}
	}
	return all, nil
}

// list returns the items of a list of any type.
func list(v any) ([]any, error) {
	if items, ok := v.([]any); ok {
		return items, nil
	}
	r := reflect.ValueOf(v)
	if r.Kind() != reflect.Slice {
		return nil, fmt.Errorf("expected a list, got %s", describe(v))
	}
	items := make([]any, r.Len())
	for i := range items {
		items[i] = r.Index(i).Interface()
	}
	return items, nil
}

func boundedAdd(args ...any) (any, error) {
	a, isText := args[0].(string)
	b, areTexts := args[1].(string)
	if isText && areTexts && len(a)+len(b) > maxValueBytes {
		return nil, errTooLarge
	}
	if isText != areTexts {
		return nil, fmt.Errorf("%s + %s: both must be text or both numbers, string(x) makes text", describe(args[0]), describe(args[1]))
	}
	return runtime.Add(args[0], args[1]), nil
}

func boundedIn(args ...any) (any, error) {
	if items, ok := args[2].([]any); ok {
		if err := args[0].(*Runtime).tick(len(items)); err != nil {
			return nil, err
		}
	}
	return runtime.In(args[1], args[2]), nil
}

func toText(args ...any) (any, error) { return Text(args[0]) }

func toJSON(args ...any) (any, error) {
	text, err := Append(nil, args[0])
	return string(text), err
}

func fromJSON(args ...any) (any, error) {
	v, _, err := Decode([]byte(args[0].(string)))
	return v, err
}
