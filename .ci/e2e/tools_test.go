package e2e

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// toolStep is one use of a tool of Apache Kafka, on a node and on Apache Kafka. Both end in the same way, and what compared leaves of their outputs is the same.
type toolStep struct {
	class    string
	args     string // BROKER and FILE are the address and a file with input
	input    string
	want     string                            // what is compared says this, so that two that are wrong alike are seen
	compared func(out string) string           // nil: all lines, in any order
	fails    bool                              // it ends with an error
	subset   bool                              // lines that only Apache Kafka prints are left out
	before   func(t *testing.T, broker string) // what is done first, without a tool
}

// toolScript is what people use the tools for, in an order that makes sense.
var toolScript = []toolStep{
	{class: "BrokerApiVersionsCommand", args: "--bootstrap-server BROKER", want: "Produce(0): 0 to 13 [usable: 13]", compared: masked(`(?m),$`, `rack: \S+`, `(?m)^.*UNSUPPORTED$`), subset: true},
	{class: "FeatureCommand", args: "--bootstrap-server BROKER describe", want: "Feature: transaction.version SupportedMinVersion: 0 SupportedMaxVersion: 2 FinalizedVersionLevel: 2", compared: masked(`Epoch: \d+`), subset: true},

	{class: "TopicCommand", args: "--bootstrap-server BROKER --create --topic orders --partitions 3 --config retention.ms=-1", want: "Created topic orders."},
	{class: "TopicCommand", args: "--bootstrap-server BROKER --create --topic orders", fails: true, want: "Error while executing topic command", compared: masked(`(?s) : .*`)},
	{class: "TopicCommand", args: "--bootstrap-server BROKER --create --topic orders --if-not-exists"},
	{class: "TopicCommand", args: "--bootstrap-server BROKER --create --topic gone"},
	{class: "TopicCommand", args: "--bootstrap-server BROKER --delete --topic gone"},
	{class: "TopicCommand", args: "--bootstrap-server BROKER --list --exclude-internal", want: "orders"},
	{class: "TopicCommand", args: "--bootstrap-server BROKER --alter --topic orders --partitions 4"},
	{class: "TopicCommand", args: "--bootstrap-server BROKER --describe --topic orders", want: "PartitionCount: 4", compared: masked(`TopicId: \S+`, `min.insync.replicas=1,?`, `\s+Elr: \S*\s+LastKnownElr: \S*`)},
	{class: "TopicCommand", args: "--bootstrap-server BROKER --describe --unavailable-partitions"},

	{class: "ConfigCommand", args: "--bootstrap-server BROKER --alter --entity-type topics --entity-name orders --add-config max.message.bytes=2000000,cleanup.policy=[compact,delete]", want: "Completed updating config for topic orders."},
	{class: "ConfigCommand", args: "--bootstrap-server BROKER --describe --entity-type topics --entity-name orders", want: "max.message.bytes=2000000"},
	{class: "ConfigCommand", args: "--bootstrap-server BROKER --alter --entity-type topics --entity-name orders --delete-config cleanup.policy"},
	{class: "ConfigCommand", args: "--bootstrap-server BROKER --alter --entity-type brokers --entity-default --add-config log.retention.ms=86400000", want: "Completed updating default config for brokers in the cluster."},
	{class: "ConfigCommand", args: "--bootstrap-server BROKER --describe --entity-type brokers --entity-default", want: "log.retention.ms=86400000", compared: masked(`(?m)^.*min\.insync\.replicas=.*$`)},
	{class: "ConfigCommand", args: "--bootstrap-server BROKER --alter --entity-type brokers --entity-default --delete-config log.retention.ms"},
	{class: "ConfigCommand", args: "--bootstrap-server BROKER --alter --entity-type users --entity-name alice --add-config producer_byte_rate=100000000"},
	{class: "ConfigCommand", args: "--bootstrap-server BROKER --describe --entity-type users --entity-name alice", want: "producer_byte_rate=1.0E8"},
	{class: "ConfigCommand", args: "--bootstrap-server BROKER --alter --entity-type users --entity-name bob --add-config SCRAM-SHA-256=[iterations=4096,password=secret]"},
	{class: "ConfigCommand", args: "--bootstrap-server BROKER --describe --entity-type users --entity-name bob", want: "SCRAM-SHA-256=iterations=4096"},

	{class: "ProducerPerformance", args: "--bootstrap-server BROKER --topic perf --num-records 20000 --record-size 100 --throughput -1 --command-property acks=all", want: "20000 records sent", compared: lastShape},
	{class: "ConsumerPerformance", args: "--bootstrap-server BROKER --topic perf --num-records 20000 --group performers --timeout 60000", want: " 20000,", compared: shape},
	{class: "EndToEndLatency", args: "--bootstrap-server BROKER --topic perf --num-records 200 --producer-acks all --record-size 100", want: "Percentiles", compared: lastShape},

	{before: fillOrders, class: "GetOffsetShell", args: "--bootstrap-server BROKER --topic orders --time earliest", want: "orders:0:0"},
	{class: "GetOffsetShell", args: "--bootstrap-server BROKER --topic orders --time -1", want: "orders:3:40"},
	{class: "GetOffsetShell", args: "--bootstrap-server BROKER --topic orders --time max-timestamp", want: "orders:3:39"},
	{class: "GetOffsetShell", args: "--bootstrap-server BROKER --topic orders --time 1577837100000", want: "orders:3:5"},
	{class: "GetOffsetShell", args: "--bootstrap-server BROKER --topic-partitions orders:1-3", want: "orders:2:30"},

	{class: "VerifiableProducer", args: "--bootstrap-server BROKER --topic checked --max-messages 500 --repeating-keys 10", want: `"acked":500`, compared: masked(`"timestamp":\d+`, `"avg_throughput":[0-9.E]+`)},
	{class: "VerifiableConsumer", args: "--bootstrap-server BROKER --topic checked --group-id checkers --max-messages 500 --reset-policy earliest", want: "consumed 500", compared: consumedInAll},
	{class: "VerifiableConsumer", args: "--bootstrap-server BROKER --topic checked --group-protocol consumer --group-id modern --max-messages 500 --reset-policy earliest", want: "consumed 500", compared: consumedInAll},
	{class: "VerifiableConsumer", args: "--bootstrap-server BROKER --topic orders --group-id readers --max-messages 100 --reset-policy earliest", want: "consumed 100", compared: consumedInAll},

	{class: "ConsumerGroupCommand", args: "--bootstrap-server BROKER --list", want: "readers"},
	{class: "ConsumerGroupCommand", args: "--bootstrap-server BROKER --list --state --type", want: "readers"},
	{class: "ConsumerGroupCommand", args: "--bootstrap-server BROKER --list --state stable"},
	{class: "ConsumerGroupCommand", args: "--bootstrap-server BROKER --describe --group readers", want: "orders"},
	{class: "ConsumerGroupCommand", args: "--bootstrap-server BROKER --describe --group readers --verbose", want: "orders"},
	{class: "ConsumerGroupCommand", args: "--bootstrap-server BROKER --describe --group readers --state", want: "Empty"},
	{class: "ConsumerGroupCommand", args: "--bootstrap-server BROKER --describe --group readers --members", want: "has no active members"},
	{class: "ConsumerGroupCommand", args: "--bootstrap-server BROKER --describe --group modern", want: "checked"},
	{class: "ConsumerGroupCommand", args: "--bootstrap-server BROKER --describe --all-groups --state", want: "modern"},
	{class: "ConsumerGroupCommand", args: "--bootstrap-server BROKER --group readers --topic orders --reset-offsets --to-earliest --execute", want: "orders"},
	{class: "ConsumerGroupCommand", args: "--bootstrap-server BROKER --group readers --topic orders --reset-offsets --to-latest --dry-run", want: "40"},
	{class: "ConsumerGroupCommand", args: "--bootstrap-server BROKER --group readers --all-topics --reset-offsets --to-latest --export", want: "orders,3,40"},
	{class: "ConsumerGroupCommand", args: "--bootstrap-server BROKER --group readers --topic orders:0 --reset-offsets --to-offset 7 --execute", want: "7"},
	{class: "ConsumerGroupCommand", args: "--bootstrap-server BROKER --group readers --topic orders:0 --reset-offsets --shift-by 2 --execute", want: "9"},
	{class: "ConsumerGroupCommand", args: "--bootstrap-server BROKER --group readers --topic orders:0 --reset-offsets --shift-by -100 --execute", want: "0"},
	{class: "ConsumerGroupCommand", args: "--bootstrap-server BROKER --group readers --topic orders:0 --reset-offsets --to-offset 1000 --execute", want: "10"},
	{class: "ConsumerGroupCommand", args: "--bootstrap-server BROKER --group readers --topic orders:0 --reset-offsets --to-current --execute", want: "10"},
	{class: "ConsumerGroupCommand", args: "--bootstrap-server BROKER --group readers --topic orders --reset-offsets --to-datetime 2020-01-01T00:05:00.000Z --execute", want: "5"},
	{class: "ConsumerGroupCommand", args: "--bootstrap-server BROKER --group readers --topic orders:0 --reset-offsets --by-duration PT100H --execute", want: "10"},
	{class: "ConsumerGroupCommand", args: "--bootstrap-server BROKER --group readers --reset-offsets --from-file FILE --execute", input: "orders,1,4\n", want: "4"},
	{class: "ConsumerGroupCommand", args: "--bootstrap-server BROKER --describe --group readers --offsets", want: "orders"},
	{class: "ConsumerGroupCommand", args: "--bootstrap-server BROKER --group readers --topic orders:1 --delete-offsets", want: "Successful"},
	{class: "ConsumerGroupCommand", args: "--bootstrap-server BROKER --group nobody --topic orders:1 --delete-offsets", want: "The group id does not exist", compared: firstLine},

	{class: "DeleteRecordsCommand", args: "--bootstrap-server BROKER --offset-json-file FILE", input: `{"version":1,"partitions":[{"topic":"orders","partition":0,"offset":5},{"topic":"orders","partition":1,"offset":-1}]}`, want: "low_watermark: 20"},
	{class: "GetOffsetShell", args: "--bootstrap-server BROKER --topic orders --time -2", want: "orders:0:5"},
	{class: "LogDirsCommand", args: "--bootstrap-server BROKER --describe --topic-list orders,perf", want: "orders-3 offsetLag 0 isFuture false", compared: logDirs},

	{class: "org.apache.kafka.tools.TransactionalMessageCopier", args: "--broker-list BROKER --input-topic checked --input-partition 0 --output-topic copied --transactional-id copier --consumer-group copiers --max-messages 500 --transaction-size 100 --enable-random-aborts",
		want: `"remaining":0`, compared: lastOfCopier},
	{before: allTransactionsEnd, class: "TransactionsCommand", args: "--bootstrap-server BROKER list", want: "copier", compared: transactionList},
	{class: "TransactionsCommand", args: "--bootstrap-server BROKER describe --transactional-id copier", want: "CoordinatorId", compared: transactionList},
	{class: "TransactionsCommand", args: "--bootstrap-server BROKER describe --transactional-id nobody", fails: true, want: "nobody", compared: firstLine},
	{class: "TransactionsCommand", args: "--bootstrap-server BROKER describe-producers --topic copied --partition 0", want: "ProducerId", compared: shape},

	{class: "TopicCommand", args: "--bootstrap-server BROKER --create --topic hanging"},
	{class: "TransactionsCommand", args: "--bootstrap-server BROKER find-hanging --topic hanging", want: "Topic"},
	{before: hangs, class: "TransactionsCommand", args: "--bootstrap-server BROKER find-hanging --broker-id 1 --max-transaction-timeout 0", want: "hanging", compared: masked(`\d{13}`, `\d+\s*$`)},
	{class: "TransactionsCommand", args: "--bootstrap-server BROKER describe-producers --topic hanging --partition 0", want: "12345", compared: masked(`\d{13}`)},
	{class: "TransactionsCommand", args: "--bootstrap-server BROKER abort --topic hanging --partition 0 --start-offset 1", fails: true, want: "Could not find", compared: firstLine},
	{class: "TransactionsCommand", args: "--bootstrap-server BROKER abort --topic hanging --partition 0 --start-offset 0"},
	{class: "TransactionsCommand", args: "--bootstrap-server BROKER describe-producers --topic hanging --partition 0", want: "None", compared: masked(`\d{13}`)},
	{class: "TransactionsCommand", args: "--bootstrap-server BROKER find-hanging --broker-id 1 --max-transaction-timeout 0", want: "Topic"},
	{class: "GetOffsetShell", args: "--bootstrap-server BROKER --topic hanging", want: "hanging:0:2"},
	{before: opens, class: "TransactionsCommand", args: "--bootstrap-server BROKER describe --transactional-id opened", want: "Ongoing", compared: masked(`\d{13}`, `\d{3,}`)},
	{class: "TransactionsCommand", args: "--bootstrap-server BROKER forceTerminateTransaction --transactionalId opened"},
	{before: allTransactionsEnd, class: "TransactionsCommand", args: "--bootstrap-server BROKER list", want: "opened", compared: transactionList},

	{class: "ConsumerGroupCommand", args: "--bootstrap-server BROKER --delete --group readers", want: "successful"},
	{class: "ConsumerGroupCommand", args: "--bootstrap-server BROKER --delete --group readers", want: "Deletion of some consumer groups failed", compared: firstLine},
	{class: "ConsumerGroupCommand", args: "--bootstrap-server BROKER --describe --group readers", want: "readers", compared: firstLine},
	{class: "TopicCommand", args: "--bootstrap-server BROKER --delete --topic orders"},
	{class: "TopicCommand", args: "--bootstrap-server BROKER --describe --topic orders", fails: true, want: "orders", compared: firstLine},
}

// TestKafkaTools runs Apache Kafka's command line tools against a node and against Apache Kafka, and compares what they print.
func TestKafkaTools(t *testing.T) {
	fullOnly(t, "a JVM for each of eighty uses of a tool, minutes")
	need(t, "mvn")
	script := peer(t, "kafka/kafka.sh")
	kafka := startKafka(t)
	ours := startServer(t, "group.initial.rebalance.delay.ms=0").kafka
	passed := 0
	for _, s := range toolScript {
		atKafka, here := s.start(t, script, kafka), s.start(t, script, ours)
		theirs, kafkaErr := atKafka()
		got, err := here()
		what, before := s.class+" "+s.args, passed
		passed++
		if (err != nil) != s.fails || (kafkaErr != nil) != s.fails {
			passed = before
			t.Errorf("%s: %v, with Apache Kafka %v\n%s", what, err, kafkaErr, got)
		}
		if !strings.Contains(theirs, s.want) {
			passed = before
			t.Errorf("%s: Apache Kafka itself does not say %q:\n%s", what, s.want, theirs)
		}
		if missing := without(got, theirs); missing != "" || !s.subset && got != theirs {
			passed = before
			t.Errorf("%s:\n%s\nonly with Apache Kafka:\n%s", what, without(got, theirs), without(theirs, got))
		}
	}
	t.Logf("%d of %d uses of the tools passed", passed, len(toolScript))
}

// start starts the tool, and returns what waits for its end and says what is compared of its output.
func (s toolStep) start(t *testing.T, script, broker string) func() (string, error) {
	t.Helper()
	if s.before != nil {
		s.before(t, broker)
	}
	args := strings.ReplaceAll(s.args, "BROKER", broker)
	if s.input != "" {
		file := filepath.Join(t.TempDir(), "input")
		if err := os.WriteFile(file, []byte(s.input), 0o644); err != nil {
			t.Fatal(err)
		}
		args = strings.ReplaceAll(args, "FILE", file)
	}
	cmd := exec.CommandContext(t.Context(), script, append([]string{"tool", s.class}, strings.Fields(args)...)...)
	cmd.Env = append(os.Environ(), "TOOL_JIT=1", "TZ=UTC")
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	kill := time.AfterFunc(2*time.Minute, func() { cmd.Process.Kill() })
	return func() (string, error) {
		defer kill.Stop()
		err := cmd.Wait()
		compared := s.compared
		if compared == nil {
			compared = masked()
		}
		out := strings.ReplaceAll(stdout.String()+stderr.String(), broker, "BROKER")
		for _, noise := range toolNoise {
			out = noise.ReplaceAllString(out, "")
		}
		return compared(out), err
	}
}

// toolNoise is what tools print that depends on the time: a client that comes before a topic has its leader, when a line was logged, and the group of an EndToEndLatency.
var toolNoise = []*regexp.Regexp{
	regexp.MustCompile(`(?m)^.* WARN NetworkClient .* recoverable issue .*\n`),
	regexp.MustCompile(`(?m)^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} `),
	regexp.MustCompile(`-\d{13}\b`),
}

// masked compares all lines without what the expressions match. Tools print what comes from maps in any order, and columns as wide as they need.
func masked(expressions ...string) func(string) string {
	return func(out string) string {
		for _, e := range expressions {
			out = regexp.MustCompile(e).ReplaceAllString(out, "")
		}
		var lines []string
		for line := range strings.Lines(out) {
			if line = strings.Join(strings.Fields(line), " "); line != "" {
				lines = append(lines, line)
			}
		}
		slices.Sort(lines)
		return strings.Join(lines, "\n")
	}
}

// firstLine compares the first line, where a stack of Java's calls follows it.
func firstLine(out string) string {
	line, _, _ := strings.Cut(strings.TrimSpace(out), "\n")
	return line
}

var number = regexp.MustCompile(`-?\d+(\.\d+)?(E-?\d+)?`)

// shape compares the words between measurements, and counts of 20000.
func shape(out string) string {
	return masked()(number.ReplaceAllStringFunc(out, func(n string) string {
		if n == "20000" {
			return n
		}
		return "#"
	}))
}

// lastShape compares the shape of the last line.
func lastShape(out string) string {
	lines := strings.Split(strings.TrimSpace(out), "\n")
	return shape(lines[len(lines)-1])
}

// transactionList compares lists of transactions without the ids of producers, their epochs and times. A copier with random aborts ends with either.
func transactionList(out string) string {
	return masked(`\d+`, `Complete(Commit|Abort)`)(out)
}

// lastOfCopier compares what a TransactionalMessageCopier has left in the end.
func lastOfCopier(out string) string {
	if i := strings.LastIndex(out, `"remaining":`); i >= 0 {
		return regexp.MustCompile(`"remaining":\d+`).FindString(out[i:])
	}
	return out
}

// consumedInAll compares what a VerifiableConsumer tells in all, in however many fetches it came.
func consumedInAll(out string) string {
	consumed, events := 0, map[string]bool{}
	for line := range strings.Lines(out) {
		var e struct {
			Name    string
			Count   int
			Success bool
		}
		if json.Unmarshal([]byte(line), &e) != nil {
			continue
		}
		events[e.Name] = true
		if e.Name == "records_consumed" {
			consumed += e.Count
		}
		if e.Name == "offsets_committed" && !e.Success {
			return "a commit fails: " + line
		}
	}
	return fmt.Sprintf("consumed %d, events %v", consumed, slices.Sorted(maps.Keys(events)))
}

// logDirs compares which partitions a broker has, not where and how large.
func logDirs(out string) string {
	var described struct {
		Brokers []struct {
			Broker  int
			LogDirs []struct {
				Error      *string
				Partitions []struct {
					Partition string
					Size      int64
					OffsetLag int64
					IsFuture  bool
				}
			}
		}
	}
	if err := json.Unmarshal([]byte(out[max(0, strings.IndexByte(out, '{')):]), &described); err != nil {
		return err.Error() + "\n" + out
	}
	var lines []string
	for _, b := range described.Brokers {
		for _, d := range b.LogDirs {
			for _, p := range d.Partitions {
				lines = append(lines, fmt.Sprintf("broker %d, error %v: %s offsetLag %d isFuture %v empty %v", b.Broker, d.Error, p.Partition, p.OffsetLag, p.IsFuture, p.Size == 0))
			}
		}
	}
	slices.Sort(lines)
	return strings.Join(lines, "\n")
}

// without returns the lines of text that other has not.
func without(text, other string) string {
	known := strings.Split(other, "\n")
	return strings.Join(slices.DeleteFunc(strings.Split(text, "\n"), func(line string) bool { return slices.Contains(known, line) }), "\n")
}

// fillOrders writes 10, 20, 30 and 40 records to the partitions of orders, a minute apart from the beginning of 2020 on.
func fillOrders(t *testing.T, broker string) {
	t.Helper()
	cl, err := kgo.NewClient(kgo.SeedBrokers(broker), kgo.DefaultProduceTopic("orders"), kgo.RecordPartitioner(kgo.ManualPartitioner()))
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	start := time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC)
	for p := range int32(4) {
		for i := range 10 * int(p+1) {
			r := &kgo.Record{Partition: p, Value: fmt.Appendf(nil, "%d", i), Timestamp: start.Add(time.Duration(i) * time.Minute)}
			if err := cl.ProduceSync(t.Context(), r).FirstErr(); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// hangs begins a transaction that no coordinator knows of.
func hangs(t *testing.T, broker string) {
	t.Helper()
	if at := hangingTransaction(t, broker, "hanging"); at != 0 {
		t.Fatalf("the transaction begins at %d", at)
	}
}

// opens begins a transaction, which lasts for as long as the test.
func opens(t *testing.T, broker string) {
	t.Helper()
	cl, err := kgo.NewClient(kgo.SeedBrokers(broker), kgo.TransactionalID("opened"), kgo.DefaultProduceTopic("hanging"), kgo.TransactionTimeout(10*time.Minute))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cl.Close)
	if err := errors.Join(cl.BeginTransaction(), cl.ProduceSync(t.Context(), kgo.StringRecord("never")).FirstErr()); err != nil {
		t.Fatal(err)
	}
}

// allTransactionsEnd waits for transactions that are being completed.
func allTransactionsEnd(t *testing.T, broker string) {
	t.Helper()
	eventually(t, time.Minute, func() error {
		open, err := openTransactions(t, broker)
		if err == nil && open > 0 {
			err = fmt.Errorf("%d transactions are open", open)
		}
		return err
	})
}
