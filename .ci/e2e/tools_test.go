package e2e

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// toolStep is one use of a tool of Apache Kafka: BROKER and FILE in its arguments are the address and a file with input.
type toolStep struct {
	class string
	args  string
	input string
	want  string // its output says this
	same  bool   // Milldam's and Apache Kafka's output are the same
}

// toolScript is what people use the tools for, in an order that makes sense.
var toolScript = []toolStep{
	{class: "BrokerApiVersionsCommand", args: "--bootstrap-server BROKER", want: "Produce(0): 0 to 13"},
	{class: "FeatureCommand", args: "--bootstrap-server BROKER describe", want: "Feature: transaction.version"},
	{class: "TopicCommand", args: "--bootstrap-server BROKER --create --topic orders --partitions 3 --config retention.ms=-1", want: "Created topic orders.", same: true},
	{class: "TopicCommand", args: "--bootstrap-server BROKER --create --topic orders --if-not-exists", same: true},
	{class: "TopicCommand", args: "--bootstrap-server BROKER --create --topic gone", same: true},
	{class: "TopicCommand", args: "--bootstrap-server BROKER --delete --topic gone", same: true},
	{class: "TopicCommand", args: "--bootstrap-server BROKER --list --exclude-internal", want: "orders", same: true},
	{class: "TopicCommand", args: "--bootstrap-server BROKER --alter --topic orders --partitions 4", same: true},
	{class: "TopicCommand", args: "--bootstrap-server BROKER --describe --topic orders", want: "PartitionCount: 4"},
	{class: "TopicCommand", args: "--bootstrap-server BROKER --describe --unavailable-partitions", same: true},
	{class: "ConfigCommand", args: "--bootstrap-server BROKER --alter --entity-type topics --entity-name orders --add-config max.message.bytes=2000000,cleanup.policy=[compact,delete]", want: "Completed updating config for topic orders.", same: true},
	{class: "ConfigCommand", args: "--bootstrap-server BROKER --describe --entity-type topics --entity-name orders", want: "max.message.bytes=2000000", same: true},
	{class: "ConfigCommand", args: "--bootstrap-server BROKER --alter --entity-type topics --entity-name orders --delete-config cleanup.policy", same: true},
	{class: "ConfigCommand", args: "--bootstrap-server BROKER --alter --entity-type brokers --entity-default --add-config log.retention.ms=86400000", want: "Completed updating default config for brokers in the cluster.", same: true},
	{class: "ConfigCommand", args: "--bootstrap-server BROKER --describe --entity-type brokers --entity-default", want: "log.retention.ms=86400000"},
	{class: "ConfigCommand", args: "--bootstrap-server BROKER --alter --entity-type brokers --entity-default --delete-config log.retention.ms", same: true},
	{class: "ConfigCommand", args: "--bootstrap-server BROKER --alter --entity-type users --entity-name alice --add-config producer_byte_rate=100000000", same: true},
	{class: "ConfigCommand", args: "--bootstrap-server BROKER --describe --entity-type users --entity-name alice", want: "producer_byte_rate=1.0E8", same: true},
	{class: "ConfigCommand", args: "--bootstrap-server BROKER --alter --entity-type users --entity-name bob --add-config SCRAM-SHA-256=[iterations=4096,password=secret]", same: true},
	{class: "ConfigCommand", args: "--bootstrap-server BROKER --describe --entity-type users --entity-name bob", want: "SCRAM-SHA-256=iterations=4096", same: true},
	{class: "ProducerPerformance", args: "--bootstrap-server BROKER --topic orders --num-records 20000 --record-size 100 --throughput -1 --command-property acks=all", want: "20000 records sent"},
	{class: "ConsumerPerformance", args: "--bootstrap-server BROKER --topic orders --num-records 20000 --group readers --timeout 60000", want: "20000"},
	{class: "GetOffsetShell", args: "--bootstrap-server BROKER --topic orders --time earliest", want: "orders:0:0", same: true},
	{class: "GetOffsetShell", args: "--bootstrap-server BROKER --topic orders --time -1", want: "orders:3:"},
	{class: "GetOffsetShell", args: "--bootstrap-server BROKER --topic orders --time max-timestamp", want: "orders:0:"},
	{class: "EndToEndLatency", args: "--bootstrap-server BROKER --topic orders --num-records 200 --producer-acks all --record-size 100", want: "Percentiles"},
	{class: "ConsumerGroupCommand", args: "--bootstrap-server BROKER --list", want: "readers"},
	{class: "ConsumerGroupCommand", args: "--bootstrap-server BROKER --list --state", want: "readers"},
	{class: "ConsumerGroupCommand", args: "--bootstrap-server BROKER --describe --group readers", want: "CURRENT-OFFSET"},
	{class: "ConsumerGroupCommand", args: "--bootstrap-server BROKER --describe --group readers --state", want: "Empty"},
	{class: "ConsumerGroupCommand", args: "--bootstrap-server BROKER --describe --group readers --members"},
	{class: "ConsumerGroupCommand", args: "--bootstrap-server BROKER --group readers --topic orders --reset-offsets --to-earliest --execute", want: "orders", same: true},
	{class: "ConsumerGroupCommand", args: "--bootstrap-server BROKER --group readers --topic orders --reset-offsets --to-latest --dry-run", want: "orders"},
	{class: "ConsumerGroupCommand", args: "--bootstrap-server BROKER --group readers --topic orders:0 --reset-offsets --to-offset 7 --execute", want: "7", same: true},
	{class: "ConsumerGroupCommand", args: "--bootstrap-server BROKER --group readers --topic orders:0 --reset-offsets --shift-by 3 --execute", want: "10", same: true},
	{class: "ConsumerGroupCommand", args: "--bootstrap-server BROKER --group readers --topic orders:0 --reset-offsets --to-current --execute", want: "10", same: true},
	{class: "ConsumerGroupCommand", args: "--bootstrap-server BROKER --group readers --topic orders:0 --reset-offsets --to-datetime 2001-01-01T00:00:00.000 --execute", want: "0", same: true},
	{class: "ConsumerGroupCommand", args: "--bootstrap-server BROKER --group readers --topic orders:0 --reset-offsets --by-duration PT100H --execute", want: "0", same: true},
	{class: "ConsumerGroupCommand", args: "--bootstrap-server BROKER --group readers --reset-offsets --from-file FILE --execute", input: "orders,1,4\n", want: "4", same: true},
	{class: "ConsumerGroupCommand", args: "--bootstrap-server BROKER --group readers --topic orders:1 --delete-offsets", want: "Successful", same: true},
	{class: "DeleteRecordsCommand", args: "--bootstrap-server BROKER --offset-json-file FILE", input: `{"version":1,"partitions":[{"topic":"orders","partition":0,"offset":5}]}`, want: "low_watermark: 5", same: true},
	{class: "GetOffsetShell", args: "--bootstrap-server BROKER --topic orders --time -2", want: "orders:0:5", same: true},
	{class: "LogDirsCommand", args: "--bootstrap-server BROKER --describe --topic-list orders", want: `"partition":"orders-3"`},
	{class: "VerifiableProducer", args: "--bootstrap-server BROKER --topic checked --max-messages 500 --repeating-keys 10", want: `"acked":500`},
	{class: "VerifiableConsumer", args: "--bootstrap-server BROKER --topic checked --group-id checkers --max-messages 500 --reset-policy earliest", want: `"count":`},
	{class: "VerifiableConsumer", args: "--bootstrap-server BROKER --topic checked --group-protocol consumer --group-id modern --max-messages 500 --reset-policy earliest", want: `"count":`},
	{class: "org.apache.kafka.tools.TransactionalMessageCopier", args: "--broker-list BROKER --input-topic checked --input-partition 0 --output-topic copied --transactional-id copier --consumer-group copiers --max-messages 500 --transaction-size 100 --enable-random-aborts", want: `"consumed":`},
	{class: "GetOffsetShell", args: "--bootstrap-server BROKER --topic checked --time latest", want: "checked:0:500", same: true},
	{class: "TransactionsCommand", args: "--bootstrap-server BROKER list", want: "copier"},
	{class: "TransactionsCommand", args: "--bootstrap-server BROKER describe --transactional-id copier", want: "CompleteCommit"},
	{class: "TransactionsCommand", args: "--bootstrap-server BROKER describe-producers --topic copied --partition 0", want: "ProducerId"},
	{class: "TransactionsCommand", args: "--bootstrap-server BROKER find-hanging --topic copied", want: "Topic"},
	{class: "ConsumerGroupCommand", args: "--bootstrap-server BROKER --delete --group readers", want: "successful", same: true},
	{class: "ConsumerGroupCommand", args: "--bootstrap-server BROKER --describe --group readers"},
	{class: "TopicCommand", args: "--bootstrap-server BROKER --delete --topic orders", same: true},
}

// TestKafkaTools runs Apache Kafka's command line tools against a node and against Apache Kafka.
func TestKafkaTools(t *testing.T) {
	if testing.Short() {
		t.Skip("runs in make e2e")
	}
	need(t, "mvn")
	script := peer(t, "kafka/kafka.sh")
	kafka := startKafka(t)
	ours := startServer(t, "group.initial.rebalance.delay.ms=0").kafka
	passed := 0
	for _, s := range toolScript {
		theirs, kafkaErr := s.run(t, script, kafka)
		got, err := s.run(t, script, ours)
		ok := true
		if (err == nil) != (kafkaErr == nil) {
			ok = false
			t.Errorf("%s %s: %v, with Apache Kafka %v\n%s", s.class, s.args, err, kafkaErr, got)
		}
		if !strings.Contains(theirs, s.want) {
			ok = false
			t.Errorf("%s %s: Apache Kafka itself does not say %q:\n%s", s.class, s.args, s.want, theirs)
		} else if !strings.Contains(got, s.want) {
			ok = false
			t.Errorf("%s %s: it does not say %q:\n%s", s.class, s.args, s.want, got)
		}
		if s.same && got != theirs {
			ok = false
			t.Errorf("%s %s:\n%s\nwith Apache Kafka:\n%s", s.class, s.args, got, theirs)
		}
		if ok {
			passed++
		}
	}
	t.Logf("%d of %d uses of the tools passed", passed, len(toolScript))
}

func (s toolStep) run(t *testing.T, script, broker string) (string, error) {
	t.Helper()
	args := strings.ReplaceAll(s.args, "BROKER", broker)
	if s.input != "" {
		file := filepath.Join(t.TempDir(), "input")
		if err := os.WriteFile(file, []byte(s.input), 0o644); err != nil {
			t.Fatal(err)
		}
		args = strings.ReplaceAll(args, "FILE", file)
	}
	cmd := exec.CommandContext(t.Context(), script, append([]string{"tool", s.class}, strings.Fields(args)...)...)
	cmd.Env = append(os.Environ(), "TOOL_JIT=1")
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Start(); err != nil {
		return "", err
	}
	kill := time.AfterFunc(2*time.Minute, func() { cmd.Process.Kill() })
	defer kill.Stop()
	err := cmd.Wait()
	lines := strings.Split(strings.ReplaceAll(stdout.String()+stderr.String(), broker, "BROKER"), "\n")
	if s.same {
		slices.Sort(lines) // tools print what comes from maps in any order
	}
	return strings.TrimSpace(strings.Join(lines, "\n")), err
}
