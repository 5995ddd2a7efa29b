package expression

import (
	"encoding/json"
	"fmt"
	"strconv"
	"unicode/utf8"
)

// maxJSONDepth bounds the nesting of a value.
const maxJSONDepth = 200

// Decode reads one JSON value: map[string]any, []any, string, bool, nil, int64 for a number without fraction and exponent, json.Number for
// one that does not fit in it, and float64. order lists the fields of an object at the top in their order; nil for other values.
func Decode(text []byte) (value any, order []string, err error) { return decode(text, everything) }

// decode builds what want names of an object at the top, and all of any other value. The rest is checked all the same. Without everything there
// is no order.
func decode(text []byte, want *paths) (value any, order []string, err error) {
	d := decoder{text: text}
	d.space()
	if d.peek() == '{' {
		value, order, err = d.object(0, want, want.whole)
	} else {
		value, err = d.value(0, everything)
	}
	if err != nil {
		return nil, nil, err
	}
	if d.space(); d.at < len(text) {
		return nil, nil, d.wrong("text after the value")
	}
	return value, order, nil
}

type decoder struct {
	text []byte
	at   int
}

// wrong says what is no JSON, where, and shows the text there.
func (d *decoder) wrong(what string) error {
	const shown = 24
	start := max(0, min(d.at, len(d.text))-shown/2)
	return fmt.Errorf("no JSON: %s at byte %d, near %q", what, d.at, d.text[start:min(len(d.text), start+shown)])
}

func (d *decoder) peek() byte {
	if d.at < len(d.text) {
		return d.text[d.at]
	}
	return 0
}

func (d *decoder) space() {
	for d.at < len(d.text) {
		switch d.text[d.at] {
		case ' ', '\t', '\n', '\r':
			d.at++
		default:
			return
		}
	}
}

// value reads a value; of one that is not wanted, where want is nil, nothing is built.
func (d *decoder) value(depth int, want *paths) (any, error) {
	if depth > maxJSONDepth {
		return nil, d.wrong(fmt.Sprintf("values nest deeper than %d", maxJSONDepth))
	}
	switch c := d.peek(); {
	case c == '{':
		m, _, err := d.object(depth, want, false)
		return m, err
	case c == '[':
		return d.array(depth, want != nil)
	case c == '"':
		if want == nil {
			return nil, d.skipString()
		}
		return d.str()
	case c == 't':
		return true, d.word("true")
	case c == 'f':
		return false, d.word("false")
	case c == 'n':
		return nil, d.word("null")
	case c == '-' || c >= '0' && c <= '9':
		return d.number(want != nil)
	case d.at >= len(d.text):
		return nil, d.wrong("the text ends too early")
	}
	return nil, d.wrong("a value is missing")
}

func (d *decoder) word(w string) error {
	if len(d.text)-d.at < len(w) || string(d.text[d.at:d.at+len(w)]) != w {
		return d.wrong("unknown word")
	}
	d.at += len(w)
	return nil
}

func (d *decoder) object(depth int, want *paths, ordered bool) (map[string]any, []string, error) {
	d.at++
	var m map[string]any
	if want != nil {
		m = map[string]any{}
	}
	var order []string
	first := true
	for d.space(); ; d.space() {
		if d.peek() == '}' && first {
			d.at++
			return m, order, nil
		}
		if d.peek() != '"' {
			return nil, nil, d.wrong("a field name in quotes is missing")
		}
		first = false
		name, wanted, err := d.name(want)
		if err != nil {
			return nil, nil, err
		}
		if d.space(); d.peek() != ':' {
			return nil, nil, d.wrong("a colon is missing")
		}
		d.at++
		d.space()
		v, err := d.value(depth+1, wanted)
		if err != nil {
			return nil, nil, err
		}
		if wanted != nil {
			if ordered {
				if _, twice := m[name]; !twice {
					order = append(order, name)
				}
			}
			m[name] = v
		}
		d.space()
		switch d.peek() {
		case ',':
			d.at++
		case '}':
			d.at++
			return m, order, nil
		default:
			return nil, nil, d.wrong("a comma or } is missing")
		}
	}
}

// name reads the name of a field, and what is wanted of it.
func (d *decoder) name(of *paths) (name string, wanted *paths, err error) {
	if of == nil {
		return "", nil, d.skipString()
	}
	if of.whole {
		name, err = d.str()
		return name, everything, err
	}
	raw, plain, err := d.raw()
	if err != nil {
		return "", nil, err
	}
	if !plain {
		if name, err = d.unquote(raw); err != nil {
			return "", nil, err
		}
		raw = []byte(name)
	}
	if wanted = of.field(raw); wanted != nil {
		name = wanted.name
	}
	return name, wanted, nil
}

func (d *decoder) array(depth int, wanted bool) ([]any, error) {
	d.at++
	var list []any
	var want *paths
	if wanted {
		list, want = []any{}, everything
	}
	first := true
	for d.space(); ; d.space() {
		if d.peek() == ']' && first {
			d.at++
			return list, nil
		}
		first = false
		v, err := d.value(depth+1, want)
		if err != nil {
			return nil, err
		}
		if wanted {
			list = append(list, v)
		}
		d.space()
		switch d.peek() {
		case ',':
			d.at++
		case ']':
			d.at++
			return list, nil
		default:
			return nil, d.wrong("a comma or ] is missing")
		}
	}
}

// str reads a string. Most have no escape and are copied as they are; the others go through encoding/json.
func (d *decoder) str() (string, error) {
	raw, plain, err := d.raw()
	if err != nil || plain {
		return string(raw), err
	}
	return d.unquote(raw)
}

// skipString reads a string that nobody wants.
func (d *decoder) skipString() error {
	raw, plain, err := d.raw()
	if err == nil && !plain {
		_, err = d.unquote(raw)
	}
	return err
}

// raw reads a string up to its end. It is plain when it stands for itself, and is returned without its quotes then.
func (d *decoder) raw() (raw []byte, plain bool, err error) {
	start := d.at
	escaped, ascii := false, true
	for d.at++; d.at < len(d.text); d.at++ {
		switch c := d.text[d.at]; {
		case c == '"':
			d.at++
			if escaped || !ascii && !utf8.Valid(d.text[start:d.at]) {
				return d.text[start:d.at], false, nil
			}
			return d.text[start+1 : d.at-1], true, nil
		case c == '\\':
			escaped = true
			d.at++
		case c < ' ':
			return nil, false, d.wrong("a control character in a string")
		case c >= utf8.RuneSelf:
			ascii = false
		}
	}
	return nil, false, d.wrong("a string has no end")
}

// unquote reads the string in quotes that has just been passed.
func (d *decoder) unquote(quoted []byte) (s string, err error) {
	if err := json.Unmarshal(quoted, &s); err != nil {
		d.at -= len(quoted)
		return "", d.wrong("a string is damaged")
	}
	return s, nil
}

func (d *decoder) number(wanted bool) (any, error) {
	start := d.at
	whole := true
	if d.peek() == '-' {
		d.at++
	}
	digits := d.digits()
	if digits == 0 || digits > 1 && d.text[d.at-digits] == '0' {
		return nil, d.wrong("a number is damaged")
	}
	if d.peek() == '.' {
		whole = false
		if d.at++; d.digits() == 0 {
			return nil, d.wrong("a number is damaged")
		}
	}
	if c := d.peek(); c == 'e' || c == 'E' {
		whole = false
		d.at++
		if c := d.peek(); c == '+' || c == '-' {
			d.at++
		}
		if d.digits() == 0 {
			return nil, d.wrong("a number is damaged")
		}
	}
	if !wanted {
		return nil, nil
	}
	text := d.text[start:d.at]
	if whole {
		i, err := strconv.ParseInt(string(text), 10, 64)
		if err != nil {
			return json.Number(text), nil
		}
		return i, nil
	}
	f, err := strconv.ParseFloat(string(text), 64)
	if err != nil { // outside of what a float64 holds
		return json.Number(text), nil
	}
	return f, nil
}

func (d *decoder) digits() int {
	start := d.at
	for d.at < len(d.text) && d.text[d.at] >= '0' && d.text[d.at] <= '9' {
		d.at++
	}
	return d.at - start
}
