package config

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

var rewrite = flag.Bool("rewrite", false, "rewrite the golden files in testdata")

// golden compares got with a file in testdata, or writes it with -rewrite.
func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *rewrite {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s differs; run with -rewrite and read the diff\n--- got\n%s\n--- want\n%s", path, got, want)
	}
}

// word is a type that decodes itself and complains inside its text.
type word string

func (w *word) DecodeConfig(n Node) error {
	text, err := n.Text()
	if err != nil {
		return err
	}
	if i := strings.Index(text, "bad"); i >= 0 {
		return n.At(utf8.RuneCountInString(text[:i]), 3, "bad word")
	}
	if strings.HasSuffix(text, "+") {
		return n.At(len(text)-1, 1, "nothing follows the operator")
	}
	*w = word(text)
	return nil
}

type rotate struct {
	Size    Size     `yaml:"size" default:"1MiB" doc:"Close an object of this size."`
	Age     Duration `yaml:"age" default:"5m"`
	Records int64    `yaml:"records" default:"1_000"`
}

// Validate checks the fields against each other.
func (r rotate) Validate() error {
	if r.Size < 1024 {
		return Fieldf("size", "must be at least 1KiB")
	}
	return nil
}

type shop struct {
	Name        string            `yaml:"name" required:"true" doc:"What it is called."`
	Bucket      string            `yaml:"bucket"`
	URL         string            `yaml:"url"`
	Key         Secret            `yaml:"key"`
	Rotate      rotate            `yaml:"rotate"`
	Count       int               `yaml:"count" default:"3"`
	Compression string            `yaml:"compression" default:"none" enum:"none,gzip,zstd"`
	Tags        []string          `yaml:"tags" default:"[x, y]"`
	Limit       int32             `yaml:"limit"`
	On          bool              `yaml:"on" default:"true"`
	Expr        word              `yaml:"expr"`
	Block       word              `yaml:"block"`
	Rate        Rate              `yaml:"rate" default:"10/s"`
	Pairs       map[string]string `yaml:"pairs"`
	Missing     *rotate           `yaml:"missing"`
	Wait        time.Duration     `yaml:"-"`
	Pause       Duration          `yaml:"wait"`
	Cert        string            `yaml:"cert"`
	Weird       string            `yaml:"weird"`
	Free        any               `yaml:"free"`
}

func testReferences() References {
	return References{
		Env: func(name string) (string, bool) {
			v, ok := map[string]string{"BUCKET": "lake", "SIZE": "2MiB", "TRICK": "a: b\nc: d"}[name]
			return v, ok
		},
		File: func(path string) ([]byte, error) {
			if path == "hello.txt" {
				return []byte("hello\n"), nil
			}
			return nil, fmt.Errorf("open %s: no such file", path)
		},
		Secret: func(key string) (string, error) {
			if key == "es/key" {
				return "s3cr3t", nil
			}
			return "", fmt.Errorf("secret %q is not set", key)
		},
	}
}

func load(t *testing.T, text string, into any) Errors {
	t.Helper()
	return Load("shop.yaml", []byte(text), into, Options{References: testReferences()})
}

func TestAllErrorsAreReportedWithTheirPlace(t *testing.T) {
	text, err := os.ReadFile("testdata/shop.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var s shop
	golden(t, "shop.errors", load(t, string(text), &s).Render())
}

func TestDefaultsAndValues(t *testing.T) {
	var s shop
	errs := load(t, `
name: ${file:hello.txt}
key: ${secret:es/key}
url: http://${BUCKET}/${env:NONE:-x}/$${env:X}/${{ topic }}
rotate: { size: "${env:SIZE}" }
pairs: { retention.ms: -1, trick: "${env:TRICK}" }
free: { a: [1, 2.5, true, null, "3", 2001-01-01], b: {} }
`, &s)
	if len(errs) > 0 {
		t.Fatal(errs)
	}
	if s.Name != "hello" || string(s.Key) != "s3cr3t" || s.URL != "http://lake/x/${env:X}/${{ topic }}" {
		t.Errorf("references: %q %q %q", s.Name, string(s.Key), s.URL)
	}
	if s.Rotate != (rotate{2 << 20, Duration(5 * time.Minute), 1000}) || s.Count != 3 || !s.On || s.Rate != 10 || s.Missing != nil {
		t.Errorf("defaults: %+v", s)
	}
	if fmt.Sprint(s.Tags) != "[x y]" || s.Pairs["retention.ms"] != "-1" || s.Pairs["trick"] != "a: b\nc: d" {
		t.Errorf("collections: %v %v", s.Tags, s.Pairs)
	}
	if got := fmt.Sprintf("%#v", s.Free); got != `map[string]interface {}{"a":[]interface {}{1, 2.5, true, interface {}(nil), "3", "2001-01-01"}, "b":map[string]interface {}{}}` {
		t.Errorf("free value: %s", got)
	}
}

func TestOrigins(t *testing.T) {
	origins := map[string]Origin{}
	var s shop
	errs := Load("a.yaml", []byte("name: x\nbucket: ${env:BUCKET}\n"), &s, Options{References: testReferences(), Origins: origins})
	if len(errs) > 0 {
		t.Fatal(errs)
	}
	if o := origins["bucket"]; o.From != "env:BUCKET" || o.Line != 2 || o.Column != 9 {
		t.Errorf("bucket: %+v", o)
	}
	if o := origins["name"]; o.From != "file" {
		t.Errorf("name: %+v", o)
	}
	if o := origins["rotate.size"]; o.From != "default" {
		t.Errorf("rotate.size: %+v", o)
	}
}

func TestErrorPlaces(t *testing.T) {
	for _, c := range []struct{ name, text, want string }{
		{"missing required", "bucket: x\n", "shop.yaml:1:1: name: is missing"},
		{"section empty by wrong indent", "name: x\nrotate:\nsize: 3MiB\n", "shop.yaml:2:1: rotate: is empty, expected a section\nshop.yaml:3:1: size: unknown field"},
		{"validate", "name: x\nrotate:\n  size: 10\n", "shop.yaml:3:9: rotate.size: must be at least 1KiB"},
		{"validate of absent field", "name: x\nmissing: { age: 1s, size: 5 }\n", "shop.yaml:2:27: missing.size: must be at least 1KiB"},
		{"inside quotes", "name: x\nexpr: \"one bad\"\n", "shop.yaml:2:12: expr: bad word"},
		{"inside escapes", "name: x\nexpr: \"\\u0061 bad\"\n", "shop.yaml:2:7: expr: bad word"},
		{"after wide characters", "name: x\nexpr: äö bad\n", "shop.yaml:2:10: expr: bad word"},
		{"literal block", "name: x\nblock: |\n  one\n  äa bad\n", "shop.yaml:4:6: block: bad word"},
		{"list for scalar", "name: [x]\n", "shop.yaml:1:7: name: expected text, found a list"},
		{"merge key", "a: &a {}\nname: x\n<<: *a\n", "shop.yaml:1:1: a: unknown field\nshop.yaml:3:1: <<: merge keys are not supported"},
		{"second document", "name: x\n---\nname: y\n", "shop.yaml:3:1: a second document starts here, this file holds one"},
		{"env not set", "name: ${env:NOPE}\n", "shop.yaml:1:7: name: ${env:NOPE}: the environment variable NOPE is not set"},
		{"reference without end", "name: a ${env:NOPE\n", "shop.yaml:1:9: name: ${env:NOPE: the reference has no end"},
		{"wrong value from a secret is not quoted", "name: x\nwait: ${secret:es/key}\n", "shop.yaml:2:7: wait: what ${secret:es/key} stands for is not a duration such as 10m"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var s shop
			got := load(t, c.text, &s).Error()
			if got != c.want {
				t.Errorf("\n got %s\nwant %s", got, c.want)
			}
		})
	}
}

func TestSyntaxErrorsHaveTheRightPlace(t *testing.T) {
	for _, c := range []struct{ name, text, place, hint string }{
		{"tab", "a:\n\tb: 1\n", "f.yaml:2:1", "spaces"},
		{"bare reference in flow", "a: { b: ${env:X} }\n", "f.yaml:1:", "quote it: \"${env:X}\""},
		{"percent", "a: 1\nb: %Y\n", "f.yaml:2:", "quoted"},
		{"question mark in flow", "a:\n  - b\n  - { c: x?.y }\n", "f.yaml:3:11", "quotes around"},
		{"unclosed quote", "a: 1\nb: \"x\nc: 2\n", "f.yaml:2:", ""},
		{"unclosed flow", "a: 1\nb: [1, 2\nc: 3\n", "f.yaml:", ""},
		{"wrong indent", "a:\n    b: 1\n  c: 2\n", "f.yaml:3:", "indent"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, errs := Parse("f.yaml", []byte(c.text))
			if len(errs) != 1 || !strings.HasPrefix(errs[0].Error(), c.place) || !strings.Contains(errs[0].Hint, c.hint) {
				t.Errorf("got %v (hint %q), want %s with hint %q", errs, errs[0].Hint, c.place, c.hint)
			}
		})
	}
}

func TestDocumentsBeforeASyntaxErrorAreKept(t *testing.T) {
	docs, errs := Parse("f.yaml", []byte("a: 1\n---\nb: 2\n---\nc: [\n"))
	if len(docs) != 2 || len(errs) != 1 {
		t.Errorf("%d documents, %v", len(docs), errs)
	}
}

func TestHostileDocumentsAreRefused(t *testing.T) {
	bomb := "a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n"
	for i := range 9 {
		a := fmt.Sprintf("*a%d", i)
		bomb += fmt.Sprintf("a%d: &a%d [%s]\n", i+1, i+1, strings.Join([]string{a, a, a, a, a, a, a, a, a, a}, ","))
	}
	for name, text := range map[string]string{
		"alias bomb":        bomb,
		"alias cycle":       "a: &a [*a]\n",
		"too deep to parse": strings.Repeat("- ", 100_000),
		"deep nesting":      "a: " + strings.Repeat("[", 500) + strings.Repeat("]", 500) + "\n",
	} {
		t.Run(name, func(t *testing.T) {
			var m map[string]any
			start := time.Now()
			docs, errs := Parse("f.yaml", []byte(text))
			if len(errs) == 0 {
				errs = docs[0].Decode(&m, Options{})
			}
			if len(errs) == 0 || time.Since(start) > 5*time.Second {
				t.Errorf("accepted, or slow: %v", errs)
			}
		})
	}
	if _, errs := Parse("f.yaml", make([]byte, MaxFileBytes+1)); len(errs) != 1 {
		t.Error("a huge file was accepted")
	}
}

func TestSecretsAreNeverPrinted(t *testing.T) {
	s := struct{ Key Secret }{"s3cr3t"}
	encoded, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	all := fmt.Sprintf("%v %+v %#v %s %q %x %d", s, s, s, s.Key, s.Key, s.Key, s.Key) + string(encoded)
	if strings.Contains(all, "s3cr3t") || strings.Contains(all, fmt.Sprintf("%x", "s3cr3t")) {
		t.Errorf("printed: %s", all)
	}
}

func TestUnits(t *testing.T) {
	for text, want := range map[string]Size{"0": 0, "100": 100, "5MB": 5e6, "256MiB": 256 << 20, "1.5GiB": 3 << 29, "7 KiB": 7168, "12B": 12} {
		if got, err := ParseSize(text); err != nil || got != want {
			t.Errorf("%s: %d, %v", text, got, err)
		}
	}
	for text, want := range map[string]time.Duration{"7d": 168 * time.Hour, "1w2d": 216 * time.Hour, "1d12h": 36 * time.Hour, "200ms": 200 * time.Millisecond, "0": 0, "0s": 0, "1h30m": 90 * time.Minute} {
		if got, err := ParseDuration(text); err != nil || got.Std() != want {
			t.Errorf("%s: %v, %v", text, got, err)
		}
	}
	for _, text := range []string{"", "x", "-1MiB", "1XB", "MiB", "NaN", "1e300GiB", "inf"} {
		if got, err := ParseSize(text); err == nil {
			t.Errorf("size %q was read as %v", text, got)
		}
	}
	for _, text := range []string{"", "x", "5", "d", "1e300d", "1dd"} {
		if got, err := ParseDuration(text); err == nil {
			t.Errorf("duration %q was read as %v", text, got)
		}
	}
	if r, err := ParseRate("30/m"); err != nil || r != 0.5 {
		t.Errorf("rate: %v %v", r, err)
	}
	for d, want := range map[time.Duration]string{24 * time.Hour: "1d", time.Hour: "1h", 90 * time.Minute: "1h30m", 5 * time.Second: "5s", 0: "0s"} {
		if got := Duration(d).String(); got != want {
			t.Errorf("%v prints as %s", d, got)
		}
	}
	if Size(256<<20).String() != "256MiB" || Size(1500).String() != "1500B" {
		t.Error("sizes print wrong")
	}
}

func TestFieldsListsEverything(t *testing.T) {
	fields := Fields(shop{})
	byName := map[string]Field{}
	for _, f := range fields {
		byName[f.Name] = f
	}
	if f := byName["name"]; !f.Required || f.Doc == "" || f.Type != "text" {
		t.Errorf("name: %+v", f)
	}
	if f := byName["rotate"]; len(f.Fields) != 3 || f.Fields[0].Default != "1MiB" {
		t.Errorf("rotate: %+v", f)
	}
	if f := byName["compression"]; len(f.Enum) != 3 {
		t.Errorf("compression: %+v", f)
	}
	if f := byName["tags"]; !f.List {
		t.Errorf("tags: %+v", f)
	}
}

func TestSystemReferences(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "a.txt"), []byte("text\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("MILLDAM_SECRET_ES_KEY", "from-env")
	r := SystemReferences(dir, dir)
	for text, want := range map[string]string{"${file:a.txt}": "text", "${secret:a.txt}": "text", "${secret:es/key}": "from-env"} {
		if got, _, err := r.resolve(text); err != nil || got != want {
			t.Errorf("%s: %q, %v", text, got, err)
		}
	}
	if _, _, err := r.resolve("${secret:../x}"); err == nil {
		t.Error("a secret outside of its folder was read")
	}
	if _, _, err := (References{}).resolve("${env:HOME}"); err == nil {
		t.Error("a reference of a refused kind was resolved")
	}
}

func TestErrIsNilWithoutErrors(t *testing.T) {
	if err := (Errors{}).Err(); err != nil {
		t.Error(err)
	}
	err := Errors{{Message: "x"}}.Err()
	var errs Errors
	if !errors.As(err, &errs) || len(errs) != 1 {
		t.Errorf("%v", err)
	}
}

func FuzzDecode(f *testing.F) {
	for _, name := range []string{"testdata/shop.yaml"} {
		text, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(text)
	}
	f.Add([]byte("a: &a [*a]\n"))
	f.Add([]byte("name: |\n  x\n ? y\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		var s shop
		Load("f.yaml", text, &s, Options{References: testReferences()}).Render()
		var free map[string]any
		Load("f.yaml", text, &free, Options{}).Render()
	})
}
