package streams

import (
	"fmt"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// BenchmarkWorkerAtLeastOnce and BenchmarkWorkerExactlyOnce are a windowed count from topic to topic, with its changelog and commits, through
// a broker in this process, or the one that MILLDAM_TEST_BROKERS names. The CPU time is that of this process.
func BenchmarkWorkerAtLeastOnce(b *testing.B) { benchWorker(b, AtLeastOnce) }

// BenchmarkWorkerExactlyOnce: see BenchmarkWorkerAtLeastOnce.
func BenchmarkWorkerExactlyOnce(b *testing.B) { benchWorker(b, ExactlyOnce) }

func benchWorker(b *testing.B, delivery Delivery) {
	const (
		perOp      = 400_000
		partitions = 4
	)
	c := newCluster(b)
	if delivery == ExactlyOnce {
		c.needsTransactions()
	}
	in, out := c.topic("in", partitions), c.topic("out", partitions)
	records := make([]*kgo.Record, perOp)
	for i := range records {
		records[i] = &kgo.Record{Key: fmt.Appendf(nil, "key-%d", i*7919%2000), Value: make([]byte, 100), Timestamp: time.UnixMilli(int64(i))}
	}
	c.produce(in, records...)
	var cpu time.Duration
	run := 0
	for b.Loop() {
		run++
		top := NewTopology()
		top.Stream(in, String, String).GroupByKey().Window(Tumbling(5 * time.Second)).Count("counts").
			Final(func(_ string, _ Window, n int64) int64 { return n }).To(out)
		before := cpuTime(b)
		w, err := Start(b.Context(), top, Options{Client: c.options, ApplicationID: fmt.Sprintf("%sapp-%d", c.prefix, run), Delivery: delivery})
		if err != nil {
			b.Fatal(err)
		}
		c.eventually("all records", func() bool { return w.Metrics().RecordsIn.Load() >= perOp })
		if err := w.Close(); err != nil {
			b.Fatal(err)
		}
		cpu += cpuTime(b) - before
		b.ReportMetric(float64(w.Metrics().Commits.Load()), "commits")
	}
	report(b, b.N*perOp)
	b.ReportMetric(float64(b.N*perOp)/cpu.Seconds(), "records/cpu-s")
}

func cpuTime(b *testing.B) time.Duration {
	b.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
