package pipelines

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"sync/atomic"

	"github.com/milldam/milldam/connect/expression"
	"github.com/milldam/milldam/streams"
)

// streamRunner runs a stream hop on the engine of the streams package.
type streamRunner struct {
	topology *streams.Topology
	options  streams.Options
	worker   atomic.Pointer[streams.Worker]
}

func (e *environment) newStreamRunner(s *Spec, h *hop, log *slog.Logger) (runner, error) {
	newRuntime := func() *expression.Runtime { return expression.NewRuntime(rand.Uint64()) }
	topology, err := buildTopology(s, h.Hop, topologyOptions{newRuntime: newRuntime, onError: s.deadLetters()})
	if err != nil {
		return nil, err
	}
	o := streams.Options{Client: e.opts.Client, ApplicationID: h.Group, Logger: log, ReplicationFactor: h.create.Replicas, ReadUncommitted: s.readsUncommitted(h.Hop)}
	if s.Delivery == ExactlyOnce {
		o.Delivery = streams.ExactlyOnce
	}
	if e.opts.InstanceID != "" {
		o.InstanceID = e.opts.InstanceID + "-" + h.Group
	}
	return &streamRunner{topology: topology, options: o}, nil
}

// Run runs the topology until ctx ends or a record fails.
func (r *streamRunner) Run(ctx context.Context) error {
	w, err := streams.Start(ctx, r.topology, r.options)
	if err != nil {
		return err
	}
	r.worker.Store(w)
	return w.Wait()
}

// Progress returns the counts of the worker. Its in counts what it reads back from its own repartition topics as well.
func (r *streamRunner) Progress() Progress {
	w := r.worker.Load()
	if w == nil {
		return Progress{}
	}
	m := w.Metrics()
	dead := m.DeadLettered.Load()
	p := Progress{
		In: m.RecordsIn.Load(), Out: m.RecordsOut.Load() - dead, Dropped: m.DroppedNull.Load() + m.Skipped.Load(),
		Dead: dead, Late: m.Late.Load(), Retries: m.Retried.Load(),
	}
	if state := w.Status().State; state != "running" && state != "starting" {
		p.Failure = state
	}
	return p
}
