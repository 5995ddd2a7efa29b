package e2e

import (
	"context"
	endian "encoding/binary"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// streamsApp is an application of Kafka Streams.
type streamsApp struct {
	name    string
	topics  map[string]int32 // input and output topics and how many partitions they have
	input   []*kgo.Record
	want    map[string][]string // what each output topic holds in the end, sorted
	command func(t testing.TB, broker, state string) *exec.Cmd
	text    func(r *kgo.Record) string // what of an output record is compared
}

// streamsKills is how often the broker is killed while an application works.
const streamsKills = 5

// TestKafkaStreams runs applications on Apache Kafka and on Milldam, also while Milldam is killed: each output is there once, and internal topics are made
// as on Apache Kafka.
func TestKafkaStreams(t *testing.T) {
	fullOnly(t, "Kafka Streams on two brokers, and kills, minutes")
	kafka := startKafka(t, "group.initial.rebalance.delay.ms=0")
	for _, app := range []*streamsApp{wordCount(), pairs(t)} {
		t.Run(app.name, func(t *testing.T) {
			t.Run("on Apache Kafka", func(t *testing.T) { app.run(t, kafka) })
			n := startDev(t, t.TempDir(), nil)
			t.Run("on Milldam", func(t *testing.T) { app.run(t, n.kafka) })
			t.Run("internal topics", func(t *testing.T) { sameInternalTopics(t, app, n.kafka, kafka) })
			t.Run("on Milldam under kills", func(t *testing.T) { app.runUnderKills(t) })
		})
	}
}

// run feeds an application all of its input and checks what comes out.
func (a *streamsApp) run(t *testing.T, broker string) {
	a.makeTopics(t, broker)
	process := a.start(t, broker)
	began := time.Now()
	a.feed(t, broker, a.input, 0)
	a.awaitOutput(t, broker)
	t.Logf("%d records in %s", len(a.input), time.Since(began))
	process.end(syscall.SIGTERM)
	a.check(t, broker)
}

// runUnderKills feeds an application piece by piece, and kills the broker at each: while it starts, while it works, while a second process of it takes over
// its share, and while that takes over the rest, since the first one is killed too.
func (a *streamsApp) runUnderKills(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	n := startDev(t, t.TempDir(), nil)
	n.keepPort()
	a.makeTopics(t, n.kafka)
	first := a.start(t, n.kafka)
	second := first
	output := topicEnd(slices.Sorted(maps.Keys(a.want))[0])
	for i, piece := range slices.Collect(slices.Chunk(a.input, len(a.input)/streamsKills+1)) {
		switch i {
		case 2:
			second = a.start(t, n.kafka)
		case 3:
			first.end(syscall.SIGKILL)
		}
		before, fed := output(n), make(chan struct{})
		go func() {
			defer close(fed)
			a.feed(t, n.kafka, piece, feedPace)
		}()
		if i > 0 { // at first the application starts
			eventually(t, 2*time.Minute, func() error {
				if output(n) == before {
					return errors.New("nothing comes out")
				}
				return nil
			})
		}
		pause(t, time.Duration(random.Int64N(int64(feedPace)*int64(len(piece)/feedBatch))))
		t.Logf("killed after %d records of output, %d of which for this piece", output(n), output(n)-before)
		n.kill()
		n.start()
		<-fed
	}
	a.awaitOutput(t, n.kafka)
	second.end(syscall.SIGTERM)
	a.check(t, n.kafka)
}

func (a *streamsApp) makeTopics(t *testing.T, broker string) {
	t.Helper()
	for topic, partitions := range a.topics {
		milldam(t, "topic", "create", topic, "-p", strconv.Itoa(int(partitions)), "-c", "retention.ms=-1", "-b", broker)
	}
}

// streamsProcess is a running process of an application.
type streamsProcess struct {
	t    *testing.T
	cmd  *exec.Cmd
	done chan struct{}
}

// start starts a process of the application, with a state of its own. It is killed at the end of the test.
func (a *streamsApp) start(t *testing.T, broker string) *streamsProcess {
	t.Helper()
	p, log := &streamsProcess{t: t, cmd: a.command(t, broker, t.TempDir()), done: make(chan struct{})}, &logBuffer{}
	p.cmd.Stdout, p.cmd.Stderr = log, log
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		_ = p.cmd.Wait() // it ends by a signal
		close(p.done)
	}()
	t.Cleanup(func() {
		p.cmd.Process.Kill()
		<-p.done
		if t.Failed() {
			t.Logf("%s's log:\n%s", a.name, lastLines(log.String(), 100))
		}
	})
	return p
}

func (p *streamsProcess) end(signal os.Signal) {
	p.t.Helper()
	if err := p.cmd.Process.Signal(signal); err != nil {
		p.t.Errorf("the application ended by itself: %v", err)
	}
	<-p.done
}

// feedBatch records are written at a time, feedPace after the ones before while the broker is killed.
const (
	feedBatch = 50
	feedPace  = 20 * time.Millisecond
)

// feed writes input, each record once, whatever happens to the broker meanwhile.
func (a *streamsApp) feed(t *testing.T, broker string, input []*kgo.Record, pace time.Duration) {
	cl, err := kgo.NewClient(kgo.SeedBrokers(broker), kgo.RecordPartitioner(kgo.ManualPartitioner()))
	if err != nil {
		t.Error(err)
		return
	}
	defer cl.Close()
	var list []*kgo.Record
	for _, r := range input { // a record belongs to the client that has sent it
		list = append(list, &kgo.Record{Topic: r.Topic, Partition: r.Partition, Value: r.Value, Timestamp: r.Timestamp})
	}
	for batch := range slices.Chunk(list, feedBatch) {
		if err := cl.ProduceSync(t.Context(), batch...).FirstErr(); err != nil {
			t.Errorf("feed %s: %v", a.name, err)
			return
		}
		pause(t, pace)
	}
}

// awaitOutput waits until as many records have been committed to each output topic as should come.
func (a *streamsApp) awaitOutput(t *testing.T, broker string) {
	t.Helper()
	eventually(t, 5*time.Minute, func() error {
		for topic, want := range a.want {
			if got := len(committedRecords(t, broker, topic)); got < len(want) {
				pause(t, time.Second) // reading all of it again costs something
				return fmt.Errorf("%s has %d of %d records", topic, got, len(want))
			}
		}
		return nil
	})
}

func (a *streamsApp) check(t *testing.T, broker string) {
	t.Helper()
	for topic, want := range a.want {
		var got []string
		for _, r := range committedRecords(t, broker, topic) {
			got = append(got, a.text(r))
		}
		slices.Sort(got)
		same(t, topic, strings.Join(got, "\n"), "the input", strings.Join(want, "\n"))
	}
}

// sameInternalTopics compares the topics that an application made for itself, with the configs it gave them.
func sameInternalTopics(t *testing.T, a *streamsApp, ours, theirs string) {
	t.Helper()
	got, want := internalTopics(t, a, ours), internalTopics(t, a, theirs)
	if len(want) == 0 {
		t.Error("the application made no topics")
	}
	for _, line := range got {
		t.Log(line)
	}
	same(t, "Milldam", strings.Join(got, "\n"), "Apache Kafka", strings.Join(want, "\n"))
}

// internalTopics describes the topics that an application made.
func internalTopics(t *testing.T, a *streamsApp, broker string) []string {
	t.Helper()
	var lines []string
	for _, topic := range strings.Fields(milldam(t, "topic", "list", "-b", broker)) {
		if strings.HasPrefix(topic, a.name) && (strings.HasSuffix(topic, "-repartition") || strings.HasSuffix(topic, "-changelog")) {
			lines = append(lines, topicConfigs(t, broker, topic))
		}
	}
	return lines
}

// topicConfigs tells how many partitions a topic has, and the configs it was made with.
func topicConfigs(t testing.TB, broker, topic string) string {
	t.Helper()
	cl, err := kgo.NewClient(kgo.SeedBrokers(broker))
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	admin := kadm.NewClient(cl)
	topics, err := admin.ListTopics(ctx, topic)
	if err != nil {
		t.Fatal(err)
	}
	configs, err := admin.DescribeTopicConfigs(ctx, topic)
	if err != nil {
		t.Fatal(err)
	}
	var set []string
	for _, c := range configs[0].Configs {
		if c.Source == kmsg.ConfigSourceDynamicTopicConfig {
			set = append(set, c.Key+"="+c.MaybeValue())
		}
	}
	slices.Sort(set)
	return fmt.Sprintf("%s: %d partitions, %s", topic, len(topics[topic].Partitions), strings.Join(set, " "))
}

// wordCount is Apache Kafka's own example, made exactly-once.
func wordCount() *streamsApp {
	a := &streamsApp{name: "streams-wordcount", topics: map[string]int32{"streams-plaintext-input": 2, "streams-wordcount-output": 2}, want: map[string][]string{}}
	counts := map[string]int{}
	for i := range 6000 {
		text := fmt.Sprintf("the word%d flows and word%d grinds", i%17, i%101)
		a.input = append(a.input, &kgo.Record{Topic: "streams-plaintext-input", Partition: int32(i % 2), Value: []byte(text)})
		for word := range strings.FieldsSeq(text) {
			counts[word]++
			a.want["streams-wordcount-output"] = append(a.want["streams-wordcount-output"], fmt.Sprintf("%s %d", word, counts[word]))
		}
	}
	slices.Sort(a.want["streams-wordcount-output"])
	a.text = func(r *kgo.Record) string {
		if len(r.Value) != 8 {
			return fmt.Sprintf("%s %q", r.Key, r.Value)
		}
		return fmt.Sprintf("%s %d", r.Key, endian.BigEndian.Uint64(r.Value))
	}
	a.command = func(t testing.TB, broker, state string) *exec.Cmd {
		t.Helper()
		config := filepath.Join(state, "app.properties")
		text := fmt.Sprintf("bootstrap.servers=%s\nstate.dir=%s\nprocessing.guarantee=exactly_once_v2\nsession.timeout.ms=6000\nheartbeat.interval.ms=1000\n", broker, state)
		if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return javaCommand(kafkaJars(t), state, "org.apache.kafka.streams.examples.wordcount.WordCountDemo", config)
	}
	return a
}

// pairs is testdata/java/streams/Pairs.java.
func pairs(t *testing.T) *streamsApp {
	const (
		customers = 40
		records   = 4000
		step      = 100 * time.Millisecond
		apart     = 2 * time.Second
	)
	first := time.Now().Add(-time.Hour).Truncate(time.Minute)
	a := &streamsApp{name: "pairs-app", topics: map[string]int32{"orders": 3, "payments": 3, "pairs": 3, "pairs-per-minute": 1}, want: map[string][]string{}}
	customer := func(i int) string { return fmt.Sprintf("c%d", i%customers) }
	at := func(i int) time.Time { return first.Add(time.Duration(i) * step) }
	counts := map[string]int{}
	for i := range records {
		a.input = append(a.input,
			&kgo.Record{Topic: "orders", Partition: int32(i % 3), Timestamp: at(i), Value: fmt.Appendf(nil, "%s:o%d", customer(i), i)},
			&kgo.Record{Topic: "payments", Partition: int32(i % 3), Timestamp: at(i), Value: fmt.Appendf(nil, "%s:p%d", customer(i*7), i)})
		for j := max(0, i-int(apart/step)); j <= min(records-1, i+int(apart/step)); j++ {
			if customer(i) != customer(j*7) {
				continue
			}
			a.want["pairs"] = append(a.want["pairs"], fmt.Sprintf("%s %s:o%d+%s:p%d", customer(i), customer(i), i, customer(i), j))
			window := fmt.Sprintf("%s@%d", customer(i), at(max(i, j)).Truncate(time.Minute).UnixMilli())
			counts[window]++
			a.want["pairs-per-minute"] = append(a.want["pairs-per-minute"], fmt.Sprintf("%s %d", window, counts[window]))
		}
	}
	for _, want := range a.want {
		slices.Sort(want)
	}
	a.text = func(r *kgo.Record) string { return fmt.Sprintf("%s %s", r.Key, r.Value) }
	classes := ""
	a.command = func(tb testing.TB, broker, state string) *exec.Cmd {
		jars := kafkaJars(tb)
		if classes == "" {
			classes = compileJava(t, jars, "streams")
		}
		return javaCommand(jars, classes, "Pairs", broker, state)
	}
	return a
}
