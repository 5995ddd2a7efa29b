package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// ticksPerSecond is what /proc counts processor time in; Linux has no other value for programs.
const ticksPerSecond = 100

// statFields are those of /proc/PID/stat behind the name: the first is the state.
func statFields(pid int) ([]string, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return nil, err
	}
	return strings.Fields(string(text[bytes.LastIndexByte(text, ')')+1:])), nil
}

// cpuSeconds is what the broker's process has used so far: all its threads, for itself and in the kernel.
func (s *server) cpuSeconds() (float64, error) {
	fields, err := statFields(s.pid)
	if err != nil {
		return 0, err
	}
	user, err := strconv.ParseFloat(fields[11], 64)
	if err != nil {
		return 0, err
	}
	system, err := strconv.ParseFloat(fields[12], 64)
	return (user + system) / ticksPerSecond, err
}

// processStart is when a process was started, to a hundredth of a second.
func processStart(pid int) (time.Time, error) {
	fields, err := statFields(pid)
	if err != nil {
		return time.Time{}, err
	}
	ticks, err := strconv.ParseFloat(fields[19], 64)
	if err != nil {
		return time.Time{}, err
	}
	text, err := os.ReadFile("/proc/uptime")
	now := time.Now()
	if err != nil {
		return time.Time{}, err
	}
	up, _, _ := strings.Cut(string(text), " ")
	seconds, err := strconv.ParseFloat(up, 64)
	return now.Add(-time.Duration((seconds - ticks/ticksPerSecond) * float64(time.Second))), err
}

// awaitEnd returns when the process has ended, which need not be a child of this one.
func awaitEnd(pid int) error {
	deadline := time.Now().Add(patience)
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for range tick.C {
		if errors.Is(syscall.Kill(pid, 0), syscall.ESRCH) {
			return nil
		}
		if time.Now().After(deadline) {
			break
		}
	}
	return fmt.Errorf("process %d did not end within %s", pid, patience)
}

// residentMiB is the memory of the broker's process that is resident.
func (s *server) residentMiB() (float64, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", s.pid))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(text)) {
		if rest, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			kib, err := strconv.ParseFloat(strings.Fields(rest)[0], 64)
			return kib / 1024, err
		}
	}
	return 0, fmt.Errorf("process %d has no resident memory", s.pid)
}

// hasFiles says whether one of the folders of a broker's logs, or its subfolder of them, has a partition of the topic.
func hasFiles(dirs []string, topic string) bool {
	for _, dir := range dirs {
		for _, pattern := range []string{topic + "-*", "logs/" + topic + "-*"} {
			if found, err := filepath.Glob(filepath.Join(dir, pattern)); err == nil && len(found) > 0 {
				return true
			}
		}
	}
	return false
}

const (
	// settleTime is how long a measurement waits at most for what was written before it to reach the disk.
	settleTime = 5 * time.Second
	// settledBytes of the machine may be dirty then.
	settledBytes = 64 << 20
)

// settle writes out what the measurement before left in the page cache, which is not the next one's work.
func settle() {
	synced := make(chan struct{})
	go func() {
		syscall.Sync() // it may take long where others write; it ends by itself
		close(synced)
	}()
	over := time.After(settleTime)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-over:
			say("the disk is behind: the next measurement contains a part of its work")
			return
		case <-tick.C:
		}
		select {
		case <-synced:
			if text, err := os.ReadFile("/proc/meminfo"); err != nil || dirtyBytes(text) <= settledBytes {
				return
			}
		default:
		}
	}
}

const (
	// backBytes is memory for what a measurement writes, and some more: the page cache takes other parts of what is free.
	backBytes = 6 << 30
	// backTime is about how long the host takes to give it.
	backTime = 2500 * time.Millisecond
)

// dirtyBytes is what the machine has to write, by /proc/meminfo.
func dirtyBytes(meminfo []byte) int64 { return meminfoBytes(meminfo, "Dirty:", "Writeback:") }

// meminfoBytes is the sum of some lines of /proc/meminfo.
func meminfoBytes(meminfo []byte, names ...string) int64 {
	var sum int64
	for line := range strings.Lines(string(meminfo)) {
		fields := strings.Fields(line)
		if len(fields) > 1 && slices.Contains(names, fields[0]) {
			kib, _ := strconv.ParseInt(fields[1], 10, 64) // the kernel's own number
			sum += kib << 10
		}
	}
	return sum
}
