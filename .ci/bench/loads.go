package main

import (
	"context"
	"encoding/binary"
	"fmt"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// raw is a load that gen makes: in mode raw of requests made beforehand, so that the client costs next to nothing.
type raw struct {
	mode            string // of gen
	partitions, per int    // of the topic, in a request
	batchBytes      int
	conns, depth    int
	duration        time.Duration
}

// loads are all there are; each measurement takes d, where the load does not say how long it takes.
func (t *tools) loads(d time.Duration) []load {
	fill := raw{mode: "raw", partitions: 8, per: 8, batchBytes: 64 << 10, conns: 2, depth: 5, duration: d}
	produce := func(name string, r raw, targets ...target) load {
		r.mode, r.duration = "raw", d
		return load{name: name, unit: "MB/s", partitions: r.partitions, targets: targets, run: func(s *server) (sample, error) { return t.gen(s, r) }}
	}
	fresh := func(l load) load { l.fresh = true; return l }
	fetch := func(conns int) load {
		read := raw{mode: "rawc", partitions: 8, conns: conns, duration: fetchTime}
		return load{name: fmt.Sprintf("fetch, %d connections", conns), unit: "MB/s", partitions: 8, targets: []target{notSlower, noMoreCPU, fifthRSS},
			prepare: func(s *server) error { return t.fill(s, fill) },
			run:     func(s *server) (sample, error) { return t.gen(s, read) }}
	}
	client := func(name, mode string) load {
		// gen lets franz-go make batches of a little more, and max.message.bytes is 1,048,588.
		r := raw{mode: mode, partitions: 8, per: 1, batchBytes: 1_000_000, conns: 1, depth: 5, duration: d}
		l := load{name: name, unit: "MB/s", partitions: 8, targets: []target{notSlower}, run: func(s *server) (sample, error) { return t.gen(s, r) }}
		if mode == "kgoc" {
			l.prepare = func(s *server) error { return t.fill(s, fill) }
		}
		return l
	}
	many := func(partitions int) raw {
		return raw{partitions: partitions, per: 20, batchBytes: 1 << 10, conns: 4, depth: 5}
	}
	unsynced := []string{oursReplicated, kafkaSynced} // not asked what takes minutes
	list := []load{
		produce("produce, 16 KiB, 1 partition", raw{partitions: 1, per: 1, batchBytes: 16 << 10, conns: 4, depth: 5}, produceTargets(1, 8)...),
		produce("produce, 16 KiB, 8 partitions", raw{partitions: 8, per: 1, batchBytes: 16 << 10, conns: 4, depth: 5}, produceTargets(1, 8)...),
		produce("produce, 64 KiB, 1 partition", raw{partitions: 1, per: 1, batchBytes: 64 << 10, conns: 2, depth: 5}, produceTargets(1, 8)...),
		produce("produce, 64 KiB to each of 8 partitions", raw{partitions: 8, per: 8, batchBytes: 64 << 10, conns: 2, depth: 5}, produceTargets(1, 8)...),
		produce("produce, 1 KiB to 20 of 100 partitions", many(100), produceTargets(2, 30)...),
		produce("produce, 1 KiB to 20 of 1,000 partitions", many(1000), produceTargets(3, 100)...),
		produce("produce, 1 KiB, one in flight", raw{partitions: 1, per: 1, batchBytes: 1 << 10, conns: 1, depth: 1},
			target{kafkaDefault, "p50 ms", 0, 0.6}, tailsBelow),
		fetch(1),
		fetch(4),
		{name: "end to end, 1,000 records a second", unit: "records/s", partitions: 1, targets: []target{notLater, tailsBelow},
			run: func(s *server) (sample, error) { return endToEnd(s, d) }},
		client("franz-go producer, 100 B", "kgo"),
		client("franz-go consumer, 100 B", "kgoc"),
		{name: "ProducerPerformance, 1 KB", unit: "MB/s", partitions: 8, run: producerPerformance, targets: []target{notSlower}},
		{name: "ConsumerPerformance, 1 KB", unit: "MB/s", partitions: 8, run: consumerPerformance, targets: []target{notSlower},
			prepare: func(s *server) error { _, err := producerPerformance(s); return err }},
		{name: "EndToEndLatency, one record at a time", partitions: 1, run: endToEndLatency, targets: []target{notLater, tailsBelow}},
		{name: "start, empty", targets: []target{startFast}, skip: unsynced, run: func(s *server) (sample, error) { return restart(s, 0) }},
	}
	for _, l := range []load{ // the dear ones, last: what the time does not suffice for is at the end
		fresh(produce("produce, 1 KiB to 20 of 10,000 new partitions", many(10_000), produceTargets(10, 0)...)),
		produce("produce, 1 KiB to 20 of 10,000 partitions", many(10_000), produceTargets(10, 0)...),
		{name: "start, 10,000 partitions", partitions: 10_000, targets: []target{startFast}, run: func(s *server) (sample, error) { return restart(s, 10_000) }},
	} {
		l.skip = unsynced
		list = append(list, l)
	}
	return list
}

// gen prints whole MB/s; below coarse its records are counted instead, of which each takes genRecordBytes in a batch of 1 KiB.
const coarse, genRecordBytes = 20, 116

// gen runs the load generator.
func (t *tools) gen(s *server, r raw) (sample, error) {
	args := []string{"-addr", s.addr, "-topic", benchTopic, "-mode", r.mode, "-parts", strconv.Itoa(r.partitions), "-per", strconv.Itoa(max(r.per, 1)),
		"-batch", strconv.Itoa(r.batchBytes), "-conns", strconv.Itoa(r.conns), "-depth", strconv.Itoa(r.depth), "-d", r.duration.String()}
	if r.mode == "rawc" || r.mode == "kgoc" {
		args = slices.Delete(args, 8, 10) // it has no batches of its own
	}
	began := time.Now()
	out, err := exec.Command(filepath.Join(t.dir, "gen"), args...).CombinedOutput()
	elapsed := time.Since(began) // longer than asked for, where the last responses are late
	if err != nil {
		return sample{}, fmt.Errorf("gen %s: %w\n%s", strings.Join(args, " "), err, out)
	}
	var m sample
	if m.Rate, err = find(out, `: ([0-9.]+) MB/s`); err != nil {
		return m, err
	}
	if m.Rate < coarse {
		records, err := find(out, ` ([0-9.]+) Mrec/s`)
		if err != nil {
			return m, err
		}
		m.Rate = records * genRecordBytes
	}
	m.Bytes = m.Rate * 1e6 * elapsed.Seconds()
	for name, to := range map[string]*float64{"p50": &m.P50, "p99": &m.P99, `p99\.9`: &m.P999} {
		text := regexp.MustCompile(` ` + name + `=(\S+)`).FindSubmatch(out)
		if text == nil {
			return m, fmt.Errorf("gen prints no %s:\n%s", name, out)
		}
		d, err := time.ParseDuration(string(text[1]))
		if err != nil {
			return m, err
		}
		*to = milliseconds(d)
	}
	return m, nil
}

func milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// find returns the number that a pattern's group holds.
func find(text []byte, pattern string) (float64, error) {
	m := regexp.MustCompile(pattern).FindSubmatch(text)
	if m == nil {
		return 0, fmt.Errorf("nothing like %s in:\n%s", pattern, text)
	}
	return strconv.ParseFloat(string(m[1]), 64)
}

// filledBytes is more than a consumer takes in its time. One that comes to the end waits there, and looks slower the faster it was.
const filledBytes = 1.5e9

// fill produces with r until a consumer has enough to read.
func (t *tools) fill(s *server, r raw) error {
	for filled := 0.0; filled < filledBytes; {
		m, err := t.gen(s, r)
		if err != nil {
			return err
		}
		if m.Bytes <= 0 {
			return fmt.Errorf("%s takes no records", s.name)
		}
		filled += m.Bytes
	}
	return nil
}

// warmUp brings a system to where it stays: the JVM compiles as it runs.
func (t *tools) warmUp(s *server, d time.Duration) error {
	if d <= 0 {
		return nil
	}
	say("%s: warm up for %s", s.name, d)
	if err := s.createTopic(8); err != nil {
		return err
	}
	for _, r := range []raw{
		{mode: "raw", partitions: 8, per: 8, batchBytes: 16 << 10, conns: 2, depth: 5, duration: d / 3},
		{mode: "raw", partitions: 8, per: 1, batchBytes: 1 << 10, conns: 4, depth: 5, duration: d / 3},
		{mode: "rawc", partitions: 8, conns: 4, duration: d / 3},
	} {
		if _, err := t.gen(s, r); err != nil {
			return err
		}
	}
	return s.deleteTopic()
}

// restart stops the broker and measures how long it takes until all is served again.
func restart(s *server, partitions int) (sample, error) {
	if err := s.stop(); err != nil {
		return sample{}, err
	}
	began := time.Now()
	if err := s.start(partitions); err != nil {
		return sample{}, err
	}
	return sample{P50: milliseconds(time.Since(began))}, nil
}

// endToEnd sends records at a fixed moderate rate and measures how long each takes to its consumer. The first second is for the clients to find
// their places.
func endToEnd(s *server, d time.Duration) (sample, error) {
	const warm = time.Second
	ctx, cancel := context.WithTimeout(context.Background(), warm+d+time.Minute)
	defer cancel()
	consumer, err := kgo.NewClient(kgo.SeedBrokers(s.addr), kgo.ConsumeTopics(benchTopic), kgo.ConsumeResetOffset(kgo.NewOffset().AtEnd()))
	if err != nil {
		return sample{}, err
	}
	defer consumer.Close()
	began := time.Now()
	sending := make(chan error, 1)
	go func() { sending <- sendAtRate(ctx, s.addr, began, warm+d) }()
	var latencies []time.Duration
	for time.Since(began) < warm+d {
		poll, stop := context.WithTimeout(ctx, time.Second)
		fetches := consumer.PollFetches(poll)
		stop()
		now := time.Since(began)
		fetches.EachRecord(func(r *kgo.Record) {
			if sent := time.Duration(binary.BigEndian.Uint64(r.Value)); sent > warm {
				latencies = append(latencies, now-sent)
			}
		})
	}
	if err := <-sending; err != nil || len(latencies) == 0 {
		return sample{}, fmt.Errorf("%d records arrived: %w", len(latencies), err)
	}
	slices.Sort(latencies)
	at := func(q float64) float64 {
		return milliseconds(latencies[min(len(latencies)-1, int(q*float64(len(latencies))))])
	}
	return sample{Rate: float64(len(latencies)) / d.Seconds(), P50: at(.5), P99: at(.99), P999: at(.999)}, nil
}

// sendAtRate sends a record a millisecond, each with the time since began in its first 8 bytes.
func sendAtRate(ctx context.Context, addr string, began time.Time, d time.Duration) error {
	producer, err := kgo.NewClient(kgo.SeedBrokers(addr), kgo.DefaultProduceTopic(benchTopic), kgo.ProducerLinger(0), kgo.ProducerBatchCompression(kgo.NoCompression()))
	if err != nil {
		return err
	}
	defer producer.Close()
	var failed atomic.Pointer[error]
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for time.Since(began) < d && failed.Load() == nil {
		value := make([]byte, 100)
		binary.BigEndian.PutUint64(value, uint64(time.Since(began)))
		producer.Produce(ctx, kgo.SliceRecord(value), func(_ *kgo.Record, err error) {
			if err != nil {
				failed.Store(&err)
			}
		})
		<-tick.C
	}
	if err := failed.Load(); err != nil {
		return *err
	}
	return producer.Flush(ctx)
}
