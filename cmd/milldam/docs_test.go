package main

import (
	"fmt"
	"go/format"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/milldam/milldam/core/config"
	"github.com/milldam/milldam/pipelines"
	"github.com/milldam/milldam/runtime/node"
)

const root = "../.."

// block is a fenced piece of a page.
type block struct{ page, language, text string }

var fenced = regexp.MustCompile("(?ms)^```(\\w+)\n(.*?)^```$")

// blocks finds the fenced pieces of README.md and of every page that is not a design.
func blocks(t *testing.T) []block {
	t.Helper()
	pages := []string{"README.md"}
	err := fs.WalkDir(os.DirFS(root), "docs", func(name string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() && (name == "docs/design" || name == "docs/adr") {
			return fs.SkipDir
		}
		if err == nil && filepath.Ext(name) == ".md" {
			pages = append(pages, name)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	var all []block
	for _, page := range pages {
		text, err := os.ReadFile(filepath.Join(root, page))
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range fenced.FindAllStringSubmatch(string(text), -1) {
			all = append(all, block{page, m[1], m[2]})
		}
	}
	return all
}

// TestPipelinesOfThePages lints every pipeline that a page shows, and runs its tests.
func TestPipelinesOfThePages(t *testing.T) {
	r, err := registry()
	if err != nil {
		t.Fatal(err)
	}
	shown := 0
	for _, b := range blocks(t) {
		if b.language != "yaml" {
			continue
		}
		shown++
		specs, errs := pipelines.Load([]pipelines.File{{Name: b.page, Text: []byte(b.text)}}, r, config.Options{References: config.SystemReferences(".", "")})
		if len(errs) > 0 {
			t.Error(errs.Render())
		}
		for _, s := range specs {
			for _, result := range pipelines.RunTests(s) {
				if !result.Passed {
					t.Errorf("%s: %s", b.page, testLine(result))
				}
			}
		}
	}
	if shown == 0 {
		t.Error("no page shows a pipeline")
	}
}

// TestProgramsOfThePages vets every Go program that a page shows, and runs the tests that a page shows with it.
func TestProgramsOfThePages(t *testing.T) {
	programs := map[string][]string{} // files of each page, the tests last
	dir := t.TempDir()
	for _, b := range blocks(t) {
		if b.language != "go" || !strings.HasPrefix(b.text, "package main") {
			continue
		}
		name := fmt.Sprintf("%s-%d.go", strings.ReplaceAll(b.page, "/", "-"), len(programs[b.page]))
		if strings.Contains(b.text, "testing.T") {
			name = strings.TrimSuffix(name, ".go") + "_test.go"
		}
		file := filepath.Join(dir, name)
		if err := os.WriteFile(file, []byte(b.text), 0o644); err != nil {
			t.Fatal(err)
		}
		programs[b.page] = append(programs[b.page], file)
		if formatted, err := format.Source([]byte(b.text)); err != nil || string(formatted) != b.text {
			t.Errorf("%s: a program is not formatted: %v", b.page, err)
		}
	}
	for page, files := range programs {
		verb := "vet"
		if len(files) > 1 {
			verb = "test"
		}
		check := exec.Command("go", append([]string{verb}, files...)...)
		check.Dir = root
		if out, err := check.CombinedOutput(); err != nil {
			t.Errorf("%s: %v\n%s", page, err, out)
		}
	}
	if len(programs) == 0 {
		t.Error("no page shows a program")
	}
}

// TestConfigurationOfTheImage reads the file that the Dockerfile puts into the image.
func TestConfigurationOfTheImage(t *testing.T) {
	const name = ".ci/milldam.docker.yaml"
	text, err := os.ReadFile(filepath.Join(root, name))
	if err != nil {
		t.Fatal(err)
	}
	o, _, errs := node.ParseFile(name, text, config.Options{References: config.SystemReferences(".", "")})
	if len(errs) > 0 {
		t.Fatal(errs.Render())
	}
	if o.Dir != "/data" || !o.Insecure || o.Kafka != "0.0.0.0:9092" || o.Advertised != "127.0.0.1:9092" {
		t.Errorf("%+v", o)
	}
}

var link = regexp.MustCompile(`\]\(([^)#:]+)(#[^)]*)?\)`)

// TestLinksOfThePages finds links to files that are not there.
func TestLinksOfThePages(t *testing.T) {
	pages, err := filepath.Glob(filepath.Join(root, "docs", "*", "*.md"))
	if err != nil {
		t.Fatal(err)
	}
	for _, page := range append(pages, filepath.Join(root, "README.md")) {
		text, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range link.FindAllStringSubmatch(string(text), -1) {
			if _, err := os.Stat(filepath.Join(filepath.Dir(page), m[1])); err != nil {
				t.Errorf("%s: %v", page, err)
			}
		}
	}
}
