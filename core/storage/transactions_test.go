package storage

import (
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"
	"testing"

	"github.com/milldam/milldam/core/record"
	"github.com/milldam/milldam/core/vfs"
)

// transactional is a batch of a transaction.
func transactional(t testing.TB, pid record.ProducerID, epoch record.ProducerEpoch, sequence record.Sequence, values ...string) record.Batch {
	opts := record.NewBatchOptions()
	opts.ProducerID, opts.ProducerEpoch, opts.BaseSequence, opts.Transactional = pid, epoch, sequence, true
	return batchOf(t, opts, 1000, values...)
}

// appendVerified appends a transactional batch as the broker does once the coordinator has agreed, and waits until it is committed.
func appendVerified(l *Log, b record.Batch) (Appended, error) {
	v, _ := l.Verify(b.ProducerID(), b.ProducerEpoch())
	done := make(chan error, 1)
	p := NewPending(func(err error) { done <- err })
	a, err := l.Append(b, 0, FromClient, v, p)
	p.Arm()
	if err != nil {
		return a, err
	}
	return a, <-done
}

func mustAppendVerified(t testing.TB, l *Log, b record.Batch) Appended {
	t.Helper()
	a, err := appendVerified(l, b)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// end writes a marker of transaction version 1 and waits until it is committed.
func end(l *Log, m record.Marker) (Appended, error) { return endVersion(l, m, 1) }

func endVersion(l *Log, m record.Marker, version int8) (Appended, error) {
	done := make(chan error, 1)
	p := NewPending(func(err error) { done <- err })
	a, err := l.AppendMarker(m, version, 0, p)
	p.Arm()
	if err != nil {
		return a, err
	}
	return a, <-done
}

func mustEnd(t testing.TB, l *Log, m record.Marker) Appended {
	t.Helper()
	a, err := end(l, m)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// TestMarkersAreWrittenWhateverTheirTopicAllows: a limit on what clients send keeps no transaction from ending.
func TestMarkersAreWrittenWhateverTheirTopicAllows(t *testing.T) {
	known := twoTopics()
	l := create(t, open(t, vfs.NewMem(), known), known, topicA, 0)
	mustAppendVerified(t, l, transactional(t, 7, 0, 0, "v"))
	c := l.config()
	c.MaxMessageBytes = 0
	l.SetConfig(c)
	if _, err := appendVerified(l, transactional(t, 7, 0, 1, "v")); !errors.Is(err, ErrTooLarge) {
		t.Errorf("a client's batch: %v", err)
	}
	if _, err := end(l, record.Marker{ProducerID: 7}); err != nil {
		t.Errorf("the marker: %v", err)
	}
	if stable := l.LastStable(); stable != 2 {
		t.Errorf("stable up to %d, want 2", stable)
	}
}

func TestTransactionalBatchNeedsVerification(t *testing.T) {
	known := twoTopics()
	l := create(t, open(t, vfs.NewMem(), known), known, topicA, 0)
	if _, err := appendSync(l, transactional(t, 7, 0, 0, "v")); !errors.Is(err, ErrTxnState) {
		t.Errorf("without a verification: %v", err)
	}
	v, needed := l.Verify(7, 0)
	if again, _ := l.Verify(7, 0); v == nil || !needed || again != v {
		t.Fatalf("Verify = %p, %v, and then %p", v, needed, again)
	}
	mustEnd(t, l, record.Marker{ProducerID: 7})
	if _, err := l.Append(transactional(t, 7, 0, 0, "v"), 0, FromClient, v, nil); !errors.Is(err, ErrTxnState) {
		t.Errorf("with a verification from before a marker: %v", err)
	}
	mustAppendVerified(t, l, transactional(t, 7, 0, 0, "v"))
	if v, needed := l.Verify(7, 0); v != nil || needed {
		t.Errorf("in the open transaction Verify = %v, %v", v, needed)
	}
	if _, needed := l.Verify(7, 1); !needed {
		t.Error("another epoch needs no verification")
	}
	if _, err := appendSync(l, transactional(t, 7, 0, 1, "w")); err != nil {
		t.Errorf("in the open transaction: %v", err)
	}
	if _, err := appendSync(l, idempotent(t, 7, 0, 2, "x")); !errors.Is(err, ErrTxnState) {
		t.Errorf("a batch outside the open transaction: %v", err)
	}
	mustEnd(t, l, record.Marker{ProducerID: 7, Commit: true})
	if _, err := appendSync(l, transactional(t, 7, 0, 2, "x")); !errors.Is(err, ErrTxnState) {
		t.Errorf("after the transaction: %v", err)
	}
	if _, err := appendSync(l, idempotent(t, 7, 0, 2, "x")); err != nil {
		t.Errorf("outside a transaction: %v", err)
	}
}

func TestVerificationHoldsHigherSequencesBack(t *testing.T) {
	known := twoTopics()
	l := create(t, open(t, vfs.NewMem(), known), known, topicA, 0)
	first, second := transactional(t, 7, 0, 0, "v"), transactional(t, 7, 0, 1, "w")
	v, _ := l.VerifyBatch(second, false)
	if again, _ := l.VerifyBatch(first, false); again != v {
		t.Fatal("two verifications of one producer")
	}
	if _, err := l.Append(second, 0, FromClient, v, nil); !errors.Is(err, ErrOutOfOrderSequence) {
		t.Errorf("the second before the first: %v", err)
	}
	for _, b := range []record.Batch{first, second} {
		if _, err := l.Append(b, 0, FromClient, v, nil); err != nil {
			t.Fatal(err)
		}
	}
	from5 := transactional(t, 8, 0, 5, "v")
	v, _ = l.VerifyBatch(from5, true)
	if _, err := l.Append(from5, 0, FromClient, v, nil); !errors.Is(err, ErrOutOfOrderSequence) {
		t.Errorf("transaction version 2 from sequence 5 on: %v", err)
	}
	from5 = transactional(t, 9, 0, 5, "v")
	v, _ = l.VerifyBatch(from5, false)
	if _, err := l.Append(from5, 0, FromClient, v, nil); err != nil {
		t.Errorf("an unknown producer of transaction version 1 from sequence 5 on: %v", err)
	}
}

func TestMarkersAreFenced(t *testing.T) {
	// Producer 7 has epoch 5 here, and had a marker of coordinator epoch 3.
	for name, c := range map[string]struct {
		open    bool
		version int8
		marker  record.Marker
		want    error
	}{
		"version 1, the epoch":                          {true, 1, record.Marker{ProducerEpoch: 5, CoordinatorEpoch: 3}, nil},
		"version 1, a higher epoch":                     {true, 1, record.Marker{ProducerEpoch: 6, CoordinatorEpoch: 3}, nil},
		"version 1, a lower epoch":                      {true, 1, record.Marker{ProducerEpoch: 4, CoordinatorEpoch: 3}, ErrProducerFenced},
		"version 1, nothing open":                       {false, 1, record.Marker{ProducerEpoch: 5, CoordinatorEpoch: 3}, nil},
		"version 2, the epoch":                          {true, 2, record.Marker{ProducerEpoch: 5, CoordinatorEpoch: 3}, ErrProducerFenced},
		"version 2, the epoch, nothing open":            {false, 2, record.Marker{ProducerEpoch: 5, CoordinatorEpoch: 3}, nil},
		"version 2, a higher epoch":                     {true, 2, record.Marker{ProducerEpoch: 6, CoordinatorEpoch: 3}, nil},
		"version 2, a lower epoch":                      {false, 2, record.Marker{ProducerEpoch: 4, CoordinatorEpoch: 3}, ErrProducerFenced},
		"an older coordinator":                          {true, 1, record.Marker{ProducerEpoch: 5, CoordinatorEpoch: 2}, ErrCoordinatorFenced},
		"a newer coordinator":                           {true, 2, record.Marker{ProducerEpoch: 6, CoordinatorEpoch: 4}, nil},
		"the epoch is looked at before the coordinator": {true, 1, record.Marker{ProducerEpoch: 4, CoordinatorEpoch: 2}, ErrProducerFenced},
	} {
		t.Run(name, func(t *testing.T) {
			known := twoTopics()
			l := create(t, open(t, vfs.NewMem(), known), known, topicA, 0)
			mustAppendVerified(t, l, transactional(t, 7, 5, 0, "v"))
			mustEnd(t, l, record.Marker{ProducerID: 7, ProducerEpoch: 5, CoordinatorEpoch: 3})
			if c.open {
				mustAppendVerified(t, l, transactional(t, 7, 5, 1, "v"))
			}
			before := l.End()
			c.marker.ProducerID = 7
			a, err := endVersion(l, c.marker, c.version)
			if !errors.Is(err, c.want) {
				t.Fatalf("%v, want %v", err, c.want)
			}
			if err == nil && (a.BaseOffset != before || l.End() != before+1 || l.LastStable() != l.End()) {
				t.Errorf("%+v; the log ends at %d and is stable up to %d", a, l.End(), l.LastStable())
			}
			if err != nil && l.End() != before {
				t.Error("a refused marker was written")
			}
		})
	}
}

// TestLastStableAndAborted has three transactions that overlap: 7 aborts, 8 commits, 9 stays open.
func TestLastStableAndAborted(t *testing.T) {
	known, fs := twoTopics(), vfs.NewMem()
	s := open(t, fs, known)
	l := create(t, s, known, topicA, 0)
	mustAppend(t, l, plain(t, "0"))
	mustAppendVerified(t, l, transactional(t, 7, 0, 0, "1", "2"))
	mustAppendVerified(t, l, transactional(t, 8, 0, 0, "3"))
	mustAppendVerified(t, l, transactional(t, 7, 0, 2, "4"))
	if got := l.LastStable(); got != 1 {
		t.Errorf("with two transactions open the log is stable up to %d", got)
	}
	mustEnd(t, l, record.Marker{ProducerID: 8, Commit: true}) // 5
	if got := l.LastStable(); got != 1 {
		t.Errorf("with the first open the log is stable up to %d", got)
	}
	mustAppendVerified(t, l, transactional(t, 9, 0, 0, "6"))
	mustEnd(t, l, record.Marker{ProducerID: 7}) // 7
	mustAppend(t, l, plain(t, "8"))
	check := func(l *Log) {
		t.Helper()
		if got := l.LastStable(); got != 6 {
			t.Errorf("the log is stable up to %d", got)
		}
		want := []AbortedTxn{{ProducerID: 7, First: 1, Last: 7, LastStable: 6}}
		for _, c := range []struct {
			from, to record.Offset
			want     []AbortedTxn
		}{{0, 6, want}, {0, 1, nil}, {0, 2, want}, {4, 6, want}, {7, 8, want}, {8, 9, nil}} {
			if got, err := l.Aborted(c.from, c.to); err != nil || !slices.Equal(got, c.want) {
				t.Errorf("aborted in [%d, %d): %v, %v; want %v", c.from, c.to, got, err, c.want)
			}
		}
		states := l.Producers()
		slices.SortFunc(states, func(a, b ProducerState) int { return int(a.ProducerID - b.ProducerID) })
		for i := range states {
			states[i].LastTimestamp = 0
		}
		if got := fmt.Sprint(states); got != "[{7 0 2 0 0 -1} {8 0 0 0 0 -1} {9 0 0 0 -1 6}]" {
			t.Errorf("producers: %s", got)
		}
	}
	check(l)
	check(open(t, fs.CrashClone(nil), known).Log(topicA, 0))
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	for _, lost := range []bool{false, true} {
		copied := fs.CrashClone(nil)
		if lost {
			if err := copied.Remove("data/checkpoint"); err != nil {
				t.Fatal(err)
			}
		}
		check(open(t, copied, known).Log(topicA, 0))
	}
}

// TestTransactionIsUnstableUntilItsMarkerIsCommitted holds the commit of a marker back.
func TestTransactionIsUnstableUntilItsMarkerIsCommitted(t *testing.T) {
	known, mem := twoTopics(), vfs.NewMem()
	fs := vfs.Fault(mem)
	s := open(t, fs, known)
	l := create(t, s, known, topicA, 0)
	mustAppendVerified(t, l, transactional(t, 7, 0, 0, "v"))
	held, entered := make(chan struct{}), make(chan struct{})
	s.committer.enqueue(queued{pending: func() *Pending {
		p := NewPending(func(error) { close(entered); <-held })
		p.left.Store(1)
		return p
	}()})
	<-entered
	done := make(chan error, 1)
	p := NewPending(func(err error) { done <- err })
	if _, err := l.AppendMarker(record.Marker{ProducerID: 7, Commit: true}, 1, 0, p); err != nil {
		t.Fatal(err)
	}
	p.Arm()
	if got := l.LastStable(); got != 0 || l.End() != 2 {
		t.Errorf("with the marker written and not committed the log is stable up to %d of %d", got, l.End())
	}
	close(held)
	if err := <-done; err != nil || l.LastStable() != 2 {
		t.Errorf("with the marker committed: %v, stable up to %d", err, l.LastStable())
	}
}

// TestTransactionsAcrossSegments ends transactions several segments behind their first batch, and reads their index from files.
func TestTransactionsAcrossSegments(t *testing.T) {
	known, fs := twoTopics(), vfs.NewMem()
	s := open(t, fs, known)
	l := create(t, s, known, topicA, 0)
	var want []AbortedTxn
	for i := range 10 {
		first := mustAppendVerified(t, l, transactional(t, 7, 0, record.Sequence(i), "first")).BaseOffset
		for range 30 {
			mustAppend(t, l, plain(t, fmt.Sprintf("%0500d", i)))
		}
		last := mustEnd(t, l, record.Marker{ProducerID: 7, Commit: i%3 == 0}).LastOffset
		if i%3 != 0 {
			want = append(want, AbortedTxn{ProducerID: 7, First: first, Last: last, LastStable: last + 1})
		}
	}
	check := func(l *Log) {
		t.Helper()
		if got, err := l.Aborted(0, l.End()); err != nil || !slices.Equal(got, want) {
			t.Errorf("aborted: %v, %v; want %v", got, err, want)
		}
		middle := want[3]
		if got, err := l.Aborted(middle.First+5, middle.First+6); err != nil || !slices.Equal(got, []AbortedTxn{middle}) {
			t.Errorf("in the middle of one: %v, %v", got, err)
		}
	}
	check(l)
	check(open(t, fs.CrashClone(nil), known).Log(topicA, 0))
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	allWhole(t, fs, "data")
	names, err := fs.List("data/logs/a-0")
	if err != nil {
		t.Fatal(err)
	}
	cut := 0
	for _, name := range names {
		if name = path.Join("data/logs/a-0", name); KindOf(name) != TxnIndexFile {
			continue
		}
		alter(t, fs, name, func(b []byte) []byte { b[9] ^= 1; return b }) // it can be read, and names another producer
		if r, err := verifyFile(fs, name); err != nil || !strings.Contains(r.Damage, "entry 0 is producer 6") {
			t.Errorf("%s: %+v, %v", name, r, err)
		}
		cut++
	}
	if cut < 3 {
		t.Errorf("%d transaction indexes", cut)
	}
	check(open(t, fs, known).Log(topicA, 0))
}

// seen is a record that a consumer got.
type seen struct {
	offset     record.Offset
	key, value string
}

func (s seen) String() string { return fmt.Sprintf("%d=%s", s.offset, s.value) }

// readCommitted returns what a read_committed consumer sees from offset on: it passes over control batches, and over the batches of aborted transactions, as
// the protocol's clients do. Values are cut as by clip.
func readCommitted(t testing.TB, l *Log, from record.Offset) []seen {
	t.Helper()
	var records []seen
	aborting := map[record.ProducerID]bool{}
	for stable := l.LastStable(); from < stable; {
		span, aborted, err := l.ReadCommitted(from, 3000, true)
		if err != nil {
			t.Fatal(err)
		}
		before := from
		for rest := written(t, &span); len(rest) > 0; {
			var b record.Batch
			if b, rest, err = record.Next(rest); errors.Is(err, record.ErrTruncated) && from > before {
				break // the last may be cut
			} else if err != nil {
				t.Fatal(err)
			}
			for len(aborted) > 0 && aborted[0].First <= b.LastOffset() {
				aborting[aborted[0].ProducerID] = true
				aborted = aborted[1:]
			}
			records = append(records, visible(t, b, from, aborting)...)
			from = b.NextOffset()
		}
		if from == before {
			t.Fatalf("no progress at %d of %d", from, stable)
		}
	}
	return records
}

func visible(t testing.TB, b record.Batch, from record.Offset, aborting map[record.ProducerID]bool) (records []seen) {
	t.Helper()
	if b.IsControl() {
		if m, ok, err := b.Marker(); err != nil {
			t.Fatal(err)
		} else if ok && !m.Commit {
			delete(aborting, m.ProducerID)
		}
		return nil
	}
	if b.IsTransactional() && aborting[b.ProducerID()] {
		return nil
	}
	err := b.Each(1<<20, func(r *record.Record) error {
		if r.Offset >= from {
			records = append(records, seen{r.Offset, string(r.Key), clip(string(r.Value))})
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return records
}

func TestReadCommittedPassesOverAbortedRecords(t *testing.T) {
	known, fs := twoTopics(), vfs.NewMem()
	s := open(t, fs, known)
	l := create(t, s, known, topicA, 0)
	var want []seen
	sequence := record.Sequence(0)
	for i := range 60 {
		commit := i%3 != 0
		for range 1 + i%4 {
			value := fmt.Sprintf("%d:%0300d", i, i)
			a := mustAppendVerified(t, l, transactional(t, 7, 0, sequence, value))
			if sequence++; commit {
				want = append(want, seen{a.BaseOffset, "k0", clip(value)})
			}
		}
		a := mustAppend(t, l, plain(t, "plain"))
		want = append(want, seen{a.BaseOffset, "k0", "plain"})
		mustEnd(t, l, record.Marker{ProducerID: 7, Commit: commit})
	}
	mustAppendVerified(t, l, transactional(t, 7, 0, sequence, "open"))
	check := func(l *Log) {
		t.Helper()
		if got := readCommitted(t, l, 0); !slices.Equal(got, want) {
			t.Errorf("%d values, want %d: %v", len(got), len(want), got)
		}
		if got := readCommitted(t, l, 101); !slices.Equal(got, want[slices.Index(want, got[0]):]) {
			t.Errorf("from the middle: %v", got)
		}
	}
	check(l)
	check(open(t, fs.CrashClone(nil), known).Log(topicA, 0))
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	clean := fs.CrashClone(nil)
	check(open(t, clean, known).Log(topicA, 0))
	names, err := fs.List("data/logs/a-0")
	if err != nil {
		t.Fatal(err)
	}
	damaged := 0
	for _, name := range names {
		if path.Ext(name) == txnSuffix {
			damaged++
			if err := vfs.WriteFileAtomic(fs, "data/logs/a-0/"+name, []byte("garbage")); err != nil {
				t.Fatal(err)
			}
		}
	}
	if damaged < 2 {
		t.Fatalf("%d transaction indexes in %v", damaged, names)
	}
	check(open(t, fs, known).Log(topicA, 0))
}

func TestMarkersHaveTheTimeOfTheLogWhereRecordsHave(t *testing.T) {
	for _, logAppendTime := range []bool{false, true} {
		l := logWith(t, func(c *LogConfig) { c.LogAppendTime = logAppendTime })
		mustAppendVerified(t, l, transactional(t, 7, 0, 0, "v"))
		mustEnd(t, l, record.Marker{ProducerID: 7, Commit: true})
		span, err := l.Read(1, 3000, l.Committed(), true)
		if err != nil {
			t.Fatal(err)
		}
		marker, _, err := record.Next(written(t, &span))
		if err != nil {
			t.Fatal(err)
		}
		if !marker.IsControl() || marker.HasLogAppendTime() != logAppendTime {
			t.Errorf("message.timestamp.type LogAppendTime %v: the marker has it: %v", logAppendTime, marker.HasLogAppendTime())
		}
	}
}
