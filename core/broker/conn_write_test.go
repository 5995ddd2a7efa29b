package broker

import (
	"bytes"
	"io"
	"net"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/milldam/milldam/core/wire"
)

// connected returns both ends of a connection over the loopback device, the broker's as it is while requests are in flight and their reader went on.
func connected(t *testing.T, inFlight int) (c *conn, calls []*call, client net.Conn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if client, err = net.Dial("tcp", l.Addr().String()); err != nil {
		t.Fatal(err)
	}
	nc, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close(); nc.Close() })
	s := &Server{metrics: newMetrics()}
	s.opts.MaxInFlight, s.opts.IdleTimeout = inFlight, time.Minute
	c = newConn(s, nc)
	for range inFlight {
		cl := &call{conn: c, header: wire.Header{Key: int16(kmsg.Produce)}, began: time.Now()}
		if err := c.enqueue(cl); err != nil {
			t.Fatal(err)
		}
		if err := c.takeReady(); err != nil {
			t.Fatal(err)
		}
		calls = append(calls, cl)
	}
	return c, calls, client
}

func (c *conn) takenBy() taker {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.mu.taker
}

func TestAnswersAreWrittenWhereTheyAreGivenInTheOrderOfTheirRequests(t *testing.T) {
	c, calls, client := connected(t, 3)
	frames := [][]byte{bytes.Repeat([]byte("a"), 100), bytes.Repeat([]byte("b"), 100), bytes.Repeat([]byte("c"), 100)}
	for _, i := range []int{0, 2, 1} {
		calls[i].here = true
		calls[i].answer(frames[i], nil, nil)
		if i == 0 && c.takenBy() != byAnswer {
			t.Error("a writer runs after an answer that the connection took at once")
		}
	}
	got := make([]byte, 300)
	if _, err := io.ReadFull(client, got); err != nil || !bytes.Equal(got, bytes.Join(frames, nil)) {
		t.Errorf("read %q, %v", got, err)
	}
}

func TestWhoAnswersDoesNotWaitForAClientThatDoesNotRead(t *testing.T) {
	_, calls, client := connected(t, 2)
	large := make([]byte, 32<<20) // more than the buffers of both ends
	for i := range large {
		large[i] = byte(i >> 12)
	}
	calls[0].here = true
	calls[0].answer(large, nil, nil) // returns, with nobody reading
	calls[1].here = true
	calls[1].answer([]byte("behind it"), nil, nil)
	got := make([]byte, len(large)+len("behind it"))
	if _, err := io.ReadFull(client, got); err != nil || !bytes.Equal(got, append(large, "behind it"...)) {
		t.Errorf("what was read is not what was answered: %v", err)
	}
}

func TestAnEndingConnectionAnswersWhatIsInFlight(t *testing.T) {
	for _, here := range []bool{true, false} {
		c, calls, client := connected(t, 2)
		c.drain()
		ended := make(chan struct{})
		go func() { c.readLoop(); close(ended) }()
		for i, text := range []string{"first", "second"} {
			calls[i].here = here
			calls[i].answer([]byte(text), nil, nil)
		}
		got, err := io.ReadAll(client)
		if string(got) != "firstsecond" || err != nil {
			t.Errorf("here %v: read %q, %v", here, got, err)
		}
		<-ended
	}
}

func TestAnswersForAConnectionThatIsGoneGoNowhere(t *testing.T) {
	c, calls, client := connected(t, 2)
	client.Close()
	c.readLoop() // finds that
	finished := false
	calls[0].here = true
	calls[0].answer([]byte("late"), nil, func() { finished = true })
	if !finished || c.takenBy() == byWriter {
		t.Errorf("finished %v, taken by %v", finished, c.takenBy())
	}
}
