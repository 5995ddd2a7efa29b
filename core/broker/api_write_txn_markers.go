package broker

import (
	"slices"
	"sync"
	"sync/atomic"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/milldam/milldam/core/coordinator"
	"github.com/milldam/milldam/core/record"
	"github.com/milldam/milldam/core/wire"
)

// WriteTxnMarkers, versions 1 and 2. 2 says by which transaction version the coordinator decided (KIP-1228). It comes from coordinators, and from who aborts a
// transaction that hangs.
func (s *Server) writeTxnMarkers(cl *call, req *kmsg.WriteTxnMarkersRequest) {
	answers := newMarkerAnswers(req)
	var left atomic.Int64
	left.Store(1)
	done := func() {
		if left.Add(-1) == 0 {
			cl.reply(answers.resp)
		}
	}
	for _, in := range req.Markers {
		written := map[coordinator.TopicPartition]bool{}
		m := record.Marker{ProducerID: record.ProducerID(in.ProducerID), ProducerEpoch: record.ProducerEpoch(in.ProducerEpoch), CoordinatorEpoch: in.CoordinatorEpoch, Commit: in.Committed}
		for _, t := range in.Topics {
			for _, index := range t.Partitions {
				at, to := markerKey{in.ProducerID, t.Topic, index}, coordinator.TopicPartition{Topic: t.Topic, Partition: index}
				if written[to] { // however often the marker names it
					continue
				}
				written[to] = true
				if _, err := s.opts.Replicas.Partition(t.Topic, index); err != nil {
					answers.set(at, s.code(err))
					continue
				}
				if m.ProducerID == record.NoProducer || m.ProducerEpoch == record.NoEpoch {
					answers.set(at, wire.UnknownServerError) // as Kafka answers what no marker can be made of
					continue
				}
				left.Add(1)
				appendMarker(s.opts.Replicas, s.opts.Groups, to, m, int16(in.TransactionVersion), func(err error) {
					answers.set(at, s.code(err))
					done()
				})
			}
		}
	}
	done()
}

// markerAnswers is the response to a WriteTxnMarkers request while it is made: as in Kafka there is one answer for each producer, topic and partition, however
// often the request names them, and none for a producer without partitions.
type markerAnswers struct {
	resp  *kmsg.WriteTxnMarkersResponse
	codes map[markerKey]*int16
	mu    sync.Mutex // two markers of the same partition may end at the same time
}

type markerKey struct {
	producer  int64
	topic     string
	partition int32
}

func newMarkerAnswers(req *kmsg.WriteTxnMarkersRequest) *markerAnswers {
	a := &markerAnswers{resp: kmsg.NewPtrWriteTxnMarkersResponse(), codes: map[markerKey]*int16{}}
	var producers []int64
	topics := map[int64][]string{}
	partitions := map[markerKey][]int32{} // of a producer and topic
	for _, m := range req.Markers {
		for _, t := range m.Topics {
			of := markerKey{producer: m.ProducerID, topic: t.Topic}
			for _, index := range t.Partitions {
				if topics[m.ProducerID] == nil {
					producers = append(producers, m.ProducerID)
				}
				if partitions[of] == nil {
					topics[m.ProducerID] = append(topics[m.ProducerID], t.Topic)
				}
				if !slices.Contains(partitions[of], index) {
					partitions[of] = append(partitions[of], index)
				}
			}
		}
	}
	for _, id := range producers {
		out := kmsg.NewWriteTxnMarkersResponseMarker()
		out.ProducerID = id
		for _, topic := range topics[id] {
			t := kmsg.NewWriteTxnMarkersResponseMarkerTopic()
			t.Topic = topic
			t.Partitions = make([]kmsg.WriteTxnMarkersResponseMarkerTopicPartition, len(partitions[markerKey{producer: id, topic: topic}]))
			for i, index := range partitions[markerKey{producer: id, topic: topic}] {
				t.Partitions[i].Default()
				t.Partitions[i].Partition = index
				a.codes[markerKey{id, topic, index}] = &t.Partitions[i].ErrorCode
			}
			out.Topics = append(out.Topics, t)
		}
		a.resp.Markers = append(a.resp.Markers, out)
	}
	return a
}

func (a *markerAnswers) set(at markerKey, code wire.Code) {
	a.mu.Lock()
	defer a.mu.Unlock()
	*a.codes[at] = int16(code)
}
