package file

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"unicode/utf8"
)

// FuzzRows reads bytes as CSV in small pieces. Where encoding/csv takes the whole, the rows are the same; nothing panics, and all that was
// not refused is read.
func FuzzRows(f *testing.F) {
	for _, text := range []string{"a,b\n1,2\n", "a\r\n\"x\r\ny\"\"z\"\r\n\n\r\n1", "a\n\"", "a,a\n", "\xef\xbb\xbfa,\"b\"\n1,\"\"\n", "a\n1\"\n2", "a\n\"1\" \n", ",\n", "a\r\r\n\r", "\n\na\n1\n"} {
		f.Add([]byte(text), uint8(7))
	}
	f.Fuzz(func(t *testing.T, text []byte, chunk uint8) {
		path := filepath.Join(t.TempDir(), "a.csv")
		if err := os.WriteFile(path, text, 0o644); err != nil {
			t.Fatal(err)
		}
		r, err := openReader(path, "auto", limits{chunkBytes: int(chunk) + 1, batchRecords: 3, lineBytes: 1 << 20})
		if err != nil {
			t.Fatal(err)
		}
		defer r.file.Close()
		var got [][]byte
		for {
			b, err := r.batch(true)
			if err != nil {
				got = nil
				break
			}
			if len(b.Records) == 0 {
				break
			}
			for _, record := range b.Records {
				got = append(got, record.Value)
			}
		}
		parser := csv.NewReader(bytes.NewReader(bytes.TrimPrefix(text, byteOrderMark)))
		want, err := parser.ReadAll()
		if err != nil || len(want) == 0 || slices.Contains(want[0], "") || len(slices.Compact(slices.Sorted(slices.Values(want[0])))) != len(want[0]) {
			return // refused by one rule or another
		}
		if len(got) != len(want)-1 {
			t.Fatalf("%d rows, want %d", len(got), len(want)-1)
		}
		for i, value := range got {
			var fields map[string]string
			if err := json.Unmarshal(value, &fields); err != nil {
				t.Fatalf("%s: %v", value, err)
			}
			for j, name := range want[0] {
				if utf8.Valid(text) && fields[name] != want[i+1][j] {
					t.Errorf("row %d: %s is %q, want %q", i+1, name, fields[name], want[i+1][j])
				}
			}
		}
	})
}
