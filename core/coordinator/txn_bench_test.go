package coordinator

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/milldam/milldam/core/record"
	"github.com/milldam/milldam/core/wire"
)

// txnMemLog is a partition of the transaction topic in memory.
type txnMemLog struct{ *memLog }

func (txnMemLog) Epoch() record.LeaderEpoch { return 7 }

// committedBatches are those whose commit was told.
func (l *memLog) committedBatches() [][]byte {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.mu.batches[:len(l.mu.batches)-len(l.mu.waiting)])
}

// sentMarker is a marker that a partition was told.
type sentMarker struct {
	TopicPartition
	record.Marker
	version int16
}

// txnBench is a transaction coordinator on logs in memory, within a bubble.
type txnBench struct {
	t    *testing.T
	logs []txnMemLog
	opts TxnOptions
	*Transactions

	mu struct {
		sync.Mutex
		markers []sentMarker
		nextID  record.ProducerID
		refuse  int // markers that cannot be written
		hold    bool
		held    []func()
	}
	delay func() time.Duration // of markers
}

func newTxnBench(t *testing.T, partitions int, o TxnOptions) *txnBench {
	t.Helper()
	b := &txnBench{t: t, opts: o, delay: func() time.Duration { return time.Millisecond }}
	for range partitions {
		b.logs = append(b.logs, txnMemLog{newMemLog()})
	}
	b.mu.nextID = 1000
	b.start()
	return b
}

func (b *txnBench) start() {
	o := b.opts
	o.Partitions = int32(len(b.logs))
	o.Log = func(_ context.Context, p int32) (TxnLog, error) { return b.logs[p], nil }
	o.ProducerID = func(context.Context) (record.ProducerID, error) {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.mu.nextID++
		return b.mu.nextID, nil
	}
	o.WriteMarker = b.writeMarker
	t := NewTransactions(o)
	b.Transactions = t
	b.t.Cleanup(func() {
		if err := t.Close(); err != nil {
			b.t.Error(err)
		}
	})
	t.Load(b.t.Context())
}

func (b *txnBench) writeMarker(p TopicPartition, m record.Marker, version int16, done func(error)) {
	b.mu.Lock()
	delay := b.delay()
	b.mu.Unlock()
	time.AfterFunc(delay, func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		if b.mu.refuse > 0 {
			b.mu.refuse--
			done(errors.New("disk"))
			return
		}
		tell := func() {
			b.mu.markers = append(b.mu.markers, sentMarker{p, m, version})
			done(nil)
		}
		if b.mu.hold {
			b.mu.held = append(b.mu.held, tell)
			return
		}
		tell()
	})
}

// holdMarkers keeps markers from being written until the returned function is called.
func (b *txnBench) holdMarkers() (release func()) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.mu.hold = true
	return func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		for _, tell := range b.mu.held {
			tell()
		}
		b.mu.hold, b.mu.held = false, nil
	}
}

func (b *txnBench) markers() []sentMarker {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.mu.markers)
}

// restart puts a new coordinator in the place of the old one, on what was committed.
func (b *txnBench) restart() {
	b.t.Helper()
	if err := b.Close(); err != nil {
		b.t.Error(err)
	}
	for i, l := range b.logs {
		again := newMemLog()
		again.delay, again.mu.batches = l.delay, l.committedBatches()
		b.logs[i] = txnMemLog{again}
	}
	b.start()
}

// rendered is what shards say, as text.
func rendered(values map[string]*txnValue) string {
	var out strings.Builder
	for _, id := range slices.Sorted(maps.Keys(values)) {
		fmt.Fprintf(&out, "%s: %+v\n", id, *values[id])
	}
	return out.String()
}

// checkRebuilt compares what the coordinator holds with what its logs say.
func (b *txnBench) checkRebuilt() {
	b.t.Helper()
	b.Transactions.mu.Lock()
	defer b.Transactions.mu.Unlock()
	for p, live := range b.Transactions.mu.shards {
		again := txnShard{values: map[string]*txnValue{}}
		for _, batch := range b.logs[p].committedBatches() {
			if err := txnEntriesOf(record.Batch(batch), again.apply); err != nil {
				b.t.Fatal(err)
			}
		}
		if got, want := rendered(live.values), rendered(again.values); got != want {
			b.t.Fatalf("partition %d, live:\n%s\nfrom the log:\n%s", p, got, want)
		}
	}
}

// reply is what came back, once.
type reply struct {
	mu    sync.Mutex
	times int
	code  wire.Code
	next  Txn
}

func (r *reply) take(code wire.Code, next Txn) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.times, r.code, r.next = r.times+1, code, next
}

func (r *reply) takeCode(code wire.Code) { r.take(code, Txn{}) }

func (r *reply) get() (times int, code wire.Code, next Txn) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.times, r.code, r.next
}

// await lets time pass until the answer is there.
func (b *txnBench) await(r *reply) (wire.Code, Txn) {
	b.t.Helper()
	for range 1000 {
		if times, code, next := r.get(); times > 0 {
			return code, next
		}
		pass(time.Millisecond)
	}
	b.t.Fatal("no answer")
	return 0, Txn{}
}

const theTxn = "txn"

func (b *txnBench) init(p Txn) (wire.Code, Txn) {
	b.t.Helper()
	var r reply
	b.InitProducerID(p, 60_000, r.take)
	return b.await(&r)
}

// begin is a producer that starts anew.
func (b *txnBench) begin() Txn {
	b.t.Helper()
	code, p := b.init(Txn{theTxn, -1, -1})
	if code != wire.None {
		b.t.Fatalf("InitProducerID: %d", code)
	}
	return p
}

func (b *txnBench) add(p Txn, version int16, list ...TopicPartition) wire.Code {
	b.t.Helper()
	var r reply
	b.AddPartitions(p, list, version, r.takeCode)
	code, _ := b.await(&r)
	return code
}

func (b *txnBench) end(p Txn, commit bool, version int16) (wire.Code, Txn) {
	b.t.Helper()
	var r reply
	b.End(p, commit, version, r.take)
	return b.await(&r)
}

// settle lets what is under way come to its end.
func (b *txnBench) settle() { pass(5 * time.Second) }

func (b *txnBench) state() string { return b.Describe(theTxn).State }

func want(t *testing.T, what string, got, wanted any) {
	t.Helper()
	if got != wanted {
		t.Errorf("%s: got %v, want %v", what, got, wanted)
	}
}
