package broker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"time"

	"golang.org/x/sync/semaphore"

	"github.com/milldam/milldam/core/meta"
	"github.com/milldam/milldam/core/replica"
)

// Options configure New.
type Options struct {
	NodeID     int32
	Controller *meta.Controller
	Replicas   *replica.Manager
	Coordinators
	Logger *slog.Logger

	RequestBytes   int64          // memory of all requests in flight; default 128 MiB
	MaxConnections int            // default 10,000
	MaxInFlight    int            // requests of one connection; default 64
	IdleTimeout    time.Duration  // default 10 minutes, as Kafka's connections.max.idle.ms
	FetchSessions  int            // default 1,000, as Kafka's max.incremental.fetch.session.cache.slots
	DataDir        string         // named by DescribeLogDirs
	LogLevel       *slog.LevelVar // of Logger, which clients may change; default one that changes nothing

	// Advertised is host:port that clients are told to come to; empty: each is told the address it dialled, which is right but behind a translation of addresses.
	Advertised string
}

func (o Options) withDefaults() Options {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.LogLevel == nil {
		o.LogLevel = new(slog.LevelVar)
	}
	if o.RequestBytes <= 0 {
		o.RequestBytes = 128 << 20
	}
	if o.MaxConnections <= 0 {
		o.MaxConnections = 10_000
	}
	if o.MaxInFlight <= 0 {
		o.MaxInFlight = 64
	}
	if o.IdleTimeout <= 0 {
		o.IdleTimeout = 10 * time.Minute
	}
	if o.FetchSessions <= 0 {
		o.FetchSessions = 1000
	}
	return o
}

// Server answers the Kafka protocol on any number of listeners.
type Server struct {
	opts     Options
	budget   *semaphore.Weighted
	sessions *sessionCache
	quotas   *quotas
	metrics  *metrics
	frames   framePool
	badInput rateLimited
	ctx      context.Context // ends with Close
	cancel   context.CancelFunc
	wg       sync.WaitGroup

	mu struct {
		sync.Mutex
		listeners map[net.Listener]bool
		conns     map[*conn]bool
		draining  bool
	}
}

// New returns a server; Serve makes it listen.
func New(o Options) *Server {
	s := &Server{opts: o.withDefaults(), metrics: newMetrics()}
	s.budget = semaphore.NewWeighted(s.opts.RequestBytes)
	s.quotas = newQuotas(s.opts.Controller)
	s.sessions = newSessionCache(s.opts.FetchSessions)
	s.ctx, s.cancel = context.WithCancel(context.Background())
	s.mu.listeners, s.mu.conns = map[net.Listener]bool{}, map[*conn]bool{}
	return s
}

// Serve accepts connections until the listener or the server is closed; then it returns nil.
func (s *Server) Serve(l net.Listener) error {
	s.mu.Lock()
	if s.mu.draining {
		s.mu.Unlock()
		return errors.Join(net.ErrClosed, l.Close())
	}
	s.mu.listeners[l] = true
	s.mu.Unlock()
	for {
		nc, err := l.Accept()
		if err != nil {
			var temporary interface{ Temporary() bool }
			if errors.As(err, &temporary) && temporary.Temporary() {
				s.opts.Logger.Warn("a connection could not be accepted", "listener", l.Addr().String(), "error", err)
				select {
				case <-time.After(acceptPause):
					continue
				case <-s.ctx.Done():
				}
			}
			if errors.Is(err, net.ErrClosed) || s.ctx.Err() != nil {
				return nil
			}
			return fmt.Errorf("accept on %s: %w", l.Addr(), err)
		}
		s.start(nc)
	}
}

// acceptPause is how long Serve waits when the process has no descriptor left for a connection.
const acceptPause = 50 * time.Millisecond

func (s *Server) start(nc net.Conn) {
	s.mu.Lock()
	refused := s.mu.draining || len(s.mu.conns) >= s.opts.MaxConnections
	c := newConn(s, nc)
	if !refused {
		s.mu.conns[c] = true
		s.wg.Add(1)
	}
	s.mu.Unlock()
	if refused {
		s.badInput.log(s.opts.Logger, "a connection was refused: there are as many as may be", "remote", nc.RemoteAddr().String())
		s.metrics.refused.Inc()
		nc.Close()
		return
	}
	s.metrics.connections.Inc()
	go func() {
		defer s.wg.Done()
		c.readLoop()
		s.mu.Lock()
		delete(s.mu.conns, c)
		s.mu.Unlock()
		s.metrics.connections.Dec()
	}()
}

// Drain stops taking connections and requests, and returns when those in flight are answered, or ctx ends.
func (s *Server) Drain(ctx context.Context) error {
	s.mu.Lock()
	s.mu.draining = true
	var err error
	for l := range s.mu.listeners {
		err = errors.Join(err, l.Close())
	}
	conns := make([]*conn, 0, len(s.mu.conns))
	for c := range s.mu.conns {
		conns = append(conns, c)
	}
	s.mu.Unlock()
	for _, c := range conns {
		c.drain()
	}
	done := make(chan struct{})
	go func() { s.wg.Wait(); close(done) }()
	select {
	case <-done:
		return err
	case <-ctx.Done():
		return errors.Join(err, ctx.Err())
	}
}

// Close ends every connection, also in the middle of a request, and returns when all goroutines have ended.
func (s *Server) Close() error {
	s.cancel()
	s.mu.Lock()
	s.mu.draining = true
	for l := range s.mu.listeners {
		l.Close() // a second close has nothing to tell
	}
	for c := range s.mu.conns {
		c.close()
	}
	s.mu.Unlock()
	s.wg.Wait()
	return nil
}

// rateLimited keeps a flood of bad input from becoming a flood of log lines.
type rateLimited struct {
	mu         sync.Mutex
	last       time.Time
	suppressed int
}

const logEvery = time.Second

func (r *rateLimited) log(l *slog.Logger, msg string, args ...any) {
	r.mu.Lock()
	if time.Since(r.last) < logEvery {
		r.suppressed++
		r.mu.Unlock()
		return
	}
	r.last = time.Now()
	args = append(args, "suppressed", r.suppressed)
	r.suppressed = 0
	r.mu.Unlock()
	l.Warn(msg, args...)
}
