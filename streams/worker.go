package streams

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/milldam/milldam/core/client"
)

// Worker runs tasks of a topology as a member of its consumer group.
type Worker struct {
	topology *Topology
	options  Options
	name     string // in transactional ids
	metrics  Metrics
	asker    *kgo.Client     // asks, creates and purges
	admin    *kadm.Client    // of asker
	hard     context.Context // ends when all must stop, and what is not committed is given up
	kill     context.CancelFunc
	stopping chan struct{} // closed when the worker is to drain
	stop     func()
	done     chan struct{}

	mu struct {
		sync.Mutex
		err    error
		status string
		member *member // nil until the first one
	}
}

// Start starts a worker. It returns at once: topics that do not exist yet and a cluster that does not answer are waited for. The
// worker drains and stops when ctx ends, or when Close is called; it stops by itself when a record fails, see Wait.
func Start(ctx context.Context, t *Topology, o Options) (*Worker, error) {
	o = o.withDefaults()
	if err := o.Validate(); err != nil {
		return nil, err
	}
	if err := t.Build(); err != nil {
		return nil, err
	}
	asker, err := client.New(o.Client, kgo.MetadataMinAge(askedAge))
	if err != nil {
		return nil, err
	}
	w := &Worker{topology: t, options: o, name: o.workerName(), asker: asker, admin: kadm.NewClient(asker), stopping: make(chan struct{}), done: make(chan struct{})}
	w.hard, w.kill = context.WithCancel(context.WithoutCancel(ctx))
	w.stop = sync.OnceFunc(func() { close(w.stopping) })
	w.setStatus("starting")
	detach := context.AfterFunc(ctx, w.stop)
	go func() {
		defer detach()
		w.run()
	}()
	return w, nil
}

// Run is Start and Wait: it returns when ctx has ended and all is committed, or when a record failed.
func (t *Topology) Run(ctx context.Context, o Options) error {
	w, err := Start(ctx, t, o)
	if err != nil {
		return err
	}
	return w.Wait()
}

// Wait waits until the worker has stopped, and returns why if it was not told to.
func (w *Worker) Wait() error {
	<-w.done
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.mu.err
}

// Close lets the worker finish the records it is at and commit, and returns when it has stopped. Without an instance id the
// worker leaves its group, with one its tasks are kept for it.
func (w *Worker) Close() error {
	w.stop()
	return w.Wait()
}

// Metrics are the counts of this worker.
func (w *Worker) Metrics() *Metrics { return &w.metrics }

// Status says what a worker is doing.
type Status struct {
	// State is "running", or what the worker is waiting for.
	State   string
	Tasks   int
	Inputs  []InputStatus
	Stopped bool
}

// InputStatus is how far a partition is processed.
type InputStatus struct {
	Topic     string
	Partition int32
	Position  int64 // of the next record to be processed
	End       int64 // of the log, as far as is known
}

// Status returns what the worker is doing now.
func (w *Worker) Status() Status {
	w.mu.Lock()
	s, m := Status{State: w.mu.status}, w.mu.member
	w.mu.Unlock()
	if m != nil {
		s.Tasks, s.Inputs = m.status()
	}
	select {
	case <-w.done:
		s.Stopped = true
	default:
	}
	return s
}

func (w *Worker) setStatus(s string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.mu.status = s
}

// fail stops the worker because of err. Only the first error counts.
func (w *Worker) fail(err error) {
	w.mu.Lock()
	if w.mu.err == nil {
		w.mu.err = err
		w.mu.status = err.Error()
	}
	w.mu.Unlock()
	w.stop()
}

// rejoinPause is the time between the end of a membership that a transaction ended and the next one.
const rejoinPause = 100 * time.Millisecond

// run is the goroutine of the worker.
func (w *Worker) run() {
	defer close(w.done)
	defer w.kill()
	defer w.admin.Close()
	soft, cancel := context.WithCancel(w.hard)
	defer cancel()
	go func() {
		select {
		case <-w.stopping:
			cancel()
		case <-soft.Done():
		}
	}()
	plan, err := w.makePlan(soft)
	for err == nil {
		err = w.runMember(soft, plan)
		if lost := (*transactionError)(nil); errors.As(err, &lost) {
			w.metrics.Aborts.Add(1)
			w.options.Logger.Warn("begins again from what is committed", "application", w.options.ApplicationID, "error", err)
			w.setStatus(err.Error())
			err = sleep(soft, rejoinPause)
		}
	}
	if soft.Err() == nil {
		w.fail(err)
	}
}

// runMember is one membership in the group: until ctx ends, or with the error that ended it.
func (w *Worker) runMember(ctx context.Context, plan *plan) error {
	m, err := newMember(w, plan)
	if err != nil {
		return err
	}
	w.mu.Lock()
	w.mu.member, w.mu.status = m, "running"
	w.mu.Unlock()
	if err := m.run(ctx); err != nil {
		return err
	}
	return ctx.Err()
}
