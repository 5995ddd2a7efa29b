package main

import (
	"os"
	"runtime"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// timerSlack is how much later than asked for the kernel may end a sleep of a node. Linux has 50 us. Go's monitor thread sleeps for 20 us at a time while
	// system calls take longer than that, as a broker's do under load: ten thousand wake-ups a second, which are a tenth of all that it takes of the
	// processor. Nothing in a node is timed to less than a millisecond.
	timerSlack = 500 * time.Microsecond
	// timersSet is in the environment of a process that must not try again.
	timersSet = "MILLDAM_TIMERS_SET"
)

// relaxTimers starts the program anew with timerSlack. The monitor thread runs since before main, and a thread's slack is its creator's: only what outlives exec
// reaches it. Where something is in the way the program goes on as it is.
func relaxTimers() {
	if _, set := os.LookupEnv(timersSet); set {
		return
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	program, err := os.Executable()
	if err != nil || unix.Prctl(unix.PR_SET_TIMERSLACK, uintptr(timerSlack), 0, 0, 0) != nil {
		return
	}
	if os.Setenv(timersSet, "1") != nil {
		return
	}
	_ = syscall.Exec(program, os.Args, os.Environ()) // it returns only when it fails: then nothing is lost but the slack
}
