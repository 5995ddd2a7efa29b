package expression

import (
	"reflect"
	"strings"
	"testing"

	"github.com/milldam/milldam/connect"
)

func compileAll(t testing.TB, sources ...string) []Expression {
	t.Helper()
	var out []Expression
	for _, source := range sources {
		e, err := Compile(source, 0)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, e)
	}
	return out
}

// TestExpectedExpressionsGiveTheSame evaluates with and without Expect: what is left out of a value must not be seen, in results or in errors.
func TestExpectedExpressionsGiveTheSame(t *testing.T) {
	sources := []string{`value.a`, `value.a.b`, `value.a?.b?.c`, `value["a"]["b"]`, `value.list[1].x`, `value.missing`, `value.missing ?? 1`, `value?.a`,
		`value.a.missing`, `"a" in value`, `value`, `len(value)`, `sort(keys(value))`, `value[key]`, `let v = value; v.a`, `value.a == value.b`,
		`map(value.list, #.x)`, `value.b + 1`, `key`, `value.a.b.c`}
	values := []string{`{"a":{"b":{"c":1,"d":2},"e":[1,2]},"b":2,"list":[{"x":1},{"x":2}],"z":"\u00e9"}`, `{"a":1,"a":{"b":2}}`, `{"a":{"b":2},"a":1}`,
		`{"\u0061":{"b":3}}`, `{}`, `[1,2]`, `"text"`, `null`, `7`, `{"a":null}`, `{"a":[1]}`, "{\"a\xff\":1,\"z\":\"\xff\",\"b\":1}"}
	for _, source := range sources {
		e := compileAll(t, source)
		for _, value := range values {
			whole, part := NewMessage(NewRuntime(1)), NewMessage(NewRuntime(1))
			part.Expect(e)
			r := connect.Record{Key: []byte("a"), Value: []byte(value)}
			whole.Reset(r)
			part.Reset(r)
			want, wantErr := e[0].Eval(whole)
			got, err := e[0].Eval(part)
			if !reflect.DeepEqual(got, want) || text(err) != text(wantErr) {
				t.Errorf("%s of %s: got %v, %v; without Expect it is %v, %v", source, value, got, err, want, wantErr)
			}
		}
	}
}

func text(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

func TestUnexpectedExpressionsSeeTheWholeValue(t *testing.T) {
	e := compileAll(t, `value.a`, `value.b`)
	m := NewMessage(NewRuntime(1))
	m.Expect(e[:1])
	m.Reset(connect.Record{Value: []byte(`{"a":1,"b":2,"c":3}`)})
	for i, want := range []int64{1, 2, 1} {
		if got, err := e[i%2].Eval(m); got != want || err != nil {
			t.Fatalf("evaluation %d gives %v, %v, want %d", i, got, err, want)
		}
	}
	m.Reset(connect.Record{Value: []byte(`{"a":1,"b":2,"c":3}`)})
	if _, err := e[0].Eval(m); err != nil {
		t.Fatal(err)
	}
	if order, err := m.Fields(); err != nil || strings.Join(order, "") != "abc" {
		t.Errorf("fields %v, %v", order, err)
	}
	if m.Reset(connect.Record{}); !m.IsTombstone() {
		t.Error("no value is no tombstone")
	}
}

func TestWhatIsNotReadIsStillChecked(t *testing.T) {
	e := compileAll(t, `value.a`)
	m := NewMessage(NewRuntime(1))
	m.Expect(e)
	for _, value := range []string{`{"a":1,"b":}`, `{"a":1,"b":"\x"}`, `{"a":1,"b":01}`, `{"a":1,"b":[1,]}`, `{"a":1,"b":{"c":1,}}`, `{"a":1,"b":tru}`, `{"a":1} x`,
		`{"a":1,"b":` + strings.Repeat("[", maxJSONDepth+1) + strings.Repeat("]", maxJSONDepth+1) + `}`, `{"a":1,"b\ud":1}`, "{\"a\":1,\"b\":\"\n\"}", `{"a":1,,}`, `{,}`} {
		m.Reset(connect.Record{Value: []byte(value)})
		if got, err := e[0].Eval(m); err == nil {
			t.Errorf("%s was taken, and gives %v", value, got)
		}
	}
}

// FuzzDecodePart checks that a value decoded in part is taken or refused as the whole one is, and holds the same.
func FuzzDecodePart(f *testing.F) {
	for _, seed := range []string{`{"a":{"b":1,"c":2},"d":3}`, `{"a":1,"a":{"b":"\u00e9"}}`, `[{"a":1}]`, `{"a":{"b":[1,{}]},"x":"\ud800"}`, `{"\u0061":1}`} {
		f.Add([]byte(seed))
	}
	want := &paths{}
	want.add([]string{"a", "b"})
	want.add([]string{"d"})
	f.Fuzz(func(t *testing.T, value []byte) {
		whole, _, err := decode(value, everything)
		part, _, errPart := decode(value, want)
		if text(err) != text(errPart) {
			t.Fatalf("%q: whole %v, in part %v", value, err, errPart)
		}
		if err == nil && !reflect.DeepEqual(pick(whole, want), pick(part, want)) {
			t.Fatalf("%q: whole %v, in part %v", value, whole, part)
		}
	})
}

// pick leaves of v what want names.
func pick(v any, want *paths) any {
	m, ok := v.(map[string]any)
	if !ok || want.whole {
		return v
	}
	out := map[string]any{}
	for name, field := range m {
		if next := want.fields[name]; next != nil {
			out[name] = pick(field, next)
		}
	}
	return out
}
