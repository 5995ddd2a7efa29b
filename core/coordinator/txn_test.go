package coordinator

import (
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/milldam/milldam/core/record"
	"github.com/milldam/milldam/core/wire"
)

var (
	p0 = TopicPartition{"t", 0}
	p1 = TopicPartition{"t", 1}
	og = TopicPartition{"__consumer_offsets", 3}
)

// inBubble runs a test with a coordinator of one partition.
func inBubble(t *testing.T, o TxnOptions, fn func(*txnBench)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		b := newTxnBench(t, 1, o)
		fn(b)
		b.checkRebuilt()
	})
}

func TestCommitTellsEveryPartition(t *testing.T) {
	for _, version := range []int16{0, 2} {
		for _, commit := range []bool{true, false} {
			inBubble(t, TxnOptions{}, func(b *txnBench) {
				p := b.begin()
				want(t, "add", b.add(p, version, p1, p0), wire.None)
				want(t, "add offsets", b.add(p, version, og), wire.None)
				code, next := b.end(p, commit, version)
				want(t, "end", code, wire.None)
				b.settle()
				epoch := p.Epoch
				if version == 2 {
					epoch++ // the transaction's markers have the next epoch, which is the producer's from now on
					want(t, "next", next, Txn{theTxn, p.ID, epoch})
				}
				got := b.markers()
				slices.SortFunc(got, func(x, y sentMarker) int { return comparePartitions(x.TopicPartition, y.TopicPartition) })
				m := record.Marker{ProducerID: p.ID, ProducerEpoch: epoch, CoordinatorEpoch: 7, Commit: commit}
				if w := []sentMarker{{og, m, version}, {p0, m, version}, {p1, m, version}}; !slices.Equal(got, w) {
					t.Errorf("markers %+v, want %+v", got, w)
				}
				want(t, "state", b.state(), map[bool]string{true: "CompleteCommit", false: "CompleteAbort"}[commit])
			})
		}
	}
}

// TestEndTxnTable is the table of KIP-890: what EndTxn comes to in the states without an open transaction, now and for a request that was sent before.
func TestEndTxnTable(t *testing.T) {
	const done = wire.None
	for _, c := range []struct {
		state                                 txnState
		abortAgain, commitAgain, commitNow    wire.Code // an abort now gets a new epoch in every state
		v1AbortNow, v1CommitNow, v1AbortAgain wire.Code
	}{
		{state: txnEmpty, abortAgain: wire.ProducerFenced, commitAgain: wire.ProducerFenced, commitNow: wire.InvalidTxnState,
			v1AbortNow: wire.InvalidTxnState, v1CommitNow: wire.InvalidTxnState, v1AbortAgain: wire.ProducerFenced},
		{state: txnCompleteAbort, abortAgain: done, commitAgain: wire.InvalidTxnState, commitNow: wire.InvalidTxnState,
			v1AbortNow: done, v1CommitNow: wire.InvalidTxnState, v1AbortAgain: wire.ProducerFenced},
		{state: txnCompleteCommit, abortAgain: wire.InvalidTxnState, commitAgain: done, commitNow: wire.InvalidTxnState,
			v1AbortNow: wire.InvalidTxnState, v1CommitNow: done, v1AbortAgain: wire.ProducerFenced},
	} {
		t.Run(c.state.String(), func(t *testing.T) {
			v := &txnView{lastEpoch: noEpoch, txnValue: txnValue{producerID: 5, previousProducerID: 5, nextProducerID: noProducerID, epoch: 10, state: c.state, version: 2}}
			d := decider{nowMs: 1, level: 2, fresh: noProducerID}
			now, again := Txn{theTxn, 5, 10}, Txn{theTxn, 5, 9}
			want(t, "abort again", d.end(v, again, false, 2).code, c.abortAgain)
			want(t, "commit again", d.end(v, again, true, 2).code, c.commitAgain)
			want(t, "commit now", d.end(v, now, true, 2).code, c.commitNow)
			abort := d.end(v, now, false, 2)
			if abort.write == nil || abort.write.epoch != 11 || abort.write.state != txnPrepareAbort || abort.write.startedMs != 1 {
				t.Errorf("abort now: %+v", abort)
			}
			want(t, "abort now, version 1", d.end(v, now, false, 0).code, c.v1AbortNow)
			want(t, "commit now, version 1", d.end(v, now, true, 0).code, c.v1CommitNow)
			want(t, "abort again, version 1", d.end(v, again, false, 0).code, c.v1AbortAgain)
			want(t, "other id", d.end(v, Txn{theTxn, 6, 10}, false, 2).code, wire.InvalidProducerIDMapping)
			want(t, "newer epoch", d.end(v, Txn{theTxn, 5, 11}, false, 2).code, wire.ProducerFenced)
		})
	}
}

func TestEndTxnWhileMarkersAreWritten(t *testing.T) {
	for _, version := range []int16{0, 2} {
		inBubble(t, TxnOptions{}, func(b *txnBench) {
			p := b.begin()
			b.add(p, version, p0)
			release := b.holdMarkers()
			code, _ := b.end(p, true, version)
			want(t, "end", code, wire.None)
			want(t, "state", b.state(), "PrepareCommit")
			code, _ = b.end(p, true, version)
			want(t, "end again", code, wire.ConcurrentTransactions)
			code, _ = b.init(Txn{theTxn, -1, -1})
			want(t, "init", code, wire.ConcurrentTransactions)
			now := p
			if version == 2 {
				now.Epoch++
				code, _ = b.end(now, true, version)
				want(t, "end of the next", code, wire.ConcurrentTransactions)
			}
			want(t, "add", b.add(now, version, p0), wire.ConcurrentTransactions)
			want(t, "verify", b.Verify(now, []TopicPartition{p0})[0], wire.ConcurrentTransactions)
			release()
			b.settle()
			want(t, "state", b.state(), "CompleteCommit")
			code, _ = b.end(p, true, version)
			want(t, "end again", code, wire.None)
		})
	}
}

func TestANewProducerFencesTheOldOne(t *testing.T) {
	for _, level := range []int16{0, 1, 2} {
		inBubble(t, TxnOptions{Level: func() int16 { return level }}, func(b *txnBench) {
			old := b.begin()
			b.add(old, level, p0)
			code, _ := b.init(Txn{theTxn, -1, -1})
			want(t, "init during a transaction", code, wire.ConcurrentTransactions)
			b.settle()
			want(t, "state", b.state(), "CompleteAbort")
			next := b.begin()
			want(t, "next", next, Txn{theTxn, old.ID, old.Epoch + 2})
			want(t, "add of the old one", b.add(old, level, p0), wire.ProducerFenced)
			code, _ = b.end(old, true, level)
			want(t, "end of the old one", code, wire.ProducerFenced)
			if got := b.markers(); len(got) != 1 || got[0].ProducerEpoch != old.Epoch+1 || got[0].Commit {
				t.Errorf("markers %+v", got)
			}
		})
	}
}

func TestAProducerThatKnowsItsEpochGoesOn(t *testing.T) { // KIP-360
	inBubble(t, TxnOptions{}, func(b *txnBench) {
		first := b.begin()
		code, second := b.init(first)
		want(t, "code", code, wire.None)
		want(t, "second", second, Txn{theTxn, first.ID, first.Epoch + 1})
		code, again := b.init(first) // the answer was lost
		want(t, "code", code, wire.None)
		want(t, "again", again, second)
		code, _ = b.init(Txn{theTxn, first.ID, first.Epoch + 5})
		want(t, "unknown epoch", code, wire.ProducerFenced)
		code, _ = b.init(Txn{theTxn, first.ID + 1, 0})
		want(t, "unknown id", code, wire.ProducerFenced)
		code, _ = b.init(Txn{theTxn, first.ID, -1})
		want(t, "half an identity", code, wire.InvalidRequest)
		b.begin() // somebody else
		code, _ = b.init(second)
		want(t, "after somebody else", code, wire.ProducerFenced)
	})
}

func TestEpochsRunOut(t *testing.T) {
	prepared := func(b *txnBench, epoch record.ProducerEpoch, state txnState) Txn {
		p := b.begin()
		b.locked(func() {
			x := b.Transactions.mu.ids[theTxn]
			v := *x.value()
			v.epoch, v.state, v.version = epoch, state, 2
			b.writeLocked(x, txnDecision{write: &v, lastEpoch: noEpoch}, nil)
		})
		b.settle()
		p.Epoch = epoch
		return p
	}
	t.Run("at InitProducerID", func(t *testing.T) {
		inBubble(t, TxnOptions{}, func(b *txnBench) {
			old := prepared(b, maxEpoch-1, txnEmpty)
			code, next := b.init(old)
			want(t, "code", code, wire.None)
			if next.ID == old.ID || next.Epoch != 0 {
				t.Errorf("after %+v comes %+v", old, next)
			}
		})
	})
	t.Run("at EndTxn", func(t *testing.T) {
		inBubble(t, TxnOptions{}, func(b *txnBench) {
			old := prepared(b, maxEpoch-1, txnEmpty)
			want(t, "add", b.add(old, 2, p0), wire.None)
			release := b.holdMarkers()
			code, next := b.end(old, true, 2)
			want(t, "end", code, wire.None)
			if next.ID == old.ID || next.Epoch != 0 {
				t.Errorf("after %+v comes %+v", old, next)
			}
			want(t, "add of the next while markers are written", b.add(next, 2, p0), wire.ConcurrentTransactions)
			code, _ = b.end(next, false, 2)
			want(t, "end of the next while markers are written", code, wire.ConcurrentTransactions)
			release()
			b.settle()
			if got := b.markers(); len(got) != 1 || got[0].ProducerEpoch != maxEpoch || got[0].ProducerID != old.ID {
				t.Errorf("markers %+v", got)
			}
			code, again := b.end(old, true, 2)
			want(t, "end again", code, wire.None)
			want(t, "again", again, next)
			want(t, "add of the next", b.add(next, 2, p0), wire.None)
		})
	})
	t.Run("at a fence", func(t *testing.T) {
		inBubble(t, TxnOptions{}, func(b *txnBench) {
			old := prepared(b, maxEpoch-1, txnEmpty)
			b.add(old, 2, p0)
			code, _ := b.init(Txn{theTxn, -1, -1})
			want(t, "code", code, wire.ConcurrentTransactions)
			b.settle()
			next := b.begin()
			if next.ID == old.ID || next.Epoch != 1 {
				t.Errorf("after %+v comes %+v", old, next)
			}
		})
	})
}

func TestTransactionsThatTakeTooLongAreAborted(t *testing.T) {
	inBubble(t, TxnOptions{}, func(b *txnBench) {
		p := b.begin()
		b.add(p, 2, p0)
		pass(59 * time.Second)
		want(t, "state", b.state(), "Ongoing")
		pass(12 * time.Second) // the timeout, and until it is looked at
		want(t, "state", b.state(), "CompleteAbort")
		code, _ := b.end(p, true, 2)
		want(t, "end", code, wire.InvalidTxnState) // as Kafka: to it this is the abort, sent again as a commit
		want(t, "add", b.add(p, 2, p0), wire.ProducerFenced)
		if got := b.markers(); len(got) != 1 || got[0].Commit || got[0].ProducerEpoch != p.Epoch+1 {
			t.Errorf("markers %+v", got)
		}
	})
}

func TestTimeoutsAreChecked(t *testing.T) {
	inBubble(t, TxnOptions{}, func(b *txnBench) {
		for timeout, code := range map[int32]wire.Code{0: wire.InvalidTransactionTimeout, -1: wire.InvalidTransactionTimeout, 900_001: wire.InvalidTransactionTimeout, 900_000: wire.None, 1: wire.None} {
			var r reply
			b.InitProducerID(Txn{theTxn, -1, -1}, timeout, r.take)
			got, _ := b.await(&r)
			want(t, "code", got, code)
		}
	})
}

func TestIDsThatNobodyUsesAreForgotten(t *testing.T) {
	inBubble(t, TxnOptions{IDExpiration: 24 * time.Hour}, func(b *txnBench) {
		p := b.begin()
		b.add(p, 2, p0)
		b.end(p, true, 2)
		pass(23 * time.Hour)
		want(t, "state", b.state(), "CompleteCommit")
		pass(2*time.Hour + time.Minute)
		want(t, "code", wire.Code(b.Describe(theTxn).ErrorCode), wire.TransactionalIDNotFound)
		b.checkRebuilt()
		b.restart()
		want(t, "code after a restart", wire.Code(b.Describe(theTxn).ErrorCode), wire.TransactionalIDNotFound)
		want(t, "add", b.add(p, 2, p0), wire.InvalidProducerIDMapping)
		next := b.begin()
		if next.ID == p.ID {
			t.Errorf("the producer id of a forgotten transactional id is given again: %+v", next)
		}
	})
}

func TestDecidedTransactionsAreCompletedAfterARestart(t *testing.T) {
	for _, commit := range []bool{true, false} {
		inBubble(t, TxnOptions{}, func(b *txnBench) {
			p := b.begin()
			b.add(p, 2, p0, p1)
			b.holdMarkers()
			b.end(p, commit, 2)
			pass(time.Second)
			b.mu.Lock()
			b.mu.hold, b.mu.held = false, nil // they are lost with the process
			b.mu.Unlock()
			b.restart()
			b.settle()
			want(t, "state", b.state(), map[bool]string{true: "CompleteCommit", false: "CompleteAbort"}[commit])
			if got := b.markers(); len(got) != 2 || got[0].Commit != commit || got[1].Commit != commit {
				t.Errorf("markers %+v", got)
			}
		})
	}
}

func TestMarkersAreWrittenUntilTheyAre(t *testing.T) {
	inBubble(t, TxnOptions{MaxMarkers: 1}, func(b *txnBench) {
		p := b.begin()
		b.add(p, 2, p0, p1, og)
		b.mu.Lock()
		b.mu.refuse = 4
		b.mu.Unlock()
		b.end(p, true, 2)
		pass(time.Second / 2)
		want(t, "state", b.state(), "PrepareCommit")
		pass(10 * time.Second)
		want(t, "state", b.state(), "CompleteCommit")
		want(t, "markers", len(b.markers()), 3)
		want(t, "stats", b.Stats(), TxnStats{IDs: 1, Committed: 1})
	})
}

func TestFailedWritesChangeNothing(t *testing.T) {
	inBubble(t, TxnOptions{}, func(b *txnBench) {
		b.Describe(theTxn) // opens the log
		b.logs[0].failNext()
		code, _ := b.init(Txn{theTxn, -1, -1})
		want(t, "init", code, wire.CoordinatorNotAvailable)
		want(t, "describe", wire.Code(b.Describe(theTxn).ErrorCode), wire.TransactionalIDNotFound)
		p := b.begin()
		b.logs[0].failNext()
		want(t, "add", b.add(p, 2, p0), wire.CoordinatorNotAvailable)
		want(t, "state", b.state(), "Empty")
		b.add(p, 2, p0)
		b.logs[0].failNext()
		code, _ = b.end(p, true, 2)
		want(t, "end", code, wire.CoordinatorNotAvailable)
		want(t, "state", b.state(), "Ongoing")
		code, next := b.end(p, true, 2)
		want(t, "end", code, wire.None)
		b.settle()
		b.add(next, 2, p0)
		release := b.holdMarkers()
		b.end(next, true, 2)
		b.logs[0].failNext() // the record that it is complete
		release()
		b.settle()
		want(t, "state", b.state(), "CompleteCommit")
	})
}

// TestAppendsWaitForWhatIsUnderWay is about clients that leave it to the broker to add partitions: they send the next transaction's first batch at once.
func TestAppendsWaitForWhatIsUnderWay(t *testing.T) {
	inBubble(t, TxnOptions{}, func(b *txnBench) {
		p := b.begin()
		b.add(p, 2, p0)
		release := b.holdMarkers()
		_, next := b.end(p, true, 2)
		var enlisted, other, late reply
		b.Enlist(next, []TopicPartition{p0}, enlisted.takeCode)
		b.Enlist(next, []TopicPartition{p1}, other.takeCode)
		pass(50 * time.Millisecond)
		if times, _, _ := enlisted.get(); times != 0 {
			t.Error("it did not wait")
		}
		release()
		code, _ := b.await(&enlisted)
		want(t, "enlisted", code, wire.None)
		code, _ = b.await(&other)
		want(t, "other", code, wire.None)
		want(t, "verified", slices.Max(b.Verify(next, []TopicPartition{p0, p1})), wire.None)

		b.holdMarkers()
		_, next = b.end(next, true, 2)
		b.Enlist(next, []TopicPartition{p0}, late.takeCode)
		pass(99 * time.Millisecond)
		if times, _, _ := late.get(); times != 0 {
			t.Error("it did not wait")
		}
		pass(2 * time.Millisecond)
		times, code, _ := late.get()
		want(t, "times", times, 1)
		want(t, "code", code, wire.ConcurrentTransactions)
	})
}

func TestListFilters(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newTxnBench(t, 3, TxnOptions{})
		ids := map[string]record.ProducerID{}
		for _, id := range []string{"a-1", "a-2", "b"} {
			var r reply
			b.InitProducerID(Txn{id, -1, -1}, 60_000, r.take)
			_, p := b.await(&r)
			ids[id] = p.ID
			if id != "b" {
				b.add(p, 2, p0)
			}
			pass(time.Second)
		}
		for name, c := range map[string]struct {
			change  func(*kmsg.ListTransactionsRequest)
			want    []string
			unknown []string
			code    wire.Code
		}{
			"all":             {func(*kmsg.ListTransactionsRequest) {}, []string{"a-1", "a-2", "b"}, nil, wire.None},
			"state":           {func(r *kmsg.ListTransactionsRequest) { r.StateFilters = []string{"Empty"} }, []string{"b"}, nil, wire.None},
			"unknown state":   {func(r *kmsg.ListTransactionsRequest) { r.StateFilters = []string{"Full"} }, nil, []string{"Full"}, wire.None},
			"producer":        {func(r *kmsg.ListTransactionsRequest) { r.ProducerIDFilters = []int64{int64(ids["a-2"])} }, []string{"a-2"}, nil, wire.None},
			"pattern":         {func(r *kmsg.ListTransactionsRequest) { r.TransactionalIDPattern = kmsg.StringPtr("a-.") }, []string{"a-1", "a-2"}, nil, wire.None},
			"whole pattern":   {func(r *kmsg.ListTransactionsRequest) { r.TransactionalIDPattern = kmsg.StringPtr("a") }, nil, nil, wire.None},
			"invalid pattern": {func(r *kmsg.ListTransactionsRequest) { r.TransactionalIDPattern = kmsg.StringPtr("(") }, nil, nil, wire.InvalidRegularExpression},
			"duration": {func(r *kmsg.ListTransactionsRequest) {
				r.DurationFilterMillis, r.StateFilters = 2500, []string{"Ongoing"}
			}, []string{"a-1"}, nil, wire.None},
		} {
			req := kmsg.NewPtrListTransactionsRequest()
			c.change(req)
			b.List(req, func(r *kmsg.ListTransactionsResponse) {
				var got []string
				for _, row := range r.TransactionStates {
					got = append(got, row.TransactionalID)
				}
				if !slices.Equal(got, c.want) || !slices.Equal(r.UnknownStateFilters, c.unknown) || wire.Code(r.ErrorCode) != c.code {
					t.Errorf("%s: %v, unknown %v, code %d", name, got, r.UnknownStateFilters, r.ErrorCode)
				}
			})
		}
	})
}

func TestCloseAnswersWhatIsBeingWritten(t *testing.T) {
	inBubble(t, TxnOptions{}, func(b *txnBench) {
		p := b.begin()
		b.add(p, 2, p0)
		b.logs[0].delay = func() time.Duration { return time.Second }
		var r reply
		b.End(p, true, 2, r.take)
		if err := b.Close(); err != nil {
			t.Error(err)
		}
		times, code, _ := r.get()
		want(t, "times", times, 1)
		want(t, "code", code, wire.None)
		var late reply
		b.End(p, true, 2, late.take)
		code, _ = b.await(&late)
		want(t, "after Close", code, wire.CoordinatorNotAvailable)
		b.restart()
		b.settle()
		want(t, "state", b.state(), "CompleteCommit")
	})
}
