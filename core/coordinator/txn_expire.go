package coordinator

import (
	"slices"
	"time"

	"github.com/milldam/milldam/core/record"
	"github.com/milldam/milldam/core/wire"
)

// abortOldLocked aborts transactions that have been open for longer than their producers said, and fences those.
func (t *Transactions) abortOldLocked() {
	defer t.mu.deadlines.after(t.opts.AbortEvery, t.abortOldLocked)
	now := time.Now().UnixMilli()
	for id, x := range t.mu.ids {
		if v := x.value(); v != nil && !x.pending && v.state == txnOngoing && v.startedMs+int64(v.timeoutMs) < now {
			t.opts.Logger.Info("a transaction has taken too long and is aborted", "id", id, "producer", v.producerID, "epoch", v.epoch, "timeout_ms", v.timeoutMs)
			t.afterLocked(func() { t.abortOld(id, v.producerID, v.epoch) })
		}
	}
}

// abortOld aborts a transaction unless something has become of it.
func (t *Transactions) abortOld(id string, pid record.ProducerID, epoch record.ProducerEpoch) {
	t.ask(id, func(d decider, v *txnView) txnDecision {
		if v == nil || v.producerID != pid || v.epoch != epoch || v.state != txnOngoing {
			return txnDecision{}
		}
		return d.fence(v)
	}, func(code wire.Code, _ *txnValue) {
		if code != wire.ConcurrentTransactions && code != wire.None { // the first is what fence answers to a producer
			t.opts.Logger.Warn("a transaction that has taken too long could not be aborted, it will be tried again", "id", id, "code", int16(code))
		}
	})
}

// maxExpired bounds the tombstones of one batch.
const maxExpired = 1000

// expireLocked forgets transactional ids that nobody has used for long.
func (t *Transactions) expireLocked() {
	defer t.mu.deadlines.after(t.opts.ExpireEvery, t.expireLocked)
	oldest := time.Now().Add(-t.opts.IDExpiration).UnixMilli()
	gone := map[*txnShard][]*transaction{}
	for _, x := range t.mu.ids {
		if x.value() != nil && !x.busy() && x.value().state.idle() && x.value().updatedMs <= oldest {
			gone[x.shard] = append(gone[x.shard], x)
		}
	}
	for s, list := range gone {
		for part := range slices.Chunk(list, maxExpired) {
			t.forgetLocked(s, part)
		}
	}
}

func (t *Transactions) forgetLocked(s *txnShard, list []*transaction) {
	entries := make([]txnEntry, len(list))
	for i, x := range list {
		x.pending, entries[i].id = true, x.id
	}
	t.appendLocked(s, entries, t.opts.Level(), func(err error) {
		for _, x := range list {
			if x.pending = false; err == nil {
				delete(t.mu.ids, x.id)
			}
			t.unparkLocked(x)
		}
	})
}
