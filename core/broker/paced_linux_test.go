package broker

import (
	"net"
	"testing"

	"golang.org/x/sys/unix"
)

func TestOnlyPacedConnectionsHaveASmallSendBuffer(t *testing.T) {
	for _, c := range []struct {
		control string
		bounded bool
	}{{"bbr", true}, {"reno", false}} {
		t.Run(c.control, func(t *testing.T) {
			raw := accepted(t)
			if err := raw.congestion(c.control); err != nil {
				t.Skipf("the kernel has no %s: %v", c.control, err)
			}
			before := raw.sendBuffer(t)
			boundPaced(raw.TCPConn)
			got := raw.sendBuffer(t)
			if bounded := got != before && got <= 2*pacedSendBytes; bounded != c.bounded || !bounded && got != before {
				t.Errorf("send buffer of %d bytes, it was %d; bounded should be %v", got, before, c.bounded)
			}
		})
	}
}

// tcp is a connection whose socket can be asked.
type tcp struct{ *net.TCPConn }

// accepted returns the server's end of a connection over the loopback device.
func accepted(t *testing.T) tcp {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	client, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	server, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close(); server.Close() })
	return tcp{server.(*net.TCPConn)}
}

func (c tcp) control(fn func(fd int) error) error {
	raw, err := c.SyscallConn()
	if err != nil {
		return err
	}
	var failed error
	if err := raw.Control(func(fd uintptr) { failed = fn(int(fd)) }); err != nil {
		return err
	}
	return failed
}

func (c tcp) congestion(name string) error {
	return c.control(func(fd int) error { return unix.SetsockoptString(fd, unix.IPPROTO_TCP, unix.TCP_CONGESTION, name) })
}

func (c tcp) sendBuffer(t *testing.T) (n int) {
	t.Helper()
	err := c.control(func(fd int) (err error) {
		n, err = unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUF)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return n
}
