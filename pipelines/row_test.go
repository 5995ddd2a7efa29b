package pipelines

import (
	"reflect"
	"testing"
	"time"

	"github.com/milldam/milldam/connect/expression"
	"github.com/milldam/milldam/streams"
)

func TestRowsTravelWhole(t *testing.T) {
	day := time.Date(2001, 1, 1, 0, 0, 0, 0, time.UTC)
	for name, v := range map[string]row{
		"value":      {value: []byte(`{"a":1}`)},
		"tombstone":  {hasKey: true, key: []byte("k")},
		"empty key":  {hasKey: true, key: []byte{}, value: []byte("1")},
		"null key":   {hasKey: true, value: []byte("1")},
		"empty text": {value: []byte{}},
		"all":        {hasKey: true, key: []byte("k"), value: []byte("1"), window: streams.Window{Start: day, End: day.Add(time.Hour)}},
	} {
		t.Run(name, func(t *testing.T) {
			encoded, err := rowCodec{}.Append(nil, v)
			if err != nil {
				t.Fatal(err)
			}
			got, err := rowCodec{}.Decode(encoded)
			if err != nil || !reflect.DeepEqual(got, v) {
				t.Errorf("got %+v, %v, want %+v", got, err, v)
			}
		})
	}
}

func FuzzInternalCodecs(f *testing.F) {
	f.Add([]byte{15, 0, 0, 0})
	f.Add([]byte{1, 2, '[', ']'})
	f.Fuzz(func(t *testing.T, src []byte) {
		if v, err := (rowCodec{}).Decode(src); err == nil {
			encoded, err := rowCodec{}.Append(nil, v)
			if err != nil {
				t.Fatal(err)
			}
			again, err := rowCodec{}.Decode(encoded)
			if err != nil || !reflect.DeepEqual(again, v) {
				t.Errorf("%x decodes to %+v, again to %+v, %v", src, v, again, err)
			}
		}
		if v, err := (stateCodec{}).Decode(src); err == nil {
			if _, err := (stateCodec{}).Append(nil, v); err != nil {
				t.Fatal(err)
			}
		}
	})
}

func TestWindowStateRoundTrips(t *testing.T) {
	total, err := expression.CompileAggregate("sum(value.a) / count() + max(value.a)")
	if err != nil {
		t.Fatal(err)
	}
	w := &Window{aggregates: []aggregateField{{"total", total}, {"again", total}}}
	m := expression.NewMessage(testRuntime())
	var state windowState
	for _, v := range []string{`{"a":1}`, `{"a":2.5}`} {
		m.Record.Value = []byte(v)
		m.Reset(m.Record)
		if state, err = w.add(state, m); err != nil {
			t.Fatal(err)
		}
	}
	encoded, err := stateCodec{}.Append(nil, state)
	if err != nil {
		t.Fatal(err)
	}
	got, err := stateCodec{}.Decode(encoded)
	if err != nil || !reflect.DeepEqual(got, state) {
		t.Errorf("got %+v, %v, want %+v", got, err, state)
	}
}
