package wire

import (
	"io"
	"net"
	"os"
	"sync"
	"time"
)

// pipeBytes is how much one direction of an in-memory connection holds before its writer waits.
const pipeBytes = 256 << 10

// newPipe returns the two ends of a buffered connection.
func newPipe(addr net.Addr) (client, server net.Conn) {
	up, down := newHalf(), newHalf()
	return &pipeConn{in: down, out: up, local: memoryAddr("client"), remote: addr}, &pipeConn{in: up, out: down, local: addr, remote: memoryAddr("embedded")}
}

// half is one direction: a ring of bytes.
type half struct {
	mu struct {
		sync.Mutex
		ring          []byte // allocated with the first write, so that an idle connection holds none
		start, length int
		closed        bool // no more comes, or nobody reads
		readBy        time.Time
		writeBy       time.Time
		timers        [2]*time.Timer
	}
	moved *sync.Cond
}

func newHalf() *half {
	h := &half{}
	h.moved = sync.NewCond(&h.mu.Mutex)
	return h
}

func expired(by time.Time) bool { return !by.IsZero() && !time.Now().Before(by) }

func (h *half) read(p []byte) (int, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for h.mu.length == 0 {
		switch {
		case len(p) == 0:
			return 0, nil
		case h.mu.closed:
			return 0, io.EOF
		case expired(h.mu.readBy):
			return 0, os.ErrDeadlineExceeded
		}
		h.moved.Wait()
	}
	n := copy(p, h.mu.ring[h.mu.start:min(h.mu.start+h.mu.length, len(h.mu.ring))])
	if n < len(p) && n < h.mu.length {
		n += copy(p[n:], h.mu.ring[:h.mu.length-n])
	}
	h.mu.start, h.mu.length = (h.mu.start+n)%len(h.mu.ring), h.mu.length-n
	if h.mu.length == 0 {
		h.mu.start = 0
	}
	h.moved.Broadcast()
	return n, nil
}

func (h *half) write(p []byte) (int, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	written := 0
	for {
		switch {
		case h.mu.closed:
			return written, io.ErrClosedPipe
		case expired(h.mu.writeBy):
			return written, os.ErrDeadlineExceeded
		case len(p) == 0:
			return written, nil
		}
		if h.mu.ring == nil {
			h.mu.ring = make([]byte, pipeBytes)
		}
		if h.mu.length == len(h.mu.ring) {
			h.moved.Wait()
			continue
		}
		end := (h.mu.start + h.mu.length) % len(h.mu.ring)
		room := len(h.mu.ring) - end
		if end < h.mu.start {
			room = h.mu.start - end
		}
		n := copy(h.mu.ring[end:end+room], p)
		h.mu.length, written, p = h.mu.length+n, written+n, p[n:]
		h.moved.Broadcast()
	}
}

func (h *half) close() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.mu.closed = true
	for _, t := range h.mu.timers {
		if t != nil {
			t.Stop()
		}
	}
	h.moved.Broadcast()
}

// deadline sets by, which is one of the half's own two, and wakes who waits when it is over.
func (h *half) deadline(by *time.Time, timer **time.Timer, t time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	*by = t
	if *timer != nil {
		(*timer).Stop()
		*timer = nil
	}
	if d := time.Until(t); !t.IsZero() && d > 0 && !h.mu.closed {
		*timer = time.AfterFunc(d, func() {
			h.mu.Lock()
			defer h.mu.Unlock()
			h.moved.Broadcast()
		})
	}
	h.moved.Broadcast()
}

// pipeConn is one end.
type pipeConn struct {
	in, out       *half
	local, remote net.Addr
}

func (c *pipeConn) Read(p []byte) (int, error)  { return c.in.read(p) }
func (c *pipeConn) Write(p []byte) (int, error) { return c.out.write(p) }

// Close ends both directions: what was written before is still read by the other end.
func (c *pipeConn) Close() error {
	c.in.close()
	c.out.close()
	return nil
}

func (c *pipeConn) LocalAddr() net.Addr  { return c.local }
func (c *pipeConn) RemoteAddr() net.Addr { return c.remote }

func (c *pipeConn) SetDeadline(t time.Time) error {
	if err := c.SetReadDeadline(t); err != nil {
		return err
	}
	return c.SetWriteDeadline(t)
}

func (c *pipeConn) SetReadDeadline(t time.Time) error {
	c.in.deadline(&c.in.mu.readBy, &c.in.mu.timers[0], t)
	return nil
}

func (c *pipeConn) SetWriteDeadline(t time.Time) error {
	c.out.deadline(&c.out.mu.writeBy, &c.out.mu.timers[1], t)
	return nil
}
