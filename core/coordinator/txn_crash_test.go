package coordinator

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/milldam/milldam/core/record"
	"github.com/milldam/milldam/core/storage"
	"github.com/milldam/milldam/core/vfs"
	"github.com/milldam/milldam/core/vfs/vfstest"
	"github.com/milldam/milldam/core/wire"
)

// storedTxnLog is a partition of the transaction topic in a real log.
type storedTxnLog struct{ storedLog }

func (storedTxnLog) Epoch() record.LeaderEpoch { return 0 }

// txnCrash is what producers know of their transactions, and what the node's logs are in this life.
type txnCrash struct {
	t    *testing.T
	rng  *rand.Rand
	next int // value, and producer id
	// markers is how many may be on their way at a time; 0 is the default.
	markers int
	// atMarker, when it is not nil, is called before each marker, and when it is in the log.
	atMarker func()

	acked   map[string]bool // by value: the commit was acknowledged, or the abort
	unknown map[string]bool // no answer came to the end
	sent    map[string]int  // acknowledged appends, by value

	store *storage.Store
	data  []*storage.Log
	txns  *Transactions
}

func newTxnCrash(t *testing.T, rng *rand.Rand) *txnCrash {
	return &txnCrash{t: t, rng: rng, acked: map[string]bool{}, unknown: map[string]bool{}, sent: map[string]int{}}
}

const (
	crashTxnIDs    = 3
	crashTxnData   = 3 // partitions
	txnsPerLife    = 12
	crashDataName  = "data"
	crashTxnStates = 2 // partitions of the transactions' own topic
	crashStateName = "__transaction_state"
)

var crashDataID, crashStateID = record.TopicID{7}, record.TopicID{8}

// open opens the logs and a coordinator on them.
func (h *txnCrash) open(fs vfs.FS) error {
	if err := h.openLogs(fs); err != nil {
		return err
	}
	h.openTransactions()
	return nil
}

func crashStateConfig() storage.LogConfig {
	c := storage.DefaultLogConfig()
	c.SegmentBytes, c.Retention = 4<<10, -1
	c.CleanupDelete, c.CleanupCompact, c.MinCleanableRatio = false, true, 0
	return c
}

func (h *txnCrash) openLogs(fs vfs.FS) error {
	data := storage.DefaultLogConfig()
	data.SegmentBytes, data.Retention = 4<<10, -1
	configs := map[record.TopicID]storage.LogConfig{crashDataID: data, crashStateID: crashStateConfig()}
	names := map[record.TopicID]string{crashDataID: crashDataName, crashStateID: crashStateName}
	var err error
	h.store, _, err = storage.Open(h.t.Context(), storage.Options{FS: fs, Dir: "data", TailBytes: 32 << 10, WALFileBytes: 32 << 10, WALFiles: 2, OpenFiles: 3, ReserveBytes: -1,
		Topic: func(of record.TopicID) (string, storage.LogConfig, bool) {
			c, ok := configs[of]
			return names[of], c, ok
		}})
	if err != nil {
		return err
	}
	h.data = nil
	for p := range int32(crashTxnData) {
		l, err := h.store.Create(crashDataID, crashDataName, p, data)
		if err != nil {
			return err
		}
		h.data = append(h.data, l)
	}
	return nil
}

func (h *txnCrash) openTransactions() {
	h.txns = NewTransactions(TxnOptions{Partitions: crashTxnStates, WriteMarker: h.writeMarker, RetryPause: time.Millisecond, MaxMarkers: h.markers,
		ProducerID: func(context.Context) (record.ProducerID, error) { h.next++; return record.ProducerID(h.next), nil },
		Log: func(_ context.Context, p int32) (TxnLog, error) {
			l, err := h.store.Create(crashStateID, crashStateName, p, crashStateConfig())
			return storedTxnLog{storedLog{l}}, err
		}})
	h.txns.Load(h.t.Context())
}

func (h *txnCrash) close() error {
	err := errors.Join(h.txns.Close(), h.store.Close())
	h.txns, h.store = nil, nil
	return err
}

func (h *txnCrash) writeMarker(p TopicPartition, m record.Marker, version int16, done func(error)) {
	if at, after := h.atMarker, done; at != nil {
		at()
		done = func(err error) { at(); after(err) }
	}
	pending := storage.NewPending(done)
	if _, err := h.data[p.Partition].AppendMarker(m, int8(version), 0, pending); err != nil {
		if errors.Is(err, storage.ErrProducerFenced) {
			h.t.Errorf("a marker is refused: %v", err)
			err = nil
		}
		done(err)
		return
	}
	pending.Arm()
}

// call waits for the answer to a request; false when the coordinator is gone.
func call(send func(func(wire.Code, Txn))) (wire.Code, Txn) {
	type result struct {
		code wire.Code
		next Txn
	}
	got := make(chan result, 1)
	send(func(code wire.Code, next Txn) { got <- result{code, next} })
	r := <-got
	return r.code, r.next
}

// settled repeats a request while the last transaction is being completed.
func (h *txnCrash) settled(send func(func(wire.Code, Txn))) (wire.Code, Txn) {
	for {
		code, next := call(send)
		if code != wire.ConcurrentTransactions || h.data[0].Err() != nil {
			return code, next
		}
		<-time.After(100 * time.Microsecond)
	}
}

var errTxnCut = errors.New("the life ends here")

// workload does transactions of producers of both versions until one fails, as all do once the disk is gone.
func (h *txnCrash) workload(count int) error {
	producers := map[string]Txn{}
	for range count {
		id := fmt.Sprintf("txn-%d", h.rng.IntN(crashTxnIDs))
		version := int16(h.rng.IntN(2)) * txnVersion2
		p, ok := producers[id]
		if !ok || h.rng.IntN(4) == 0 {
			var err error
			if p, err = h.init(id); err != nil {
				return err
			}
		}
		next, err := h.transaction(p, version)
		if err != nil {
			return err
		}
		if producers[id] = next; version < txnVersion2 || next == p {
			delete(producers, id) // sequences would have to go on
		}
	}
	return nil
}

// transaction writes a value to some partitions, and ends it, or leaves it open.
func (h *txnCrash) transaction(p Txn, version int16) (next Txn, err error) {
	value, err := h.write(p, version, h.rng.Perm(crashTxnData)[:1+h.rng.IntN(crashTxnData)])
	if err != nil {
		return p, err
	}
	dice := h.rng.IntN(10)
	if dice == 0 { // the producer dies here
		return p, nil
	}
	return h.end(p, version, value, dice < 7)
}

// write writes a value to some partitions in a transaction.
func (h *txnCrash) write(p Txn, version int16, partitions []int) (value string, err error) {
	h.next++
	value = fmt.Sprintf("v%d", h.next)
	h.sent[value] = 0
	h.unknown[value] = true
	for _, part := range partitions {
		list := []TopicPartition{{crashDataName, int32(part)}}
		code, _ := h.settled(func(reply func(wire.Code, Txn)) {
			h.txns.AddPartitions(p, list, version, func(code wire.Code) { reply(code, p) })
		})
		if code != wire.None {
			return "", fmt.Errorf("%w: AddPartitions: %d", errTxnCut, code)
		}
		if err := h.append(h.data[part], p, value); err != nil {
			return "", err
		}
		h.sent[value]++
	}
	return value, nil
}

// end ends the transaction of a value.
func (h *txnCrash) end(p Txn, version int16, value string, commit bool) (next Txn, err error) {
	code, next := call(func(reply func(wire.Code, Txn)) { h.txns.End(p, commit, version, reply) })
	if code != wire.None {
		return p, fmt.Errorf("%w: EndTxn: %d", errTxnCut, code)
	}
	delete(h.unknown, value)
	h.acked[value] = commit
	return next, nil
}

// init gives a producer its id, which waits for what an earlier one left to be complete.
func (h *txnCrash) init(id string) (Txn, error) {
	code, p := h.settled(func(reply func(wire.Code, Txn)) { h.txns.InitProducerID(Txn{id, noProducerID, noEpoch}, 60_000, reply) })
	if code != wire.None {
		return p, fmt.Errorf("%w: InitProducerID: %d", errTxnCut, code)
	}
	return p, nil
}

func (h *txnCrash) append(l *storage.Log, p Txn, value string) error {
	o := record.NewBatchOptions()
	o.ProducerID, o.ProducerEpoch, o.BaseSequence, o.Transactional = p.ID, p.Epoch, 0, true
	var b record.Builder
	b.Reset(o)
	b.Append(1, nil, []byte(value))
	batch, err := b.Build(nil)
	if err != nil {
		return err
	}
	v, _ := l.VerifyBatch(record.Batch(batch), false)
	done := make(chan error, 1)
	pending := storage.NewPending(func(err error) { done <- err })
	if _, err := l.Append(batch, 0, storage.FromClient, v, pending); err != nil {
		return fmt.Errorf("append for %+v: %w", p, err)
	}
	pending.Arm()
	return <-done
}

// committed is what a read_committed consumer sees of a log, by value.
func (h *txnCrash) committed(l *storage.Log) (map[string]bool, error) {
	stable := l.LastStable()
	aborted, err := l.Aborted(l.Start(), stable)
	if err != nil {
		return nil, err
	}
	seen, skip := map[string]bool{}, map[record.ProducerID]bool{}
	err = l.Scan(l.Start(), stable, func(b record.Batch) error {
		for len(aborted) > 0 && aborted[0].First <= b.LastOffset() {
			skip[aborted[0].ProducerID] = true
			aborted = aborted[1:]
		}
		if b.IsControl() {
			delete(skip, b.ProducerID())
			return nil
		}
		if skip[b.ProducerID()] {
			return nil
		}
		return b.Each(1<<20, func(r *record.Record) error {
			seen[string(r.Value)] = true
			return nil
		})
	})
	return seen, err
}

// check ends what is open, and compares what consumers see with what producers know.
func (h *txnCrash) check() error {
	for i := range crashTxnIDs {
		id := fmt.Sprintf("txn-%d", i)
		if _, err := h.init(id); err != nil {
			return err
		}
	}
	times := map[string]int{}
	for _, l := range h.data {
		if l.LastStable() != l.Committed() {
			h.t.Errorf("%s: a transaction is open that no producer knows: it is stable to %d of %d", l, l.LastStable(), l.Committed())
		}
		seen, err := h.committed(l)
		if err != nil {
			return err
		}
		for value := range seen {
			times[value]++
		}
	}
	for value, commit := range h.acked {
		if want := map[bool]int{true: h.sent[value]}[commit]; times[value] != want {
			h.t.Errorf("%s, whose end was acknowledged (commit %v), is seen in %d partitions of %d", value, commit, times[value], h.sent[value])
		}
	}
	for value := range h.unknown { // all or nothing; one append more than acknowledged cannot be: its transaction was not ended then
		if n := times[value]; n != 0 && n != h.sent[value] {
			h.t.Errorf("%s is seen in %d partitions of %d", value, n, h.sent[value])
		}
	}
	return nil
}

// life is one start, until something fails.
func (h *txnCrash) life(fs vfs.FS) (err error) {
	if err := h.open(fs); err != nil {
		if h.store != nil {
			err = errors.Join(err, h.store.Close())
		}
		return err
	}
	defer func() { err = errors.Join(err, h.close()) }()
	if err := h.check(); err != nil {
		return err
	}
	return h.workload(txnsPerLife)
}

// txnCrashOnce runs lives of which the first is cut at operation n, and returns true when that ended before.
func txnCrashOnce(t *testing.T, n int) (finished bool) {
	mem, rng := vfs.NewMem(), rand.New(rand.NewPCG(uint64(n), 8))
	h := newTxnCrash(t, rng)
	for life := range 4 {
		cut := n
		if life > 0 {
			cut = 1 + rng.IntN(80) // the next one dies young, maybe while it completes what was decided
		}
		fs := vfs.Fault(mem, &vfs.Rule{N: cut, Crash: true, Short: rng.IntN(2) == 0})
		under := vfs.FS(fs)
		if life == 3 {
			under = mem
		}
		err := h.life(under)
		switch {
		case err == nil && life == 0:
			finished = true
		case err != nil && !fs.Crashed():
			t.Fatalf("cut at %d, life %d: %v", n, life, err)
		}
		if t.Failed() {
			t.Fatalf("cut at %d, life %d", n, life)
		}
		if rng.IntN(2) == 0 {
			mem = mem.CrashClone(nil)
		} else {
			mem = mem.CrashClone(rng)
		}
	}
	return finished
}

// TestTransactionsCrashAtEveryOperation cuts the disk at the N-th operation, for all N, and opens what is left: no transaction is half committed, no acknowledged
// commit is lost, nothing aborted is seen, and none hangs.
func TestTransactionsCrashAtEveryOperation(t *testing.T) {
	vfstest.EachOperation(t, 7, txnCrashOnce)
}
