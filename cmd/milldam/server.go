package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/spf13/cobra"

	"github.com/milldam/milldam/core/config"
	"github.com/milldam/milldam/pipelines"
	"github.com/milldam/milldam/runtime/node"
)

func (a *app) serverCommand() *cobra.Command {
	var file string
	c := &cobra.Command{Use: "server", Short: "Run a node from a configuration file", Args: usage(cobra.NoArgs), RunE: func(cmd *cobra.Command, _ []string) (err error) {
		tuneCollector()
		text, err := os.ReadFile(file)
		if errors.Is(err, fs.ErrNotExist) {
			return codedf(exitConfig, "there is no configuration file %s: name one with --config, or run `milldam dev`, which needs none", file)
		}
		if err != nil {
			return codedf(exitConfig, "--config: %w", err)
		}
		o, dir, errs := node.ParseFile(file, text, config.Options{References: config.SystemReferences(".", "")})
		if len(errs) > 0 {
			fmt.Fprint(a.err, errs.Render())
			return &coded{exitConfig, errSilent}
		}
		var specs []*pipelines.Spec
		if dir != "" {
			if specs, err = a.folder(dir, "pipelines.dir in "+file); err != nil {
				return err
			}
		}
		o.Logger, o.LogLevel = logger(a.err)
		o.Version = versionName()
		n, err := node.Start(cmd.Context(), o)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, stopped(n.Close())) }()
		if _, err := n.RunPipelines(specs); err != nil {
			return err
		}
		<-cmd.Context().Done()
		return nil
	}}
	c.Flags().StringVarP(&file, "config", "c", "milldam.yaml", "configuration file")
	return c
}
