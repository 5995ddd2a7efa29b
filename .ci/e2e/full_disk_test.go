package e2e

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

const (
	smallDiskBytes = 1 << 30
	// minFreeOfSmall is what the node keeps free of it when nothing is configured: a quarter.
	minFreeOfSmall = smallDiskBytes / 4
	// nearlyFull leaves little more than the node wants to have when it has been full.
	nearlyFull = minFreeOfSmall*5/4 + 150<<20
	// reserveOfSmall is what the node holds back for its metadata.
	reserveOfSmall = smallDiskBytes / 32
)

// disk is a file system of its own.
type disk struct {
	t   testing.TB
	dir string
}

// smallDisk mounts a file system in memory, which is unmounted at the end of the test.
func smallDisk(t testing.TB) disk {
	t.Helper()
	d := disk{t, filepath.Join(t.TempDir(), "disk")}
	if err := os.Mkdir(d.dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mount("tmpfs", d.dir, "tmpfs", 0, fmt.Sprintf("size=%d", smallDiskBytes)); err != nil {
		t.Skipf("a file system cannot be mounted here, which takes root: %v", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(d.dir, syscall.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	return d
}

// free is how many bytes are free.
func (d disk) free() int64 {
	d.t.Helper()
	var s syscall.Statfs_t
	if err := syscall.Statfs(d.dir, &s); err != nil {
		d.t.Fatal(err)
	}
	return int64(s.Bavail) * s.Bsize
}

// othersLeave makes a file that is no one's but leaves so many bytes free.
func (d disk) othersLeave(bytes int64) {
	d.t.Helper()
	f, err := os.OpenFile(filepath.Join(d.dir, "others"), os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		d.t.Fatal(err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		d.t.Fatal(err)
	}
	size := info.Size() + d.free() - bytes
	if err := f.Truncate(size); err != nil {
		d.t.Fatal(err)
	}
	if err := syscall.Fallocate(int(f.Fd()), 0, 0, size); err != nil {
		d.t.Fatal(err)
	}
}

// bulk produces large records until the broker refuses them, and returns how many it took. It must refuse with an error that clients try again, and before the disk is full.
func (d disk) bulk(broker, topic string) (taken int) {
	d.t.Helper()
	cl, err := kgo.NewClient(kgo.SeedBrokers(broker), kgo.DefaultProduceTopic(topic), kgo.DisableIdempotentWrite(), kgo.RecordRetries(0), kgo.ProducerBatchCompression(kgo.NoCompression()))
	if err != nil {
		d.t.Fatal(err)
	}
	defer cl.Close()
	value := make([]byte, 500<<10)
	for range 2 * smallDiskBytes / len(value) {
		err := cl.ProduceSync(d.t.Context(), kgo.SliceRecord(value)).FirstErr()
		if errors.Is(err, kerr.KafkaStorageError) {
			if !kerr.IsRetriable(err) {
				d.t.Errorf("%v is not tried again", err)
			}
			if free := d.free(); free < minFreeOfSmall/2 {
				d.t.Errorf("produce requests are refused when only %d bytes are free", free)
			}
			return taken
		}
		if err != nil {
			d.t.Fatalf("after %d records: %v", taken, err)
		}
		taken++
	}
	d.t.Fatalf("%d records are taken, and %d bytes are free", taken, d.free())
	return 0
}

// whatMakesRoom does on a full disk what goes on there: reading, commits of groups, and administration.
func whatMakesRoom(t *testing.T, broker string, bulk int, round string) {
	t.Helper()
	cl, err := kgo.NewClient(kgo.SeedBrokers(broker), kgo.ConsumeTopics("bulk"), kgo.ConsumerGroup("readers-"+round), kgo.DisableAutoCommit(), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	for seen := 0; seen < bulk; {
		records := cl.PollFetches(t.Context()).Records()
		if err := cl.CommitRecords(t.Context(), records...); err != nil {
			t.Fatalf("%s: commit: %v", round, err)
		}
		seen += len(records)
	}
	admin, topic, value := kadm.NewClient(cl), "made-"+round, "1"
	_, err = admin.CreateTopics(t.Context(), 3, 1, nil, topic)
	_, altered := admin.AlterTopicConfigs(t.Context(), []kadm.AlterConfig{{Op: kadm.SetConfig, Name: "max.compaction.lag.ms", Value: &value}}, topic)
	_, deleted := admin.DeleteTopics(t.Context(), topic)
	if err := errors.Join(err, altered, deleted); err != nil {
		t.Fatalf("%s: %v", round, err)
	}
	if got, err := admin.FetchOffsets(t.Context(), "readers-"+round); err != nil || len(got.Offsets()) == 0 {
		t.Errorf("%s: committed is %v: %v", round, got, err)
	}
}

// TestFullDisk fills a real disk under real clients. Produce requests are refused before it is full, with an error that clients try again; everything else goes on, also when
// others fill the rest, and after a kill; and with room again, made in any way, what waited is there, once and in order.
func TestFullDisk(t *testing.T) {
	d := smallDisk(t)
	n := serverConfig{dir: filepath.Join(d.dir, "data"), kafka: []string{"log.segment.bytes=8388608", "log.retention.check.interval.ms=500", "group.initial.rebalance.delay.ms=0"}}.start(t)
	n.keepPort()
	milldam(t, "topic", "create", "bulk", "-b", n.kafka)
	taken := d.bulk(n.kafka, "bulk")
	t.Logf("%d MB are taken, %d MB are free", taken>>1, d.free()>>20)

	const count = 600
	waiting, logs := map[string]*exec.Cmd{}, map[string]*logBuffer{}
	for _, name := range []string{"franz-go", "confluent-kafka-python", "kafka-python", "kafkajs"} {
		t.Run(name, func(t *testing.T) {
			c := clientCalled(name)
			if c.available(t); name != "franz-go" {
				fullOnly(t, "franz-go fills the disk in the short suite, the others in make e2e")
			}
			milldam(t, "topic", "create", "numbers-"+name, "-p", "6", "-b", n.kafka)
			cmd := c.trickle(t, n.kafka, "numbers-"+name, count)
			logs[name] = &logBuffer{}
			cmd.Stdout, cmd.Stderr = logs[name], logs[name]
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			waiting[name] = cmd
		})
	}
	t.Cleanup(func() {
		for _, cmd := range waiting {
			cmd.Process.Kill()
		}
	})
	whatMakesRoom(t, n.kafka, taken, "full")
	d.othersLeave(reserveOfSmall / 2)
	eventually(t, 20*time.Second, func() error {
		if strings.Contains(n.log.String(), "the reserve cannot be given up") {
			t.Fatal("the reserve cannot be given up")
		}
		if free := d.free(); free < reserveOfSmall {
			return fmt.Errorf("%d bytes are free, the reserve is not given up", free)
		}
		return nil
	})
	whatMakesRoom(t, n.kafka, taken, "reserve")
	n.kill()
	n.start()
	whatMakesRoom(t, n.kafka, taken, "restart")
	for name := range waiting {
		if got := readTopic(t, n.kafka, "numbers-"+name); len(got) > 0 {
			t.Errorf("%d records of %s are taken while the disk is full", len(got), name)
		}
	}
	cl, err := kgo.NewClient(kgo.SeedBrokers(n.kafka), kgo.AllowAutoTopicCreation())
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	d.othersLeave(minFreeOfSmall - 10<<20)
	makeRoom(t, d, n.kafka, cl, taken)
	for name, cmd := range waiting {
		if err := cmd.Wait(); err != nil {
			t.Errorf("%s: %v\n%s", name, err, logs[name])
		}
		checkTrickled(t, n.kafka, "numbers-"+name, count)
	}
}

// makeRoom makes room in each way there is; after each the node takes records again by itself, and is filled again.
func makeRoom(t *testing.T, d disk, broker string, cl *kgo.Client, taken int) {
	t.Helper()
	admin, small := kadm.NewClient(cl), "16777216"
	for i, way := range []struct {
		name string
		make func() error
	}{
		{"DeleteRecords", func() error {
			var to kadm.Offsets
			to.Add(kadm.Offset{Topic: "bulk", At: int64(taken)})
			_, err := admin.DeleteRecords(t.Context(), to)
			return err
		}},
		{"retention", func() error {
			_, err := admin.AlterTopicConfigs(t.Context(), []kadm.AlterConfig{{Op: kadm.SetConfig, Name: "retention.bytes", Value: &small}}, "bulk")
			return err
		}},
		{"topic deletion", func() error { _, err := admin.DeleteTopics(t.Context(), "bulk"); return err }},
	} {
		if i > 0 {
			d.othersLeave(nearlyFull)
			d.bulk(broker, "bulk")
		}
		full := d.free()
		if err := way.make(); err != nil {
			t.Fatalf("%s: %v", way.name, err)
		}
		eventually(t, 30*time.Second, func() error {
			return cl.ProduceSync(t.Context(), &kgo.Record{Topic: "more", Value: []byte(way.name)}).FirstErr()
		})
		t.Logf("%s: %d MB are free, and %d MB were", way.name, d.free()>>20, full>>20)
	}
}
