package coordinator

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
)

// TestInspectedRecordsOfKafka reads every record that Apache Kafka wrote for groups of both types.
func TestInspectedRecordsOfKafka(t *testing.T) {
	kinds := map[string]int{}
	for _, kv := range kafkaRecords(t) {
		said, err := InspectOffsetsRecord(kv[0], kv[1])
		if err != nil {
			t.Fatalf("%x %x: %v", kv[0], kv[1], err)
		}
		kinds[said.Kind]++
		if said.Kind != kindUnknown && (said.Value == nil) != (kv[1] == nil) {
			t.Errorf("%+v, and the record is %x", said, kv[1])
		}
		if _, err := json.Marshal(said); err != nil {
			t.Error(err)
		}
	}
	for _, kind := range []string{kindOffset, kindGroup, "consumer group epoch", "target epoch", "member", "target of member", "assignment of member", "regular expression", kindUnknown} {
		if kinds[kind] == 0 {
			t.Errorf("there is no %s: %v", kind, kinds)
		}
	}
	for _, kv := range kafkaTxnRecords(t) {
		said, err := InspectTxnRecord(kv[0], kv[1])
		if err != nil || said.Kind != kindTxn {
			t.Errorf("%+v, %v", said, err)
		}
	}
}

// TestInspectedRecordsSayWhatTheyMean holds the words against what was written, and damaged records against their errors.
func TestInspectedRecordsSayWhatTheyMean(t *testing.T) {
	instance := "i-1"
	state := &txnValue{producerID: 7, previousProducerID: 7, nextProducerID: noProducerID, epoch: 3, nextEpoch: noEpoch, timeoutMs: 60_000, state: txnPrepareCommit, startedMs: 7, updatedMs: 8, version: 2,
		partitions: []TopicPartition{{"a", 0}, {"a", 1}, {"b", 7}}}
	txnKey, txnBytes := txnEntry{id: theTxn, value: state}.encode(2)
	offsetKey1, offsetBytes := entry{group: "g", isOffset: true, key: offsetKey{"t", 3}, offset: &offset{offset: 5, leaderEpoch: 2, metadata: "m", committed: 9}}.encode()
	memberKey, memberBytes := memberFact{"m-1", &memberMetadata{instance: &instance, client: Client{"c", "/h"}, topics: []string{"t"}, rebalanceMs: 5}}.encode("g")
	for name, x := range map[string]struct {
		inspect    func(key, value []byte) (Inspected, error)
		key, value []byte
		want       string
		err        error
	}{
		"an offset":              {InspectOffsetsRecord, offsetKey1, offsetBytes, `{"kind":"offset","key":{"group":"g","topic":"t","partition":3},"value":{"offset":5,"leaderEpoch":2,"metadata":"m","committed":9}}`, nil},
		"an offset that is gone": {InspectOffsetsRecord, offsetKey1, nil, `{"kind":"offset","key":{"group":"g","topic":"t","partition":3},"value":null}`, nil},
		"half an offset":         {InspectOffsetsRecord, offsetKey1, offsetBytes[:9], "", errOffsetsRecord},
		"a member": {InspectOffsetsRecord, memberKey, memberBytes,
			`{"kind":"member","key":{"group":"g","member":"m-1"},"value":{"member":"m-1","instance":"i-1","client":"c","host":"/h","rebalanceMs":5,"subscription":["t"]}}`, nil},
		"half a member":      {InspectOffsetsRecord, memberKey, memberBytes[:5], "", errOffsetsRecord},
		"no key":             {InspectOffsetsRecord, nil, nil, "", errOffsetsRecord},
		"a newer kind":       {InspectOffsetsRecord, []byte{0, 99}, nil, `{"kind":"unknown","key":{"version":99},"value":null}`, nil},
		"a transactional id": {InspectTxnRecord, txnKey, txnBytes, `"value":{"producerId":7,"producerEpoch":3,"previousProducerId":7,"nextProducerId":-1,"state":"PrepareCommit","timeoutMs":60000,"partitions":{"a":[0,1],"b":[7]},"started":7,"updated":8,"clientVersion":2}}`, nil},
		"half a transaction": {InspectTxnRecord, txnKey, txnBytes[:7], "", errTxnRecord},
	} {
		t.Run(name, func(t *testing.T) {
			said, err := x.inspect(x.key, x.value)
			got, failed := json.Marshal(said)
			if failed != nil || !errors.Is(err, x.err) || err == nil && !strings.Contains(string(got), x.want) {
				t.Errorf("%s, %v, want %s, %v", got, err, x.want, x.err)
			}
		})
	}
}
