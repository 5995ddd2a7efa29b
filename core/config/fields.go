package config

import (
	"reflect"
	"strings"
)

// Field describes one field of a configuration struct.
type Field struct {
	Name     string   `json:"name"`
	Type     string   `json:"type"`
	Doc      string   `json:"doc,omitempty"`
	Default  string   `json:"default,omitempty"`
	Required bool     `json:"required,omitempty"`
	Enum     []string `json:"enum,omitempty"`
	Fields   []Field  `json:"fields,omitempty"` // of a section, or of the items of a list of sections
	List     bool     `json:"list,omitempty"`
	Map      bool     `json:"map,omitempty"` // a section with free names

	kind reflect.Kind
}

// Described is a type that lists its own fields, for one that decodes itself.
type Described interface{ ConfigFields() []Field }

// Fields lists the fields of the struct that v is, or points to, in their order.
func Fields(v any) []Field {
	if v == nil {
		return nil
	}
	return fieldsOf(reflect.TypeOf(v), 0)
}

func fieldsOf(t reflect.Type, depth int) []Field {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if d, ok := reflect.New(t).Interface().(Described); ok {
		return d.ConfigFields()
	}
	if _, decodes := reflect.New(t).Interface().(Decoder); decodes || t.Kind() != reflect.Struct || depth > maxDepth {
		return nil
	}
	var fields []Field
	for _, f := range structFields(t) {
		fields = append(fields, fieldOf(f, depth))
	}
	return fields
}

func fieldOf(f structField, depth int) Field {
	t := f.typ
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	field := Field{
		Name: f.name, Type: describe(t), Doc: f.tag.Get("doc"), Default: f.tag.Get("default"),
		Required: f.tag.Get("required") == "true", kind: t.Kind(),
	}
	if named := f.tag.Get("type"); named != "" {
		field.Type = named
	}
	if words := f.tag.Get("enum"); words != "" {
		field.Enum = strings.Split(words, ",")
	}
	if _, decodes := reflect.New(t).Interface().(Decoder); !decodes && (t.Kind() == reflect.Slice || t.Kind() == reflect.Map) {
		field.List, field.Map = t.Kind() == reflect.Slice, t.Kind() == reflect.Map
		t = t.Elem()
		if field.List {
			field.Type = "a list of " + plural(describe(t))
		}
	}
	field.Fields = fieldsOf(t, depth+1)
	return field
}

func plural(s string) string {
	s = strings.TrimPrefix(strings.TrimPrefix(s, "a "), "an ")
	if s == "text" || strings.Contains(s, " ") {
		return s
	}
	return s + "s"
}

func describeOf[T any](*T) string { return describe(reflect.TypeFor[T]()) }
