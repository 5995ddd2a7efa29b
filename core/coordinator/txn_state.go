package coordinator

import (
	"cmp"
	"math"
	"slices"

	"github.com/milldam/milldam/core/record"
)

// TopicPartition names a partition that takes part in a transaction.
type TopicPartition struct {
	Topic     string
	Partition int32
}

func comparePartitions(a, b TopicPartition) int {
	return cmp.Or(cmp.Compare(a.Topic, b.Topic), cmp.Compare(a.Partition, b.Partition))
}

// txnState is where a transaction is in its life, by its number in Kafka's records.
type txnState int8

const (
	txnEmpty txnState = iota
	txnOngoing
	txnPrepareCommit
	txnPrepareAbort
	txnCompleteCommit
	txnCompleteAbort
	txnDead
	txnPrepareEpochFence // Kafka's, in memory only; named here because tools may filter by it
)

var txnStateNames = [...]string{"Empty", "Ongoing", "PrepareCommit", "PrepareAbort", "CompleteCommit", "CompleteAbort", "Dead", "PrepareEpochFence"}

// String is the state's name in the protocol.
func (s txnState) String() string {
	if s < 0 || int(s) >= len(txnStateNames) {
		return "Unknown"
	}
	return txnStateNames[s]
}

// preparing tells whether the end is decided, and not all partitions know it yet.
func (s txnState) preparing() bool { return s == txnPrepareCommit || s == txnPrepareAbort }

// idle tells whether no transaction is open.
func (s txnState) idle() bool {
	return s == txnEmpty || s == txnCompleteCommit || s == txnCompleteAbort
}

const (
	noProducerID record.ProducerID    = -1
	maxEpoch     record.ProducerEpoch = math.MaxInt16
	noTime       int64                = -1
)

// exhausted tells whether a producer id has no epoch left that a client may use: the largest one is kept, so that the last producer can still be fenced.
func exhausted(e record.ProducerEpoch) bool { return e >= maxEpoch-1 }

// Levels of transaction.version, and what a client is known to speak from the versions of its requests.
const (
	txnVersion0 int16 = 0 // the protocol before KIP-890; values are written in their first form
	txnVersion1 int16 = 1 // values with tagged fields
	txnVersion2 int16 = 2 // an epoch per transaction
)

// txnValue is what the log says of one transactional id. It does not change: a transition makes another one.
type txnValue struct {
	producerID         record.ProducerID
	previousProducerID record.ProducerID // before the last transition
	nextProducerID     record.ProducerID // takes over once the transaction is complete, when the epochs have run out
	epoch              record.ProducerEpoch
	nextEpoch          record.ProducerEpoch // Kafka's, for two-phase commit; kept as it was read
	timeoutMs          int32
	state              txnState
	partitions         []TopicPartition // sorted, each once; shared between values
	startedMs          int64            // noTime before a first partition was added
	updatedMs          int64
	version            int16 // the transaction version of the client that made the last transition
}

// to is the value after a transition that changes no more than the state.
func (v *txnValue) to(state txnState, nowMs int64) txnValue {
	n := *v
	n.previousProducerID, n.state, n.updatedMs = v.producerID, state, nowMs
	return n
}

// has tells whether a partition was added.
func (v *txnValue) has(p TopicPartition) bool {
	_, ok := slices.BinarySearchFunc(v.partitions, p, comparePartitions)
	return ok
}

// hasAll tells whether all partitions were added.
func (v *txnValue) hasAll(list []TopicPartition) bool {
	return !slices.ContainsFunc(list, func(p TopicPartition) bool { return !v.has(p) })
}

// union is the sorted union of two lists of partitions, of which a is sorted.
func union(a, b []TopicPartition) []TopicPartition {
	out := slices.Concat(a, b)
	slices.SortFunc(out, comparePartitions)
	return slices.Compact(out)
}

// completed is the value once every partition knows the end of the transaction.
func (v *txnValue) completed(nowMs int64) txnValue {
	state := txnCompleteAbort
	if v.state == txnPrepareCommit {
		state = txnCompleteCommit
	}
	n := v.to(state, nowMs)
	if v.version >= txnVersion2 && v.nextProducerID != noProducerID {
		n.producerID, n.epoch = v.nextProducerID, 0
	}
	n.nextProducerID, n.partitions = noProducerID, nil
	return n
}

// logged is the value as the log has it at a level of transaction.version: the first form has no place for what KIP-890 added.
func (v *txnValue) logged(level int16) *txnValue {
	if valueVersion(level) == 0 {
		v.previousProducerID, v.nextProducerID, v.nextEpoch, v.version = noProducerID, noProducerID, noEpoch, txnVersion0
	}
	return v
}
