package storage

import (
	"fmt"
	"math/rand/v2"
	"path"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/milldam/milldam/core/record"
	"github.com/milldam/milldam/core/vfs"
)

// txnIndexReads counts the transaction indexes that are opened.
type txnIndexReads struct {
	vfs.FS
	opened atomic.Int64
}

func (r *txnIndexReads) Open(name string) (vfs.File, error) {
	if path.Ext(name) == txnSuffix {
		r.opened.Add(1)
	}
	return r.FS.Open(name)
}

// manySegments is a log of n segments; where aborted is set each has an aborted transaction.
func manySegments(t testing.TB, s *Store, known topics, n int, aborted bool) *Log {
	t.Helper()
	l := create(t, s, known, topicA, 0)
	half, now := strings.Repeat("v", int(l.config().SegmentBytes)/2-200), time.Now().UnixMilli() // the markers' time: it rolls segments too
	for i := range n {
		if aborted {
			mustAppendVerified(t, l, batchOf(t, producerOpts(7, 0, record.Sequence(i), true), now, half))
			mustEnd(t, l, record.Marker{ProducerID: 7})
		} else {
			mustAppend(t, l, batchOf(t, record.NewBatchOptions(), now, half))
		}
		mustAppend(t, l, batchOf(t, record.NewBatchOptions(), now, half))
	}
	if err := l.flushTail(nil); err != nil { // completes what is sealed
		t.Fatal(err)
	}
	return l
}

// TestReadCommittedLooksNoFurtherThanItMust counts the transaction indexes that are read for parts of a log, as it was written and after a restart.
func TestReadCommittedLooksNoFurtherThanItMust(t *testing.T) {
	const segments = 40
	known, fs := twoTopics(), &txnIndexReads{FS: vfs.NewMem()}
	s := open(t, fs, known)
	l := manySegments(t, s, known, segments, true)
	check := func(l *Log, when string) {
		t.Helper()
		all := l.sortedSegments()
		middle := all[segments/2]
		for _, c := range []struct {
			from, to  record.Offset
			want      int // aborted transactions
			atMost    int64
			atLeast   int64
			described string
		}{
			{0, 1, 1, 1, 1, "the first record"},
			{middle.base, middle.base + 1, 1, 1, 1, "a record in the middle"},
			{middle.base + 2, middle.base + 3, 0, 2, 0, "a plain record behind a marker"},
			{0, l.LastStable(), segments, segments, segments - 1, "everything"},
		} {
			for _, seg := range all {
				seg.txns.Store(nil) // nothing is known of earlier reads
			}
			before := fs.opened.Load()
			got, err := l.Aborted(c.from, c.to)
			if read := fs.opened.Load() - before; err != nil || len(got) != c.want || read > c.atMost || read < c.atLeast {
				t.Errorf("%s, %s: %d aborted transactions from %d indexes, %v; want %d from at most %d", when, c.described, len(got), read, err, c.want, c.atMost)
			}
		}
		gathered := testing.AllocsPerRun(100, func() {
			if _, err := l.Aborted(0, 1); err != nil {
				t.Error(err)
			}
		})
		if gathered > 2 {
			t.Errorf("%s: %.0f allocations for the first record", when, gathered)
		}
	}
	check(l, "as it was written")
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	check(open(t, fs, known).Log(topicA, 0), "after a restart")
}

// TestAbortedTransactionsOfAnyPart compares the aborted transactions of parts of random logs with those that a look at all of them finds: transactions of several segments,
// next to short ones, in segments of this life of the store and of the one before.
func TestAbortedTransactionsOfAnyPart(t *testing.T) {
	for seed := range uint64(10) {
		rng := rand.New(rand.NewPCG(seed, 9))
		known, fs := twoTopics(), vfs.NewMem()
		s := open(t, fs, known)
		l := create(t, s, known, topicA, 0)
		var all []AbortedTxn
		for step := range 300 {
			pid := record.ProducerID(rng.IntN(5))
			state := stateOf(l, pid)
			switch {
			case state.TxnFirst >= 0 && rng.IntN(4+20*int(pid%2)) == 0:
				last := mustEnd(t, l, record.Marker{ProducerID: pid, Commit: step%3 == 0}).LastOffset
				if step%3 != 0 {
					all = append(all, AbortedTxn{ProducerID: pid, First: state.TxnFirst, Last: last})
				}
			case rng.IntN(3) == 0:
				mustAppend(t, l, plain(t, fmt.Sprintf("%0700d", step)))
			default:
				mustAppendVerified(t, l, transactional(t, pid, 0, state.LastSequence+1, fmt.Sprintf("%0300d", step)))
			}
			if step == 150 {
				if err := s.Close(); err != nil {
					t.Fatal(err)
				}
				s = open(t, fs, known)
				l = s.Log(topicA, 0)
			}
		}
		for range 300 {
			to := 1 + record.Offset(rng.Int64N(int64(l.LastStable())))
			from := record.Offset(rng.Int64N(int64(to)))
			var want []AbortedTxn
			for _, a := range all {
				if a.First < to && a.Last >= from {
					want = append(want, a)
				}
			}
			slices.SortFunc(want, func(a, b AbortedTxn) int { return int(a.First - b.First) })
			got, err := l.Aborted(from, to)
			for i := range got {
				got[i].LastStable = 0
			}
			if err != nil || !slices.Equal(got, want) {
				t.Fatalf("seed %d, aborted in [%d, %d): %v, %v; want %v", seed, from, to, got, err, want)
			}
		}
	}
}

// BenchmarkAbortedOfManySegments asks what a fetch from the beginning of a log of 1,000 segments does, after a restart.
func BenchmarkAbortedOfManySegments(b *testing.B) {
	for name, aborted := range map[string]bool{"each with an aborted transaction": true, "none with transactions": false} {
		b.Run(name, func(b *testing.B) {
			known, fs := twoTopics(), vfs.NewMem()
			s := open(b, fs, known)
			manySegments(b, s, known, 1000, aborted)
			if err := s.Close(); err != nil {
				b.Fatal(err)
			}
			l := open(b, fs, known).Log(topicA, 0)
			b.ReportAllocs()
			for b.Loop() {
				if _, err := l.Aborted(0, 1); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
