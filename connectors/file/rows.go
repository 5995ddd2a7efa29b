package file

import (
	"bufio"
	"bytes"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
)

// maxLineBytes is the longest line that is read: no broker takes a record that long without being told to.
const maxLineBytes = 8 << 20

// readBufferBytes is what is read of a file at once.
const readBufferBytes = 256 << 10

// rows takes record after record off a file.
type rows interface {
	// next returns the value of the next record and the offset behind it. io.EOF means that no whole record is left; a last line
	// without its end is one only when last is true.
	next(last bool) (value []byte, offset int64, err error)
}

// lines are the rows of NDJSON.
type lines struct {
	in     *bufio.Reader
	offset int64
	half   []byte // the beginning of a line whose end is not there yet
}

func newLines(in io.Reader, offset int64) *lines {
	return &lines{in: bufio.NewReaderSize(in, readBufferBytes), offset: offset}
}

func (l *lines) next(last bool) ([]byte, int64, error) {
	for {
		part, err := l.in.ReadSlice('\n')
		l.half = append(l.half, part...)
		if len(l.half) > maxLineBytes {
			return nil, 0, fmt.Errorf("the line at byte %d is longer than %d bytes: is it NDJSON?", l.offset, maxLineBytes)
		}
		switch {
		case errors.Is(err, bufio.ErrBufferFull):
			continue
		case errors.Is(err, io.EOF) && (!last || len(l.half) == 0):
			return nil, 0, io.EOF
		case err != nil && !errors.Is(err, io.EOF):
			return nil, 0, err
		}
		l.offset += int64(len(l.half))
		line := bytes.TrimSpace(l.half)
		l.half = nil // the record keeps it
		if len(line) > 0 {
			return line, l.offset, nil
		}
	}
}

// table is the rows of CSV.
type table struct {
	in   *csv.Reader
	head [][]byte // as JSON strings
	base int64    // where in begins
}

// newTable reads the head of a file, and goes on at offset when that is behind it.
func newTable(in io.ReadSeeker, offset int64) (*table, error) {
	first := csv.NewReader(in)
	names, err := first.Read()
	if err != nil {
		return nil, err // io.EOF: the head is not there yet
	}
	t := &table{base: max(offset, first.InputOffset())}
	for i, name := range names {
		if i == 0 {
			name = string(bytes.TrimPrefix([]byte(name), []byte("\ufeff")))
		}
		quoted, err := json.Marshal(name)
		if err != nil {
			return nil, err
		}
		t.head = append(t.head, quoted)
	}
	if _, err := in.Seek(t.base, io.SeekStart); err != nil {
		return nil, err
	}
	t.in = csv.NewReader(bufio.NewReaderSize(in, readBufferBytes))
	t.in.FieldsPerRecord = len(names)
	t.in.ReuseRecord = true
	return t, nil
}

func (t *table) next(bool) ([]byte, int64, error) {
	fields, err := t.in.Read()
	if err != nil {
		var parse *csv.ParseError
		if errors.As(err, &parse) {
			err = fmt.Errorf("the row at byte %d is no CSV of %d columns: %w", t.base+t.in.InputOffset(), len(t.head), parse.Err)
		}
		return nil, 0, err
	}
	value := []byte{'{'}
	for i, field := range fields {
		if i > 0 {
			value = append(value, ',')
		}
		value = append(append(value, t.head[i]...), ':')
		quoted, err := json.Marshal(field)
		if err != nil {
			return nil, 0, err
		}
		value = append(value, quoted...)
	}
	return append(value, '}'), t.base + t.in.InputOffset(), nil
}
