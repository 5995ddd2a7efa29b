package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/milldam/milldam/pipelines"
	"github.com/milldam/milldam/runtime/node"
)

// pipelineLook is how often `pipeline run` looks how its pipelines fare.
const pipelineLook = 500 * time.Millisecond

func (a *app) pipelineRun() *cobra.Command {
	var instance string
	c := &cobra.Command{Use: "run FILE...", Short: "Run pipelines against a cluster until their sources end or ^C", Args: usage(cobra.MinimumNArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			specs, err := a.checked(args)
			if err != nil {
				return err
			}
			_, admin, err := a.connect(cmd.Context())
			if err != nil {
				return err
			}
			admin.Close()
			o, err := a.clusterOptions()
			if err != nil {
				return err
			}
			line := newStatusLine(a.err)
			log, _ := logger(line)
			m, err := pipelines.NewManager(specs, pipelines.Options{Client: o, InstanceID: instance, Logger: log})
			if err != nil {
				return err
			}
			m.Start()
			defer func() { err = errors.Join(err, m.Close()) }()
			a.say("%s started; ^C ends", counted(int64(len(specs)), "pipeline"))
			defer line.end()
			tick := time.NewTicker(pipelineLook)
			defer tick.Stop()
			for {
				all := m.Status()
				line.set(statusText(all))
				if allDone(all) {
					line.end()
					return a.printStatus(m.Status())
				}
				select {
				case <-cmd.Context().Done():
					line.end()
					return a.printStatus(m.Status())
				case <-tick.C:
				}
			}
		}}
	c.Flags().StringVar(&instance, "instance", "", "a name that this process keeps: started again after a crash it takes its place at once; two at a time must not have the same")
	return c
}

func allDone(all []pipelines.Status) bool {
	for _, s := range all {
		if s.State != pipelines.Done {
			return false
		}
	}
	return true
}

// statusText is the pipelines in one line.
func statusText(all []pipelines.Status) string {
	var parts []string
	for _, s := range all {
		text := fmt.Sprintf("%s %s, %s in, %s out", s.Name, s.State, grouped(s.In()), grouped(s.Out()))
		if s.Detail != "" {
			text += " (" + s.Detail + ")"
		}
		parts = append(parts, text)
	}
	return strings.Join(parts, "; ")
}

func (a *app) pipelineStatus(use, short string) *cobra.Command {
	return &cobra.Command{Use: use, Short: short, Args: usage(cobra.NoArgs), RunE: func(cmd *cobra.Command, _ []string) error {
		list, err := a.fetchStatus(cmd.Context())
		if err != nil {
			return err
		}
		return a.printStatus(list)
	}}
}

func (a *app) printStatus(list []pipelines.Status) error {
	var names []string
	var table [][]string
	for _, s := range list {
		lag := "-"
		if s.Lag() >= 0 {
			lag = grouped(s.Lag())
		}
		detail := s.Detail
		for _, h := range s.Hops {
			if h.Failure != "" {
				detail = h.Failure
			}
		}
		names = append(names, s.Name)
		table = append(table, []string{s.Name, string(s.State), grouped(s.In()), grouped(s.Out()), grouped(s.Dead()), lag, detail})
	}
	return a.print(map[string]any{"apiVersion": "v1", "pipelines": list}, names, []string{"PIPELINE", "STATE", "IN", "OUT", "DEAD", "LAG", "DETAIL"}, table)
}

// fetchStatus asks the node of the data folder.
func (a *app) fetchStatus(ctx context.Context) ([]pipelines.Status, error) {
	name := filepath.Join(a.dir, node.EndpointsFile)
	data, err := os.ReadFile(name)
	if err != nil {
		return nil, codedf(exitUnreachable, "no node has run in %s: start one with `milldam dev`, or name its folder with --dir", a.dir)
	}
	var e node.Endpoints
	if err := json.Unmarshal(data, &e); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	if e.HTTP == "" {
		return nil, codedf(exitUnreachable, "the node of %s serves no HTTP: start it without --http none", a.dir)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, strings.TrimSuffix(e.HTTP, "/")+"/api/v1/pipelines", nil)
	if err != nil {
		return nil, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, codedf(exitUnreachable, "the node of %s does not answer at %s: is it running?", a.dir, e.HTTP)
	}
	defer resp.Body.Close()
	var body struct {
		Pipelines []pipelines.Status `json:"pipelines"`
	}
	if err := json.NewDecoder(resp.Body).Decode(&body); err != nil {
		return nil, fmt.Errorf("read the answer of %s: %w", e.HTTP, err)
	}
	return body.Pipelines, nil
}
