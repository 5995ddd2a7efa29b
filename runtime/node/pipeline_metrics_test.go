package node

import (
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/milldam/milldam/pipelines"
)

func TestPipelinesAreMeasured(t *testing.T) {
	m := newPipelineMetrics(func() []pipelines.Status {
		return []pipelines.Status{{Name: "p", State: pipelines.Blocked, Hops: []pipelines.HopStatus{
			{Hop: pipelines.Hop{Kind: pipelines.SinkHop}, Progress: pipelines.Progress{In: 7, Out: 5, Dead: 2, Lag: 3}},
			{Hop: pipelines.Hop{Kind: pipelines.SourceHop}, Progress: pipelines.Progress{Lag: -1}},
		}}}
	})
	const want = `
# HELP milldam_pipeline_lag_records Records of the topics read that are not processed and committed yet.
# TYPE milldam_pipeline_lag_records gauge
milldam_pipeline_lag_records{hop="0",kind="sink",pipeline="p"} 3
# HELP milldam_pipeline_records_in_total Records that a hop read.
# TYPE milldam_pipeline_records_in_total counter
milldam_pipeline_records_in_total{hop="0",kind="sink",pipeline="p"} 7
milldam_pipeline_records_in_total{hop="1",kind="source",pipeline="p"} 0
# HELP milldam_pipeline_state 1 for the state a pipeline is in.
# TYPE milldam_pipeline_state gauge
milldam_pipeline_state{pipeline="p",state="blocked"} 1
`
	if err := testutil.CollectAndCompare(m, strings.NewReader(want), "milldam_pipeline_state", "milldam_pipeline_records_in_total", "milldam_pipeline_lag_records"); err != nil {
		t.Error(err)
	}
	if problems, err := testutil.CollectAndLint(m); err != nil || len(problems) > 0 {
		t.Errorf("%v, %v", problems, err)
	}
}
