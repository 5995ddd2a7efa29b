package worker

import (
	"bytes"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"
)

// FuzzPositions reads records of the topic of positions that anybody may have written, by themselves and in a transaction that ends with any marker: each is
// taken or refused, a position in a transaction counts with its commit alone, and what was taken is written and taken again as the same.
func FuzzPositions(f *testing.F) {
	own, err := positionRecord("p", "a file", []byte(`{"version":1,"offset":7}`))
	if err != nil {
		f.Fatal(err)
	}
	abort, commit := []byte{0, 0, 0, 0}, []byte{0, 0, 0, 1}
	for _, kv := range [][2][]byte{{own.Key, own.Value}, {own.Key, nil}, {[]byte("{"), own.Value}, {own.Key, []byte(`{"version":2}`)},
		{own.Key, []byte(`{"version":1,"position":"no base64"}`)}, {[]byte(`{"pipeline":"other"}`), []byte("garbage")}, {[]byte("null"), []byte("null")}} {
		for _, marker := range [][]byte{abort, commit, commit[:3], nil} {
			f.Add(kv[0], kv[1], marker)
		}
	}
	f.Fuzz(func(t *testing.T, key, value, marker []byte) {
		if len(value) == 0 {
			value = nil
		}
		plain, inTxn := taken(), taken()
		err := plain.take(&kgo.Record{Key: key, Value: value})
		must := func(err error) {
			if err != nil {
				t.Fatal(err)
			}
		}
		must(inTxn.take(&kgo.Record{Key: key, Value: value, ProducerID: 7, Attrs: kgo.NewRecordAttrs(kgo.RecordAttrsOpts{Transactional: true})}))
		if len(inTxn.positions) != 0 {
			t.Fatal("a position counts before its transaction ends")
		}
		end := &kgo.Record{Key: marker, ProducerID: 7, Attrs: kgo.NewRecordAttrs(kgo.RecordAttrsOpts{Transactional: true, Control: true})}
		ended := inTxn.take(end)
		switch commits := isCommit(end); {
		case !commits && (ended != nil || len(inTxn.positions) != 0):
			t.Fatalf("aborted, and taken: %q, %v", inTxn.positions, ended)
		case commits && ((ended == nil) != (err == nil) || len(inTxn.positions) != len(plain.positions)):
			t.Fatalf("in a transaction: %q, %v; without: %q, %v", inTxn.positions, ended, plain.positions, err)
		}
		for partition, position := range plain.positions {
			again, err := positionRecord("p", partition, position)
			must(err)
			back := taken()
			must(back.take(again))
			if !bytes.Equal(back.positions[partition], position) {
				t.Fatalf("%q at %q is read again as %q", partition, position, back.positions)
			}
		}
	})
}

// taken is what no record was taken into yet.
func taken() *committedPositions {
	return &committedPositions{pipeline: "p", positions: map[string][]byte{}, open: map[int64][]*kgo.Record{}}
}
