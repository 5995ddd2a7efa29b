package netsim

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// connected returns both ends of a connection from host a to host b.
func connected(t *testing.T, n *Network) (a, b net.Conn) {
	t.Helper()
	l, err := n.Listen("b:9092")
	must(t, err)
	defer l.Close()
	a, err = n.Dialer("a")(t.Context(), "tcp", "b:9092")
	must(t, err)
	b, err = l.Accept()
	must(t, err)
	return a, b
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// hears asserts that the next bytes that c reads are want, and how long they took.
func hears(t *testing.T, c net.Conn, want string, took time.Duration) {
	t.Helper()
	began := time.Now()
	got := make([]byte, len(want))
	if _, err := io.ReadFull(c, got); err != nil || string(got) != want || time.Since(began) != took {
		t.Errorf("read %q, %v after %s, want %q after %s", got, err, time.Since(began), want, took)
	}
}

// silent asserts that c reads nothing for an hour.
func silent(t *testing.T, c net.Conn) {
	t.Helper()
	must(t, c.SetReadDeadline(time.Now().Add(time.Hour)))
	if n, err := c.Read(make([]byte, 10)); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("read %d bytes, %v", n, err)
	}
	must(t, c.SetReadDeadline(time.Time{}))
}

func say(t *testing.T, c net.Conn, text string) {
	t.Helper()
	if _, err := c.Write([]byte(text)); err != nil {
		t.Fatal(err)
	}
}

func TestBothSidesTalkAndHangUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := connected(t, New())
		say(t, a, "one")
		say(t, a, "two")
		say(t, b, "three")
		hears(t, b, "onetwo", 0)
		hears(t, a, "three", 0)
		say(t, a, "last")
		must(t, a.Close())
		hears(t, b, "last", 0)
		if _, err := b.Read(make([]byte, 1)); err != io.EOF {
			t.Errorf("after the other closed: %v", err)
		}
		if _, err := b.Write([]byte("x")); !errors.Is(err, syscall.EPIPE) {
			t.Errorf("write to a closed connection: %v", err)
		}
		if _, err := a.Read(make([]byte, 1)); !errors.Is(err, net.ErrClosed) {
			t.Errorf("read of what was closed: %v", err)
		}
		if a.RemoteAddr().String() != "b:9092" || b.RemoteAddr().String() != a.LocalAddr().String() || !strings.HasPrefix(a.LocalAddr().String(), "a:") {
			t.Errorf("addresses %s, %s", a.RemoteAddr(), b.RemoteAddr())
		}
	})
}

func TestACutHoldsAndAHealDelivers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := New()
		a, b := connected(t, n)
		n.Cut("a", "b")
		say(t, a, "held")
		say(t, b, "too")
		silent(t, a)
		silent(t, b)
		time.AfterFunc(time.Minute, func() { n.Heal("a", "b") })
		hears(t, b, "held", time.Minute)
		hears(t, a, "too", 0)
	})
}

func TestADropHasOneDirection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := New()
		a, b := connected(t, n)
		n.Drop("a", "b")
		say(t, a, "lost")
		say(t, b, "heard")
		hears(t, a, "heard", 0)
		silent(t, b)
		n.Heal("a", "b")
		hears(t, b, "lost", 0)
	})
}

func TestADelayCounts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := New()
		a, b := connected(t, n)
		n.Delay("a", "b", 100*time.Millisecond)
		say(t, a, "slow")
		hears(t, b, "slow", 100*time.Millisecond)
		must(t, a.Close())
		began := time.Now()
		if _, err := b.Read(make([]byte, 1)); err != io.EOF || time.Since(began) != 100*time.Millisecond {
			t.Errorf("the end came after %s: %v", time.Since(began), err)
		}
		l, err := n.Listen("b:1")
		must(t, err)
		began = time.Now()
		_, err = n.Dialer("a")(t.Context(), "tcp", "b:1")
		must(t, err)
		if took := time.Since(began); took != 200*time.Millisecond {
			t.Errorf("a dial took %s", took)
		}
		must(t, l.Close())
	})
}

func TestAResetEndsBothSides(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := New()
		a, b := connected(t, n)
		say(t, a, "never read")
		time.AfterFunc(time.Second, func() { n.Reset("b", "a") })
		if _, err := a.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("read: %v", err)
		}
		if _, err := b.Write([]byte("x")); !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("write: %v", err)
		}
	})
}

func TestWhoDoesNotReadHoldsUpWhoWrites(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := connected(t, New())
		must(t, a.SetWriteDeadline(time.Now().Add(time.Second)))
		n, err := a.Write(make([]byte, 2*bufferBytes))
		if n != bufferBytes || !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Fatalf("wrote %d bytes, %v", n, err)
		}
		must(t, a.SetWriteDeadline(time.Time{}))
		go io.CopyN(io.Discard, b, 3*bufferBytes)
		if n, err := a.Write(make([]byte, 2*bufferBytes)); n != 2*bufferBytes || err != nil {
			t.Errorf("wrote %d bytes, %v", n, err)
		}
	})
}

func TestDialling(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := New()
		if _, err := n.Dialer("a")(t.Context(), "tcp", "b:1"); !errors.Is(err, syscall.ECONNREFUSED) {
			t.Errorf("nobody listens: %v", err)
		}
		l, err := n.Listen("b:1")
		must(t, err)
		if _, err := n.Listen("b:1"); !errors.Is(err, errInUse) {
			t.Errorf("listen twice: %v", err)
		}
		n.Cut("a", "b")
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := n.Dialer("a")(ctx, "tcp", "b:1"); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("dial over a cut: %v", err)
		}
		time.AfterFunc(time.Second, func() { n.Heal("a", "b") })
		waiting, err := n.Dialer("a")(t.Context(), "tcp", "b:1")
		must(t, err)
		time.AfterFunc(time.Second, func() { l.Close() })
		if _, err := waiting.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("the listener closed before it accepted: %v", err)
		}
		if _, err := l.Accept(); !errors.Is(err, net.ErrClosed) {
			t.Errorf("accept after close: %v", err)
		}
	})
}
