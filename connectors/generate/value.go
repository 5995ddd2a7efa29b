package generate

import (
	"fmt"

	"github.com/milldam/milldam/connect/expression"
	"github.com/milldam/milldam/core/config"
)

// append appends the object for the record of m as JSON.
func (o Object) append(dst []byte, m *expression.Message) ([]byte, error) {
	dst = append(dst, '{')
	for i, f := range o {
		if i > 0 {
			dst = append(dst, ',')
		}
		var err error
		if dst, err = f.value.append(append(dst, f.key...), m); err != nil {
			return nil, fmt.Errorf("%s: %w", f.name, err)
		}
	}
	return append(dst, '}'), nil
}

func (v value) append(dst []byte, m *expression.Message) ([]byte, error) {
	switch v.kind {
	case config.Null:
		return append(dst, "null"...), nil
	case config.Mapping:
		return v.object.append(dst, m)
	case config.Scalar:
		out, err := v.template.Eval(m)
		if err != nil {
			return nil, err
		}
		return expression.Append(dst, out)
	}
	dst = append(dst, '[')
	for i, item := range v.list {
		if i > 0 {
			dst = append(dst, ',')
		}
		var err error
		if dst, err = item.append(dst, m); err != nil {
			return nil, fmt.Errorf("%d: %w", i, err)
		}
	}
	return append(dst, ']'), nil
}
