package config

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Position is a place in a file. Line and Column count from 1; Column counts characters.
type Position struct {
	File   string `json:"file"`
	Line   int    `json:"line"`
	Column int    `json:"column"`
}

// String returns file:line:column.
func (p Position) String() string { return fmt.Sprintf("%s:%d:%d", p.File, p.Line, p.Column) }

// Error is one thing that is wrong with a file.
type Error struct {
	Position
	// Path names the field, as in "sink.s3.batch.size"; empty for the whole document.
	Path string `json:"path,omitempty"`
	// Message says what is wrong.
	Message string `json:"message"`
	// Hint says what to do next; it is printed under the source line.
	Hint string `json:"hint,omitempty"`

	source string // the line of the file
	width  int    // how many characters to underline
}

// Error returns the one-line form: file:line:column: path: message.
func (e *Error) Error() string {
	if e.Path == "" {
		return e.Position.String() + ": " + e.Message
	}
	return e.Position.String() + ": " + e.Path + ": " + e.Message
}

// WithHint returns e with a hint of what to do next.
func (e *Error) WithHint(format string, args ...any) *Error {
	e.Hint = fmt.Sprintf(format, args...)
	return e
}

// Errors is everything that is wrong; nil means nothing is.
type Errors []*Error

// Error returns the one-line forms, one a line.
func (e Errors) Error() string {
	lines := make([]string, len(e))
	for i, err := range e {
		lines[i] = err.Error()
	}
	return strings.Join(lines, "\n")
}

// Err returns e as an error, or nil when it is empty.
func (e Errors) Err() error {
	if len(e) == 0 {
		return nil
	}
	return e
}

// Sort orders the errors by file, line and column, and drops repetitions.
func (e Errors) Sort() Errors {
	slices.SortStableFunc(e, func(a, b *Error) int {
		return cmp.Or(strings.Compare(a.File, b.File), cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
	})
	return slices.CompactFunc(e, func(a, b *Error) bool {
		return a.Position == b.Position && a.Path == b.Path && a.Message == b.Message
	})
}

// FieldError is what a Validate method returns to place an error on a field of its struct.
type FieldError struct {
	Field   string // path below the struct, as in "rotate.size"
	Message string
	Hint    string
}

// Error returns the field and the message.
func (e *FieldError) Error() string { return e.Field + ": " + e.Message }

// Fieldf returns a FieldError for field.
func Fieldf(field, format string, args ...any) *FieldError {
	return &FieldError{Field: field, Message: fmt.Sprintf(format, args...)}
}

// flatten turns what a Decoder or a Validate method returned into placed errors; n is where unplaced ones go.
func flatten(n Node, err error) Errors {
	var joined interface{ Unwrap() []error }
	var all Errors
	var one *Error
	var field *FieldError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &all):
		return all
	case errors.As(err, &one):
		return Errors{one}
	case errors.As(err, &joined):
		for _, e := range joined.Unwrap() {
			all = append(all, flatten(n, e)...)
		}
		return all
	case errors.As(err, &field):
		return Errors{n.fieldError(field)}
	}
	return Errors{n.Errorf("%v", err)}
}
