package storage

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/milldam/milldam/core/record"
	"github.com/milldam/milldam/core/vfs"
)

// lastStates is what a log must be able to tell of its producers whatever it was rebuilt from: everything but the batches before the last.
func lastStates(p *producers) string {
	text := ""
	for _, id := range slices.Sorted(maps.Keys(p.known)) {
		k := *p.known[id]
		k.batches = k.batches[max(0, len(k.batches)-1):]
		for i := range k.batches {
			k.batches[i].timestamp = k.timestamp // a snapshot has one for both
		}
		text += fmt.Sprintf("%d: %+v\n", id, k)
	}
	return text + fmt.Sprint("open ", p.open)
}

// rebuilt is the state that follows from the segments alone: from the snapshot at its first segment, if there is one, and all batches.
func rebuilt(t testing.TB, l *Log) *producers {
	t.Helper()
	base := l.sortedSegments()[0]
	p := &producers{known: map[record.ProducerID]*producer{}}
	if data, err := vfs.ReadFile(l.store.opts.FS, base.file(snapshotSuffix)); err == nil {
		if *p, err = decodeSnapshot(data); err != nil {
			t.Fatal(err)
		}
	}
	for _, seg := range l.sortedSegments() {
		if err := seg.batches(0, seg.written, func(b record.Batch, _ int64) error { p.apply(b); return nil }); err != nil {
			t.Fatal(err)
		}
	}
	return p
}

func checkRebuilt(t testing.TB, l *Log) {
	t.Helper()
	if err := l.flushTail(nil); errors.Is(err, vfs.ErrCrashed) {
		return
	} else if err != nil {
		t.Fatal(err)
	}
	p := rebuilt(t, l)
	l.mu.Lock()
	live := l.mu.producers.clone()
	l.mu.Unlock()
	if got, want := lastStates(p), lastStates(&live); got != want {
		t.Fatalf("%s: the log alone tells\n%s\nthe live state is\n%s", l, got, want)
	}
}

// TestProducersFollowFromTheLog runs random transactions, and compares the live state of the producers with the one that follows from the log: from its
// start, from every snapshot file, from a snapshot at every batch, and after restarts and crashes.
func TestProducersFollowFromTheLog(t *testing.T) {
	for seed := range uint64(20) {
		rng := rand.New(rand.NewPCG(seed, 5))
		c := smallConfig()
		c.SegmentBytes = 2 << 10
		known, fs := topics{topicA: {"a", c}}, vfs.NewMem()
		l := create(t, open(t, fs, known), known, topicA, 0)
		for range 250 {
			pid := record.ProducerID(1 + rng.IntN(4))
			state := stateOf(l, pid)
			switch dice := rng.IntN(20); {
			case dice < 12:
				b := idempotent(t, pid, state.Epoch, state.LastSequence+1, "v", "w")
				if state.TxnFirst >= 0 || dice < 8 {
					b = transactional(t, pid, state.Epoch, state.LastSequence+1, "v", "w")
				}
				if dice == 0 && state.TxnFirst < 0 {
					b = idempotent(t, pid, state.Epoch+1, 0, "new epoch")
				}
				mustAppendVerified(t, l, b)
			case dice < 15:
				mustEnd(t, l, record.Marker{ProducerID: pid, ProducerEpoch: state.Epoch, CoordinatorEpoch: max(0, state.CoordinatorEpoch) + int32(rng.IntN(2)),
					Commit: rng.IntN(2) == 0})
			case dice == 15:
				if _, err := l.DeleteRecords(t.Context(), record.Offset(rng.Int64N(int64(l.End())+1))); err != nil {
					t.Fatal(err)
				}
			case dice < 18:
				if err := l.store.Maintain(t.Context(), time.UnixMilli(2000)); err != nil {
					t.Fatal(err)
				}
			default:
				if dice == 18 {
					fs = fs.CrashClone(rng)
				} else if err := l.store.Close(); err != nil {
					t.Fatal(err)
				}
				l = create(t, open(t, fs, known), known, topicA, 0)
			}
			checkRebuilt(t, l)
		}
		checkSnapshots(t, l)
	}
}

// stateOf is what the log knows of a producer, or what a new one starts with.
func stateOf(l *Log, pid record.ProducerID) ProducerState {
	for _, s := range l.Producers() {
		if s.ProducerID == pid {
			return s
		}
	}
	return ProducerState{ProducerID: pid, LastSequence: record.NoSequence, CoordinatorEpoch: noCoordinatorEpoch, TxnFirst: noOffset}
}

// checkSnapshots goes on from a snapshot after every batch of the log.
func checkSnapshots(t *testing.T, l *Log) {
	t.Helper()
	var batches []record.Batch
	for _, seg := range l.sortedSegments() {
		if err := seg.batches(0, seg.written, func(b record.Batch, _ int64) error {
			batches = append(batches, slices.Clone(b))
			return nil
		}); err != nil {
			t.Fatal(err)
		}
	}
	state := producers{}
	for at := range batches {
		state.apply(batches[at])
		whole := state.clone()
		part, err := decodeSnapshot(state.encodeSnapshot())
		if err != nil {
			t.Fatal(err)
		}
		for _, b := range batches[at+1:] {
			e1, ok1 := whole.apply(b)
			if e2, ok2 := part.apply(b); e1 != e2 || ok1 != ok2 {
				t.Fatalf("from a snapshot after batch %d the end of a transaction is %+v, and else %+v", at, e2, e1)
			}
		}
		if got, want := lastStates(&part), lastStates(&whole); got != want {
			t.Fatalf("from a snapshot after batch %d\n%s\nand else\n%s", at, got, want)
		}
	}
}
