package format

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
	"unicode/utf8"
)

const (
	// maxColumns bounds the columns of one file: objects whose field names are data would make one for each.
	maxColumns = 2000
	// columnOverhead is about what a column takes beside its values.
	columnOverhead = 300
)

// Columns collects JSON objects as the rows of a table. A column gets the narrowest type that all its values fit: integers become doubles
// where both occur, what else differs becomes text, strings as they are and all else as JSON. A field that is missing is null.
type Columns struct {
	compression string // none, snappy, zstd
	columns     []*column
	byName      map[string]*column
	rows        int
	members     []member // of the object at hand
	numbers     []number // the same, parsed
	appends     int      // calls of Append: what seen counts in
}

// number is a value of a member that is a number or a boolean.
type number struct {
	integer int64
	double  float64
}

// column holds the values of one field. Only those that are not null have an entry in integers, doubles or data.
type column struct {
	name     string
	seen     int // the last Append whose object had the field
	kind     kind
	rows     int     // decided so far; rows behind it have no value
	present  []int16 // 1 where a row has a value: what Parquet calls definition levels
	integers []int64
	doubles  []float64
	bools    []bool
	data     []byte
	ends     []int // of each text in data
}

// NewColumns returns an empty table that Encode compresses with none, snappy or zstd.
func NewColumns(compression string) *Columns {
	return &Columns{compression: compression, byName: map[string]*column{}}
}

// Rows is the number of rows.
func (c *Columns) Rows() int { return c.rows }

// Bytes is the memory the table takes.
func (c *Columns) Bytes() int64 {
	sum := columnOverhead * int64(len(c.columns))
	for _, col := range c.columns {
		sum += 2*int64(cap(col.present)) + 8*int64(cap(col.integers)+cap(col.doubles)+cap(col.ends)) + int64(cap(col.bools)+cap(col.data))
	}
	return sum
}

// ErrTombstone is the error for a record without a value.
var ErrTombstone = errors.New("a tombstone has no value to write")

var (
	errNoFields       = errors.New("the object has no fields, and a row needs one at least")
	errTooManyColumns = fmt.Errorf("its fields would be more than %d columns", maxColumns)
)

// Append adds the JSON object in value as a row. With an error nothing was added. The value's bytes are copied.
func (c *Columns) Append(value []byte) error {
	if value == nil {
		return ErrTombstone
	}
	c.appends++
	var err error
	if c.members, err = scanObject(c.members[:0], value); err != nil {
		return fmt.Errorf("the value %.60q: %w", value, err)
	}
	if err := c.check(); err != nil {
		return fmt.Errorf("the value %.60q: %w", value, err)
	}
	for i := range c.members {
		m := &c.members[i]
		col := m.column
		if col == nil {
			col = &column{name: string(m.name)}
			c.columns = append(c.columns, col)
			c.byName[col.name] = col
		}
		col.pad(c.rows)
		col.add(m, c.numbers[i])
	}
	c.rows++
	return nil
}

// check finds everything that makes the members no row, finds their columns and parses their numbers.
func (c *Columns) check() error {
	if len(c.members) == 0 {
		return errNoFields
	}
	c.numbers = c.numbers[:0]
	added := 0
	for i := range c.members {
		m := &c.members[i]
		if m.column = c.find(i, m.name); m.column == nil {
			added++
		}
		if c.twice(i) {
			return fmt.Errorf("field %q is there twice", m.name)
		}
		if !utf8.Valid(m.name) || m.kind == text && !utf8.Valid(m.value) {
			return fmt.Errorf("field %q is no UTF-8", m.name)
		}
		n, err := m.number()
		if err != nil {
			return fmt.Errorf("field %q: %w", m.name, err)
		}
		c.numbers = append(c.numbers, n)
	}
	if len(c.columns)+added > maxColumns {
		return errTooManyColumns
	}
	return nil
}

// find returns the column of the i-th member, nil for a new one. Objects mostly have the same fields in the same order.
func (c *Columns) find(i int, name []byte) *column {
	if i < len(c.columns) && c.columns[i].name == string(name) {
		return c.columns[i]
	}
	return c.byName[string(name)]
}

// twice tells whether a member before the i-th has its name.
func (c *Columns) twice(i int) bool {
	m := &c.members[i]
	if m.column != nil {
		before := m.column.seen == c.appends
		m.column.seen = c.appends
		return before
	}
	for j := range i {
		if c.members[j].column == nil && bytes.Equal(c.members[j].name, m.name) {
			return true
		}
	}
	return false
}

// number parses the value of a number or boolean. An integer that 64 bits do not hold becomes a double.
func (m *member) number() (n number, err error) {
	switch m.kind {
	case boolean:
		if m.value[0] == 't' {
			n.integer = 1
		}
	case integer:
		n.integer, err = strconv.ParseInt(string(m.value), 10, 64)
		if err == nil {
			return n, nil
		}
		m.kind = double
		fallthrough
	case double:
		n.double, err = strconv.ParseFloat(string(m.value), 64)
		if err != nil {
			return n, fmt.Errorf("the number %.40s is too large", m.value)
		}
	}
	return n, nil
}

// pad makes the rows up to n null.
func (col *column) pad(n int) {
	for ; col.rows < n; col.rows++ {
		col.present = append(col.present, 0)
	}
}

// add is the next row's value.
func (col *column) add(m *member, n number) {
	col.rows++
	if m.kind == null {
		col.present = append(col.present, 0)
		return
	}
	col.widen(m.kind)
	col.present = append(col.present, 1)
	switch col.kind {
	case boolean:
		col.bools = append(col.bools, n.integer == 1)
	case integer:
		col.integers = append(col.integers, n.integer)
	case double:
		if m.kind == integer {
			n.double = float64(n.integer)
		}
		col.doubles = append(col.doubles, n.double)
	case text:
		col.addText(m.value)
	}
}

func (col *column) addText(value []byte) {
	col.data = append(col.data, value...)
	col.ends = append(col.ends, len(col.data))
}

// widen makes the column's type one that also holds a value of kind k.
func (col *column) widen(k kind) {
	switch {
	case col.kind == k || col.kind == text || col.kind == double && k == integer:
	case col.kind == null:
		col.kind = k
	case col.kind == integer && k == double:
		for _, v := range col.integers {
			col.doubles = append(col.doubles, float64(v))
		}
		col.integers, col.kind = nil, double
	default:
		col.toText()
	}
}

// toText writes the values there are as JSON text.
func (col *column) toText() {
	var scratch []byte
	for _, v := range col.bools {
		col.addText(strconv.AppendBool(scratch[:0], v))
	}
	for _, v := range col.integers {
		col.addText(strconv.AppendInt(scratch[:0], v, 10))
	}
	for _, v := range col.doubles {
		col.addText(strconv.AppendFloat(scratch[:0], v, 'g', -1, 64))
	}
	col.bools, col.integers, col.doubles, col.kind = nil, nil, nil, text
}
