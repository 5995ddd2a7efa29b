package pipelines

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"
)

func TestLintOfTheDesignSample(t *testing.T) {
	specs, errs := loadFile(t, "design.yaml")
	golden(t, "design.errors", errs.Render())
	var plans strings.Builder
	for _, s := range specs {
		plans.WriteString(s.Plan().String())
	}
	golden(t, "design.plans", plans.String())
}

func TestDeliveryIsHeldByEachHopOrRefused(t *testing.T) {
	specs, errs := loadFile(t, "delivery.yaml")
	golden(t, "delivery.errors", errs.Render())
	var plans strings.Builder
	for _, s := range specs {
		plans.WriteString(s.Plan().String())
	}
	golden(t, "delivery.plans", plans.String())
}

func TestLintOfMistakes(t *testing.T) {
	for _, name := range []string{"mistakes", "graph", "both"} {
		_, errs := loadFile(t, name+".yaml")
		golden(t, name+".errors", errs.Render())
	}
}

func TestPlans(t *testing.T) {
	specs, errs := loadFile(t, "plans.yaml")
	if len(errs) > 0 {
		t.Fatal(errs.Render())
	}
	var plans strings.Builder
	for _, s := range specs {
		plans.WriteString(s.Plan().String())
	}
	golden(t, "plans.txt", plans.String())
}

func TestGraphMistakesOfTheEngineAreFoundAtLoad(t *testing.T) {
	_, errs := Load([]File{{"p.yaml", []byte(`
pipeline: p
source: { topic: { names: [a] } }
steps: [{ join: { table: a, fields: { x: table.x } } }]
sink: { stdout: {} }
`)}}, lintRegistry(t), testOptions())
	if len(errs) != 1 || !strings.Contains(errs[0].Message, `topic "a" is read by`) {
		t.Errorf("got %v", errs)
	}
}

func TestReadFiles(t *testing.T) {
	fsys := fstest.MapFS{"b.yaml": {Data: []byte("b")}, "a/c.yml": {Data: []byte("c")}, ".git/x.yaml": {}, "README.md": {}, ".hidden.yaml": {}}
	files, err := ReadFiles(fsys, "dir")
	if err != nil || len(files) != 2 || files[0].Name != "dir/a/c.yml" || files[1].Name != "dir/b.yaml" || string(files[1].Text) != "b" {
		t.Errorf("%v, %v", files, err)
	}
}

func TestReference(t *testing.T) {
	golden(t, "reference.md", Reference(lintRegistry(t)))
}

func FuzzLoad(f *testing.F) {
	for _, name := range []string{"design.yaml", "mistakes.yaml", "graph.yaml", "plans.yaml"} {
		text, err := os.ReadFile(filepath.Join("testdata", name))
		if err != nil {
			f.Fatal(err)
		}
		for doc := range strings.SplitSeq(string(text), "---\n") {
			f.Add([]byte(doc))
		}
	}
	registry := lintRegistry(f)
	f.Fuzz(func(t *testing.T, text []byte) {
		specs, errs := Load([]File{{"f.yaml", text}}, registry, testOptions())
		_ = errs.Render() // only that it does not panic
		for _, s := range specs {
			_ = s.Plan().String() // only that it does not panic
		}
	})
}
