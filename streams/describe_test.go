package streams_test

import (
	"encoding/json"
	"flag"
	"os"
	"testing"
)

var rewrite = flag.Bool("rewrite", false, "write the files in testdata anew")

// TestDescribe compares with testdata; -rewrite makes the files anew, then read the difference.
func TestDescribe(t *testing.T) {
	d := declared().Describe()
	b, err := json.MarshalIndent(d, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	for file, got := range map[string]string{"describe.txt": d.String(), "describe.json": string(b) + "\n", "describe.mermaid": d.Mermaid()} {
		path := "testdata/" + file
		if *rewrite {
			if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if got != string(want) {
			t.Errorf("%s: got\n%s", path, got)
		}
	}
}
