package storage

import (
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/milldam/milldam/core/record"
	"github.com/milldam/milldam/core/vfs"
)

func TestWhereEpochsEnd(t *testing.T) {
	e := epochs{}.with(2, 10).with(5, 20)
	for epoch, want := range map[record.LeaderEpoch]string{
		-2: "-2 10", // as Kafka answers
		-1: "-1 -1",
		0:  "0 10", // its records are gone
		2:  "2 20",
		4:  "2 20",
		5:  "5 30",
		6:  "5 30",
	} {
		found, end := e.end(epoch, 30)
		if got := fmt.Sprint(found, end); got != want {
			t.Errorf("epoch %d: %s, want %s", epoch, got, want)
		}
	}
	if found, end := (epochs{}).end(0, 30); found != -1 || end != -1 {
		t.Errorf("of no epochs: %d %d", found, end)
	}
}

// appendAt appends a batch of a leader epoch and waits for it.
func appendAt(t *testing.T, l *Log, epoch record.LeaderEpoch, value string) {
	t.Helper()
	done := make(chan error, 1)
	p := NewPending(func(err error) { done <- err })
	_, err := l.Append(plain(t, value), epoch, FromClient, nil, p)
	p.Arm()
	if err = errors.Join(err, <-done); err != nil {
		t.Fatal(err)
	}
}

// TestLostLeaderEpochsAreReadFromTheSegments: of segments in whose middle one begins, of such with one epoch, and of the end that is in the write-ahead log alone.
func TestLostLeaderEpochsAreReadFromTheSegments(t *testing.T) {
	const file = "data/logs/a-0/leader-epoch-checkpoint"
	known, fs := twoTopics(), vfs.NewMem()
	s := open(t, fs, known)
	l := create(t, s, known, topicA, 0)
	for _, e := range []struct {
		epoch record.LeaderEpoch
		count int
	}{{2, 3}, {5, 60}, {6, 2}, {9, 20}} {
		for range e.count {
			appendAt(t, l, e.epoch, strings.Repeat("v", 900))
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = open(t, fs, known)
	appendAt(t, s.Log(topicA, 0), 11, "in the write-ahead log")
	want := fmt.Sprint(s.Log(topicA, 0).mu.epochs)
	for name, damage := range map[string]func(vfs.FS) error{
		"missing": func(fs vfs.FS) error { return fs.Remove(file) },
		"empty":   func(fs vfs.FS) error { return vfs.WriteFile(fs, file, nil) },
		"damaged": func(fs vfs.FS) error { return vfs.WriteFile(fs, file, []byte("0\n1\n2 x\n")) },
	} {
		t.Run(name, func(t *testing.T) {
			left := fs.CrashClone(nil)
			if err := damage(left); err != nil {
				t.Fatal(err)
			}
			s, told := openTelling(t, left, known)
			if got := fmt.Sprint(s.Log(topicA, 0).mu.epochs); got != want {
				t.Errorf("the leader epochs are %s, want %s", got, want)
			}
			if !strings.Contains(told.String(), "read from the segments") {
				t.Errorf("the log says\n%s", told)
			}
			if got := len(read(t, s.Log(topicA, 0), 0)); got != 86 {
				t.Errorf("%d records are read", got)
			}
		})
	}
}

// TestKillBeforeTheFirstCheckpointIsNoDamage leaves a leader epoch checkpoint that was just made, and batches in segments that no checkpoint speaks of: all of it is in the write-ahead log.
func TestKillBeforeTheFirstCheckpointIsNoDamage(t *testing.T) {
	known, fs := twoTopics(), vfs.NewMem()
	opts := smallOptions(fs, known)
	opts.WALFiles = 1 // none is made beside the first, so that there is no checkpoint
	s, _, err := Open(t.Context(), opts)
	if err != nil {
		t.Fatal(err)
	}
	l := create(t, s, known, topicA, 0)
	for range 10 {
		appendAt(t, l, 3, strings.Repeat("v", 900))
	}
	if err := l.flushTail(nil); err != nil {
		t.Fatal(err)
	}
	if err := vfs.WriteFile(fs, "data/logs/a-0/leader-epoch-checkpoint", nil); err != nil {
		t.Fatal(err)
	}
	var told toldLog
	opts.Logger = slog.New(slog.NewTextHandler(&told, nil))
	next, r, err := Open(t.Context(), opts) // on what the first one left, which does nothing any more
	if err != nil {
		t.Fatal(err)
	}
	if r.Replayed != 10 || r.TruncatedBytes != 0 || told.String() != "" {
		t.Errorf("%+v, and the log says\n%s", r, told.String())
	}
	if epoch, end := next.Log(topicA, 0).EpochEnd(3); epoch != 3 || end != 10 {
		t.Errorf("epoch %d ends at %d", epoch, end)
	}
	if err := next.Close(); err != nil {
		t.Fatal(err)
	}
}
