package main

import (
	"fmt"
	"io"
	"os"
	"strconv"
	"sync"
	"time"

	"github.com/spf13/cobra"
)

// tellEvery is how often a long job says how far it is where no terminal shows it all the time.
const tellEvery = 10 * time.Second

// statusLine is the last line of a terminal, which says how far a job is; what else is written goes above it. Where w is no terminal, the
// line is printed every tellEvery.
type statusLine struct {
	w    io.Writer
	tty  bool
	mu   sync.Mutex
	line string
	told time.Time
}

func newStatusLine(w io.Writer) *statusLine {
	s := &statusLine{w: w, told: time.Now()}
	if f, ok := w.(*os.File); ok {
		info, err := f.Stat()
		s.tty = err == nil && info.Mode()&os.ModeCharDevice != 0
	}
	return s
}

const clearLine = "\r\x1b[K"

// Write writes p above the line.
func (s *statusLine) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.tty || s.line == "" {
		return s.w.Write(p)
	}
	fmt.Fprint(s.w, clearLine)
	n, err := s.w.Write(p)
	fmt.Fprint(s.w, s.line)
	return n, err
}

// set shows line.
func (s *statusLine) set(line string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.tty:
		s.line = line
		fmt.Fprint(s.w, clearLine+line)
	case time.Since(s.told) >= tellEvery:
		s.told = time.Now()
		fmt.Fprintln(s.w, line)
	}
}

// end takes the line away.
func (s *statusLine) end() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.tty && s.line != "" {
		fmt.Fprint(s.w, clearLine)
	}
	s.line = ""
}

// waitBefore is how long a command may be silent.
const waitBefore = 2 * time.Second

// wait says, when what follows takes longer than waitBefore, what is waited for and how long. The function it returns ends that; until then what a says goes above
// the line.
func (a *app) wait(what string) (done func()) {
	if _, told := a.err.(*statusLine); told {
		return func() {} // the whole command waits, and says so
	}
	line, talk, began := newStatusLine(a.err), a.err, time.Now()
	a.err = line
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		tick := time.NewTicker(waitBefore)
		defer tick.Stop()
		for {
			select {
			case <-stop:
				return
			case <-tick.C:
				line.set(fmt.Sprintf("%s, %s", what, time.Since(began).Round(time.Second)))
			}
		}
	}()
	return func() {
		close(stop)
		<-stopped
		line.end()
		a.err = talk
	}
}

// patient makes the members of a family of commands say that they wait for the cluster.
func (a *app) patient(family *cobra.Command) *cobra.Command {
	for _, c := range family.Commands() {
		run := c.RunE
		c.RunE = func(cmd *cobra.Command, args []string) error {
			defer a.wait(cmd.CommandPath() + " waits for the cluster")()
			return run(cmd, args)
		}
	}
	return family
}

// counted is a number of things: 1 record, 2 records.
func counted(n int64, thing string) string {
	if n != 1 {
		thing += "s"
	}
	return grouped(n) + " " + thing
}

// grouped writes n with commas between thousands.
func grouped(n int64) string {
	text := strconv.FormatInt(n, 10)
	for i := len(text) - 3; i > 0 && text[i-1] != '-'; i -= 3 {
		text = text[:i] + "," + text[i:]
	}
	return text
}
