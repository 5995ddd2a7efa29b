package file

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"syscall"

	"github.com/milldam/milldam/connect"
)

// Sink appends values to a file. See the package comment.
type Sink struct {
	config SinkConfig
	task   connect.SinkTask
	file   *os.File
	size   int64
	buf    bytes.Buffer
}

// NewSink returns the sink of a configuration.
func NewSink(c SinkConfig) (connect.Sink, error) { return &Sink{config: c}, nil }

// Open opens the file for writing, and cuts half a line at its end.
func (s *Sink) Open(_ context.Context, task connect.SinkTask) error {
	s.task = task
	dir := filepath.Dir(s.config.Path)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return s.explain(err)
	}
	var err error
	if s.file, err = os.OpenFile(s.config.Path, os.O_RDWR|os.O_CREATE, 0o644); err != nil {
		return s.explain(err)
	}
	if err := syncFolder(dir); err != nil {
		return s.explain(err)
	}
	return s.cutHalfLine()
}

// cutHalfLine makes the file end where its last whole line does.
func (s *Sink) cutHalfLine() error {
	info, err := s.file.Stat()
	if err != nil {
		return s.explain(err)
	}
	block := make([]byte, readBufferBytes)
	for end := info.Size(); end > 0; {
		start := max(end-int64(len(block)), 0)
		part := block[:end-start]
		if _, err := io.ReadFull(io.NewSectionReader(s.file, start, end-start), part); err != nil {
			return s.explain(err)
		}
		if i := bytes.LastIndexByte(part, '\n'); i >= 0 {
			s.size = start + int64(i) + 1
			break
		}
		end = start
	}
	if s.size < info.Size() {
		s.task.Logger.Warn("half a line at the end of the file is cut", "file", s.config.Path, "bytes", info.Size()-s.size)
		return s.explain(s.file.Truncate(s.size))
	}
	return nil
}

var errTombstone = errors.New("a tombstone has no value to write")

// Write appends the batch, syncs and acknowledges it.
func (s *Sink) Write(_ context.Context, b connect.SinkBatch) error {
	var failed []connect.RecordError
	s.buf.Reset()
	for i := range b.Records {
		if err := s.add(b.Records[i].Value); err != nil {
			failed = append(failed, connect.RecordError{Index: i, Outcome: connect.Poison, Err: err})
		}
	}
	if s.buf.Len() > 0 {
		if err := s.append(); err != nil {
			return err
		}
	}
	if len(failed) > 0 {
		return &connect.BatchError{Records: failed}
	}
	s.task.Ack(b.TopicPartition, b.Next)
	return nil
}

// add puts a value into the buffer as one line.
func (s *Sink) add(value []byte) error {
	if value == nil {
		return errTombstone
	}
	before := s.buf.Len()
	if err := json.Compact(&s.buf, value); err != nil {
		s.buf.Truncate(before)
		return fmt.Errorf("the value %.60q is no JSON: %w", value, err)
	}
	return s.buf.WriteByte('\n')
}

// append makes the buffer durable at the end of the file, whole or not at all.
func (s *Sink) append() error {
	n, err := s.file.WriteAt(s.buf.Bytes(), s.size)
	if err == nil {
		err = s.file.Sync()
	}
	if err != nil {
		return errors.Join(s.explain(err), s.file.Truncate(s.size))
	}
	s.size += int64(n)
	return nil
}

// explain adds to an error of the file what to do. What its owner must mend is permanent.
func (s *Sink) explain(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, os.ErrPermission), errors.Is(err, syscall.ENOTDIR), errors.Is(err, syscall.EISDIR), errors.Is(err, syscall.EROFS):
		return connect.Permanent(fmt.Errorf("write %s: %w; let the user that runs milldam write there, or correct sink.file.path", s.config.Path, err))
	case errors.Is(err, syscall.ENOSPC):
		return fmt.Errorf("write %s: %w; it goes on when there is room again", s.config.Path, err)
	}
	return fmt.Errorf("write %s: %w", s.config.Path, err)
}

func syncFolder(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// Flush has nothing to do: what Write took is written.
func (s *Sink) Flush(context.Context, connect.FlushReason) error { return nil }

// Buffered is 0: Write keeps nothing.
func (s *Sink) Buffered() int64 { return 0 }

// Revoke has nothing to forget.
func (s *Sink) Revoke([]connect.TopicPartition) {}

// Close closes the file.
func (s *Sink) Close() error {
	if s.file == nil {
		return nil
	}
	return s.file.Close()
}
