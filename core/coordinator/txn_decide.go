package coordinator

import (
	"github.com/milldam/milldam/core/record"
	"github.com/milldam/milldam/core/wire"
)

// txnView is what decisions about a transactional id are made from: what the log says of it, and what only this process knows.
type txnView struct {
	txnValue
	// lastEpoch is the epoch that the producer had before its last one, by which a request that it sends again is known. Kafka's records have no field for it:
	// after a restart it is noEpoch, and a producer that asks again then is fenced, as there.
	lastEpoch record.ProducerEpoch
	// pending is set while a transition is on its way to the log, or markers to their partitions.
	pending bool
}

// txnDecision is what comes of a request.
type txnDecision struct {
	code wire.Code
	// write, when not nil, has to be in the log before the request is answered, with code unless that fails.
	write     *txnValue
	lastEpoch record.ProducerEpoch // once that is written
	// needsID says that nothing could be decided without a fresh producer id.
	needsID bool
}

func refused(code wire.Code) txnDecision { return txnDecision{code: code} }

var needsProducerID = txnDecision{needsID: true}

// known tells whether it names a producer id, as those do that go on after an error (KIP-360).
func (p Txn) known() bool { return p.ID != noProducerID }

// decider is what all decisions depend on besides the state and the request.
type decider struct {
	nowMs int64
	level int16             // the finalised transaction.version
	fresh record.ProducerID // a producer id that nobody has, or noProducerID
}

// init decides InitProducerId. v is nil for a transactional id that is not known.
func (d decider) init(v *txnView, p Txn, timeoutMs int32) txnDecision {
	if v == nil {
		if d.fresh == noProducerID {
			return needsProducerID
		}
		v = &txnView{lastEpoch: noEpoch, txnValue: txnValue{producerID: d.fresh, previousProducerID: noProducerID, nextProducerID: noProducerID, epoch: noEpoch,
			nextEpoch: noEpoch, timeoutMs: timeoutMs, state: txnEmpty, startedMs: noTime}}
	}
	switch {
	case v.pending:
		return refused(wire.ConcurrentTransactions)
	case p.known() && !v.expects(p):
		return refused(wire.ProducerFenced)
	case v.state.preparing():
		return refused(wire.ConcurrentTransactions)
	case v.state == txnOngoing:
		// The producer asks again, and gets the epoch after the one that fences the open transaction: nobody is ever given that one.
		return d.fence(v)
	case exhausted(v.epoch) && (!p.known() || p.Epoch == v.epoch):
		return d.rotate(v, p, timeoutMs)
	}
	return d.bump(v, p, timeoutMs)
}

// expects tells whether a producer that names itself may be the current one: it is, or the id is new, or it asks again for what followed its last epoch.
func (v *txnView) expects(p Txn) bool {
	return v.epoch == noEpoch || p.ID == v.producerID || p.ID == v.previousProducerID && exhausted(p.Epoch)
}

// rotate gives a producer another id, as its epochs have run out.
func (d decider) rotate(v *txnView, p Txn, timeoutMs int32) txnDecision {
	if d.fresh == noProducerID {
		return needsProducerID
	}
	n := v.emptied(timeoutMs, d.nowMs)
	n.producerID, n.epoch = d.fresh, 0
	last := noEpoch
	if p.known() {
		last = v.epoch
	}
	return txnDecision{write: &n, lastEpoch: last}
}

// bump gives a producer its next epoch, or the current one when it asks for that again.
func (d decider) bump(v *txnView, p Txn, timeoutMs int32) txnDecision {
	n := v.emptied(timeoutMs, d.nowMs)
	switch {
	case !p.known():
		n.epoch++
		return txnDecision{write: &n, lastEpoch: noEpoch}
	case v.epoch == noEpoch || p.Epoch == v.epoch:
		n.epoch++
		return txnDecision{write: &n, lastEpoch: v.epoch}
	case p.Epoch == v.lastEpoch: // nobody came in between: that would have made lastEpoch noEpoch
		return txnDecision{write: &n, lastEpoch: v.lastEpoch}
	}
	return refused(wire.ProducerFenced)
}

func (v *txnView) emptied(timeoutMs int32, nowMs int64) txnValue {
	n := v.to(txnEmpty, nowMs)
	n.timeoutMs, n.partitions, n.startedMs = timeoutMs, nil, noTime
	return n
}

// fence aborts an open transaction in a way that its producer cannot go on: with a higher epoch.
func (d decider) fence(v *txnView) txnDecision {
	if v.pending {
		return refused(wire.ConcurrentTransactions)
	}
	if d.level >= txnVersion2 {
		return d.prepare(v, txnPrepareAbort, d.level).answering(wire.ConcurrentTransactions)
	}
	n := v.to(txnPrepareAbort, d.nowMs)
	n.nextProducerID, n.version = noProducerID, txnVersion0
	if n.epoch < maxEpoch {
		n.epoch++
	}
	return txnDecision{code: wire.ConcurrentTransactions, write: &n, lastEpoch: noEpoch}
}

func (d txnDecision) answering(code wire.Code) txnDecision {
	d.code = code
	return d
}

// add decides AddPartitionsToTxn, and its like for the offsets of groups.
func (d decider) add(v *txnView, p Txn, partitions []TopicPartition, version int16) txnDecision {
	if v != nil && (v.pending || v.state.preparing()) { // first: a producer that has been told its next id is not known by that yet
		return refused(wire.ConcurrentTransactions)
	}
	if code := v.check(p); code != wire.None {
		return refused(code)
	}
	if v.state == txnOngoing && v.hasAll(partitions) {
		return refused(wire.None)
	}
	n := v.to(txnOngoing, d.nowMs)
	n.partitions, n.version = union(v.partitions, partitions), version
	if v.state.idle() {
		n.startedMs = d.nowMs
	}
	return txnDecision{write: &n, lastEpoch: v.lastEpoch}
}

// check tells whether a producer may add to the transaction. v is nil for a transactional id that is not known.
func (v *txnView) check(p Txn) wire.Code {
	switch {
	case v == nil || v.producerID != p.ID:
		return wire.InvalidProducerIDMapping
	case v.epoch != p.Epoch:
		return wire.ProducerFenced
	case v.state.preparing():
		return wire.ConcurrentTransactions
	}
	return wire.None
}

// verify tells whether a partition was added to the producer's transaction. What is on its way does not matter: the log checks again when a batch is appended.
func (v *txnView) verify(p Txn, partition TopicPartition) wire.Code {
	if code := v.check(p); code != wire.None {
		return code
	}
	if !v.has(partition) {
		return wire.TransactionAbortable
	}
	return wire.None
}
