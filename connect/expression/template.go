package expression

import (
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/milldam/milldam/core/config"
)

// Template is text with ${{ expression }} and strftime letters (%Y), which stand for a time of the record; %% is a percent sign. The zero value is
// an absent one.
type Template struct {
	source  string
	parts   []part
	literal any // the value of a template without expressions and letters, as YAML has it
}

// part is a piece of a template: an expression, a letter, or text.
type part struct {
	expression Expression
	letter     byte
	text       string
}

// ParseTemplate compiles source. Its error is a *CompileError.
func ParseTemplate(source string, scope Scope) (Template, error) {
	if len(source) > maxSourceBytes {
		return Template{}, &CompileError{Message: fmt.Sprintf("the template has %d bytes, more than the limit of %d", len(source), maxSourceBytes)}
	}
	t := Template{source: source, literal: source}
	var text strings.Builder
	flush := func() {
		if text.Len() > 0 {
			t.parts = append(t.parts, part{text: text.String()})
			text.Reset()
		}
	}
	for i := 0; i < len(source); {
		switch {
		case strings.HasPrefix(source[i:], "${{"):
			flush()
			inner, err := templateExpression(source, i, scope)
			if err != nil {
				return Template{}, err
			}
			t.parts = append(t.parts, part{expression: inner})
			i += len("${{") + len(inner.source) + len("}}")
		case strings.HasPrefix(source[i:], "%%"):
			text.WriteByte('%')
			i += 2
		case source[i] == '%':
			flush()
			if i+1 == len(source) || !strings.Contains(layoutLetters, source[i+1:i+2]) {
				return Template{}, &CompileError{Offset: utf8.RuneCountInString(source[:i]), Width: 2,
					Message: "unknown letter after %", Hint: "%Y %m %d %H %M %S %j and so on; %% is a percent sign"}
			}
			t.parts = append(t.parts, part{letter: source[i+1]})
			i += 2
		default:
			text.WriteByte(source[i])
			i++
		}
	}
	flush()
	return t, nil
}

// templateExpression compiles the expression that starts at source[at:] with ${{; its source includes the spaces around it.
func templateExpression(source string, at int, scope Scope) (Expression, error) {
	start := at + len("${{")
	length := closingBraces(source[start:])
	offset := utf8.RuneCountInString(source[:at])
	if length < 0 {
		return Expression{}, &CompileError{Offset: offset, Width: 3, Message: "${{ has no end", Hint: "close it with }}"}
	}
	e, err := Compile(source[start:start+length], scope)
	if wrong, ok := err.(*CompileError); ok {
		wrong.Offset += offset + len("${{")
	}
	return e, err
}

// closingBraces returns where }} stands in s, outside of quotes; -1 when it does not.
func closingBraces(s string) int {
	var quote byte
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case quote != 0:
			if c == '\\' {
				i++
			} else if c == quote {
				quote = 0
			}
		case c == '"' || c == '\'' || c == '`':
			quote = c
		case c == '}' && i+1 < len(s) && s[i+1] == '}':
			for i+2 < len(s) && s[i+2] == '}' { // the } of an object stands before
				i++
			}
			return i
		}
	}
	return -1
}

// IsZero tells whether the template is absent.
func (t Template) IsZero() bool { return t.source == "" && t.parts == nil && t.literal == nil }

// Source returns the text it was compiled from.
func (t Template) Source() string { return t.source }

// Static returns the text of a template that is the same for every record.
func (t Template) Static() (string, bool) {
	switch {
	case len(t.parts) == 0:
		return "", true
	case len(t.parts) == 1 && t.parts[0].letter == 0 && t.parts[0].expression.IsZero():
		return t.parts[0].text, true
	}
	return "", false
}

// Eval returns the value for the record of m: of any type when the template is one expression and nothing else, or a literal of YAML, else text.
func (t Template) Eval(m *Message) (any, error) {
	if _, static := t.Static(); static {
		if _, isText := t.literal.(string); !isText {
			return t.literal, nil
		}
	}
	if len(t.parts) == 1 && !t.parts[0].expression.IsZero() {
		return t.parts[0].expression.Eval(m)
	}
	return t.Text(m, m.Record.Timestamp)
}

// Text returns the text for the record of m; the strftime letters stand for at, in UTC. An expression that is null is an error: it would leave a
// hole in a path or a name.
func (t Template) Text(m *Message, at time.Time) (string, error) {
	if text, static := t.Static(); static {
		return text, nil
	}
	var b strings.Builder
	for _, p := range t.parts {
		switch {
		case p.letter != 0:
			b.WriteString(formatLetter(at.UTC(), p.letter))
		case !p.expression.IsZero():
			text, ok, err := p.expression.Text(m)
			if err != nil {
				return "", err
			}
			if !ok {
				return "", fmt.Errorf("${{%s}} is null; give a default: %s ?? \"none\"", p.expression.source, strings.TrimSpace(p.expression.source))
			}
			b.WriteString(text)
		default:
			b.WriteString(p.text)
		}
	}
	return b.String(), nil
}

// DecodeConfig compiles the text of a field.
func (t *Template) DecodeConfig(n config.Node) error {
	text, err := n.Text()
	if err != nil {
		return err
	}
	compiled, err := ParseTemplate(text, 0)
	if err != nil {
		return place(n, text, 0, err)
	}
	if _, static := compiled.Static(); static {
		var literal any
		if errs := n.Decode(&literal); len(errs) > 0 {
			return errs
		}
		if _, isText := literal.(string); !isText {
			compiled.literal = literal
		}
	}
	*t = compiled
	return nil
}

// ConfigType names the type.
func (Template) ConfigType() string { return "a template" }
