package generate

import (
	"github.com/milldam/milldam/connect"
	"github.com/milldam/milldam/connect/expression"
	"github.com/milldam/milldam/core/config"
)

// Config is what `source: generate:` takes.
type Config struct {
	Rate  config.Rate `yaml:"rate" default:"10/s" doc:"records in a time, as in 5000/s"`
	Count int64       `yaml:"count" doc:"how many records there are in all; 0 is no end"`
	Seed  uint64      `yaml:"seed" doc:"the same seed gives the same records, except for now() and uuid()"`
	Value Fields      `yaml:"value" required:"true" doc:"the fields of a record's value: literals, or templates such as user-${{ randint(1, 100) }}"`
}

// Validate checks what single fields cannot.
func (c *Config) Validate() error {
	switch {
	case c.Count < 0:
		return config.Fieldf("count", "must not be negative")
	case c.Rate <= 0:
		return config.Fieldf("rate", "must be above 0")
	}
	return nil
}

// Fields are the fields of a generated value, in the order of the YAML.
type Fields struct {
	names     []string
	templates []expression.Template
}

// ConfigType names the type.
func (Fields) ConfigType() string { return "fields and templates" }

// DecodeConfig reads a section of name: template.
func (f *Fields) DecodeConfig(n config.Node) error {
	entries, errs := n.Entries()
	if len(errs) == 0 && len(entries) == 0 {
		return n.Errorf("has no field").WithHint("write name: template, as in id: ${{ randint(1, 100) }}")
	}
	for _, e := range entries {
		var t expression.Template
		errs = append(errs, e.Value.Decode(&t)...)
		f.names = append(f.names, e.Key)
		f.templates = append(f.templates, t)
	}
	if len(errs) > 0 {
		return errs
	}
	return nil
}

// Plugin is the generate connector.
func Plugin() connect.Plugin {
	return connect.WithSource(connect.Plugin{Name: "generate", Doc: "Made-up records at a rate."}, New)
}
