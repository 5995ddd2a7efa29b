package broker

import (
	"bufio"
	"errors"
	"io"
	"net"
	"sync"
	"syscall"
	"time"
)

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

// takeReady moves what can be answered now to the reader's buffer; what has to wait is left to who answers it.
func (c *conn) takeReady() error {
	for {
		head, waits := c.next()
		if waits { // what the reader has not written yet goes out before another may write
			if err := c.flush(); err != nil {
				return err
			}
			continue
		}
		if head == nil {
			return nil
		}
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

// next takes the first call for the reader, if it is ready. Otherwise it leaves the queue to who answers that call; waits is true when there is something to write before.
func (c *conn) next() (head *call, waits bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.mu.taker != byReader || len(c.mu.queue) == 0 {
		return nil, false
	}
	if head = c.mu.queue[0]; head.ready {
		c.popLocked()
		return head, false
	}
	if len(c.out) > 0 {
		return nil, true
	}
	c.mu.taker = byAnswer
	return nil, false
}

// writeHere writes the first response as far as the connection takes it at once. A writer does what is left.
func (c *conn) writeHere() {
	c.mu.Lock()
	head := c.mu.queue[0]
	c.popLocked()
	c.moved.Broadcast()
	c.mu.Unlock()
	n := writeNow(c.raw, head.frame)
	c.server.metrics.bytesOut.Add(float64(n))
	head.finish(nil)
	if rest := head.frame[n:]; len(rest) > 0 || !c.handBack() {
		go c.writeLoop(rest)
	}
}

// handBack gives up the queue, where no writer is needed.
func (c *conn) handBack() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.mu.closed || len(c.mu.queue) > 0 && c.mu.queue[0].ready:
		return false
	case len(c.mu.queue) > 0:
		c.mu.taker = byAnswer
	default:
		c.mu.taker = byReader
		c.moved.Broadcast()
	}
	return true
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

// writeLoop writes batch, and then responses in order, as they become ready. It ends when nothing is in flight.
func (c *conn) writeLoop(batch []byte) {
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
			c.mu.taker = byReader
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
