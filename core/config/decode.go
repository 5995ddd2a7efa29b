package config

import (
	"encoding"
	"fmt"
	"reflect"
	"slices"
	"strings"

	"gopkg.in/yaml.v3"
)

// decoder holds what the nodes of one decoding share.
type decoder struct {
	doc   *Document
	opts  Options
	nodes int
}

func (d *decoder) node(y, key *yaml.Node, path string, depth int) Node {
	for range maxDepth {
		if y.Kind != yaml.AliasNode {
			break
		}
		y = y.Alias
	}
	return Node{Path: path, dec: d, yaml: y, key: key, depth: depth}
}

func (d *decoder) origin(n Node, from string) {
	if d.opts.Origins != nil {
		d.opts.Origins[n.Path] = Origin{Position: n.Position(), From: from}
	}
}

func (d *decoder) decode(n Node, into any) Errors {
	v := reflect.ValueOf(into)
	if v.Kind() != reflect.Pointer || v.IsNil() {
		return Errors{n.Errorf("%T cannot be decoded into, it is no pointer", into)}
	}
	return d.value(n, v.Elem())
}

// value decodes n into v, which can be set.
func (d *decoder) value(n Node, v reflect.Value) Errors {
	d.nodes++
	switch {
	case d.nodes == maxNodes+1:
		return Errors{n.Errorf("the document has more than %d values", maxNodes).WithHint("aliases (*name) count as often as they are used")}
	case d.nodes > maxNodes:
		return nil
	case n.depth > maxDepth:
		return Errors{n.Errorf("values nest deeper than %d", maxDepth)}
	}
	if v.Kind() == reflect.Pointer {
		if n.Kind() == Null && !v.Type().Implements(reflect.TypeFor[Decoder]()) {
			return Errors{n.wrongKind(describe(v.Type().Elem()))}
		}
		v.Set(reflect.New(v.Type().Elem()))
		return d.value(n, v.Elem())
	}
	if dec, ok := v.Addr().Interface().(Decoder); ok {
		return flatten(n, dec.DecodeConfig(n))
	}
	if text, ok := v.Addr().Interface().(encoding.TextUnmarshaler); ok {
		return d.text(n, text)
	}
	switch v.Kind() {
	case reflect.Struct:
		return d.structure(n, v)
	case reflect.Map:
		return d.mapping(n, v)
	case reflect.Slice:
		return d.list(n, v)
	case reflect.Interface:
		x, errs := d.any(n)
		if len(errs) == 0 && x != nil {
			v.Set(reflect.ValueOf(x))
		}
		return errs
	}
	return d.scalar(n, v)
}

func (d *decoder) text(n Node, into encoding.TextUnmarshaler) Errors {
	text, err := n.Text()
	if err != nil {
		return flatten(n, err)
	}
	if err := into.UnmarshalText([]byte(text)); err != nil {
		return Errors{n.Errorf("%v", err)}
	}
	return nil
}

// structField is one YAML field of a struct type, those of inlined structs included.
type structField struct {
	name  string
	index []int
	typ   reflect.Type
	tag   reflect.StructTag
}

func structFields(t reflect.Type) []structField {
	var fields []structField
	for i := range t.NumField() {
		f := t.Field(i)
		name, flags, _ := strings.Cut(f.Tag.Get("yaml"), ",")
		switch {
		case flags == "inline":
			for _, inner := range structFields(f.Type) {
				inner.index = append([]int{i}, inner.index...)
				fields = append(fields, inner)
			}
		case name != "" && name != "-" && f.IsExported():
			fields = append(fields, structField{name, []int{i}, f.Type, f.Tag})
		}
	}
	return fields
}

func (d *decoder) structure(n Node, v reflect.Value) Errors {
	entries, errs := n.Entries()
	if n.Kind() != Mapping {
		return errs
	}
	fields := structFields(v.Type())
	names := make([]string, len(fields))
	for i, f := range fields {
		names[i] = f.name
	}
	given := map[string]bool{}
	for pos, e := range entries {
		i := slices.Index(names, e.Key)
		if i < 0 {
			err := n.UnknownField(e, names)
			if pos > 0 && entries[pos-1].Value.Kind() == Null {
				err.Hint = fmt.Sprintf("if it belongs to %q, indent it deeper", entries[pos-1].Key)
			}
			errs = append(errs, err)
			continue
		}
		given[e.Key] = true
		errs = append(errs, d.field(e.Value, fields[i], v.FieldByIndex(fields[i].index))...)
	}
	for _, f := range fields {
		if !given[f.name] {
			errs = append(errs, d.absent(n, f, v.FieldByIndex(f.index))...)
		}
	}
	if len(errs) > 0 {
		return errs
	}
	return d.validate(n, v)
}

func (d *decoder) field(n Node, f structField, v reflect.Value) Errors {
	errs := d.value(n, v)
	words := f.tag.Get("enum")
	if len(errs) > 0 || words == "" || v.Kind() != reflect.String {
		return errs
	}
	allowed := strings.Split(words, ",")
	if slices.Index(allowed, v.String()) < 0 {
		err := n.Errorf("%q is not known here%s", n.Raw(), DidYouMean(v.String(), allowed))
		errs = append(errs, err.WithHint("one of %s", strings.Join(allowed, ", ")))
	}
	return errs
}

// absent gives a field that the file does not have its default.
func (d *decoder) absent(n Node, f structField, v reflect.Value) Errors {
	if f.tag.Get("required") == "true" {
		err := n.Missing(f.name, "is missing")
		if doc := f.tag.Get("doc"); doc != "" {
			err.Hint = f.name + ": " + doc
		}
		return Errors{err}
	}
	text, has := f.tag.Lookup("default")
	if has && text != "" {
		return d.defaultValue(n, f, text, v)
	}
	_, decodes := v.Addr().Interface().(Decoder)
	if v.Kind() != reflect.Struct || decodes {
		return nil
	}
	empty := &yaml.Node{Kind: yaml.MappingNode, Tag: "!!map", Line: n.yaml.Line, Column: n.yaml.Column}
	return d.value(Node{Path: join(n.Path, f.name), dec: d, yaml: empty, key: n.key, depth: n.depth + 1, given: "default"}, v)
}

func (d *decoder) defaultValue(n Node, f structField, text string, v reflect.Value) Errors {
	y := &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: text}
	if k := v.Kind(); k == reflect.Slice || k == reflect.Map {
		var doc yaml.Node
		if err := yaml.Unmarshal([]byte(text), &doc); err == nil && len(doc.Content) == 1 {
			y = doc.Content[0]
		}
	}
	y.Line, y.Column = n.yaml.Line, n.yaml.Column
	return d.value(Node{Path: join(n.Path, f.name), dec: d, yaml: y, key: n.key, depth: n.depth + 1, given: "default"}, v)
}

func (d *decoder) validate(n Node, v reflect.Value) Errors {
	if checked, ok := v.Addr().Interface().(interface{ Validate() error }); ok {
		return flatten(n, checked.Validate())
	}
	return nil
}

func (d *decoder) mapping(n Node, v reflect.Value) Errors {
	if v.Type().Key().Kind() != reflect.String {
		return Errors{n.Errorf("%s cannot be decoded into", v.Type())}
	}
	entries, errs := n.Entries()
	if n.Kind() != Mapping {
		return errs
	}
	m := reflect.MakeMapWithSize(v.Type(), len(entries))
	for _, e := range entries {
		item := reflect.New(v.Type().Elem()).Elem()
		errs = append(errs, d.value(e.Value, item)...)
		m.SetMapIndex(reflect.ValueOf(e.Key).Convert(v.Type().Key()), item)
	}
	v.Set(m)
	return errs
}

func (d *decoder) list(n Node, v reflect.Value) Errors {
	items, errs := n.Items()
	if len(errs) > 0 {
		return errs
	}
	s := reflect.MakeSlice(v.Type(), len(items), len(items))
	for i, item := range items {
		errs = append(errs, d.value(item, s.Index(i))...)
	}
	v.Set(s)
	return errs
}

// describe names what a type expects, for errors and docs.
func describe(t reflect.Type) string {
	if named, ok := reflect.New(t).Interface().(interface{ ConfigType() string }); ok {
		return named.ConfigType()
	}
	switch t.Kind() {
	case reflect.Bool:
		return "true or false"
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64,
		reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		return "a whole number"
	case reflect.Float32, reflect.Float64:
		return "a number"
	case reflect.String:
		return "text"
	case reflect.Slice:
		return "a list"
	case reflect.Map, reflect.Struct:
		return "a section"
	case reflect.Pointer:
		return describe(t.Elem())
	case reflect.Interface:
		return "any value"
	}
	return fmt.Sprint(t)
}
