package main

import (
	"bytes"
	"context"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/milldam/milldam/core/vfs"
	"github.com/milldam/milldam/runtime/node"
)

func TestNumbersForPeople(t *testing.T) {
	for n, want := range map[int64]string{0: "0 records", 1: "1 record", 999: "999 records", 1000: "1,000 records", 20000: "20,000 records", -1234567: "-1,234,567 records"} {
		if got := counted(n, "record"); got != want {
			t.Errorf("%d: %q, want %q", n, got, want)
		}
	}
}

// command runs a command line in this process, with no cluster in reach.
func command(t *testing.T, args ...string) (out, talk string, code int) {
	t.Helper()
	t.Chdir(t.TempDir())
	var o, e bytes.Buffer
	code = run(t.Context(), args, streams{in: strings.NewReader(""), out: &o, err: &e})
	return o.String(), e.String(), code
}

// TestExitCodes holds what scripts rely on.
func TestExitCodes(t *testing.T) {
	for name, x := range map[string]struct {
		args []string
		code int
		says string
	}{
		"version":                {[]string{"version"}, exitOK, ""},
		"version as a flag":      {[]string{"--version"}, exitOK, ""},
		"no such command":        {[]string{"tial"}, exitUsage, `did you mean "tail"?`},
		"no such subcommand":     {[]string{"topic", "delte"}, exitUsage, `did you mean "delete"?`},
		"no such flag":           {[]string{"topic", "list", "--frob"}, exitUsage, "--frob"},
		"an argument too few":    {[]string{"topic", "describe"}, exitUsage, "topic describe --help"},
		"no such format":         {[]string{"version", "-o", "xml"}, exitUsage, "table, json, yaml or name"},
		"no such file":           {[]string{"pipeline", "lint", "nothing.yaml"}, exitNotFound, "nothing.yaml"},
		"no configuration":       {[]string{"server", "-c", "nothing.yaml"}, exitConfig, "nothing.yaml: name one with --config"},
		"no cluster":             {[]string{"topic", "list", "-b", "127.0.0.1:1"}, exitUnreachable, "milldam dev"},
		"no node":                {[]string{"pipeline", "status"}, exitUnreachable, "milldam dev"},
		"no folder":              {[]string{"dev", "--pipelines", "nothing"}, exitNotFound, "--pipelines"},
		"once without the demo":  {[]string{"dev", "--once"}, exitUsage, "--demo"},
		"no place in a topic":    {[]string{"tail", "t", "-g", "g", "--from", "-3"}, exitUsage, "start or end"},
		"a URL for a broker":     {[]string{"topic", "list", "-b", "http://127.0.0.1:9092"}, exitUsage, "host:port"},
		"no such input":          {[]string{"send", "t", "--file", "nothing"}, exitNotFound, "nothing"},
		"no such format of tail": {[]string{"tail", "t", "-o", "yaml"}, exitUsage, "-o json"},
		"no such letter":         {[]string{"tail", "t", "-f", "%q"}, exitUsage, "unknown letter"},
		"no such format at all":  {[]string{"topic", "list", "-o", "xml"}, exitUsage, "table, json, yaml or name"},
		"a wrong expression":     {[]string{"tail", "t", "--where", "value.("}, exitUsage, "--where"},
	} {
		t.Run(name, func(t *testing.T) {
			out, talk, code := command(t, x.args...)
			if code != x.code || !strings.Contains(out+talk, x.says) {
				t.Errorf("exit %d, want %d; it says %q%q, want %q", code, x.code, out, talk, x.says)
			}
		})
	}
}

// TestServerNamesTheFieldOfItsPipelines starts with a folder that is not there.
func TestServerNamesTheFieldOfItsPipelines(t *testing.T) {
	file := filepath.Join(t.TempDir(), "m.yaml")
	if err := os.WriteFile(file, []byte("pipelines: { dir: nothing }"), 0o644); err != nil {
		t.Fatal(err)
	}
	_, talk, code := command(t, "server", "-c", file)
	if want := "pipelines.dir in " + file; code != exitNotFound || !strings.Contains(talk, want) {
		t.Errorf("exit %d, it says %q, want %q", code, talk, want)
	}
}

// cluster starts a node in memory and returns a command line that reaches it.
func cluster(t *testing.T) func(args ...string) (out, talk string, code int) {
	t.Helper()
	n, err := node.Start(t.Context(), node.Options{FS: vfs.NewMem(), Kafka: "127.0.0.1:0", HTTP: node.None})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := n.Close(); err != nil {
			t.Error(err)
		}
	})
	return func(args ...string) (string, string, int) {
		t.Helper()
		return command(t, append(args, "-b", n.Endpoints().Kafka)...)
	}
}

// TestCommandsAgainstACluster runs commands one after the other, each on what the ones before left.
func TestCommandsAgainstACluster(t *testing.T) {
	milldam := cluster(t)
	for _, x := range []struct {
		args []string
		code int
		says []string
	}{
		{[]string{"topic", "create", "orders", "-p", "2", "-c", "retention.ms=7d", "-c", "segment.bytes=1MiB"}, exitOK, []string{"topic orders made"}},
		{[]string{"topic", "describe", "orders"}, exitOK, []string{"604800000", "1048576"}},
		{[]string{"topic", "config", "orders", "retention.ms=1h"}, exitOK, nil},
		{[]string{"topic", "config", "orders", "-o", "json"}, exitOK, []string{`"3600000"`}},
		{[]string{"topic", "create", "orders", "other"}, exitPartly, []string{"topic orders:", "topic other made"}},
		{[]string{"topic", "create", "orders", "--if-not-exists"}, exitOK, []string{"there already"}},
		{[]string{"topic", "create", "bad", "-c", "retention.ms=long"}, exitFailed, []string{"retention.ms"}},
		{[]string{"topic", "add-partitions", "orders", "1"}, exitFailed, []string{"can only grow (INVALID_PARTITIONS)"}},
		{[]string{"topic", "describe", "nothing"}, exitNotFound, []string{"there is no topic nothing", "milldam topic list"}},
		{[]string{"topic", "config", "nothing"}, exitNotFound, []string{"there is no topic nothing"}},
		{[]string{"topic", "delete", "nothing"}, exitNotFound, []string{"there is no topic nothing"}},
		{[]string{"topic", "add-partitions", "nothing", "3"}, exitNotFound, []string{"there is no topic nothing"}},
		{[]string{"tail", "nothing", "-e"}, exitNotFound, []string{"there is no topic nothing"}},
		{[]string{"send", "orders", "a", "b", "c"}, exitOK, []string{"3 records sent"}},
		{[]string{"tail", "orders", "-g", "readers", "--from", "start", "-e", "-f", "%v;"}, exitOK, []string{"a;", "b;", "c;"}},
		{[]string{"group", "lag", "readers", "--max", "0"}, exitOK, []string{"total 0"}},
		{[]string{"group", "reset", "readers", "--to", "start"}, exitOK, []string{"PLAN ONLY: 3 records"}},
		{[]string{"group", "lag", "readers", "--max", "0"}, exitOK, []string{"total 0"}},
		{[]string{"group", "reset", "readers", "--to", "start", "--execute"}, exitOK, nil},
		{[]string{"group", "lag", "readers", "--max", "2"}, exitCheck, []string{"total 3"}},
		{[]string{"group", "reset", "readers", "--to", "start", "--topic", "nothing"}, exitNotFound, []string{"there is no topic nothing"}},
		{[]string{"group", "delete", "readers"}, exitOK, []string{"PLAN ONLY"}},
		{[]string{"group", "list", "-o", "name"}, exitOK, []string{"readers"}},
		{[]string{"group", "list", "-o", "json"}, exitOK, []string{`"type": "classic"`, `"protocolType": "consumer"`}},
		{[]string{"topic", "list", "-o", "json"}, exitOK, []string{`"offsets": 3`}},
		{[]string{"topic", "describe", "orders", "-o", "json"}, exitOK, []string{`"offline": []`}},
		{[]string{"group", "delete", "readers", "--execute"}, exitOK, []string{"readers deleted"}},
		{[]string{"group", "describe", "readers"}, exitNotFound, []string{"there is no group readers"}},
		{[]string{"group", "delete", "readers"}, exitNotFound, []string{"there is no group readers"}},
		{[]string{"group", "delete", "readers", "--execute"}, exitNotFound, []string{"there is no group readers"}},
		{[]string{"topic", "delete", "orders"}, exitOK, []string{"3 records", "PLAN ONLY"}},
		{[]string{"topic", "delete", "orders", "nothing", "--execute"}, exitPartly, []string{"topic orders deleted", "there is no topic nothing"}},
		{[]string{"topic", "list", "-o", "name"}, exitOK, []string{"other"}},
	} {
		out, talk, code := milldam(x.args...)
		if code != x.code {
			t.Errorf("milldam %s: exit %d, want %d\n%s%s", strings.Join(x.args, " "), code, x.code, out, talk)
		}
		for _, want := range x.says {
			if !strings.Contains(out+talk, want) {
				t.Errorf("milldam %s: it says %q%q, want %q", strings.Join(x.args, " "), out, talk, want)
			}
		}
	}
}

// TestWhoIsInterruptedSaysSo interrupts send at an input that never comes, as a terminal where nobody types, and tail at the end of a topic.
func TestWhoIsInterruptedSaysSo(t *testing.T) {
	n, err := node.Start(t.Context(), node.Options{FS: vfs.NewMem(), Kafka: "127.0.0.1:0", HTTP: node.None})
	if err != nil {
		t.Fatal(err)
	}
	defer n.Close()
	never, writer := io.Pipe()
	defer writer.Close()
	ctx, interrupt := context.WithCancel(t.Context())
	go func() {
		if _, err := writer.Write([]byte("one\n")); err == nil {
			interrupt()
		}
	}()
	var o, e bytes.Buffer
	if code := run(ctx, []string{"send", "t", "-b", n.Endpoints().Kafka}, streams{in: never, out: &o, err: &e}); code != exitInterrupted {
		t.Errorf("send: exit %d, want %d: %s", code, exitInterrupted, e.String())
	}
	if code := run(t.Context(), []string{"send", "t", "-b", n.Endpoints().Kafka}, streams{in: strings.NewReader("two\n"), out: &o, err: &e}); code != exitOK {
		t.Fatalf("send: exit %d: %s", code, e.String())
	}
	for _, group := range [][]string{nil, {"-g", "readers"}} {
		ctx, interrupt := context.WithCancel(t.Context())
		printed := writerFunc(func(p []byte) (int, error) { interrupt(); return len(p), nil })
		e.Reset()
		args := append([]string{"tail", "t", "--from", "start", "-b", n.Endpoints().Kafka}, group...)
		if code := run(ctx, args, streams{in: strings.NewReader(""), out: printed, err: &e}); code != exitInterrupted || e.String() != "milldam: interrupted\n" {
			t.Errorf("%q: exit %d, want %d: %s", args, code, exitInterrupted, e.String())
		}
	}
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }

// TestAFolderWithoutANodeIsNoOtherCluster asks for the cluster of a folder where no node runs: what listens on the default port is another one.
func TestAFolderWithoutANodeIsNoOtherCluster(t *testing.T) {
	dir := t.TempDir()
	n, err := node.Start(t.Context(), node.Options{Dir: dir, Kafka: "127.0.0.1:0", HTTP: node.None})
	if err != nil {
		t.Fatal(err)
	}
	defer n.Close()
	for _, want := range []int{exitOK, exitUnreachable} {
		var o, e bytes.Buffer
		if code := run(t.Context(), []string{"topic", "list", "--dir", dir}, streams{in: strings.NewReader(""), out: &o, err: &e}); code != want || want != exitOK && !strings.Contains(e.String(), dir) {
			t.Errorf("exit %d, want %d: %s", code, want, e.String())
		}
		if err := n.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// TestACommandThatWaitsSaysSo dials a listener that never answers.
func TestACommandThatWaitsSaysSo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var b bytes.Buffer
		a := &app{streams: streams{err: &b}}
		done := a.wait("no answer yet from a:9092")
		time.Sleep(tellEvery + time.Second) // of the bubble's clock
		a.say("something else")
		done()
		if want := "no answer yet from a:9092, 10s\nsomething else\n"; b.String() != want {
			t.Errorf("it says %q, want %q", b.String(), want)
		}
	})
}

func TestStatusLineKeepsWhatIsWritten(t *testing.T) {
	var b bytes.Buffer
	line := newStatusLine(&b)
	line.set("half way") // no terminal: told every tellEvery only
	if _, err := line.Write([]byte("a log line\n")); err != nil {
		t.Fatal(err)
	}
	line.end()
	if b.String() != "a log line\n" {
		t.Errorf("%q", b.String())
	}
	b.Reset()
	line.tty = true
	line.set("half way")
	if _, err := line.Write([]byte("a log line\n")); err != nil {
		t.Fatal(err)
	}
	line.end()
	if want := clearLine + "half way" + clearLine + "a log line\nhalf way" + clearLine; b.String() != want {
		t.Errorf("%q, want %q", b.String(), want)
	}
}
