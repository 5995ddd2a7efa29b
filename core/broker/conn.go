package broker

import (
	"bufio"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"os"
	"slices"
	"strconv"
	"sync"
	"syscall"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/milldam/milldam/core/wire"
)

// conn is one client's connection.
type conn struct {
	server *Server
	net    net.Conn
	out    []byte // responses that the reader has not written yet; its own

	mu struct {
		sync.Mutex
		queue  []*call // in flight, in the order of their requests
		writer bool    // writeLoop runs
		ending bool    // no more requests; the connection closes when the queue is empty
		closed bool
		muted  time.Time // no request is handled before
	}
	moved *sync.Cond // the queue or the state changed
}

const (
	// readBytes is what one read may bring; requests that came together are answered together.
	readBytes = 16 << 10
	// writeTimeout is how long a client may leave its responses unread.
	writeTimeout = 2 * time.Minute
	// keptOutBytes is how much of the response buffer stays for the next one.
	keptOutBytes = 64 << 10
)

// burst is what a connection holds while requests are read from it: an idle one holds no buffer.
type burst struct {
	in  *bufio.Reader
	out []byte
}

var bursts = sync.Pool{New: func() any { return &burst{in: bufio.NewReaderSize(nil, readBytes)} }}

func newConn(s *Server, nc net.Conn) *conn {
	c := &conn{server: s, net: nc}
	c.moved = sync.NewCond(&c.mu.Mutex)
	return c
}

// readLoop reads and handles requests until the connection ends.
func (c *conn) readLoop() {
	err := c.serve()
	c.end(errors.Is(err, errEnding))
	c.mu.Lock()
	for c.mu.writer {
		c.moved.Wait()
	}
	c.mu.Unlock()
	c.close()
	var bad *badInputError
	if errors.As(err, &bad) {
		c.server.metrics.badInput.Inc()
		c.server.badInput.log(c.server.opts.Logger, "a connection was closed: what came is no Kafka request", "remote", c.net.RemoteAddr().String(), "error", bad.err)
	}
}

// errEnding ends serve when the server drains.
var errEnding = errors.New("the connection is ending")

// badInputError is about the client, not about the connection.
type badInputError struct{ err error }

func (e *badInputError) Error() string { return e.err.Error() }

func (c *conn) serve() error {
	var head [4]byte
	for {
		if err := c.waitMuted(); err != nil {
			return err
		}
		// Waiting for the next request holds one byte, not a buffer.
		if err := c.expect(c.server.opts.IdleTimeout); err != nil {
			return err
		}
		if _, err := io.ReadFull(c.net, head[:1]); err != nil {
			if errors.Is(err, os.ErrDeadlineExceeded) && c.waiting() {
				continue // the client waits for us, it is not idle
			}
			return c.ended(err)
		}
		b := bursts.Get().(*burst)
		b.in.Reset(c.net)
		c.out = b.out
		err := c.serveBurst(b.in, head)
		b.in.Reset(nil)
		b.out, c.out = c.out[:0], nil
		bursts.Put(b)
		if err != nil {
			return err
		}
	}
}

// expect gives the client some time for the next read.
func (c *conn) expect(d time.Duration) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.mu.ending {
		return errEnding
	}
	return c.net.SetReadDeadline(time.Now().Add(d))
}

// mute keeps the connection from being read until a time, because its client is over a quota.
func (c *conn) mute(until time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if until.After(c.mu.muted) {
		c.mu.muted = until
	}
}

// waitMuted returns when the connection may be read again. What is answered is written before.
func (c *conn) waitMuted() error {
	c.mu.Lock()
	until := c.mu.muted
	c.mu.Unlock()
	if !time.Now().Before(until) {
		return nil
	}
	if err := c.flush(); err != nil {
		return err
	}
	wake := time.AfterFunc(time.Until(until), func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.moved.Broadcast()
	})
	defer wake.Stop()
	c.mu.Lock()
	defer c.mu.Unlock()
	for time.Now().Before(until) && !c.mu.closed && !c.mu.ending {
		c.moved.Wait()
	}
	return nil
}

// waiting tells whether requests are in flight and more may come.
func (c *conn) waiting() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.mu.queue) > 0 && !c.mu.ending
}

// ended turns a read that was cut off by drain into errEnding.
func (c *conn) ended(err error) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.mu.ending {
		return errEnding
	}
	return err
}

// serveBurst handles the request whose first byte has come, and all that came with it.
func (c *conn) serveBurst(r *bufio.Reader, head [4]byte) error {
	for first := true; ; first = false {
		if first {
			if _, err := io.ReadFull(r, head[1:]); err != nil {
				return err
			}
		} else if _, err := io.ReadFull(r, head[:]); err != nil {
			return err
		}
		if err := c.waitMuted(); err != nil { // an answer may have come while the client was waited for
			return err
		}
		if err := c.serveOne(r, head); err != nil {
			return errors.Join(err, c.flush())
		}
		if r.Buffered() < len(head) {
			if err := c.flush(); err != nil {
				return err
			}
			if r.Buffered() == 0 {
				return nil
			}
		}
	}
}

func (c *conn) serveOne(r *bufio.Reader, head [4]byte) error {
	size, err := wire.FrameSize(head)
	if err != nil {
		return &badInputError{err}
	}
	if size > c.server.largest {
		return &badInputError{errors.New("a request of " + strconv.Itoa(size) + " bytes, more than one may have")}
	}
	frame, buffer, err := c.readFrame(r, size)
	if err != nil {
		return err
	}
	c.server.metrics.bytesIn.Add(float64(size))
	h, req, err := wire.ParseRequest(frame)
	cl := &call{conn: c, header: h, size: int64(size), buffer: buffer, began: time.Now()}
	switch {
	case errors.Is(err, wire.ErrUnsupportedVersion):
		return c.unsupported(cl)
	case err != nil:
		c.server.budget.Release(int64(size))
		return &badInputError{err}
	}
	if err := c.enqueue(cl); err != nil {
		c.server.budget.Release(int64(size))
		return err
	}
	c.server.dispatch(cl, req)
	cl.worked.Store(int64(max(1, time.Since(cl.began))))
	return c.takeReady()
}

// readFrame reads a request of size bytes, and admits it: the budget is taken when there is no error. The buffer it is in, if it is one that is used again,
// is returned too.
func (c *conn) readFrame(r *bufio.Reader, size int) (frame []byte, buffer *frameBuffer, err error) {
	if err := c.expectMore(r, 2); err != nil {
		return nil, nil, err
	}
	key, err := r.Peek(2)
	if err != nil {
		return nil, nil, err
	}
	frames := recycled(int16(binary.BigEndian.Uint16(key)))
	if frames {
		buffer = c.server.frames.get(min(size, firstChunk))
		frame = buffer.bytes
	}
	// The beginning is read before the request is admitted: who only announces one takes no memory from the others.
	if frame, err = c.readMore(r, frame, min(size, firstChunk)); err != nil {
		return nil, nil, err
	}
	if err := c.admit(int64(size)); err != nil {
		return nil, nil, err
	}
	if frames && size > firstChunk {
		larger := c.server.frames.get(min(size, largestChunk))
		frame = append(larger.bytes, frame...)
		c.server.frames.put(buffer)
		buffer = larger
	}
	for len(frame) < size && err == nil {
		room := max(len(frame), cap(frame)-len(frame))
		frame, err = c.readMore(r, frame, min(size-len(frame), room, largestChunk))
	}
	if err != nil {
		c.server.budget.Release(int64(size))
		return nil, nil, err
	}
	return frame, buffer, nil
}

// admit waits for memory. Before it waits, what is answered is written: the client may need it to go on.
func (c *conn) admit(size int64) error {
	if c.server.budget.TryAcquire(size) {
		return nil
	}
	if err := c.flush(); err != nil {
		return err
	}
	c.server.metrics.budgetWaits.Inc()
	return c.server.budget.Acquire(c.server.ctx, size)
}

const (
	// firstChunk is how much of a request is read before it is admitted.
	firstChunk = 64 << 10
	// largestChunk is how much of a request is allocated before its bytes have come: a size alone costs no more than this.
	largestChunk = 4 << 20
	// chunkTimeout is how long one chunk may take: a request that was admitted holds memory that others wait for.
	chunkTimeout = 30 * time.Second
)

// expectMore gives the client the time of a chunk for n bytes, if they have not come.
func (c *conn) expectMore(r *bufio.Reader, n int) error {
	if r.Buffered() >= n {
		return nil
	}
	return c.expect(min(chunkTimeout, c.server.opts.IdleTimeout))
}

// readMore appends the next n bytes to frame.
func (c *conn) readMore(r *bufio.Reader, frame []byte, n int) ([]byte, error) {
	if err := c.expectMore(r, n); err != nil {
		return nil, err
	}
	frame = slices.Grow(frame, n)[:len(frame)+n]
	_, err := io.ReadFull(r, frame[len(frame)-n:])
	return frame, err
}

// unsupported answers a request of a version that is not served: ApiVersions with what is, in its first form; anything else in the form of the version
// next to it, if the request can be told from its header.
func (c *conn) unsupported(cl *call) error {
	if err := c.enqueue(cl); err != nil {
		c.server.budget.Release(cl.size)
		return err
	}
	if cl.header.Key == int16(kmsg.ApiVersions) {
		cl.reply(c.server.versions(0, wire.UnsupportedVersion))
		return c.takeReady()
	}
	if cl.header.Key == int16(kmsg.Produce) { // 0 to 2 are advertised
		cl.reply(produceUnsupported(cl.header.Version))
		return c.takeReady()
	}
	cl.drop()
	return errors.Join(&badInputError{wire.ErrUnsupportedVersion}, c.takeReady())
}

// enqueue gives a request its place; it waits while the connection has as many in flight as it may.
func (c *conn) enqueue(cl *call) error {
	c.mu.Lock()
	full := len(c.mu.queue) >= c.server.opts.MaxInFlight
	c.mu.Unlock()
	if full {
		if err := c.flush(); err != nil {
			return err
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for len(c.mu.queue) >= c.server.opts.MaxInFlight && !c.mu.closed {
		c.moved.Wait()
	}
	if c.mu.closed {
		return net.ErrClosed
	}
	c.mu.queue = append(c.mu.queue, cl)
	return nil
}

// popLocked takes the first call from the queue, which keeps nothing of it.
func (c *conn) popLocked() {
	c.mu.queue[0] = nil
	if c.mu.queue = c.mu.queue[1:]; len(c.mu.queue) == 0 {
		c.mu.queue = nil
	}
}

// takeReady moves what can be answered now to the reader's buffer; what has to wait is left to writeLoop. Only one of the two takes from the queue: once a
// writer runs, it does.
func (c *conn) takeReady() error {
	for {
		c.mu.Lock()
		if c.mu.writer {
			c.mu.Unlock()
			return nil
		}
		if len(c.mu.queue) == 0 {
			c.mu.Unlock()
			return nil
		}
		head := c.mu.queue[0]
		if !head.ready {
			// What the reader has not written yet goes out before the writer may write.
			c.mu.Unlock()
			if err := c.flush(); err != nil {
				return err
			}
			c.mu.Lock()
			if !c.mu.closed {
				c.mu.writer = true
				go c.writeLoop()
			}
			c.mu.Unlock()
			return nil
		}
		c.popLocked()
		c.mu.Unlock()
		if head.stream != nil {
			if err := c.flush(); err != nil {
				head.finish(err)
				return err
			}
			if err := c.write(head); err != nil {
				return err
			}
			continue
		}
		c.out = append(c.out, head.frame...)
		head.finish(nil)
	}
}

// flush writes the reader's buffer.
func (c *conn) flush() error {
	if len(c.out) == 0 {
		return nil
	}
	err := c.writeBytes(c.out)
	if cap(c.out) > keptOutBytes {
		c.out = nil
	}
	c.out = c.out[:0]
	return err
}

func (c *conn) writeBytes(b []byte) error {
	if err := c.net.SetWriteDeadline(time.Now().Add(writeTimeout)); err != nil {
		return err
	}
	n, err := c.net.Write(b)
	c.server.metrics.bytesOut.Add(float64(n))
	return err
}

// writeLoop writes responses in order, as they become ready. It ends when nothing is in flight.
func (c *conn) writeLoop() {
	var batch []byte
	for {
		c.mu.Lock()
		for !c.mu.closed && len(c.mu.queue) > 0 && !c.mu.queue[0].ready {
			if len(batch) > 0 {
				break
			}
			c.moved.Wait()
		}
		stop := c.mu.closed || len(c.mu.queue) == 0 && len(batch) == 0
		if stop {
			rest := c.mu.queue
			if c.mu.closed {
				c.mu.queue = nil
			} else {
				rest = nil
			}
			c.mu.writer = false
			c.moved.Broadcast()
			c.mu.Unlock()
			for _, cl := range rest {
				cl.abandon()
			}
			return
		}
		var head *call
		if len(c.mu.queue) > 0 && c.mu.queue[0].ready && (len(batch) == 0 || c.mu.queue[0].stream == nil) {
			head = c.mu.queue[0]
			c.popLocked()
			c.moved.Broadcast()
		}
		c.mu.Unlock()
		if head != nil && head.stream == nil && len(batch) < keptOutBytes {
			batch = append(batch, head.frame...)
			head.finish(nil)
			continue
		}
		err := error(nil)
		if len(batch) > 0 {
			err = c.writeBytes(batch)
			batch = batch[:0]
		}
		if head != nil {
			if err == nil {
				err = c.write(head)
			} else {
				head.finish(err)
			}
		}
		if err != nil {
			c.close()
		}
	}
}

// write writes one response by itself.
func (c *conn) write(cl *call) error {
	err := c.net.SetWriteDeadline(time.Now().Add(writeTimeout))
	if err == nil {
		if cl.stream == nil {
			err = c.writeBytes(cl.frame)
		} else {
			err = c.writeStream(cl.stream)
		}
	}
	cl.finish(err)
	return err
}

func (c *conn) writeStream(stream func(io.Writer) (int64, error)) error {
	w := streamWriters.Get().(*streamWriter)
	defer streamWriters.Put(w)
	w.conn = c.net
	w.Reset(c.net)
	n, err := stream(w)
	c.server.metrics.bytesOut.Add(float64(n))
	return errors.Join(err, w.Flush())
}

// streamBytes collects the small parts of a streamed response into one write.
const streamBytes = 64 << 10

var streamWriters = sync.Pool{New: func() any { return &streamWriter{Writer: bufio.NewWriterSize(nil, streamBytes)} }}

// streamWriter writes to a connection through a buffer, or past it: who asks for the connection itself gets it behind what is in the buffer.
type streamWriter struct {
	*bufio.Writer
	conn net.Conn
}

// SyscallConn implements syscall.Conn.
func (w *streamWriter) SyscallConn() (syscall.RawConn, error) {
	c, ok := w.conn.(syscall.Conn)
	if !ok {
		return nil, errors.ErrUnsupported
	}
	if err := w.Flush(); err != nil {
		return nil, err
	}
	return c.SyscallConn()
}

// end says that no more requests come. In order, the ones in flight are still answered.
func (c *conn) end(inOrder bool) {
	c.mu.Lock()
	c.mu.ending = true
	if !inOrder {
		c.mu.closed = true
	}
	var rest []*call
	if c.mu.closed && !c.mu.writer {
		rest, c.mu.queue = c.mu.queue, nil
	}
	c.moved.Broadcast()
	c.mu.Unlock()
	for _, cl := range rest {
		cl.abandon()
	}
}

// holdBack keeps a connection unread for a time, and closes it: a client that opens them too fast would at once open the next.
func (c *conn) holdBack(d time.Duration) {
	c.mute(time.Now().Add(d))
	if err := c.waitMuted(); err == nil {
		c.close()
	}
}

// drain makes the reader stop at its next wait for a request.
func (c *conn) drain() {
	c.mu.Lock()
	c.mu.ending = true
	c.moved.Broadcast()
	err := c.net.SetReadDeadline(time.Now())
	c.mu.Unlock()
	if err != nil {
		c.close()
	}
}

// close ends the connection now. Idempotent.
func (c *conn) close() {
	c.mu.Lock()
	c.mu.closed = true
	c.moved.Broadcast()
	c.mu.Unlock()
	c.net.Close() // a second close has nothing to tell
}
