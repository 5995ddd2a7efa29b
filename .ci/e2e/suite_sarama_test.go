package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const saramaModule = "github.com/IBM/sarama@v1.61.1"

// TestSarama runs sarama's functional tests, as they come in its module, against a node behind a toxiproxy, through which they break connections. They are written for
// five brokers, and of that only the number of brokers and of replicas is changed.
func TestSarama(t *testing.T) {
	fullOnly(t, "the client's own suite, minutes")
	s := goSuite{module: saramaModule, tags: "functional", adapt: oneBroker}.build(t)
	proxy := startToxiproxy(t)
	advertised := proxy.create(t, "kafka1")
	// As its docker-compose.yml has them.
	n := serverConfig{advertised: advertised, kafka: []string{"group.initial.rebalance.delay.ms=0", "auto.create.topics.enable=false"}}.start(t)
	proxy.forward(t, "kafka1", n.kafka)
	s.run(t, "sarama", functionalTests(t, s.dir), "TOXIPROXY_ADDR="+proxy.url, "KAFKA_VERSION=4.3.1")
}

// oneBroker makes the cluster of sarama's tests one broker at the address that its proxy listens on.
func oneBroker(t *testing.T, module string) {
	t.Helper()
	edit(t, filepath.Join(module, "functional_test.go"), map[string]string{
		"ReplicationFactor: 3,":                "ReplicationFactor: 1,",
		"for i := 1; i <= 5; i++ {":            "for i := 1; i <= 1; i++ {",
		`fmt.Sprintf("127.0.0.1:%d", 29090+i)`: "proxy.ListenAddr",
	})
}

// functionalTests is a pattern of the tests in sarama's functional_*_test.go, which share a package with its unit tests.
func functionalTests(t *testing.T, dir string) string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "functional_*_test.go"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no functional tests in %s: %v", dir, err)
	}
	var names []string
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range testFunction.FindAllSubmatch(text, -1) {
			names = append(names, string(m[1]))
		}
	}
	return "^(" + strings.Join(names, "|") + ")$"
}
