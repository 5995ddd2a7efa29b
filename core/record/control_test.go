package record

import (
	"bytes"
	"errors"
	"math"
	"slices"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"
)

func TestMarkersReadBack(t *testing.T) {
	for _, want := range []Marker{
		{ProducerID: 7, ProducerEpoch: 3, CoordinatorEpoch: 9, Commit: true},
		{ProducerID: math.MaxInt64, ProducerEpoch: math.MaxInt16, CoordinatorEpoch: -1},
	} {
		b := want.Batch(1234)
		if err := b.Verify(); err != nil {
			t.Fatal(err)
		}
		if got, ok, err := b.Marker(); got != want || !ok || err != nil {
			t.Errorf("%+v, %v, %v; want %+v", got, ok, err, want)
		}
		if !b.IsControl() || !b.IsTransactional() || b.BaseSequence() != NoSequence || b.LastSequence() != NoSequence || b.MaxTimestamp() != 1234 || b.Count() != 1 {
			t.Errorf("header of %+v: control %v, sequences %d to %d, time %d, %d records", want, b.IsControl(), b.BaseSequence(), b.LastSequence(), b.MaxTimestamp(), b.Count())
		}
	}
}

// TestKmsgReadsOurMarkers compares with another implementation of the format.
func TestKmsgReadsOurMarkers(t *testing.T) {
	b := Marker{ProducerID: 7, CoordinatorEpoch: 9, Commit: true}.Batch(1)
	r := collect(t, b)[0]
	var key kmsg.ControlRecordKey
	var value kmsg.EndTxnMarker
	if err := errors.Join(key.ReadFrom(r.Key), value.ReadFrom(r.Value)); err != nil {
		t.Fatal(err)
	}
	if key.Version != 0 || key.Type != kmsg.ControlRecordKeyTypeCommit || value.Version != 0 || value.CoordinatorEpoch != 9 {
		t.Errorf("kmsg reads %+v and %+v", key, value)
	}
}

func TestMarkerRefuses(t *testing.T) {
	opts := BatchOptions{ProducerID: 7, BaseSequence: NoSequence, Transactional: true, Control: true}
	key, value := []byte{0, 0, 0, 1}, []byte{0, 0, 0, 0, 0, 9}
	plain := opts
	plain.Control = false
	for name, b := range map[string]Batch{
		"no control batch":   build(t, plain, Record{Key: key, Value: value}),
		"a short key":        build(t, opts, Record{Key: key[:3], Value: value}),
		"a short value":      build(t, opts, Record{Key: key, Value: value[:5]}),
		"no value":           build(t, opts, Record{Key: key}),
		"another type":       build(t, opts, Record{Key: []byte{0, 0, 0, 2}, Value: value}),
		"a negative type":    build(t, opts, Record{Key: []byte{0, 0, 0xff, 0xff}, Value: value}),
		"a negative version": build(t, opts, Record{Key: []byte{0xff, 0xff, 0, 1}, Value: value}),
		"two records":        build(t, opts, Record{Key: key, Value: value}, Record{Offset: 1, Key: key, Value: value}),
	} {
		if m, ok, err := b.Marker(); ok || !errors.Is(err, ErrInvalid) {
			t.Errorf("%s: %+v, %v, %v", name, m, ok, err)
		}
	}
	if _, ok, err := build(t, opts).Marker(); ok || err != nil {
		t.Errorf("an emptied batch: %v, %v", ok, err)
	}
	longer := build(t, opts, Record{Key: append(slices.Clone(key), 1), Value: append(bytes.Clone(value), 1)})
	if m, ok, err := longer.Marker(); !ok || err != nil || m.CoordinatorEpoch != 9 {
		t.Errorf("of a later version: %+v, %v, %v", m, ok, err)
	}
}

// FuzzMarker reads control batches; what is taken for a marker is the same when it is written again.
func FuzzMarker(f *testing.F) {
	f.Add([]byte{0, 0, 0, 1}, []byte{0, 0, 0, 0, 0, 9}, int64(7))
	f.Add([]byte{0, 0, 0, 0, 1}, []byte{0, 1, 0xff, 0xff, 0xff, 0xff, 3}, int64(0))
	f.Add([]byte{}, []byte(nil), int64(-1))
	f.Add([]byte{0xff, 0xff, 0, 1}, []byte{0, 0, 0, 0, 0}, int64(1))
	f.Fuzz(func(t *testing.T, key, value []byte, pid int64) {
		b := build(t, BatchOptions{ProducerID: ProducerID(pid), BaseSequence: NoSequence, Transactional: true, Control: true}, Record{Key: key, Value: value})
		m, ok, err := b.Marker()
		if err != nil {
			return
		}
		if again, okAgain, err := m.Batch(1).Marker(); again != m || okAgain != ok || err != nil {
			t.Errorf("%+v became %+v, %v", m, again, err)
		}
	})
}
