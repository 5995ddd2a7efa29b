package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
)

// prepareProfiles builds a milldam into the folder of the profiles that has its symbols: bin/milldam has none, and perf needs them later as well.
func (t *tools) prepareProfiles(dir string) error {
	if dir == "" {
		return nil
	}
	if _, err := exec.LookPath("perf"); err != nil {
		return fmt.Errorf("-profile needs perf (Debian: linux-perf): %w", err)
	}
	dir, err := filepath.Abs(dir)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	t.program = filepath.Join(dir, "milldam")
	return goCommand(".", "build", "-trimpath", "-o", t.program, "./cmd/milldam")
}

// profileLoad runs a load once more, unmeasured, while perf records Milldam, and writes what it saw beside the recording.
func (c *comparer) profileLoad(l load, system string) error {
	if system != ours && system != oursReplicated || strings.HasPrefix(l.name, "start") { // a start ends the process
		return nil
	}
	for _, s := range c.systems {
		if s.name != system || s.broken != nil {
			continue
		}
		name := strings.Trim(regexp.MustCompile(`[^a-z0-9]+`).ReplaceAllString(strings.ToLower(l.name+" "+system), "-"), "-")
		file := filepath.Join(c.profile, name+".perf")
		say("%s, %s: profile in %s", l.name, system, file)
		var log bytes.Buffer
		record := exec.Command("perf", "record", "-q", "-F", "499", "-g", "-o", file, "-p", strconv.Itoa(s.pid))
		record.Stdout, record.Stderr = &log, &log
		if err := record.Start(); err != nil {
			return err
		}
		_, err := c.round(l, s)
		interrupted := record.Process.Signal(os.Interrupt)
		record.Wait() // it was interrupted: only what it wrote says whether it recorded
		if err = errors.Join(err, interrupted); err != nil {
			return fmt.Errorf("%w\n%s", err, log.String())
		}
		text, err := exec.Command("perf", "report", "--stdio", "--no-children", "-g", "caller,0.5,callee,function,percent", "-i", file).Output()
		if err != nil {
			return fmt.Errorf("perf report: %w\n%s", err, log.String())
		}
		return os.WriteFile(file+".txt", text, 0o644)
	}
	return nil
}
