package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// consumerClients are the clients that speak the consumer protocol (KIP-848), each with the command of a member.
func consumerClients(t *testing.T) []client {
	var out []client
	for _, c := range clients() {
		classic := c.member
		member := map[string]func(t *testing.T, broker, topic, group string) *exec.Cmd{
			"franz-go": func(t *testing.T, broker, topic, group string) *exec.Cmd {
				self, err := os.Executable()
				if err != nil {
					t.Fatal(err)
				}
				cmd := exec.Command(self, "consumer-member", broker, topic, group)
				cmd.Env = append(os.Environ(), franzVerb+"=1")
				return cmd
			},
			"confluent-kafka-python": func(t *testing.T, broker, topic, group string) *exec.Cmd {
				return exec.Command(python(t), "testdata/confluent_client.py", "consumer-member", broker, topic, group)
			},
			"kafka-tools": func(t *testing.T, broker, topic, group string) *exec.Cmd {
				cmd := classic(t, broker, topic, group)
				for i, arg := range cmd.Args { // what the consumer protocol leaves to the broker
					if strings.HasPrefix(arg, "session.timeout.ms") || strings.HasPrefix(arg, "heartbeat.interval.ms") {
						cmd.Args[i] = "group.protocol=consumer"
					}
				}
				return cmd
			},
		}[c.name]
		if member != nil {
			c.member = member
			out = append(out, c)
		}
	}
	return out
}

// members are processes that read a topic in a group.
type members struct {
	t    *testing.T
	c    client
	cmds []*exec.Cmd
	logs []*logBuffer
}

func (m *members) start(broker, topic, group string) {
	m.t.Helper()
	cmd, log := m.c.member(m.t, broker, topic, group), &logBuffer{}
	cmd.Stdout, cmd.Stderr = log, log
	// A tool is a script that runs Java: both end together.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		m.t.Fatal(err)
	}
	m.t.Cleanup(func() {
		m.kill(cmd)
		cmd.Wait() // it was killed
	})
	m.cmds, m.logs = append(m.cmds, cmd), append(m.logs, log)
}

func (m *members) kill(cmd *exec.Cmd) {
	if err := syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL); err != nil && err != syscall.ESRCH {
		m.t.Errorf("kill %s: %v", cmd.Path, err)
	}
}

func (m *members) read(want int) error { return allRead(m.c, m.logs, want) }

// sessionOfConsumers is how long the broker waits for a member of the consumer protocol, at least.
const sessionOfConsumers = 45 * time.Second

// TestConsumerProtocol has three members of each client share a topic by the consumer protocol; one is killed, then the broker.
func TestConsumerProtocol(t *testing.T) {
	n := startDev(t, t.TempDir(), nil)
	for _, c := range consumerClients(t) {
		t.Run(c.name, func(t *testing.T) {
			if c.name == "kafka-tools" {
				fullOnly(t, "a JVM for each call of a tool, a minute")
			}
			c.available(t)
			topic, group := "modern-"+c.name, "modern-"+c.name
			milldam(t, "topic", "create", topic, "-p", "6", "-c", "retention.ms=-1", "-b", n.kafka)
			c.produce(t, n.kafka, topic, "none", 0, perCodec)
			m := &members{t: t, c: c}
			for range 3 {
				m.start(n.kafka, topic, group)
			}
			eventually(t, c.settle+sessionOfConsumers, func() error { return membersOf(t, n.kafka, group, 3) })
			eventually(t, c.settle, func() error { return m.read(perCodec) })
			if testing.Short() {
				return
			}
			m.kill(m.cmds[0])
			c.produce(t, n.kafka, topic, "none", perCodec, perCodec)
			eventually(t, c.settle+2*sessionOfConsumers, func() error { return m.read(2 * perCodec) })
			eventually(t, c.settle+2*sessionOfConsumers, func() error { return membersOf(t, n.kafka, group, 2) })
			before := memberIDs(t, n.kafka, group)
			restartAtOnce(n)
			c.produce(t, n.kafka, topic, "none", 2*perCodec, perCodec)
			eventually(t, c.settle+2*sessionOfConsumers, func() error { return m.read(3 * perCodec) })
			eventually(t, c.settle+2*sessionOfConsumers, func() error { return membersOf(t, n.kafka, group, 2) })
			if after := memberIDs(t, n.kafka, group); !slices.Equal(before, after) {
				t.Errorf("members %v before the broker was killed, %v after", before, after)
			}
		})
	}
}

// restartAtOnce kills the broker and starts it where it was.
func restartAtOnce(n *node) {
	n.t.Helper()
	n.keepPort()
	n.kill()
	n.start()
}

func memberIDs(t *testing.T, broker, group string) []string {
	t.Helper()
	var g struct {
		Members []struct {
			ID string `json:"id"`
		} `json:"members"`
	}
	if err := json.Unmarshal([]byte(milldam(t, "group", "describe", group, "-b", broker, "-o", "json")), &g); err != nil {
		t.Fatal(err)
	}
	var ids []string
	for _, m := range g.Members {
		ids = append(ids, m.ID)
	}
	slices.Sort(ids)
	return ids
}

// groupTool runs Kafka's ConsumerGroupCommand.
func groupTool(t *testing.T, broker string, args ...string) string {
	t.Helper()
	cmd := exec.Command(peer(t, "kafka/kafka.sh"), append([]string{"tool", "ConsumerGroupCommand", "--bootstrap-server", broker}, args...)...)
	return strings.Join(run(t, 2*time.Minute, "", cmd), "\n")
}

// stopGently lets members leave.
func (m *members) stopGently() {
	for _, cmd := range m.cmds {
		if err := syscall.Kill(-cmd.Process.Pid, syscall.SIGTERM); err != nil && err != syscall.ESRCH {
			m.t.Errorf("stop %s: %v", cmd.Path, err)
		}
	}
}

// TestKafkaGroupTool looks at groups of both types, resets offsets by every method and deletes, with Kafka's tool.
func TestKafkaGroupTool(t *testing.T) {
	need(t, "mvn")
	fullOnly(t, "a JVM for each call of a tool, a minute")
	n := startDev(t, t.TempDir(), nil)
	franz := consumerClients(t)[0]
	classic := clients()[0]
	milldam(t, "topic", "create", "t", "-p", "2", "-c", "retention.ms=-1", "-b", n.kafka)
	franz.produce(t, n.kafka, "t", "none", 0, perCodec)
	modern, old := &members{t: t, c: franz}, &members{t: t, c: classic}
	modern.start(n.kafka, "t", "modern")
	old.start(n.kafka, "t", "old")
	for group, m := range map[string]*members{"modern": modern, "old": old} {
		eventually(t, franz.settle, func() error { return membersOf(t, n.kafka, group, 1) })
		eventually(t, franz.settle, func() error { return m.read(perCodec) })
	}
	contains := func(what, text string, parts ...string) {
		t.Helper()
		for _, part := range parts {
			if !strings.Contains(text, part) {
				t.Errorf("%s does not show %q:\n%s", what, part, text)
			}
		}
	}
	contains("list", groupTool(t, n.kafka, "--list", "--state", "--type"), "modern", "Consumer", "old", "Classic", "Stable")
	if out := groupTool(t, n.kafka, "--list", "--type", "consumer"); strings.Contains(out, "old") {
		t.Errorf("the list of consumer groups has the classic one: %s", out)
	}
	for _, group := range []string{"modern", "old"} {
		contains("members", groupTool(t, n.kafka, "--describe", "--group", group, "--members", "--verbose"), "/127.0.0.1", "0,1")
		contains("state", groupTool(t, n.kafka, "--describe", "--group", group, "--state"), "Stable")
		contains("offsets", groupTool(t, n.kafka, "--describe", "--group", group, "--offsets"), "CURRENT-OFFSET", "/127.0.0.1")
	}
	modern.stopGently()
	old.stopGently()
	for _, group := range []string{"modern", "old"} {
		eventually(t, sessionOfConsumers+franz.settle, func() error {
			if ids := memberIDs(t, n.kafka, group); len(ids) > 0 {
				return fmt.Errorf("%s has %d members", group, len(ids))
			}
			return nil
		})
		resets(t, n, group)
		groupTool(t, n.kafka, "--delete-offsets", "--group", group, "--topic", "t:1")
		if got := committed(t, n.kafka, group); len(got) != 1 {
			t.Errorf("after the offset of one partition was deleted: %v", got)
		}
		groupTool(t, n.kafka, "--delete", "--group", group)
	}
	if out := groupTool(t, n.kafka, "--list"); strings.TrimSpace(out) != "" {
		t.Errorf("after all were deleted: %s", out)
	}
}

// resets moves the offsets of a group by every method there is.
func resets(t *testing.T, n *node, group string) {
	t.Helper()
	ends := map[string]int64{}
	reset := func(args ...string) map[string]int64 {
		t.Helper()
		groupTool(t, n.kafka, append([]string{"--reset-offsets", "--group", group, "--execute"}, args...)...)
		return committed(t, n.kafka, group)
	}
	all := []string{"--all-topics"}
	for p, at := range reset(append(all, "--to-latest")...) {
		ends[p] = at
	}
	if ends["t/0"]+ends["t/1"] != perCodec {
		t.Fatalf("the ends are %v", ends)
	}
	exported := filepath.Join(t.TempDir(), "offsets.csv")
	if err := os.WriteFile(exported, []byte("\"t\",0,2\n\"t\",1,3\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		args []string
		want map[string]int64
	}{
		{append(all, "--to-earliest"), map[string]int64{"t/0": 0, "t/1": 0}},
		{append(all, "--to-offset", "5"), map[string]int64{"t/0": 5, "t/1": 5}},
		{append(all, "--shift-by", "3"), map[string]int64{"t/0": 8, "t/1": 8}},
		{append(all, "--shift-by", "-6"), map[string]int64{"t/0": 2, "t/1": 2}},
		{append(all, "--to-current"), map[string]int64{"t/0": 2, "t/1": 2}},
		{[]string{"--topic", "t:1", "--to-latest"}, map[string]int64{"t/0": 2, "t/1": ends["t/1"]}},
		{append(all, "--to-datetime", "1970-01-01T00:00:00.000"), map[string]int64{"t/0": 0, "t/1": 0}},
		{append(all, "--by-duration", "PT1H"), ends},
		{[]string{"--from-file", exported}, map[string]int64{"t/0": 2, "t/1": 3}},
	} {
		if got := reset(tc.args...); fmt.Sprint(got) != fmt.Sprint(tc.want) {
			t.Errorf("%s: %v, want %v", strings.Join(tc.args, " "), got, tc.want)
		}
	}
}

// committed are the committed offsets of a group by topic/partition.
func committed(t *testing.T, broker, group string) map[string]int64 {
	t.Helper()
	var g struct {
		Partitions []struct {
			Topic     string `json:"topic"`
			Partition int    `json:"partition"`
			Committed int64  `json:"committed"`
		} `json:"partitions"`
	}
	if err := json.Unmarshal([]byte(milldam(t, "group", "lag", group, "-b", broker, "-o", "json")), &g); err != nil {
		t.Fatal(err)
	}
	out := map[string]int64{}
	for _, p := range g.Partitions {
		if p.Committed >= 0 {
			out[p.Topic+"/"+strconv.Itoa(p.Partition)] = p.Committed
		}
	}
	return out
}

// TestGroupChangesItsType has a classic Java consumer, then one of the consumer protocol beside it, then the classic one again alone: nothing is lost, and
// each change happens while a member is up.
func TestGroupChangesItsType(t *testing.T) {
	need(t, "mvn")
	fullOnly(t, "a JVM for each call of a tool, a minute")
	n := startDev(t, t.TempDir(), nil)
	java := clients()[slices.IndexFunc(clients(), func(c client) bool { return c.name == "kafka-tools" })]
	modernJava := consumerClients(t)[slices.IndexFunc(consumerClients(t), func(c client) bool { return c.name == "kafka-tools" })]
	const topic, group = "t", "moving"
	milldam(t, "topic", "create", topic, "-p", "4", "-c", "retention.ms=-1", "-b", n.kafka)
	java.produce(t, n.kafka, topic, "none", 0, perCodec)
	old, modern := &members{t: t, c: java}, &members{t: t, c: modernJava}
	read := func(want int) func() error {
		return func() error { return allRead(java, slices.Concat(old.logs, modern.logs), want) }
	}
	typeIs := func(want string, count int) func() error {
		return func() error {
			if out := groupTool(t, n.kafka, "--list", "--type"); !strings.Contains(out, want) {
				return fmt.Errorf("want a %s group: %s", want, out)
			}
			return membersOf(t, n.kafka, group, count)
		}
	}
	old.start(n.kafka, topic, group)
	eventually(t, java.settle, typeIs("Classic", 1))
	eventually(t, java.settle, read(perCodec))
	modern.start(n.kafka, topic, group)
	eventually(t, 2*java.settle, typeIs("Consumer", 2))
	java.produce(t, n.kafka, topic, "none", perCodec, perCodec)
	eventually(t, java.settle, read(2*perCodec))
	modern.stopGently()
	eventually(t, java.settle+sessionOfConsumers, typeIs("Classic", 1))
	java.produce(t, n.kafka, topic, "none", 2*perCodec, perCodec)
	eventually(t, java.settle, read(3*perCodec))
}

// TestRegularExpressionOfTheBroker subscribes by a regular expression that the broker matches, also with topics that are made later.
func TestRegularExpressionOfTheBroker(t *testing.T) {
	n := startDev(t, t.TempDir(), nil)
	i := slices.IndexFunc(consumerClients(t), func(c client) bool { return c.name == "confluent-kafka-python" })
	c := consumerClients(t)[i]
	c.available(t)
	milldam(t, "topic", "create", "logs-a", "other", "-c", "retention.ms=-1", "-b", n.kafka)
	c.produce(t, n.kafka, "logs-a", "none", 0, 50)
	c.produce(t, n.kafka, "other", "none", 0, 10)
	m := &members{t: t, c: c}
	m.start(n.kafka, "^logs-.*", "by-regex")
	values := func(want int) func() error {
		return func() error {
			if got := strings.Count(m.logs[0].String(), `"value"`); got != want {
				return fmt.Errorf("%d records read, want %d", got, want)
			}
			return nil
		}
	}
	eventually(t, c.settle, values(50))
	milldam(t, "topic", "create", "logs-b", "-c", "retention.ms=-1", "-b", n.kafka)
	c.produce(t, n.kafka, "logs-b", "none", 0, 30)
	eventually(t, c.settle+30*time.Second, values(80))
}
