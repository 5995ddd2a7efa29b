package main

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// relaxedChild makes the test print what a process has after relaxTimers.
const relaxedChild = "MILLDAM_TEST_RELAXED_CHILD"

func TestRelaxedTimersReachEveryThread(t *testing.T) {
	if os.Getenv(relaxedChild) != "" {
		relaxTimers()
		threads, err := os.ReadDir("/proc/self/task")
		if err != nil {
			t.Fatal(err)
		}
		slack, err := unix.PrctlRetInt(unix.PR_GET_TIMERSLACK, 0, 0, 0, 0)
		fmt.Println("pid", os.Getpid(), "slack", slack, err, len(threads) > 1)
		return
	}
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^"+t.Name()+"$", "-test.timeout=1m")
	cmd.Env = append(os.Environ(), relaxedChild+"=1")
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	// One line: the process that went on is the one that was started.
	if want := fmt.Sprintf("pid %d slack %d <nil> true\n", cmd.Process.Pid, timerSlack); strings.Count(string(out), "slack") != 1 || !strings.Contains(string(out), want) {
		t.Errorf("the child printed %q, want %q", out, want)
	}
}
