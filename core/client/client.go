package client

import (
	"context"
	"fmt"
	"net"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// Options say how to reach a cluster. The zero value reaches 127.0.0.1:9092 over TCP.
type Options struct {
	Brokers  []string
	ClientID string
	// Dial opens a connection to a broker; nil is TCP. The binary injects its in-memory listener here.
	Dial func(ctx context.Context, network, addr string) (net.Conn, error)
}

// New returns a client; extra options are applied last.
func New(o Options, extra ...kgo.Opt) (*kgo.Client, error) {
	opts := []kgo.Opt{kgo.MetadataMinAge(metadataMinAge)}
	if len(o.Brokers) > 0 {
		opts = append(opts, kgo.SeedBrokers(o.Brokers...))
	}
	if o.ClientID != "" {
		opts = append(opts, kgo.ClientID(o.ClientID))
	}
	if o.Dial != nil {
		opts = append(opts, kgo.Dialer(o.Dial))
	}
	return kgo.NewClient(append(opts, extra...)...)
}

// metadataMinAge is how old a client's knowledge of topics must be before it asks again. The library's own 5 s would be the longest part of
// the first write to a topic that was just made.
const metadataMinAge = 250 * time.Millisecond

// NewAdmin returns an admin client.
func NewAdmin(o Options) (*kadm.Client, error) {
	c, err := New(o)
	if err != nil {
		return nil, err
	}
	return kadm.NewClient(c), nil
}

// Ping asks the cluster for an answer, and explains when there is none: what was tried, where, and what to do.
func Ping(ctx context.Context, cl *kgo.Client, o Options) error {
	ctx, cancel := context.WithTimeout(ctx, pingTimeout)
	defer cancel()
	if err := cl.Ping(ctx); err != nil {
		where := "127.0.0.1:9092"
		if len(o.Brokers) > 0 {
			where = strings.Join(o.Brokers, ", ")
		}
		return fmt.Errorf("no Kafka cluster answers at %s: %w; start one with `milldam dev`, or name another with -b HOST:PORT", where, err)
	}
	return nil
}

// pingTimeout is how long a cluster may take to answer for the first time.
const pingTimeout = 10 * time.Second
