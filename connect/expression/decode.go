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
func Decode(text []byte) (value any, order []string, err error) {
	d := decoder{text: text}
	d.space()
	if d.peek() == '{' {
		value, order, err = d.object(0, true)
	} else {
		value, err = d.value(0)
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

func (d *decoder) value(depth int) (any, error) {
	if depth > maxJSONDepth {
		return nil, d.wrong(fmt.Sprintf("values nest deeper than %d", maxJSONDepth))
	}
	switch c := d.peek(); {
	case c == '{':
		m, _, err := d.object(depth, false)
		return m, err
	case c == '[':
		return d.array(depth)
	case c == '"':
		return d.str()
	case c == 't':
		return true, d.word("true")
	case c == 'f':
		return false, d.word("false")
	case c == 'n':
		return nil, d.word("null")
	case c == '-' || c >= '0' && c <= '9':
		return d.number()
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

func (d *decoder) object(depth int, ordered bool) (map[string]any, []string, error) {
	d.at++
	m := map[string]any{}
	var order []string
	for d.space(); ; d.space() {
		if d.peek() == '}' && len(m) == 0 {
			d.at++
			return m, order, nil
		}
		if d.peek() != '"' {
			return nil, nil, d.wrong("a field name in quotes is missing")
		}
		name, err := d.str()
		if err != nil {
			return nil, nil, err
		}
		if d.space(); d.peek() != ':' {
			return nil, nil, d.wrong("a colon is missing")
		}
		d.at++
		d.space()
		v, err := d.value(depth + 1)
		if err != nil {
			return nil, nil, err
		}
		if ordered {
			if _, twice := m[name]; !twice {
				order = append(order, name)
			}
		}
		m[name] = v
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

func (d *decoder) array(depth int) ([]any, error) {
	d.at++
	list := []any{}
	for d.space(); ; d.space() {
		if d.peek() == ']' && len(list) == 0 {
			d.at++
			return list, nil
		}
		v, err := d.value(depth + 1)
		if err != nil {
			return nil, err
		}
		list = append(list, v)
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
	start := d.at
	plain := true
	for d.at++; d.at < len(d.text); d.at++ {
		switch c := d.text[d.at]; {
		case c == '"':
			d.at++
			raw := d.text[start+1 : d.at-1]
			if plain && utf8.Valid(raw) {
				return string(raw), nil
			}
			var s string
			if err := json.Unmarshal(d.text[start:d.at], &s); err != nil {
				d.at = start
				return "", d.wrong("a string is damaged")
			}
			return s, nil
		case c == '\\':
			plain = false
			d.at++
		case c < ' ':
			return "", d.wrong("a control character in a string")
		}
	}
	return "", d.wrong("a string has no end")
}

func (d *decoder) number() (any, error) {
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
	text := string(d.text[start:d.at])
	if whole {
		i, err := strconv.ParseInt(text, 10, 64)
		if err != nil {
			return json.Number(text), nil
		}
		return i, nil
	}
	f, err := strconv.ParseFloat(text, 64)
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
