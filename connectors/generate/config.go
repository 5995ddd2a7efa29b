package generate

import (
	"github.com/milldam/milldam/connect"
	"github.com/milldam/milldam/connect/expression"
	"github.com/milldam/milldam/core/config"
)

// Config is what `source: generate:` takes.
type Config struct {
	Rate  config.Rate `yaml:"rate" default:"10/s" doc:"records in a time, as in 5000/s; 0/s is as many as are taken"`
	Count int64       `yaml:"count" doc:"how many records there are in all; 0 is no end"`
	Seed  uint64      `yaml:"seed" doc:"the same seed gives the same records, except for now()"`
	Value Object      `yaml:"value" required:"true" doc:"the fields of a record's value: literals, templates such as user-${{ randint(1, 100) }}, sections and lists of them; offset is the record's number, from 0"`
}

// Validate checks what single fields cannot.
func (c *Config) Validate() error {
	if c.Count < 0 {
		return config.Fieldf("count", "must not be negative")
	}
	return nil
}

// Object is the fields of a JSON object, in the order of the YAML.
type Object []field

// field is a field of an object.
type field struct {
	name  string
	key   []byte // name as JSON, with its colon
	value value
}

// value is one of an object, a list, and a template; none of them is null.
type value struct {
	object   Object
	list     []value
	template expression.Template
	kind     config.Kind
}

// ConfigType names the type.
func (Object) ConfigType() string { return "fields and templates" }

// DecodeConfig reads a section of name: template.
func (o *Object) DecodeConfig(n config.Node) error {
	entries, errs := n.Entries()
	if len(errs) == 0 && len(entries) == 0 {
		return n.Errorf("has no field").WithHint("write name: template, as in id: ${{ randint(1, 100) }}")
	}
	for _, e := range entries {
		f := field{name: e.Key}
		var err error
		if f.key, err = expression.Append(nil, e.Key); err != nil {
			return err
		}
		f.key = append(f.key, ':')
		errs = append(errs, e.Value.Decode(&f.value)...)
		*o = append(*o, f)
	}
	if len(errs) > 0 {
		return errs
	}
	return nil
}

// ConfigType names the type.
func (value) ConfigType() string { return "a template, a section or a list" }

// DecodeConfig reads a template, or a section or list of values.
func (v *value) DecodeConfig(n config.Node) error {
	v.kind = n.Kind()
	switch v.kind {
	case config.Null:
		return nil
	case config.Mapping:
		return v.object.DecodeConfig(n)
	case config.Scalar:
		return v.template.DecodeConfig(n)
	}
	items, errs := n.Items()
	v.list = make([]value, len(items))
	for i, item := range items {
		errs = append(errs, item.Decode(&v.list[i])...)
	}
	if len(errs) > 0 {
		return errs
	}
	return nil
}

// Plugin is the generate connector.
func Plugin() connect.Plugin {
	return connect.WithSource(connect.Plugin{Name: "generate", Doc: "Made-up records at a rate, for tries and for load."}, New)
}
