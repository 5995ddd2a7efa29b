package format

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
)

// kind is the JSON kind of a value, or the type of a column.
type kind uint8

const (
	null kind = iota // of a column: only nulls so far
	boolean
	integer
	double
	text // a string; objects and arrays are kept as their JSON text
	numKinds
)

func (k kind) String() string {
	return [numKinds]string{"null", "boolean", "integer", "double", "string"}[k]
}

// member is one field of an object.
type member struct {
	name  []byte
	kind  kind
	value []byte // of a string without its quotes, otherwise the JSON text

	column *column // nil when it has none yet; set by Columns
}

var errNoObject = errors.New("it is no JSON object")

// scanObject appends the members of the JSON object in data to members. Their bytes are those of data, except where a string has escapes.
func scanObject(members []member, data []byte) ([]member, error) {
	s := scanner{data: data}
	s.space()
	if s.next() != '{' {
		return members, errNoObject
	}
	s.pos++
	s.space()
	if s.next() == '}' {
		s.pos++
		return members, s.end()
	}
	for {
		s.space()
		name, err := s.str()
		if err != nil {
			return members, err
		}
		s.space()
		if s.next() != ':' {
			return members, s.unexpected("a colon behind a field's name")
		}
		s.pos++
		s.space()
		m := member{name: name}
		if m.kind, m.value, err = s.value(); err != nil {
			return members, err
		}
		if len(members) == maxColumns { // here, since the search for a field that is there twice takes the square of them
			return members, errTooManyColumns
		}
		members = append(members, m)
		s.space()
		switch s.next() {
		case ',':
			s.pos++
		case '}':
			s.pos++
			return members, s.end()
		default:
			return members, s.unexpected("a comma or the end of the object")
		}
	}
}

// scanner stands at one byte of a JSON text.
type scanner struct {
	data []byte
	pos  int
}

// next is the byte at hand; 0, which JSON has nowhere, at the end.
func (s *scanner) next() byte {
	if s.pos < len(s.data) {
		return s.data[s.pos]
	}
	return 0
}

func (s *scanner) space() {
	for s.pos < len(s.data) {
		switch s.data[s.pos] {
		case ' ', '\t', '\n', '\r':
			s.pos++
		default:
			return
		}
	}
}

func (s *scanner) end() error {
	if s.space(); s.pos < len(s.data) {
		return s.unexpected("nothing behind the object")
	}
	return nil
}

func (s *scanner) unexpected(want string) error {
	if s.pos >= len(s.data) {
		return fmt.Errorf("it is no JSON: it ends where %s was expected", want)
	}
	return fmt.Errorf("it is no JSON: %q at byte %d, expected %s", s.data[s.pos], s.pos, want)
}

// str reads a string.
func (s *scanner) str() ([]byte, error) {
	if s.next() != '"' {
		return nil, s.unexpected("a string")
	}
	start, escaped := s.pos, false
	for i := s.pos + 1; i < len(s.data); i++ {
		switch c := s.data[i]; {
		case c == '"':
			s.pos = i + 1
			if !escaped {
				return s.data[start+1 : i], nil
			}
			var plain string
			if err := json.Unmarshal(s.data[start:s.pos], &plain); err != nil {
				return nil, fmt.Errorf("it is no JSON: the string at byte %d: %w", start, err)
			}
			return []byte(plain), nil
		case c == '\\':
			escaped = true
			i++
		case c < ' ':
			s.pos = i
			return nil, s.unexpected("no control character in a string")
		}
	}
	s.pos = len(s.data)
	return nil, s.unexpected("the end of a string")
}

func (s *scanner) value() (kind, []byte, error) {
	start := s.pos
	switch c := s.next(); {
	case c == '"':
		v, err := s.str()
		return text, v, err
	case c == '{' || c == '[':
		d := json.NewDecoder(bytes.NewReader(s.data[s.pos:]))
		var raw json.RawMessage
		if err := d.Decode(&raw); err != nil {
			return null, nil, fmt.Errorf("it is no JSON: the value at byte %d: %w", start, err)
		}
		s.pos += int(d.InputOffset())
		return text, s.data[start:s.pos], nil
	case c == '-' || c >= '0' && c <= '9':
		return s.number()
	case c == 't':
		return boolean, s.data[start:min(start+4, len(s.data))], s.word("true")
	case c == 'f':
		return boolean, s.data[start:min(start+5, len(s.data))], s.word("false")
	case c == 'n':
		return null, nil, s.word("null")
	}
	return null, nil, s.unexpected("a value")
}

func (s *scanner) word(w string) error {
	if !bytes.HasPrefix(s.data[s.pos:], []byte(w)) {
		return s.unexpected(w)
	}
	s.pos += len(w)
	return nil
}

func (s *scanner) digits() bool {
	start := s.pos
	for c := s.next(); c >= '0' && c <= '9'; c = s.next() {
		s.pos++
	}
	return s.pos > start
}

// number reads a number as JSON has it: no leading zeros, no plus, digits on both sides of the point.
func (s *scanner) number() (kind, []byte, error) {
	start, k := s.pos, integer
	if s.next() == '-' {
		s.pos++
	}
	if s.next() == '0' {
		s.pos++
	} else if !s.digits() {
		return null, nil, s.unexpected("a digit")
	}
	if s.next() == '.' {
		k = double
		if s.pos++; !s.digits() {
			return null, nil, s.unexpected("a digit")
		}
	}
	if c := s.next(); c == 'e' || c == 'E' {
		k = double
		s.pos++
		if c := s.next(); c == '+' || c == '-' {
			s.pos++
		}
		if !s.digits() {
			return null, nil, s.unexpected("a digit")
		}
	}
	return k, s.data[start:s.pos], nil
}
