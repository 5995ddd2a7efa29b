package streams

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"
)

// crashing counts by another key, so that state, repartition and windows are all in play.
func crashing() *Topology {
	top := NewTopology()
	w := top.Stream("in", String, String).IdleAfter(time.Second).
		GroupBy("by-value", func(_, v string) string { return v }).
		Window(Tumbling(100 * time.Millisecond))
	w.Late().To("late")
	w.Count("counts").
		Final(func(k string, w Window, n int64) string {
			return fmt.Sprintf("%s@%d=%d", k, w.Start.UnixMilli(), n)
		}).To("final")
	return top
}

// TestACrashAtAnyStepNeverLowersACount lets the process die before each single thing that is made durable - a record of an
// output, a change, a repartition record, the offsets - and go on from what there is.
func TestACrashAtAnyStepNeverLowersACount(t *testing.T) {
	var messages []Message
	truth := map[string]int{}
	for i := range 60 {
		at := int64(i * 10)
		value := fmt.Sprintf("v%d", i%3)
		messages = append(messages, Message{Key: fmt.Appendf(nil, "k%d", i%5), Value: []byte(value), Time: time.UnixMilli(at)})
		truth[fmt.Sprintf("%s@%d", value, at/100*100)]++
	}
	for n, crashed := 0, true; crashed; n++ {
		s, err := Simulate(crashing(), SimulationOptions{Partitions: map[string]int32{"in": 2}})
		if err != nil {
			t.Fatal(err)
		}
		s.spare, crashed = n, false
		alive := func(err error) {
			t.Helper()
			if errors.Is(err, errCrashed) {
				crashed = true
				s.spare = n % 7 // the way back from a crash is cut as well
				if err = errors.Join(s.Restart(), s.run()); errors.Is(err, errCrashed) {
					s.spare = -1
					err = errors.Join(s.Restart(), s.run())
				}
				s.spare = -1
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		for i := 0; i < len(messages); i += 7 {
			alive(s.Send("in", messages[i:min(i+7, len(messages))]...))
		}
		alive(s.Advance(time.Second))
		s.spare = -1
		alive(s.Advance(time.Second))

		seen := map[string]bool{}
		for _, m := range s.Read("final") {
			window, count, _ := strings.Cut(string(m.Value), "=")
			var got int
			if _, err := fmt.Sscan(count, &got); err != nil {
				t.Fatal(err)
			}
			seen[window] = true
			if got < truth[window] {
				t.Fatalf("crash before step %d: %s was sent with %d, it is %d", n, window, got, truth[window])
			}
		}
		for window, count := range truth {
			if !seen[window] {
				t.Fatalf("crash before step %d: %s=%d was never sent", n, window, count)
			}
		}
		// Without a crash each is exact, and sent once.
		if !crashed && (len(s.Read("final")) != len(truth) || len(s.Read("late")) > 0) {
			t.Errorf("without a crash: %d values, want %d; %d late", len(s.Read("final")), len(truth), len(s.Read("late")))
		}
	}
}

// TestATableIsReadToItsEndFirst has a table whose records are newer than those of the stream, all of them there at the start.
func TestATableIsReadToItsEndFirst(t *testing.T) {
	top := NewTopology()
	top.Stream("in", String, String).
		Join("join", top.Table("table", String, String), func(v, t string) string { return v + t }).To("out")
	s, err := Simulate(top, SimulationOptions{})
	if err != nil {
		t.Fatal(err)
	}
	s.append("in", 0, Message{Key: []byte("k"), Value: []byte("v"), Time: time.UnixMilli(1)})
	for i := range 2000 {
		s.append("table", 0, Message{Key: []byte("k"), Value: fmt.Appendf(nil, "t%d", i), Time: time.UnixMilli(1000)})
	}
	if err := errors.Join(s.Restart(), s.run()); err != nil {
		t.Fatal(err)
	}
	out := s.Read("out")
	if len(out) != 1 || string(out[0].Value) != "vt1999" {
		t.Errorf("joined %v, want the table's last value", out)
	}
}

// TestAReaderAloneRestarted has only the task behind the repartition begin anew: its writers do not tell again what they told.
func TestAReaderAloneRestarted(t *testing.T) {
	s, err := Simulate(crashing(), SimulationOptions{Partitions: map[string]int32{"in": 2}})
	if err != nil {
		t.Fatal(err)
	}
	restartReaders := func() {
		t.Helper()
		for i, old := range s.tasks {
			if old.id.sub == 1 {
				s.tasks[i] = newTask(s.plan, old.id, old.environment)
				if err := s.restore(s.tasks[i]); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	send := func(at int64) {
		t.Helper()
		if err := s.SendTo("in", 0, Message{Key: []byte("k"), Value: []byte("v"), Time: time.UnixMilli(at)}); err != nil {
			t.Fatal(err)
		}
	}
	send(10)
	if err := s.Advance(time.Second); err != nil { // both writers are idle from now on
		t.Fatal(err)
	}
	restartReaders()
	send(110)
	restartReaders()
	if err := s.Advance(time.Second); err != nil {
		t.Fatal(err)
	}
	if got := s.Read("final"); len(got) != 2 {
		t.Errorf("got %d windows, want 2", len(got))
	}
}
