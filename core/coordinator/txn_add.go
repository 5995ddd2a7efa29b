package coordinator

import (
	"slices"

	"github.com/milldam/milldam/core/wire"
)

// InitProducerID gives the producer of a transactional id its producer id and epoch. Whoever had them before is fenced.
func (t *Transactions) InitProducerID(p Txn, timeoutMs int32, reply func(wire.Code, Txn)) {
	switch none := (Txn{p.TransactionalID, noProducerID, noEpoch}); {
	case p.TransactionalID == "" || (p.ID == noProducerID) != (p.Epoch == noEpoch):
		reply(wire.InvalidRequest, none)
	case timeoutMs <= 0 || int64(timeoutMs) > t.opts.MaxTimeout.Milliseconds():
		reply(wire.InvalidTransactionTimeout, none)
	default:
		t.ask(p.TransactionalID, func(d decider, v *txnView) txnDecision { return d.init(v, p, timeoutMs) }, func(code wire.Code, v *txnValue) {
			if code != wire.None {
				reply(code, none)
				return
			}
			reply(code, Txn{p.TransactionalID, v.producerID, v.epoch})
		})
	}
}

// AddPartitions makes partitions part of a producer's transaction, which it starts when none is open. The partitions exist. version is the transaction version
// that the client speaks.
func (t *Transactions) AddPartitions(p Txn, partitions []TopicPartition, version int16, reply func(wire.Code)) {
	if p.TransactionalID == "" {
		reply(wire.InvalidRequest)
		return
	}
	t.ask(p.TransactionalID, func(d decider, v *txnView) txnDecision { return d.add(v, p, partitions, version) }, func(code wire.Code, _ *txnValue) { reply(code) })
}

// Verify tells of each partition whether it is part of a producer's transaction, with TRANSACTION_ABORTABLE when it is not.
func (t *Transactions) Verify(p Txn, partitions []TopicPartition) []wire.Code {
	all := func(code wire.Code) []wire.Code { return slices.Repeat([]wire.Code{code}, len(partitions)) }
	if p.TransactionalID == "" {
		return all(wire.InvalidRequest)
	}
	if _, err := t.shard(t.ctx, t.PartitionFor(p.TransactionalID)); err != nil {
		return all(closedCode(err))
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	v := t.mu.ids[p.TransactionalID].view()
	codes := make([]wire.Code, len(partitions))
	for i, partition := range partitions {
		codes[i] = v.verify(p, partition)
	}
	return codes
}

// parkedAdd is an append that waits until its partitions may be added.
type parkedAdd struct {
	try      func() // decides anew
	done     func(wire.Code)
	deadline *deadline
}

// Enlist makes partitions part of a producer's transaction before something is appended to them, for clients that leave it to the broker (KIP-890). Where the
// last transaction is still being completed, or other partitions are being added, it waits for that a moment, and does not send the client away.
func (t *Transactions) Enlist(p Txn, partitions []TopicPartition, done func(wire.Code)) {
	if p.TransactionalID == "" {
		done(wire.InvalidRequest)
		return
	}
	t.enlist(&parkedAdd{done: done}, p, partitions)
}

func (t *Transactions) enlist(a *parkedAdd, p Txn, partitions []TopicPartition) {
	t.ask(p.TransactionalID, func(d decider, v *txnView) txnDecision { return d.add(v, p, partitions, txnVersion2) }, func(code wire.Code, _ *txnValue) {
		if code == wire.ConcurrentTransactions && t.park(a, p, partitions) {
			return
		}
		t.locked(func() { t.mu.deadlines.stop(a.deadline) })
		a.done(code)
	})
}

// park keeps an append until the transition is over that is in its way. It returns false when its time is up, or there is none.
func (t *Transactions) park(a *parkedAdd, p Txn, partitions []TopicPartition) (parked bool) {
	again := false
	t.locked(func() {
		x := t.mu.ids[p.TransactionalID]
		if t.mu.closed || x == nil || a.deadline != nil && a.deadline.stopped {
			return
		}
		parked = true
		if !x.busy() { // it is over already
			again = true
			return
		}
		a.try = func() { t.enlist(a, p, partitions) }
		x.parked = append(x.parked, a)
		if a.deadline == nil {
			a.deadline = t.mu.deadlines.after(t.opts.AddWait, func() { t.giveUpLocked(x, a) })
		}
	})
	if again {
		t.enlist(a, p, partitions)
	}
	return parked
}

// busy tells whether a transition is under way.
func (x *transaction) busy() bool {
	return x.pending || x.value() != nil && x.value().state.preparing()
}

// giveUpLocked ends the wait of an append.
func (t *Transactions) giveUpLocked(x *transaction, a *parkedAdd) {
	a.deadline.stopped = true
	if i := slices.Index(x.parked, a); i >= 0 {
		x.parked = slices.Delete(x.parked, i, i+1)
		t.afterLocked(func() { a.done(wire.ConcurrentTransactions) })
	}
}

// unparkLocked has what waits for a transition decided anew, when there is none any more.
func (t *Transactions) unparkLocked(x *transaction) {
	if x.busy() {
		return
	}
	for _, a := range x.parked {
		t.afterLocked(a.try)
	}
	x.parked = nil
}

// End decides the end of a producer's transaction, and answers when that is in the log: from then on it holds, whoever dies. The partitions are told afterwards.
// version is the transaction version that the client speaks; from 2 on the answer has the producer's next epoch.
func (t *Transactions) End(p Txn, commit bool, version int16, reply func(wire.Code, Txn)) {
	none := Txn{p.TransactionalID, noProducerID, noEpoch}
	if p.TransactionalID == "" {
		reply(wire.InvalidRequest, none)
		return
	}
	t.ask(p.TransactionalID, func(d decider, v *txnView) txnDecision { return d.end(v, p, commit, version) }, func(code wire.Code, v *txnValue) {
		if code != wire.None || version < txnVersion2 {
			reply(code, none)
			return
		}
		next := *v
		if v.state.preparing() {
			next = v.completed(0)
		}
		reply(code, Txn{p.TransactionalID, next.producerID, next.epoch})
	})
}
