package node

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strconv"
	"syscall"
)

// triedPorts is how many ports behind a default one are tried.
const triedPorts = 100

// listen listens on asked, or, when that is empty, on the first free port from the default on.
func (o Options) listen(what, asked, standard, name string) (net.Listener, error) {
	if asked == "" {
		return listenNear(what, standard, o.Logger)
	}
	if err := o.checkAddress(what, asked); err != nil {
		return nil, err
	}
	l, err := net.Listen("tcp", asked)
	if errors.Is(err, syscall.EADDRINUSE) {
		return nil, fmt.Errorf("%s cannot listen on %s: the port is in use; stop what uses it, or choose another with %s (port 0 picks a free one)", what, asked, name)
	}
	if err != nil {
		return nil, fmt.Errorf("%s cannot listen on %s: %w; give %s a host:port of this machine", what, asked, err, name)
	}
	return l, nil
}

func listenNear(what, standard string, log *slog.Logger) (net.Listener, error) {
	host, port, err := net.SplitHostPort(standard)
	if err != nil {
		return nil, err
	}
	first, err := strconv.Atoi(port)
	if err != nil {
		return nil, err
	}
	for p := first; p < first+triedPorts; p++ {
		l, err := net.Listen("tcp", net.JoinHostPort(host, strconv.Itoa(p)))
		if errors.Is(err, syscall.EADDRINUSE) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("%s cannot listen: %w", what, err)
		}
		if p != first {
			log.Warn(what+" moved to another port: the usual one is in use", "usual", standard, "address", l.Addr().String())
		}
		return l, nil
	}
	return nil, fmt.Errorf("%s finds no free port from %d to %d on %s", what, first, first+triedPorts-1, host)
}

// checkAddress refuses addresses that others can reach, unless that was asked for.
func (o Options) checkAddress(what, address string) error {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return fmt.Errorf("%s: %q is no host:port such as %s", what, address, DefaultKafka)
	}
	ip := net.ParseIP(host)
	if o.Insecure || host == "localhost" || ip != nil && ip.IsLoopback() {
		return nil
	}
	return fmt.Errorf("%s on %s: everybody who reaches this address could read and delete everything, as there is no authentication yet; use a loopback address, or set %s", what, address, o.Names.Insecure)
}
