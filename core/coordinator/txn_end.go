package coordinator

import (
	"github.com/milldam/milldam/core/wire"
)

// end decides EndTxn of a client that speaks a transaction version. v is nil for a transactional id that is not known.
func (d decider) end(v *txnView, p Txn, commit bool, version int16) txnDecision {
	if version >= txnVersion2 {
		return d.endV2(v, p, commit)
	}
	switch {
	case v == nil || v.producerID != p.ID:
		return refused(wire.InvalidProducerIDMapping)
	case v.epoch != p.Epoch:
		return refused(wire.ProducerFenced)
	case v.pending || v.state.preparing():
		return refused(wire.ConcurrentTransactions)
	case v.state == txnOngoing:
		return d.prepare(v, endOf(commit), version)
	case v.state == txnCompleteCommit && commit, v.state == txnCompleteAbort && !commit:
		return refused(wire.None)
	}
	return refused(wire.InvalidTxnState)
}

func endOf(commit bool) txnState {
	if commit {
		return txnPrepareCommit
	}
	return txnPrepareAbort
}

// endV2 decides EndTxn where each transaction has an epoch of its own (KIP-890). The epoch tells a request that is sent again from the end of the next
// transaction:
//
//	              abort                 commit
//	              again    now          again    now
//	Empty         fenced   new epoch    fenced   invalid
//	CompleteAbort done     new epoch    invalid  invalid
//	CompleteCommit invalid new epoch    done     invalid
//
// An abort without a transaction is no error: a client that does not know whether its first batch arrived has to ask for it.
func (d decider) endV2(v *txnView, p Txn, commit bool) txnDecision {
	switch {
	case v == nil:
		return refused(wire.InvalidProducerIDMapping)
	case v.pending || v.state.preparing(): // whoever asks: the end of the next transaction may come before all partitions know that of this one
		return refused(wire.ConcurrentTransactions)
	}
	rotated := v.previousProducerID == p.ID && p.Epoch == maxEpoch-1 && v.epoch == 0
	again := rotated || v.epoch == p.Epoch+1
	if v.producerID != p.ID && !rotated {
		return refused(wire.InvalidProducerIDMapping)
	}
	completed := v.state == txnCompleteCommit || v.state == txnCompleteAbort
	switch {
	case v.epoch != p.Epoch && !(completed && again):
		return refused(wire.ProducerFenced)
	case v.state == txnOngoing:
		return d.prepare(v, endOf(commit), txnVersion2)
	case completed && again && commit == (v.state == txnCompleteCommit):
		return refused(wire.None)
	case !commit && !(completed && again):
		return d.prepareEmpty(v)
	}
	return refused(wire.InvalidTxnState)
}

// prepare decides the end of an open transaction. With an epoch per transaction it is the next epoch that the markers carry, so that nothing of the one before
// can follow them.
func (d decider) prepare(v *txnView, state txnState, version int16) txnDecision {
	n := v.to(state, d.nowMs)
	n.version, n.nextProducerID = version, noProducerID
	if version < txnVersion2 {
		return txnDecision{write: &n, lastEpoch: v.lastEpoch}
	}
	if exhausted(v.epoch) {
		if d.fresh == noProducerID {
			return needsProducerID
		}
		n.nextProducerID = d.fresh
	}
	if n.epoch < maxEpoch {
		n.epoch++
	}
	return txnDecision{write: &n, lastEpoch: v.epoch}
}

// prepareEmpty decides the abort of a transaction that has no partition.
func (d decider) prepareEmpty(v *txnView) txnDecision {
	out := d.prepare(v, txnPrepareAbort, txnVersion2)
	if out.write != nil {
		out.write.startedMs = d.nowMs
	}
	return out
}
