package coordinator

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"os"
	"strings"
	"testing"
)

// kafkaRecords are the keys and values that Apache Kafka 4.3.1 wrote to __consumer_offsets for consumers of both protocols, a static member, regular
// expressions and a group that changed its type twice; see docs/formats/consumer-offsets.md.
func kafkaRecords(t testing.TB) (list [][2][]byte) {
	t.Helper()
	raw, err := os.ReadFile("testdata/consumer-offsets-kafka-4.3.1.txt")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(raw)) {
		var kv [2][]byte
		for i, text := range strings.SplitN(strings.TrimRight(line, "\n"), " ", 2) {
			if kv[i], err = hex.DecodeString(text); err != nil {
				t.Fatal(err)
			}
		}
		if len(kv[1]) == 0 {
			kv[1] = nil
		}
		list = append(list, kv)
	}
	return list
}

func TestKafkasRecordsAreReadAndWrittenAsTheyAre(t *testing.T) {
	kinds := map[byte]int{}
	for _, kv := range kafkaRecords(t) {
		kind := kv[0][1]
		e, ok := decode(kv[0], kv[1])
		if !ok {
			if kind != consumerPartitionKey {
				t.Errorf("not read: %x %x", kv[0], kv[1])
			}
			continue
		}
		kinds[kind]++
		if key, value := e.encode(); !bytes.Equal(key, kv[0]) || !bytes.Equal(value, kv[1]) {
			t.Errorf("Kafka wrote\n%x %x\nit is written here as\n%x %x\n%+v", kv[0], kv[1], key, value, e)
		}
	}
	for _, kind := range []byte{offsetKeyVersion, groupKeyVersion, consumerGroupKey, consumerMemberKey, targetEpochKey, targetMemberKey, currentMemberKey, regexKey} {
		if kinds[kind] == 0 {
			t.Errorf("there is no record with a key of type %d", kind)
		}
	}
}

// FuzzRecords reads any record: it is no panic, what can be read is written and read again as the same, and what it says can be taken back.
func FuzzRecords(f *testing.F) {
	for _, kv := range kafkaRecords(f) {
		f.Add(kv[0], kv[1], kv[1] == nil)
	}
	f.Fuzz(func(t *testing.T, key, value []byte, removal bool) {
		if removal {
			value = nil
		} else if value == nil {
			value = []byte{}
		}
		e, ok := decode(key, value)
		if said, err := InspectOffsetsRecord(key, value); ok && (err != nil || said.Kind == kindUnknown) {
			t.Fatalf("%+v is said as %+v, %v", e, said, err)
		}
		if !ok {
			return
		}
		key2, value2 := e.encode()
		again, ok := decode(key2, value2)
		if key3, value3 := again.encode(); !ok || !bytes.Equal(key2, key3) || !bytes.Equal(value2, value3) {
			t.Fatalf("%+v is written as %x %x and read as %+v", e, key2, value2, again)
		}
		s := newShard(nil)
		if e.isOffset {
			s.applyOffset(e, 0, 1)
			s.applyMarker(1, true)
			return
		}
		other := entry{group: e.group, fact: groupEpoch{epoch: 2}}
		s.applyGroup(other)
		before := fmt.Sprintf("%+v", *s.groups[e.group].consumer)
		undo := s.applyGroup(e)
		if undo(); fmt.Sprintf("%+v", *s.groups[e.group].consumer) != before {
			t.Fatalf("%+v is not taken back", e)
		}
	})
}
