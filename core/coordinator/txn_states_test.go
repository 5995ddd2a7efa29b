package coordinator

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/milldam/milldam/core/record"
	"github.com/milldam/milldam/core/storage"
	"github.com/milldam/milldam/core/vfs"
)

// TestKillInEachStateOfATransaction takes what a kill would leave in each state of a transaction over three partitions, before and after each marker, and opens it: what was decided is
// completed, and what was not is aborted.
func TestKillInEachStateOfATransaction(t *testing.T) {
	for _, version := range []int16{0, txnVersion2} {
		for _, commit := range []bool{true, false} {
			t.Run(fmt.Sprintf("version %d, commit %v", version, commit), func(t *testing.T) {
				t.Parallel()
				prepared, complete := txnPrepareCommit, txnCompleteCommit
				if !commit {
					prepared, complete = txnPrepareAbort, txnCompleteAbort
				}
				var want []string
				for _, x := range []struct {
					state   txnState
					markers int
				}{{txnEmpty, 0}, {txnOngoing, 0}, {prepared, 0}, {prepared, 1}, {prepared, 1}, {prepared, 2}, {prepared, 2}, {prepared, 3}, {complete, 3}} {
					want = append(want, fmt.Sprintf("%v with %d markers", x.state, x.markers))
				}
				if got := killedInEachState(t, version, commit); !slices.Equal(got, want) {
					t.Errorf("the kills left\n%q, want\n%q", got, want)
				}
			})
		}
	}
}

// killedInEachState is the state that each kill left in the logs.
func killedInEachState(t *testing.T, version int16, commit bool) (left []string) {
	h, mem := newTxnCrash(t, rand.New(rand.NewPCG(1, 1))), vfs.NewMem()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	var kills []*vfs.Mem
	kill := func() { kills = append(kills, mem.CrashClone(nil)) }
	h.markers, h.atMarker = 1, kill
	must(h.open(mem))
	p, err := h.init("txn-0")
	must(err)
	kill()
	value, err := h.write(p, version, []int{0, 1, 2})
	must(err)
	kill()
	undecided := len(kills)
	_, err = h.end(p, version, value, commit)
	must(err)
	for state := ""; !strings.HasPrefix(state, "Complete"); state = h.txns.Describe("txn-0").State {
		<-time.After(100 * time.Microsecond)
	}
	kill()
	must(h.close())
	for i, disk := range kills {
		after := newTxnCrash(t, h.rng)
		after.next, after.sent[value] = h.next, h.sent[value]
		if after.acked[value] = commit; i < undecided {
			after.acked[value] = false
		}
		must(after.openLogs(disk))
		left = append(left, after.left())
		after.openTransactions()
		if must(errors.Join(after.check(), after.close())); t.Failed() {
			t.Fatalf("the kill that left %s", left[i])
		}
	}
	return left
}

// left is what a kill has left in the logs.
func (h *txnCrash) left() string {
	h.t.Helper()
	state, markers := "nothing", 0
	scan := func(l *storage.Log, fn func(record.Batch) error) {
		h.t.Helper()
		if err := l.Scan(l.Start(), l.End(), fn); err != nil {
			h.t.Fatal(err)
		}
	}
	for p := range int32(crashTxnStates) {
		l, err := h.store.Create(crashStateID, crashStateName, p, crashStateConfig())
		if err != nil {
			h.t.Fatal(err)
		}
		scan(l, func(b record.Batch) error {
			return txnEntriesOf(b, func(e txnEntry) { state = e.value.state.String() })
		})
	}
	for _, l := range h.data {
		scan(l, func(b record.Batch) error {
			if b.IsControl() {
				markers++
			}
			return nil
		})
	}
	return fmt.Sprintf("%s with %d markers", state, markers)
}
