package e2e

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// TestDamagedPartitionSeenFromOutside starts a node of which one partition is damaged below what was synced. It is named wherever its users look, answers what a failed disk does
// and nothing else, and all others serve; so it stays over a kill and a gentle stop, until its topic is deleted.
func TestDamagedPartitionSeenFromOutside(t *testing.T) {
	for _, c := range []struct {
		name   string
		damage func(log []byte) []byte
		read   bool // it is found when it is read, and not by the start
	}{
		{name: "a segment is too short", damage: func(log []byte) []byte { return log[:len(log)/2] }},
		{name: "a bit flipped", damage: func(log []byte) []byte { log[100] ^= 1; return log }, read: true},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := newDamaged(t)
			d.harm(filepath.Join(d.node.dir, "logs", "harmed-1"), c.damage)
			d.node.start()
			if c.read {
				d.fetch(1)
			}
			d.check()
			d.node.kill()
			d.node.start()
			d.check()
			if code, _ := d.node.terminate(); code != 0 {
				t.Errorf("it ended with %d\n%s", code, d.node.log)
			}
			d.node.start()
			d.check()

			milldam(t, "topic", "delete", "harmed", "--execute", "-b", d.node.kafka)
			milldam(t, "topic", "create", "harmed", "-p", fmt.Sprint(damagedPartitions), "-b", d.node.kafka)
			for range 2 {
				r := newRawClient(t, d.node.kafka, "harmed", damagedPartitions)
				r.produceAll()
				d.node.kill()
				d.node.start()
				if text := d.node.log.String(); strings.Contains(text, "damaged") {
					t.Errorf("after its topic was deleted:\n%s", text)
				}
			}
		})
	}
}

// TestDamagedOffsetsPartition starts a node that lost the offsets of some groups. These are told to wait, and not that they have committed nothing; others go on.
func TestDamagedOffsetsPartition(t *testing.T) {
	for _, c := range []struct {
		name   string
		damage func(log []byte) []byte
	}{
		{"a segment is too short", func(log []byte) []byte { return log[:len(log)/2] }},
		{"a bit flipped", func(log []byte) []byte { log[len(log)-1] ^= 1; return log }},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := newDamaged(t)
			d.harm(d.offsetsOf("lost"), c.damage)
			for range 2 {
				d.node.start()
				adm := kadm.NewClient(d.client())
				if got, err := adm.FetchOffsets(t.Context(), "kept"); err != nil || got["harmed"][0].At != 3 {
					t.Errorf("the other group has %v, %v", got, err)
				}
				req := kmsg.NewPtrOffsetFetchRequest()
				group := kmsg.NewOffsetFetchRequestGroup()
				group.Group = "lost"
				req.Groups = append(req.Groups, group)
				resp, err := d.client().Broker(1).Request(t.Context(), req)
				if err != nil {
					t.Fatal(err)
				}
				if got := resp.(*kmsg.OffsetFetchResponse); len(got.Groups) != 1 || got.Groups[0].ErrorCode != kerr.NotCoordinator.Code {
					t.Errorf("of the group whose offsets are damaged it says %+v", got)
				}
				d.node.kill()
			}
		})
	}
}

const damagedPartitions = 3

// damaged is a node with the topics harmed, of three partitions, and other, and the committed offsets of two groups.
type damaged struct {
	t    *testing.T
	node *node
}

// newDamaged makes the node, fills it, and stops it gently: everything is synced.
func newDamaged(t *testing.T) *damaged {
	t.Helper()
	d := &damaged{t, startServer(t)}
	milldam(t, "topic", "create", "harmed", "-p", fmt.Sprint(damagedPartitions), "-b", d.node.kafka)
	milldam(t, "topic", "create", "other", "-b", d.node.kafka)
	for topic, partitions := range map[string]int{"harmed": damagedPartitions, "other": 1} {
		r := newRawClient(t, d.node.kafka, topic, partitions)
		r.batch = smallBatch(t)
		for range 10 {
			r.produceAll()
		}
	}
	adm := kadm.NewClient(d.client())
	for _, group := range []string{"lost", "kept"} {
		if err := adm.CommitAllOffsets(t.Context(), group, kadm.Offsets{"harmed": {0: {Topic: "harmed", At: 3, LeaderEpoch: -1}}}); err != nil {
			t.Fatal(err)
		}
	}
	if code, _ := d.node.terminate(); code != 0 {
		t.Fatalf("exit %d\n%s", code, d.node.log)
	}
	return d
}

func (d *damaged) client() *kgo.Client {
	d.t.Helper()
	cl, err := kgo.NewClient(kgo.SeedBrokers(d.node.kafka))
	if err != nil {
		d.t.Fatal(err)
	}
	d.t.Cleanup(cl.Close)
	return cl
}

// harm changes the one segment of a partition's folder.
func (d *damaged) harm(folder string, change func([]byte) []byte) {
	d.t.Helper()
	logs, err := filepath.Glob(filepath.Join(folder, "*.log"))
	if err != nil || len(logs) != 1 {
		d.t.Fatalf("segments of %s: %v, %v", folder, logs, err)
	}
	data, err := os.ReadFile(logs[0])
	if err == nil {
		err = os.WriteFile(logs[0], change(data), 0o644)
	}
	if err != nil {
		d.t.Fatal(err)
	}
}

// offsetsOf finds the folder of the partition that has a group's offsets, and nothing else.
func (d *damaged) offsetsOf(group string) string {
	d.t.Helper()
	logs, err := filepath.Glob(filepath.Join(d.node.dir, "logs", "__consumer_offsets-*", "*.log"))
	if err != nil {
		d.t.Fatal(err)
	}
	i := slices.IndexFunc(logs, func(name string) bool {
		data, err := os.ReadFile(name)
		if err != nil {
			d.t.Fatal(err)
		}
		return bytes.Contains(data, []byte(group))
	})
	if i < 0 {
		d.t.Fatalf("no offsets of %s in %v", group, logs)
	}
	return filepath.Dir(logs[i])
}

// fetch reads a partition of harmed from its second record on, and returns the error code of the answer.
func (d *damaged) fetch(partition int32) int16 {
	d.t.Helper()
	r := newRawClient(d.t, d.node.kafka, "harmed", damagedPartitions)
	req := kmsg.NewPtrFetchRequest()
	req.MaxBytes, req.SessionEpoch = 1<<20, -1
	topic, part := kmsg.NewFetchRequestTopic(), kmsg.NewFetchRequestTopicPartition()
	topic.Topic, topic.TopicID = "harmed", r.id
	part.Partition, part.FetchOffset, part.PartitionMaxBytes, part.CurrentLeaderEpoch = partition, 1, 1<<20, -1
	topic.Partitions = append(topic.Partitions, part)
	req.Topics = append(req.Topics, topic)
	resp, err := r.broker.Request(d.t.Context(), req)
	if err != nil {
		return kerr.KafkaStorageError.Code // the connection ended in the middle of the answer
	}
	return resp.(*kmsg.FetchResponse).Topics[0].Partitions[0].ErrorCode
}

// check looks at the damaged partition, harmed-1, and the others in every way a user has.
func (d *damaged) check() {
	d.t.Helper()
	t := d.t
	folder := filepath.Join(d.node.dir, "logs", "harmed-1")
	says(t, d.node.log.String(), "harmed-1", folder, "level=ERROR")
	says(t, milldam(t, "topic", "describe", "harmed", "-b", d.node.kafka), "OFFLINE")
	says(t, milldam(t, "topic", "list", "-b", d.node.kafka), "harmed", "other")
	says(t, milldam(t, "group", "describe", "kept", "-b", d.node.kafka), "harmed")
	says(t, d.metrics(), "milldam_storage_damaged_partitions 1\n")
	if _, said, code := milldamCode(t, nil, "log", "verify", folder); code == 0 || !strings.Contains(said, folder) {
		t.Errorf("verify of the folder ended with %d and says %q", code, said)
	}
	cl := d.client()
	adm := kadm.NewClient(cl)
	topics, err := adm.ListTopics(t.Context(), "harmed", "other")
	if err != nil {
		t.Fatal(err)
	}
	for _, topic := range topics {
		for p, row := range topic.Partitions {
			want := "1, [1], []: <nil>"
			if harmed(topic.Topic, p) {
				want = "-1, [1], [1]: " + kerr.LeaderNotAvailable.Error()
			}
			if got := fmt.Sprintf("%d, %v, %v: %v", row.Leader, row.ISR, row.OfflineReplicas, row.Err); got != want {
				t.Errorf("metadata of %s-%d: %s", topic.Topic, p, got)
			}
		}
	}
	d.checkDirs(adm, folder)
	listed := func(what string, list kadm.ListedOffsets, err error) {
		t.Helper()
		if err != nil && !unserved(err) {
			t.Errorf("%s: %v", what, err)
		}
		list.Each(func(o kadm.ListedOffset) { d.answered(what, o.Topic, o.Partition, o.Err) })
		if n := len(list["harmed"]); n != damagedPartitions-1 { // nobody asks without a leader
			t.Errorf("%s: %v", what, list)
		}
	}
	ends, err := adm.ListEndOffsets(t.Context(), "harmed", "other")
	listed("end offsets", ends, err)
	starts, err := adm.ListStartOffsets(t.Context(), "harmed", "other")
	listed("start offsets", starts, err)
	timed, err := adm.ListOffsetsAfterMilli(t.Context(), 0, "harmed", "other")
	listed("offsets by time", timed, err)
	d.checkRest(adm)
	r := newRawClient(t, d.node.kafka, "harmed", damagedPartitions)
	r.batch = smallBatch(t)
	for p := range damagedPartitions {
		err := r.produce(t.Context(), p, p+1)
		if harmed("harmed", int32(p)) && (err == nil || !strings.Contains(err.Error(), fmt.Sprintf("error %d", kerr.KafkaStorageError.Code))) || !harmed("harmed", int32(p)) && err != nil {
			t.Errorf("produce to harmed-%d: %v", p, err)
		}
		d.answered("fetch", "harmed", int32(p), kerr.ErrorForCode(d.fetch(int32(p))))
	}
	other := newRawClient(t, d.node.kafka, "other", 1)
	other.produceAll()
	other.fetchAll()
}

func harmed(topic string, partition int32) bool { return topic == "harmed" && partition == 1 }

// unserved tells whether an error is that of the failed disk, or of a client that has not even asked, as there is no leader.
func unserved(err error) bool {
	return errors.Is(err, kerr.KafkaStorageError) || errors.Is(err, kerr.LeaderNotAvailable)
}

// answered checks that the damaged partition is answered as a failed disk, and others without an error.
func (d *damaged) answered(what, topic string, partition int32, err error) {
	d.t.Helper()
	if harmed(topic, partition) && !unserved(err) || !harmed(topic, partition) && err != nil {
		d.t.Errorf("%s: %s-%d: %v", what, topic, partition, err)
	}
}

// checkDirs looks for the damaged partition in DescribeLogDirs: it is in a folder of its own, that failed.
func (d *damaged) checkDirs(adm *kadm.Client, folder string) {
	d.t.Helper()
	dirs, err := adm.DescribeBrokerLogDirs(d.t.Context(), 1, nil)
	if err != nil {
		d.t.Fatal(err)
	}
	if failed, ok := dirs[folder]; !ok || !errors.Is(failed.Err, kerr.KafkaStorageError) || len(failed.Topics["harmed"]) != 1 {
		d.t.Errorf("log dirs: %+v", dirs)
	}
	if whole, ok := dirs[d.node.dir]; !ok || whole.Err != nil || len(whole.Topics["harmed"]) != damagedPartitions-1 || len(whole.Topics["other"]) != 1 {
		d.t.Errorf("log dirs: %+v", dirs)
	}
}

// checkRest asks in the other ways there are about a partition's log.
func (d *damaged) checkRest(adm *kadm.Client) {
	d.t.Helper()
	deleted, err := adm.DeleteRecords(d.t.Context(), kadm.Offsets{"harmed": {0: {Topic: "harmed", At: 1}, 1: {Topic: "harmed", Partition: 1, At: 1}}})
	if err != nil && !unserved(err) {
		d.t.Error(err)
	}
	deleted.Each(func(r kadm.DeleteRecordsResponse) { d.answered("delete records", r.Topic, r.Partition, r.Err) })
	var epochs kadm.OffsetForLeaderEpochRequest
	epochs.Add("harmed", 0, 0)
	epochs.Add("harmed", 1, 0)
	ends, err := adm.OffsetForLeaderEpoch(d.t.Context(), epochs)
	if err != nil && !unserved(err) {
		d.t.Error(err)
	}
	for p, end := range ends["harmed"] {
		d.answered("end of an epoch", "harmed", p, end.Err)
	}
	var set kadm.TopicsSet
	set.Add("harmed", 0, 1)
	producers, err := adm.DescribeProducers(d.t.Context(), set)
	if err != nil && !unserved(err) {
		d.t.Error(err)
	}
	for p, row := range producers["harmed"].Partitions {
		d.answered("producers", "harmed", p, row.Err)
	}
	if len(deleted["harmed"]) != 1 || len(ends["harmed"]) != 1 || len(producers["harmed"].Partitions) != 1 { // of the one with a leader
		d.t.Errorf("not what was to be answered: %v, %v, %v", deleted, ends, producers)
	}
}

func (d *damaged) metrics() string {
	d.t.Helper()
	resp, err := http.Get(d.node.http + "/metrics")
	if err != nil {
		d.t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		d.t.Fatal(err)
	}
	return string(text)
}
