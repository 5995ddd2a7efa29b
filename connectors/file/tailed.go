package file

import (
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc64"
	"io"
	"os"
)

// position is where a source stands in a file, as it is stored.
type position struct {
	Version int   `json:"version"`
	Offset  int64 `json:"offset"`
	// Head and Sum tell the file from another of the same name: Sum is the CRC-64 (ECMA) of its first Head bytes.
	Head int64  `json:"head"`
	Sum  uint64 `json:"sum"`
}

const (
	positionVersion = 1
	// headBytes is how much of a file at most is summed up.
	headBytes = 1024
)

var sums = crc64.MakeTable(crc64.ECMA)

func parsePosition(text []byte) (position, error) {
	var p position
	if err := json.Unmarshal(text, &p); err != nil {
		return p, fmt.Errorf("a stored position %.80q: %w", text, err)
	}
	if p.Version != positionVersion || p.Offset < 0 || p.Head < 0 || p.Head > headBytes {
		return p, fmt.Errorf("a stored position %.80q is of no version that is known", text)
	}
	return p, nil
}

// of tells whether p is a position in f.
func (p position) of(f *os.File) bool {
	info, err := f.Stat()
	if err != nil || info.Size() < p.Offset {
		return false
	}
	sum, err := headSum(f, p.Head)
	return err == nil && sum == p.Sum
}

// headSum sums up the first n bytes of f, which must be there.
func headSum(f *os.File, n int64) (uint64, error) {
	head := make([]byte, n)
	if _, err := io.ReadFull(io.NewSectionReader(f, 0, n), head); err != nil {
		return 0, err
	}
	return crc64.Checksum(head, sums), nil
}

// tailed is one file that is read.
type tailed struct {
	name   string
	file   *os.File
	csv    bool
	rows   rows // nil until the head of a CSV file is there
	offset int64
	last   bool // another file has the name: nothing more will be appended
}

// openFile opens name and goes on behind the first of positions that is one of it.
func openFile(name string, csv bool, positions []position) (*tailed, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	t := &tailed{name: name, file: f, csv: csv}
	for _, p := range positions {
		if p.of(f) {
			t.offset = p.Offset
			break
		}
	}
	return t, nil
}

// next returns the next record; io.EOF when none is there now.
func (t *tailed) next(last bool) ([]byte, error) {
	if t.rows == nil {
		if err := t.begin(); err != nil {
			return nil, err
		}
	}
	value, offset, err := t.rows.next(last)
	if err == nil {
		t.offset = offset
	} else if t.csv {
		t.rows = nil // a CSV reader does not go on behind an end of file
	}
	return value, err
}

func (t *tailed) begin() error {
	if t.csv {
		if _, err := t.file.Seek(0, io.SeekStart); err != nil {
			return err
		}
		rows, err := newTable(t.file, t.offset)
		if err != nil {
			return err
		}
		t.rows = rows
		return nil
	}
	if _, err := t.file.Seek(t.offset, io.SeekStart); err != nil {
		return err
	}
	t.rows = newLines(t.file, t.offset)
	return nil
}

// position is where the file stands.
func (t *tailed) position() (position, error) {
	p := position{Version: positionVersion, Offset: t.offset, Head: min(t.offset, headBytes)}
	var err error
	if p.Sum, err = headSum(t.file, p.Head); err != nil {
		return p, fmt.Errorf("sum up the head of %s: %w", t.name, err)
	}
	return p, nil
}

// is tells whether info is of the open file.
func (t *tailed) is(info os.FileInfo) bool {
	open, err := t.file.Stat()
	return err == nil && os.SameFile(open, info)
}

// size is the file's size as it is open.
func (t *tailed) size() int64 {
	info, err := t.file.Stat()
	if err != nil {
		return 0
	}
	return info.Size()
}

// replaced tells whether another file has the name now, or the file was cut below where it was read.
func (t *tailed) replaced() (bool, error) {
	open, err := t.file.Stat()
	if err != nil {
		return false, err
	}
	now, err := os.Stat(t.name)
	if errors.Is(err, os.ErrNotExist) {
		return false, nil // renamed, and the new one is not there yet
	}
	if err != nil {
		return false, err
	}
	return !os.SameFile(open, now) || now.Size() < t.offset, nil
}
