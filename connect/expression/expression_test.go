package expression

import (
	"encoding/json"
	"fmt"
	"math"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/milldam/milldam/connect"
	"github.com/milldam/milldam/core/config"
)

var moment = time.Date(2001, 1, 1, 0, 47, 0, 0, time.UTC)

func message(value string) *Message {
	m := NewMessage(&Runtime{Now: func() time.Time { return moment }, Rand: rand.New(rand.NewPCG(1, 2))})
	m.Reset(connect.Record{
		Topic: "flights", Partition: 3, Offset: 42, Key: []byte("DTW"), Value: []byte(value),
		Headers: []connect.Header{{Key: "h", Value: []byte("v")}}, Timestamp: moment,
	})
	return m
}

const flight = `{"date":"2001/01/01 00:47","delay":66,"ratio":1.5,"origin":"DTW","tags":["a","b"],"user":{"name":"x","age":null},"big":9007199254740993,"huge":123456789012345678901}`

func TestEval(t *testing.T) {
	for _, c := range []struct{ source, want string }{
		{`value.origin`, `"DTW"`},
		{`key`, `"DTW"`},
		{`topic + "-" + string(partition) + "@" + string(offset)`, `"flights-3@42"`},
		{`headers.h`, `"v"`},
		{`timestamp`, `"2001-01-01T00:47:00Z"`},
		{`timestamp.Year()`, `2001`},
		{`value.delay > 60 and value.origin == "DTW"`, `true`},
		{`value.delay / 4`, `16.5`},
		{`value.delay * 1.0`, `66.0`},
		{`int(value.ratio * 100)`, `150`},
		{`value.big`, `9007199254740993`},
		{`value.huge`, `123456789012345678901`},
		{`value.big + 1`, `9007199254740994`},
		{`value.user.name`, `"x"`},
		{`value.user?.phone`, `null`},
		{`value.nobody?.phone`, `null`},
		{`value?.nobody.phone`, `null`},
		{`value.nobody.phone ?? "none"`, `"none"`},
		{`value.user.phone ?? value.user.name`, `"x"`},
		{`value["delay"]`, `66`},
		{`value.tags[1]`, `"b"`},
		{`map(value.tags, upper(#))`, `["A","B"]`},
		{`count(value.tags, # == "a")`, `1`},
		{`sum([1, 2, 3])`, `6`},
		{`"a" in value.tags`, `true`},
		{`"delay" in value`, `true`},
		{`parse_time(value.date, "%Y/%m/%d %H:%M")`, `"2001-01-01T00:47:00Z"`},
		{`format_time(timestamp, "%Y-%m-%d")`, `"2001-01-01"`},
		{`format_time(0, "%F %T")`, `"1970-01-01 00:00:00"`},
		{`parse_time(978310020000) == timestamp`, `true`},
		{`now() - timestamp`, `0`},
		{`{"a": 1, "b": value.delay}`, `{"a":1,"b":66}`},
		{`value.origin in ["DTW", "LAX"] ? 1 : 2`, `1`},
		{`let d = value.delay; d + d`, `132`},
		{`len(uuid())`, `36`},
		{`randint(5, 5)`, `5`},
		{`rand() < 1`, `true`},
		{`oneof("a", "a")`, `"a"`},
		{`fromJSON("[1, 2.0]")`, `[1,2.0]`},
		{`toJSON(value.user)`, `"{\"age\":null,\"name\":\"x\"}"`},
		{`join(["a", 1], "-")`, `"a-1"`},
		{`value.user.age == nil`, `true`},
		{`abs(-3)`, `3`},
		{`value.origin startsWith "D" && value.origin matches "^D.W$"`, `true`},
	} {
		t.Run(c.source, func(t *testing.T) {
			e, err := Compile(c.source, 0)
			if err != nil {
				t.Fatal(err)
			}
			m := message(flight)
			for range 2 { // the machine is used again
				v, err := e.Eval(m)
				if err != nil {
					t.Fatal(err)
				}
				got, err := Append(nil, v)
				if err != nil || string(got) != c.want {
					t.Errorf("got %s, %v, want %s", got, err, c.want)
				}
			}
		})
	}
}

func TestEvalErrorsSayWhatAndWhere(t *testing.T) {
	for _, c := range []struct{ source, value, want string }{
		{`value.dealy > 1`, flight, `value.dealy > 1: value has no field "dealy", did you mean "delay"? (it has big, date, delay, huge, origin, ratio, tags, user); value?.dealy gives null instead`},
		{`value.user.nam`, flight, `value.user has no field "nam", did you mean "name"? (it has age, name)`},
		{`value.user.age.years`, flight, `value.user.age is null, it has no field "years"`},
		{`value.delay.x`, flight, `value.delay is the number 66, it has no field "x"`},
		{`value.x`, `not json`, `value is no JSON: unknown word at byte 0, near "not json"`},
		{`value.x`, `{"x": 1`, `a comma or } is missing at byte 7`},
		{`value.x`, `{}`, `(it is empty)`},
		{`headers.foo`, flight, `headers has no field "foo"`},
		{`parse_time(value.origin)`, flight, `"DTW" is no time by RFC 3339`},
		{`parse_time(value.date, "%Y-%m")`, flight, `"2001/01/01 00:47" does not match the time layout "%Y-%m"`},
		{`value.origin + 1`, flight, `invalid operation: string + int`},
		{`value.tags[5]`, flight, `index out of range: 5`},
		{`repeat("x", 100000000)`, flight, `builds more than`},
		{`len(map(1..1000, map(1..1000, #)))`, flight, `run more than 100000 times`},
		{`reduce(1..60, #acc + #acc, "xxxxxxxx")`, flight, `builds more than`},
		{`reduce(1..60, concat(#acc, #acc), [1])`, flight, `concat builds more than`},
		{`randint(5, 1)`, flight, `must not be below`},
	} {
		t.Run(c.source, func(t *testing.T) {
			e, err := Compile(c.source, 0)
			if err != nil {
				t.Fatal(err)
			}
			v, err := e.Eval(message(c.value))
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, %v\nwant %s", v, err, c.want)
			}
		})
	}
}

func TestCompileErrors(t *testing.T) {
	for _, c := range []struct {
		source string
		scope  Scope
		offset int
		want   string
		hint   string
	}{
		{`status == paid`, 0, 0, `unknown name status`, `value.status`},
		{`value.status == paid`, 0, 16, `unknown name paid`, `("paid")`},
		{`valeu.x`, 0, 0, `unknown name valeu, did you mean "value"?`, ``},
		{`value.x = 1`, 0, 8, `unexpected token Operator("=")`, `==`},
		{`value.x +`, 0, 8, `ends too early`, ``},
		{`prase_time("x")`, 0, 0, `unknown name prase_time, did you mean "parse_time"?`, ``},
		{`parse_time()`, 0, 0, `not enough arguments to call parse_time`, ``},
		{`window.start`, 0, 0, `unknown name window`, `after a window step`},
		{`window.strt`, WithWindow, 7, `unknown field strt`, ``},
		{`table.x`, 0, 0, `unknown name table`, `join`},
		{`__runtime`, 0, 0, `unknown name __runtime`, ``},
		{`__field(value, "x", "y")`, 0, 0, `unknown name __field`, ``},
		{`$env`, 0, 0, `unknown name $env`, ``},
		{``, 0, 0, `the expression is empty`, ``},
		{`1 + "a"`, 0, 2, `invalid operation`, ``},
		{strings.Repeat("1+", 2000) + "1", 0, 0, `node`, ``},
		{strings.Repeat("(", 9000) + strings.Repeat(")", 9000), 0, 0, `limit`, ``},
	} {
		t.Run(fmt.Sprintf("%.30s", c.source), func(t *testing.T) {
			_, err := Compile(c.source, c.scope)
			wrong, ok := err.(*CompileError)
			if !ok {
				t.Fatalf("got %v", err)
			}
			if !strings.Contains(wrong.Message, c.want) || !strings.Contains(wrong.Hint, c.hint) {
				t.Errorf("got %q (hint %q), want %q", wrong.Message, wrong.Hint, c.want)
			}
			if wrong.Offset != c.offset && len(c.source) < 100 {
				t.Errorf("offset %d, want %d", wrong.Offset, c.offset)
			}
		})
	}
}

func TestErrorsArePlacedInTheFile(t *testing.T) {
	type options struct {
		Where Expression `yaml:"where"`
		Path  Template   `yaml:"path"`
		Total Aggregate  `yaml:"total"`
	}
	for text, want := range map[string]string{
		"where: value.status == paid\n":                 "f.yaml:1:24: where: unknown name paid",
		"where: \"value.status == paid\"\n":             "f.yaml:1:25: where: unknown name paid",
		"path: lake/${{ topc }}/x\n":                    "f.yaml:1:16: path: unknown name topc, did you mean \"topic\"?",
		"path: lake/%Q\n":                               "f.yaml:1:12: path: unknown letter after %",
		"path: lake/${{ topic\n":                        "f.yaml:1:12: path: ${{ has no end",
		"total: sum(value.a) + value.b\n":               "f.yaml:1:23: total: unknown name value",
		"total: value.a\n":                              "f.yaml:1:8: total: an aggregate needs one of count(), sum(x), min(x), max(x) or mean(x)",
		"total: sum()\n":                                "f.yaml:1:8: total: sum takes one expression over a record, as in sum(value.amount)",
		"total: sum(max(value.a))\n":                    "f.yaml:1:8: total: max inside of sum: aggregates do not nest",
		"total: mean(valeu.a)\n":                        "f.yaml:1:13: total: unknown name valeu, did you mean \"value\"?",
		"where: |\n  value.a == 1 and\n  value.b = 2\n": "f.yaml:3:11: where: unexpected token Operator(\"=\")",
	} {
		var o options
		errs := config.Load("f.yaml", []byte(text), &o, config.Options{})
		if len(errs) != 1 || errs[0].Error() != want {
			t.Errorf("%s\n got %v\nwant %s", text, errs, want)
		}
	}
}

func TestTemplates(t *testing.T) {
	for source, want := range map[string]string{
		"lake/${{ topic }}/dt=%Y-%m-%d/hour=%H": "lake/flights/dt=2001-01-01/hour=00",
		"plain":                                 "plain",
		"100%%":                                 "100%",
		"${{ value.delay }}":                    "66",
		"u-${{ randint(7, 7) }}":                "u-7",
		`${{ {"a": "}}"}["a"] }}-x`:             "}}-x",
		`${{ {"a": 1}}}`:                        `{"a":1}`,
		"":                                      "",
	} {
		tpl, err := ParseTemplate(source, 0)
		if err != nil {
			t.Errorf("%s: %v", source, err)
			continue
		}
		if got, err := tpl.Text(message(flight), moment); err != nil || got != want {
			t.Errorf("%s: got %q, %v, want %q", source, got, err, want)
		}
	}
	tpl, err := ParseTemplate("x/${{ value.user.age }}", 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tpl.Text(message(flight), moment); err == nil || !strings.Contains(err.Error(), "is null") {
		t.Errorf("a hole in a template: %v", err)
	}
}

func TestTemplateKeepsTypes(t *testing.T) {
	var o struct {
		Value map[string]Template `yaml:"value"`
	}
	text := "value: { a: 5, b: true, c: '5', d: '${{ value.delay }}', e: 'x${{ value.delay }}', f: 2.5 }\n"
	if errs := config.Load("f.yaml", []byte(text), &o, config.Options{}); len(errs) > 0 {
		t.Fatal(errs)
	}
	for name, want := range map[string]any{"a": int64(5), "b": true, "c": "5", "d": int64(66), "e": "x66", "f": 2.5} {
		if got, err := o.Value[name].Eval(message(flight)); err != nil || got != want {
			t.Errorf("%s: got %#v, %v, want %#v", name, got, err, want)
		}
	}
}

func TestChanceFollowsTheSeed(t *testing.T) {
	e, err := Compile(`uuid() + string(rand()) + string(randint(1, 1000000)) + oneof("a", "b", "c")`, 0)
	if err != nil {
		t.Fatal(err)
	}
	run := func(seed uint64) any {
		m := NewMessage(NewRuntime(seed))
		m.Reset(connect.Record{})
		v, err := e.Eval(m)
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	if run(7) != run(7) || run(7) == run(8) {
		t.Errorf("%v %v %v", run(7), run(7), run(8))
	}
}

func TestUntouchedValueKeepsItsBytes(t *testing.T) {
	text := `{ "b": 1.50,  "a": [1e2] }`
	m := message(text)
	if _, err := m.Value(); err != nil {
		t.Fatal(err)
	}
	if got, err := m.Encode(); err != nil || string(got) != text {
		t.Errorf("%s, %v", got, err)
	}
	order, err := m.Fields()
	if err != nil || fmt.Sprint(order) != "[b a]" {
		t.Errorf("%v, %v", order, err)
	}
	m.SetObject(map[string]any{"z": int64(1), "a": 2.0}, []string{"z", "a"})
	if got, err := m.Encode(); err != nil || string(got) != `{"z":1,"a":2.0}` {
		t.Errorf("%s, %v", got, err)
	}
	m.SetValue(nil)
	if got, err := m.Encode(); err != nil || got != nil {
		t.Errorf("a tombstone became %s, %v", got, err)
	}
}

func TestAggregates(t *testing.T) {
	values := []string{`{"d":66,"f":0.1}`, `{"d":-5,"f":0.2}`, `{"d":null,"f":0.3}`, `{"d":-81,"f":1}`}
	for source, want := range map[string]string{
		"count()":                              "4",
		"count(value.d)":                       "3",
		"count(value.d != nil && value.d > 0)": "1",
		"sum(value.d)":                         "-20",
		"mean(value.d)":                        fmt.Sprint(-20.0 / 3),
		"min(value.d)":                         "-81",
		"max(value.d)":                         "66",
		"sum(value.f)":                         "1.6",
		"max(value.f)":                         "1",
		"sum(value.f) / count()":               "0.4",
		"round(mean(value.f) * 10)":            "4.0",
		"key + \":\" + string(count())":        "\"DTW:4\"",
		"sum(value.d ?? 0)":                    "-20",
		"format_time(window.start, '%F')":      "",
	} {
		a, err := CompileAggregate(source)
		if want == "" {
			if err == nil {
				t.Errorf("%s was accepted", source)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", source, err)
			continue
		}
		var state State
		for _, v := range values {
			if state, err = a.Add(state, message(v)); err != nil {
				t.Fatalf("%s: %v", source, err)
			}
			encoded, err := AppendState(nil, state)
			if err != nil {
				t.Fatal(err)
			}
			decoded, err := DecodeState(encoded)
			if err != nil || !reflect.DeepEqual(decoded, state) {
				t.Fatalf("%s: %s decodes to %+v, %v", source, encoded, decoded, err)
			}
		}
		v, err := a.Result(state, message("{}"))
		if err != nil {
			t.Errorf("%s: %v", source, err)
			continue
		}
		if got, err := Append(nil, v); err != nil || string(got) != want {
			t.Errorf("%s: got %s, %v, want %s", source, got, err, want)
		}
	}
}

func TestSumOfLargeWholeNumbersIsExact(t *testing.T) {
	var a accumulator
	for _, n := range []int64{math.MaxInt64, math.MaxInt64, -math.MaxInt64, -math.MaxInt64, math.MinInt64, 7, math.MaxInt64} {
		if err := a.add("sum", n, true); err != nil {
			t.Fatal(err)
		}
	}
	if got := a.result("sum"); got != int64(6) {
		t.Errorf("got %v", got)
	}
	if err := a.add("sum", "x", true); err == nil {
		t.Error("text was added to a sum")
	}
}

func TestTimeLayoutsRoundTrip(t *testing.T) {
	at := time.Date(2024, 2, 29, 23, 5, 9, 123456000, time.UTC)
	for _, layout := range []string{"%Y-%m-%d %H:%M:%S.%f", "%FT%T.%L%z", "%s", "%y%m%d", "%j %Y", "%d %b %Y", "%A, %d %B %Y", "%I:%M %p %F", "%e/%m/%Y", "%%%F"} {
		text, err := FormatTime(at, layout)
		if err != nil {
			t.Fatal(err)
		}
		back, err := ParseTime(text, layout)
		if err != nil {
			t.Errorf("%s: %q: %v", layout, text, err)
			continue
		}
		again, err := FormatTime(back, layout)
		if err != nil || again != text {
			t.Errorf("%s: %q became %q, %v", layout, text, again, err)
		}
	}
	for text, layout := range map[string]string{"2001/02/30": "%Y/%m/%d", "x": "%Y", "2001": "%Q", "20011": "%Y", "2001-13": "%Y-%m", "": "%d", "5%": "%"} {
		if got, err := ParseTime(text, layout); err == nil {
			t.Errorf("%q by %q was read as %v", text, layout, got)
		}
	}
	got, err := ParseTime("2001-01-01 02:00 +02:00", "%Y-%m-%d %H:%M %z")
	if err != nil || !got.Equal(time.Date(2001, 1, 1, 0, 0, 0, 0, time.UTC)) {
		t.Errorf("%v, %v", got, err)
	}
}

func FuzzDecodeAgreesWithEncodingJSON(f *testing.F) {
	for _, s := range []string{flight, `[1,-0,1e5,0.1,"\u00e4\n",true,null,{}]`, `{"a":1,"a":2}`, `"\ud800"`, "01", "[1,]", `{"a" : [ ] }`, "\"\xff\""} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		got, order, err := Decode(text)
		if valid := json.Valid(text); valid != (err == nil) && (err == nil || !strings.Contains(err.Error(), "deeper")) {
			t.Fatalf("%q: ours %v, encoding/json says %v", text, err, valid)
		}
		if err != nil {
			return
		}
		encoded, err := Append(nil, got)
		if err != nil {
			t.Fatal(err)
		}
		again, _, err := Decode(encoded)
		if err != nil || !reflect.DeepEqual(again, got) {
			t.Fatalf("%q became %q: %v", text, encoded, err)
		}
		if m, ok := got.(map[string]any); ok && len(order) != len(m) {
			t.Fatalf("%q: order %v", text, order)
		}
	})
}

func FuzzCompile(f *testing.F) {
	for _, s := range []string{"value.a + 1", "sum(value.a) / count()", `value?.x ?? "y"`, "map(value.list, .a)", "let x = 1; x", "${{ a }}"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, source string) {
		m := message(flight)
		if e, err := Compile(source, 0); err == nil {
			if _, err := e.Eval(m); err == nil {
				return
			}
		}
		if a, err := CompileAggregate(source); err == nil {
			if state, err := a.Add(nil, m); err == nil {
				if _, err := a.Result(state, m); err == nil {
					return
				}
			}
		}
		if tpl, err := ParseTemplate(source, 0); err == nil {
			if _, err := tpl.Text(m, moment); err != nil {
				return
			}
		}
	})
}

func BenchmarkFilterAndMap(b *testing.B) {
	where, err := Compile(`value.delay > 60 and value.origin == "DTW"`, 0)
	if err != nil {
		b.Fatal(err)
	}
	field, err := Compile(`value.delay * 2`, 0)
	if err != nil {
		b.Fatal(err)
	}
	m := message(flight)
	record := m.Record
	for b.Loop() {
		m.Reset(record)
		if ok, err := where.Bool(m); err != nil || !ok {
			b.Fatal(ok, err)
		}
		if _, err := field.Eval(m); err != nil {
			b.Fatal(err)
		}
	}
}
