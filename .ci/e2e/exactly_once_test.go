package e2e

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// startKafka starts Apache Kafka with broker configs "key=value", and ends it and deletes its data after the test.
func startKafka(t *testing.T, settings ...string) (broker string) {
	t.Helper()
	need(t, "java")
	need(t, "mvn")
	script := peer(t, "kafka/kafka.sh")
	kafka := func(args ...string) *exec.Cmd {
		cmd := exec.Command(script, args...)
		cmd.Env = append(os.Environ(), fmt.Sprintf("KAFKA_INSTANCE=e2e-%d", os.Getpid()), "KAFKA_HEAP=512m", "KAFKA_SET="+strings.Join(settings, "\n"))
		return cmd
	}
	t.Cleanup(func() { run(t, time.Minute, "", kafka("wipe")) })
	out := run(t, 5*time.Minute, "", kafka("start", "1", strconv.Itoa(freePair(t))))
	return strings.TrimSpace(out[len(out)-1])
}

// freePair is a port that is free, as is the one behind it.
func freePair(t *testing.T) int {
	t.Helper()
	for range 100 {
		first, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		port := first.Addr().(*net.TCPAddr).Port
		second, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port+1))
		first.Close()
		if err == nil {
			second.Close()
			return port
		}
	}
	t.Fatal("no two free ports side by side")
	return 0
}

// TestPipelinesOnApacheKafkaUnderKills runs the demo's pipelines up to delays-daily on Apache Kafka, and kills the process that runs them.
func TestPipelinesOnApacheKafkaUnderKills(t *testing.T) {
	kills := 10
	if testing.Short() {
		kills = 3
	}
	broker := startKafka(t)
	data, err := filepath.Abs(exampleData)
	if err != nil {
		t.Fatal(err)
	}
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	log := &logBuffer{}
	start := func() *exec.Cmd {
		const pipelines = "../../examples/flights/pipelines/"
		cmd := exec.Command(milldamPath(t), "pipeline", "run", pipelines+"ingest.yaml", pipelines+"delays.yaml", "-b", broker, "--instance", "e2e")
		cmd.Env = append(os.Environ(), "FLIGHTS_DIR="+data)
		cmd.Stdout, cmd.Stderr = log, log
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		return cmd
	}
	end := func(cmd *exec.Cmd, signal os.Signal) error {
		if err := cmd.Process.Signal(signal); err != nil {
			t.Fatalf("signal milldam: %v\n%s", err, log)
		}
		return cmd.Wait()
	}
	for range kills {
		cmd := start()
		pause(t, time.Duration(random.Int64N(int64(4*time.Second))))
		_ = end(cmd, os.Kill) // that it was killed is its error
	}
	cmd := start()
	eventually(t, 2*time.Minute, func() error {
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		defer cancel()
		windows, err := readAll(ctx, broker, "delays-daily")
		if err == nil && len(windows) < originDays {
			err = fmt.Errorf("%d of %d origin-days", len(windows), originDays)
		}
		return err
	})
	if err := end(cmd, os.Interrupt); err != nil {
		t.Errorf("milldam: %v\n%s", err, log)
	}
	checkFlights(t, broker, once)
	checkDelays(t, broker, once)
	if t.Failed() {
		t.Logf("milldam's log:\n%s", log)
	}
}
