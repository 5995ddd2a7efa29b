package connectors

import (
	"github.com/milldam/milldam/connect"
	"github.com/milldam/milldam/connectors/elasticsearch"
	"github.com/milldam/milldam/connectors/file"
	"github.com/milldam/milldam/connectors/generate"
	"github.com/milldam/milldam/connectors/s3"
	"github.com/milldam/milldam/connectors/stdout"
)

// All returns every built-in connector.
func All() []connect.Plugin {
	return []connect.Plugin{elasticsearch.Plugin(), file.Plugin(), generate.Plugin(), s3.Plugin(), stdout.Plugin()}
}
