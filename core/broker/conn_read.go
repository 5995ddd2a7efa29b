package broker

import (
	"bufio"
	"encoding/binary"
	"errors"
	"io"
	"slices"
	"strconv"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/milldam/milldam/core/invariant"
	"github.com/milldam/milldam/core/wire"
)

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
	f, err := c.readFrame(r, size)
	if err != nil {
		return err
	}
	defer f.done()
	c.server.metrics.bytesIn.Add(float64(size))
	h, req, err := wire.ParseRequest(f.bytes)
	cl := &call{conn: c, header: h, size: int64(size), began: time.Now()}
	cl.held.Store(c.server.budget)
	if h.Key == int16(kmsg.Fetch) {
		cl.buffer, f.buffer = f.buffer, nil
	}
	switch {
	case errors.Is(err, wire.ErrUnsupportedVersion):
		return c.unsupported(cl)
	case err != nil:
		cl.release()
		return &badInputError{err}
	}
	if err := c.enqueue(cl); err != nil {
		cl.release()
		return err
	}
	c.server.dispatch(cl, req)
	cl.worked.Store(int64(max(1, time.Since(cl.began))))
	return c.takeReady()
}

// frame is a request's bytes.
type frame struct {
	bytes  []byte
	conn   *conn
	buffer *frameBuffer  // that they are in; nil when it is not used again
	in     *bufio.Reader // that they are still in; nil when they were taken out
}

// done gives up the bytes, if they are to be used again.
func (f *frame) done() {
	if invariant.On && (f.buffer != nil || f.in != nil) {
		for i := range f.bytes {
			f.bytes[i] = '?' // what tests find who looks at a request that is over
		}
	}
	f.conn.server.frames.put(f.buffer)
	if f.in != nil {
		f.in.Discard(len(f.bytes)) // which it has
	}
}

// readFrame reads a request of size bytes, and admits it: the budget is taken when there is no error. A Produce request is left in the reader's buffer if it fits: its
// handler copies the batches, so that nothing of it is needed once the handler has returned.
func (c *conn) readFrame(r *bufio.Reader, size int) (frame, error) {
	f := frame{conn: c}
	// The beginning is read before the request is admitted: who only announces one takes no memory from the others.
	beginning, err := c.peek(r, min(size, readBytes))
	if err != nil {
		return f, err
	}
	if err := c.admit(int64(size)); err != nil {
		return f, err
	}
	key := int16(binary.BigEndian.Uint16(beginning))
	if key == int16(kmsg.Produce) && len(beginning) == size {
		f.bytes, f.in = beginning, r
		return f, nil
	}
	if recycled(key) {
		f.buffer = c.server.frames.get(min(size, largestChunk))
		f.bytes = f.buffer.bytes
	}
	for len(f.bytes) < size && err == nil {
		room := max(len(f.bytes), cap(f.bytes)-len(f.bytes), len(beginning))
		f.bytes, err = c.readMore(r, f.bytes, min(size-len(f.bytes), room, largestChunk))
	}
	if err != nil {
		c.server.budget.Release(int64(size))
		f.done()
	}
	return f, err
}

// peek waits for the next n bytes, and leaves them in the reader's buffer.
func (c *conn) peek(r *bufio.Reader, n int) ([]byte, error) {
	if err := c.expectMore(r, n); err != nil {
		return nil, err
	}
	return r.Peek(n)
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
		cl.release()
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
