//go:build unix

package broker

import (
	"errors"
	"syscall"
)

// writeNow writes what a connection takes without waiting, and returns how much that was. What is wrong with the connection, who writes the rest will find.
func writeNow(raw syscall.RawConn, b []byte) int {
	n := 0
	_ = raw.Control(func(fd uintptr) { // its error says that the connection is closed
		err := error(syscall.EINTR)
		for errors.Is(err, syscall.EINTR) {
			n, err = syscall.Write(int(fd), b)
		}
	})
	return max(n, 0)
}
