package broker

import (
	"net"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// pacedSendBytes is the send buffer of a paced connection to a client that is near. The kernel takes twice as much, for what it keeps beside the bytes: at nearRTT it
	// is still 300 MB/s.
	pacedSendBytes = 160 << 10
	// nearRTT is the round trip up to which a client is near. One further away needs as large a buffer as the kernel finds out.
	nearRTT = time.Millisecond
)

// boundPaced gives a connection a small send buffer where a large one only costs: in front of a congestion control that paces (BBR), where most of a large buffer waits for a
// timer, and leaves it packet by packet, each waking a client that has just read the one before, and none still in a processor's cache. It halves what a fetch costs
// both sides. Without pacing a small buffer costs more than it saves, so all others keep the one that the kernel sizes.
func boundPaced(nc net.Conn) {
	c, ok := nc.(syscall.Conn)
	if !ok {
		return
	}
	raw, err := c.SyscallConn()
	if err != nil {
		return
	}
	// What cannot be asked or set, of a connection that is no TCP or has ended, is left as it is.
	_ = raw.Control(func(fd uintptr) {
		if control, err := unix.GetsockoptString(int(fd), unix.IPPROTO_TCP, unix.TCP_CONGESTION); err != nil || control != "bbr" {
			return
		}
		info, err := unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO)
		if err != nil || info.Rtt == 0 || time.Duration(info.Rtt)*time.Microsecond > nearRTT { // 0: not known
			return
		}
		_ = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_SNDBUF, pacedSendBytes)
	})
}
