package streams

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// benchTask returns a task of a topology that reads the topic in, with everything but the client.
func benchTask(b testing.TB, top *Topology) *task {
	b.Helper()
	if err := top.Build(); err != nil {
		b.Fatal(err)
	}
	p, err := top.plan("bench", map[string]int32{"in": 1, "table": 1, "out": 1})
	if err != nil {
		b.Fatal(err)
	}
	now := time.Unix(0, 0)
	return newTask(p, taskID{0, 0}, environment{metrics: &Metrics{}, now: func() time.Time { return now }, sleep: sleep})
}

// feed lets a task process records, again and again until n are done.
func feed(b testing.TB, t *task, records []*kgo.Record, n int) {
	b.Helper()
	in := t.inputs[0]
	for done := 0; done < n; done += len(records) {
		in.queue, in.fetched = records, 0
		for {
			did, err := t.step(context.Background())
			if err != nil {
				b.Fatal(err)
			}
			if !did {
				break
			}
			t.produced()
		}
	}
}

func benchRecords(n, keys int, value string) []*kgo.Record {
	records := make([]*kgo.Record, n)
	for i := range records {
		records[i] = &kgo.Record{Offset: int64(i), Key: fmt.Appendf(nil, "key-%d", i*7919%keys), Value: []byte(value), Timestamp: time.UnixMilli(int64(i))}
	}
	return records
}

func report(b *testing.B, records int) {
	b.ReportMetric(float64(records)/b.Elapsed().Seconds(), "records/s")
}

func filtering() *Topology {
	top := NewTopology()
	top.Stream("in", String, String).
		Filter(func(_, v string) bool { return len(v) > 3 }).
		MapValues(func(v string) string { return v[1:] }).
		Filter(func(k, _ string) bool { return k[4] != '1' }).
		To("out")
	return top
}

// BenchmarkStateless is decode, filter, map, filter, encode; without the client.
func BenchmarkStateless(b *testing.B) {
	const perOp = 10_000
	records, t := benchRecords(perOp, 1000, "a value of one hundred bytes ......................................................................."), benchTask(b, filtering())
	b.ReportAllocs()
	for b.Loop() {
		feed(b, t, records, perOp)
	}
	report(b, b.N*perOp)
}

// BenchmarkCount is a count by key with its changelog, committed every 5,000 records.
func BenchmarkCount(b *testing.B) {
	top := NewTopology()
	top.Stream("in", String, String).GroupByKey().Count("counts").To("out")
	benchCommitted(b, top, 5000)
}

// BenchmarkWindowedCount is a count by key and window with its changelog, committed every 5,000 records.
func BenchmarkWindowedCount(b *testing.B) {
	top := NewTopology()
	top.Stream("in", String, String).GroupByKey().Window(Tumbling(5 * time.Second)).Count("counts").
		Final(func(_ string, _ Window, n int64) int64 { return n }).To("out")
	benchCommitted(b, top, 5000)
}

func benchCommitted(b *testing.B, top *Topology, perOp int) {
	records, t := benchRecords(perOp, 2000, "a value of one hundred bytes ......................................................................."), benchTask(b, top)
	b.ReportAllocs()
	for b.Loop() {
		feed(b, t, records, perOp)
		if err := t.flush(); err != nil {
			b.Fatal(err)
		}
		t.produced()
		t.committed()
		b.StopTimer()
		for _, r := range records {
			r.Timestamp = r.Timestamp.Add(time.Duration(perOp) * time.Millisecond)
		}
		b.StartTimer()
	}
	report(b, b.N*perOp)
}

// BenchmarkJoin is a join with a table of 1,000 keys.
func BenchmarkJoin(b *testing.B) {
	const perOp = 10_000
	top := NewTopology()
	table := top.Table("table", String, String)
	top.Stream("in", String, String).Join("join", table, func(v, t string) string { return t }).To("out")
	t := benchTask(b, top)
	t.inputs[0], t.inputs[1] = t.inputs[1], t.inputs[0] // the stream first
	rows := benchRecords(1000, 1000, "row")
	t.inputs[1].add(rows, 1000)
	t.inputs[1].restore = 1000
	for did := true; did; {
		var err error
		if did, err = t.step(context.Background()); err != nil {
			b.Fatal(err)
		}
	}
	records := benchRecords(perOp, 1000, "value")
	b.ReportAllocs()
	for b.Loop() {
		feed(b, t, records, perOp)
	}
	report(b, b.N*perOp)
}

// TestStatelessRecordsAreNotAllocated bounds the allocations of the stateless path: slabs for many records, nothing for one.
func TestStatelessRecordsAreNotAllocated(t *testing.T) {
	const n = 5000
	records, task := benchRecords(n, 1000, "a value"), benchTask(t, filtering())
	perRecord := testing.AllocsPerRun(5, func() { feed(t, task, records, n) }) / n
	if perRecord > 0.05 {
		t.Errorf("%.2f allocations for each record, want none", perRecord)
	}
}
