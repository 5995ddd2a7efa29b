package stdout

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/milldam/milldam/connect"
)

// Config is what `sink: stdout:` takes.
type Config struct {
	Format string `yaml:"format" default:"value" enum:"value,key-value,json" doc:"value: the value; key-value: key, tab, value; json: the whole record as an object"`
}

// Plugin is the stdout connector.
func Plugin() connect.Plugin {
	return connect.WithSink(connect.Plugin{Name: "stdout", Doc: "Lines on standard output."}, func(c Config) (connect.Sink, error) { return New(c, os.Stdout), nil })
}

// Sink prints records, a line each, and acknowledges what out took.
type Sink struct {
	config Config
	out    io.Writer
	task   connect.SinkTask
	buf    bytes.Buffer
}

// New returns a sink that prints to out.
func New(c Config, out io.Writer) *Sink { return &Sink{config: c, out: out} }

// Open has nothing to connect to.
func (s *Sink) Open(_ context.Context, task connect.SinkTask) error {
	s.task = task
	return nil
}

// line is a record as the format json prints it. Value is JSON where the record's is, else text.
type line struct {
	Topic     string            `json:"topic"`
	Partition int32             `json:"partition"`
	Offset    int64             `json:"offset"`
	Timestamp time.Time         `json:"timestamp"`
	Key       *string           `json:"key"`
	Value     any               `json:"value"`
	Headers   map[string]string `json:"headers,omitempty"`
}

// Write prints the batch.
func (s *Sink) Write(_ context.Context, b connect.SinkBatch) error {
	s.buf.Reset()
	for i := range b.Records {
		if err := s.add(&b.Records[i]); err != nil {
			return err
		}
	}
	if _, err := s.out.Write(s.buf.Bytes()); err != nil {
		return connect.Permanent(fmt.Errorf("write to standard output: %w", err))
	}
	s.task.Ack(b.TopicPartition, b.Next)
	return nil
}

func (s *Sink) add(r *connect.Record) error {
	switch s.config.Format {
	case "json":
		text, err := json.Marshal(asLine(r))
		if err != nil {
			return fmt.Errorf("print %s-%d at offset %d: %w", r.Topic, r.Partition, r.Offset, err)
		}
		s.buf.Write(text)
	case "key-value":
		s.buf.Write(r.Key)
		s.buf.WriteByte('\t')
		s.buf.Write(r.Value)
	default:
		s.buf.Write(r.Value)
	}
	return s.buf.WriteByte('\n')
}

func asLine(r *connect.Record) line {
	l := line{Topic: r.Topic, Partition: r.Partition, Offset: r.Offset, Timestamp: r.Timestamp.UTC()}
	if r.Key != nil {
		key := string(r.Key)
		l.Key = &key
	}
	switch {
	case r.Value == nil:
	case json.Valid(r.Value):
		l.Value = json.RawMessage(r.Value)
	default:
		l.Value = string(r.Value)
	}
	for _, h := range r.Headers {
		if l.Headers == nil {
			l.Headers = map[string]string{}
		}
		l.Headers[h.Key] = string(h.Value)
	}
	return l
}

// Flush has nothing to do: what Write took is printed.
func (s *Sink) Flush(context.Context, connect.FlushReason) error { return nil }

// Buffered is 0: Write keeps nothing.
func (s *Sink) Buffered() int64 { return 0 }

// Revoke has nothing to forget.
func (s *Sink) Revoke([]connect.TopicPartition) {}

// Close leaves standard output open.
func (s *Sink) Close() error { return nil }
