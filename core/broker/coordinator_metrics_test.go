package broker_test

import (
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/twmb/franz-go/pkg/kadm"

	"github.com/milldam/milldam/core/vfs"
)

func TestMetricsOfGroupsAndTransactions(t *testing.T) {
	r := start(t, vfs.NewMem())
	admin := kadm.NewClient(r.client(t))
	_, err := admin.CreateTopic(within(t), 1, 1, nil, "t")
	must(t, err)
	offsets := kadm.Offsets{}
	offsets.Add(kadm.Offset{Topic: "t", At: 3})
	must(t, admin.CommitAllOffsets(within(t), "g", offsets))
	registry := prometheus.NewPedanticRegistry()
	for _, c := range r.collectors() {
		must(t, registry.Register(c))
	}
	const expected = `
# HELP milldam_groups_known Groups, by type and state in Kafka's names.
# TYPE milldam_groups_known gauge
milldam_groups_known{state="Empty",type="classic"} 1
# HELP milldam_groups_offsets Committed offsets that are kept.
# TYPE milldam_groups_offsets gauge
milldam_groups_offsets 1
# HELP milldam_groups_offsets_committed_total Offsets that were committed.
# TYPE milldam_groups_offsets_committed_total counter
milldam_groups_offsets_committed_total 1
# HELP milldam_transactions_committed_total Transactions that were committed, in all their partitions.
# TYPE milldam_transactions_committed_total counter
milldam_transactions_committed_total 0
`
	must(t, testutil.GatherAndCompare(registry, strings.NewReader(expected), "milldam_groups_known", "milldam_groups_offsets", "milldam_groups_offsets_committed_total",
		"milldam_transactions_committed_total"))
	problems, err := testutil.GatherAndLint(registry)
	must(t, err)
	for _, p := range problems {
		t.Errorf("%s: %s", p.Metric, p.Text)
	}
}
