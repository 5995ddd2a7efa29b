package pipelines

import (
	"errors"
	"flag"
	"os"
	"path/filepath"
	"testing"

	"github.com/milldam/milldam/connect"
	"github.com/milldam/milldam/connect/expression"
	"github.com/milldam/milldam/core/config"
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

type fileConfig struct {
	Path string `yaml:"path" required:"true" doc:"The file."`
}

type stdoutConfig struct{}

type generateConfig struct {
	Rate  config.Rate                    `yaml:"rate" default:"1/s"`
	Seed  uint64                         `yaml:"seed"`
	Value map[string]expression.Template `yaml:"value"`
}

type lakeConfig struct {
	Bucket string                `yaml:"bucket" required:"true"`
	Region string                `yaml:"region"`
	Path   expression.Template   `yaml:"path" required:"true"`
	Time   expression.Expression `yaml:"time"`
	Rotate struct {
		Size    config.Size     `yaml:"size" default:"64MiB"`
		Records int64           `yaml:"records"`
		Age     config.Duration `yaml:"age" default:"10m"`
	} `yaml:"rotate"`
	Late struct {
		Allow config.Duration     `yaml:"allow"`
		Path  expression.Template `yaml:"path"`
	} `yaml:"late"`
	Format struct {
		Parquet struct {
			Schema      string `yaml:"schema" default:"infer"`
			Evolve      string `yaml:"evolve"`
			Compression string `yaml:"compression" default:"snappy" enum:"none,snappy,zstd"`
		} `yaml:"parquet"`
	} `yaml:"format"`
}

type searchConfig struct {
	URLs        []string              `yaml:"urls" required:"true"`
	APIKey      config.Secret         `yaml:"api_key"`
	Index       expression.Template   `yaml:"index" required:"true"`
	ID          expression.Expression `yaml:"id"`
	Version     string                `yaml:"version"`
	OnTombstone string                `yaml:"on_tombstone"`
	Batch       struct {
		Size    config.Size     `yaml:"size"`
		Records int             `yaml:"records"`
		Linger  config.Duration `yaml:"linger"`
	} `yaml:"batch"`
}

// lintRegistry has connectors that are good for linting only.
func lintRegistry(t testing.TB) *connect.Registry {
	t.Helper()
	r, err := connect.NewRegistry(
		connect.WithSink(connect.WithSource(connect.Plugin{Name: "file", Doc: "Files of lines.", Repeat: "a line that is written again is there twice"}, noSource[fileConfig]), noSink[fileConfig]),
		connect.WithSink(connect.Plugin{Name: "stdout", Repeat: "a line that is printed again is there twice"}, noSink[stdoutConfig]),
		connect.WithSource(connect.Plugin{Name: "generate"}, noSource[generateConfig]),
		connect.WithSink(connect.Plugin{Name: "s3", Repeat: "a record that is written again may be in two objects"}, noSink[lakeConfig]),
		connect.WithSink(connect.Plugin{Name: "elasticsearch", Repeat: "a document that is written again replaces itself", Idempotent: true}, noSink[searchConfig]),
	)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

var errLintOnly = errors.New("this connector is for linting")

func noSource[C any](C) (connect.Source, error) { return nil, errLintOnly }
func noSink[C any](C) (connect.Sink, error)     { return nil, errLintOnly }

func testOptions() config.Options {
	return config.Options{References: config.References{
		Env: func(name string) (string, bool) {
			v, ok := map[string]string{"LAKE_BUCKET": "lake"}[name]
			return v, ok
		},
		Secret: func(string) (string, error) { return "s3cr3t", nil },
	}}
}

// loadFile lints a file of testdata.
func loadFile(t testing.TB, name string) ([]*Spec, config.Errors) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	return Load([]File{{name, text}}, lintRegistry(t), testOptions())
}

// loadText lints a text that must have no error.
func loadText(t testing.TB, registry *connect.Registry, text string) []*Spec {
	t.Helper()
	specs, errs := Load([]File{{"p.yaml", []byte(text)}}, registry, testOptions())
	if len(errs) > 0 {
		t.Fatal(errs.Render())
	}
	return specs
}
