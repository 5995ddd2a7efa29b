package node

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/milldam/milldam/core/client"
	"github.com/milldam/milldam/core/storage"
	"github.com/milldam/milldam/core/vfs"
)

func start(t *testing.T, o Options) *Node {
	t.Helper()
	n, err := Start(t.Context(), onFreePorts(o))
	must(t, err)
	t.Cleanup(func() { must(t, n.Close()) })
	return n
}

func onFreePorts(o Options) Options {
	if o.Kafka == "" {
		o.Kafka = "127.0.0.1:0"
	}
	if o.HTTP == "" {
		o.HTTP = None
	}
	return o
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// refused asserts that a node does not start, and what it says.
func refused(t *testing.T, o Options, want ...string) {
	t.Helper()
	n, err := Start(t.Context(), onFreePorts(o))
	if err == nil {
		must(t, n.Close())
		t.Fatal("it started")
	}
	for _, w := range want {
		if !strings.Contains(err.Error(), w) {
			t.Errorf("error %q does not say %q", err, w)
		}
	}
}

func clientOf(t *testing.T, n *Node, opts ...kgo.Opt) *kgo.Client {
	t.Helper()
	cl, err := client.New(n.Client(), opts...)
	must(t, err)
	t.Cleanup(cl.Close)
	return cl
}

func bounded(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	t.Cleanup(cancel)
	return ctx
}

// eventually waits until ok is true.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	deadline := time.NewTimer(20 * time.Second)
	defer deadline.Stop()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-tick.C:
		case <-deadline.C:
			t.Fatalf("not within 20 s: %s", what)
		}
	}
}

func TestADataFolderHasOneProcess(t *testing.T) {
	dir := t.TempDir()
	n := start(t, Options{Dir: dir})
	refused(t, Options{Dir: dir}, dir, fmt.Sprint("process ", os.Getpid()), "--dir")
	must(t, n.Close())
	start(t, Options{Dir: dir})
}

// TestAFolderWithoutItsMetadataIsNoNewCluster removes the metadata of a node that was stopped: it does not start, and nothing is moved away.
func TestAFolderWithoutItsMetadataIsNoNewCluster(t *testing.T) {
	dir := t.TempDir()
	must(t, start(t, Options{Dir: dir}).Close())
	must(t, os.RemoveAll(filepath.Join(dir, "meta")))
	for range 2 {
		refused(t, Options{Dir: dir}, filepath.Join(dir, "meta"), "is missing", "restore")
	}
	if _, err := os.Stat(filepath.Join(dir, "quarantine")); err == nil {
		t.Error("something was moved away")
	}
}

func TestFoldersThatAreNotOurs(t *testing.T) {
	for name, x := range map[string]struct {
		format string
		want   []string
	}{
		"newer":   {"3\n", []string{"format 3", "knows 2", "newer"}},
		"older":   {"1\n", []string{"format 1", "knows 2", "--dir"}},
		"nothing": {"hello", []string{"hello", "data folder of milldam"}},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			must(t, os.WriteFile(filepath.Join(dir, "format"), []byte(x.format), 0o644))
			refused(t, Options{Dir: dir}, append(x.want, dir)...)
		})
	}
	t.Run("a file", func(t *testing.T) {
		file := filepath.Join(t.TempDir(), "file")
		must(t, os.WriteFile(file, nil, 0o644))
		refused(t, Options{Dir: file}, file, "--dir")
	})
}

func TestAddresses(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	defer taken.Close()
	at := taken.Addr().String()
	refused(t, Options{FS: vfs.NewMem(), Kafka: at}, at, "in use", "--listen")
	refused(t, Options{FS: vfs.NewMem(), HTTP: at}, at, "in use", "--http")
	refused(t, Options{FS: vfs.NewMem(), Kafka: at, Names: fileNames}, at, "in use", "listeners.kafka")
	refused(t, Options{FS: vfs.NewMem(), Kafka: "0.0.0.0:0"}, "0.0.0.0", "listeners.insecure", "milldam server")
	refused(t, Options{FS: vfs.NewMem(), Kafka: "9092"}, "9092", "no host:port")
	start(t, Options{FS: vfs.NewMem(), Kafka: "0.0.0.0:0", Insecure: true})

	moved, err := listenNear("it", at, slog.New(slog.DiscardHandler)) // a default that is taken
	must(t, err)
	defer moved.Close()
	if moved.Addr().String() == at {
		t.Errorf("it listens at %s, which is taken", at)
	}
}

// loopbacks are this machine's own addresses, ::1 only where it speaks IPv6.
func loopbacks(t *testing.T) []string {
	t.Helper()
	hosts := []string{"127.0.0.1", "127.0.0.2"}
	if l, err := net.Listen("tcp", "[::1]:0"); err == nil {
		must(t, l.Close())
		hosts = append(hosts, "::1")
	}
	return hosts
}

// TestAClientIsAnsweredWithTheAddressItDialled dials a node by several of this machine's addresses, and in memory.
func TestAClientIsAnsweredWithTheAddressItDialled(t *testing.T) {
	n := start(t, Options{FS: vfs.NewMem(), Kafka: ":0", Insecure: true})
	_, port, err := net.SplitHostPort(n.Endpoints().Kafka)
	must(t, err)
	for _, host := range loopbacks(t) {
		cl, err := kgo.NewClient(kgo.SeedBrokers(net.JoinHostPort(host, port)))
		must(t, err)
		r, err := kmsg.NewPtrMetadataRequest().RequestWith(bounded(t), cl)
		cl.Close()
		must(t, err)
		if got := net.JoinHostPort(r.Brokers[0].Host, fmt.Sprint(r.Brokers[0].Port)); got != net.JoinHostPort(host, port) {
			t.Errorf("dialled %s, answered %s", host, got)
		}
	}
	r, err := kmsg.NewPtrMetadataRequest().RequestWith(bounded(t), clientOf(t, n))
	must(t, err)
	if r.Brokers[0].Host != "embedded" {
		t.Errorf("in memory it is answered %s", r.Brokers[0].Host)
	}
}

// TestAnAdvertisedAddressIsTold tells clients on the network of it, and none of those in this process, which has another way in.
func TestAnAdvertisedAddressIsTold(t *testing.T) {
	n := start(t, Options{FS: vfs.NewMem(), Advertised: "milldam.example:1234"})
	outside, err := kgo.NewClient(kgo.SeedBrokers(n.Endpoints().Kafka))
	must(t, err)
	defer outside.Close()
	for cl, want := range map[*kgo.Client]string{outside: "milldam.example", clientOf(t, n): "embedded"} {
		r, err := kmsg.NewPtrMetadataRequest().RequestWith(bounded(t), cl)
		must(t, err)
		if r.Brokers[0].Host != want || want != "embedded" && r.Brokers[0].Port != 1234 {
			t.Errorf("told %s:%d, want %s", r.Brokers[0].Host, r.Brokers[0].Port, want)
		}
	}
}

// TestANodeDescribesWhatHolds asks for configs that no configuration file has set, and which are not what Kafka takes for them.
func TestANodeDescribesWhatHolds(t *testing.T) {
	dir := t.TempDir()
	n := start(t, Options{Dir: dir, Advertised: "broker.example:9092"})
	configs, err := kadm.NewClient(clientOf(t, n)).DescribeBrokerConfigs(bounded(t), 1)
	must(t, err)
	want := map[string]string{"listeners": "PLAINTEXT://" + n.Endpoints().Kafka, "advertised.listeners": "PLAINTEXT://broker.example:9092", "log.dirs": dir, "node.id": "1",
		"group.initial.rebalance.delay.ms": "0", "log.retention.check.interval.ms": "30000"}
	for _, c := range configs[0].Configs {
		if w, ok := want[c.Key]; ok && (c.MaybeValue() != w || c.Source != kmsg.ConfigSourceStaticBrokerConfig) {
			t.Errorf("%s is %q (%s), want %q of this node", c.Key, c.MaybeValue(), c.Source, w)
		}
		delete(want, c.Key)
	}
	if len(want) > 0 {
		t.Errorf("not described: %v", want)
	}
}

func TestHealthAndEndpoints(t *testing.T) {
	dir := t.TempDir()
	n := start(t, Options{Dir: dir, HTTP: "127.0.0.1:0", Version: "v1"})
	data, err := os.ReadFile(filepath.Join(dir, EndpointsFile))
	must(t, err)
	var e Endpoints
	must(t, json.Unmarshal(data, &e))
	if e.Kafka != n.Endpoints().Kafka || e.HTTP == "" || e.PID != os.Getpid() {
		t.Errorf("endpoints %s", data)
	}
	for path, want := range map[string]string{"/healthz": "ok", "/readyz": `"ready":true,"reasons":[]`, "/metrics": "milldam_broker_produced_bytes_total 0", "/api/v1/pipelines": `"pipelines":[]`} {
		resp, err := http.Get(e.HTTP + path)
		must(t, err)
		body, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		must(t, err)
		if resp.StatusCode != http.StatusOK || !strings.Contains(string(body), want) {
			t.Errorf("%s: %s %s", path, resp.Status, body)
		}
	}
	must(t, n.Close())
	if _, err := http.Get(e.HTTP + "/readyz"); err == nil {
		t.Error("it answers after it was closed")
	}
	if _, err := os.Stat(filepath.Join(dir, EndpointsFile)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("its addresses are there after it was closed: %v", err)
	}
}

// TestACrashKeepsWhatWasAcknowledged cuts the power below a running node: what was not synced is gone.
func TestACrashKeepsWhatWasAcknowledged(t *testing.T) {
	disk := vfs.NewMem()
	n := start(t, Options{FS: disk})
	cl := clientOf(t, n, kgo.DefaultProduceTopic("t"), kgo.AllowAutoTopicCreation())
	for i := range 100 {
		must(t, cl.ProduceSync(bounded(t), &kgo.Record{Value: []byte(fmt.Sprint(i))}).FirstErr())
	}
	after := start(t, Options{FS: disk.CrashClone(rand.New(rand.NewPCG(1, 1)))})
	if after.Recovery().Replayed == 0 {
		t.Error("nothing was replayed")
	}
	if after.InstanceID() != n.InstanceID() {
		t.Errorf("instance id %s, before it was %s", after.InstanceID(), n.InstanceID())
	}
	reader := clientOf(t, after, kgo.ConsumeTopics("t"), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	for i := 0; i < 100; {
		fetches := reader.PollFetches(bounded(t))
		must(t, fetches.Err())
		for _, r := range fetches.Records() {
			if string(r.Value) != fmt.Sprint(i) || r.Offset != int64(i) {
				t.Fatalf("offset %d holds %s, want %d", r.Offset, r.Value, i)
			}
			i++
		}
	}
}

// TestRetentionKeepsTheTopicsOfTheDemo writes records of 2001 to a topic with retention.ms -1, as those of the demo have, and to one with the default.
func TestRetentionKeepsTheTopicsOfTheDemo(t *testing.T) {
	n := start(t, Options{FS: vfs.NewMem(), MaintainEvery: 10 * time.Millisecond})
	cl := clientOf(t, n)
	admin := kadm.NewClient(cl)
	forever := "-1"
	_, err := admin.CreateTopic(bounded(t), 1, 1, map[string]*string{"retention.ms": &forever}, "kept")
	must(t, err)
	_, err = admin.CreateTopic(bounded(t), 1, 1, nil, "default")
	must(t, err)
	old := time.Date(2001, 1, 1, 0, 47, 0, 0, time.UTC)
	for _, topic := range []string{"kept", "default"} {
		must(t, cl.ProduceSync(bounded(t), &kgo.Record{Topic: topic, Value: []byte("x"), Timestamp: old}).FirstErr())
	}
	startOf := func(topic string) int64 {
		offsets, err := admin.ListStartOffsets(bounded(t), topic)
		must(t, err)
		o, _ := offsets.Lookup(topic, 0)
		return o.Offset
	}
	eventually(t, "the default deletes what is 25 years old", func() bool { return startOf("default") == 1 })
	if got := startOf("kept"); got != 0 {
		t.Errorf("retention.ms -1 starts at %d, want 0", got)
	}
}

func TestStorageIsMeasured(t *testing.T) {
	n := start(t, Options{FS: vfs.NewMem()})
	cl := clientOf(t, n, kgo.DefaultProduceTopic("t"), kgo.AllowAutoTopicCreation())
	must(t, cl.ProduceSync(bounded(t), &kgo.Record{Value: []byte("x")}).FirstErr())
	s := n.replicas.Store().Stats()
	if s.Commits == 0 || s.CommittedBytes < 60 || s.CommitTime <= 0 || s.Partitions == 0 || s.Damaged != 0 || s.Full || s.Offline || s.TailLimit == 0 {
		t.Errorf("after a record: %+v", s)
	}
	m := newStorageMetrics(func() storage.Stats {
		return storage.Stats{Commits: 3, CommitTime: 1500 * time.Millisecond, Damaged: 1, Full: true}
	})
	const want = `
# HELP milldam_storage_commit_seconds_total Time in writes to the write-ahead log and their syncs.
# TYPE milldam_storage_commit_seconds_total counter
milldam_storage_commit_seconds_total 1.5
# HELP milldam_storage_damaged_partitions Partitions that are not served because a file of theirs is damaged.
# TYPE milldam_storage_damaged_partitions gauge
milldam_storage_damaged_partitions 1
# HELP milldam_storage_disk_full 1 while appends are refused because the disk is nearly full.
# TYPE milldam_storage_disk_full gauge
milldam_storage_disk_full 1
`
	if err := testutil.CollectAndCompare(m, strings.NewReader(want), "milldam_storage_commit_seconds_total", "milldam_storage_damaged_partitions", "milldam_storage_disk_full"); err != nil {
		t.Error(err)
	}
	if problems, err := testutil.CollectAndLint(m); err != nil || len(problems) > 0 {
		t.Errorf("%v, %v", problems, err)
	}
}

func TestCloseTwiceAndEarly(t *testing.T) {
	n, err := Start(t.Context(), onFreePorts(Options{FS: vfs.NewMem(), Flush: storage.FlushReplicated}))
	must(t, err)
	must(t, n.Close())
	must(t, n.Close())
}
