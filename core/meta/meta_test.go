package meta

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/milldam/milldam/core/record"
	"github.com/milldam/milldam/core/vfs"
	"github.com/milldam/milldam/core/vfs/vfstest"
)

func open(t testing.TB, fs vfs.FS) *Controller {
	t.Helper()
	c, err := Open(t.Context(), Options{FS: fs, Dir: "meta", NodeID: 1, Static: map[string]string{"num.partitions": "3"}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	if len(c.Image().Brokers()) == 0 {
		must(t, c.RegisterBroker(t.Context(), Broker{ID: 1}))
	}
	return c
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func create(t testing.TB, c *Controller, name string) *Topic {
	t.Helper()
	topic, err := c.CreateTopic(t.Context(), NewTopic{Name: name, Partitions: -1, Replicas: -1, Config: map[string]string{"retention.ms": "-1"}}, false)
	must(t, err)
	return topic
}

func content(t testing.TB, i *Image) string {
	t.Helper()
	data, err := i.encode()
	must(t, err)
	return string(data)
}

func TestChangesSurviveARestart(t *testing.T) {
	fs := vfs.NewMem()
	c := open(t, fs)
	id := c.Image().ClusterID()
	if len(id) != 22 {
		t.Errorf("cluster id %q", id)
	}
	a, b := create(t, c, "a"), create(t, c, "b")
	must(t, c.DeleteTopic(t.Context(), b.ID))
	must(t, c.CreatePartitions(t.Context(), "a", 5, nil, false))
	must(t, c.AlterTopicConfig(t.Context(), "a", []ConfigOp{{Key: "cleanup.policy", Value: "compact", Op: OpAppend}}, false))
	must(t, c.AlterBrokerConfig(t.Context(), AllBrokers, []ConfigOp{{Key: "log.retention.ms", Value: "5"}}, false))
	first, err := c.AllocateProducerIDs(t.Context(), 1000)
	must(t, err)
	want := content(t, c.Image())
	must(t, c.Close())

	c = open(t, fs)
	if got := content(t, c.Image()); got != want {
		t.Errorf("after a restart\n%s\nwant\n%s", got, want)
	}
	got := c.Image().Topic("a")
	if got == nil || got.ID != a.ID || len(got.Partitions) != 5 || got.Config["cleanup.policy"] != "delete,compact" || c.Image().TopicByID(a.ID) != got {
		t.Errorf("topic a: %+v", got)
	}
	if c.Image().Topic("b") != nil || c.Image().TopicByID(b.ID) != nil || c.Image().TopicCount() != 1 {
		t.Error("topic b is back")
	}
	second, err := c.AllocateProducerIDs(t.Context(), 1000)
	must(t, err)
	if second < first+1000 {
		t.Errorf("producer ids from %d were given out twice, from %d", first, second)
	}
}

func TestCreateTopicRefuses(t *testing.T) {
	c := open(t, vfs.NewMem())
	create(t, c, "there")
	create(t, c, "a.b")
	for name, tc := range map[string]struct {
		topic NewTopic
		want  error
	}{
		"it exists":                {NewTopic{Name: "there", Partitions: 1, Replicas: 1}, ErrTopicExists},
		"an empty name":            {NewTopic{Partitions: 1, Replicas: 1}, ErrInvalidTopic},
		"two dots":                 {NewTopic{Name: "..", Partitions: 1, Replicas: 1}, ErrInvalidTopic},
		"a slash":                  {NewTopic{Name: "a/b", Partitions: 1, Replicas: 1}, ErrInvalidTopic},
		"250 characters":           {NewTopic{Name: strings.Repeat("x", 250), Partitions: 1, Replicas: 1}, ErrInvalidTopic},
		"a collision":              {NewTopic{Name: "a_b", Partitions: 1, Replicas: 1}, ErrInvalidTopic},
		"no partitions":            {NewTopic{Name: "n", Partitions: 0, Replicas: 1}, ErrInvalidPartitions},
		"too many partitions":      {NewTopic{Name: "n", Partitions: maxPartitions + 1, Replicas: 1}, ErrTooManyPartitions},
		"no replicas":              {NewTopic{Name: "n", Partitions: 1, Replicas: 0}, ErrInvalidReplicationFactor},
		"more replicas":            {NewTopic{Name: "n", Partitions: 1, Replicas: 2}, ErrInvalidReplicationFactor},
		"an unknown broker":        {NewTopic{Name: "n", Assignment: [][]int32{{9}}}, ErrInvalidAssignment},
		"an unknown config":        {NewTopic{Name: "n", Partitions: 1, Replicas: 1, Config: map[string]string{"retentoin.ms": "1"}}, ErrInvalidConfig},
		"a config of no number":    {NewTopic{Name: "n", Partitions: 1, Replicas: 1, Config: map[string]string{"retention.ms": "1d"}}, ErrInvalidConfig},
		"a config out of bounds":   {NewTopic{Name: "n", Partitions: 1, Replicas: 1, Config: map[string]string{"segment.bytes": "1000"}}, ErrInvalidConfig},
		"a config of no such word": {NewTopic{Name: "n", Partitions: 1, Replicas: 1, Config: map[string]string{"cleanup.policy": "compress"}}, ErrInvalidConfig},
	} {
		if _, err := c.CreateTopic(t.Context(), tc.topic, false); !errors.Is(err, tc.want) {
			t.Errorf("%s: %v, want %v", name, err, tc.want)
		}
	}
	if _, err := c.CreateTopic(t.Context(), NewTopic{Name: "dry", Partitions: 1, Replicas: 1}, true); err != nil || c.Image().Topic("dry") != nil {
		t.Errorf("a dry run: %v", err)
	}
	for _, total := range []int32{2, 3, maxPartitions + 1} {
		if err := c.CreatePartitions(t.Context(), "there", total, nil, false); !errors.Is(err, ErrInvalidPartitions) {
			t.Errorf("from 3 to %d partitions: %v", total, err)
		}
	}
}

func TestConfigsHaveKafkasSources(t *testing.T) {
	c := open(t, vfs.NewMem())
	create(t, c, "t") // retention.ms -1
	must(t, c.AlterBrokerConfig(t.Context(), AllBrokers, []ConfigOp{{Key: "log.retention.ms", Value: "7"}, {Key: "log.segment.bytes", Value: "2000000"}, {Key: "my.own.key", Value: "x"}}, false))
	i := c.Image()
	entries := map[string]ConfigEntry{}
	for _, e := range c.TopicConfig(i, i.Topic("t")) {
		entries[e.Key] = e
	}
	if len(entries) != 33 {
		t.Errorf("%d topic configs, Kafka 4.3.1 has 33", len(entries))
	}
	retention := []Synonym{{"retention.ms", "-1", SourceTopic}, {"log.retention.ms", "7", SourceDefaultBroker}, {"log.retention.hours", "168", SourceDefault}}
	if got := entries["retention.ms"]; got.Value != "-1" || got.Source != SourceTopic || !reflect.DeepEqual(got.Synonyms, retention) {
		t.Errorf("retention.ms: %+v", got)
	}
	segment := []Synonym{{"log.segment.bytes", "2000000", SourceDefaultBroker}, {"log.segment.bytes", "1073741824", SourceDefault}}
	if got := entries["segment.bytes"]; got.Value != "2000000" || got.Source != SourceDefaultBroker || !reflect.DeepEqual(got.Synonyms, segment) {
		t.Errorf("segment.bytes: %+v", got)
	}
	if got := c.TopicValue(i, nil, "cleanup.policy"); got != "delete" {
		t.Errorf("cleanup.policy is %q", got)
	}
	brokers := map[string]ConfigEntry{}
	for _, e := range c.BrokerConfig(i, 1) {
		brokers[e.Key] = e
	}
	if got := brokers["num.partitions"]; got.Value != "3" || got.Source != SourceStatic || !got.ReadOnly {
		t.Errorf("num.partitions: %+v", got)
	}
	if got := brokers["my.own.key"]; got.Value != "x" || !got.Sensitive {
		t.Errorf("an unknown key: %+v", got)
	}
	if err := c.AlterBrokerConfig(t.Context(), 1, []ConfigOp{{Key: "num.partitions", Value: "1"}}, false); !errors.Is(err, ErrInvalidRequest) {
		t.Errorf("a read-only key: %v", err)
	}
}

func TestSubscribersSeeEveryImageInOrder(t *testing.T) {
	c := open(t, vfs.NewMem())
	var seen []int
	last := (*Image)(nil)
	c.Subscribe(func(old, new *Image) {
		if old != last {
			t.Error("an image was skipped")
		}
		last = new
		seen = append(seen, new.TopicCount())
	})
	for i := range 5 {
		create(t, c, fmt.Sprintf("t%d", i))
		if len(seen) != i+2 {
			t.Fatalf("after topic %d the subscriber has seen %v", i, seen)
		}
	}
}

// TestCrashAtEveryOperation cuts the disk at the N-th operation, for all N: what was acknowledged is there, and the folder opens.
func TestCrashAtEveryOperation(t *testing.T) {
	vfstest.EachOperation(t, 5, crashOnce)
}

// crashOnce returns true when everything was done before operation n.
func crashOnce(t *testing.T, n int) (finished bool) {
	mem := vfs.NewMem()
	fs := vfs.Fault(mem, &vfs.Rule{N: n, Crash: true, Short: n%2 == 0})
	acked, finished := changes(t, fs)
	rng := rand.New(rand.NewPCG(uint64(n), 3))
	if n%3 == 0 {
		rng = nil
	}
	c := open(t, mem.CrashClone(rng))
	for name, there := range acked {
		if (c.Image().Topic(name) != nil) != there {
			t.Fatalf("cut at %d: topic %s, acknowledged as there %v, is not so", n, name, there)
		}
	}
	create(t, c, "after")
	must(t, c.Close())
	return finished
}

// smallSegments has a segment of the log for every few entries.
const smallSegments = 1200

// changes makes topics and removes some, until it is done or the disk fails. It returns what was acknowledged.
func changes(t *testing.T, fs vfs.FS) (acked map[string]bool, finished bool) {
	acked = map[string]bool{}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	c, err := Open(ctx, Options{FS: fs, Dir: "meta", NodeID: 1, segmentBytes: smallSegments})
	if err != nil {
		return acked, false
	}
	defer c.Close()
	if err := c.RegisterBroker(ctx, Broker{ID: 1}); err != nil {
		return acked, false
	}
	for i := range 6 {
		name := fmt.Sprintf("t%d", i)
		topic, err := c.CreateTopic(ctx, NewTopic{Name: name, Partitions: 1, Replicas: 1}, false)
		if err != nil {
			return acked, false
		}
		acked[name] = true
		if i%3 == 2 {
			delete(acked, name) // until the removal is acknowledged it may be there or not
			if err := c.DeleteTopic(ctx, topic.ID); err != nil {
				return acked, false
			}
			acked[name] = false
		}
		if i == 3 {
			if err := c.raft.Snapshot().Error(); err != nil {
				return acked, false
			}
		}
	}
	return acked, c.Close() == nil
}

func TestDamagedMetadataIsRefusedByName(t *testing.T) {
	fs := vfs.NewMem()
	c := open(t, fs)
	create(t, c, "t")
	must(t, c.Close())
	f, err := fs.OpenReadWrite("meta/raft/stable")
	must(t, err)
	_, err = f.WriteAt([]byte("X"), 20)
	must(t, errors.Join(err, f.Close()))
	_, err = Open(t.Context(), Options{FS: fs, Dir: "meta", NodeID: 1})
	if !errors.Is(err, ErrDamaged) || !strings.Contains(err.Error(), "meta/raft/stable") {
		t.Errorf("Open: %v", err)
	}
}

func TestSnapshotRestores(t *testing.T) {
	fs := vfs.NewMem()
	c := open(t, fs)
	for i := range 50 {
		create(t, c, fmt.Sprintf("t%d", i))
	}
	must(t, c.raft.Snapshot().Error())
	create(t, c, "after")
	want := content(t, c.Image())
	must(t, c.Close())
	if got := content(t, open(t, fs).Image()); got != want {
		t.Errorf("restored:\n%.300s\nwant:\n%.300s", got, want)
	}
}

func FuzzCommand(f *testing.F) {
	for _, c := range []command{setCluster{"id"}, setBroker{Broker{ID: 1}}, setTopic{Topic{Name: "t", Partitions: []Partition{{Replicas: []int32{1}}}}},
		removeTopic{record.TopicID{1}}, setTopicConfig{Config: map[string]string{"a": "b"}}, setBrokerConfig{}, takeProducerIDs{5}} {
		data, err := encodeCommand(c)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := decodeCommand(data)
		if err != nil {
			return
		}
		i := emptyImage().apply(c)
		encoded, err := i.encode()
		must(t, err)
		again, err := decodeImage(encoded)
		must(t, err)
		if content(t, again) != string(encoded) {
			t.Errorf("an image changes when it is encoded: %s", encoded)
		}
	})
}

func BenchmarkCreateTopic(b *testing.B) {
	c := open(b, vfs.NewMem())
	n := 0
	for b.Loop() {
		n++
		if _, err := c.CreateTopic(b.Context(), NewTopic{Name: fmt.Sprintf("t%d", n), Partitions: 10, Replicas: 1}, false); err != nil {
			b.Fatal(err)
		}
	}
}
