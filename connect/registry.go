package connect

import (
	"fmt"
	"slices"
)

// Plugin is one connector: how it is named in YAML, what it can do and how its configuration looks.
type Plugin struct {
	Name string
	Doc  string
	// SourceConfig and SinkConfig return a pointer to a zero configuration struct, with yaml, doc and default tags, that
	// core/config decodes; nil when the connector has no such side.
	SourceConfig func() any
	NewSource    func(config any) (Source, error)
	SinkConfig   func() any
	NewSink      func(config any) (Sink, error)
	// Repeat says what a record leaves that the sink writes again, as after a crash; it is a whole sentence without its end. Idempotent is
	// that this makes no difference: then what reaches the sink at least once is there exactly once.
	Repeat     string
	Idempotent bool
}

// WithSource adds a source that is made from a configuration of type C.
func WithSource[C any](p Plugin, make func(C) (Source, error)) Plugin {
	p.SourceConfig = func() any { return new(C) }
	p.NewSource = func(config any) (Source, error) { return make(*config.(*C)) }
	return p
}

// WithSink adds a sink that is made from a configuration of type C.
func WithSink[C any](p Plugin, make func(C) (Sink, error)) Plugin {
	p.SinkConfig = func() any { return new(C) }
	p.NewSink = func(config any) (Sink, error) { return make(*config.(*C)) }
	return p
}

// Registry finds connectors by name.
type Registry struct{ plugins []Plugin }

// NewRegistry returns a registry of plugins; a name that stands twice is an error.
func NewRegistry(plugins ...Plugin) (*Registry, error) {
	slices.SortFunc(plugins, func(a, b Plugin) int {
		switch {
		case a.Name < b.Name:
			return -1
		case a.Name > b.Name:
			return 1
		}
		return 0
	})
	for i := 1; i < len(plugins); i++ {
		if plugins[i].Name == plugins[i-1].Name {
			return nil, fmt.Errorf("connector %q is registered twice", plugins[i].Name)
		}
	}
	return &Registry{plugins: plugins}, nil
}

// Plugin returns the connector called name.
func (r *Registry) Plugin(name string) (Plugin, bool) {
	for _, p := range r.plugins {
		if p.Name == name {
			return p, true
		}
	}
	return Plugin{}, false
}

// Plugins returns all connectors, sorted by name.
func (r *Registry) Plugins() []Plugin { return slices.Clone(r.plugins) }
