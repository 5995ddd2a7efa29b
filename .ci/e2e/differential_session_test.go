package e2e

import (
	"fmt"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// fetchSession plays one session of incremental fetches (KIP-227): it is opened, told of more and of fewer partitions, asked between changes of their logs, and now
// and then asked wrongly.
type fetchSession struct {
	*differential
	version int16
	epoch   int32
}

// playFetchSession lets both brokers go through a session.
func (d *differential) playFetchSession() {
	s := &fetchSession{differential: d, version: 7 + int16(d.script.random.IntN(12))}
	s.fetch("open", 0, s.some(2), nil)
	s.epoch = 1
	for range 4 + d.script.random.IntN(5) {
		s.step()
	}
	s.fetch("end", -1, nil, nil)
	s.fetch("after the end", s.epoch, nil, nil)
}

// sessionPart is what a session is told of a partition.
type sessionPart struct {
	topic     string
	partition int32
	offset    int64
}

// some are partitions of any topic, with offsets that may be out of range.
func (s *fetchSession) some(n int) []sessionPart {
	r, topics := s.script.random, append(s.script.topics(), s.script.name("missing"))
	var parts []sessionPart
	for range n {
		parts = append(parts, sessionPart{topics[r.IntN(len(topics))], int32(r.IntN(4)), []int64{0, 0, 1, 2, 5, 1 << 40}[r.IntN(6)]})
	}
	return parts
}

func (s *fetchSession) step() {
	r := s.script.random
	switch r.IntN(12) {
	case 0, 1, 2:
		s.next("says nothing", nil, nil)
	case 3, 4:
		s.next("more partitions, or other offsets", s.some(1+r.IntN(3)), nil)
	case 5:
		s.next("fewer partitions", nil, s.some(1+r.IntN(4)))
	case 6:
		s.next("fewer and more", s.some(2), s.some(2))
	case 7, 8:
		s.produce()
		s.next("after new records", nil, nil)
	case 9:
		s.fetch("the epoch of the last again", s.epoch-1, s.some(1), nil)
	case 10:
		s.fetch("an epoch too far", s.epoch+3, nil, s.some(1))
	case 11:
		was := s.version
		s.version = 7 + int16(r.IntN(12))
		if (was >= fetchTopicIDs) == (s.version >= fetchTopicIDs) {
			s.next("another version", nil, nil)
		} else {
			s.fetch("names and ids mixed", s.epoch, nil, nil)
			s.version = was
		}
	}
}

// fetchTopicIDs is the version of Fetch from which it names topics by their ids.
const fetchTopicIDs = 13

// next is a request with the epoch that is due.
func (s *fetchSession) next(what string, parts, forgotten []sessionPart) {
	s.fetch(what, s.epoch, parts, forgotten)
	s.epoch++
}

func (s *fetchSession) fetch(what string, epoch int32, parts, forgotten []sessionPart) {
	c := s.newCall(int16(kmsg.Fetch), s.version)
	c.what = fmt.Sprintf(" of a session (%s)", what)
	isolation := int8(s.script.random.IntN(2))
	s.callWith(c, func(p *diffPeer) kmsg.Request {
		req := kmsg.NewPtrFetchRequest()
		req.MaxBytes, req.IsolationLevel, req.SessionID, req.SessionEpoch, req.ReplicaID = 1<<20, isolation, p.session, epoch, -1
		for _, part := range onePerPartition(parts) {
			t, in := kmsg.NewFetchRequestTopic(), kmsg.NewFetchRequestTopicPartition()
			t.Topic, t.TopicID = part.topic, p.sessionTopic(part.topic)
			in.Partition, in.FetchOffset, in.PartitionMaxBytes, in.CurrentLeaderEpoch, in.LogStartOffset = part.partition, part.offset, 1<<20, -1, -1
			t.Partitions = append(t.Partitions, in)
			req.Topics = append(req.Topics, t)
		}
		for _, part := range forgotten {
			t := kmsg.NewFetchRequestForgottenTopic()
			t.Topic, t.TopicID, t.Partitions = part.topic, p.sessionTopic(part.topic), []int32{part.partition}
			req.ForgottenTopics = append(req.ForgottenTopics, t)
		}
		return req
	})
}

// sessionTopic is the id of a topic, or one that no topic has.
func (p *diffPeer) sessionTopic(name string) [16]byte {
	if id, ok := p.topicIDs[name]; ok {
		return id
	}
	none := [16]byte{0xff, name[len(name)-1]}
	p.topics[none] = "no " + name
	return none
}

func onePerPartition(parts []sessionPart) []sessionPart {
	var out []sessionPart
	seen := map[string]bool{}
	for _, p := range parts {
		at := fmt.Sprint(p.topic, p.partition)
		if !seen[at] {
			out = append(out, p)
		}
		seen[at] = true
	}
	return out
}

// produce appends a record to a partition that exists.
func (s *fetchSession) produce() {
	at := s.some(1)[0]
	c := s.newCall(int16(kmsg.Produce), 11)
	c.producer = s.script.name("p%d", diffProducers-1)
	s.callWith(c, func(*diffPeer) kmsg.Request {
		req := kmsg.NewPtrProduceRequest()
		req.Acks, req.TimeoutMillis = -1, 10000
		t, in := kmsg.NewProduceRequestTopic(), kmsg.NewProduceRequestTopicPartition()
		t.Topic, in.Partition, in.Records = at.topic, at.partition%3, sealed(oneRecord(s.script.stamp))
		t.Partitions = append(t.Partitions, in)
		req.Topics = append(req.Topics, t)
		return req
	})
}

// oneRecord is a batch of one record that no producer sequenced.
func oneRecord(stamp int64) kmsg.RecordBatch {
	r := kmsg.Record{Value: []byte("one record")}
	r.Length = int32(len(r.AppendTo(nil)) - 1)
	batch := kmsg.RecordBatch{Magic: 2, ProducerID: -1, ProducerEpoch: -1, FirstSequence: -1, FirstTimestamp: stamp, MaxTimestamp: stamp, NumRecords: 1, Records: r.AppendTo(nil)}
	batch.Length = int32(49 + len(batch.Records))
	return batch
}
