package storage

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/milldam/milldam/core/record"
	"github.com/milldam/milldam/core/vfs"
	"github.com/milldam/milldam/core/vfs/vfstest"
)

// history is what a client of a store knows: what it was acknowledged, and what it asked for without an answer.
type history struct {
	acked    map[string]map[record.Offset]string // by log, the value of each acknowledged offset
	sent     map[string]bool                     // every value that was ever sent
	start    map[string]record.Offset            // acknowledged by DeleteRecords
	asked    map[string]record.Offset            // the largest start asked for
	removed  map[record.TopicID]bool             // acknowledged
	removing map[record.TopicID]bool
	next     int
	small    bool // no batch goes straight to its segment
}

func newHistory() *history {
	return &history{acked: map[string]map[record.Offset]string{}, sent: map[string]bool{}, start: map[string]record.Offset{},
		asked: map[string]record.Offset{}, removed: map[record.TopicID]bool{}, removing: map[record.TopicID]bool{}}
}

var topicC = record.TopicID{3}

func crashTopics() topics {
	known := twoTopics()
	large := smallConfig()
	large.SegmentBytes = 3*directBytes + 16<<10 // the one with batches that go straight to their segment
	known[topicA] = topic{"a", large}
	compacted := smallConfig()
	compacted.CleanupDelete, compacted.CleanupCompact, compacted.MinCleanableRatio = false, true, 0
	known[topicC] = topic{"c", compacted}
	return known
}

// workload does a seeded mix of everything until it is done or something fails.
func (h *history) workload(t testing.TB, s *Store, known topics, rng *rand.Rand, steps int) error {
	var logs []*Log
	for _, id := range []record.TopicID{topicA, topicB, topicC} {
		if h.removing[id] {
			continue
		}
		for p := range int32(2) {
			l, err := s.Create(id, known[id].name, p, known[id].config)
			if err != nil {
				return err
			}
			logs = append(logs, l)
		}
	}
	for range steps {
		l := logs[rng.IntN(len(logs))]
		var err error
		switch dice := rng.IntN(40); {
		case dice < 34:
			err = h.append(t, l, rng)
		case dice < 36 && l.id != topicC:
			err = h.deleteRecords(t, l, rng)
		case dice == 36 && l.id == topicB && len(logs) > 4 && rng.IntN(3) == 0:
			h.removing[topicB] = true
			if err = s.RemoveTopic(t.Context(), topicB); err == nil {
				h.removed[topicB] = true
			}
			var left []*Log
			for _, l := range logs {
				if l.id != topicB {
					left = append(left, l)
				}
			}
			logs = left
		default:
			err = s.Maintain(t.Context(), time.Now())
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// zeros fill values up: to format that many digits would be most of the test.
var zeros = strings.Repeat("0", directBytes)

// append sends a few batches at once and waits for all.
func (h *history) append(t testing.TB, l *Log, rng *rand.Rand) error {
	done := make(chan error, 1)
	p := NewPending(func(err error) { done <- err })
	got := map[record.Offset]string{}
	for range 1 + rng.IntN(4) {
		var values []string
		for range 1 + rng.IntN(3) {
			h.next++
			size := rng.IntN(600)
			if l.id == topicA && rng.IntN(30) == 0 && !h.small {
				size = directBytes
			}
			values = append(values, fmt.Sprintf("%d:", h.next)+zeros[:size])
			h.sent[clip(values[len(values)-1])] = true
		}
		a, err := l.Append(plain(t, values...), 0, FromClient, nil, p)
		if err != nil {
			p.Arm()
			return err
		}
		for i, v := range values {
			got[a.BaseOffset+record.Offset(i)] = clip(v)
		}
	}
	p.Arm()
	if err := <-done; err != nil {
		return err
	}
	key := l.String()
	if h.acked[key] == nil {
		h.acked[key] = map[record.Offset]string{}
	}
	for off, v := range got {
		h.acked[key][off] = v
	}
	return nil
}

func (h *history) deleteRecords(t testing.TB, l *Log, rng *rand.Rand) error {
	to := record.Offset(rng.Int64N(int64(l.Committed()) + 1))
	key := l.String()
	h.asked[key] = max(h.asked[key], to)
	start, err := l.DeleteRecords(t.Context(), to)
	if err == nil {
		h.start[key] = max(h.start[key], start)
	}
	return err
}

// check compares a recovered store with the history.
func (h *history) check(t testing.TB, s *Store, r Recovery) {
	t.Helper()
	if len(r.Offline) > 0 {
		t.Fatalf("offline after recovery: %v", r.Offline)
	}
	for id := range h.removed {
		for p := range int32(2) {
			if l := s.Log(id, p); l != nil {
				t.Fatalf("removed topic %v is back with %d records", id, l.End())
			}
		}
	}
	for key, acked := range h.acked {
		l := logNamed(s, key)
		if h.removing[topicB] && key[0] == 'b' && (l == nil || l.End() == 0) {
			continue
		}
		if l == nil {
			t.Fatalf("%s is gone, it had %d acknowledged records", key, len(acked))
		}
		h.checkLog(t, l, acked)
	}
}

func logNamed(s *Store, key string) *Log {
	for _, l := range s.Logs() {
		if l.String() == key {
			return l
		}
	}
	return nil
}

func (h *history) checkLog(t testing.TB, l *Log, acked map[record.Offset]string) {
	t.Helper()
	key := l.String()
	if l.Start() < h.start[key] || l.Start() > h.asked[key] {
		t.Fatalf("%s starts at %d; acknowledged %d, asked for %d", key, l.Start(), h.start[key], h.asked[key])
	}
	found := map[record.Offset]string{}
	for _, text := range read(t, l, l.Start()) {
		var off record.Offset
		var value string
		if _, err := fmt.Sscanf(text, "%d=%s", &off, &value); err != nil {
			t.Fatal(err)
		}
		if !h.sent[value] {
			t.Fatalf("%s at %d: %q was never sent", key, off, value)
		}
		if want, ok := acked[off]; ok && want != value {
			t.Fatalf("%s at %d: %q, acknowledged was %q", key, off, value, want)
		}
		found[off] = value
	}
	// In a compacted log only the last record of each of the keys k0, k1 and k2 has to be there.
	if l.id == topicC {
		return
	}
	for off, want := range acked {
		if off >= l.Start() && found[off] != want {
			t.Fatalf("%s at %d: acknowledged %q is lost; the log has [%d, %d)", key, off, want, l.Start(), l.End())
		}
	}
	for off := l.Start(); off < l.End(); off++ {
		if found[off] == "" {
			t.Fatalf("%s has a hole at %d", key, off)
		}
	}
}

// stepsPerLife is how much is done between two crashes.
const stepsPerLife = 60

// TestCrashAtEveryOperation cuts the disk at the N-th operation, for all N, with and without a part of what was not synced, and opens what is left. Then it does
// the same to the survivor, since recovery writes too.
func TestCrashAtEveryOperation(t *testing.T) {
	vfstest.EachOperation(t, 7, crashOnce)
}

// crashOnce returns true when the workload ended before operation n.
func crashOnce(t *testing.T, n int) (finished bool) {
	h, known, mem := newHistory(), crashTopics(), vfs.NewMem()
	rng := rand.New(rand.NewPCG(uint64(n), 1))
	for life := range 3 {
		cut := n
		if life > 0 {
			cut = 1 + rng.IntN(80) // the next one dies young, maybe in its recovery
		}
		fs := vfs.Fault(mem, &vfs.Rule{N: cut, Crash: true, Short: rng.IntN(2) == 0})
		s, r, err := Open(t.Context(), smallOptions(fs, known))
		if err == nil {
			unlessFailed(t, s, func(t testing.TB) { h.check(t, s, r) })
			err = h.workload(t, s, known, rng, stepsPerLife)
			closed := s.Close()
			if err == nil && life == 0 {
				finished = true
			}
			if err == nil {
				err = closed
			}
		}
		if err != nil && !errors.Is(err, vfs.ErrCrashed) {
			t.Fatalf("cut at %d, life %d: %v", n, life, err)
		}
		mem = afterEnd(mem, rng)
	}
	for range 2 {
		survive(t, h, mem, known, rng, n)
		mem = mem.CrashClone(nil)
	}
	return finished
}

// lived is what was done to a store before it crashed.
type lived interface {
	check(testing.TB, *Store, Recovery)
	workload(t testing.TB, s *Store, known topics, rng *rand.Rand, steps int) error
}

// survive opens what is left after the cut at operation n, and works on with it.
func survive(t *testing.T, h lived, mem *vfs.Mem, known topics, rng *rand.Rand, n int) {
	t.Helper()
	s, r, err := Open(t.Context(), smallOptions(mem, known))
	if err != nil {
		t.Fatalf("cut at %d: open: %v", n, err)
	}
	h.check(t, s, r)
	if err := h.workload(t, s, known, rng, 5); err != nil {
		t.Fatalf("cut at %d: the survivor: %v", n, err)
	}
	if err := s.Close(); err != nil {
		t.Fatalf("cut at %d: close: %v", n, err)
	}
}

// unlessFailed runs a check of a store that has faults: what fails because one of them strikes meanwhile, as the store writes in the background, is none of the check's.
func unlessFailed(t testing.TB, s *Store, check func(testing.TB)) {
	t.Helper()
	defer func() {
		t.Helper()
		why := recover()
		text, ok := why.(failedCheck)
		if why != nil && !ok {
			panic(why)
		}
		failed := s.Err() != nil || slices.ContainsFunc(s.Logs(), func(l *Log) bool { return l.Err() != nil && l.Damaged() == nil })
		if f, faulty := s.opts.FS.(*vfs.Faulty); ok && !failed && !(faulty && f.Crashed()) {
			t.Fatal(string(text))
		}
	}()
	check(failing{t})
}

// failing is a test that ends with a panic.
type failing struct{ testing.TB }

type failedCheck string

func (failing) Fatal(args ...any)                 { panic(failedCheck(fmt.Sprint(args...))) }
func (failing) Fatalf(format string, args ...any) { panic(failedCheck(fmt.Sprintf(format, args...))) }

// afterEnd is what the next life of a process that came to its end finds: that of a machine that lost its power, which may have written more than it was asked to, or that of the
// same machine, which has everything, synced or not.
func afterEnd(mem *vfs.Mem, rng *rand.Rand) *vfs.Mem {
	switch rng.IntN(3) {
	case 0:
		return mem.CrashClone(nil)
	case 1:
		return mem.CrashClone(rng)
	}
	return mem
}

// TestFailedOperationAtEveryPoint fails each operation of a workload once, as a disk with a bad sector does; what a sync that failed should have written is lost, though it can be
// read. The process is started again on the same machine, works on, and then the power goes: all that was ever acknowledged is there.
func TestFailedOperationAtEveryPoint(t *testing.T) {
	vfstest.EachOperation(t, 7, failOnce)
}

// failOnce returns true when the workload ended before operation n.
func failOnce(t *testing.T, n int) (finished bool) {
	h, known, mem := newHistory(), crashTopics(), vfs.NewMem()
	rng := rand.New(rand.NewPCG(uint64(n), 8))
	for life := range 3 {
		rule := &vfs.Rule{N: n, Err: syscall.EIO, Short: rng.IntN(2) == 0, Lost: true}
		if life > 0 {
			rule.N = 1 + rng.IntN(80)
		}
		fs := vfs.Fault(mem, rule)
		s, r, err := Open(t.Context(), smallOptions(fs, known))
		if err == nil {
			unlessFailed(t, s, func(t testing.TB) { h.check(t, s, r) })
			if err = h.workload(t, s, known, rng, stepsPerLife); err == nil {
				finished = finished || life == 0
			}
			err = errors.Join(err, s.Close())
		}
		if err != nil && !errors.Is(err, syscall.EIO) {
			t.Fatalf("failed at %d, life %d: %v", n, life, err)
		}
	}
	for _, what := range []string{"the same machine", "after a power failure"} {
		s, r, err := Open(t.Context(), smallOptions(mem, known))
		if err != nil {
			t.Fatalf("failed at %d: %s: %v", n, what, err)
		}
		h.check(t, s, r)
		if t.Failed() {
			t.Fatalf("failed at %d: %s", n, what)
		}
		if err := h.workload(t, s, known, rng, 5); err != nil {
			t.Fatalf("failed at %d: %s: %v", n, what, err)
		}
		last := mem.CrashClone(nil) // with a write-ahead log
		if err := s.Close(); err != nil {
			t.Fatalf("failed at %d: %s: %v", n, what, err)
		}
		mem = last
	}
	return finished
}
