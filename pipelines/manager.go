package pipelines

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/milldam/milldam/connect"
	"github.com/milldam/milldam/core/client"
)

// Options say where pipelines run.
type Options struct {
	Client client.Options
	// InstanceID is a name of this process that stays the same over restarts, so that a restarted one takes its place in the
	// consumer groups again at once. Empty: it joins as a new member.
	InstanceID string
	Logger     *slog.Logger
	// MemoryBytes is what all sinks together may hold; 0 is DefaultMemoryBytes.
	MemoryBytes int64
}

// DefaultMemoryBytes bounds what the sinks of all pipelines hold together.
const DefaultMemoryBytes = 256 << 20

// Pauses before a hop that failed is started again: the first, and the longest.
const (
	firstRestartPause   = 500 * time.Millisecond
	longestRestartPause = 15 * time.Second
)

func (o Options) withDefaults() Options {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.MemoryBytes == 0 {
		o.MemoryBytes = DefaultMemoryBytes
	}
	return o
}

// Manager runs a set of pipelines.
type Manager struct {
	opts      Options
	pipelines []*pipeline
	env       *environment

	cancel  context.CancelFunc
	started bool
	running sync.WaitGroup
}

// pipeline is a pipeline that runs.
type pipeline struct {
	spec *Spec
	hops []*hop
	// ended is closed when the source came to its end and everything of it is acknowledged.
	ended chan struct{}
	once  sync.Once
}

// hop is a hop that runs, again and again when it fails.
type hop struct {
	Hop
	tracker
	current atomic.Pointer[runner]
	lag     atomic.Int64 // of the topics read; -1 when not known
}

// runner is one run of a hop.
type runner interface {
	// Run runs until ctx ends, which is no error and leaves everything acknowledged that was written; until the source ends; or until it
	// cannot go on.
	Run(ctx context.Context) error
	Progress() Progress
}

// NewManager returns a manager of specs, which Load returned without errors.
func NewManager(specs []*Spec, o Options) (*Manager, error) {
	m := &Manager{opts: o.withDefaults()}
	m.env = &environment{opts: m.opts, shares: m.shares(specs)}
	names := map[string]bool{}
	for _, s := range specs {
		if names[s.Name] {
			return nil, fmt.Errorf("pipeline %s is there twice", s.Name)
		}
		names[s.Name] = true
		p := &pipeline{spec: s, ended: make(chan struct{})}
		for _, h := range s.Plan().Hops {
			running := &hop{Hop: h}
			running.set(Stopped, "")
			running.lag.Store(-1)
			p.hops = append(p.hops, running)
		}
		m.pipelines = append(m.pipelines, p)
	}
	for _, s := range specs {
		for _, name := range s.After {
			if !names[name] {
				return nil, fmt.Errorf("pipeline %s comes after %s, which is not there", s.Name, name)
			}
		}
	}
	return m, nil
}

// shares is the number of sinks that divide the memory.
func (m *Manager) shares(specs []*Spec) int64 {
	sinks := int64(0)
	for _, s := range specs {
		if s.Sink.Connector != nil {
			sinks++
		}
	}
	return max(sinks, 1)
}

// Start starts all pipelines and returns; those that come after others wait for them. It may be called once.
func (m *Manager) Start() {
	if m.started {
		return
	}
	m.started = true
	ctx, cancel := context.WithCancel(context.Background())
	m.cancel = cancel
	for _, p := range m.pipelines {
		m.running.Go(func() { m.pipelineLoop(ctx, p) })
	}
	m.running.Go(func() { m.lagLoop(ctx) })
}

// Close stops all pipelines: what was read is written and acknowledged as far as that goes without waiting for new records. It returns
// after everything ended.
func (m *Manager) Close() error {
	if m.cancel != nil {
		m.cancel()
	}
	m.running.Wait()
	return m.env.close()
}

// Ended returns a channel that is closed when the source of the named pipeline came to its end and all of it is acknowledged; nil for an unknown one.
func (m *Manager) Ended(name string) <-chan struct{} {
	for _, p := range m.pipelines {
		if p.spec.Name == name {
			return p.ended
		}
	}
	return nil
}

// Status returns a snapshot of each pipeline, in the order they were given.
func (m *Manager) Status() []Status {
	all := make([]Status, len(m.pipelines))
	for i, p := range m.pipelines {
		all[i] = p.status()
	}
	return all
}

func (p *pipeline) status() Status {
	s := Status{Name: p.spec.Name}
	for i, h := range p.hops {
		state, since, detail := h.get()
		if i == 0 || worse(state, s.State) {
			s.State, s.Since, s.Detail = state, since, detail
		}
		hs := HopStatus{Hop: h.Hop}
		if r := h.current.Load(); r != nil {
			hs.Progress = (*r).Progress()
		}
		hs.Progress.Lag = h.lag.Load()
		s.Hops = append(s.Hops, hs)
	}
	return s
}

// pipelineLoop waits for the pipelines before, then runs the hops until ctx ends.
func (m *Manager) pipelineLoop(ctx context.Context, p *pipeline) {
	for _, h := range p.hops {
		h.set(Waiting, "")
	}
	for _, name := range p.spec.After {
		for _, h := range p.hops {
			h.set(Waiting, "for pipeline "+name)
		}
		select {
		case <-m.Ended(name):
		case <-ctx.Done():
			for _, h := range p.hops {
				h.set(Stopped, "")
			}
			return
		}
	}
	var hops sync.WaitGroup
	for _, h := range p.hops {
		hops.Go(func() { m.hopLoop(ctx, p, h) })
	}
	hops.Wait()
}

// hopLoop runs a hop, and again after a pause when it failed, until it is done or ctx ends.
func (m *Manager) hopLoop(ctx context.Context, p *pipeline, h *hop) {
	pause := firstRestartPause
	log := m.opts.Logger.With("pipeline", p.spec.Name, "hop", string(h.Kind))
	for {
		started := time.Now()
		err := m.runHop(ctx, p, h, log)
		switch {
		case ctx.Err() != nil:
			if err != nil && !errors.Is(err, context.Canceled) {
				log.Warn("stopped with an error", "error", err)
			}
			h.set(Stopped, "")
			return
		case err == nil:
			h.set(Done, "")
			log.Info("the source came to its end")
			p.once.Do(func() { close(p.ended) })
			return
		}
		state := Retrying
		if needsOwner(err) {
			state = Blocked
		}
		h.set(state, err.Error())
		log.Error("failed, starts again after a pause", "error", err, "pause", pause)
		if time.Since(started) > longestRestartPause {
			pause = firstRestartPause
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
		}
		pause = min(2*pause, longestRestartPause)
	}
}

// needsOwner tells whether trying again mends nothing until somebody changes the pipeline, a record or the target.
func needsOwner(err error) bool {
	var step *StepError
	return errors.Is(err, connect.ErrPermanent) || errors.As(err, &step)
}

func (m *Manager) runHop(ctx context.Context, p *pipeline, h *hop, log *slog.Logger) error {
	r, err := m.env.prepare(ctx, p.spec, h, log)
	if err != nil {
		return err
	}
	h.current.Store(&r)
	h.set(Running, "")
	if d := p.spec.Errors.DeadLetter; d != nil && d.HaltAbove != nil {
		return runHalting(ctx, r, *d.HaltAbove)
	}
	return r.Run(ctx)
}
