package main

import (
	"bytes"
	"fmt"
	"os/exec"
	"strconv"
	"strings"
)

// How much Kafka's own tools do: several seconds' worth, so that the start of their own machine counts little.
const (
	toolRecords     = 300_000
	toolRecordBytes = 1000
	toolLatencies   = 3_000
)

// kafkaTool runs a command line class of Apache Kafka and returns what it prints.
func kafkaTool(class string, args ...string) ([]byte, error) {
	var out, log bytes.Buffer
	cmd := exec.Command("../shared/peers/kafka/kafka.sh", append([]string{"tool", class}, args...)...)
	cmd.Stdout, cmd.Stderr = &out, &log
	if err := cmd.Run(); err != nil {
		return nil, fmt.Errorf("%s: %w\n%s%s", class, err, out.String(), log.String())
	}
	return out.Bytes(), nil
}

func producerPerformance(s *server) (sample, error) {
	out, err := kafkaTool("ProducerPerformance", "--bootstrap-server", s.addr, "--topic", s.topic, "--num-records", strconv.Itoa(toolRecords),
		"--record-size", strconv.Itoa(toolRecordBytes), "--throughput", "-1", "--command-property", "acks=all")
	if err != nil {
		return sample{}, err
	}
	lines := bytes.Split(bytes.TrimSpace(out), []byte("\n"))
	last := lines[len(lines)-1] // the lines before it are of parts
	m := sample{Bytes: toolRecords * toolRecordBytes}
	rate, err := find(last, `([0-9.]+) records/sec`)
	if err != nil {
		return m, err
	}
	m.Rate = rate * toolRecordBytes / 1e6
	for pattern, to := range map[string]*float64{`([0-9]+) ms 50th`: &m.P50, `([0-9]+) ms 99th`: &m.P99, `([0-9]+) ms 99\.9th`: &m.P999} {
		if *to, err = find(last, pattern); err != nil {
			return m, err
		}
	}
	return m, nil
}

// consumerPerformance reads a part of what was produced: the time it takes to join a group is left out.
func consumerPerformance(s *server) (sample, error) {
	out, err := kafkaTool("ConsumerPerformance", "--bootstrap-server", s.addr, "--topic", s.topic, "--num-records", strconv.Itoa(toolRecords), "--hide-header")
	if err != nil {
		return sample{}, err
	}
	// start, end, MB, MB/s, records, records/s, rebalance ms, fetch ms, fetch MB/s, fetch records/s
	fields := strings.Split(strings.TrimSpace(string(out)), ",")
	if len(fields) < 10 {
		return sample{}, fmt.Errorf("ConsumerPerformance prints %q", out)
	}
	rate, err := strconv.ParseFloat(strings.TrimSpace(fields[9]), 64)
	return sample{Rate: rate * toolRecordBytes / 1e6, Bytes: toolRecords * toolRecordBytes}, err
}

// endToEndLatency measures records one at a time with Kafka's tool.
func endToEndLatency(s *server) (sample, error) {
	out, err := kafkaTool("EndToEndLatency", s.addr, s.topic, strconv.Itoa(toolLatencies), "all", "100")
	if err != nil {
		return sample{}, err
	}
	return parseEndToEndLatency(out)
}

// parseEndToEndLatency takes the average as it is. The percentiles are cut to whole milliseconds, so each is given as the next one, which it is below.
func parseEndToEndLatency(out []byte) (m sample, err error) {
	if m.Mean, err = find(out, `Avg latency: ([0-9.]+) ms`); err != nil {
		return m, err
	}
	for pattern, to := range map[string]*float64{`50th = ([0-9]+)`: &m.P50, `99th = ([0-9]+)`: &m.P99, `99\.9th = ([0-9]+)`: &m.P999} {
		if *to, err = find(out, pattern); err != nil {
			return m, err
		}
		*to++
	}
	return m, nil
}
