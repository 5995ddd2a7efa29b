//go:build !linux

package broker

import "net"

// boundPaced has nothing to bound: the other systems do not pace.
func boundPaced(net.Conn) {}
