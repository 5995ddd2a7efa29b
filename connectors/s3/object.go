package s3

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/milldam/milldam/connect"
	"github.com/milldam/milldam/connect/format"
)

const (
	// maxKeyBytes is how long S3 lets a key be.
	maxKeyBytes = 1024
	// maxNameBytes is the most behind the folder: a topic of 249 bytes, a partition, an offset and an extension.
	maxNameBytes = 1 + 249 + 1 + 10 + 1 + 19 + 1 + 9
	// maxFolderBytes is what is left for the folder.
	maxFolderBytes = maxKeyBytes - maxNameBytes
	// objectOverhead is about what an open object takes beside its rows.
	objectOverhead = 512
)

// objectKey tells which open object a record belongs to.
type objectKey struct {
	part connect.TopicPartition
	path string
}

// object is one open object.
type object struct {
	objectKey
	first  int64 // offset of its first record
	opened time.Time
	rows   encoder
	// body is the encoded object once it was closed; it takes the place of rows while its upload is tried.
	body     []byte
	bodyRows int
}

// encoder collects the rows of an object.
type encoder interface {
	// Append adds a record's value. An error means that this record can never be a row, and leaves the rows as they were.
	Append(value []byte) error
	Rows() int
	Bytes() int64
	// Encode returns the object's content.
	Encode() ([]byte, error)
}

func (o *object) key(extension string) string {
	return fmt.Sprintf("%s/%s-%d-%d.%s", o.path, o.part.Topic, o.part.Partition, o.first, extension)
}

// bytes is the memory the object holds.
func (o *object) bytes() int64 {
	if o.rows == nil {
		return objectOverhead + int64(len(o.body))
	}
	return objectOverhead + o.rows.Bytes()
}

// full tells whether the object has to be closed by its size or number of records.
func (o *object) full(r Rotate) bool {
	return o.rows.Bytes() >= int64(r.Size) || o.rows.Rows() >= r.Records
}

// lines is the NDJSON encoder.
type lines struct {
	gzip bool
	buf  bytes.Buffer
	rows int
}

func (l *lines) Append(value []byte) error {
	if value == nil {
		return format.ErrTombstone
	}
	before := l.buf.Len()
	if err := json.Compact(&l.buf, value); err != nil {
		l.buf.Truncate(before)
		return fmt.Errorf("the value is no JSON: %w", err)
	}
	l.buf.WriteByte('\n')
	l.rows++
	return nil
}

func (l *lines) Rows() int    { return l.rows }
func (l *lines) Bytes() int64 { return int64(l.buf.Len()) }

func (l *lines) Encode() ([]byte, error) {
	if !l.gzip {
		return l.buf.Bytes(), nil
	}
	var out bytes.Buffer
	w := gzip.NewWriter(&out)
	_, err := w.Write(l.buf.Bytes())
	return out.Bytes(), errors.Join(err, w.Close())
}
