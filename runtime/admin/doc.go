// Package admin is a node's HTTP side: metrics, health, and the state of its pipelines as JSON.
//
//	GET /metrics              Prometheus
//	GET /healthz              200 while the process answers
//	GET /readyz               200 when everything serves, 503 with the reasons until then
//	GET /api/v1/pipelines     the pipelines and what they have done
//	GET /                     a page that says this
//
// It listens where the node tells it to, the loopback by default, and changes nothing. Files: admin.go.
package admin
