package netsim

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"syscall"
	"time"
)

// Network is a set of hosts. All methods are safe for concurrent use.
type Network struct {
	mu        sync.Mutex
	changed   *sync.Cond // a link, a listener or a connection changed
	listeners map[string]*listener
	links     map[route]link
	conns     map[*conn]bool
	ports     int // given out to dialling hosts
}

// route is a direction between two hosts.
type route struct{ from, to string }

// link is the state of a direction. The zero value passes everything at once.
type link struct {
	held  bool
	delay time.Duration
}

// New returns a network without hosts and without faults.
func New() *Network {
	n := &Network{listeners: map[string]*listener{}, links: map[route]link{}, conns: map[*conn]bool{}}
	n.changed = sync.NewCond(&n.mu)
	return n
}

// Cut lets nothing pass between a and b in either direction, until Heal.
func (n *Network) Cut(a, b string) {
	n.set(func(l *link) { l.held = true }, route{a, b}, route{b, a})
}

// Drop lets nothing pass from one host to another; the other direction stays as it is.
func (n *Network) Drop(from, to string) {
	n.set(func(l *link) { l.held = true }, route{from, to})
}

// Delay makes everything between a and b take d longer, in each direction.
func (n *Network) Delay(a, b string, d time.Duration) {
	n.set(func(l *link) { l.delay = d }, route{a, b}, route{b, a})
}

// Heal takes all faults between a and b away; what was held arrives.
func (n *Network) Heal(a, b string) {
	n.set(func(l *link) { *l = link{} }, route{a, b}, route{b, a})
}

// Reset ends every connection between a and b with an error on both sides.
func (n *Network) Reset(a, b string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for c := range n.conns {
		if r := c.out.route; r == (route{a, b}) || r == (route{b, a}) {
			c.resetLocked()
		}
	}
	n.changed.Broadcast()
}

func (n *Network) set(change func(*link), routes ...route) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, r := range routes {
		l := n.links[r]
		change(&l)
		n.links[r] = l
	}
	n.changed.Broadcast()
}

// addr is host:port.
type addr string

func (addr) Network() string  { return "netsim" }
func (a addr) String() string { return string(a) }

// Dialer returns a function that dials as host does; it fits where a dialer of a client is set.
func (n *Network) Dialer(host string) func(ctx context.Context, network, address string) (net.Conn, error) {
	return func(ctx context.Context, _, address string) (net.Conn, error) {
		c, err := n.dial(ctx, host, address)
		if err != nil {
			return nil, &net.OpError{Op: "dial", Net: "netsim", Addr: addr(address), Err: err}
		}
		return c, nil
	}
}

func (n *Network) dial(ctx context.Context, from, address string) (net.Conn, error) {
	to, _, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	stop := context.AfterFunc(ctx, n.wake)
	defer stop()
	n.mu.Lock()
	defer n.mu.Unlock()
	there, back := route{from, to}, route{to, from}
	arrives := time.Now().Add(n.links[there].delay + n.links[back].delay)
	for n.links[there].held || n.links[back].held || time.Now().Before(arrives) {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		n.waitLocked(arrives)
	}
	l := n.listeners[address]
	if l == nil {
		return nil, syscall.ECONNREFUSED
	}
	n.ports++
	return l.connectLocked(from, to, addr(fmt.Sprintf("%s:%d", from, firstPort+n.ports)))
}

// firstPort is below the ports of dialling hosts.
const firstPort = 40_000

func (n *Network) wake() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.changed.Broadcast()
}

// waitLocked waits for a change, at the latest until the time given when that is in the future.
func (n *Network) waitLocked(until time.Time) {
	if left := time.Until(until); left > 0 {
		timer := time.AfterFunc(left, n.wake)
		defer timer.Stop()
	}
	n.changed.Wait()
}

var errInUse = errors.New("address in use")
