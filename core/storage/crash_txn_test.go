package storage

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/milldam/milldam/core/record"
	"github.com/milldam/milldam/core/vfs"
	"github.com/milldam/milldam/core/vfs/vfstest"
)

// sentRecord is a record that a client sent, and the transaction it is of, nil for none.
type sentRecord struct {
	key, value string
	offset     record.Offset // once it was acknowledged, else noOffset
	txn        *sentTxn
}

// sentTxn is a transaction in one partition as its client knows it.
type sentTxn struct {
	asked, commit bool // how it is to end, once that was asked for
	acked         bool
}

// txnHistory is what clients of a store's transactional and compacted logs know.
type txnHistory struct {
	byValue map[string]*sentRecord
	byLog   map[string][]*sentRecord
	open    map[string]*sentTxn // by log and producer
	start   map[string]record.Offset
	asked   map[string]record.Offset
	now     time.Time
}

func txnTopics() topics {
	plain, compacted := smallConfig(), compactedConfig()
	plain.SegmentBytes, compacted.SegmentBytes = 2<<10, 2<<10
	compacted.DeleteRetention = time.Hour
	return topics{topicA: {"a", plain}, topicC: {"c", compacted}}
}

func (h *txnHistory) workload(t testing.TB, s *Store, known topics, rng *rand.Rand, steps int) error {
	var logs []*Log
	for _, id := range []record.TopicID{topicA, topicC} {
		l, err := s.Create(id, known[id].name, 0, known[id].config)
		if err != nil {
			return err
		}
		logs = append(logs, l)
		for _, state := range l.Producers() {
			if state.TxnFirst < 0 {
				continue
			}
			if err := h.end(l, state.ProducerID, rng); err != nil {
				return err
			}
		}
		for pid := range record.ProducerID(3) { // what the log does not know of had no batch that was synced
			delete(h.open, openKey(l, pid))
		}
	}
	for range steps {
		l, pid := logs[rng.IntN(2)], record.ProducerID(rng.IntN(3))
		var err error
		switch dice := rng.IntN(20); {
		case dice < 6:
			err = h.send(t, l, record.NoProducer, rng)
		case dice < 13:
			err = h.send(t, l, pid, rng)
		case dice < 16:
			if h.open[openKey(l, pid)] != nil {
				err = h.end(l, pid, rng)
			}
		case dice == 16 && l.id == topicA:
			err = h.deleteRecords(t, l, rng)
		default:
			h.now = h.now.Add(time.Duration(rng.IntN(40)) * time.Minute)
			err = s.Maintain(t.Context(), h.now)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func openKey(l *Log, pid record.ProducerID) string { return fmt.Sprint(l, "/", pid) }

// send appends one record, in the producer's transaction when there is one.
func (h *txnHistory) send(t testing.TB, l *Log, pid record.ProducerID, rng *rand.Rand) error {
	r := &sentRecord{key: fmt.Sprint("k", rng.IntN(6)), value: fmt.Sprint("v", len(h.byValue)), offset: noOffset}
	h.byValue[r.value] = r
	h.byLog[l.String()] = append(h.byLog[l.String()], r)
	opts := record.NewBatchOptions()
	if pid != record.NoProducer {
		state := stateOf(l, pid)
		opts = producerOpts(pid, 0, state.LastSequence+1, true)
		if h.open[openKey(l, pid)] == nil {
			h.open[openKey(l, pid)] = &sentTxn{}
		}
		r.txn = h.open[openKey(l, pid)]
	}
	var b record.Builder
	b.Reset(opts)
	b.Append(h.now.UnixMilli(), []byte(r.key), []byte(r.value))
	out, err := b.Build(nil)
	if err != nil {
		t.Fatal(err)
	}
	a, err := appendVerified(l, out)
	if err == nil {
		r.offset = a.BaseOffset
	}
	return err
}

// end asks for the end of a producer's transaction, in the way that was asked for before, if it was.
func (h *txnHistory) end(l *Log, pid record.ProducerID, rng *rand.Rand) error {
	txn := h.open[openKey(l, pid)]
	if !txn.asked {
		txn.asked, txn.commit = true, rng.IntN(2) == 0
	}
	_, err := end(l, record.Marker{ProducerID: pid, Commit: txn.commit})
	if err == nil {
		txn.acked = true
		delete(h.open, openKey(l, pid))
	}
	return err
}

func (h *txnHistory) deleteRecords(t testing.TB, l *Log, rng *rand.Rand) error {
	to := record.Offset(rng.Int64N(int64(l.LastStable()) + 1))
	h.asked[l.String()] = max(h.asked[l.String()], to)
	start, err := l.DeleteRecords(t.Context(), to)
	if err == nil {
		h.start[l.String()] = max(h.start[l.String()], start)
	}
	return err
}

func (h *txnHistory) check(t testing.TB, s *Store, r Recovery) {
	t.Helper()
	if len(r.Offline) > 0 {
		t.Fatalf("offline after recovery: %v", r.Offline)
	}
	for key, sent := range h.byLog {
		l := logNamed(s, key)
		if l == nil {
			for _, r := range sent {
				if r.offset >= 0 {
					t.Fatalf("%s is gone, it had %q", key, r.value)
				}
			}
			continue
		}
		h.checkLog(t, l, sent)
	}
	if l := s.Log(topicA, 0); l != nil { // it writes, so that the crash may come in it
		checkRebuilt(t, l)
	}
}

func (h *txnHistory) checkLog(t testing.TB, l *Log, sent []*sentRecord) {
	t.Helper()
	if key := l.String(); l.Start() < h.start[key] || l.Start() > h.asked[key] {
		t.Fatalf("%s starts at %d; acknowledged %d, asked for %d", key, l.Start(), h.start[key], h.asked[key])
	}
	at, last := map[record.Offset]string{}, map[string]record.Offset{}
	for _, r := range readCommitted(t, l, l.Start()) {
		known := h.byValue[r.value]
		switch {
		case known == nil || known.key != r.key:
			t.Fatalf("%s at %d: %s=%q was never sent", l, r.offset, r.key, r.value)
		case known.txn != nil && !(known.txn.asked && known.txn.commit):
			t.Fatalf("%s at %d: %q of a transaction that nobody committed is visible", l, r.offset, r.value)
		case known.offset >= 0 && known.offset != r.offset:
			t.Fatalf("%s at %d: %q was acknowledged at %d", l, r.offset, r.value, known.offset)
		}
		at[r.offset], last[r.key] = r.value, r.offset
	}
	for _, r := range sent {
		final := r.offset >= l.Start() && (r.txn == nil || r.txn.acked && r.txn.commit)
		switch {
		case !final || r.offset >= l.LastStable() && l.End() > r.offset:
		case l.id == topicC && last[r.key] > r.offset:
		case at[r.offset] != r.value:
			t.Fatalf("%s at %d: acknowledged %s=%q is lost, there is %q; the key is at %d, the log has [%d, %d), stable up to %d", l, r.offset, r.key, r.value,
				at[r.offset], last[r.key], l.Start(), l.End(), l.LastStable())
		}
	}
}

// TestCrashAtEveryOperationOfTransactions is TestCrashAtEveryOperation over transactions and the compaction of what they leave.
func TestCrashAtEveryOperationOfTransactions(t *testing.T) {
	vfstest.EachOperation(t, 11, crashTxnOnce)
}

// txnStepsPerLife is how much is done between two crashes.
const txnStepsPerLife = 120

// crashTxnOnce returns true when the workload ended before operation n.
func crashTxnOnce(t *testing.T, n int) (finished bool) {
	h := &txnHistory{byValue: map[string]*sentRecord{}, byLog: map[string][]*sentRecord{}, open: map[string]*sentTxn{},
		start: map[string]record.Offset{}, asked: map[string]record.Offset{}, now: time.UnixMilli(1_000_000)}
	known, mem := txnTopics(), vfs.NewMem()
	rng := rand.New(rand.NewPCG(uint64(n), 6))
	for life := range 3 {
		cut := n
		if life > 0 {
			cut = 1 + rng.IntN(200)
		}
		short := rng.IntN(2) == 0
		fs := vfs.Fault(mem, &vfs.Rule{N: cut, Crash: true, Short: short})
		s, r, err := Open(t.Context(), smallOptions(fs, known))
		if err == nil {
			unlessFailed(t, s, func(t testing.TB) { h.check(t, s, r) })
			err = h.workload(t, s, known, rng, txnStepsPerLife)
			closed := s.Close()
			finished = finished || err == nil && life == 0
			if err == nil {
				err = closed
			}
		}
		if err != nil && !errors.Is(err, vfs.ErrCrashed) {
			t.Fatalf("cut at %d, life %d: %v", n, life, err)
		}
		if there, err := vfs.Exists(mem, "data"); err != nil {
			t.Fatal(err)
		} else if there && life == 0 && !short { // the process was killed, and no write torn
			allWhole(t, mem, "data", EpochsFile, TopicIDFile) // which are made with the folder, and may be empty yet
		}
		if t.Failed() {
			t.Fatalf("killed at %d, life %d", n, life)
		}
		mem = afterEnd(mem, rng)
	}
	survive(t, h, mem, known, rng, n)
	if allWhole(t, mem, "data"); t.Failed() {
		t.Fatalf("cut at %d", n)
	}
	return finished
}
