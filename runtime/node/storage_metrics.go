package node

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/milldam/milldam/core/storage"
)

// storageMetrics is how the logs fare, as Prometheus sees it.
type storageMetrics struct {
	stats func() storage.Stats
	rows  []storageMetric
}

// storageMetric is one number of the statistics.
type storageMetric struct {
	desc  *prometheus.Desc
	kind  prometheus.ValueType
	value func(storage.Stats) float64
}

func newStorageMetrics(stats func() storage.Stats) *storageMetrics {
	row := func(kind prometheus.ValueType, name, help string, value func(storage.Stats) float64) storageMetric {
		return storageMetric{prometheus.NewDesc("milldam_storage_"+name, help, nil, nil), kind, value}
	}
	const counter, gauge = prometheus.CounterValue, prometheus.GaugeValue
	return &storageMetrics{stats: stats, rows: []storageMetric{
		row(counter, "commits_total", "Writes to the write-ahead log, each with one sync.", func(s storage.Stats) float64 { return float64(s.Commits) }),
		row(counter, "committed_bytes_total", "Bytes written to the write-ahead log.", func(s storage.Stats) float64 { return float64(s.CommittedBytes) }),
		row(counter, "commit_seconds_total", "Time in writes to the write-ahead log and their syncs.", func(s storage.Stats) float64 { return s.CommitTime.Seconds() }),
		row(gauge, "tail_bytes", "Memory of record batches that are in no segment yet.", func(s storage.Stats) float64 { return float64(s.TailBytes) }),
		row(gauge, "tail_limit_bytes", "How much that memory may be; at twice as much appends wait.", func(s storage.Stats) float64 { return float64(s.TailLimit) }),
		row(gauge, "waiting_appends", "Appends that wait for that memory.", func(s storage.Stats) float64 { return float64(s.WaitingAppends) }),
		row(gauge, "partitions", "Partitions on this node.", func(s storage.Stats) float64 { return float64(s.Partitions) }),
		row(gauge, "damaged_partitions", "Partitions that are not served because a file of theirs is damaged.", func(s storage.Stats) float64 { return float64(s.Damaged) }),
		row(gauge, "disk_full", "1 while appends are refused because the disk is nearly full.", func(s storage.Stats) float64 { return oneIf(s.Full) }),
		row(gauge, "offline", "1 after a write or sync failed, until the node is started again.", func(s storage.Stats) float64 { return oneIf(s.Offline) }),
	}}
}

func oneIf(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

// Describe implements prometheus.Collector.
func (m *storageMetrics) Describe(out chan<- *prometheus.Desc) {
	for _, r := range m.rows {
		out <- r.desc
	}
}

// Collect implements prometheus.Collector.
func (m *storageMetrics) Collect(out chan<- prometheus.Metric) {
	s := m.stats()
	for _, r := range m.rows {
		out <- prometheus.MustNewConstMetric(r.desc, r.kind, r.value(s))
	}
}
