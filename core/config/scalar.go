package config

import (
	"errors"
	"reflect"
	"strconv"
	"strings"

	"gopkg.in/yaml.v3"
)

// scalar decodes text into a string, a bool or a number.
func (d *decoder) scalar(n Node, v reflect.Value) Errors {
	if n.Kind() != Scalar {
		return Errors{n.wrongKind(describe(v.Type()))}
	}
	text, err := n.Text()
	if err != nil {
		return flatten(n, err)
	}
	switch v.Kind() {
	case reflect.String:
		v.SetString(text)
		return nil
	case reflect.Bool:
		return d.boolean(n, text, v)
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		i, err := strconv.ParseInt(strings.ReplaceAll(text, "_", ""), 10, v.Type().Bits())
		v.SetInt(i)
		return n.numberError(v.Type(), err)
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		u, err := strconv.ParseUint(strings.ReplaceAll(text, "_", ""), 10, v.Type().Bits())
		v.SetUint(u)
		return n.numberError(v.Type(), err)
	case reflect.Float32, reflect.Float64:
		f, err := strconv.ParseFloat(strings.ReplaceAll(text, "_", ""), v.Type().Bits())
		v.SetFloat(f)
		return n.numberError(v.Type(), err)
	}
	return Errors{n.Errorf("%s cannot be decoded into", v.Type())}
}

func (d *decoder) boolean(n Node, text string, v reflect.Value) Errors {
	switch text {
	case "true", "false":
		v.SetBool(text == "true")
		return nil
	}
	err := n.Errorf("expected true or false, found %q", n.Raw())
	switch strings.ToLower(text) {
	case "yes", "on", "y":
		err.Hint = "write true"
	case "no", "off", "n":
		err.Hint = "write false"
	}
	return Errors{err}
}

func (n Node) numberError(t reflect.Type, err error) Errors {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, strconv.ErrRange):
		return Errors{n.Errorf("%q is outside of what fits here", n.Raw())}
	}
	return Errors{n.Errorf("expected %s, found %q", describe(t), n.Raw())}
}

// any decodes a value of any shape into what JSON has: map[string]any, []any, string, bool, int64, float64 or nil.
func (d *decoder) any(n Node) (any, Errors) {
	d.nodes++
	if d.nodes > maxNodes || n.depth > maxDepth {
		return nil, Errors{n.Errorf("the value is too large or nests too deep")}
	}
	switch n.Kind() {
	case Null:
		return nil, nil
	case Mapping:
		entries, errs := n.Entries()
		m := make(map[string]any, len(entries))
		for _, e := range entries {
			x, more := d.any(e.Value)
			m[e.Key], errs = x, append(errs, more...)
		}
		return m, errs
	case List:
		items, errs := n.Items()
		s := make([]any, len(items))
		for i, item := range items {
			x, more := d.any(item)
			s[i], errs = x, append(errs, more...)
		}
		return s, errs
	}
	text, err := n.Text()
	if err != nil {
		return nil, flatten(n, err)
	}
	return plain(n.yaml, text), nil
}

// plain gives an unquoted scalar the type YAML sees in it; timestamps stay text.
func plain(y *yaml.Node, text string) any {
	switch y.Tag {
	case "!!bool":
		return text == "true" || text == "True" || text == "TRUE"
	case "!!int":
		if i, err := strconv.ParseInt(strings.ReplaceAll(text, "_", ""), 0, 64); err == nil {
			return i
		}
	case "!!float":
		if f, err := strconv.ParseFloat(strings.ReplaceAll(text, "_", ""), 64); err == nil {
			return f
		}
	}
	return text
}
