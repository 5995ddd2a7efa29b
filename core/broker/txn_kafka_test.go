package broker_test

import (
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/milldam/milldam/core/vfs"
)

// play is the script.
func (s *txnScript) play() {
	s.createTopic()
	s.chapter("InitProducerId")
	s.init(4, nobody, 0)
	s.init(4, nobody, -1)
	s.init(4, nobody, 900_001)
	s.init(4, producer{id: -1, epoch: 3}, 60_000)
	s.init(4, producer{id: stranger, epoch: -1}, 60_000)
	p := s.init(4, nobody, 60_000)
	q := s.init(4, p, 50_000)
	s.init(4, p, 50_000)
	s.init(4, q.at(7), 50_000)
	s.init(3, q.at(7), 50_000)
	s.init(4, producer{id: stranger, epoch: 0}, 50_000)
	r := s.init(0, nobody, 60_000)
	s.init(5, q, 60_000)
	s.settle()
	s.end(4, r, true)
	s.end(4, r, false)
	s.end(5, r, true)
	s.end(5, r.at(-1), false)
	r = s.end(5, r, false)
	s.settle()
	s.end(5, r.at(-1), false)
	s.end(5, r.at(-1), true)
	s.end(4, r, false)
	s.end(4, r, true)
	id := s.id
	s.id = ""
	s.init(4, nobody, 60_000)
	s.add(3, r, s.topic, 0)
	s.add(5, r, s.topic, 0)
	s.verify(5, r, s.topic, 0)
	s.addOffsets(4, r, "g")
	s.end(4, r, true)
	s.end(5, r, true)
	s.id = id

	s.chapter("AddPartitionsToTxn")
	s.add(3, producer{id: p.id, epoch: 0}, s.topic, 0)
	s.verify(5, producer{id: p.id, epoch: 0}, s.topic, 0)
	s.end(4, producer{id: p.id, epoch: 0}, true)
	s.end(5, producer{id: p.id, epoch: 0}, true)
	s.addOffsets(3, producer{id: p.id, epoch: 0}, "g")
	p = s.init(4, nobody, 60_000)
	for version := range int16(6) {
		s.add(version, p.at(1), s.topic, 0)
		s.add(version, producer{id: stranger}, s.topic, 0)
	}
	for version := range int16(5) {
		s.addOffsets(version, p.at(1), "g")
	}
	for version := range int16(6) {
		s.end(version, p.at(1), true)
	}
	s.add(3, p, s.topic, 0, 17)
	s.add(3, p, "not-there", 0)
	s.add(5, p, s.topic, 0, 17)
	s.verify(5, p, s.topic, 0, 17)
	s.verify(5, p, s.topic, 0)
	s.add(3, p, s.topic, 0)
	s.add(3, p, s.topic, 0)
	s.verify(4, p, s.topic, 0, 1)
	s.verify(5, p, s.topic, 0, 1)
	s.settle()
	s.addOffsets(3, p, "g")
	s.settle()
	s.end(3, p, true)
	s.settle()
	s.end(3, p, true)
	s.end(3, p, false)
	s.end(3, p.at(-1), true)
	s.add(3, p, s.topic, 1)
	s.settle()
	s.end(3, p, false)
	s.settle()
	s.end(3, p, false)
	s.end(3, p, true)

	s.chapter("Produce with version 1")
	s.createTopic()
	p = s.init(4, nobody, 60_000)
	s.produceRaw(11, "not added", &s.id, batch(p, 0, true))
	s.produceRaw(10, "not added", &s.id, batch(p, 0, true))
	s.produceRaw(9, "not added", &s.id, batch(p, 0, true))
	s.produceRaw(11, "no transactional id", nil, batch(p, 0, true))
	s.produceRaw(11, "unknown transactional id", &id, batch(p, 0, true))
	s.produceRaw(11, "unknown producer", &s.id, batch(producer{id: stranger}, 0, true))
	s.add(3, p, s.topic, 0)
	s.produceRaw(11, "one of two added", &s.id, batch(p, 0, true), batch(p, 0, true))
	p.seq[0] = 1
	s.produceRaw(11, "two producers", &s.id, batch(p, 1, true), batch(p.at(1), 0, true))
	s.produceRaw(11, "same again", &s.id, batch(p, 0, true))
	s.produceRaw(11, "not transactional", nil, batch(p, 1, false))
	s.produceRaw(11, "of nobody", nil, batch(nobody, -1, false))
	s.produce(11, p)
	s.ends()
	s.producers()
	s.end(3, p, true)
	s.settle()
	s.ends()
	s.produceRaw(11, "after the end", &s.id, batch(p, 2, true))
	s.add(3, p, s.topic, 0)
	s.produce(11, p)
	s.produceRaw(11, "epoch before", &s.id, batch(p.at(-1), 0, true))
	s.produceRaw(12, "epoch before", &s.id, batch(p.at(-1), 0, true))
	s.produceRaw(11, "epoch after", &s.id, batch(p.at(1), 0, true))
	s.end(3, p, false)
	s.settle()
	s.aborted(0)
	s.producers()

	s.chapter("Produce with version 2")
	s.createTopic()
	p = s.init(5, nobody, 60_000)
	s.produceRaw(12, "no transactional id", nil, batch(p, 0, true))
	s.produceRaw(12, "unknown transactional id", &id, batch(p, 0, true))
	s.produceRaw(12, "wrong epoch", &s.id, batch(p.at(1), 0, true))
	s.produceRaw(12, "sequence that does not begin", &s.id, batch(p, 4, true))
	s.settle()
	s.produceRaw(12, "two partitions", &s.id, batch(p, 0, true), batch(p, 0, true))
	p.seq[0] = 1
	s.settle()
	s.produce(13, p)
	s.verify(5, p, s.topic, 0, 1, 2)
	s.ends()
	s.producers()
	old := p
	p = s.end(5, p, true)
	s.settle()
	s.producers()
	s.produceRaw(12, "of the last transaction", &s.id, batch(old, 2, true))
	s.produceRaw(11, "of the last transaction", &s.id, batch(old, 2, true))
	s.produceRaw(11, "not added", &s.id, batch(p, 0, true))
	s.end(5, old, true)
	s.end(5, old, false)
	s.produce(12, p)
	s.end(5, old, true)
	s.end(5, old, false)
	p = s.end(5, p, false)
	s.settle()
	s.aborted(0)
	s.end(5, p.at(-1), false)
	s.end(5, p.at(-1), true)
	p = s.end(5, p, false)
	s.settle()
	s.producers()

	s.chapter("Internal topics")
	s.topic, s.topicID = "__transaction_state", [16]byte{}
	s.produceRaw(12, "of a client", nil, batch(nobody, -1, false))
	s.topic = "__consumer_offsets"
	s.produceRaw(12, "of a client", nil, batch(nobody, -1, false))

	s.deleteRecords()

	s.chapter("Looking")
	s.createTopic()
	p = s.init(5, nobody, 60_000)
	s.produce(12, p)
	mine := s.id
	<-time.After(5 * time.Millisecond) // so that it has gone on for longer than 0 ms
	for version := range int16(3) {
		s.list(version, []string{"Ongoing"}, p.id, -1, mine)
		s.list(version, []string{"Ongoing", "Odd", "ongoing"}, p.id, -1, mine)
		s.list(version, []string{"Empty"}, p.id, -1, mine)
		s.list(version, nil, stranger, -1, mine)
		s.list(version, nil, p.id, 3_600_000, mine)
		s.list(version, nil, p.id, 0, mine)
		s.list(version, nil, p.id, -5, mine)
		s.list(version, nil, p.id, -1, "("+mine)
		s.list(version, nil, p.id, -1, ".*"+mine[len(mine)-4:])
		s.list(version, nil, p.id, -1, mine[:4])
		s.list(version, nil, p.id, -1, "")
	}
	s.describe("", "not there", mine)
	for _, key := range []string{"", "any"} {
		for version := range int16(7) {
			s.coordinatorOf(version, key)
		}
	}

	s.chapter("Fencing with version 1")
	s.createTopic()
	p = s.init(4, nobody, 60_000)
	s.add(3, p, s.topic, 0)
	s.produce(11, p)
	s.init(4, nobody, 60_000)
	s.settle()
	q = s.init(4, nobody, 60_000)
	s.settle()
	s.produceRaw(11, "of the fenced one", &s.id, batch(p, 1, true))
	s.produceRaw(12, "of the fenced one", &s.id, batch(p, 1, true))
	for version := range int16(6) {
		s.add(version, p, s.topic, 0)
		s.end(version, p, true)
	}
	s.init(4, p, 60_000)
	s.init(3, p, 60_000)
	s.ends()
	s.add(3, q, s.topic, 0)
	s.produce(11, q)
	s.init(4, q, 60_000)
	s.settle()
	s.init(4, q, 60_000)
	s.settle()

	s.chapter("Fencing with version 2")
	s.createTopic()
	p = s.init(5, nobody, 60_000)
	s.produce(12, p)
	s.init(5, nobody, 60_000)
	s.settle()
	q = s.init(5, nobody, 60_000)
	s.settle()
	s.produceRaw(12, "of the fenced one", &s.id, batch(p, 1, true))
	s.end(5, p, true)
	s.end(5, p, false)
	s.end(5, q, false)
	s.settle()
	s.ends()
	s.producers()

	s.chapter("Timeouts")
	s.createTopic()
	p = s.init(5, nobody, 1)
	s.produce(12, p)
	s.awaitAborted()
	s.settle()
	s.produceRaw(12, "after the timeout", &s.id, batch(p, 1, true))
	s.produceRaw(11, "after the timeout", &s.id, batch(p, 1, true))
	s.end(5, p, true)
	s.end(5, p, false)
	s.init(5, p, 60_000)
	s.settle()

	s.chapter("Markers by hand")
	s.createTopic()
	s.init(5, nobody, 60_000)
	p = s.init(5, nobody, 60_000)
	s.produce(12, p)
	s.writeMarkers(1, p.at(-1), false, 0, 0, s.topic, 0)
	s.writeMarkers(2, p, false, 0, 2, s.topic, 0)
	s.writeMarkers(1, p, false, 0, 0, "not-there", 0)
	s.writeMarkers(1, p, false, 0, 0, s.topic, 99)
	s.writeMarkers(1, p, false, -1, 0, s.topic, 0)
	s.writeMarkers(1, p, false, -1, 0, s.topic, 0)
	s.ends()
	s.producers()
	s.writeMarkers(2, p.at(1), true, 5, 2, s.topic, 0)
	s.writeMarkers(2, p.at(1), true, 5, 2, s.topic, 0)
	s.writeMarkers(2, p.at(2), true, 4, 2, s.topic, 0)
	s.writeMarkers(1, producer{id: stranger}, true, 0, 0, s.topic, 1)
	s.producers()
	s.aborted(0)
}

// playOffsets is the script about the offsets of groups.
func (s *txnScript) playOffsets() {
	s.chapter("Offsets with version 1")
	s.createTopic()
	group := s.id + "-g"
	p := s.init(4, nobody, 60_000)
	s.commitOffsets(3, p, group, 5)
	s.addOffsets(3, p, group)
	s.commitOffsets(3, p, group, 5)
	s.commitOffsets(3, p.at(1), group, 5)
	s.commitOffsets(3, p.at(-1), group, 5)
	s.offsets(group)
	s.end(3, p, true)
	s.settle()
	s.offsets(group)
	s.addOffsets(3, p, group)
	s.commitOffsets(3, p, group, 9)
	s.end(3, p, false)
	s.settle()
	s.offsets(group)
	s.commitOffsets(3, p, group, 9)

	s.chapter("Offsets with version 2")
	group = s.id + "-g"
	p = s.init(5, nobody, 60_000)
	s.commitOffsets(5, p, group, 5)
	s.offsets(group)
	old := p
	p = s.end(5, p, true)
	s.settle()
	s.offsets(group)
	s.commitOffsets(5, old, group, 6)
	s.commitOffsets(5, p.at(1), group, 6)
	s.commitOffsets(5, p, group, 7)
	s.end(5, p, false)
	s.settle()
	s.offsets(group)
}

// TestTransactionsAnswerAsKafka plays the script and compares with what Apache Kafka 4.3.1 answered. With TXN_SCRIPT_KAFKA, the address of one, that is written
// down anew; transaction.abort.timed.out.transaction.cleanup.interval.ms is to be short there.
func TestTransactionsAnswerAsKafka(t *testing.T) {
	compareWithKafka(t, "testdata/txn-kafka-4.3.1.txt", (*txnScript).play)
}

// TestTransactionalOffsetsAnswerAsKafka is the same for offsets that are committed in transactions.
func TestTransactionalOffsetsAnswerAsKafka(t *testing.T) {
	compareWithKafka(t, "testdata/txn-offsets-kafka-4.3.1.txt", (*txnScript).playOffsets)
}

func compareWithKafka(t *testing.T, file string, play func(*txnScript)) {
	t.Helper()
	address := os.Getenv("TXN_SCRIPT_KAFKA")
	write := address != ""
	if !write {
		address = start(t, vfs.NewMem()).addr
	}
	conn, err := net.Dial("tcp", address)
	must(t, err)
	defer conn.Close()
	s := &txnScript{t: t, conn: conn, names: map[int64]string{}}
	if write {
		s.awaitCoordinators()
	}
	play(s)
	got := regularized(s.out.String())
	if write {
		must(t, os.WriteFile(file, []byte(got), 0o644))
		return
	}
	want, err := os.ReadFile(file)
	must(t, err)
	ours, theirs := strings.Split(got, "\n"), strings.Split(string(want), "\n")
	for i := range max(len(ours), len(theirs)) {
		var a, b string
		if i < len(ours) {
			a = ours[i]
		}
		if i < len(theirs) {
			b = theirs[i]
		}
		if a != b {
			t.Errorf("line %d:\n ours  %s\n Kafka %s", i+1, a, b)
		}
	}
}

// regularized takes the names of topics out of a transcript.
func regularized(text string) string {
	var out []string
	for _, line := range strings.Split(text, "\n") {
		for {
			i := strings.Index(line, "script-")
			if i < 0 {
				break
			}
			j := i + len("script-")
			for j < len(line) && line[j] >= '0' && line[j] <= '9' {
				j++
			}
			line = line[:i] + "TOPIC" + line[j:]
		}
		out = append(out, line)
	}
	return strings.Join(out, "\n")
}
