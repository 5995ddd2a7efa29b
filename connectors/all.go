package connectors

import (
	"github.com/milldam/milldam/connect"
	"github.com/milldam/milldam/connectors/elasticsearch"
	"github.com/milldam/milldam/connectors/file"
	"github.com/milldam/milldam/connectors/s3"
)

// All returns every built-in connector.
func All() []connect.Plugin {
	return []connect.Plugin{elasticsearch.Plugin(), file.Plugin(), s3.Plugin()}
}
