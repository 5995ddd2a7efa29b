package main

import (
	"cmp"
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

// stages are all loads, in the order in which they are measured. The starts without topics come first, while there are none, and what takes Kafka minutes last.
func (t *tools) stages(o peerOptions) []stage {
	d := o.duration
	gen := func(r raw) func(*server) (sample, error) {
		return func(s *server) (sample, error) { return t.gen(s, r) }
	}
	each := d + overhead
	produce := func(name string, r raw, targets ...target) stage {
		r.mode, r.duration = "raw", d
		return stage{partitions: r.partitions, loads: []load{{name: name, unit: "MB/s", writes: true, each: each + backTime, targets: targets, run: gen(r)}}}
	}
	many := func(partitions int) raw {
		return raw{mode: "raw", partitions: partitions, per: 20, batchBytes: 1 << 10, conns: 4, depth: 5, duration: d}
	}
	fetch := func(conns int) load {
		return load{name: fmt.Sprintf("fetch, %d connections", conns), unit: "MB/s", each: peerFetchTime + overhead, targets: []target{notSlower, noMoreCPU, fifthRSS},
			run: t.reading(raw{mode: "rawc", partitions: 8, conns: conns, duration: peerFetchTime / time.Duration(min(conns, 2))})}
	}
	// gen lets franz-go make batches of a little more, and max.message.bytes is 1,048,588.
	franz := raw{partitions: 8, per: 1, batchBytes: 1_000_000, conns: 1, depth: 5, duration: d}
	producer, consumer := franz, franz
	producer.mode, consumer.mode = "kgo", "kgoc"
	return []stage{
		{loads: []load{{name: "start, empty", each: 4 * time.Second, run: restart, targets: []target{startFast}}}},
		produce("produce, 16 KiB, 1 partition", raw{partitions: 1, per: 1, batchBytes: 16 << 10, conns: 4, depth: 5}, produceTargets(1, 8)...),
		produce("produce, 16 KiB, 8 partitions", raw{partitions: 8, per: 1, batchBytes: 16 << 10, conns: 4, depth: 5}, produceTargets(1, 8)...),
		produce("produce, 64 KiB, 1 partition", raw{partitions: 1, per: 1, batchBytes: 64 << 10, conns: 2, depth: 5}, produceTargets(1, 8)...),
		produce("produce, 64 KiB to each of 8 partitions", raw{partitions: 8, per: 8, batchBytes: 64 << 10, conns: 2, depth: 5}, produceTargets(1, 8)...),
		produce("produce, 1 KiB to 20 of 100 partitions", many(100), produceTargets(2, 30)...),
		produce("produce, 1 KiB to 20 of 1,000 partitions", many(1000), produceTargets(3, 100)...),
		produce("produce, 1 KiB, one in flight", raw{partitions: 1, per: 1, batchBytes: 1 << 10, conns: 1, depth: 1},
			target{kafkaDefault, "p50 ms", 0, 0.6}, tailsBelow),
		{partitions: 8, setup: 8 * time.Second, keep: true, prepare: t.fill, loads: []load{
			fetch(1),
			fetch(4),
			{name: "franz-go consumer, 100 B", unit: "MB/s", each: each, targets: []target{notSlower}, run: t.reading(consumer)},
		}},
		{partitions: 8, loads: []load{{name: "franz-go producer, 100 B", unit: "MB/s", writes: true, each: each + backTime, targets: []target{notSlower}, run: gen(producer)}}},
		{partitions: 1, loads: []load{{name: "end to end, 1,000 records a second", unit: "records/s", each: time.Second + each, targets: []target{notLater, tailsBelow},
			run: func(s *server) (sample, error) { return endToEnd(s, d) }}}},
		{partitions: 8, setup: 10 * time.Second, keep: true, prepare: func(s *server) error { _, err := producerPerformance(s); return err }, loads: []load{
			{name: "ProducerPerformance, 1 KB", unit: "MB/s", writes: true, each: 10*time.Second + backTime, run: producerPerformance, targets: []target{notSlower}},
			{name: "ConsumerPerformance, 1 KB", unit: "MB/s", each: 4 * time.Second, run: consumerPerformance, targets: []target{notSlower}},
		}},
		{partitions: 1, loads: []load{{name: "EndToEndLatency, one record at a time", each: 8 * time.Second, run: endToEndLatency, targets: []target{meanBelow, tailsBelow}}}},
		{partitions: 10_000, setup: time.Minute, keep: true, dear: true, prepare: touch, loads: []load{
			{name: "produce, 1 KiB to 20 of 10,000 partitions", unit: "MB/s", writes: true, each: each + backTime, targets: produceTargets(10, 0), run: gen(many(10_000))},
			{name: "produce, 1 KiB to 20 of 2,000 new partitions beside 10,000", unit: "MB/s", writes: true, each: each + backTime + 8*time.Second, targets: produceTargets(10, 0), fresh: 2000, run: gen(many(2000))},
			// A sync before an acknowledgement changes nothing here, and a round of Kafka takes most of a minute.
			{name: "start, 10,000 partitions", each: 25 * time.Second, skip: []string{oursReplicated, kafkaSynced}, targets: []target{startFast}, run: restart},
		}},
	}
}

// overhead is about how long a measurement takes beside the load: waiting for the disk, and the generator's start.
const overhead = 600 * time.Millisecond

const (
	// fillBytes is what every system has to read: the same, and more than the fastest reads in a measurement.
	fillBytes = 2e9
	// peerFetchTime is short, so that no reader comes to the end of it; several connections get half of it.
	peerFetchTime = 500 * time.Millisecond
)

// fill writes what the readers read.
func (t *tools) fill(s *server) error {
	r := raw{mode: "raw", partitions: 8, per: 8, batchBytes: 64 << 10, conns: 2, depth: 5, duration: time.Second}
	deadline := time.Now().Add(patience)
	for written := 0.0; written < fillBytes; {
		m, err := t.gen(s, r)
		if err != nil {
			return err
		}
		if written += m.Bytes; time.Now().After(deadline) {
			return fmt.Errorf("%s took only %.0f MB within %s", s.name, written/1e6, patience)
		}
	}
	return nil
}

// reading runs the generator as a consumer. One that came to the end waited there, and says nothing.
func (t *tools) reading(r raw) func(*server) (sample, error) {
	return func(s *server) (sample, error) {
		m, err := t.gen(s, r)
		if err == nil && m.Bytes > fillBytes*0.95 {
			err = fmt.Errorf("the reader came to the end of %.1f GB: -duration is too long", fillBytes/1e9)
		}
		return m, err
	}
}

// touch writes a record to each partition, so that its files are there.
func touch(s *server) error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	cl, err := kgo.NewClient(kgo.SeedBrokers(s.addr), kgo.DefaultProduceTopic(s.topic), kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.DisableIdempotentWrite())
	if err != nil {
		return err
	}
	defer cl.Close()
	records := make([]*kgo.Record, s.partitions)
	for i := range records {
		records[i] = &kgo.Record{Partition: int32(i), Value: []byte("first")}
	}
	if err := cl.ProduceSync(ctx, records...).FirstErr(); err != nil {
		return fmt.Errorf("write to each of %d partitions: %w", len(records), err)
	}
	return nil
}

// gen prints whole MB/s; below coarse its records are counted instead.
const coarse = 20

// recordBytes is what a record of 100 bytes takes in a batch that gen makes, with its part of the batch's header.
func recordBytes(batchBytes int) float64 {
	bytes, records := 61, 0
	for ; bytes < batchBytes; records++ {
		bytes += 109
		if records >= 64 { // its place in the batch takes a byte more
			bytes++
		}
	}
	return float64(bytes) / float64(max(1, records))
}

// gen runs the load generator.
func (t *tools) gen(s *server, r raw) (sample, error) {
	args := []string{"-addr", s.addr, "-topic", s.topic, "-mode", r.mode, "-parts", strconv.Itoa(r.partitions), "-per", strconv.Itoa(max(r.per, 1)),
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
		m.Rate = records * recordBytes(cmp.Or(r.batchBytes, 64<<10)) // readers read what fill wrote
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

// warmUp brings a system to where it stays: the JVM compiles as it runs.
func (t *tools) warmUp(s *server, d time.Duration) error {
	if d <= 0 {
		return nil
	}
	say("%s: warm up for %s", s.name, d)
	if err := s.createTopic("warm-"+strconv.FormatInt(time.Now().UnixNano(), 36), 8); err != nil {
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

// restart stops the broker and measures from the start of its process to the first answer, which leads all partitions.
func restart(s *server) (sample, error) {
	if err := s.stop(); err != nil {
		return sample{}, err
	}
	if err := s.start(s.partitions); err != nil {
		return sample{}, err
	}
	return sample{P50: milliseconds(s.answered.Sub(s.began))}, nil
}

// endToEnd sends records at a fixed moderate rate and measures how long each takes to its consumer. What comes in the first second after the first record to arrive is for
// the clients to find their places.
func endToEnd(s *server, d time.Duration) (sample, error) {
	const warm = time.Second
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	consumer, err := kgo.NewClient(kgo.SeedBrokers(s.addr), kgo.ConsumeTopics(s.topic), kgo.ConsumeResetOffset(kgo.NewOffset().AtEnd()))
	if err != nil {
		return sample{}, err
	}
	defer consumer.Close()
	began := time.Now()
	sending := make(chan error, 1)
	enough, stop := context.WithCancel(ctx)
	defer stop()
	go func() { sending <- sendAtRate(ctx, enough, s, began) }()
	var latencies []time.Duration
	from := time.Duration(0) // when what is sent counts
	for from == 0 || time.Since(began) < from+d {
		fetches := consumer.PollFetches(ctx)
		now := time.Since(began)
		if err := fetches.Err0(); err != nil {
			return sample{}, fmt.Errorf("read what is sent at %s: %w", s.addr, err)
		}
		fetches.EachRecord(func(r *kgo.Record) {
			if from == 0 {
				from = now + warm
			}
			if sent := time.Duration(binary.BigEndian.Uint64(r.Value)); sent > from {
				latencies = append(latencies, now-sent)
			}
		})
	}
	stop()
	if err := <-sending; err != nil {
		return sample{}, err
	}
	if len(latencies) == 0 {
		return sample{}, fmt.Errorf("no record arrived within %s", d)
	}
	slices.Sort(latencies)
	at := func(q float64) float64 {
		return milliseconds(latencies[min(len(latencies)-1, int(q*float64(len(latencies))))])
	}
	return sample{Rate: float64(len(latencies)) / d.Seconds(), P50: at(.5), P99: at(.99), P999: at(.999)}, nil
}

// sendAtRate sends a record a millisecond until enough ends, each with the time since began in its first 8 bytes.
func sendAtRate(ctx, enough context.Context, s *server, began time.Time) error {
	producer, err := kgo.NewClient(kgo.SeedBrokers(s.addr), kgo.DefaultProduceTopic(s.topic), kgo.ProducerLinger(0), kgo.ProducerBatchCompression(kgo.NoCompression()))
	if err != nil {
		return err
	}
	defer producer.Close()
	var failed atomic.Pointer[error]
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for enough.Err() == nil && failed.Load() == nil {
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
