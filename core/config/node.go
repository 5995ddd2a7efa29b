package config

import (
	"fmt"
	"strings"
	"unicode/utf8"

	"gopkg.in/yaml.v3"
)

// Decoder is a type that reads itself from a node: an expression, a template, a choice of sections. The error may be an
// *Error or Errors made by the node's methods; any other is placed at the node.
type Decoder interface {
	DecodeConfig(n Node) error
}

// Node is a value of a document: its place, its path and its content.
type Node struct {
	Path string

	dec   *decoder
	yaml  *yaml.Node // aliases followed
	key   *yaml.Node // of the entry that holds the value; nil in lists and at the root
	depth int
	given string // the origin, when it is not the file
}

// Entry is one field of a mapping.
type Entry struct {
	Key   string
	Value Node
}

// Kind is the shape of a value.
type Kind int

const (
	Null Kind = iota
	Scalar
	List
	Mapping
)

// String names the kind as users know it.
func (k Kind) String() string {
	return [...]string{"nothing", "a single value", "a list", "a section"}[k]
}

// Kind returns the shape of the value.
func (n Node) Kind() Kind {
	switch {
	case n.yaml.Kind == yaml.MappingNode:
		return Mapping
	case n.yaml.Kind == yaml.SequenceNode:
		return List
	case isNull(n.yaml):
		return Null
	}
	return Scalar
}

// Position returns where the value starts.
func (n Node) Position() Position { return n.position(n.yaml) }

func (n Node) position(y *yaml.Node) Position {
	return Position{File: n.dec.doc.file, Line: max(y.Line, 1), Column: max(y.Column, 1)}
}

// IsSecret tells whether the value holds a reference to a secret.
func (n Node) IsSecret() bool { return strings.Contains(n.yaml.Value, "${secret:") }

// Raw returns the text of a scalar as it stands in the file, references unresolved: the form errors may quote.
func (n Node) Raw() string { return n.yaml.Value }

// Text returns the text of a scalar with its references resolved.
func (n Node) Text() (string, error) {
	if n.Kind() != Scalar {
		return "", n.wrongKind("a single value")
	}
	text, from, err := n.dec.opts.References.resolve(n.yaml.Value)
	if err != nil {
		return "", n.referenceError(err)
	}
	if n.given != "" {
		from = n.given
	}
	n.dec.origin(n, from)
	return text, nil
}

// Entries returns the fields of a mapping in the order of the file. A key that stands twice, or is no text, is an error.
func (n Node) Entries() ([]Entry, Errors) {
	if n.Kind() != Mapping {
		return nil, Errors{n.wrongKind("a section")}
	}
	var errs Errors
	first := map[string]int{}
	entries := make([]Entry, 0, len(n.yaml.Content)/2)
	for i := 0; i+1 < len(n.yaml.Content); i += 2 {
		k, v := n.yaml.Content[i], n.yaml.Content[i+1]
		switch {
		case k.Tag == "!!merge":
			errs = append(errs, n.keyError(k, "merge keys are not supported").WithHint("write the fields out"))
			continue
		case k.Kind != yaml.ScalarNode:
			errs = append(errs, n.keyError(k, "a field name must be text"))
			continue
		}
		if line, twice := first[k.Value]; twice {
			errs = append(errs, n.keyError(k, "is already set on line %d", line))
			continue
		}
		first[k.Value] = k.Line
		entries = append(entries, Entry{k.Value, n.dec.node(v, k, join(n.Path, k.Value), n.depth+1)})
	}
	return entries, errs
}

// Items returns the values of a list.
func (n Node) Items() ([]Node, Errors) {
	if n.Kind() != List {
		err := n.wrongKind("a list")
		if n.Kind() == Scalar {
			err = err.WithHint("write [%s]", n.Raw())
		}
		return nil, Errors{err}
	}
	items := make([]Node, len(n.yaml.Content))
	for i, v := range n.yaml.Content {
		items[i] = n.dec.node(v, nil, fmt.Sprintf("%s[%d]", n.Path, i), n.depth+1)
	}
	return items, nil
}

// Decode fills what into points to.
func (n Node) Decode(into any) Errors { return n.dec.decode(n, into) }

// Errorf returns an error at the value.
func (n Node) Errorf(format string, args ...any) *Error {
	return n.errorAt(n.Position(), n.width(n.yaml), n.Path, fmt.Sprintf(format, args...))
}

// UnknownField returns the error for a field that does not exist among known.
func (n Node) UnknownField(e Entry, known []string) *Error {
	err := n.keyError(e.Value.key, "unknown field%s", DidYouMean(e.Key, known))
	if len(known) > 0 {
		err.Hint = "fields here: " + listWords(known)
	}
	return err
}

// KeyErrorf returns an error at the name of the field that holds the value, or at the value when it has none.
func (n Node) KeyErrorf(format string, args ...any) *Error {
	if n.key == nil {
		return n.Errorf(format, args...)
	}
	return n.errorAt(n.position(n.key), n.width(n.key), n.Path, fmt.Sprintf(format, args...))
}

// Missing returns the error for an absent field of the mapping n. It points to the line of n, or to the start of the document.
func (n Node) Missing(field, message string) *Error {
	err := n.KeyErrorf("%s", message)
	err.Path = join(n.Path, field)
	return err
}

// At returns an error inside a scalar, width characters from the character at offset (both in runes). When the text of the scalar stands
// in the file in another form (escapes, folded lines, references) the error is placed at its start.
func (n Node) At(offset, width int, format string, args ...any) *Error {
	message := fmt.Sprintf(format, args...)
	if p, ok := n.inside(offset); ok {
		return n.errorAt(p, width, n.Path, message)
	}
	return n.errorAt(n.Position(), n.width(n.yaml), n.Path, message)
}

// inside returns the place of the rune at offset of a scalar's text.
func (n Node) inside(offset int) (Position, bool) {
	text := []rune(n.yaml.Value)
	if offset < 0 || offset > len(text) || n.given != "" {
		return Position{}, false
	}
	line, before := n.yaml.Line, text[:offset]
	if n.yaml.Style&yaml.LiteralStyle != 0 {
		row := strings.Count(string(before), "\n")
		line += 1 + row
		own, _, _ := strings.Cut(strings.Join(strings.Split(n.yaml.Value, "\n")[row:], "\n"), "\n")
		start := strings.Index(n.dec.doc.line(line), own)
		if start < 0 || own == "" {
			return Position{}, false
		}
		column := utf8.RuneCountInString(string(before)[strings.LastIndex(string(before), "\n")+1:])
		indent := utf8.RuneCountInString(n.dec.doc.line(line)[:start])
		return Position{n.dec.doc.file, line, indent + column + 1}, true
	}
	column := n.yaml.Column
	if n.yaml.Style&(yaml.SingleQuotedStyle|yaml.DoubleQuotedStyle) != 0 {
		column++
	}
	source := []rune(n.dec.doc.line(line))
	if column-1 > len(source) || !strings.HasPrefix(string(source[column-1:]), string(before)) {
		return Position{}, false
	}
	return Position{n.dec.doc.file, line, column + offset}, true
}

func (n Node) keyError(k *yaml.Node, format string, args ...any) *Error {
	return n.errorAt(n.position(k), n.width(k), join(n.Path, k.Value), fmt.Sprintf(format, args...))
}

func (n Node) errorAt(p Position, width int, path, message string) *Error {
	return &Error{Position: p, Path: path, Message: message, source: n.dec.doc.line(p.Line), width: width}
}

// fieldError places what a Validate method returned: at the field when the file has it, else at the struct.
func (n Node) fieldError(f *FieldError) *Error {
	at := n
	for name := range strings.SplitSeq(f.Field, ".") {
		entries, _ := at.Entries() // its errors were reported when the struct was decoded
		found := false
		for _, e := range entries {
			if e.Key == name {
				at, found = e.Value, true
			}
		}
		if !found {
			err := at.KeyErrorf("%s", f.Message)
			err.Path, err.Hint = join(n.Path, f.Field), f.Hint
			return err
		}
	}
	err := at.Errorf("%s", f.Message)
	err.Hint = f.Hint
	return err
}

func (n Node) wrongKind(expected string) *Error {
	if n.Kind() == Null {
		return n.KeyErrorf("is empty, expected %s", expected).WithHint("give it a value, or indent the lines that belong to it deeper")
	}
	return n.Errorf("expected %s, found %s", expected, n.Kind())
}

// width is how many characters of the file a key or value covers; 1 when it spans lines.
func (n Node) width(y *yaml.Node) int {
	if y.Kind != yaml.ScalarNode || strings.Contains(y.Value, "\n") || y.Style&(yaml.LiteralStyle|yaml.FoldedStyle) != 0 {
		return 1
	}
	width := utf8.RuneCountInString(y.Value)
	if y.Style&(yaml.SingleQuotedStyle|yaml.DoubleQuotedStyle) != 0 {
		width += 2
	}
	return max(width, 1)
}

func join(path, field string) string {
	if path == "" {
		return field
	}
	return path + "." + field
}
