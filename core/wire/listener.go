package wire

import (
	"context"
	"net"
	"sync"
)

// MemoryListener is a net.Listener that is reached by its own Dial alone.
type MemoryListener struct {
	addr   memoryAddr
	queue  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

type memoryAddr string

// Network returns "memory".
func (memoryAddr) Network() string  { return "memory" }
func (a memoryAddr) String() string { return string(a) }

// acceptBacklog is how many connections may wait to be accepted.
const acceptBacklog = 64

// NewMemoryListener returns a listener whose address reads addr, in the form host:port: it is what the broker answers its clients.
func NewMemoryListener(addr string) *MemoryListener {
	return &MemoryListener{addr: memoryAddr(addr), queue: make(chan net.Conn, acceptBacklog), closed: make(chan struct{})}
}

// Accept implements net.Listener.
func (l *MemoryListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.queue:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

// Close implements net.Listener. Connections that were accepted stay.
func (l *MemoryListener) Close() error {
	l.once.Do(func() { close(l.closed) })
	return nil
}

// Addr implements net.Listener.
func (l *MemoryListener) Addr() net.Addr { return l.addr }

// Dial connects to the listener, whatever address is asked for. Its shape is that of a dialer for client libraries.
func (l *MemoryListener) Dial(ctx context.Context, _, _ string) (net.Conn, error) {
	client, server := newPipe(l.addr)
	select {
	case l.queue <- server:
		return client, nil
	case <-l.closed:
		return nil, &net.OpError{Op: "dial", Net: "memory", Addr: l.addr, Err: net.ErrClosed}
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}
