package e2e

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os/exec"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/kversion"

	"github.com/milldam/milldam/core/record"
)

// txnPartitions is the number of partitions of the topics of these tests.
const txnPartitions = 3

// fillInput writes records with the values 0 to count-1 to a new topic.
func fillInput(t testing.TB, broker, topic string, partitions, count int) {
	t.Helper()
	milldam(t, "topic", "create", topic, "-p", strconv.Itoa(partitions), "-b", broker)
	cl, err := kgo.NewClient(kgo.SeedBrokers(broker), kgo.DefaultProduceTopic(topic))
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	var list []*kgo.Record
	for i := range count {
		list = append(list, &kgo.Record{Key: fmt.Appendf(nil, "k-%d", i), Value: fmt.Appendf(nil, "%06d", i)})
	}
	if err := cl.ProduceSync(t.Context(), list...).FirstErr(); err != nil {
		t.Fatal(err)
	}
}

// readCommitted reads the values of all that a read_committed consumer sees of a topic, sorted.
func readCommitted(t testing.TB, broker, topic string) []string {
	t.Helper()
	var got []string
	for _, r := range committedRecords(t, broker, topic) {
		got = append(got, string(r.Value))
	}
	slices.Sort(got)
	return got
}

// committedRecords reads all that a read_committed consumer sees of a topic, in order within each partition.
func committedRecords(t testing.TB, broker, topic string) []*kgo.Record {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	// Markers are kept, so that the end is seen where nothing else comes before it.
	cl, err := kgo.NewClient(kgo.SeedBrokers(broker), kgo.ConsumeTopics(topic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.FetchIsolationLevel(kgo.ReadCommitted()),
		kgo.KeepControlRecords())
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	ends, err := kadm.NewClient(cl).ListCommittedOffsets(ctx, topic)
	if err = errors.Join(err, ends.Error()); err != nil {
		t.Fatal(err)
	}
	open := map[int32]int64{}
	ends.Each(func(o kadm.ListedOffset) {
		if o.Offset > 0 {
			open[o.Partition] = o.Offset
		}
	})
	var got []*kgo.Record
	for len(open) > 0 {
		fetches := cl.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			t.Fatal(err)
		}
		fetches.EachRecord(func(r *kgo.Record) {
			if !r.Attrs.IsControl() {
				got = append(got, r)
			}
			if r.Offset+1 >= open[r.Partition] {
				delete(open, r.Partition)
			}
		})
	}
	return got
}

// checkCopied asserts that the values 0 to count-1 are in a topic, each once.
func checkCopied(t testing.TB, got []string, count int) {
	t.Helper()
	seen := map[string]int{}
	for _, value := range got {
		seen[value]++
	}
	for i := range count {
		if value := fmt.Sprintf("%06d", i); seen[value] != 1 {
			t.Errorf("%s is there %d times", value, seen[value])
		}
	}
	if len(got) != count {
		t.Errorf("%d records, want %d", len(got), count)
	}
}

// copier copies a topic to another, each record once: input offsets are committed in the transactions of the output.
func copier(ctx context.Context, broker, from, to, name string, seed uint64, opts ...kgo.Opt) error {
	s, err := kgo.NewGroupTransactSession(append(opts, kgo.SeedBrokers(broker), kgo.TransactionalID(name), kgo.ConsumerGroup("copiers"), kgo.ConsumeTopics(from), kgo.DefaultProduceTopic(to),
		kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.TransactionTimeout(20*time.Second),
		kgo.SessionTimeout(6*time.Second), kgo.MetadataMinAge(100*time.Millisecond), kgo.FetchMaxWait(200*time.Millisecond))...)
	if err != nil {
		return err
	}
	defer s.Close()
	rng := rand.New(rand.NewPCG(seed, 1))
	for {
		fetches := s.PollRecords(ctx, 1+rng.IntN(200))
		if ctx.Err() != nil {
			return nil
		}
		var failed error
		fetches.EachError(func(_ string, _ int32, err error) { failed = err })
		if failed != nil {
			return failed
		}
		if err := s.Begin(); err != nil {
			return err
		}
		for _, r := range fetches.Records() {
			s.Produce(ctx, &kgo.Record{Key: r.Key, Value: r.Value}, nil)
		}
		if _, err := s.End(ctx, kgo.TransactionEndTry(rng.IntN(5) > 0)); err != nil && ctx.Err() == nil {
			return err
		}
	}
}

// TestCopyExactlyOnce copies with franz-go, of both transaction versions, with members that come and go, aborted transactions, and kills of the broker.
func TestCopyExactlyOnce(t *testing.T) {
	const count = 5000
	for name, opts := range map[string][]kgo.Opt{"version 1": {kgo.MaxVersions(kversion.V3_7_0())}, "version 2": nil} {
		t.Run(name, func(t *testing.T) {
			n := startDev(t, t.TempDir(), nil)
			n.keepPort()
			fillInput(t, n.kafka, "from", 4, count)
			milldam(t, "topic", "create", "to", "-p", strconv.Itoa(txnPartitions), "-b", n.kafka)
			ctx, stop := context.WithCancel(t.Context())
			var running sync.WaitGroup
			defer running.Wait()
			defer stop()
			for i := range 3 {
				running.Go(func() {
					// Who cannot go on is started again, as an application is.
					for seed := uint64(i) * 1000; ctx.Err() == nil; seed++ {
						life, end := context.WithTimeout(ctx, time.Duration(3+i)*time.Second)
						if err := copier(life, n.kafka, "from", "to", fmt.Sprintf("copier-%d", i), seed, opts...); err != nil && ctx.Err() == nil {
							t.Logf("copier %d starts again: %v", i, err)
						}
						end()
					}
				})
			}
			for range 3 {
				pause(t, 1500*time.Millisecond)
				n.kill()
				n.start()
			}
			eventually(t, 2*time.Minute, func() error {
				if got := len(readCommitted(t, n.kafka, "to")); got < count {
					return fmt.Errorf("%d of %d records are copied", got, count)
				}
				return nil
			})
			stop()
			running.Wait()
			checkCopied(t, readCommitted(t, n.kafka, "to"), count)
		})
	}
}

func TestCopyExactlyOnceWithLibrdkafka(t *testing.T) {
	const count = 1000
	n := startDev(t, t.TempDir(), nil)
	fillInput(t, n.kafka, "from", 4, count)
	milldam(t, "topic", "create", "to", "-p", strconv.Itoa(txnPartitions), "-b", n.kafka)
	out := run(t, 2*time.Minute, "", exec.Command(python(t), "testdata/confluent_transactions.py", n.kafka, "from", "to", "copiers", strconv.Itoa(count)))
	if want := []string{fmt.Sprintf("copied %d", count), "fenced _FENCED"}; !slices.Equal(out, want) {
		t.Errorf("it says %q, want %q", out, want)
	}
	got := readCommitted(t, n.kafka, "to")
	if len(got) == 0 || got[len(got)-1] != "of the second" {
		t.Fatalf("the last of %d records is not the second producer's", len(got))
	}
	checkCopied(t, got[:len(got)-1], count)
}

// TestKafkaTransactionTools copies with Apache Kafka's TransactionalMessageCopier, and finds and ends a transaction that hangs with its TransactionsCommand.
func TestKafkaTransactionTools(t *testing.T) {
	need(t, "mvn")
	script := peer(t, "kafka/kafka.sh")
	n := startDev(t, t.TempDir(), nil)
	tool := func(class string, args ...string) string {
		t.Helper()
		return strings.Join(run(t, 2*time.Minute, "", exec.Command(script, append([]string{"tool", class}, args...)...)), "\n")
	}
	transactions := func(args ...string) string {
		t.Helper()
		return tool("TransactionsCommand", append([]string{"--bootstrap-server", n.kafka}, args...)...)
	}
	const count = 2000
	fillInput(t, n.kafka, "from", 1, count)
	milldam(t, "topic", "create", "to", "-p", strconv.Itoa(txnPartitions), "-b", n.kafka)
	out := tool("TransactionalMessageCopier", "--broker-list", n.kafka, "--input-topic", "from", "--input-partition", "0", "--output-topic", "to",
		"--transactional-id", "copier", "--consumer-group", "copiers", "--transaction-size", "100", "--enable-random-aborts")
	if !strings.Contains(out, `"remaining":0`) {
		t.Errorf("the copier says: %s", out)
	}
	checkCopied(t, readCommitted(t, n.kafka, "to"), count)
	if out := transactions("list"); !regexp.MustCompile(`copier\s+\d+\s+\d+\s+Complete(Commit|Abort)`).MatchString(out) {
		t.Errorf("list: %s", out)
	}
	if out := transactions("describe", "--transactional-id", "copier"); !strings.Contains(out, "CompleteCommit") {
		t.Errorf("describe: %s", out)
	}

	cl, err := kgo.NewClient(kgo.SeedBrokers(n.kafka), kgo.TransactionalID("hangs"), kgo.DefaultProduceTopic("hanging"), kgo.AllowAutoTopicCreation(), kgo.TransactionTimeout(10*time.Minute))
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	if err := errors.Join(cl.BeginTransaction(), cl.ProduceSync(t.Context(), kgo.StringRecord("never")).FirstErr()); err != nil {
		t.Fatal(err)
	}
	if out := transactions("describe-producers", "--topic", "hanging", "--partition", "0"); !regexp.MustCompile(`(?m)\s0\s*$`).MatchString(out) {
		t.Errorf("describe-producers shows no transaction from offset 0: %s", out)
	}
	if out := transactions("list"); !regexp.MustCompile(`hangs\s+\d+\s+\d+\s+Ongoing`).MatchString(out) {
		t.Errorf("list: %s", out)
	}
	// A transaction that the coordinator knows does not hang; find-hanging says so.
	if out := transactions("find-hanging", "--broker-id", "1", "--max-transaction-timeout", "0"); strings.Contains(out, "hanging") {
		t.Errorf("find-hanging: %s", out)
	}
	transactions("abort", "--topic", "hanging", "--partition", "0", "--start-offset", "0")
	if got := readCommitted(t, n.kafka, "hanging"); len(got) != 0 {
		t.Errorf("what was aborted is read: %q", got)
	}

	at := strconv.FormatInt(hangingTransaction(t, n.kafka, "hanging"), 10)
	if out := transactions("find-hanging", "--broker-id", "1", "--max-transaction-timeout", "0"); !regexp.MustCompile(`hanging\s+0\s+12345\s`).MatchString(out) {
		t.Errorf("find-hanging: %s", out)
	}
	transactions("abort", "--topic", "hanging", "--partition", "0", "--start-offset", at)
	if got := readCommitted(t, n.kafka, "hanging"); len(got) != 0 {
		t.Errorf("what was aborted is read: %q", got)
	}
}

// hangingTransaction begins a transaction in partition 0 of a topic that no coordinator knows of, as producers could before brokers asked the coordinator, and returns
// its first offset.
func hangingTransaction(t testing.TB, broker, topic string) int64 {
	t.Helper()
	cl, err := kgo.NewClient(kgo.SeedBrokers(broker), kgo.MaxVersions(kversion.V3_7_0()))
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	off := "false"
	_, err = kadm.NewClient(cl).AlterBrokerConfigs(t.Context(), []kadm.AlterConfig{{Op: kadm.SetConfig, Name: "transaction.partition.verification.enable", Value: &off}})
	if err != nil {
		t.Fatal(err)
	}
	o := record.NewBatchOptions()
	o.ProducerID, o.ProducerEpoch, o.BaseSequence, o.Transactional = 12345, 0, 0, true
	var b record.Builder
	b.Reset(o)
	b.Append(time.Now().Add(-time.Minute).UnixMilli(), nil, []byte("hangs"))
	batch, err := b.Build(nil)
	if err != nil {
		t.Fatal(err)
	}
	req := kmsg.NewPtrProduceRequest()
	req.TransactionID, req.Acks, req.TimeoutMillis = kmsg.StringPtr("nobody"), -1, 10_000
	rt := kmsg.NewProduceRequestTopic()
	rt.Topic = topic
	rp := kmsg.NewProduceRequestTopicPartition()
	rp.Records = batch
	rt.Partitions = append(rt.Partitions, rp)
	req.Topics = append(req.Topics, rt)
	var at int64
	eventually(t, 30*time.Second, func() error { // Apache Kafka's brokers learn of their configs after these are acknowledged
		resp, err := req.RequestWith(t.Context(), cl)
		if err != nil {
			return err
		}
		p := resp.Topics[0].Partitions[0]
		at = p.BaseOffset
		return kerr.ErrorForCode(p.ErrorCode)
	})
	return at
}

// txnWriter writes transactions, each with one record in every partition, and remembers what came of them.
type txnWriter struct {
	broker, name string
	opts         []kgo.Opt
	begun        atomic.Int64
	committed    map[string]bool // by value: acknowledged commits
	aborted      map[string]bool // acknowledged aborts
}

// run writes until ctx ends. A producer that cannot go on is made anew.
func (w *txnWriter) run(ctx context.Context) {
	w.committed, w.aborted = map[string]bool{}, map[string]bool{}
	for life := 0; ctx.Err() == nil; life++ {
		cl, err := kgo.NewClient(append(w.opts, kgo.SeedBrokers(w.broker), kgo.TransactionalID(w.name), kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.DefaultProduceTopic("txn"),
			kgo.TransactionTimeout(10*time.Second), kgo.RecordDeliveryTimeout(5*time.Second), kgo.MetadataMinAge(100*time.Millisecond))...)
		if err != nil {
			return
		}
		for i := 0; ctx.Err() == nil; i++ {
			if !w.transaction(ctx, cl, fmt.Sprintf("%s-%d-%d", w.name, life, i), i%4 > 0) {
				break
			}
		}
		cl.Close()
	}
}

func (w *txnWriter) transaction(ctx context.Context, cl *kgo.Client, value string, commit bool) (goOn bool) {
	if cl.BeginTransaction() != nil {
		return false
	}
	w.begun.Add(1)
	var list []*kgo.Record
	for p := range int32(txnPartitions) {
		list = append(list, &kgo.Record{Partition: p, Value: []byte(value)})
	}
	if cl.ProduceSync(ctx, list...).FirstErr() != nil {
		return false
	}
	if cl.EndTransaction(ctx, kgo.TransactionEndTry(commit)) != nil {
		return false
	}
	if commit {
		w.committed[value] = true
	} else {
		w.aborted[value] = true
	}
	return true
}

// startWriters starts producers of transactions, of both versions of the protocol.
func startWriters(ctx context.Context, running *sync.WaitGroup, broker string) (writers []*txnWriter) {
	for i := range 4 {
		w := &txnWriter{broker: broker, name: fmt.Sprintf("writer-%d", i)}
		if i%2 == 0 {
			w.opts = []kgo.Opt{kgo.MaxVersions(kversion.V3_7_0())}
		}
		writers = append(writers, w)
		running.Go(func() { w.run(ctx) })
	}
	return writers
}

// TestKillsDuringTransactions kills the broker while clients of both versions write transactions over several partitions. Each transaction is seen by read_committed
// consumers in every partition or in none, those whose commit was acknowledged are, and those whose abort was are not.
func TestKillsDuringTransactions(t *testing.T) {
	kills := 20
	if testing.Short() {
		kills = 5
	}
	n := startDev(t, t.TempDir(), nil)
	n.keepPort()
	milldam(t, "topic", "create", "txn", "-p", strconv.Itoa(txnPartitions), "-b", n.kafka)
	ctx, stop := context.WithCancel(t.Context())
	var running sync.WaitGroup
	defer running.Wait()
	defer stop()
	writers := startWriters(ctx, &running, n.kafka)
	for range kills {
		pause(t, time.Duration(300+rand.IntN(700))*time.Millisecond)
		n.kill()
		n.start()
	}
	pause(t, time.Second)
	stop()
	running.Wait()
	checkTransactions(t, n.kafka, writers, kills)
}

// checkTransactions asserts what readers see of the transactions of writers that have ended.
func checkTransactions(t testing.TB, broker string, writers []*txnWriter, kills int) {
	t.Helper()
	eventually(t, time.Minute, func() error { // what was open when the writers ended is aborted when its time is up
		open, err := openTransactions(t, broker)
		if err == nil && open > 0 {
			err = fmt.Errorf("%d transactions are open", open)
		}
		return err
	})
	got := readCommitted(t, broker, "txn")
	seen := map[string]int{}
	for _, value := range got {
		seen[value]++
	}
	acked := 0
	for _, w := range writers {
		for value := range w.committed {
			if acked++; seen[value] != txnPartitions {
				t.Errorf("the commit of %s was acknowledged, and it is there %d times", value, seen[value])
			}
		}
		for value := range w.aborted {
			if seen[value] != 0 {
				t.Errorf("the abort of %s was acknowledged, and it is there %d times", value, seen[value])
			}
		}
	}
	for value, times := range seen {
		if times != txnPartitions {
			t.Errorf("%s is there %d times", value, times)
		}
	}
	t.Logf("%d kills, %d transactions committed and acknowledged, %d seen", kills, acked, len(seen))
	if acked < kills {
		t.Errorf("only %d transactions were committed", acked)
	}
}

// openTransactions is how many transactions are not at their end.
func openTransactions(t testing.TB, broker string) (int, error) {
	t.Helper()
	cl, err := kgo.NewClient(kgo.SeedBrokers(broker))
	if err != nil {
		return 0, err
	}
	defer cl.Close()
	list, err := kadm.NewClient(cl).ListTransactions(t.Context(), nil, []string{"Ongoing", "PrepareCommit", "PrepareAbort"})
	return len(list), err
}
