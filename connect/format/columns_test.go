package format

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/apache/arrow/go/v17/parquet"
	"github.com/apache/arrow/go/v17/parquet/file"
)

// readBack returns the rows of a Parquet file, each as name=value pairs in the order of the columns; null values are left out.
func readBack(t testing.TB, data []byte) []string {
	t.Helper()
	r, err := file.NewParquetReader(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	rows := make([]strings.Builder, r.NumRows())
	for g := range r.NumRowGroups() {
		group := r.RowGroup(g)
		for i := range group.NumColumns() {
			reader, err := group.Column(i)
			if err != nil {
				t.Fatal(err)
			}
			name := reader.Descriptor().Name()
			for row, v := range columnValues(t, reader, int(r.NumRows())) {
				if v != nil {
					fmt.Fprintf(&rows[row], "%s=%v ", name, v)
				}
			}
		}
	}
	out := make([]string, len(rows))
	for i := range rows {
		out[i] = strings.TrimSpace(rows[i].String())
	}
	return out
}

func columnValues(t testing.TB, r file.ColumnChunkReader, rows int) []any {
	t.Helper()
	levels := make([]int16, rows)
	var dense []any
	switch r := r.(type) {
	case *file.BooleanColumnChunkReader:
		dense = batch(t, rows, func(v []bool) (int64, int, error) { return r.ReadBatch(int64(rows), v, levels, nil) })
	case *file.Int64ColumnChunkReader:
		dense = batch(t, rows, func(v []int64) (int64, int, error) { return r.ReadBatch(int64(rows), v, levels, nil) })
	case *file.Float64ColumnChunkReader:
		dense = batch(t, rows, func(v []float64) (int64, int, error) { return r.ReadBatch(int64(rows), v, levels, nil) })
	case *file.ByteArrayColumnChunkReader:
		for _, v := range batch(t, rows, func(v []parquet.ByteArray) (int64, int, error) { return r.ReadBatch(int64(rows), v, levels, nil) }) {
			dense = append(dense, string(v.(parquet.ByteArray)))
		}
	}
	out := make([]any, rows)
	for i, present := range levels {
		if present == 1 {
			out[i], dense = dense[0], dense[1:]
		}
	}
	return out
}

func batch[T any](t testing.TB, rows int, read func([]T) (int64, int, error)) []any {
	t.Helper()
	values := make([]T, rows)
	total, n, err := read(values)
	if err != nil || int(total) != rows {
		t.Fatalf("read %d of %d rows: %v", total, rows, err)
	}
	out := make([]any, n)
	for i, v := range values[:n] {
		out[i] = v
	}
	return out
}

func TestColumnsBecomeWhatTheirValuesNeed(t *testing.T) {
	for name, c := range map[string]struct {
		in, want []string
	}{
		"a row":                  {[]string{`{"a":1,"b":"x","c":1.5,"d":true}`}, []string{"a=1 b=x c=1.5 d=true"}},
		"spaces":                 {[]string{" { \"a\" : 1 ,\t\"b\" : \"x\" } \n"}, []string{"a=1 b=x"}},
		"missing, null, late":    {[]string{`{"a":1}`, `{"b":"x"}`, `{"a":null,"b":null}`, `{"a":2}`}, []string{"a=1", "b=x", "", "a=2"}},
		"integers to doubles":    {[]string{`{"a":1}`, `{"a":2.5}`, `{"a":3}`}, []string{"a=1", "a=2.5", "a=3"}},
		"beyond 64 bits":         {[]string{`{"a":1}`, `{"a":18446744073709551616}`}, []string{"a=1", "a=1.8446744073709552e+19"}},
		"numbers to text":        {[]string{`{"a":1}`, `{"a":"x"}`, `{"a":2.50}`, `{"a":true}`}, []string{"a=1", "a=x", "a=2.50", "a=true"}},
		"booleans to text":       {[]string{`{"a":true}`, `{"a":7}`, `{"a":false}`}, []string{"a=true", "a=7", "a=false"}},
		"doubles to text":        {[]string{`{"a":1.5}`, `{"a":"x"}`}, []string{"a=1.5", "a=x"}},
		"nested values are JSON": {[]string{`{"a":{"b":[1, "}"]},"c":[]}`}, []string{`a={"b":[1, "}"]} c=[]`}},
		"fields in any order":    {[]string{`{"a":1,"b":2}`, `{"b":3,"a":4}`, `{"c":5,"a":6,"b":7}`}, []string{"a=1 b=2", "a=4 b=3", "a=6 b=7 c=5"}},
		"escapes":                {[]string{`{"a\n":"\u00e9\"\\"}`}, []string{"a\n=é\"\\"}},
		"nothing but nulls":      {[]string{`{"a":null}`}, []string{""}},
		"an empty string":        {[]string{`{"a":""}`}, []string{"a="}},
		"negative, exponent":     {[]string{`{"a":-0,"b":-1e-2,"c":9223372036854775807}`}, []string{"a=0 b=-0.01 c=9223372036854775807"}},
	} {
		for _, compression := range []string{"none", "snappy", "zstd"} {
			t.Run(name+", "+compression, func(t *testing.T) {
				columns := NewColumns(compression)
				for _, in := range c.in {
					if err := columns.Append([]byte(in)); err != nil {
						t.Fatal(err)
					}
				}
				data, err := columns.Encode()
				if err != nil {
					t.Fatal(err)
				}
				if got := readBack(t, data); !slices.Equal(got, c.want) {
					t.Errorf("got %q, want %q", got, c.want)
				}
			})
		}
	}
}

func TestWhatIsNoRowLeavesNothing(t *testing.T) {
	columns := NewColumns("none")
	if err := columns.Append([]byte(`{"a":1}`)); err != nil {
		t.Fatal(err)
	}
	for _, in := range []string{``, `x`, `[1]`, `"x"`, `{}`, `{"a":2`, `{"a":2}}`, `{"a":2,}`, `{"a" 2}`, `{a:2}`, `{"a":02}`, `{"a":+2}`, `{"a":2.}`, `{"a":.5}`, `{"a":2e}`,
		`{"a":1e999}`, `{"a":nul}`, `{"b":1,"a":tru}`, `{"b":1,"b":2}`, `{"a":2,"a":3}`, `{"b":1,"a":2,"a":3}`, `{"b":1,"a":[1,}`, `{"b":1,"a":"` + "\x01" + `"}`, `{"b":1,"a":"\x"}`, "{\"b\":\"\xff\"}", `{"a":"`} {
		if err := columns.Append([]byte(in)); err == nil {
			t.Errorf("%q was taken", in)
		}
	}
	if err := columns.Append(nil); !errors.Is(err, ErrTombstone) {
		t.Errorf("a tombstone: %v", err)
	}
	if columns.Rows() != 1 {
		t.Errorf("%d rows, want 1", columns.Rows())
	}
	data, err := columns.Encode()
	if err != nil {
		t.Fatal(err)
	}
	if got := readBack(t, data); !slices.Equal(got, []string{"a=1"}) {
		t.Errorf("got %q", got)
	}
}

func TestColumnsAreBounded(t *testing.T) {
	columns := NewColumns("none")
	for i := range maxColumns {
		if err := columns.Append(fmt.Appendf(nil, `{"c%d":1}`, i)); err != nil {
			t.Fatal(err)
		}
	}
	if err := columns.Append([]byte(`{"one more":1}`)); err == nil {
		t.Errorf("more than %d columns were taken", maxColumns)
	}
	if columns.Rows() != maxColumns || columns.Bytes() < columnOverhead*maxColumns {
		t.Errorf("%d rows in %d bytes", columns.Rows(), columns.Bytes())
	}
	var wide bytes.Buffer // comparing each of its names with each other one takes a minute
	for i := range 200_000 {
		fmt.Fprintf(&wide, `,"c%d":1`, i)
	}
	wide.WriteByte('}')
	wide.Bytes()[0] = '{'
	if err := NewColumns("none").Append(wide.Bytes()); err == nil {
		t.Errorf("more than %d columns at once were taken", maxColumns)
	}
}

func TestManyRowsOfRealFlights(t *testing.T) {
	raw, err := os.ReadFile("../../examples/flights/data/flights-20k.ndjson")
	if err != nil {
		t.Fatal(err)
	}
	lines := bytes.Split(bytes.TrimSpace(raw), []byte("\n"))
	columns := NewColumns("zstd")
	for _, line := range lines {
		if err := columns.Append(line); err != nil {
			t.Fatal(err)
		}
	}
	data, err := columns.Encode()
	if err != nil {
		t.Fatal(err)
	}
	got := readBack(t, data)
	if len(got) != len(lines) || got[0] != "date=2001/01/01 00:47 delay=66 distance=1750 origin=DTW destination=LAS" {
		t.Errorf("%d rows, the first %q", len(got), got[0])
	}
	if len(data) > len(raw)/5 {
		t.Errorf("%d bytes of Parquet for %d of JSON", len(data), len(raw))
	}
}

// FuzzColumnsAppend checks that no bytes panic, and that what was taken can be written and read.
func FuzzColumnsAppend(f *testing.F) {
	for _, seed := range []string{`{"a":1}`, `{"a":"\u00e9","b":[1,{"c":null}]}`, `{"a":1e5,"a":2}`, `{`, `{"a":-}`, `{"":0}`} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, value []byte) {
		columns := NewColumns("none")
		if columns.Append(value) != nil {
			return
		}
		data, err := columns.Encode()
		if err != nil {
			t.Fatalf("%q was taken and cannot be written: %v", value, err)
		}
		if rows := readBack(t, data); len(rows) != 1 {
			t.Fatalf("%d rows", len(rows))
		}
	})
}

func BenchmarkColumns(b *testing.B) {
	row := []byte(`{"date":"2001/01/01 00:47","delay":66,"distance":1750,"origin":"DTW","destination":"LAS","cancelled":false}`)
	const rows = 10_000
	for b.Loop() {
		columns := NewColumns("snappy")
		for i := range rows {
			row[24] = byte('0' + i%10)
			if err := columns.Append(row); err != nil {
				b.Fatal(err)
			}
		}
		if _, err := columns.Encode(); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(rows*b.N)/b.Elapsed().Seconds(), "rows/s")
	b.ReportAllocs()
}
