package e2e

import (
	"encoding/json"
	"fmt"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// scenarios are the things that applications do with a client, told in its own language by testdata/*_scenarios.*: each prints its checks, of which this test compares
// what was got with what is wanted.
var scenarios = []struct {
	client  string
	command func(t *testing.T, args ...string) *exec.Cmd
	names   []string
}{
	{"kafkajs", func(t *testing.T, args ...string) *exec.Cmd {
		return nodeJS(t, append([]string{"testdata/kafkajs_scenarios.js"}, args...)...)
	}, []string{"commits", "transactions", "offsets-in-transactions", "admin"}},
	{"kafka-python", func(t *testing.T, args ...string) *exec.Cmd {
		return exec.Command(python(t), append([]string{"testdata/kafka_python_scenarios.py"}, args...)...)
	}, []string{"commits", "transactions", "offsets-in-transactions", "admin"}},
	{"confluent-kafka-python", func(t *testing.T, args ...string) *exec.Cmd {
		return exec.Command(python(t), append([]string{"testdata/confluent_scenarios.py"}, args...)...)
	}, []string{"commits", "transactions", "offsets-in-transactions", "admin", "static-member"}},
}

// checksOfScenarios is the least number of checks of a scenario.
const checksOfScenarios = 5

func TestScenarios(t *testing.T) {
	for _, s := range scenarios {
		t.Run(s.client, func(t *testing.T) {
			s.command(t) // or it is skipped
			n := startServer(t, "group.initial.rebalance.delay.ms=0")
			names := s.names
			if testing.Short() {
				names = []string{"admin"}
			}
			for _, name := range names {
				t.Run(name, func(t *testing.T) {
					lines := run(t, 2*time.Minute, "", s.command(t, name, n.kafka))
					for _, text := range lines {
						var c struct{ Check, Got, Want any }
						if err := json.Unmarshal([]byte(text), &c); err != nil {
							t.Fatalf("%s printed %q: %v", s.client, text, err)
						}
						if got, want := fmt.Sprint(c.Got), fmt.Sprint(c.Want); got != want {
							t.Errorf("%s: %s, want %s", c.Check, got, want)
						}
					}
					if len(lines) < checksOfScenarios {
						t.Errorf("only %d checks", len(lines))
					}
				})
			}
		})
	}
}

// memberKinds are the ways in which clients share a topic, one for each assignment protocol that they bring.
func memberKinds() []client {
	var kinds []client
	with := func(name, kind string, member func(t *testing.T, broker, topic, group string) *exec.Cmd) {
		c := clientCalled(name)
		c.name += "-" + kind
		if member != nil {
			c.member = member
		}
		kinds = append(kinds, c)
	}
	confluent := func(strategy string) func(t *testing.T, broker, topic, group string) *exec.Cmd {
		return func(t *testing.T, broker, topic, group string) *exec.Cmd {
			return exec.Command(python(t), "testdata/confluent_client.py", "member", broker, topic, group, strategy)
		}
	}
	with("confluent-kafka-python", "cooperative-sticky", nil)
	with("confluent-kafka-python", "range", confluent("range"))
	with("confluent-kafka-python", "consumer-protocol", func(t *testing.T, broker, topic, group string) *exec.Cmd {
		return exec.Command(python(t), "testdata/confluent_client.py", "consumer-member", broker, topic, group)
	})
	with("kafka-python", "range", nil)
	with("kafka-python", "cooperative-sticky", func(t *testing.T, broker, topic, group string) *exec.Cmd {
		return exec.Command(python(t), "testdata/kafka_python_client.py", "member", broker, topic, group, "cooperative-sticky")
	})
	with("kafkajs", "roundrobin", nil)
	with("kafka-go", "range", nil)
	return kinds
}

// TestMembersComeAndGo has a member of each kind read a topic alone, share it with a second that joins, and take all of it again when the second leaves in good order. What
// a member that leaves has read is committed, so that no record is read twice, unless the machine is so busy that a session ends.
func TestMembersComeAndGo(t *testing.T) {
	fullOnly(t, "waits for rebalances of every client, minutes")
	n := startServer(t, "group.initial.rebalance.delay.ms=0", "group.consumer.heartbeat.interval.ms=1000", "group.consumer.min.heartbeat.interval.ms=1000")
	for _, c := range memberKinds() {
		t.Run(c.name, func(t *testing.T) {
			c.available(t)
			topic := "shared-" + c.name
			milldam(t, "topic", "create", topic, "-p", "6", "-c", "retention.ms=-1", "-b", n.kafka)
			c.produce(t, n.kafka, topic, "none", 0, perCodec)
			m := &members{t: t, c: c}
			m.start(n.kafka, topic, topic)
			eventually(t, c.settle, func() error { return shares(t, n.kafka, topic, 6) })
			eventually(t, c.settle, func() error { return m.read(perCodec) })
			m.start(n.kafka, topic, topic)
			eventually(t, 2*c.settle, func() error { return shares(t, n.kafka, topic, 3, 3) })
			c.produce(t, n.kafka, topic, "none", perCodec, perCodec)
			eventually(t, c.settle, func() error { return m.read(2 * perCodec) })
			if err := allRead(c, m.logs[1:], 0); err == nil {
				t.Error("the second member has read nothing")
			}
			leave(t, m.cmds[1])
			// Its session, which would end only later, is not waited for.
			eventually(t, c.settle, func() error { return shares(t, n.kafka, topic, 6) })
			c.produce(t, n.kafka, topic, "none", 2*perCodec, perCodec)
			eventually(t, c.settle, func() error { return m.read(3 * perCodec) })
			leave(t, m.cmds[0])
			eventually(t, c.settle, func() error { return shares(t, n.kafka, topic) })
			total := int64(0)
			for _, at := range committed(t, n.kafka, topic) {
				total += at
			}
			if total != 3*perCodec {
				t.Errorf("offsets are committed for %d records, want %d", total, 3*perCodec)
			}
			if lines := linesOf(c, m.logs); lines != 3*perCodec && !sessionEnded(n, topic) {
				t.Errorf("%d records were read, want %d", lines, 3*perCodec)
			}
		})
	}
}

// TestStaticMembersComeBack ends one of two static members in good order, which does not leave, and starts it again within its session: it has the partitions that it had,
// and the other one keeps its own.
func TestStaticMembersComeBack(t *testing.T) {
	fullOnly(t, "waits for sessions of every client, minutes")
	n := startServer(t, "group.initial.rebalance.delay.ms=0", "group.consumer.heartbeat.interval.ms=1000", "group.consumer.min.heartbeat.interval.ms=1000")
	for kind, script := range map[string][]string{
		"kafka-python": {"testdata/kafka_python_client.py", "member", "range"},
		"confluent-kafka-python-consumer-protocol": {"testdata/confluent_client.py", "consumer-member"},
	} {
		t.Run(kind, func(t *testing.T) {
			c := clientCalled(strings.TrimSuffix(kind, "-consumer-protocol"))
			topic := "static-" + kind
			milldam(t, "topic", "create", topic, "-p", "6", "-c", "retention.ms=-1", "-b", n.kafka)
			c.produce(t, n.kafka, topic, "none", 0, perCodec)
			instance := "one"
			c.member = func(t *testing.T, broker, topic, group string) *exec.Cmd {
				return exec.Command(python(t), slices.Concat(script[:2], []string{broker, topic, group}, script[2:], []string{instance})...)
			}
			m := &members{t: t, c: c}
			m.start(n.kafka, topic, topic)
			instance = "two"
			m.start(n.kafka, topic, topic)
			eventually(t, 2*c.settle, func() error { return shares(t, n.kafka, topic, 3, 3) })
			eventually(t, c.settle, func() error { return m.read(perCodec) })
			before := staticMembers(t, n.kafka, topic)
			leave(t, m.cmds[0])
			m.cmds[0].Wait() // however it ends
			instance = "one"
			m.start(n.kafka, topic, topic)
			c.produce(t, n.kafka, topic, "none", perCodec, perCodec)
			eventually(t, c.settle, func() error { return m.read(2 * perCodec) })
			if sessionEnded(n, topic) {
				t.Skip("the machine is so busy that a session ended")
			}
			after := staticMembers(t, n.kafka, topic)
			if !slices.Equal(after["one"].Partitions, before["one"].Partitions) || !slices.Equal(after["two"].Partitions, before["two"].Partitions) {
				t.Errorf("the partitions were %+v, and are %+v", before, after)
			}
			if after["two"].ID != before["two"].ID {
				t.Errorf("the other member was %s, and is %s", before["two"].ID, after["two"].ID)
			}
		})
	}
}

// sessionEnded tells whether a node has given up a member of a group.
func sessionEnded(n *node, group string) bool {
	return strings.Contains(n.log.String(), `msg="a member's session has ended" group=`+group+" ")
}

// staticMember is what a group tells of a member.
type staticMember struct {
	ID, Instance string
	Partitions   []string
}

// staticMembers are the members of a group by instance.
func staticMembers(t *testing.T, broker, group string) map[string]staticMember {
	t.Helper()
	var g struct{ Members []staticMember }
	if err := json.Unmarshal([]byte(milldam(t, "group", "describe", group, "-b", broker, "-o", "json")), &g); err != nil {
		t.Fatal(err)
	}
	byInstance := map[string]staticMember{}
	for _, m := range g.Members {
		slices.Sort(m.Partitions)
		byInstance[m.Instance] = m
	}
	return byInstance
}

// leave lets a member end in good order.
func leave(t *testing.T, cmd *exec.Cmd) {
	t.Helper()
	if err := syscall.Kill(-cmd.Process.Pid, syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
}

// shares tells whether the members of a group have as many partitions as wanted, in any order.
func shares(t *testing.T, broker, group string, want ...int) error {
	out, stderr, code := milldamCode(t, nil, "group", "describe", group, "-b", broker, "-o", "json")
	if code != 0 {
		return fmt.Errorf("group describe: exit %d: %s", code, stderr)
	}
	var g struct {
		State   string `json:"state"`
		Members []struct {
			Partitions []string `json:"partitions"`
		} `json:"members"`
	}
	if err := json.Unmarshal([]byte(out), &g); err != nil {
		return fmt.Errorf("group describe printed %q: %w", out, err)
	}
	var got []int
	for _, m := range g.Members {
		got = append(got, len(m.Partitions))
	}
	slices.Sort(got)
	if !slices.Equal(got, want) || len(want) > 0 && g.State != "Stable" {
		return fmt.Errorf("the group is %s, its members have %v partitions, want %v", g.State, got, want)
	}
	return nil
}

// linesOf is how many records the members have printed, also those that came twice.
func linesOf(c client, logs []*logBuffer) (count int) {
	for _, log := range logs {
		for text := range strings.Lines(log.String()) {
			if _, ok := c.decode(strings.TrimSpace(text)); ok {
				count++
			}
		}
	}
	return count
}
