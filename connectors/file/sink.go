package file

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"sync"

	"github.com/milldam/milldam/connect"
	"github.com/milldam/milldam/core/vfs"
)

// bufferBytes is how many bytes of lines are kept at most before they are written; one batch may exceed it.
const bufferBytes = 4 << 20

// Sink appends values to a file. See the package comment.
type Sink struct {
	config   SinkConfig
	task     connect.SinkTask
	file     *appendFile
	lines    []chunk
	buffered int64
	next     map[connect.TopicPartition]int64 // to acknowledge once lines are synced

	turn   chan struct{} // held by every method; a channel, since it is held while files are written
	closed bool
	once   sync.Once
}

// chunk is the lines of one batch.
type chunk struct {
	part connect.TopicPartition
	text []byte
}

// NewSink returns the sink of a configuration.
func NewSink(c SinkConfig) (connect.Sink, error) { return newSink(c, vfs.OS()), nil }

func newSink(c SinkConfig, fsys vfs.FS) *Sink {
	return &Sink{config: c, file: &appendFile{fs: fsys, path: c.Path}, next: map[connect.TopicPartition]int64{}, turn: make(chan struct{}, 1)}
}

// enter takes the turn; the result gives it back.
func (s *Sink) enter(ctx context.Context) (leave func(), err error) {
	select {
	case s.turn <- struct{}{}:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	leave = func() { <-s.turn }
	switch {
	case ctx.Err() != nil:
		err = ctx.Err()
	case s.closed:
		err = fmt.Errorf("the file sink: %w", os.ErrClosed)
	default:
		return leave, nil
	}
	leave()
	return nil, err
}

// Open makes the file where it is not there, locks it, and cuts half a line off its end.
func (s *Sink) Open(ctx context.Context, task connect.SinkTask) error {
	leave, err := s.enter(ctx)
	if err != nil {
		return err
	}
	defer leave()
	s.task, s.file.log = task, task.Logger
	return s.file.open()
}

var (
	errTombstone = errors.New("a record without a value, and on_tombstone is fail")
	errEmpty     = errors.New("the value is empty: its line would be no record")
	errLines     = errors.New("the value has line ends and is no JSON, so it does not fit on one line")
)

// Write keeps the lines of the batch.
func (s *Sink) Write(ctx context.Context, b connect.SinkBatch) error {
	leave, err := s.enter(ctx)
	if err != nil {
		return err
	}
	defer leave()
	if s.buffered >= bufferBytes { // before the batch is taken over: it comes again after an error
		if err := s.flush(); err != nil {
			return err
		}
	}
	text, failed := s.format(b.Records)
	if len(text) > 0 {
		s.lines = append(s.lines, chunk{b.TopicPartition, text})
		s.buffered += int64(len(text))
	}
	if len(failed) > 0 {
		return &connect.BatchError{Records: failed}
	}
	s.next[b.TopicPartition] = b.Next
	return nil
}

// format returns the lines of those records that can be written.
func (s *Sink) format(records []connect.Record) (text []byte, failed []connect.RecordError) {
	size := 0
	for i := range records {
		size += len(records[i].Value) + 1
	}
	text = make([]byte, 0, size)
	for i := range records {
		value := records[i].Value
		var err error
		switch {
		case value == nil && s.config.OnTombstone == "fail":
			err = errTombstone
		case value == nil:
			continue
		case len(value) == 0:
			err = errEmpty
		case bytes.IndexByte(value, '\n') >= 0:
			if value, err = oneLine(value); err != nil {
				err = errLines
			}
		}
		if err != nil {
			failed = append(failed, connect.RecordError{Index: i, Outcome: connect.Poison, Err: err})
			continue
		}
		text = append(append(text, value...), '\n')
	}
	return text, failed
}

// oneLine takes the line ends out of JSON.
func oneLine(value []byte) ([]byte, error) {
	var out bytes.Buffer
	err := json.Compact(&out, value)
	return out.Bytes(), err
}

// Flush writes and syncs the lines that are kept, for any reason, and acknowledges them.
func (s *Sink) Flush(ctx context.Context, _ connect.FlushReason) error {
	leave, err := s.enter(ctx)
	if err != nil {
		return err
	}
	defer leave()
	return s.flush()
}

func (s *Sink) flush() error {
	if len(s.lines) > 0 {
		texts := make([][]byte, len(s.lines))
		for i, l := range s.lines {
			texts[i] = l.text
		}
		if err := s.file.append(texts); err != nil {
			return err
		}
		s.lines, s.buffered = nil, 0
	}
	for part, next := range s.next {
		s.task.Ack(part, next)
	}
	clear(s.next)
	return nil
}

// Buffered is the memory the kept lines take.
func (s *Sink) Buffered() int64 { return s.buffered }

// Revoke forgets the lines of partitions that belong to another task.
func (s *Sink) Revoke(parts []connect.TopicPartition) {
	for _, part := range parts {
		delete(s.next, part)
	}
	s.lines = slices.DeleteFunc(s.lines, func(l chunk) bool {
		revoked := slices.Contains(parts, l.part)
		if revoked {
			s.buffered -= int64(len(l.text))
		}
		return revoked
	})
}

// Close closes the file. Lines that are kept are forgotten: they were not acknowledged.
func (s *Sink) Close() error {
	var err error
	s.once.Do(func() {
		s.turn <- struct{}{}
		defer func() { <-s.turn }()
		s.closed = true
		err = s.file.close()
	})
	return err
}
