package e2e

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// mirrorRecords is how many records each side has of its own.
const mirrorRecords = 1000

// TestMirrorMaker has Apache Kafka's MirrorMaker copy topics, exactly once, their configs and the offsets of groups from Apache Kafka to Milldam and back: how
// one moves from the one to the other.
func TestMirrorMaker(t *testing.T) {
	fullOnly(t, "three JVMs side by side, more than a minute")
	brokers := map[string]string{"kafka": startKafka(t), "milldam": startDev(t, t.TempDir(), nil).kafka}
	for name, broker := range brokers {
		fillInput(t, broker, "of-"+name, 2, mirrorRecords)
		milldam(t, "topic", "config", "of-"+name, "retention.ms=123456789", "-b", broker)
		commitAtEnd(t, broker, "readers-of-"+name, "of-"+name)
	}
	startMirrorMaker(t, brokers)
	for from, to := range map[string]string{"kafka": "milldam", "milldam": "kafka"} {
		topic, broker := from+".of-"+from, brokers[to]
		eventually(t, 3*time.Minute, func() error { return mirrored(t, broker, topic, "readers-of-"+from) })
		checkCopied(t, readCommitted(t, broker, topic), mirrorRecords)
		if got := topicConfigs(t, broker, topic); !strings.Contains(got, ": 2 partitions,") || !strings.Contains(got, "retention.ms=123456789") {
			t.Errorf("on %s: %s", to, got)
		}
	}
}

// startMirrorMaker starts a process that copies between the brokers named, each way.
func startMirrorMaker(t *testing.T, brokers map[string]string) {
	t.Helper()
	text := `clusters=kafka, milldam
kafka->milldam.enabled=true
milldam->kafka.enabled=true
topics=of-.*
replication.factor=1
checkpoints.topic.replication.factor=1
heartbeats.topic.replication.factor=1
offset-syncs.topic.replication.factor=1
config.storage.replication.factor=1
offset.storage.replication.factor=1
status.storage.replication.factor=1
refresh.topics.interval.seconds=2
refresh.groups.interval.seconds=2
sync.topic.configs.interval.seconds=2
sync.group.offsets.enabled=true
sync.group.offsets.interval.seconds=2
emit.checkpoints.interval.seconds=2
dedicated.mode.enable.internal.rest=true
listeners=http://127.0.0.1:` + freePort(t) + "\n"
	for name, broker := range brokers {
		text += fmt.Sprintf("%s.bootstrap.servers=%s\n%s.exactly.once.source.support=enabled\n", name, broker, name)
	}
	file := filepath.Join(t.TempDir(), "mirror.properties")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd, log := javaCommand(kafkaJars(t), filepath.Dir(file), "org.apache.kafka.connect.mirror.MirrorMaker", file), &logBuffer{}
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		_ = cmd.Wait() // it ends by the signal
		if t.Failed() {
			t.Logf("MirrorMaker's log:\n%s", lastLines(log.String(), 60))
		}
	})
}

// commitAtEnd commits the end of a topic for a group.
func commitAtEnd(t *testing.T, broker, group, topic string) {
	t.Helper()
	cl, err := kgo.NewClient(kgo.SeedBrokers(broker))
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	admin := kadm.NewClient(cl)
	ends, err := admin.ListEndOffsets(t.Context(), topic)
	if err != nil {
		t.Fatal(err)
	}
	if err := admin.CommitAllOffsets(t.Context(), group, ends.Offsets()); err != nil {
		t.Fatal(err)
	}
}

// mirrored tells whether all records of a topic have come, and offsets of the group.
func mirrored(t *testing.T, broker, topic, group string) error {
	cl, err := kgo.NewClient(kgo.SeedBrokers(broker))
	if err != nil {
		return err
	}
	defer cl.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	admin := kadm.NewClient(cl)
	ends, err := admin.ListCommittedOffsets(ctx, topic)
	if err = errors.Join(err, ends.Error()); err != nil {
		return err
	}
	if n := len(readCommitted(t, broker, topic)); n < mirrorRecords {
		return fmt.Errorf("%s has %d records", topic, n)
	}
	offsets, err := admin.FetchOffsets(ctx, group)
	if err = errors.Join(err, offsets.Error()); err != nil {
		return err
	}
	for partition := range int32(2) {
		if o, ok := offsets.Lookup(topic, partition); !ok || o.At <= 0 {
			return fmt.Errorf("%s has no offset for partition %d of %s", group, partition, topic)
		}
	}
	return nil
}
