package broker

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/milldam/milldam/core/coordinator"
)

// groupCollector are the group coordinator's numbers, all of one moment.
type groupCollector struct {
	groups                                         *coordinator.Groups
	states                                         *prometheus.Desc
	members, offsets, rebalances, commits, removed *prometheus.Desc
}

func newGroupCollector(g *coordinator.Groups) *groupCollector {
	desc := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc(prometheus.BuildFQName("milldam", "groups", name), help, labels, nil)
	}
	return &groupCollector{groups: g,
		states:     desc("known", "Groups, by type and state in Kafka's names.", "type", "state"),
		members:    desc("members", "Members of all groups."),
		offsets:    desc("offsets", "Committed offsets that are kept."),
		rebalances: desc("rebalances_total", "Generations of classic groups with members, and new assignments of consumer groups."),
		commits:    desc("offsets_committed_total", "Offsets that were committed."),
		removed:    desc("offsets_removed_total", "Committed offsets that were deleted or have expired."),
	}
}

// Describe implements prometheus.Collector.
func (c *groupCollector) Describe(to chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{c.states, c.members, c.offsets, c.rebalances, c.commits, c.removed} {
		to <- d
	}
}

// Collect implements prometheus.Collector.
func (c *groupCollector) Collect(to chan<- prometheus.Metric) {
	s := c.groups.Stats()
	for kind, n := range s.States {
		to <- prometheus.MustNewConstMetric(c.states, prometheus.GaugeValue, float64(n), kind.Type, kind.State)
	}
	to <- prometheus.MustNewConstMetric(c.members, prometheus.GaugeValue, float64(s.Members))
	to <- prometheus.MustNewConstMetric(c.offsets, prometheus.GaugeValue, float64(s.Offsets))
	for desc, n := range map[*prometheus.Desc]int64{c.rebalances: s.Rebalances, c.commits: s.Commits, c.removed: s.Removed} {
		to <- prometheus.MustNewConstMetric(desc, prometheus.CounterValue, float64(n))
	}
}

// txnCollectors are the transaction coordinator's numbers.
func txnCollectors(t *coordinator.Transactions) []prometheus.Collector {
	gauge := func(name, help string, value func(coordinator.TxnStats) int) prometheus.Collector {
		return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Namespace: "milldam", Subsystem: "transactions", Name: name, Help: help},
			func() float64 { return float64(value(t.Stats())) })
	}
	counter := func(name, help string, value func(coordinator.TxnStats) int64) prometheus.Collector {
		return prometheus.NewCounterFunc(prometheus.CounterOpts{Namespace: "milldam", Subsystem: "transactions", Name: name, Help: help},
			func() float64 { return float64(value(t.Stats())) })
	}
	return []prometheus.Collector{
		gauge("ids", "Transactional ids that are known.", func(s coordinator.TxnStats) int { return s.IDs }),
		gauge("ongoing", "Transactions that are open.", func(s coordinator.TxnStats) int { return s.Ongoing }),
		gauge("completing", "Transactions whose end is decided, and not told to all partitions yet.", func(s coordinator.TxnStats) int { return s.Completing }),
		gauge("markers_waiting", "Markers that wait for others to be written.", func(s coordinator.TxnStats) int { return s.MarkersWaiting }),
		gauge("markers_in_flight", "Markers on their way to partitions.", func(s coordinator.TxnStats) int { return s.MarkersSent }),
		counter("committed_total", "Transactions that were committed, in all their partitions.", func(s coordinator.TxnStats) int64 { return s.Committed }),
		counter("aborted_total", "Transactions that were aborted, in all their partitions.", func(s coordinator.TxnStats) int64 { return s.Aborted }),
	}
}
