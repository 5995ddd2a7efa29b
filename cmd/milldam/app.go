package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"gopkg.in/yaml.v3"

	"github.com/milldam/milldam/core/client"
	"github.com/milldam/milldam/runtime/node"
)

// Exit codes of every command.
const (
	exitOK          = 0
	exitFailed      = 1 // also: errors found by lint and test
	exitUsage       = 2
	exitConfig      = 3 // invalid configuration of milldam itself
	exitNotFound    = 4
	exitDenied      = 5
	exitUnreachable = 6
	exitPartly      = 7
	exitCheck       = 8
	exitInterrupted = 130
)

// coded is an error with an exit code of its own.
type coded struct {
	code int
	err  error
}

func (e *coded) Error() string { return e.err.Error() }
func (e *coded) Unwrap() error { return e.err }

// codedf makes an error with an exit code.
func codedf(code int, format string, args ...any) error {
	return &coded{code, fmt.Errorf(format, args...)}
}

// errSilent ends a command that has said what is wrong already.
var errSilent = errors.New("")

// topicError and groupError say in plain words what a cluster answered about a topic or a group; message is the broker's own.
func topicError(topic string, err error, message string) error {
	if errors.Is(err, kerr.UnknownTopicOrPartition) || errors.Is(err, kerr.UnknownTopicID) {
		return codedf(exitNotFound, "there is no topic %s; milldam topic list shows those there are", topic)
	}
	var code *kerr.Error
	if errors.As(err, &code) && message != "" { // what Kafka says of every error of the code is no news beside it
		return fmt.Errorf("topic %s: %s (%s)", topic, message, code.Message)
	}
	return fmt.Errorf("topic %s: %w", topic, err)
}

func groupError(group string, err error) error {
	switch {
	case errors.Is(err, kerr.GroupIDNotFound):
		return codedf(exitNotFound, "there is no group %s; milldam group list shows those there are", group)
	case errors.Is(err, kerr.NonEmptyGroup), errors.Is(err, kerr.UnknownMemberID):
		return fmt.Errorf("group %s has members: stop them first", group)
	}
	return fmt.Errorf("group %s: %w", group, err)
}

// stopped is the error of a node that could not be stopped as it should: it counts, although the stop was asked for.
func stopped(err error) error {
	if err == nil {
		return nil
	}
	return &coded{exitFailed, fmt.Errorf("stop: %w", err)}
}

// deleted says which things of a kind were deleted; failure is why one was not.
func (a *app) deleted(kind string, names []string, failure func(name string) error) error {
	var failed error
	done := 0
	for _, name := range names {
		if err := failure(name); err != nil {
			failed = errors.Join(failed, err)
			continue
		}
		a.say("%s %s deleted", kind, name)
		done++
	}
	return outcome(done, failed)
}

// outcome is the error of a command that did something to each of several things.
func outcome(done int, failed error) error {
	if done > 0 && failed != nil {
		return &coded{exitPartly, failed}
	}
	return failed
}

// streams are a command's input and outputs: data to out, talk to err.
type streams struct {
	in       io.Reader
	out, err io.Writer
}

// app is what every command shares.
type app struct {
	streams
	brokers []string
	dir     string
	output  string
}

// run runs one command line and returns its exit code.
func run(ctx context.Context, args []string, s streams) int {
	a := &app{streams: s}
	root := a.root()
	root.SetArgs(args)
	root.SetIn(s.in)
	root.SetOut(s.out)
	root.SetErr(s.err)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return exitOK
	}
	code := exitCode(ctx, err)
	switch text := err.Error(); {
	case code == exitInterrupted:
		fmt.Fprintln(s.err, "milldam: interrupted")
	case text != "":
		fmt.Fprintln(s.err, "milldam: "+text)
	}
	return code
}

func exitCode(ctx context.Context, err error) int {
	var c *coded
	switch {
	case errors.As(err, &c):
		return c.code
	case ctx.Err() != nil:
		return exitInterrupted
	case errors.Is(err, kerr.UnknownTopicOrPartition), errors.Is(err, kerr.GroupIDNotFound), errors.Is(err, kerr.UnknownTopicID):
		return exitNotFound
	case errors.Is(err, kerr.TopicAuthorizationFailed), errors.Is(err, kerr.GroupAuthorizationFailed), errors.Is(err, kerr.ClusterAuthorizationFailed):
		return exitDenied
	case errors.Is(err, context.DeadlineExceeded):
		return exitUnreachable
	}
	return exitFailed
}

func (a *app) root() *cobra.Command {
	root := &cobra.Command{Use: "milldam", Short: "An event-streaming platform in one binary: a Kafka-speaking broker, streams, connectors, pipelines",
		SilenceUsage: true, SilenceErrors: true, Version: versionName()}
	root.SetVersionTemplate("{{.Version}}\n")
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return codedf(exitUsage, "%w; see %s --help", err, cmd.CommandPath())
	})
	root.PersistentPreRunE = func(*cobra.Command, []string) error { return a.checkOutput() }
	f := root.PersistentFlags()
	f.StringSliceVarP(&a.brokers, "brokers", "b", nil, "host:port of a Kafka cluster; without it MILLDAM_BROKERS, .milldam.yaml, <dir>/endpoints.json, 127.0.0.1:9092")
	f.StringVar(&a.dir, "dir", node.DefaultDir, "data folder")
	f.StringVarP(&a.output, "output", "o", "table", "output format: table, json, yaml, name")
	return family(root, a.devCommand(), a.serverCommand(), a.patient(a.topicCommand()), a.tailCommand(), a.sendCommand(), a.patient(a.groupCommand()), a.logCommand(), a.pipelineCommand(),
		a.versionCommand(), a.docsCommand())
}

// family makes c a command that does nothing but hold others.
func family(c *cobra.Command, members ...*cobra.Command) *cobra.Command {
	c.AddCommand(members...)
	c.Args = cobra.ArbitraryArgs
	c.RunE = func(cmd *cobra.Command, args []string) error {
		if len(args) == 0 {
			return cmd.Help()
		}
		hint := ""
		if near := cmd.SuggestionsFor(args[0]); len(near) > 0 {
			hint = fmt.Sprintf(", did you mean %q?", near[0])
		}
		return codedf(exitUsage, "unknown command %q for %q%s; see %s --help", args[0], cmd.CommandPath(), hint, cmd.CommandPath())
	}
	c.SuggestionsMinimumDistance = suggestionDistance
	return c
}

// suggestionDistance is how many letters may differ in a command that is suggested.
const suggestionDistance = 2

// usage checks the number of arguments, with the exit code of wrong usage.
func usage(check cobra.PositionalArgs) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if err := check(cmd, args); err != nil {
			return codedf(exitUsage, "%w; see %s --help", err, cmd.CommandPath())
		}
		return nil
	}
}

// clusterOptions finds the cluster to talk to.
func (a *app) clusterOptions() (client.Options, error) {
	o := client.Options{ClientID: "milldam-cli"}
	if len(a.brokers) > 0 {
		o.Brokers = a.brokers
		return o, nil
	}
	if env := os.Getenv("MILLDAM_BROKERS"); env != "" {
		o.Brokers = strings.Split(env, ",")
		return o, nil
	}
	if data, err := os.ReadFile(".milldam.yaml"); err == nil {
		var project struct {
			Brokers []string `yaml:"brokers"`
		}
		if err := yaml.Unmarshal(data, &project); err != nil {
			return o, codedf(exitConfig, ".milldam.yaml: %w", err)
		}
		if len(project.Brokers) > 0 {
			o.Brokers = project.Brokers
			return o, nil
		}
	}
	if data, err := os.ReadFile(filepath.Join(a.dir, node.EndpointsFile)); err == nil {
		var e node.Endpoints
		if json.Unmarshal(data, &e) == nil && e.Kafka != "" {
			o.Brokers = []string{e.Kafka}
			return o, nil
		}
	} else if a.dir != node.DefaultDir {
		return o, codedf(exitUnreachable, "no node runs with the data folder %s: start one, or name a broker with -b HOST:PORT", a.dir)
	}
	o.Brokers = []string{node.DefaultKafka}
	return o, nil
}

// connect returns a client of the cluster, after it has answered once.
func (a *app) connect(ctx context.Context, extra ...kgo.Opt) (*kgo.Client, *kadm.Client, error) {
	o, err := a.clusterOptions()
	if err != nil {
		return nil, nil, err
	}
	for _, broker := range o.Brokers {
		if strings.Contains(broker, "://") {
			return nil, nil, codedf(exitUsage, "%s is a URL; a broker is host:port, as in %s", broker, node.DefaultKafka)
		}
	}
	cl, err := client.New(o, extra...)
	if err != nil {
		return nil, nil, codedf(exitUsage, "%w", err)
	}
	done := a.wait("no answer yet from " + strings.Join(o.Brokers, ", "))
	err = client.Ping(ctx, cl, o)
	done()
	if err != nil {
		cl.Close()
		return nil, nil, &coded{exitUnreachable, err}
	}
	return cl, kadm.NewClient(cl), nil
}

// table prints rows in columns.
func (a *app) table(head []string, rows [][]string) error {
	w := tabwriter.NewWriter(a.out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, strings.Join(head, "\t"))
	for _, r := range rows {
		fmt.Fprintln(w, strings.Join(r, "\t"))
	}
	return w.Flush()
}

// print prints a list in the format asked for: v for machines, head and rows for people, names for scripts.
func (a *app) print(v any, names []string, head []string, rows [][]string) error {
	switch a.output {
	case "table":
		return a.table(head, rows)
	case "name":
		for _, n := range names {
			fmt.Fprintln(a.out, n)
		}
		return nil
	}
	return a.encode(v)
}

// encode prints v as JSON or YAML.
func (a *app) encode(v any) error {
	switch a.output {
	case "json":
		e := json.NewEncoder(a.out)
		e.SetIndent("", "  ")
		return e.Encode(v)
	case "yaml":
		data, err := json.Marshal(v)
		if err != nil {
			return err
		}
		var plain any
		if err := json.Unmarshal(data, &plain); err != nil {
			return err
		}
		return yaml.NewEncoder(a.out).Encode(plain)
	}
	return codedf(exitUsage, "-o %s: this command prints table, json or yaml", a.output)
}

// checkOutput refuses an output format that no command has.
func (a *app) checkOutput() error {
	if !slices.Contains(outputs, a.output) {
		return codedf(exitUsage, "-o %s is no output format: table, json, yaml or name", a.output)
	}
	return nil
}

// outputs are the formats of -o.
var outputs = []string{"table", "json", "yaml", "name"}

// say writes a line for people.
func (a *app) say(format string, args ...any) { fmt.Fprintf(a.err, format+"\n", args...) }

func (a *app) versionCommand() *cobra.Command {
	return &cobra.Command{Use: "version", Short: "Print the version", Args: usage(cobra.NoArgs), RunE: func(*cobra.Command, []string) error {
		if a.output != "table" {
			return a.encode(map[string]string{"apiVersion": "v1", "version": versionName()})
		}
		fmt.Fprintln(a.out, versionName())
		return nil
	}}
}
