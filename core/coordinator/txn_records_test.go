package coordinator

import (
	"bytes"
	"encoding/hex"
	"errors"
	"os"
	"strings"
	"testing"
)

// kafkaTxnRecords are keys and values of __transaction_state that Apache Kafka 4.3.1 wrote.
func kafkaTxnRecords(t testing.TB) (list [][2][]byte) {
	t.Helper()
	text, err := os.ReadFile("testdata/transaction-state-kafka-4.3.1.txt")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		k, v, ok := strings.Cut(strings.TrimSpace(line), " ")
		key, err1 := hex.DecodeString(k)
		value, err2 := hex.DecodeString(v)
		if ok && errors.Join(err1, err2) == nil { // else it is the heading
			list = append(list, [2][]byte{key, value})
		}
	}
	return list
}

// TestTxnRecordsAreKafkas reads records of Kafka's, and writes them again to the same bytes; docs/formats/transaction-state.md describes them. Kafka writes partitions in
// the order of a hash table, which is ours only where it is by name.
func TestTxnRecordsAreKafkas(t *testing.T) {
	states, same := map[txnState]int{}, 0
	for _, r := range kafkaTxnRecords(t) {
		e, ok, err := decodeTxn(r[0], r[1])
		if err != nil || !ok {
			t.Fatalf("%x: %v, %v", r[1], ok, err)
		}
		states[e.value.state]++
		k, v := e.encode(txnVersion2)
		back, _, err := decodeTxn(k, v)
		if err != nil || !bytes.Equal(k, r[0]) || len(v) != len(r[1]) || rendered(map[string]*txnValue{back.id: back.value}) != rendered(map[string]*txnValue{e.id: e.value}) {
			t.Errorf("%+v is\n%x\n%x, Kafka wrote\n%x\n%x", *e.value, k, v, r[0], r[1])
		}
		if bytes.Equal(v, r[1]) {
			same++
		}
	}
	for _, state := range []txnState{txnEmpty, txnOngoing, txnPrepareCommit, txnPrepareAbort, txnCompleteCommit, txnCompleteAbort} {
		if states[state] == 0 {
			t.Errorf("no record is in state %s", state)
		}
	}
	if same < 10 {
		t.Errorf("only %d values are the same bytes", same)
	}
}

func TestTxnRecordsThatCannotBeReadAreErrors(t *testing.T) {
	key, value := txnEntry{id: theTxn, value: &txnValue{state: txnOngoing}}.encode(txnVersion2)
	badState := bytes.Clone(value)
	badState[2+8+2+4] = 9
	newer := bytes.Clone(value)
	newer[1] = 2
	otherKey := bytes.Clone(key)
	otherKey[1] = 1
	for name, c := range map[string]struct {
		key, value []byte
		ok, err    bool
	}{
		"as it is":         {key, value, true, false},
		"no value":         {key, nil, true, false},
		"a newer value":    {key, newer, false, false},
		"another key":      {otherKey, value, false, false},
		"no key":           {nil, value, false, true},
		"half a key":       {key[:4], value, false, true},
		"half a value":     {key, value[:9], false, true},
		"one byte":         {key, value[:1], false, true},
		"an unknown state": {key, badState, false, true},
	} {
		if _, ok, err := decodeTxn(c.key, c.value); ok != c.ok || (err != nil) != c.err {
			t.Errorf("%s: %v, %v", name, ok, err)
		}
	}
}
