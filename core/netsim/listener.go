package netsim

import (
	"net"
	"syscall"
)

// backlog is how many connections wait to be accepted; more are refused.
const backlog = 128

type listener struct {
	n       *Network
	address string
	waiting []*conn
	closed  bool
}

// Listen returns a listener at address, host:port.
func (n *Network) Listen(address string) (net.Listener, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.listeners[address] != nil {
		return nil, &net.OpError{Op: "listen", Net: "netsim", Addr: addr(address), Err: errInUse}
	}
	l := &listener{n: n, address: address}
	n.listeners[address] = l
	return l, nil
}

// connectLocked makes a connection and returns the end of who dials.
func (l *listener) connectLocked(from, to string, local addr) (net.Conn, error) {
	if len(l.waiting) == backlog {
		return nil, syscall.ECONNREFUSED
	}
	there, back := newStream(l.n, route{from, to}), newStream(l.n, route{to, from})
	client := &conn{n: l.n, in: back, out: there, local: local, remote: addr(l.address)}
	server := &conn{n: l.n, in: there, out: back, local: addr(l.address), remote: local}
	client.peer, server.peer = server, client
	l.n.conns[client], l.n.conns[server] = true, true
	l.waiting = append(l.waiting, server)
	l.n.changed.Broadcast()
	return client, nil
}

// Accept waits for a connection.
func (l *listener) Accept() (net.Conn, error) {
	l.n.mu.Lock()
	defer l.n.mu.Unlock()
	for len(l.waiting) == 0 {
		if l.closed {
			return nil, &net.OpError{Op: "accept", Net: "netsim", Addr: addr(l.address), Err: net.ErrClosed}
		}
		l.n.changed.Wait()
	}
	c := l.waiting[0]
	l.waiting = l.waiting[1:]
	return c, nil
}

// Close ends Accept and resets what was not accepted.
func (l *listener) Close() error {
	l.n.mu.Lock()
	defer l.n.mu.Unlock()
	if l.closed {
		return net.ErrClosed
	}
	l.closed = true
	delete(l.n.listeners, l.address)
	for _, c := range l.waiting {
		c.resetLocked()
	}
	l.waiting = nil
	l.n.changed.Broadcast()
	return nil
}

// Addr is the address it listens at.
func (l *listener) Addr() net.Addr { return addr(l.address) }
