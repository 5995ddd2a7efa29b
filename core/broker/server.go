package broker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net"
	"sync"
	"time"

	"golang.org/x/sync/semaphore"

	"github.com/milldam/milldam/core/meta"
	"github.com/milldam/milldam/core/replica"
	"github.com/milldam/milldam/core/wire"
)

// Options configure New.
type Options struct {
	NodeID     int32
	Controller *meta.Controller
	Replicas   *replica.Manager
	Coordinators
	Logger *slog.Logger

	RequestBytes   int64          // memory of all requests in flight, and as much of all that wait for records; default DefaultRequestBytes
	MaxConnections int            // default DefaultMaxConnections; Kafka's max.connections can lower it
	MaxInFlight    int            // requests of one connection; default 64
	IdleTimeout    time.Duration  // default that of Kafka's connections.max.idle.ms
	FetchSessions  int            // default that of Kafka's max.incremental.fetch.session.cache.slots
	FetchBytes     int            // of one response; default that of Kafka's fetch.max.bytes
	DataDir        string         // named by DescribeLogDirs
	LogLevel       *slog.LevelVar // of Logger, which clients may change; default one that changes nothing

	// Advertised is host:port that clients are told to come to; empty: each is told the address it dialled, which is right but behind a translation of addresses.
	Advertised string
}

// DefaultMaxConnections is how many connections there may be where nothing says less.
const DefaultMaxConnections = 20_000

func (o Options) withDefaults() Options {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.LogLevel == nil {
		o.LogLevel = new(slog.LevelVar)
	}
	if o.RequestBytes <= 0 {
		o.RequestBytes = DefaultRequestBytes
	}
	if o.MaxConnections <= 0 {
		o.MaxConnections = DefaultMaxConnections
	}
	if o.MaxInFlight <= 0 {
		o.MaxInFlight = 64
	}
	if o.IdleTimeout <= 0 {
		o.IdleTimeout = time.Duration(o.Controller.BrokerInt(o.Controller.Image(), maxIdle)) * time.Millisecond
	}
	if o.IdleTimeout <= 0 { // never
		o.IdleTimeout = math.MaxInt64 / 2
	}
	if o.FetchSessions <= 0 {
		o.FetchSessions = int(o.Controller.BrokerInt(o.Controller.Image(), "max.incremental.fetch.session.cache.slots"))
	}
	if o.FetchBytes <= 0 {
		o.FetchBytes = int(o.Controller.BrokerInt(o.Controller.Image(), "fetch.max.bytes"))
	}
	return o
}

// DefaultRequestBytes is Options.RequestBytes where nothing is said.
const DefaultRequestBytes = 128 << 20

// Server answers the Kafka protocol on any number of listeners.
type Server struct {
	opts     Options
	budget   *semaphore.Weighted // of requests in flight
	parked   *semaphore.Weighted // of those that wait for records
	sessions *sessionCache
	quotas   *quotas
	created  *creationRates
	metrics  *metrics
	largest  int // request, in bytes
	frames   framePool
	badInput rateLimited
	ctx      context.Context // ends with Close
	cancel   context.CancelFunc
	wg       sync.WaitGroup

	mu struct {
		sync.Mutex
		listeners map[net.Listener]bool
		conns     map[*conn]bool
		perIP     map[string]int // connections by address
		draining  bool
	}
}

// New returns a server; Serve makes it listen.
func New(o Options) *Server {
	s := &Server{opts: o.withDefaults(), metrics: newMetrics()}
	s.budget, s.parked = semaphore.NewWeighted(s.opts.RequestBytes), semaphore.NewWeighted(s.opts.RequestBytes)
	s.largest = int(min(s.opts.RequestBytes, s.opts.Controller.BrokerInt(s.opts.Controller.Image(), maxRequestBytes), wire.MaxFrameBytes))
	s.quotas = newQuotas(s.opts.Controller)
	s.created = newCreationRates(s.quotas.client)
	s.sessions = newSessionCache(s.opts.FetchSessions)
	s.ctx, s.cancel = context.WithCancel(context.Background())
	s.mu.listeners, s.mu.conns, s.mu.perIP = map[net.Listener]bool{}, map[*conn]bool{}, map[string]int{}
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
		wait := s.pace(time.Now())
		s.start(nc)
		if wait > 0 {
			select {
			case <-time.After(wait):
			case <-s.ctx.Done():
			}
		}
	}
}

// acceptPause is how long Serve waits when the process has no descriptor left for a connection.
const acceptPause = 50 * time.Millisecond

func (s *Server) start(nc net.Conn) {
	image, ip := s.opts.Controller.Image(), remoteIP(nc)
	limits := s.limitsFor(image, ip)
	s.mu.Lock()
	refused := s.refuseLocked(limits, ip)
	c := newConn(s, nc)
	if refused == nil {
		s.mu.conns[c] = true
		s.mu.perIP[ip]++
		s.wg.Add(1)
	}
	s.mu.Unlock()
	if refused != nil {
		s.badInput.log(s.opts.Logger, "a connection was refused", "remote", nc.RemoteAddr().String(), "error", refused)
		s.metrics.refused.Inc()
		nc.Close()
		return
	}
	s.metrics.connections.Inc()
	go func() {
		defer s.wg.Done()
		if wait := s.tooFast(image, ip, time.Now()); wait > 0 {
			s.metrics.refused.Inc()
			c.holdBack(wait)
		} else {
			boundPaced(nc)
			c.readLoop()
		}
		s.mu.Lock()
		delete(s.mu.conns, c)
		if s.mu.perIP[ip]--; s.mu.perIP[ip] == 0 {
			delete(s.mu.perIP, ip)
		}
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
