package e2e

import (
	"fmt"
	"maps"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// compareRecords reads all of a topic from both brokers, as consumers do: an answer may end before the log does, and the next one goes on behind it.
func (d *differential) compareRecords(name string, isolation int8) {
	req := fetchOne(d.kafka, name, 0, 0, isolation)
	c := d.newCall(req.Key(), req.Version)
	d.calls++
	d.asked[[2]int16{c.key, c.version}]++
	var diffs []difference
	for began := time.Now(); ; pause(d.t, 50*time.Millisecond) {
		theirs, ours := d.kafka.readAll(name, isolation), d.ours.readAll(name, isolation)
		if diffs = compare(theirs, ours); len(diffs) == 0 || time.Since(began) > settleLimit {
			break
		}
	}
	d.note(c, req, diffs)
}

// readAll reads the partitions of a topic to their ends, as lines like those of flatten.
func (p *diffPeer) readAll(name string, isolation int8) map[string]string {
	all := map[string]string{}
	for partition := range int32(3) {
		next := p.starts[fmt.Sprintf("%s %d", name, partition)]
		for {
			flat, end := p.readOn(name, partition, next, isolation)
			maps.Copy(all, flat)
			if end <= next {
				break
			}
			next = end
		}
	}
	return all
}

// readOn fetches from an offset of a partition on; end is behind the last batch, or the offset when there is none.
func (p *diffPeer) readOn(name string, partition int32, from int64, isolation int8) (flat map[string]string, end int64) {
	at := fmt.Sprintf("partition %d ", partition)
	out := p.ask("main", fetchOne(p, name, partition, from, isolation))
	resp, ok := out.resp.(*kmsg.FetchResponse)
	if !ok || len(resp.Topics) != 1 || len(resp.Topics[0].Partitions) != 1 {
		return map[string]string{at + "answer": out.err}, from
	}
	got := resp.Topics[0].Partitions[0]
	flat = map[string]string{at + "code": errorName(got.ErrorCode), at + "high watermark": fmt.Sprint(got.HighWatermark), at + "last stable offset": fmt.Sprint(got.LastStableOffset),
		at + "log start": fmt.Sprint(got.LogStartOffset)}
	for _, txn := range got.AbortedTransactions {
		flat[fmt.Sprintf("%saborted %s from %d", at, p.pids[txn.ProducerID], txn.FirstOffset)] = "there"
	}
	for records := got.RecordBatches; ; {
		one, rest, next := p.describeBatch(records)
		if one == "" {
			return flat, max(from, end)
		}
		flat[fmt.Sprintf("%sbatch up to %d", at, next-1)] = one
		records, end = rest, next
	}
}

func fetchOne(p *diffPeer, name string, partition int32, from int64, isolation int8) *kmsg.FetchRequest {
	req := kmsg.NewPtrFetchRequest()
	req.Version = 17
	req.MaxBytes, req.IsolationLevel, req.SessionEpoch, req.ReplicaID = 50<<20, isolation, -1, -1
	t, part := kmsg.NewFetchRequestTopic(), kmsg.NewFetchRequestTopicPartition()
	t.Topic, t.TopicID = name, p.topicIDs[name]
	part.Partition, part.PartitionMaxBytes, part.CurrentLeaderEpoch, part.LogStartOffset, part.FetchOffset = partition, 10<<20, -1, -1, from
	t.Partitions = append(t.Partitions, part)
	req.Topics = append(req.Topics, t)
	return req
}
