package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/milldam/milldam/core/config"
	"github.com/milldam/milldam/core/meta"
	"github.com/milldam/milldam/core/wire"
	"github.com/milldam/milldam/pipelines"
	"github.com/milldam/milldam/runtime/node"
)

const generated = "<!-- Generated from the code by `make docs`; do not edit. -->\n\n"

func (a *app) docsCommand() *cobra.Command {
	return &cobra.Command{Use: "docs DIR", Short: "Write the generated reference pages", Hidden: true, Args: usage(cobra.ExactArgs(1)), RunE: func(cmd *cobra.Command, args []string) error {
		r, err := registry()
		if err != nil {
			return err
		}
		pages := map[string]string{"pipelines.md": pipelines.Reference(r), "cli.md": cliPage(cmd.Root()), "configuration.md": configurationPage(), "apis.md": apisPage(), "kafka-configs.md": kafkaConfigsPage()}
		for name, text := range pages {
			if err := os.WriteFile(filepath.Join(args[0], name), []byte(text), 0o644); err != nil {
				return err
			}
		}
		return nil
	}}
}

// cliPage lists every command with its flags.
func cliPage(root *cobra.Command) string {
	var b strings.Builder
	b.WriteString("# Command line\n\n" + generated + "`stdout` is data, `stderr` is talk. Exit codes: 0 done, 1 failed or errors found by lint and test, 2 wrong usage, 3 invalid configuration, " +
		"4 not found, 5 denied, 6 unreachable, 7 partly done, 8 a check failed, 130 interrupted.\n\n")
	b.WriteString("## Flags of every command\n\n" + flagTable(root.PersistentFlags()))
	var walk func(c *cobra.Command)
	walk = func(c *cobra.Command) {
		if c.Hidden || c.Name() == "help" || c.Name() == "completion" {
			return
		}
		if !c.HasSubCommands() {
			fmt.Fprintf(&b, "## %s\n\n%s.\n\n```\n%s\n```\n\n%s", c.CommandPath(), c.Short, c.UseLine(), flagTable(c.LocalNonPersistentFlags()))
		}
		for _, sub := range c.Commands() {
			walk(sub)
		}
	}
	walk(root)
	return strings.TrimRight(b.String(), "\n") + "\n"
}

func flagTable(flags *pflag.FlagSet) string {
	var b strings.Builder
	flags.VisitAll(func(f *pflag.Flag) {
		if f.Name == "help" {
			return
		}
		name := "--" + f.Name
		if f.Shorthand != "" {
			name = "-" + f.Shorthand + ", " + name
		}
		value := ""
		if f.DefValue != "" && f.DefValue != "false" && f.DefValue != "[]" {
			value = "`" + strings.ReplaceAll(f.DefValue, "\n", `\n`) + "`"
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s |\n", name, f.Value.Type(), value, strings.ReplaceAll(f.Usage, "|", `\|`))
	})
	if b.Len() == 0 {
		return ""
	}
	return "| Flag | Value | Default | |\n|---|---|---|---|\n" + b.String() + "\n"
}

func configurationPage() string {
	return "# Configuration of `milldam server`\n\n" + generated + "`milldam server --config FILE` reads YAML. `${env:NAME}`, `${env:NAME:-default}`, `${file:path}` and `${secret:key}` are replaced in every value. " +
		"A field that is not known is an error with its line and a suggestion.\n\n" + config.MarkdownTable(config.Fields(node.File{}))
}

// apisPage lists what ApiVersions answers.
func apisPage() string {
	var b strings.Builder
	b.WriteString("# Kafka APIs\n\n" + generated + "What `ApiVersions` answers: every API at the versions of Apache Kafka 4.3.1, and no other API. [protocol.md](protocol.md) says where answers differ.\n\n" +
		"| Key | API | Versions |\n|---|---|---|\n")
	for _, r := range wire.Served() {
		fmt.Fprintf(&b, "| %d | %s | %d to %d |\n", r.Key, kmsg.Key(r.Key).Name(), r.Min, r.Max)
	}
	return b.String()
}

// kafkaConfigsPage lists the config keys of Kafka that do something here.
func kafkaConfigsPage() string {
	var b strings.Builder
	b.WriteString("# Kafka's config keys\n\n" + generated + "Every key of Apache Kafka 4.3.1, of topics, brokers, groups and client metrics, is known with its default, checked as there when it is set, and described " +
		"with its source and synonyms. These have an effect here. Topic and group keys can be changed at any time; broker keys where it says so, for all brokers or for one, and all of them in the section `kafka` of " +
		"the configuration file. What is set on a topic or group wins over the broker's, what is set on one broker over what is set for all, and that over the file.\n")
	kind := ""
	for _, k := range meta.ConfigKeys() {
		if k.Kind != kind {
			kind = k.Kind
			fmt.Fprintf(&b, "\n## Of a %s\n\n| Key | Default | Valid | While it runs | |\n|---|---|---|---|---|\n", kind)
		}
		dynamic := "no"
		if k.Dynamic {
			dynamic = "yes"
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s | %s |\n", k.Key, code(k.Default), code(k.Valid), dynamic, k.Text)
	}
	b.WriteString("\nThe log level is the config `root` of the resource type broker logger (8): TRACE, DEBUG, INFO, WARN, ERROR or FATAL, until the next start.\n")
	return b.String()
}

// code is text in a table as code.
func code(text string) string {
	if text == "" {
		return ""
	}
	return "`" + strings.ReplaceAll(text, "|", "\\|") + "`"
}
