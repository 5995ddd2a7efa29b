package e2e

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// client is a Kafka client to test with. Each function returns the command that does it; commands print a line per record.
type client struct {
	name string
	full bool // its group has its turn in the full run only
	// headers and timestamps say what the client's produce can set.
	headers, timestamps bool
	// restart is the time a new process of it needs on a busy machine, which bounds how fast a group settles.
	settle time.Duration

	available func(t *testing.T)
	produce   func(t *testing.T, broker, topic, codec string, first, count int)
	consume   func(t *testing.T, broker, topic string, count int) []line
	member    func(t *testing.T, broker, topic, group string) *exec.Cmd
	trickle   func(t *testing.T, broker, topic string, count int) *exec.Cmd // produces the numbers from 0 on in small batches, idempotently
	decode    func(text string) (line, bool)
	offsets   func(t *testing.T, broker, topic string, ts int64) map[int32]int64
}

// codecs every client must be able to produce and consume.
var codecs = []string{"none", "gzip", "snappy", "lz4", "zstd"}

func clients() []client {
	return []client{
		scripted("franz-go", func(t *testing.T, args ...string) *exec.Cmd {
			self, err := os.Executable()
			if err != nil {
				t.Fatal(err)
			}
			cmd := exec.Command(self, args...)
			cmd.Env = append(os.Environ(), franzVerb+"=1")
			return cmd
		}),
		scripted("confluent-kafka-python", func(t *testing.T, args ...string) *exec.Cmd {
			return exec.Command(python(t), append([]string{"testdata/confluent_client.py"}, args...)...)
		}),
		kcat(),
		kafkaTools(),
		groupInFull(scripted("kafka-python", func(t *testing.T, args ...string) *exec.Cmd {
			return exec.Command(python(t), append([]string{"testdata/kafka_python_client.py"}, args...)...)
		})),
		groupInFull(scripted("kafkajs", func(t *testing.T, args ...string) *exec.Cmd {
			return nodeJS(t, append([]string{"testdata/kafkajs_client.js"}, args...)...)
		})),
		groupInFull(scripted("kafka-go", func(t *testing.T, args ...string) *exec.Cmd {
			return exec.Command(kafkaGo(t), args...)
		})),
	}
}

func groupInFull(c client) client { c.full = true; return c }

// clientCalled is one of clients.
func clientCalled(name string) client {
	all := clients()
	return all[slices.IndexFunc(all, func(c client) bool { return c.name == name })]
}

// scripted is a client with the command line `produce|consume|member|time BROKER TOPIC ...`.
func scripted(name string, command func(t *testing.T, args ...string) *exec.Cmd) client {
	decode := func(text string) (line, bool) {
		var l line
		return l, json.Unmarshal([]byte(text), &l) == nil
	}
	lines := func(t *testing.T, args ...string) []line {
		t.Helper()
		return decodeAll(t, run(t, time.Minute, "", command(t, args...)), decode)
	}
	return client{name: name, headers: true, timestamps: true, settle: 20 * time.Second, decode: decode,
		available: func(t *testing.T) { command(t) },
		produce: func(t *testing.T, broker, topic, codec string, first, count int) {
			t.Helper()
			lines(t, "produce", broker, topic, codec, strconv.Itoa(first), strconv.Itoa(count))
		},
		consume: func(t *testing.T, broker, topic string, count int) []line {
			t.Helper()
			return lines(t, "consume", broker, topic, strconv.Itoa(count))
		},
		member: func(t *testing.T, broker, topic, group string) *exec.Cmd {
			return command(t, "member", broker, topic, group)
		},
		trickle: func(t *testing.T, broker, topic string, count int) *exec.Cmd {
			return command(t, "trickle", broker, topic, strconv.Itoa(count))
		},
		offsets: func(t *testing.T, broker, topic string, ts int64) map[int32]int64 {
			t.Helper()
			found := map[int32]int64{}
			for _, l := range lines(t, "time", broker, topic, strconv.FormatInt(ts, 10)) {
				found[l.Partition] = l.Offset
			}
			return found
		},
	}
}

func decodeAll(t *testing.T, texts []string, decode func(string) (line, bool)) []line {
	t.Helper()
	var out []line
	for _, text := range texts {
		l, ok := decode(text)
		if !ok {
			t.Fatalf("a client printed %q", text)
		}
		out = append(out, l)
	}
	return out
}

func kcat() client {
	decode := func(text string) (line, bool) {
		var m struct {
			Partition   int32
			Offset      int64
			Key, Value  string
			TS          int64
			HeaderPairs []string `json:"headers"`
			Payload     string
		}
		if json.Unmarshal([]byte(text), &m) != nil {
			return line{}, false
		}
		l := line{Partition: m.Partition, Offset: m.Offset, Key: m.Key, Value: m.Payload, Timestamp: m.TS, Headers: map[string]string{}}
		for i := 0; i+1 < len(m.HeaderPairs); i += 2 {
			l.Headers[m.HeaderPairs[i]] = m.HeaderPairs[i+1]
		}
		return l, true
	}
	return client{name: "kcat", settle: 20 * time.Second, decode: decode,
		available: func(t *testing.T) { need(t, "kcat") },
		produce: func(t *testing.T, broker, topic, codec string, first, count int) {
			t.Helper()
			var in strings.Builder
			for i := first; i < first+count; i++ {
				fmt.Fprintf(&in, "k-%d:%s-%d\n", i, codec, i)
			}
			run(t, time.Minute, in.String(), exec.Command("kcat", "-P", "-b", broker, "-t", topic, "-K", ":", "-z", codec, "-H", "h="+codec))
		},
		consume: func(t *testing.T, broker, topic string, count int) []line {
			t.Helper()
			return decodeAll(t, run(t, time.Minute, "", exec.Command("kcat", "-C", "-b", broker, "-t", topic, "-J", "-q", "-u",
				"-o", "beginning", "-c", strconv.Itoa(count))), decode)
		},
		member: func(t *testing.T, broker, topic, group string) *exec.Cmd {
			return exec.Command("kcat", "-b", broker, "-G", group, "-J", "-q", "-u", "-X", "auto.offset.reset=earliest",
				"-X", "session.timeout.ms=6000", "-X", "heartbeat.interval.ms=1000", "-X", "auto.commit.interval.ms=200", topic)
		},
		offsets: func(t *testing.T, broker, topic string, ts int64) map[int32]int64 {
			t.Helper()
			found := map[int32]int64{}
			for p := range clientPartitions {
				for _, text := range run(t, time.Minute, "", exec.Command("kcat", "-Q", "-b", broker, "-t", fmt.Sprintf("%s:%d:%d", topic, p, ts))) {
					var part int32
					var off int64
					if _, err := fmt.Sscanf(strings.TrimPrefix(text, topic), " [%d] offset %d", &part, &off); err == nil {
						found[part] = off
					}
				}
			}
			return found
		},
	}
}

// kafkaTools is Apache Kafka's console producer, console consumer and GetOffsetShell.
func kafkaTools() client {
	tool := func(t *testing.T, class, broker string, args ...string) *exec.Cmd {
		t.Helper()
		cmd := exec.Command(peer(t, "kafka/kafka.sh"), append([]string{"tool", class, "--bootstrap-server", broker}, args...)...)
		return cmd
	}
	printing := []string{"--formatter-property", "print.key=true", "--formatter-property", "print.headers=true", "--formatter-property", "print.partition=true",
		"--formatter-property", "print.offset=true", "--formatter-property", "print.timestamp=true", "--formatter-property", "key.separator=|"}
	// CreateTime:5|Partition:0|Offset:7|h:v|key|value
	decode := func(text string) (line, bool) {
		f := strings.Split(text, "|")
		if len(f) != 6 {
			return line{}, false
		}
		var l line
		_, err1 := fmt.Sscanf(f[0], "CreateTime:%d", &l.Timestamp)
		_, err2 := fmt.Sscanf(f[1], "Partition:%d", &l.Partition)
		_, err3 := fmt.Sscanf(f[2], "Offset:%d", &l.Offset)
		k, v, _ := strings.Cut(f[3], ":")
		l.Headers, l.Key, l.Value = map[string]string{k: v}, f[4], f[5]
		return l, err1 == nil && err2 == nil && err3 == nil
	}
	return client{name: "kafka-tools", headers: true, settle: 45 * time.Second, decode: decode,
		available: func(t *testing.T) { need(t, "javac"); need(t, "mvn"); peer(t, "kafka/kafka.sh") },
		produce: func(t *testing.T, broker, topic, codec string, first, count int) {
			t.Helper()
			var in strings.Builder
			for i := first; i < first+count; i++ {
				fmt.Fprintf(&in, "h:%s-%d\tk-%d\t%s-%d\n", codec, i, i, codec, i)
			}
			run(t, time.Minute, in.String(), tool(t, "ConsoleProducer", broker, "--topic", topic, "--compression-codec", codec,
				"--reader-property", "parse.key=true", "--reader-property", "parse.headers=true"))
		},
		consume: func(t *testing.T, broker, topic string, count int) []line {
			t.Helper()
			args := append([]string{"--topic", topic, "--from-beginning", "--max-messages", strconv.Itoa(count), "--timeout-ms", "30000"}, printing...)
			return decodeAll(t, run(t, time.Minute, "", tool(t, "ConsoleConsumer", broker, args...)), decode)
		},
		member: func(t *testing.T, broker, topic, group string) *exec.Cmd {
			args := append([]string{"--topic", topic, "--group", group, "--from-beginning",
				"--command-property", "session.timeout.ms=6000", "--command-property", "heartbeat.interval.ms=1000",
				"--command-property", "auto.commit.interval.ms=200"}, printing...)
			return tool(t, "ConsoleConsumer", broker, args...)
		},
		offsets: func(t *testing.T, broker, topic string, ts int64) map[int32]int64 {
			t.Helper()
			found := map[int32]int64{}
			for _, text := range run(t, time.Minute, "", tool(t, "GetOffsetShell", broker, "--topic", topic, "--time", strconv.FormatInt(ts, 10))) {
				f := strings.Split(text, ":")
				part, err1 := strconv.Atoi(f[1])
				off, err2 := strconv.ParseInt(f[2], 10, 64)
				if err1 != nil || err2 != nil {
					t.Fatalf("GetOffsetShell printed %q", text)
				}
				found[int32(part)] = off
			}
			return found
		},
	}
}

// clientPartitions is the number of partitions of the topics of these tests.
const clientPartitions = 6

// perCodec is how many records a client produces with each codec.
const perCodec = 100

func TestClients(t *testing.T) {
	n := startDev(t, t.TempDir(), nil)
	for _, c := range clients() {
		t.Run(c.name, func(t *testing.T) {
			c.available(t)
			topic := "clients-" + c.name
			milldam(t, "topic", "create", topic, "-p", strconv.Itoa(clientPartitions), "-c", "retention.ms=-1", "-b", n.kafka) // the timestamps are of 1970
			for i, codec := range codecs {
				c.produce(t, n.kafka, topic, codec, i*perCodec, perCodec)
			}
			got := c.consume(t, n.kafka, topic, len(codecs)*perCodec)
			t.Run("every codec comes back", func(t *testing.T) { checkRecords(t, c, got) })
			t.Run("offsets by time", func(t *testing.T) { checkOffsetsByTime(t, c, n.kafka, topic, got) })
			t.Run("group of three, one killed", func(t *testing.T) {
				if c.full {
					fullOnly(t, "kills a member and waits until its session ends")
				}
				checkGroup(t, c, n, topic, len(got))
			})
		})
	}
}

// checkRecords asserts that each record produced is there once, with its key, value, headers and timestamp, each partition's offsets
// in order from 0 without a gap.
func checkRecords(t *testing.T, c client, got []line) {
	t.Helper()
	next := map[int32]int64{}
	seen := map[string]bool{}
	for _, l := range got {
		if l.Offset != next[l.Partition] {
			t.Fatalf("partition %d: offset %d where %d was due", l.Partition, l.Offset, next[l.Partition])
		}
		next[l.Partition]++
		codec, number, _ := strings.Cut(l.Value, "-")
		i, err := strconv.Atoi(number)
		if err != nil || !slices.Contains(codecs, codec) || seen[l.Value] {
			t.Fatalf("value %q is none that was sent, or came twice", l.Value)
		}
		seen[l.Value] = true
		if want := "k-" + number; l.Key != want {
			t.Errorf("%s: key %q, want %q", l.Value, l.Key, want)
		}
		wantHeader := codec
		if c.headers {
			wantHeader = l.Value
		}
		if !maps.Equal(l.Headers, map[string]string{"h": wantHeader}) {
			t.Errorf("%s: headers %v", l.Value, l.Headers)
		}
		if want := int64(baseTimestamp + i*stepMs); c.timestamps && l.Timestamp != want {
			t.Errorf("%s: timestamp %d, want %d", l.Value, l.Timestamp, want)
		}
	}
	if len(seen) != len(codecs)*perCodec {
		t.Errorf("%d different records, want %d", len(seen), len(codecs)*perCodec)
	}
}

// checkOffsetsByTime compares the client's look-up with what the records it consumed say.
func checkOffsetsByTime(t *testing.T, c client, broker, topic string, got []line) {
	t.Helper()
	stamps := make([]int64, len(got))
	for i, l := range got {
		stamps[i] = l.Timestamp
	}
	slices.Sort(stamps)
	ts := stamps[len(stamps)/2]
	want := map[int32]int64{}
	for _, l := range got {
		if old, ok := want[l.Partition]; l.Timestamp >= ts && (!ok || l.Offset < old) {
			want[l.Partition] = l.Offset
		}
	}
	found := c.offsets(t, broker, topic, ts)
	for p, off := range want {
		if found[p] != off {
			t.Errorf("partition %d at %d: offset %d, want %d", p, ts, found[p], off)
		}
	}
}

// checkGroup starts three members, kills one with SIGKILL, sends more records, and asserts that every record reached some member.
func checkGroup(t *testing.T, c client, n *node, topic string, before int) {
	t.Helper()
	group := "group-" + c.name
	var logs [3]*logBuffer
	var cmds [3]*exec.Cmd
	for i := range cmds {
		logs[i] = &logBuffer{}
		cmds[i] = c.member(t, n.kafka, topic, group)
		cmds[i].Stdout, cmds[i].Stderr = logs[i], logs[i]
		if err := cmds[i].Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { cmds[i].Process.Kill(); cmds[i].Wait() })
	}
	eventually(t, c.settle, func() error { return membersOf(t, n.kafka, group, 3) })
	eventually(t, c.settle, func() error { return allRead(c, logs[:], before) })
	if err := cmds[0].Process.Kill(); err != nil {
		t.Fatal(err)
	}
	c.produce(t, n.kafka, topic, "none", before, perCodec)
	eventually(t, c.settle+10*time.Second, func() error { return allRead(c, logs[:], before+perCodec) })
	eventually(t, c.settle, func() error { return membersOf(t, n.kafka, group, 2) })
}

// membersOf asks the CLI whether group is stable with count members that own all partitions.
func membersOf(t *testing.T, broker, group string, count int) error {
	out, stderr, code := milldamCode(t, nil, "group", "describe", group, "-b", broker, "-o", "json")
	if code != 0 {
		return fmt.Errorf("group describe: exit %d: %s", code, stderr)
	}
	var g struct {
		State   string `json:"state"`
		Members []struct {
			ID string `json:"id"`
		} `json:"members"`
	}
	if err := json.Unmarshal([]byte(out), &g); err != nil {
		return fmt.Errorf("group describe printed %q: %w", out, err)
	}
	if g.State != "Stable" || len(g.Members) != count {
		return fmt.Errorf("group is %s with %d members, want Stable with %d", g.State, len(g.Members), count)
	}
	return nil
}

// allRead tells whether the members have printed want different records between them.
func allRead(c client, logs []*logBuffer, want int) error {
	seen := map[string]bool{}
	for _, log := range logs {
		for text := range strings.Lines(log.String()) {
			if l, ok := c.decode(strings.TrimSpace(text)); ok {
				seen[fmt.Sprintf("%d/%d", l.Partition, l.Offset)] = true
			}
		}
	}
	if len(seen) != want {
		return fmt.Errorf("%d records read, want %d", len(seen), want)
	}
	return nil
}

// TestKafkaAdminTools runs the tools that make topics, look at groups and measure.
func TestKafkaAdminTools(t *testing.T) {
	need(t, "mvn")
	script := peer(t, "kafka/kafka.sh")
	n := startDev(t, t.TempDir(), nil)
	tool := func(t *testing.T, class string, args ...string) string {
		t.Helper()
		cmd := exec.Command(script, append([]string{"tool", class, "--bootstrap-server", n.kafka}, args...)...)
		return strings.Join(run(t, 2*time.Minute, "", cmd), "\n")
	}
	const records = 50_000
	tool(t, "TopicCommand", "--create", "--topic", "perf", "--partitions", "3", "--config", "retention.ms=3600000")
	if out := tool(t, "TopicCommand", "--describe", "--topic", "perf"); !strings.Contains(out, "PartitionCount: 3") || !strings.Contains(out, "retention.ms=3600000") {
		t.Errorf("describe: %s", out)
	}
	tool(t, "TopicCommand", "--alter", "--topic", "perf", "--partitions", "4")
	out := tool(t, "ProducerPerformance", "--topic", "perf", "--num-records", strconv.Itoa(records), "--record-size", "100", "--throughput", "-1")
	if !strings.Contains(out, fmt.Sprintf("%d records sent", records)) {
		t.Errorf("ProducerPerformance: %s", out)
	}
	out = tool(t, "ConsumerPerformance", "--topic", "perf", "--num-records", strconv.Itoa(records), "--group", "perf-readers", "--timeout", "30000")
	if !strings.Contains(out, strconv.Itoa(records)) {
		t.Errorf("ConsumerPerformance: %s", out)
	}
	if out := tool(t, "ConsumerGroupCommand", "--list"); !strings.Contains(out, "perf-readers") {
		t.Errorf("group list: %s", out)
	}
	out = tool(t, "ConsumerGroupCommand", "--describe", "--group", "perf-readers")
	if strings.Count(out, "perf-readers") < 4 {
		t.Errorf("group describe does not show four partitions: %s", out)
	}
	tool(t, "ConsumerGroupCommand", "--group", "perf-readers", "--topic", "perf", "--reset-offsets", "--to-earliest", "--execute")
	if _, lag, _ := milldamCode(t, nil, "group", "lag", "perf-readers", "--max", "0", "-b", n.kafka); !strings.Contains(lag, strconv.Itoa(records)+" records behind") {
		t.Errorf("after the reset: %s", lag)
	}
	tool(t, "ConsumerGroupCommand", "--delete", "--group", "perf-readers")
	tool(t, "TopicCommand", "--delete", "--topic", "perf")
	if out := tool(t, "TopicCommand", "--list"); strings.Contains(out, "perf\n") {
		t.Errorf("perf is still listed: %s", out)
	}
	dir, err := filepath.Glob(filepath.Join(n.dir, "*", "perf-*"))
	if err != nil || len(dir) > 0 {
		t.Errorf("folders of the deleted topic: %v, %v", dir, err)
	}
}
