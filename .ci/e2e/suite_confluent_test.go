package e2e

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

const confluentModule = "github.com/confluentinc/confluent-kafka-go/v2@v2.11.1"

// TestConfluentGo runs confluent-kafka-go's integration tests, as they come in its module, with the librdkafka that is bundled there: all with the classic group protocol,
// those that have groups with the consumer protocol too.
func TestConfluentGo(t *testing.T) {
	fullOnly(t, "the client's own suite, minutes")
	need(t, "gcc")
	t.Setenv("CGO_ENABLED", "1")
	s := goSuite{module: confluentModule, dir: "kafka", adapt: adaptConfluent}.build(t)
	for _, run := range []struct {
		name, pattern string
		env           []string
	}{
		{name: "confluent-kafka-go", pattern: "^(TestIntegration|TestAdminAPIWithDefaultValue|TestConsumerCloseForStaticMember)$"},
		// Both name their topics by the second they start in, so each has a node to itself.
		{name: "confluent-kafka-go-transactions", pattern: "^TestTransactionalProducer$"},
		{name: "confluent-kafka-go-offsets-in-transactions", pattern: "^TestTransactionalSendOffsets$"},
		{name: "confluent-kafka-go-consumer-protocol", pattern: "^(TestIntegration|TestConsumerCloseForStaticMember)$", env: []string{"TEST_CONSUMER_GROUP_PROTOCOL=consumer"}},
	} {
		t.Run(run.name, func(t *testing.T) {
			n := startServer(t, "group.initial.rebalance.delay.ms=0")
			s.configure(t, n.kafka)
			s.run(t, run.name, run.pattern, run.env...)
		})
	}
}

// adaptConfluent has the tests built without the module that starts Apache Kafka in Docker when no broker is given. And their Flush(-1), which is meant to wait, returns at
// once in this version of the client: they would pass where offsets are sent more slowly than records, by chance.
func adaptConfluent(t *testing.T, module string) {
	t.Helper()
	edit(t, filepath.Join(module, "kafka", "txn_integration_test.go"), map[string]string{"producer.Flush(-1)": "producer.Flush(30000)"})
	stand, err := filepath.Abs(filepath.Join("testdata", "nocompose"))
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "go", "mod", "edit", "-replace", "github.com/testcontainers/testcontainers-go/modules/compose="+stand)
	cmd.Dir = module
	if out, err := runToFile(cmd); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
}

// configure writes the file that tells the tests of confluent-kafka-go where the broker is.
func (b builtSuite) configure(t *testing.T, broker string) {
	t.Helper()
	text, err := json.Marshal(map[string]any{"Brokers": broker, "TopicName": "test", "GroupID": "testgroup"})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(b.dir, "testconf.json"), text, 0o644); err != nil {
		t.Fatal(err)
	}
}
