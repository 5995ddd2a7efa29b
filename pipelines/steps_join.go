package pipelines

import (
	"fmt"
	"slices"

	"github.com/milldam/milldam/connect/expression"
	"github.com/milldam/milldam/core/config"
)

// Join adds to each record fields of the row that a compacted topic holds for a key.
type Join struct {
	Table  string
	On     expression.Expression // absent: the record's key
	Inner  bool                  // drop records without a row
	fields []field
}

// joinFields is the section join of a step, but for the expressions, whose names depend on the steps before.
type joinFields struct {
	Table  string   `yaml:"table" required:"true" doc:"The topic whose newest record of each key is the row of that key."`
	On     captured `yaml:"on" type:"an expression" doc:"The key to look up; the record's key when absent."`
	Kind   string   `yaml:"kind" default:"left" enum:"left,inner" doc:"left keeps records without a row, their fields are null; inner drops them."`
	Fields captured `yaml:"fields" required:"true" doc:"Fields to add to the value, as name: expression; the row is called table."`
}

func decodeJoin(n config.Node, scope expression.Scope) (*Join, config.Errors) {
	var f joinFields
	errs := n.Decode(&f)
	j := &Join{Table: f.Table, Inner: f.Kind == "inner"}
	if f.Table != "" {
		errs = append(errs, checkTopicName(n, "table", f.Table)...)
	}
	if f.On.set {
		on, err := expression.FromNode(f.On.node, scope)
		errs = append(errs, asErrors(f.On.node, err)...)
		j.On = on
	}
	if f.Fields.set {
		fields, more := decodeFields(f.Fields.node, scope|expression.WithTable)
		errs = append(errs, more...)
		j.fields = fields
	}
	return j, errs
}

// apply adds the fields of row, which is nil when the table has none, to the value of m.
func (j *Join) apply(m *expression.Message, row []byte) (bool, error) {
	if m.IsTombstone() {
		return true, nil
	}
	if row == nil && j.Inner {
		return false, nil
	}
	var table any
	if row != nil {
		var err error
		if table, _, err = expression.Decode(row); err != nil {
			return false, fmt.Errorf("the row of table %s is %w", j.Table, err)
		}
	}
	m.SetTable(table)
	v, err := m.Value()
	if err != nil {
		return false, err
	}
	object, ok := v.(map[string]any)
	if !ok {
		return false, fmt.Errorf("fields can be added to an object only, the value is %T", v)
	}
	order, err := m.Fields()
	if err != nil {
		return false, err
	}
	names := slices.Clone(order)
	added := make(map[string]any, len(object)+len(j.fields))
	for name, x := range object {
		added[name] = x
	}
	for _, f := range j.fields {
		x, err := f.expression.Eval(m)
		if err != nil {
			return false, fmt.Errorf("fields.%s: %w", f.name, err)
		}
		if _, has := added[f.name]; !has {
			names = append(names, f.name)
		}
		added[f.name] = x
	}
	m.SetObject(added, names)
	m.SetTable(nil)
	return true, nil
}
