package pipelines

import (
	"fmt"

	"github.com/milldam/milldam/connect/expression"
	"github.com/milldam/milldam/core/config"
)

// Map makes a new value of fields, in the order in which they are declared. A tombstone stays one: it deletes what the record of its key was
// mapped to.
type Map struct {
	fields []field
	names  []string
}

func decodeMap(n config.Node, scope expression.Scope) (*Map, config.Errors) {
	fields, errs := decodeFields(n, scope)
	if len(errs) > 0 {
		return nil, errs
	}
	m := &Map{fields: fields}
	for _, f := range fields {
		m.names = append(m.names, f.name)
	}
	return m, nil
}

// decodeFields reads a section of name: expression.
func decodeFields(n config.Node, scope expression.Scope) ([]field, config.Errors) {
	entries, errs := n.Entries()
	if len(errs) == 0 && len(entries) == 0 {
		return nil, config.Errors{n.Errorf("has no field").WithHint("write name: expression, as in user: value.user")}
	}
	var fields []field
	for _, e := range entries {
		x, err := expression.FromNode(e.Value, scope)
		errs = append(errs, asErrors(e.Value, err)...)
		fields = append(fields, field{e.Key, x})
	}
	return fields, errs
}

func (s *Map) apply(m *expression.Message) (bool, error) {
	if m.IsTombstone() {
		return true, nil
	}
	values := make(map[string]any, len(s.fields))
	for _, f := range s.fields {
		v, err := f.expression.Eval(m)
		if err != nil {
			return false, fmt.Errorf("%s: %w", f.name, err)
		}
		values[f.name] = v
	}
	m.SetObject(values, s.names)
	return true, nil
}
