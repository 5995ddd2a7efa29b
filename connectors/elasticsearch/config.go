package elasticsearch

import (
	"net/url"

	"github.com/milldam/milldam/connect"
	"github.com/milldam/milldam/connect/expression"
	"github.com/milldam/milldam/core/config"
)

// Config is what `sink: elasticsearch:` takes.
type Config struct {
	URLs     []string      `yaml:"urls" required:"true" doc:"the servers, as http://host:9200; they take turns"`
	Username string        `yaml:"username" doc:"of basic authentication"`
	Password config.Secret `yaml:"password" doc:"belongs to username"`
	APIKey   config.Secret `yaml:"api_key" doc:"an API key, encoded as Elasticsearch gives it out"`

	Index      expression.Template   `yaml:"index" required:"true" doc:"the index of a record, as in orders-%Y.%m; % letters stand for the record's timestamp in UTC"`
	ID         expression.Expression `yaml:"id" doc:"the document's id; without it TOPIC-PARTITION-OFFSET"`
	Version    expression.Expression `yaml:"version" doc:"the document's version, a whole number; without it the record's offset"`
	Versioning string                `yaml:"versioning" default:"external" enum:"external,external_gte,off" doc:"which stored versions a record replaces: older ones, older and equal ones, all"`
	Operation  string                `yaml:"operation" default:"index" enum:"index,create" doc:"create refuses ids that are there, as data streams ask for"`

	Batch connect.Batch `yaml:"batch" doc:"how many documents one bulk request takes; whichever limit comes first"`

	OnTombstone string `yaml:"on_tombstone" default:"delete" enum:"delete,ignore,fail" doc:"what a record without a value does"`
}

// Validate checks what single fields cannot.
func (c *Config) Validate() error {
	for _, text := range c.URLs {
		u, err := url.Parse(text)
		if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
			return config.Fieldf("urls", "%q is no URL such as http://127.0.0.1:9200", text)
		}
	}
	switch {
	case len(c.URLs) == 0:
		return config.Fieldf("urls", "name one server at least")
	case (c.Username == "") != (c.Password == ""):
		return config.Fieldf("username", "username and password come together")
	case c.Username != "" && c.APIKey != "":
		return config.Fieldf("api_key", "either username and password, or api_key")
	case c.Operation == "create" && c.Versioning == "external_gte":
		return config.Fieldf("versioning", "operation create never replaces a document")
	}
	return nil
}

// Plugin is the elasticsearch connector.
func Plugin() connect.Plugin {
	return connect.WithSink(connect.Plugin{
		Name: "elasticsearch", Doc: "Documents in Elasticsearch or OpenSearch, written in bulk, each once.",
		Repeat: "a document that is written again replaces itself, since its id and version are those of its record", Idempotent: true,
	}, New)
}
