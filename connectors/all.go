package connectors

import (
	"github.com/milldam/milldam/connect"
	"github.com/milldam/milldam/connectors/elasticsearch"
)

// All returns every built-in connector.
func All() []connect.Plugin { return []connect.Plugin{elasticsearch.Plugin()} }
