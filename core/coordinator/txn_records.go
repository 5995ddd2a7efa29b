package coordinator

import (
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/milldam/milldam/core/record"
)

// txnEntry is one record of the transaction topic: what became of a transactional id, or, without a value, that it is forgotten.
type txnEntry struct {
	id    string
	value *txnValue
}

// txnKeyVersion is the version of the key; versions of the value follow transaction.version.
const txnKeyVersion = 0

// valueVersion is the version of the values that a level of transaction.version writes. Fields of KIP-890 are tagged, so they need the second.
func valueVersion(level int16) int16 { return min(level, txnVersion1) }

// encode returns key and value of the record at a level of transaction.version.
func (e txnEntry) encode(level int16) (key, value []byte) {
	k := kmsg.TxnMetadataKey{Version: txnKeyVersion, TransactionalID: e.id}
	if e.value == nil {
		return k.AppendTo(nil), nil
	}
	v := kmsg.NewTxnMetadataValue()
	v.Version = valueVersion(level)
	v.ProducerID, v.ProducerEpoch = int64(e.value.producerID), int16(e.value.epoch)
	v.TimeoutMillis, v.State = e.value.timeoutMs, kmsg.TransactionState(e.value.state)
	v.LastUpdateTimestamp, v.StartTimestamp = e.value.updatedMs, e.value.startedMs
	v.PreviousProducerID, v.NextProducerID = int64(e.value.previousProducerID), int64(e.value.nextProducerID)
	v.ClientTransactionVersion, v.NextProducerEpoch = e.value.version, int16(e.value.nextEpoch)
	if e.value.state != txnEmpty { // Kafka: no list at all, rather than an empty one
		v.Topics = []kmsg.TxnMetadataValueTopic{}
	}
	for _, p := range e.value.partitions {
		if n := len(v.Topics); n == 0 || v.Topics[n-1].Topic != p.Topic {
			v.Topics = append(v.Topics, kmsg.TxnMetadataValueTopic{Topic: p.Topic})
		}
		t := &v.Topics[len(v.Topics)-1]
		t.Partitions = append(t.Partitions, p.Partition)
	}
	return k.AppendTo(nil), v.AppendTo(nil)
}

// errTxnRecord is a record of a kind or version that is known here, and is not what it claims.
var errTxnRecord = errors.New("damaged record of the transaction topic")

// decodeTxn reads a record. ok is false for kinds and versions that are not known here, which newer nodes may write. What cannot be read is an error: who went
// on without it would forget a transaction whose end is decided.
func decodeTxn(key, value []byte) (e txnEntry, ok bool, err error) {
	if len(key) < 2 {
		return e, false, fmt.Errorf("%w: a key of %d bytes", errTxnRecord, len(key))
	}
	if binary.BigEndian.Uint16(key) != txnKeyVersion {
		return e, false, nil
	}
	var k kmsg.TxnMetadataKey
	if err := k.ReadFrom(key); err != nil {
		return e, false, fmt.Errorf("%w: key: %w", errTxnRecord, err)
	}
	if e.id = k.TransactionalID; value == nil {
		return e, true, nil
	}
	if len(value) < 2 {
		return e, false, fmt.Errorf("%w: a value of %d bytes for %q", errTxnRecord, len(value), e.id)
	}
	if binary.BigEndian.Uint16(value) > uint16(txnVersion1) {
		return e, false, nil
	}
	var v kmsg.TxnMetadataValue
	if err := v.ReadFrom(value); err != nil {
		return e, false, fmt.Errorf("%w: value of %q: %w", errTxnRecord, e.id, err)
	}
	if v.State < 0 || int(v.State) >= len(txnStateNames) {
		return e, false, fmt.Errorf("%w: %q is in state %d", errTxnRecord, e.id, v.State)
	}
	e.value = valueOf(&v)
	return e, true, nil
}

func valueOf(v *kmsg.TxnMetadataValue) *txnValue {
	out := &txnValue{
		producerID: record.ProducerID(v.ProducerID), previousProducerID: record.ProducerID(v.PreviousProducerID), nextProducerID: record.ProducerID(v.NextProducerID),
		epoch: record.ProducerEpoch(v.ProducerEpoch), nextEpoch: record.ProducerEpoch(v.NextProducerEpoch), timeoutMs: v.TimeoutMillis, state: txnState(v.State),
		startedMs: v.StartTimestamp, updatedMs: v.LastUpdateTimestamp, version: v.ClientTransactionVersion,
	}
	if out.state == txnEmpty {
		return out
	}
	for _, t := range v.Topics {
		for _, p := range t.Partitions {
			out.partitions = append(out.partitions, TopicPartition{t.Topic, p})
		}
	}
	out.partitions = union(nil, out.partitions)
	return out
}

// txnEntriesOf calls fn with every record of a batch that is known here.
func txnEntriesOf(b record.Batch, fn func(txnEntry)) error {
	if b.IsControl() {
		return nil
	}
	return b.Each(maxEntriesBytes, func(r *record.Record) error {
		e, ok, err := decodeTxn(r.Key, r.Value)
		if ok {
			fn(e)
		}
		return err
	})
}

// txnBatchOf encodes records as one batch.
func txnBatchOf(list []txnEntry, level int16, now time.Time) ([]byte, error) {
	var b record.Builder
	b.Reset(record.NewBatchOptions())
	for _, e := range list {
		key, value := e.encode(level)
		b.Append(now.UnixMilli(), key, value)
	}
	return b.Build(nil)
}
