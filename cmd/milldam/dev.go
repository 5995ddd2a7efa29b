package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"runtime/debug"

	"github.com/spf13/cobra"

	"github.com/milldam/milldam/core/vfs"
	"github.com/milldam/milldam/pipelines"
	"github.com/milldam/milldam/runtime/node"
)

// logger writes to w what a running node has to say, from a level on that can be changed.
func logger(w io.Writer) (*slog.Logger, *slog.LevelVar) {
	level := new(slog.LevelVar)
	if os.Getenv("MILLDAM_LOG") == "debug" {
		level.Set(slog.LevelDebug)
	}
	return slog.New(slog.NewTextHandler(w, &slog.HandlerOptions{Level: level})), level
}

// devFlags are what dev takes.
type devFlags struct {
	demo, once, memory      bool
	listen, http, pipelines string
}

func (a *app) devCommand() *cobra.Command {
	var f devFlags
	c := &cobra.Command{Use: "dev", Short: "Run everything on this machine, with no configuration", Args: usage(cobra.NoArgs), RunE: func(cmd *cobra.Command, _ []string) error {
		return a.dev(cmd, f)
	}}
	c.Flags().BoolVar(&f.demo, "demo", false, "run the flights demo: real flights through topics, windows, Parquet objects and a search engine")
	c.Flags().BoolVar(&f.once, "once", false, "with --demo: end after the summary; exit 8 when the results are not right")
	c.Flags().BoolVar(&f.memory, "memory", false, "keep everything in memory; nothing stays")
	c.Flags().StringVar(&f.listen, "listen", "", "host:port of the Kafka listener; port 0 picks one (default "+node.DefaultKafka+", or the next free port)")
	c.Flags().StringVar(&f.http, "http", "", "host:port of metrics, health and status; port 0 picks one (default "+node.DefaultHTTP+", or the next free port)")
	c.Flags().StringVar(&f.pipelines, "pipelines", defaultPipelines, "folder whose *.yaml are run, when it is there")
	return c
}

// defaultPipelines is the folder that dev looks for.
const defaultPipelines = "pipelines"

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

func (a *app) dev(cmd *cobra.Command, f devFlags) (err error) {
	if f.once && !f.demo {
		return codedf(exitUsage, "--once belongs to --demo")
	}
	tuneCollector()
	line := newStatusLine(a.err)
	o := node.Options{FS: vfs.OS(), Dir: a.dir, Kafka: f.listen, HTTP: f.http, Version: versionName()}
	o.Logger, o.LogLevel = logger(line)
	if f.memory {
		o.FS, o.ReserveBytes = vfs.NewMem(), -1
	}
	asked := ""
	if cmd.Flags().Changed("pipelines") {
		asked = "--pipelines"
	}
	specs, err := a.folder(f.pipelines, asked)
	if err != nil {
		return err
	}
	n, err := node.Start(cmd.Context(), o)
	if err != nil {
		return err
	}
	defer func() {
		a.say("stopping")
		err = errors.Join(err, stopped(n.Close()))
	}()
	var d *demo
	if f.demo {
		if d, err = a.newDemo(o.FS, f.memory); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, stopped(n.Close()), d.close()) }()
		specs = append(specs, d.specs...)
	}
	manager, err := n.RunPipelines(specs)
	if err != nil {
		return err
	}
	a.greet(n)
	if d != nil {
		d.node, d.manager = n, manager
		if done, err := d.present(cmd.Context(), line, f.once); done || err != nil {
			return err
		}
	}
	<-cmd.Context().Done()
	return nil
}

// present shows the demo and its summary; done is true when nothing is left to do after it.
func (d *demo) present(ctx context.Context, line *statusLine, once bool) (done bool, err error) {
	s, err := d.run(ctx, line)
	if err != nil || s == nil {
		return s == nil, err
	}
	if err := d.print(s); err != nil {
		return false, err
	}
	switch {
	case once && !s.Correct:
		return true, &coded{exitCheck, errSilent}
	case once:
		return true, nil
	}
	d.commands()
	d.app.say("Still serving; ^C ends it.")
	return false, nil
}

// folder loads the pipelines *.yaml and *.yml of dir. asked is how the user asked for it; when that is empty it need not be there.
func (a *app) folder(dir, asked string) ([]*pipelines.Spec, error) {
	entries, err := os.ReadDir(dir)
	switch {
	case err != nil && asked != "":
		return nil, codedf(exitNotFound, "%s: %w", asked, err)
	case err != nil:
		return nil, nil
	}
	var files []string
	for _, e := range entries {
		if ext := filepath.Ext(e.Name()); !e.IsDir() && (ext == ".yaml" || ext == ".yml") {
			files = append(files, filepath.Join(dir, e.Name()))
		}
	}
	if len(files) == 0 {
		if asked != "" {
			return nil, codedf(exitNotFound, "%s: %s holds no *.yaml", asked, dir)
		}
		return nil, nil
	}
	return a.checked(files)
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
