package e2e

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// connectWorker is a distributed worker of Kafka Connect.
type connectWorker struct {
	t    *testing.T
	rest string
	file string // its properties
	cmd  *exec.Cmd
	log  *logBuffer
	done chan struct{}
}

// connectLines is how many lines are appended to the source file at a time.
const connectLines = 400

// TestKafkaConnect has a distributed worker copy a file to a topic, exactly once, and the topic to a file. The worker is ended and started again, killed and
// started again, and so is the broker.
func TestKafkaConnect(t *testing.T) {
	fullOnly(t, "kills and restarts a Connect worker, a minute and more")
	n := startDev(t, t.TempDir(), nil)
	n.keepPort()
	w := newConnectWorker(t, n.kafka)
	w.start()
	dir := t.TempDir()
	from, to := filepath.Join(dir, "from.txt"), filepath.Join(dir, "to.txt")
	var want []string
	grow := func() {
		t.Helper()
		want = append(want, appendLines(t, from, len(want), connectLines)...)
	}
	grow()
	w.connect("source", map[string]string{"connector.class": "org.apache.kafka.connect.file.FileStreamSourceConnector", "file": from, "topic": "lines",
		"tasks.max": "1", "exactly.once.support": "required"})
	w.connect("sink", map[string]string{"connector.class": "org.apache.kafka.connect.file.FileStreamSinkConnector", "file": to, "topics": "lines", "tasks.max": "1"})
	awaitLines(t, w, to, want)

	w.end(syscall.SIGTERM)
	grow()
	w.start()
	awaitLines(t, w, to, want) // each once: the worker has committed what it wrote

	n.kill()
	grow()
	n.start()
	awaitLines(t, w, to, want)

	w.end(syscall.SIGKILL)
	grow()
	w.start()
	eventually(t, 3*time.Minute, func() error {
		if got := len(committedRecords(t, n.kafka, "lines")); got != len(want) {
			return fmt.Errorf("%d records, want %d", got, len(want))
		}
		return nil
	})
	var got []string
	for _, r := range committedRecords(t, n.kafka, "lines") {
		got = append(got, string(r.Value))
	}
	same(t, "the topic", strings.Join(got, "\n"), "the file", strings.Join(want, "\n"))
	w.checkTopics(n.kafka)
}

// newConnectWorker writes the properties of a worker.
func newConnectWorker(t *testing.T, broker string) *connectWorker {
	t.Helper()
	w := &connectWorker{t: t, rest: "http://127.0.0.1:" + freePort(t), file: filepath.Join(t.TempDir(), "worker.properties")}
	text := fmt.Sprintf(`bootstrap.servers=%s
group.id=workers
listeners=%s
plugin.discovery=service_load
key.converter=org.apache.kafka.connect.storage.StringConverter
value.converter=org.apache.kafka.connect.storage.StringConverter
config.storage.topic=connect-configs
config.storage.replication.factor=1
offset.storage.topic=connect-offsets
offset.storage.replication.factor=1
offset.storage.partitions=5
status.storage.topic=connect-status
status.storage.replication.factor=1
offset.flush.interval.ms=500
exactly.once.source.support=enabled
consumer.isolation.level=read_committed
consumer.auto.offset.reset=earliest
scheduled.rebalance.max.delay.ms=1000
`, broker, w.rest)
	if err := os.WriteFile(w.file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return w
}

// start starts the worker and waits until it answers.
func (w *connectWorker) start() {
	w.t.Helper()
	jars := kafkaJars(w.t)
	w.cmd, w.log, w.done = javaCommand(jars, filepath.Dir(w.file), "org.apache.kafka.connect.cli.ConnectDistributed", w.file), &logBuffer{}, make(chan struct{})
	w.cmd.Stdout, w.cmd.Stderr = w.log, w.log
	if err := w.cmd.Start(); err != nil {
		w.t.Fatal(err)
	}
	cmd, log, done := w.cmd, w.log, w.done
	go func() {
		_ = cmd.Wait() // it ends by a signal
		close(done)
	}()
	w.t.Cleanup(func() {
		cmd.Process.Kill()
		<-done
		if w.t.Failed() {
			w.t.Logf("the worker's log:\n%s", lastLines(log.String(), 60))
		}
	})
	began := time.Now()
	eventually(w.t, 3*time.Minute, func() error { return w.ask(http.MethodGet, "/connectors", nil, nil) })
	w.t.Logf("the worker answers after %s", time.Since(began).Round(time.Millisecond))
}

func (w *connectWorker) end(signal os.Signal) {
	w.t.Helper()
	if err := w.cmd.Process.Signal(signal); err != nil {
		w.t.Fatalf("the worker ended by itself: %v", err)
	}
	<-w.done
}

// connect makes a connector and waits until it and its task run.
func (w *connectWorker) connect(name string, config map[string]string) {
	w.t.Helper()
	body, err := json.Marshal(map[string]any{"name": name, "config": config})
	if err != nil {
		w.t.Fatal(err)
	}
	// While the worker takes its place in the group it asks to be asked again.
	eventually(w.t, time.Minute, func() error { return w.ask(http.MethodPost, "/connectors", body, nil) })
	eventually(w.t, 2*time.Minute, func() error { return w.running(name) })
}

func (w *connectWorker) running(name string) error {
	var status struct {
		Connector struct{ State string }
		Tasks     []struct{ State, Trace string }
	}
	if err := w.ask(http.MethodGet, "/connectors/"+name+"/status", nil, &status); err != nil {
		return err
	}
	if status.Connector.State != "RUNNING" || len(status.Tasks) != 1 || status.Tasks[0].State != "RUNNING" {
		return fmt.Errorf("%s: %+v", name, status)
	}
	return nil
}

func (w *connectWorker) ask(method, path string, body []byte, into any) error {
	req, err := http.NewRequestWithContext(w.t.Context(), method, w.rest+path, bytes.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		return err
	}
	if resp.StatusCode >= http.StatusMultipleChoices {
		return fmt.Errorf("%s %s: %s: %s", method, path, resp.Status, text)
	}
	if into == nil {
		return nil
	}
	return json.Unmarshal(text, into)
}

// checkTopics asserts that the worker's own topics are compacted, with the partitions that it asked for.
func (w *connectWorker) checkTopics(broker string) {
	w.t.Helper()
	var got []string
	for _, topic := range []string{"connect-configs", "connect-offsets", "connect-status"} {
		got = append(got, topicConfigs(w.t, broker, topic))
	}
	want := []string{"connect-configs: 1 partitions, cleanup.policy=compact", "connect-offsets: 5 partitions, cleanup.policy=compact", "connect-status: 5 partitions, cleanup.policy=compact"}
	if !slices.Equal(got, want) {
		w.t.Errorf("topics of the worker: %q", got)
	}
}

// appendLines appends count lines to a file and returns them.
func appendLines(t *testing.T, path string, first, count int) []string {
	t.Helper()
	f, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	var lines []string
	for i := range count {
		lines = append(lines, fmt.Sprintf("line %d", first+i))
	}
	_, err = io.WriteString(f, strings.Join(lines, "\n")+"\n")
	if err := errors.Join(err, f.Close()); err != nil {
		t.Fatal(err)
	}
	return lines
}

// awaitLines waits until a file has as many lines as want, and compares them.
func awaitLines(t *testing.T, w *connectWorker, path string, want []string) {
	t.Helper()
	began := time.Now()
	var got []string
	eventually(t, 3*time.Minute, func() error {
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		got = strings.Split(strings.TrimSuffix(string(text), "\n"), "\n")
		if len(got) < len(want) {
			return fmt.Errorf("%d of %d lines, source: %v, sink: %v", len(got), len(want), w.running("source"), w.running("sink"))
		}
		return nil
	})
	t.Logf("%d lines after %s", len(got), time.Since(began).Round(time.Millisecond))
	same(t, "the sink's file", strings.Join(got, "\n"), "the source's", strings.Join(want, "\n"))
}
