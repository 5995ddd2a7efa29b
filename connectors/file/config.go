package file

import (
	"path/filepath"

	"github.com/milldam/milldam/connect"
	"github.com/milldam/milldam/core/config"
)

// SourceConfig is what `source: file:` takes.
type SourceConfig struct {
	Path   string `yaml:"path" required:"true" doc:"the file, or a pattern such as logs/*.ndjson"`
	Format string `yaml:"format" default:"ndjson" enum:"ndjson,csv" doc:"ndjson: a record a line; csv: a head, then a record a row, as a JSON object of strings"`
	Read   string `yaml:"read" default:"once" enum:"once,tail" doc:"once: to the end of what is there at the start; tail: and what is appended, and new files"`
}

// Validate checks the pattern.
func (c *SourceConfig) Validate() error {
	if _, err := filepath.Match(c.Path, ""); err != nil {
		return config.Fieldf("path", "%q is no pattern: %v", c.Path, err)
	}
	return nil
}

// SinkConfig is what `sink: file:` takes.
type SinkConfig struct {
	Path string `yaml:"path" required:"true" doc:"the file, which is made when it is not there; its folder too"`
}

// Plugin is the file connector.
func Plugin() connect.Plugin {
	p := connect.Plugin{Name: "file", Doc: "Lines of files: NDJSON and CSV in, NDJSON out."}
	return connect.WithSink(connect.WithSource(p, NewSource), NewSink)
}
