package e2e

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

// javaSettings are what both brokers run with: heartbeats that come often, so that groups settle soon.
var javaSettings = []string{"group.initial.rebalance.delay.ms=0", "group.consumer.min.heartbeat.interval.ms=100", "group.consumer.heartbeat.interval.ms=300"}

// superUser are the settings with which Apache Kafka takes ACLs from clients that do not say who they are.
var superUser = []string{"authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer", "super.users=User:ANONYMOUS"}

// javaClient is a version of Apache Kafka's Java client.
type javaClient struct {
	version   string
	jars      func(t testing.TB) string // the class path
	scenarios []string
	newer     []string // sources that it is too old for
}

var javaClients = []javaClient{
	{version: "4.3.1", jars: kafkaJars, scenarios: []string{"Produce", "Groups", "AdminModern", "AdminCalls", "Transactions", "ConsumerProtocol"}},
	{version: "2.8.2", jars: oldJars, scenarios: []string{"Produce", "Groups", "AdminCalls", "Transactions"}, newer: []string{"AdminModern.java", "ConsumerProtocol.java"}},
}

// quickScenarios are those of the short run, whose output with Apache Kafka is in testdata/java/golden.
var quickScenarios = []string{"Produce", "Groups", "AdminModern"}

// TestJavaClients runs scenarios of Java programs against Apache Kafka and against Milldam; they must print the same.
func TestJavaClients(t *testing.T) {
	ours := startServer(t, javaSettings...).kafka
	if testing.Short() {
		printed := javaClients[0].run(t, ours, quickScenarios)
		for _, s := range quickScenarios {
			t.Run(s, func(t *testing.T) { same(t, "Milldam", printed[s], "testdata/java/golden", golden(t, s)) })
		}
		return
	}
	kafka := startKafka(t, slices.Concat(javaSettings, superUser)...)
	for _, c := range javaClients {
		t.Run(c.version, func(t *testing.T) {
			theirs, got := c.run(t, kafka, c.scenarios), c.run(t, ours, c.scenarios)
			for _, s := range c.scenarios {
				t.Run(s, func(t *testing.T) {
					same(t, "Milldam", got[s], "Apache Kafka", theirs[s])
					if c.version == javaClients[0].version && slices.Contains(quickScenarios, s) {
						same(t, "Apache Kafka", theirs[s], "testdata/java/golden", golden(t, s))
					}
				})
			}
		})
	}
}

// run runs scenarios in one process and returns what each printed. Names on the broker begin with the version.
func (c javaClient) run(t *testing.T, broker string, scenarios []string) map[string]string {
	t.Helper()
	jars := c.jars(t)
	args := append([]string{broker, "java-" + c.version}, scenarios...)
	cmd := javaCommand(jars, compileJava(t, jars, "clients", c.newer...), "Main", args...)
	var out, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	kill := time.AfterFunc(10*time.Minute, func() { cmd.Process.Kill() })
	defer kill.Stop()
	if err := cmd.Wait(); err != nil {
		t.Errorf("client %s on %s: %v\n%s\n%s", c.version, broker, err, out.String(), lastLines(stderr.String(), 60))
	}
	t.Logf("client %s on %s: %s", c.version, broker, strings.Join(regexp.MustCompile(`(?m)^\w+ took \d+ ms$`).FindAllString(stderr.String(), -1), ", "))
	printed := map[string]string{}
	for part := range strings.SplitSeq(out.String(), "== ") {
		name, lines, _ := strings.Cut(part, "\n")
		printed[name] = lines
	}
	return printed
}

// same tells where the lines that one printed differ from those of another.
func same(t *testing.T, who, got, other, want string) {
	t.Helper()
	a, b := strings.Split(got, "\n"), strings.Split(want, "\n")
	differences := 0
	for i := range max(len(a), len(b)) {
		x, y := lineAt(a, i), lineAt(b, i)
		if x == y {
			continue
		}
		if differences++; differences <= 10 {
			t.Errorf("line %d\n%s: %s\n%s: %s", i+1, who, x, other, y)
		}
	}
	if len(got) == 0 {
		t.Errorf("%s printed nothing", who)
	}
}

func lineAt(lines []string, i int) string {
	if i < len(lines) {
		return lines[i]
	}
	return "(no line)"
}

func golden(t *testing.T, scenario string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("testdata", "java", "golden", scenario+".txt"))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// kafkaJars is the class path of Apache Kafka 4.3.1: its clients, Streams and Connect.
func kafkaJars(t testing.TB) string {
	t.Helper()
	need(t, "javac")
	need(t, "mvn")
	out, err := exec.Command(peer(t, "kafka/kafka.sh"), "classpath").Output()
	if err != nil {
		t.Fatalf("kafka.sh classpath: %v", err)
	}
	return strings.TrimSpace(string(out))
}

// oldJars is the class path of the client that testdata/java/kafka-clients-2.8 names.
func oldJars(t testing.TB) string {
	t.Helper()
	need(t, "javac")
	cache, err := os.UserCacheDir()
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(cache, "milldam-test", "kafka-clients-2.8")
	if _, err := os.Stat(filepath.Join(dir, ".complete")); err != nil {
		t.Skip("the Java client 2.8.2 is not installed: .ci/setup installs it")
	}
	return filepath.Join(dir, "*")
}

// compileJava compiles the sources in a folder of testdata/java and returns the folder with the classes.
func compileJava(t testing.TB, jars, program string, without ...string) string {
	t.Helper()
	sources, err := filepath.Glob(filepath.Join("testdata", "java", program, "*.java"))
	if err != nil {
		t.Fatal(err)
	}
	sources = slices.DeleteFunc(sources, func(s string) bool { return slices.Contains(without, filepath.Base(s)) })
	classes := t.TempDir()
	cmd := exec.Command("javac", append([]string{"-Xlint:-removal", "-d", classes, "-cp", jars}, sources...)...)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("javac %s: %v\n%s", program, err, out)
	}
	return classes
}

// javaCommand is a Java process of moderate size that logs warnings to its standard error.
func javaCommand(jars, classes, class string, args ...string) *exec.Cmd {
	options := []string{"-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Dlog4j2.configurationFile=" + filepath.Join(filepath.Dir(jars), "log4j2.properties"),
		"-cp", classes + string(os.PathListSeparator) + jars, class}
	return exec.Command("java", append(options, args...)...)
}
