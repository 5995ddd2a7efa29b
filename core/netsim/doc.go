// Package netsim is a network in memory, for tests: hosts by name, connections that behave as TCP does, and faults between any two hosts.
//
// A cut holds what is sent, as a network does whose packets are lost and sent again: bytes arrive after Heal, in order, unless the
// connection is reset or closed first. Faults have a direction, so that one host may hear the other and not be heard. Buffers are bounded:
// who writes to a host that does not read, or is cut off, blocks until its deadline.
//
// It works under testing/synctest: every wait is on a condition variable or a timer. One lock guards the whole network.
//
// Files: network.go hosts, links and faults; conn.go one connection; listener.go accepts.
package netsim
