package main

import (
	"fmt"
	"log/slog"
	"os"
	"runtime/debug"

	"github.com/spf13/cobra"

	"github.com/milldam/milldam/core/vfs"
	"github.com/milldam/milldam/runtime/node"
)

// logger writes what a running node has to say.
func (a *app) logger() *slog.Logger {
	level := slog.LevelInfo
	if os.Getenv("MILLDAM_LOG") == "debug" {
		level = slog.LevelDebug
	}
	return slog.New(slog.NewTextHandler(a.err, &slog.HandlerOptions{Level: level}))
}

// devFlags are what dev takes.
type devFlags struct {
	memory       bool
	listen, http string
}

func (a *app) devCommand() *cobra.Command {
	var f devFlags
	c := &cobra.Command{Use: "dev", Short: "Run everything on this machine, with no configuration", Args: usage(cobra.NoArgs), RunE: func(cmd *cobra.Command, _ []string) error {
		return a.dev(cmd, f)
	}}
	c.Flags().BoolVar(&f.memory, "memory", false, "keep everything in memory; nothing stays")
	c.Flags().StringVar(&f.listen, "listen", "", "host:port of the Kafka listener; port 0 picks one (default "+node.DefaultKafka+", or the next free port)")
	c.Flags().StringVar(&f.http, "http", "", "host:port of metrics, health and status; port 0 picks one (default "+node.DefaultHTTP+", or the next free port)")
	return c
}

// Collector settings for a broker: little garbage is made per request, so the heap may grow well past what is live before it is swept, up to a bound.
const (
	gcPercent        = 400
	memoryLimitBytes = 2 << 30
)

func tuneCollector() {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(gcPercent)
	}
	if os.Getenv("GOMEMLIMIT") == "" {
		debug.SetMemoryLimit(memoryLimitBytes)
	}
}

func (a *app) dev(cmd *cobra.Command, f devFlags) error {
	tuneCollector()
	o := node.Options{Dir: a.dir, Kafka: f.listen, HTTP: f.http, Logger: a.logger(), Version: version}
	if f.memory {
		o.FS = vfs.NewMem()
	}
	n, err := node.Start(cmd.Context(), o)
	if err != nil {
		return err
	}
	a.greet(n)
	<-cmd.Context().Done()
	a.say("stopping")
	return n.Close()
}

func (a *app) greet(n *node.Node) {
	e := n.Endpoints()
	fmt.Fprintf(a.err, `
Milldam serves.
  Kafka  %s
  HTTP   %s

Try:
  milldam send hello 'it works'
  milldam tail hello --from start -e
  milldam topic list
^C ends it.
`, e.Kafka, e.HTTP)
}
