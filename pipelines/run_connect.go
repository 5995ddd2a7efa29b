package pipelines

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"time"

	"github.com/milldam/milldam/connect"
	"github.com/milldam/milldam/connect/expression"
	"github.com/milldam/milldam/connect/worker"
)

// connectRunner runs a source hop or a sink hop on connect/worker.
type connectRunner struct {
	task interface {
		Run(ctx context.Context) error
		Progress() worker.Progress
	}
}

func (e *environment) newSourceRunner(s *Spec, h *hop, log *slog.Logger) (runner, error) {
	source, err := s.Source.Connector.Plugin.NewSource(s.Source.Connector.Config)
	if err != nil {
		return nil, connect.Permanent(fmt.Errorf("source %s: %w", h.Connector, err))
	}
	c := newChain(s, h.first, h.last, expression.NewRuntime(rand.Uint64()))
	if !h.Internal {
		c.addSink(s)
	}
	return &connectRunner{worker.NewSourceTask(worker.SourceOptions{
		Pipeline: s.Name, Client: e.opts.Client, Topic: h.Write, Source: source, Transform: c.apply, Errors: s.Errors.worker(),
		ExactlyOnce: s.Delivery == ExactlyOnce, Logger: log,
	})}, nil
}

func (e *environment) newSinkRunner(s *Spec, h *hop, log *slog.Logger) (runner, error) {
	sink, err := s.Sink.Connector.Plugin.NewSink(s.Sink.Connector.Config)
	if err != nil {
		return nil, connect.Permanent(fmt.Errorf("sink %s: %w", h.Connector, err))
	}
	o := worker.SinkOptions{
		Pipeline: s.Name, Client: e.opts.Client, Group: h.Group, Topics: h.Read, Sink: sink, Errors: s.Errors.worker(),
		ReadUncommitted: s.readsUncommitted(h.Hop),
		MemoryBytes:     e.opts.MemoryBytes / e.shares, Logger: log,
	}
	if e.opts.InstanceID != "" {
		o.InstanceID = e.opts.InstanceID + "-" + h.Group
	}
	if h.last > h.first {
		o.Transform = newChain(s, h.first, h.last, expression.NewRuntime(rand.Uint64())).apply
	}
	return &connectRunner{worker.NewSinkTask(o)}, nil
}

func (p ErrorPolicy) worker() worker.Errors {
	e := worker.Errors{RetryFor: time.Duration(p.Retry.For), First: p.Retry.Backoff.First, Longest: p.Retry.Backoff.Longest}
	if p.DeadLetter != nil {
		e.DeadLetter = p.DeadLetter.Topic
	}
	return e
}

// Run runs the connector until ctx ends, the source ends, or it cannot go on.
func (r *connectRunner) Run(ctx context.Context) error { return r.task.Run(ctx) }

// Progress returns the counts of the connector.
func (r *connectRunner) Progress() Progress {
	p := r.task.Progress()
	return Progress{
		In: p.In, Out: p.Out, Dropped: p.Dropped, Dead: p.Dead, Retries: p.Retries, Done: p.Done, Total: p.Total, Ended: p.Ended, Failure: p.Failure,
	}
}
