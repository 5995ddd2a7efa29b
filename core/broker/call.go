package broker

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"
	"golang.org/x/sync/semaphore"

	"github.com/milldam/milldam/core/coordinator"
	"github.com/milldam/milldam/core/meta"
	"github.com/milldam/milldam/core/wire"
)

// call is one request in flight. It is answered once, by reply, stream or drop, from any goroutine.
type call struct {
	conn   *conn
	header wire.Header
	size   int64        // of the request, in the budget
	buffer *frameBuffer // that the request is in; nil when it is not used again
	began  time.Time

	throttle time.Duration // by a quota that the handler knows; before it answers
	worked   atomic.Int64  // nanoseconds in the handler, once it has returned

	// Guarded by conn.mu until ready is set, then the writer's.
	ready    bool
	frame    []byte                         // the response, or
	stream   func(io.Writer) (int64, error) // what writes it
	onFinish func()
	here     bool // who answers may be kept for the time of a write

	held atomic.Pointer[semaphore.Weighted] // the budget that its size is taken from; nil when it was given back
}

// reply answers with a response of kmsg; its version is the request's.
func (cl *call) reply(resp kmsg.Response) {
	resp.SetVersion(cl.responseVersion(resp))
	if wait := cl.throttled(); wait > 0 {
		if r, ok := resp.(kmsg.SetThrottleResponse); ok {
			r.SetThrottle(int32(wait.Milliseconds()))
		}
	}
	cl.answer(encode(cl.header.Correlation, resp), nil, nil)
}

// scratch has room for responses while they are made: one that grew as it is appended to would be copied many times.
var scratch = sync.Pool{New: func() any { return new([]byte) }}

// encode returns resp as a frame.
func encode(correlation int32, resp kmsg.Response) []byte {
	b := scratch.Get().(*[]byte)
	defer scratch.Put(b)
	frame := wire.AppendResponse((*b)[:0], correlation, resp)
	if cap(frame) > keptOutBytes {
		return frame
	}
	*b = frame
	return bytes.Clone(frame)
}

// throttled counts the time that the request took, and mutes the connection for as long as its client is over a quota.
func (cl *call) throttled() time.Duration {
	now := time.Now()
	worked := time.Duration(cl.worked.Load())
	if worked == 0 {
		worked = now.Sub(cl.began)
	}
	wait := max(cl.throttle, cl.conn.server.quotas.useTime(cl.header.ClientID, worked, now))
	if wait > 0 {
		cl.conn.mute(now.Add(wait))
		cl.conn.server.metrics.throttled.Inc()
	}
	return wait
}

// responseVersion: who asks for a version of ApiVersions that is not served can read the first one.
func (cl *call) responseVersion(resp kmsg.Response) int16 {
	if r, ok := wire.RangeOf(cl.header.Key); ok && resp.Key() == int16(kmsg.ApiVersions) && cl.header.Version > r.Max {
		return 0
	}
	return cl.header.Version
}

// streamed answers with what fn writes. finish is called after that, or when it never will be.
func (cl *call) streamed(fn func(io.Writer) (int64, error), finish func()) {
	cl.answer(nil, fn, finish)
}

// drop answers with nothing, as a produce request without acknowledgement asks for.
func (cl *call) drop() { cl.answer(nil, nil, nil) }

// errHungUp ends a connection behind the answers to what came before.
var errHungUp = errors.New("a request without acknowledgement failed")

// hangUp closes the connection in place of an answer: so a client that asked for none learns that something went wrong.
func (cl *call) hangUp() {
	cl.answer(nil, func(io.Writer) (int64, error) { return 0, errHungUp }, nil)
}

func (cl *call) answer(frame []byte, stream func(io.Writer) (int64, error), finish func()) {
	cl.release()
	c := cl.conn
	c.server.frames.put(cl.buffer) // who answers is done with the request
	cl.buffer = nil
	c.mu.Lock()
	cl.frame, cl.stream, cl.onFinish, cl.ready = frame, stream, finish, true
	dead := c.mu.closed && c.mu.taker != byWriter
	starts := false
	if len(c.mu.queue) > 0 && c.mu.queue[0] == cl {
		starts = c.mu.taker == byAnswer && !c.mu.closed
		if starts {
			c.mu.taker = byWriter
		}
		c.moved.Broadcast()
	}
	c.mu.Unlock()
	switch {
	case dead:
		cl.finish(net.ErrClosed)
	case starts && cl.here && stream == nil && c.raw != nil:
		c.writeHere()
	case starts:
		go c.writeLoop(nil)
	}
}

// release gives back what the request holds of a budget.
func (cl *call) release() {
	if held := cl.held.Swap(nil); held != nil {
		held.Release(cl.size)
	}
}

// park moves the request's share from the budget of requests in flight to that of requests which wait for records, so that none of them keeps others from being read.
// It returns false where as many wait as may.
func (cl *call) park() bool {
	s := cl.conn.server
	if !s.parked.TryAcquire(cl.size) {
		s.metrics.pollsEnded.Inc()
		return false
	}
	if cl.held.CompareAndSwap(s.budget, s.parked) {
		s.budget.Release(cl.size)
	} else { // its connection is gone
		s.parked.Release(cl.size)
	}
	return true
}

// finish ends the call, written or not.
func (cl *call) finish(err error) {
	cl.conn.mu.Lock()
	fn := cl.onFinish
	cl.onFinish = nil
	cl.conn.mu.Unlock()
	if fn != nil {
		fn()
	}
	cl.conn.server.metrics.observe(cl, err)
}

// abandon ends a call whose connection is gone. Its handler may still answer it.
func (cl *call) abandon() {
	cl.conn.mu.Lock()
	ready := cl.ready
	cl.conn.mu.Unlock()
	cl.release()
	if ready {
		cl.finish(net.ErrClosed)
	}
}

// client is who asks, for the group coordinator.
func (cl *call) client() coordinator.Client {
	host, _, err := net.SplitHostPort(cl.conn.net.RemoteAddr().String())
	if err != nil {
		host = cl.conn.net.RemoteAddr().String()
	}
	return coordinator.Client{ID: cl.header.ClientID, Host: "/" + host}
}

// address is how the client can reach this broker again: the address it dialled, unless another is advertised. Who is in this process has none to dial.
func (cl *call) address() (host string, port int32) {
	local := cl.conn.net.LocalAddr()
	address := local.String()
	if advertised := cl.conn.server.opts.Advertised; advertised != "" && local.Network() != "memory" {
		address = advertised
	}
	h, p, err := net.SplitHostPort(address)
	if err != nil {
		return address, 0
	}
	n, err := strconv.ParseInt(p, 10, 32)
	if err != nil {
		return h, 0
	}
	return h, int32(n)
}

// addressOf is how the client can reach a broker: one that has no address of its own is this one.
func (cl *call) addressOf(b meta.Broker) (host string, port int32) {
	if b.Host == "" {
		return cl.address()
	}
	return b.Host, b.Port
}

// within is the context of a change that its request gives a time.
func (s *Server) within(ms int32) (context.Context, context.CancelFunc) {
	d := millis(ms)
	if d <= 0 {
		d = changeTimeout
	}
	return context.WithTimeout(s.ctx, d)
}
