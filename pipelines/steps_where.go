package pipelines

import (
	"github.com/milldam/milldam/connect/expression"
	"github.com/milldam/milldam/core/config"
)

// Where keeps the records for which its expression is true.
type Where struct{ condition expression.Expression }

func decodeWhere(n config.Node, scope expression.Scope) (*Where, config.Errors) {
	condition, err := expression.FromNode(n, scope)
	if err != nil {
		return nil, asErrors(n, err)
	}
	return &Where{condition}, nil
}

func (w *Where) apply(m *expression.Message) (bool, error) { return w.condition.Bool(m) }
