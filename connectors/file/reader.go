package file

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/milldam/milldam/connect"
)

// limits bound a batch.
type limits struct {
	chunkBytes   int // of a file read at once; a line that is longer takes more
	batchRecords int
	lineBytes    int
}

// Limits of a batch: small enough that positions, and so the repetition after a crash, move often.
const (
	chunkBytes   = 256 << 10
	batchRecords = 10_000
)

// reader reads the records of one file from an offset on.
type reader struct {
	path string
	file *os.File
	info os.FileInfo // of when it was opened: says which file it is
	csv  *csvRows    // nil for NDJSON
	limits

	offset int64    // of the first byte not delivered
	line   int64    // lines before offset
	rest   []byte   // what was read from offset on; the memory before it belongs to records
	marked position // what mark returned last
}

// byteOrderMark stands at the start of files from some editors and spreadsheets.
var byteOrderMark = []byte("\xef\xbb\xbf")

// isCSV tells whether a file is CSV. By its name it is where that has .csv in it, as a.csv and the a.csv.1 it is renamed to.
func isCSV(path, format string) bool {
	return format == "csv" || format == "auto" && strings.Contains(filepath.Base(path), ".csv")
}

// openReader opens a regular file.
func openReader(path, format string, l limits) (*reader, error) {
	info, err := os.Stat(path) // before opening it: that would wait for ever on a named pipe
	if err != nil {
		return nil, err
	}
	if err := checkRegular(path, info); err != nil {
		return nil, err
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	if info, err = f.Stat(); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	r := &reader{path: path, file: f, info: info, limits: l}
	if isCSV(path, format) {
		r.csv = &csvRows{}
	}
	return r, nil
}

func checkRegular(path string, info os.FileInfo) error {
	switch {
	case info.IsDir():
		return connect.Permanent(fmt.Errorf("%s is a folder; name the files in it in source.file.path, as in %s", path, filepath.Join(path, "*.ndjson")))
	case !info.Mode().IsRegular():
		return connect.Permanent(fmt.Errorf("%s is no regular file (%s), which could not be read again after a crash", path, info.Mode().Type()))
	}
	return nil
}

// resume goes to a position that matches the file.
func (r *reader) resume(p position) error {
	for r.csv != nil && r.csv.columns == nil && p.Offset > 0 {
		_, length, err := r.next(false)
		if err != nil {
			return err
		}
		if r.take(length); length > 0 {
			continue
		}
		if more, err := r.fill(); err != nil || !more {
			return err
		}
	}
	r.offset, r.line, r.rest = p.Offset, p.Line, nil
	return nil
}

// restart goes back to the start, for a file that has become another one.
func (r *reader) restart() {
	r.offset, r.line, r.rest = 0, 0, nil
	if r.csv != nil {
		r.csv = &csvRows{}
	}
}

// batch returns the next records and the position behind them, no records at the end of the file. A last line without a line end is one of
// them when finished says that no more of it will come. After an error the same records come again.
func (r *reader) batch(finished bool) (connect.SourceBatch, error) {
	offset, line, rest := r.offset, r.line, r.rest
	b := connect.SourceBatch{Partition: r.path}
	var err error
	if b.Records, err = r.read(finished); err != nil || len(b.Records) == 0 {
		return b, err
	}
	if b.Position, err = r.mark(); err != nil {
		r.offset, r.line, r.rest = offset, line, rest
	}
	return b, err
}

// mark is the position of the next record, as it is stored.
func (r *reader) mark() ([]byte, error) {
	f, err := fingerprint(r.file, r.offset)
	if err != nil {
		return nil, fmt.Errorf("read the %d bytes of %s again that were read before: %w", r.offset, r.path, err)
	}
	r.marked = position{Version: positionVersion, Offset: r.offset, Line: r.line, Fingerprint: f}
	return json.Marshal(r.marked)
}

func (r *reader) read(finished bool) ([]connect.Record, error) {
	for {
		records, err := r.decode(false)
		if len(records) > 0 || err != nil {
			return records, err
		}
		more, err := r.fill()
		switch {
		case err != nil:
			return nil, err
		case !more && finished:
			return r.decode(true)
		case !more:
			return nil, nil
		}
	}
}

// fill reads on; more is false at the end of the file.
func (r *reader) fill() (more bool, err error) {
	info, err := r.file.Stat()
	if err != nil {
		return false, err
	}
	held := len(r.rest)
	start := r.offset + int64(held)
	length := min(int64(max(r.chunkBytes, held)), info.Size()-start) // doubling, for long lines
	if length <= 0 {
		return false, nil
	}
	buf := make([]byte, int64(held)+length)
	copy(buf, r.rest)
	n, err := r.file.ReadAt(buf[held:], start)
	if err != nil && !errors.Is(err, io.EOF) {
		return false, fmt.Errorf("read %s at byte %d: %w", r.path, start, err)
	}
	r.rest = buf[: held+n : held+n]
	return n > 0, nil
}

// decode takes whole lines or rows off rest. Those before a bad one are returned without error: it comes with the next call.
func (r *reader) decode(finished bool) ([]connect.Record, error) {
	var records []connect.Record
	for len(records) < r.batchRecords {
		value, length, err := r.next(finished)
		if err != nil && len(records) == 0 {
			return nil, connect.Permanent(fmt.Errorf("%s:%d: %w", r.path, r.line+1, err))
		}
		if err != nil || length == 0 {
			break
		}
		r.take(length)
		if value != nil {
			records = append(records, connect.Record{Value: value})
		}
	}
	return records, nil
}

// next returns the value at the start of rest and how many bytes it takes there: none when rest does not hold all of it. A header or an
// empty line has no value.
func (r *reader) next(finished bool) (value []byte, length int, err error) {
	if r.csv != nil {
		length = rowEnd(r.rest)
	} else {
		length = bytes.IndexByte(r.rest, '\n') + 1
	}
	whole := length > 0
	if !whole {
		length = len(r.rest)
	}
	switch {
	case length > r.lineBytes+len("\r\n"):
		if r.csv != nil {
			return nil, 0, fmt.Errorf("the row is longer than %d bytes; raise source.file.max_line, or close the quote that is open in it", r.lineBytes)
		}
		return nil, 0, fmt.Errorf("the line is longer than %d bytes; raise source.file.max_line, or mend the file", r.lineBytes)
	case !whole && !finished:
		return nil, 0, nil
	}
	line := r.rest[:length:length]
	if r.offset == 0 {
		line = bytes.TrimPrefix(line, byteOrderMark)
	}
	switch {
	case r.csv == nil:
		if value = bytes.TrimSuffix(bytes.TrimSuffix(line, []byte("\n")), []byte("\r")); len(bytes.TrimSpace(value)) == 0 {
			value = nil
		}
	case r.csv.columns == nil:
		err = r.csv.header(line)
	default:
		value, err = r.csv.value(line)
	}
	if err != nil {
		err = fmt.Errorf("%w; mend it, and start the pipeline again: it goes on there", err)
	}
	return value, length, err
}

// take passes over the first bytes of rest.
func (r *reader) take(length int) {
	r.line += int64(bytes.Count(r.rest[:length], []byte("\n")))
	r.offset += int64(length)
	r.rest = r.rest[length:]
}
