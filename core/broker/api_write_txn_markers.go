package broker

import (
	"sync/atomic"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/milldam/milldam/core/coordinator"
	"github.com/milldam/milldam/core/record"
	"github.com/milldam/milldam/core/wire"
)

// WriteTxnMarkers, versions 1 and 2. 2 says by which transaction version the coordinator decided (KIP-1228). It comes from coordinators, and from who aborts a
// transaction that hangs.
func (s *Server) writeTxnMarkers(cl *call, req *kmsg.WriteTxnMarkersRequest) {
	resp := kmsg.NewPtrWriteTxnMarkersResponse()
	resp.Markers = make([]kmsg.WriteTxnMarkersResponseMarker, len(req.Markers))
	var left atomic.Int64
	left.Store(1)
	done := func() {
		if left.Add(-1) == 0 {
			cl.reply(resp)
		}
	}
	for i := range req.Markers {
		in, out := &req.Markers[i], &resp.Markers[i]
		out.Default()
		out.ProducerID = in.ProducerID
		out.Topics = make([]kmsg.WriteTxnMarkersResponseMarkerTopic, len(in.Topics))
		m := record.Marker{ProducerID: record.ProducerID(in.ProducerID), ProducerEpoch: record.ProducerEpoch(in.ProducerEpoch), CoordinatorEpoch: in.CoordinatorEpoch, Commit: in.Committed}
		for j, t := range in.Topics {
			out.Topics[j].Default()
			out.Topics[j].Topic = t.Topic
			out.Topics[j].Partitions = make([]kmsg.WriteTxnMarkersResponseMarkerTopicPartition, len(t.Partitions))
			for k, index := range t.Partitions {
				row := &out.Topics[j].Partitions[k]
				row.Default()
				row.Partition = index
				if m.ProducerID == record.NoProducer || m.ProducerEpoch == record.NoEpoch {
					row.ErrorCode = int16(wire.UnknownServerError) // as Kafka answers what no marker can be made of
					continue
				}
				left.Add(1)
				appendMarker(s.opts.Replicas, s.opts.Groups, coordinator.TopicPartition{Topic: t.Topic, Partition: index}, m, int16(in.TransactionVersion), func(err error) {
					row.ErrorCode = int16(s.code(err))
					done()
				})
			}
		}
	}
	done()
}
