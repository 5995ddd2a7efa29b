package main

import (
	"context"
	"os"
	"os/exec"
	"testing"
	"time"
)

func TestEndToEndLatencyGivesARow(t *testing.T) {
	m, err := parseEndToEndLatency([]byte("0\t8.1\n1000\t0.5\nAvg latency: 0.5231 ms\nPercentiles: 50th = 0, 99th = 3, 99.9th = 12\n"))
	if want := (sample{Mean: 0.5231, P50: 1, P99: 4, P999: 13}); err != nil || m != want {
		t.Fatalf("%+v, %v; want %+v", m, err, want)
	}
	if _, err := parseEndToEndLatency([]byte("Exception in thread main")); err == nil {
		t.Fatal("no error of what has no figures")
	}
}

func TestEveryLoadHasItsPartOfTheTime(t *testing.T) {
	began := time.Unix(0, 0)
	b := budget{began: began, until: began.Add(10 * time.Minute), left: 40 * time.Minute}
	now := began
	for range 40 { // each takes all it may
		deadline := b.share(now, time.Minute)
		if took := deadline.Sub(now); took < 14*time.Second || took > 16*time.Second {
			t.Fatalf("a load of 1 of 40 minutes has %s of 10 minutes", took)
		}
		now = deadline
	}
	if end := b.until.Sub(now); end < 0 || end > time.Second || b.left != 0 {
		t.Fatalf("%s are left over, and %s of loads", end, b.left)
	}
}

func TestRecordsOfSmallBatchesAreLarger(t *testing.T) {
	for batch, want := range map[int]float64{1 << 10: 115.8, 16 << 10: 110.0} {
		if got := recordBytes(batch); got < want-0.1 || got > want+0.1 {
			t.Errorf("%d: %.1f, want %.1f", batch, got, want)
		}
	}
}

func TestDirtyBytesAreThoseOnTheirWayToTheDisk(t *testing.T) {
	const meminfo = "MemFree: 9 kB\nDirty:             21220 kB\nWriteback:             4 kB\nWritebackTmp:          7 kB\n"
	if got, want := dirtyBytes([]byte(meminfo)), int64(21224<<10); got != want {
		t.Fatalf("%d, want %d", got, want)
	}
}

func TestOnlyWholeMeasurementsAreJudged(t *testing.T) {
	l := load{name: "x", unit: "MB/s", targets: []target{notSlower}}
	row := func(system string, rate float64) comparison {
		return comparison{System: system, Median: sample{Rate: rate}, Rounds: []sample{{Rate: rate}}}
	}
	for name, c := range map[string]struct {
		ours, peer comparison
		want       string
	}{
		"faster":       {row(ours, 2), row(kafkaDefault, 1), reached},
		"slower":       {row(ours, 1), row(kafkaDefault, 2), short},
		"fewer rounds": {row(ours, 2), comparison{System: kafkaDefault, Median: sample{Rate: 1}, Rounds: []sample{{Rate: 1}}, Stopped: timeOver}, reached},
		"peer failed":  {row(ours, 2), comparison{System: kafkaDefault, Median: sample{Rate: 1}, Rounds: []sample{{Rate: 1}}, Error: "ended"}, notMeasured},
		"not begun":    {row(ours, 2), comparison{System: kafkaDefault, Stopped: timeOver}, notMeasured},
	} {
		if got := l.judge([]comparison{c.ours, c.peer}); len(got) != 1 || got[0].Verdict != c.want {
			t.Errorf("%s: %+v, want %s", name, got, c.want)
		}
	}
}

// TestPeersRun measures one short round of some loads: of Milldam, and of Apache Kafka where it can run. The figures say nothing, that all are there does.
func TestPeersRun(t *testing.T) {
	t.Chdir("../..")
	if _, found := limitsDir(); !found {
		t.Skip("the load generator is in ../shared/peers, which is not beside the checkout")
	}
	if _, err := os.Stat("bin/milldam"); err != nil {
		t.Skip("make build makes bin/milldam, which this measures")
	}
	systems := []string{ours}
	if _, err := exec.LookPath("mvn"); err == nil {
		systems = append(systems, kafkaDefault)
	}
	o := peerOptions{rounds: 1, systems: systems, duration: 200 * time.Millisecond, limit: 4 * time.Minute, quick: true,
		only: "^(start, empty|produce, 16 KiB, 1 partition|produce, 1 KiB, one in flight|end to end.*)$"}
	results, verdicts, err := comparePeers(context.Background(), o)
	if err != nil {
		t.Fatal(err)
	}
	if want := 4 * len(systems); len(results) != want {
		t.Errorf("%d rows, want %d", len(results), want)
	}
	for _, c := range results {
		if c.Error != "" || c.Stopped != "" || len(c.Rounds) != 1 || c.Median.P50 <= 0 || c.Median.RSS <= 0 {
			t.Errorf("%+v", c)
		}
	}
	for _, v := range verdicts {
		if judged := v.Verdict != notMeasured; judged != (len(systems) > 1 && v.Target != "MB/s at least 8.00 times Kafka's with sync" || v.Target == "p50 ms at most 0.60") {
			t.Errorf("%+v", v)
		}
	}
}
