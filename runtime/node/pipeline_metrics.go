package node

import (
	"strconv"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/milldam/milldam/pipelines"
)

// pipelineMetrics is how the pipelines fare, as Prometheus sees it. Counts begin anew when a hop does.
type pipelineMetrics struct {
	status func() []pipelines.Status
	counts []pipelineCount
	state  *prometheus.Desc
	lag    *prometheus.Desc
}

// pipelineCount is one count of a hop.
type pipelineCount struct {
	desc  *prometheus.Desc
	value func(pipelines.Progress) int64
}

func newPipelineMetrics(status func() []pipelines.Status) *pipelineMetrics {
	hop := []string{"pipeline", "hop", "kind"}
	count := func(name, help string, value func(pipelines.Progress) int64) pipelineCount {
		return pipelineCount{prometheus.NewDesc("milldam_pipeline_"+name+"_total", help, hop, nil), value}
	}
	return &pipelineMetrics{
		status: status,
		counts: []pipelineCount{
			count("records_in", "Records that a hop read.", func(p pipelines.Progress) int64 { return p.In }),
			count("records_out", "Records that a hop wrote, acknowledged.", func(p pipelines.Progress) int64 { return p.Out }),
			count("records_dropped", "Records that steps dropped.", func(p pipelines.Progress) int64 { return p.Dropped }),
			count("dead_letters", "Records that went to the dead-letter topic.", func(p pipelines.Progress) int64 { return p.Dead }),
			count("late_records", "Records behind the close of their window.", func(p pipelines.Progress) int64 { return p.Late }),
			count("retries", "Writes that were tried again.", func(p pipelines.Progress) int64 { return p.Retries }),
		},
		state: prometheus.NewDesc("milldam_pipeline_state", "1 for the state a pipeline is in.", []string{"pipeline", "state"}, nil),
		lag:   prometheus.NewDesc("milldam_pipeline_lag_records", "Records of the topics read that are not processed and committed yet.", hop, nil),
	}
}

// Describe implements prometheus.Collector.
func (m *pipelineMetrics) Describe(out chan<- *prometheus.Desc) {
	for _, c := range m.counts {
		out <- c.desc
	}
	out <- m.state
	out <- m.lag
}

// Collect implements prometheus.Collector.
func (m *pipelineMetrics) Collect(out chan<- prometheus.Metric) {
	for _, p := range m.status() {
		out <- prometheus.MustNewConstMetric(m.state, prometheus.GaugeValue, 1, p.Name, string(p.State))
		for i, h := range p.Hops {
			labels := []string{p.Name, strconv.Itoa(i), string(h.Kind)}
			for _, c := range m.counts {
				out <- prometheus.MustNewConstMetric(c.desc, prometheus.CounterValue, float64(c.value(h.Progress)), labels...)
			}
			if h.Progress.Lag >= 0 {
				out <- prometheus.MustNewConstMetric(m.lag, prometheus.GaugeValue, float64(h.Progress.Lag), labels...)
			}
		}
	}
}
