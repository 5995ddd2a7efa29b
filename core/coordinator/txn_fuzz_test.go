package coordinator

import (
	"bytes"
	"testing"
	"time"

	"github.com/milldam/milldam/core/record"
)

// FuzzTxnRecord reads records of the transaction topic: no bytes panic, and what was read is written and read again as it is.
func FuzzTxnRecord(f *testing.F) {
	for _, v := range []*txnValue{
		{producerID: 1, previousProducerID: 1, nextProducerID: noProducerID, nextEpoch: noEpoch, timeoutMs: 60_000, startedMs: noTime, updatedMs: 5},
		{producerID: 1, previousProducerID: 2, nextProducerID: 3, epoch: 4, nextEpoch: 5, timeoutMs: 6, state: txnPrepareCommit, startedMs: 7, updatedMs: 8, version: 2,
			partitions: []TopicPartition{{"a", 0}, {"a", 1}, {"b", 7}}},
	} {
		for _, level := range []int16{0, 2} {
			key, value := txnEntry{id: theTxn, value: v}.encode(level)
			f.Add(key, value)
		}
	}
	key, _ := txnEntry{id: theTxn}.encode(2)
	f.Add(key, []byte(nil))
	for _, r := range kafkaTxnRecords(f) {
		f.Add(r[0], r[1])
	}
	f.Fuzz(func(t *testing.T, key, value []byte) {
		if len(value) == 0 {
			value = nil
		}
		e, ok, err := decodeTxn(key, value)
		if err != nil || !ok {
			return
		}
		if e.value == nil {
			again, _ := e.encode(2)
			if back, ok, err := decodeTxn(again, nil); !ok || err != nil || back.id != e.id {
				t.Fatalf("%q became %q, %v, %v", e.id, back.id, ok, err)
			}
			return
		}
		k, v := e.encode(2)
		back, ok, err := decodeTxn(k, v)
		if !ok || err != nil {
			t.Fatalf("what was written cannot be read: %v, %v", ok, err)
		}
		if got, want := rendered(map[string]*txnValue{back.id: back.value}), rendered(map[string]*txnValue{e.id: e.value}); got != want {
			t.Fatalf("got %s, want %s", got, want)
		}
		if k2, v2 := back.encode(2); !bytes.Equal(k, k2) || !bytes.Equal(v, v2) {
			t.Fatal("written twice it differs")
		}
	})
}

// FuzzTxnBatch replays batches of the transaction topic.
func FuzzTxnBatch(f *testing.F) {
	v := &txnValue{producerID: 1, previousProducerID: 1, nextProducerID: noProducerID, nextEpoch: noEpoch, state: txnOngoing, partitions: []TopicPartition{{"a", 0}}}
	b, err := txnBatchOf([]txnEntry{{id: theTxn, value: v}, {id: "gone"}}, 2, time.UnixMilli(0))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Fuzz(func(t *testing.T, data []byte) {
		b := record.Batch(data)
		if b.Verify() != nil {
			return
		}
		s := txnShard{values: map[string]*txnValue{}}
		if err := txnEntriesOf(b, s.apply); err != nil {
			return
		}
		for id, v := range s.values {
			v.completed(0)
			(&txnView{txnValue: *v}).verify(Txn{TransactionalID: id, ID: v.producerID, Epoch: v.epoch}, TopicPartition{"a", 0})
		}
	})
}
