package broker

import (
	"errors"
	"math"
	"net"
	"sync"
	"time"

	"github.com/milldam/milldam/core/meta"
)

// Broker keys that limit connections; all but the last two can be changed while it runs.
const (
	maxConnections      = "max.connections"
	maxConnectionsPerIP = "max.connections.per.ip"
	connectionOverrides = "max.connections.per.ip.overrides"
	maxCreationRate     = "max.connection.creation.rate"
	maxIdle             = "connections.max.idle.ms"
	maxRequestBytes     = "socket.request.max.bytes"
)

// creationRates measures how fast connections are opened (KIP-612).
type creationRates struct {
	window rateWindow

	mu struct {
		sync.Mutex
		all     rate
		byIP    map[string]*rate
		sweepAt int
	}
}

func newCreationRates(w rateWindow) *creationRates {
	c := &creationRates{window: w}
	c.mu.byIP, c.mu.sweepAt = map[string]*rate{}, leastRates
	return c
}

// address counts a connection that an address opens, unless that is one too many for its quota: then it is how long that one is kept waiting before it is
// closed, at most a window.
func (c *creationRates) address(ip string, limit float64, now time.Time) time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	r := c.mu.byIP[ip]
	if r == nil {
		if len(c.mu.byIP) >= c.mu.sweepAt {
			for other, r := range c.mu.byIP {
				if got, _ := r.measure(c.window, now); got == 0 {
					delete(c.mu.byIP, other)
				}
			}
			c.mu.sweepAt = max(leastRates, 2*len(c.mu.byIP))
		}
		r = &rate{}
		c.mu.byIP[ip] = r
	}
	r.record(c.window, 1, now)
	wait := r.throttle(c.window, limit, now)
	if wait > 0 {
		r.record(c.window, -1, now)
	}
	return min(wait, c.window.size)
}

// everybody counts a connection, and returns how long no other is to be accepted, at most a window.
func (c *creationRates) everybody(limit float64, now time.Time) time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.mu.all.record(c.window, 1, now)
	return min(c.mu.all.throttle(c.window, limit, now), c.window.size)
}

// Why a connection is refused.
var (
	errTooMany      = errors.New("there are as many as may be")
	errTooManyOfOne = errors.New("its address has as many as it may have")
)

// remoteIP is the address that limits of addresses are about; empty for who is in this process.
func remoteIP(nc net.Conn) string {
	if tcp, ok := nc.RemoteAddr().(*net.TCPAddr); ok {
		return tcp.IP.String()
	}
	return ""
}

// connLimits is how many connections there may be, of all and of one address.
type connLimits struct{ all, one int64 }

func (s *Server) limitsFor(i *meta.Image, ip string) connLimits {
	c := s.opts.Controller
	l := connLimits{all: min(int64(s.opts.MaxConnections), c.BrokerInt(i, maxConnections)), one: math.MaxInt64}
	if ip == "" {
		return l
	}
	l.one = c.BrokerInt(i, maxConnectionsPerIP)
	if text := c.BrokerValue(i, connectionOverrides); text != "" {
		overrides, err := meta.ConnectionOverrides(text)
		if n, ok := overrides[ip]; ok && err == nil {
			l.one = int64(n)
		}
	}
	return l
}

// refuseLocked tells why one more connection, from ip, cannot be served.
func (s *Server) refuseLocked(l connLimits, ip string) error {
	switch {
	case s.mu.draining:
		return net.ErrClosed
	case int64(len(s.mu.conns)) >= l.all:
		return errTooMany
	case int64(s.mu.perIP[ip]) >= l.one:
		return errTooManyOfOne
	}
	return nil
}

// pace returns how long the next connection has to wait for its turn.
func (s *Server) pace(now time.Time) time.Duration {
	i := s.opts.Controller.Image()
	if limit := s.opts.Controller.BrokerInt(i, maxCreationRate); limit < math.MaxInt32 {
		return s.created.everybody(float64(limit), now)
	}
	return 0
}

// tooFast tells for how long a connection of an address that opens them too fast is kept before it is closed.
func (s *Server) tooFast(i *meta.Image, ip string, now time.Time) time.Duration {
	if ip == "" {
		return 0
	}
	if limit, ok := i.ConnectionQuota(ip); ok {
		return s.created.address(ip, limit, now)
	}
	return 0
}
