package e2e

import (
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// TestKafkaReadsOurSegments lets Apache Kafka's own DumpLogSegments read what a node left after a clean stop: log, indexes, aborted transactions
// and producer snapshot.
func TestKafkaReadsOurSegments(t *testing.T) {
	need(t, "java")
	script := peer(t, "kafka/kafka.sh")
	dir := t.TempDir()
	n := startDev(t, dir, nil)
	milldam(t, "topic", "create", "dumped", "-c", "segment.bytes=1048576", "-c", "retention.ms=-1", "-b", n.kafka)
	cl, err := kgo.NewClient(kgo.SeedBrokers(n.kafka), kgo.DefaultProduceTopic("dumped"), kgo.ProducerBatchCompression(kgo.ZstdCompression()))
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	const count = 5000
	at := time.UnixMilli(1_000_000)
	for i := range count {
		value := fmt.Appendf(nil, "%d %x", i, i*7919*104729)
		cl.Produce(t.Context(), &kgo.Record{Key: fmt.Appendf(nil, "key-%d", i), Value: append(value, make([]byte, 1000)...), Timestamp: at.Add(time.Duration(i) * time.Millisecond)},
			func(_ *kgo.Record, err error) {
				if err != nil {
					t.Errorf("produce: %v", err)
				}
			})
		if i%100 == 99 {
			if err := cl.Flush(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
	}
	abortTransactions(t, n.kafka, "txns", 3)
	committed := kadm.Offsets{"dumped": {0: {Topic: "dumped", At: 42, LeaderEpoch: -1, Metadata: "by hand"}}}
	if err := kadm.NewClient(cl).CommitAllOffsets(t.Context(), "readers", committed); err != nil {
		t.Fatal(err)
	}
	if code, _ := n.terminate(); code != 0 {
		t.Fatalf("exit %d", code)
	}
	dumpOf := func(folder, pattern string, args ...string) string {
		t.Helper()
		files, err := filepath.Glob(filepath.Join(dir, "logs", folder, pattern))
		if err != nil || len(files) == 0 {
			t.Fatalf("no %s: %v", pattern, err)
		}
		out := strings.Join(run(t, time.Minute, "", exec.Command(script, append([]string{"tool", "DumpLogSegments", "--files", strings.Join(files, ",")}, args...)...)), "\n")
		for _, bad := range []string{"Exception", "isvalid: false", "isValid: false", "Mismatches", "Found timestamp mismatch", "Found out of order"} {
			if strings.Contains(out, bad) {
				t.Errorf("%s: it says %q:\n%.2000s", pattern, bad, out)
			}
		}
		return out
	}
	dump := func(pattern string, args ...string) string {
		t.Helper()
		return dumpOf("dumped-0", pattern, args...)
	}
	out := dump("*.log", "--deep-iteration", "--print-data-log")
	if got := strings.Count(out, "keySize:"); got != count {
		t.Errorf("Kafka reads %d records, want %d", got, count)
	}
	says(t, out, "key: key-0 payload: 0 0", fmt.Sprintf("offset: %d ", count-1))
	for _, pattern := range []string{"*.index", "*.timeindex"} {
		says(t, dump(pattern, "--index-sanity-check"), "passed sanity check")
		dump(pattern, "--verify-index-only")
		dump(pattern)
	}
	says(t, dump("*.snapshot"), "producerId: ")
	says(t, dumpOf("txns-0", "*.log", "--deep-iteration"), "endTxnMarker: ABORT coordinatorEpoch: 0")
	if out := dumpOf("txns-0", "*.txnindex"); strings.Count(out, "lastStableOffset: ") != 3 {
		t.Errorf("three aborted transactions, Kafka reads:\n%s", out)
	}
	says(t, dumpOf("txns-0", "*.snapshot"), "coordinatorEpoch: 0 currentTxnFirstOffset: OptionalLong.empty")
	says(t, dumpOf("txns-0", "*.txnindex", "--index-sanity-check"), "lastStableOffset: ")

	// What the coordinators wrote, by Kafka's decoders; ours tell the same.
	says(t, dumpOf("__transaction_state-*", "*.log", "--transaction-log-decoder"), `"transactionalId":"dump"`, `"transactionStatus":5`)
	says(t, dumpOf("__consumer_offsets-*", "*.log", "--offsets-decoder"), `"group":"readers","topic":"dumped","partition":0`, `"offset":42`, `"metadata":"by hand"`)
	says(t, milldam(t, "log", "dump", "--records", "--dir", dir, "__transaction_state"), `{"transactionalId":"dump"}`, `"state":"CompleteAbort"`)
	says(t, milldam(t, "log", "dump", "--records", "--dir", dir, "__consumer_offsets"), `{"group":"readers","topic":"dumped","partition":0}`, `"offset":42`, `"metadata":"by hand"`)
	milldam(t, "log", "verify", dir)
}

// abortTransactions writes count transactions of a record each to a topic, and aborts them.
func abortTransactions(t *testing.T, address, topic string, count int) {
	t.Helper()
	milldam(t, "topic", "create", topic, "-b", address)
	cl, err := kgo.NewClient(kgo.SeedBrokers(address), kgo.DefaultProduceTopic(topic), kgo.TransactionalID("dump"))
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	for range count {
		err := cl.BeginTransaction()
		if err == nil {
			err = cl.ProduceSync(t.Context(), kgo.StringRecord("aborted")).FirstErr()
		}
		if err == nil {
			err = cl.EndTransaction(t.Context(), kgo.TryAbort)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}
