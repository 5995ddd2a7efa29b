package stdout

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"syscall"

	"github.com/milldam/milldam/connect"
)

// Config is what `sink: stdout:` takes.
type Config struct {
	Format string `yaml:"format" default:"value" enum:"value,key-value,json" doc:"value: the value; key-value: key, tab, value; json: the whole record as an object"`
}

// Plugin is the stdout connector.
func Plugin() connect.Plugin {
	return connect.WithSink(connect.Plugin{
		Name: "stdout", Doc: "Lines on standard output.", Repeat: "a line that is printed again, as after a crash, is there twice",
	}, func(c Config) (connect.Sink, error) { return New(c, os.Stdout), nil })
}

// Sink prints records, a line each, and acknowledges what out took.
type Sink struct {
	config Config
	out    io.Writer
	task   connect.SinkTask
	left   chan error // of a write that goes on although its Write returned
}

// New returns a sink that prints to out.
func New(c Config, out io.Writer) *Sink { return &Sink{config: c, out: out} }

// Open has nothing to connect to.
func (s *Sink) Open(_ context.Context, task connect.SinkTask) error {
	s.task = task
	return nil
}

// Write prints the batch.
func (s *Sink) Write(ctx context.Context, b connect.SinkBatch) error {
	if s.left != nil {
		// What it printed comes again with the batch: it was not acknowledged.
		if err := s.wait(ctx, s.left); err != nil {
			return err
		}
		s.left = nil
	}
	var text []byte
	for i := range b.Records {
		var err error
		if text, err = s.appendLine(text, &b.Records[i]); err != nil {
			return fmt.Errorf("print %s-%d at offset %d: %w", b.Topic, b.Partition, b.Records[i].Offset, err)
		}
	}
	if len(text) > 0 {
		done := make(chan error, 1) // the write can leave its result although nobody waits for it
		go func() {
			_, err := s.out.Write(text)
			done <- err
		}()
		if err := s.wait(ctx, done); err != nil {
			return err
		}
	}
	s.task.Ack(b.TopicPartition, b.Next)
	return nil
}

// wait waits for a write, or leaves it to itself when ctx ends.
func (s *Sink) wait(ctx context.Context, done chan error) error {
	select {
	case err := <-done:
		s.left = nil
		return explain(err)
	case <-ctx.Done():
		s.left = done
		return ctx.Err()
	}
}

func explain(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, syscall.EPIPE), errors.Is(err, os.ErrClosed):
		return connect.Permanent(fmt.Errorf("write to standard output: %w; who read it is gone", err))
	case errors.Is(err, syscall.ENOSPC):
		return fmt.Errorf("write to standard output: %w; make room there, and it goes on by itself", err)
	}
	return connect.Permanent(fmt.Errorf("write to standard output: %w", err))
}

// Flush has nothing to do: what Write took is printed.
func (s *Sink) Flush(context.Context, connect.FlushReason) error { return nil }

// Buffered is 0: Write keeps nothing.
func (s *Sink) Buffered() int64 { return 0 }

// Revoke has nothing to forget.
func (s *Sink) Revoke([]connect.TopicPartition) {}

// Close leaves standard output open.
func (s *Sink) Close() error { return nil }
