package file

import (
	"bytes"
	"encoding/csv"
	"errors"
	"fmt"
	"io"

	"github.com/milldam/milldam/connect/expression"
)

// csvRows decodes the rows of one CSV file. encoding/csv says what a row means; where it ends is found here, since encoding/csv takes the
// end of what it is given for the end of a row, and a file that is still written may end in the middle of one.
type csvRows struct {
	columns [][]byte // names of the header, each as JSON with its colon; nil before the header
	feed    bytes.Reader
	parser  *csv.Reader
}

// rowEnd returns the length of the row at the start of data, with its line end; 0 when data does not hold all of it. A quote opens a field
// only where the field starts: one that stands elsewhere is for encoding/csv to refuse, and must not swallow the rows behind it.
func rowEnd(data []byte) int {
	quoted, fieldStart := false, true
	for i := 0; i < len(data); i++ {
		c := data[i]
		switch {
		case quoted && c == '"' && i+1 < len(data) && data[i+1] == '"':
			i++
		case quoted:
			quoted = c != '"'
		case c == '\n':
			return i + 1
		case c == '"' && fieldStart:
			quoted, fieldStart = true, false
		default:
			fieldStart = c == ','
		}
	}
	return 0
}

// fields returns the fields of a whole row; nil for an empty line.
func (c *csvRows) fields(row []byte) ([]string, error) {
	if c.parser == nil {
		c.parser = csv.NewReader(&c.feed)
		c.parser.ReuseRecord = true
		c.parser.FieldsPerRecord = -1
	}
	c.feed.Reset(row)
	fields, err := c.parser.Read()
	var wrong *csv.ParseError
	switch {
	case errors.Is(err, io.EOF):
		return nil, nil
	case errors.As(err, &wrong):
		c.parser = nil // it may hold the rest of the row
		return nil, wrong.Err
	}
	return fields, err
}

// header takes the first row.
func (c *csvRows) header(row []byte) error {
	names, err := c.fields(row)
	if err != nil {
		return err
	}
	seen := map[string]bool{}
	var columns [][]byte
	for i, name := range names {
		switch {
		case name == "":
			return fmt.Errorf("column %d of the header has no name", i+1)
		case seen[name]:
			return fmt.Errorf("the header names column %q twice", name)
		}
		seen[name] = true
		text, err := expression.Append(nil, name)
		if err != nil {
			return err
		}
		columns = append(columns, append(text, ':'))
	}
	c.columns = columns
	return nil
}

// value returns a row as a JSON object; nil for an empty line.
func (c *csvRows) value(row []byte) ([]byte, error) {
	fields, err := c.fields(row)
	if err != nil || fields == nil {
		return nil, err
	}
	if len(fields) != len(c.columns) {
		return nil, fmt.Errorf("the row has %d fields, the header %d", len(fields), len(c.columns))
	}
	out := append(make([]byte, 0, 2*len(row)), '{')
	for i, field := range fields {
		if i > 0 {
			out = append(out, ',')
		}
		if out, err = expression.Append(append(out, c.columns[i]...), field); err != nil {
			return nil, fmt.Errorf("column %s %w", c.columns[i], err)
		}
	}
	return append(out, '}'), nil
}
