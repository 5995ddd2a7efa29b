package main

import (
	"bytes"
	"strings"
	"testing"
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
		"version":               {[]string{"version"}, exitOK, ""},
		"no such command":       {[]string{"tial"}, exitUsage, `did you mean "tail"?`},
		"no such subcommand":    {[]string{"topic", "delte"}, exitUsage, `did you mean "delete"?`},
		"no such flag":          {[]string{"topic", "list", "--frob"}, exitUsage, "--frob"},
		"an argument too few":   {[]string{"topic", "describe"}, exitUsage, "topic describe --help"},
		"no such format":        {[]string{"version", "-o", "xml"}, exitUsage, "table, json, yaml or name"},
		"no such file":          {[]string{"pipeline", "lint", "nothing.yaml"}, exitNotFound, "nothing.yaml"},
		"no configuration":      {[]string{"server", "-c", "nothing.yaml"}, exitConfig, "nothing.yaml"},
		"no cluster":            {[]string{"topic", "list", "-b", "127.0.0.1:1"}, exitUnreachable, "milldam dev"},
		"no node":               {[]string{"pipeline", "status"}, exitUnreachable, "milldam dev"},
		"no folder":             {[]string{"dev", "--pipelines", "nothing"}, exitNotFound, "--pipelines"},
		"once without the demo": {[]string{"dev", "--once"}, exitUsage, "--demo"},
		"no place in a topic":   {[]string{"tail", "t", "-g", "g", "--from", "-3"}, exitUsage, "start or end"},
		"a wrong expression":    {[]string{"tail", "t", "--where", "value.("}, exitUsage, "--where"},
	} {
		t.Run(name, func(t *testing.T) {
			out, talk, code := command(t, x.args...)
			if code != x.code || !strings.Contains(out+talk, x.says) {
				t.Errorf("exit %d, want %d; it says %q%q, want %q", code, x.code, out, talk, x.says)
			}
		})
	}
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
