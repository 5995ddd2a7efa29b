package file

import (
	"path/filepath"
	"strings"

	"github.com/milldam/milldam/connect"
	"github.com/milldam/milldam/core/config"
)

// SourceConfig is what `source: file:` takes.
type SourceConfig struct {
	Path    Paths       `yaml:"path" required:"true" doc:"the files to read: one path or a list of them; * ? and [a-z] stand for parts of a name"`
	Format  string      `yaml:"format" default:"auto" enum:"auto,ndjson,csv" doc:"ndjson: each line is a value, as it is; csv: each row is an object of text, named by the header line; auto: csv where the name has .csv in it"`
	Read    string      `yaml:"read" default:"once" enum:"once,tail" doc:"once: to the end, then the source is finished; tail: go on with what is appended, through renaming and truncation"`
	MaxLine config.Size `yaml:"max_line" default:"1MiB" doc:"the longest line or CSV row; a longer one stops the pipeline"`
}

// maxMaxLine bounds max_line: a line is held in memory.
const maxMaxLine = 256 << 20

// Validate checks what single fields cannot.
func (c *SourceConfig) Validate() error {
	for _, path := range c.Path {
		if path == "" {
			return config.Fieldf("path", "is empty: name a file")
		}
		if _, err := filepath.Match(path, ""); err != nil {
			return config.Fieldf("path", "%q is no pattern: a [ has no ]", path)
		}
	}
	switch {
	case len(c.Path) == 0:
		return config.Fieldf("path", "name one file at least")
	case c.MaxLine < 1 || c.MaxLine > maxMaxLine:
		return config.Fieldf("max_line", "must be between 1 byte and %s", config.Size(maxMaxLine))
	}
	return nil
}

// Paths is a path, or a list of paths.
type Paths []string

// ConfigType names the type.
func (Paths) ConfigType() string { return "a path or a list of paths" }

// DecodeConfig reads one path, or a list.
func (p *Paths) DecodeConfig(n config.Node) error {
	items := []config.Node{n}
	if n.Kind() == config.List {
		var errs config.Errors
		if items, errs = n.Items(); len(errs) > 0 {
			return errs
		}
	}
	for _, item := range items {
		path, err := item.Text()
		if err != nil {
			return err
		}
		*p = append(*p, path)
	}
	return nil
}

// SinkConfig is what `sink: file:` takes.
type SinkConfig struct {
	Path        string `yaml:"path" required:"true" doc:"the file that values are appended to, one a line; it is made, with its folder, when it is not there"`
	OnTombstone string `yaml:"on_tombstone" default:"ignore" enum:"ignore,fail" doc:"what a record without a value does: nothing, or it fails"`
}

// Validate checks what single fields cannot.
func (c *SinkConfig) Validate() error {
	switch {
	case c.Path == "":
		return config.Fieldf("path", "is empty: name a file")
	case strings.Contains(c.Path, "${{"):
		return config.Fieldf("path", "this sink writes one file, the same for all records; the s3 sink divides records by what they hold")
	}
	return nil
}

// Plugin is the file connector.
func Plugin() connect.Plugin {
	return connect.WithSink(connect.WithSource(connect.Plugin{
		Name: "file", Doc: "Files of lines on the machine that runs the pipeline: NDJSON and CSV to read, NDJSON to write.",
		Repeat: "a line that is written again, as after a crash, is in the file twice",
	}, NewSource), NewSink)
}
