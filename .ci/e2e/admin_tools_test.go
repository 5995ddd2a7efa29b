package e2e

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// kafkaTool runs a command line class of Apache Kafka and returns what it printed.
func kafkaTool(t *testing.T, script, broker, class string, args ...string) string {
	t.Helper()
	cmd := exec.Command(script, append([]string{"tool", class, "--bootstrap-server", broker}, args...)...)
	return strings.Join(run(t, 2*time.Minute, "", cmd), "\n")
}

// TestKafkaConfigTools sets and describes everything that ConfigCommand, AclCommand, FeatureCommand and their like can.
func TestKafkaConfigTools(t *testing.T) {
	if testing.Short() {
		t.Skip("thirty starts of a JVM are for the full run")
	}
	need(t, "mvn")
	script := peer(t, "kafka/kafka.sh")
	n := startDev(t, t.TempDir(), nil)
	for _, step := range []struct {
		args []string
		want string
	}{
		{[]string{"TopicCommand", "--create", "--topic", "t", "--partitions", "2"}, "Created topic t"},
		{[]string{"ConfigCommand", "--alter", "--entity-type", "topics", "--entity-name", "t", "--add-config", "retention.ms=3600000,cleanup.policy=[compact,delete]"}, "Completed"},
		{[]string{"ConfigCommand", "--describe", "--entity-type", "topics", "--entity-name", "t"}, "retention.ms=3600000 sensitive=false synonyms={DYNAMIC_TOPIC_CONFIG:retention.ms=3600000}"},
		{[]string{"ConfigCommand", "--alter", "--entity-type", "topics", "--entity-name", "t", "--delete-config", "retention.ms"}, "Completed"},
		{[]string{"ConfigCommand", "--alter", "--entity-type", "brokers", "--entity-name", "1", "--add-config", "max.connections.per.ip=1000"}, "Completed"},
		{[]string{"ConfigCommand", "--alter", "--entity-type", "brokers", "--entity-default", "--add-config", "log.retention.ms=7200000"}, "Completed"},
		{[]string{"ConfigCommand", "--describe", "--entity-type", "brokers"}, "log.retention.ms=7200000"},
		{[]string{"ConfigCommand", "--describe", "--entity-type", "brokers", "--entity-name", "1", "--all"}, "DYNAMIC_BROKER_CONFIG:max.connections.per.ip=1000, DEFAULT_CONFIG:max.connections.per.ip=2147483647"},
		{[]string{"ConfigCommand", "--alter", "--entity-type", "broker-loggers", "--entity-name", "1", "--add-config", "root=WARN"}, "Completed"},
		{[]string{"ConfigCommand", "--alter", "--entity-type", "users", "--entity-name", "u", "--add-config", "producer_byte_rate=1000000"}, "Completed"},
		{[]string{"ConfigCommand", "--alter", "--entity-type", "users", "--entity-name", "u", "--add-config", "SCRAM-SHA-256=[iterations=8192,password=secret]"}, "Completed"},
		{[]string{"ConfigCommand", "--alter", "--entity-type", "users", "--entity-default", "--entity-type", "clients", "--entity-name", "c", "--add-config", "request_percentage=200"}, "Completed"},
		{[]string{"ConfigCommand", "--describe", "--entity-type", "users"}, "SCRAM credential configs for user-principal 'u' are SCRAM-SHA-256=iterations=8192"},
		{[]string{"ConfigCommand", "--alter", "--entity-type", "clients", "--entity-default", "--add-config", "controller_mutation_rate=1000"}, "Completed"},
		{[]string{"ConfigCommand", "--describe", "--entity-type", "clients"}, "controller_mutation_rate=1000.0"},
		{[]string{"ConfigCommand", "--alter", "--entity-type", "ips", "--entity-name", "10.0.0.1", "--add-config", "connection_creation_rate=50"}, "Completed"},
		{[]string{"ConfigCommand", "--describe", "--entity-type", "ips"}, "connection_creation_rate=50.0"},
		{[]string{"ConfigCommand", "--alter", "--entity-type", "client-metrics", "--entity-name", "m", "--add-config", "interval.ms=1000"}, "Completed"},
		{[]string{"ConfigCommand", "--describe", "--entity-type", "client-metrics"}, "interval.ms=1000"},
		{[]string{"ConfigCommand", "--alter", "--entity-type", "groups", "--entity-name", "g", "--add-config", "consumer.session.timeout.ms=50000"}, "Completed"},
		{[]string{"ConfigCommand", "--describe", "--entity-type", "groups", "--entity-name", "g"}, "consumer.session.timeout.ms=50000"},
		{[]string{"AclCommand", "--add", "--allow-principal", "User:alice", "--producer", "--topic", "t"}, "Adding ACLs for resource"},
		{[]string{"AclCommand", "--list"}, "principal=User:alice, host=*, operation=WRITE, permissionType=ALLOW"},
		{[]string{"AclCommand", "--remove", "--force", "--allow-principal", "User:alice", "--producer", "--topic", "t"}, ""},
		{[]string{"FeatureCommand", "describe"}, "Feature: metadata.version"},
		{[]string{"FeatureCommand", "upgrade", "--feature", "metadata.version=30"}, "metadata.version was upgraded to 30"},
		{[]string{"LogDirsCommand", "--describe", "--topic-list", "t"}, `"partition":"t-1"`},
		{[]string{"ReassignPartitionsCommand", "--list"}, "No partition reassignments found"},
		{[]string{"LeaderElectionCommand", "--election-type", "preferred", "--topic", "t", "--partition", "0"}, "Valid replica already elected for partitions t-0"},
		{[]string{"BrokerApiVersionsCommand"}, "AlterClientQuotas(49): 0 to 1 [usable: 1]"},
	} {
		if out := kafkaTool(t, script, n.kafka, step.args[0], step.args[1:]...); !strings.Contains(out, step.want) {
			t.Errorf("%s:\n%s\nwant %q", strings.Join(step.args, " "), out, step.want)
		}
	}
}

// TestConfigsAreApacheKafkas describes every config of a broker, a topic, a group and a client metrics subscription here and on Apache Kafka, and compares default, type,
// whether it can be changed, whether it is a secret, and the names of its synonyms.
func TestConfigsAreApacheKafkas(t *testing.T) {
	if testing.Short() {
		t.Skip("a running Apache Kafka is for the full run")
	}
	need(t, "mvn")
	script := peer(t, "kafka/kafka.sh")
	port := freePortPair(t)
	env := append(os.Environ(), "KAFKA_INSTANCE=configs-"+port)
	kafka := func(args ...string) {
		t.Helper()
		cmd := exec.Command(script, args...)
		cmd.Env = env
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("kafka.sh %s: %v\n%s", args[0], err, out)
		}
	}
	t.Cleanup(func() { kafka("wipe") })
	kafka("start", "1", port)
	n := startDev(t, t.TempDir(), nil)
	theirs, ours := describeAll(t, "127.0.0.1:"+port), describeAll(t, n.kafka)
	// min.insync.replicas is set by eligible leader replicas, which Apache Kafka has and we have not.
	apart := []string{"min.insync.replicas"}
	if len(theirs) < 390 {
		t.Fatalf("Apache Kafka has %d configs", len(theirs))
	}
	for key, want := range theirs {
		name := key[strings.IndexByte(key, ' ')+1:]
		if got := ours[key]; got != want && !slices.Contains(apart, name) {
			t.Errorf("%s\nis      %s\nKafka's %s", key, got, want)
		}
	}
	for key := range ours {
		if _, known := theirs[key]; !known && key != "BROKER log.flush" {
			t.Errorf("%s is not a config of Apache Kafka", key)
		}
	}
}

// describeAll returns what is the same wherever a broker runs, by type and key.
func describeAll(t *testing.T, broker string) map[string]string {
	t.Helper()
	cl, err := kgo.NewClient(kgo.SeedBrokers(broker))
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	create := kmsg.NewPtrCreateTopicsRequest()
	topic := kmsg.NewCreateTopicsRequestTopic()
	topic.Topic, topic.NumPartitions, topic.ReplicationFactor = "configs", 1, 1
	create.Topics = append(create.Topics, topic)
	if _, err := create.RequestWith(t.Context(), cl); err != nil {
		t.Fatal(err)
	}
	all := map[string]string{}
	for kind, name := range map[kmsg.ConfigResourceType]string{kmsg.ConfigResourceTypeBroker: "1", kmsg.ConfigResourceTypeTopic: "configs", 16: "m", 32: "g"} {
		req := kmsg.NewPtrDescribeConfigsRequest()
		req.IncludeSynonyms = true
		in := kmsg.NewDescribeConfigsRequestResource()
		in.ResourceType, in.ResourceName = kind, name
		req.Resources = append(req.Resources, in)
		var resp *kmsg.DescribeConfigsResponse
		eventually(t, 30*time.Second, func() error {
			resp, err = req.RequestWith(t.Context(), cl)
			if err == nil && resp.Resources[0].ErrorCode != 0 {
				err = fmt.Errorf("code %d", resp.Resources[0].ErrorCode)
			}
			return err
		})
		for _, c := range resp.Resources[0].Configs {
			byDefault, static := "none", c.Source == kmsg.ConfigSourceStaticBrokerConfig
			var synonyms []string
			for _, y := range c.ConfigSynonyms {
				static = static || y.Source == kmsg.ConfigSourceStaticBrokerConfig
				if y.Source == kmsg.ConfigSourceDefaultConfig {
					if synonyms = append(synonyms, y.Name); y.Value != nil {
						byDefault = *y.Value
					}
				}
			}
			if len(c.ConfigSynonyms) == 0 && c.Value != nil && !static {
				byDefault = *c.Value
			}
			all[kind.String()+" "+c.Name] = fmt.Sprintf("default %s, type %v, read-only %v, sensitive %v, synonyms %v", byDefault, c.ConfigType, c.ReadOnly, c.IsSensitive, synonyms)
		}
	}
	return all
}

// freePortPair is a port that nobody listens on, nor on the one behind it, where kafka.sh puts the controller.
func freePortPair(t *testing.T) string {
	t.Helper()
	for range 100 {
		port := freePort(t)
		n, err := strconv.Atoi(port)
		if err != nil {
			t.Fatal(err)
		}
		if l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", n+1)); err == nil {
			l.Close()
			return port
		}
	}
	t.Fatal("no two ports beside each other are free")
	return ""
}
