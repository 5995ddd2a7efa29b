package netsim

import (
	"io"
	"net"
	"os"
	"syscall"
	"time"
)

// bufferBytes is how much one direction of a connection holds that was not read.
const bufferBytes = 256 << 10

// stream is one direction of a connection.
type stream struct {
	n      *Network
	route  route
	chunks []chunk
	size   int
	ended  bool // the writer has closed
	endAt  time.Time
	gone   bool // the reader has closed: what is written is lost, and resets the connection
	reset  bool
}

// chunk is what one write sent, and when it arrives.
type chunk struct {
	data []byte
	at   time.Time
}

func newStream(n *Network, r route) *stream { return &stream{n: n, route: r} }

// conn is one end of a connection.
type conn struct {
	n             *Network
	in, out       *stream
	peer          *conn
	local, remote addr
	closed        bool
	readBy        time.Time
	writeBy       time.Time
}

// Read returns what has arrived.
func (c *conn) Read(p []byte) (int, error) {
	c.n.mu.Lock()
	defer c.n.mu.Unlock()
	for {
		s, now := c.in, time.Now()
		held := c.n.links[s.route].held
		switch {
		case c.closed:
			return 0, c.failed("read", net.ErrClosed)
		case s.reset:
			return 0, c.failed("read", syscall.ECONNRESET)
		case !c.readBy.IsZero() && !now.Before(c.readBy):
			return 0, c.failed("read", os.ErrDeadlineExceeded)
		case len(p) == 0:
			return 0, nil
		case !held && len(s.chunks) > 0 && !now.Before(s.chunks[0].at):
			return s.takeLocked(p), nil
		case !held && len(s.chunks) == 0 && s.ended && !now.Before(s.endAt):
			return 0, io.EOF
		}
		c.n.waitLocked(earliest(c.readBy, s.nextLocked(held)))
	}
}

// nextLocked is when the next thing arrives, zero when nothing is under way.
func (s *stream) nextLocked(held bool) time.Time {
	switch {
	case held:
		return time.Time{}
	case len(s.chunks) > 0:
		return s.chunks[0].at
	case s.ended:
		return s.endAt
	}
	return time.Time{}
}

// earliest is the earlier of two times, of which zero ones are none.
func earliest(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}

func (s *stream) takeLocked(p []byte) int {
	first := &s.chunks[0]
	n := copy(p, first.data)
	if first.data = first.data[n:]; len(first.data) == 0 {
		s.chunks = s.chunks[1:]
	}
	s.size -= n
	s.n.changed.Broadcast()
	return n
}

// Write sends p, in pieces when the other side does not read.
func (c *conn) Write(p []byte) (int, error) {
	c.n.mu.Lock()
	defer c.n.mu.Unlock()
	written := 0
	for written < len(p) {
		s, now := c.out, time.Now()
		switch {
		case c.closed:
			return written, c.failed("write", net.ErrClosed)
		case s.reset:
			return written, c.failed("write", syscall.ECONNRESET)
		case s.gone:
			c.resetLocked()
			return written, c.failed("write", syscall.EPIPE)
		case !c.writeBy.IsZero() && !now.Before(c.writeBy):
			return written, c.failed("write", os.ErrDeadlineExceeded)
		}
		if room := bufferBytes - s.size; room > 0 {
			part := p[written:min(len(p), written+room)]
			s.chunks = append(s.chunks, chunk{append([]byte(nil), part...), now.Add(c.n.links[s.route].delay)})
			s.size += len(part)
			written += len(part)
			c.n.changed.Broadcast()
			continue
		}
		c.n.waitLocked(c.writeBy)
	}
	return written, nil
}

// Close ends the connection: the other side reads what was sent, and then its end.
func (c *conn) Close() error {
	c.n.mu.Lock()
	defer c.n.mu.Unlock()
	if c.closed {
		return c.failed("close", net.ErrClosed)
	}
	c.closed = true
	c.out.ended, c.out.endAt = true, time.Now().Add(c.n.links[c.out.route].delay)
	c.in.gone, c.in.chunks, c.in.size = true, nil, 0
	c.leaveLocked()
	c.n.changed.Broadcast()
	return nil
}

// leaveLocked forgets the connection when neither end uses it.
func (c *conn) leaveLocked() {
	if c.closed && c.peer.closed {
		delete(c.n.conns, c)
		delete(c.n.conns, c.peer)
	}
}

// resetLocked ends both directions at once.
func (c *conn) resetLocked() {
	c.in.reset, c.out.reset = true, true
	c.n.changed.Broadcast()
}

func (c *conn) failed(op string, err error) error {
	return &net.OpError{Op: op, Net: "netsim", Source: c.local, Addr: c.remote, Err: err}
}

// LocalAddr is this end's address.
func (c *conn) LocalAddr() net.Addr { return c.local }

// RemoteAddr is the other end's address.
func (c *conn) RemoteAddr() net.Addr { return c.remote }

// SetDeadline bounds reads and writes.
func (c *conn) SetDeadline(t time.Time) error { return c.setDeadlines(&t, &t) }

// SetReadDeadline bounds reads.
func (c *conn) SetReadDeadline(t time.Time) error { return c.setDeadlines(&t, nil) }

// SetWriteDeadline bounds writes.
func (c *conn) SetWriteDeadline(t time.Time) error { return c.setDeadlines(nil, &t) }

func (c *conn) setDeadlines(read, write *time.Time) error {
	c.n.mu.Lock()
	defer c.n.mu.Unlock()
	if read != nil {
		c.readBy = *read
	}
	if write != nil {
		c.writeBy = *write
	}
	c.n.changed.Broadcast()
	return nil
}
