package broker

import (
	"bufio"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"syscall"
	"time"
)

// conn is one client's connection.
type conn struct {
	server *Server
	net    net.Conn
	raw    syscall.RawConn // of net; nil where it has none
	out    []byte          // responses that the reader has not written yet; its own

	mu struct {
		sync.Mutex
		queue  []*call // in flight, in the order of their requests
		taker  taker
		ending bool // no more requests; the connection closes when the queue is empty
		closed bool
		muted  time.Time // no request is handled before
	}
	moved *sync.Cond // the queue or the state changed
}

// taker is who takes calls from the front of the queue, and writes their responses: one at a time.
type taker int8

const (
	byReader taker = iota // as soon as it has handled a request
	byAnswer              // the first is not ready, and the reader went on: who makes it ready starts a writer
	byWriter              // until nothing is in flight
)

const (
	// readBytes is what one read may bring, and how much of a request is read before it is admitted; requests that came together are answered together. Most
	// Produce requests fit, with a batch of 64 KiB and what comes around it.
	readBytes = 72 << 10
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
	if sc, ok := nc.(syscall.Conn); ok {
		c.raw, _ = sc.SyscallConn() // none of one that is closed already
	}
	return c
}

// readLoop reads and handles requests until the connection ends.
func (c *conn) readLoop() {
	err := c.serve()
	c.end(errors.Is(err, errEnding))
	c.mu.Lock()
	for c.mu.taker == byWriter || len(c.mu.queue) > 0 && !c.mu.closed {
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
	if until.IsZero() || !time.Now().Before(until) {
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

// end says that no more requests come. In order, the ones in flight are still answered.
func (c *conn) end(inOrder bool) {
	c.mu.Lock()
	c.mu.ending = true
	if !inOrder {
		c.mu.closed = true
	}
	var rest []*call
	if c.mu.closed && c.mu.taker != byWriter {
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
