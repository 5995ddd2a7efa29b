package broker

import (
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/milldam/milldam/core/record"
	"github.com/milldam/milldam/core/wire"
)

// Special timestamps of ListOffsets.
const (
	latestOffset      = -1
	earliestOffset    = -2
	maxTimestamp      = -3
	earliestLocal     = -4
	latestTiered      = -5
	earliestPending   = -6
	listMaxTimestamp  = 7 // the version that knows it, and so on
	listEarliestLocal = 8
	listLatestTiered  = 9
	listPending       = 11
)

// ListOffsets, versions 1 to 11. 2 adds isolation, 4 leader epochs, 6 is flexible, 7 the largest timestamp (KIP-734), 8 and 9 tiered storage, 10 a timeout.
func (s *Server) listOffsets(cl *call, req *kmsg.ListOffsetsRequest) {
	resp := kmsg.NewPtrListOffsetsResponse()
	type place struct {
		topic     string
		partition int32
	}
	named := map[place]int{}
	for _, t := range req.Topics {
		for _, in := range t.Partitions {
			named[place{t.Topic, in.Partition}]++
		}
	}
	for _, t := range req.Topics {
		out := kmsg.NewListOffsetsResponseTopic()
		out.Topic = t.Topic
		for _, in := range t.Partitions {
			at := place{t.Topic, in.Partition}
			p := kmsg.NewListOffsetsResponseTopicPartition()
			p.Partition, p.Timestamp, p.Offset, p.LeaderEpoch = in.Partition, -1, -1, -1
			if named[at] != 1 { // 0 when that is answered
				if named[at] == 0 {
					continue
				}
				named[at] = 0
				p.ErrorCode = int16(wire.InvalidRequest)
			} else if !isolates(req.IsolationLevel) {
				p.ErrorCode = int16(wire.InvalidRequest)
			} else if err := s.listOffset(cl.header.Version, req.IsolationLevel == readCommitted, t.Topic, &in, &p); err != nil {
				p.ErrorCode = int16(s.code(err))
			}
			out.Partitions = append(out.Partitions, p)
		}
		resp.Topics = append(resp.Topics, out)
	}
	cl.reply(resp)
}

// listsTime tells whether a version knows a time, which all do that is no special one.
func listsTime(version int16, at int64) bool {
	switch at {
	case maxTimestamp:
		return version >= listMaxTimestamp
	case earliestLocal:
		return version >= listEarliestLocal
	case latestTiered:
		return version >= listLatestTiered
	case earliestPending:
		return version >= listPending
	}
	return at >= earliestOffset
}

func (s *Server) listOffset(version int16, committed bool, topic string, in *kmsg.ListOffsetsRequestTopicPartition, out *kmsg.ListOffsetsResponseTopicPartition) error {
	if !listsTime(version, in.Timestamp) { // before the partition is looked for, as in Kafka
		out.ErrorCode = int16(wire.UnsupportedVersion)
		return nil
	}
	p, err := s.opts.Replicas.Partition(topic, in.Partition)
	if err == nil {
		err = p.CheckEpoch(record.LeaderEpoch(in.CurrentLeaderEpoch))
	}
	if err == nil {
		err = p.Log.Err()
	}
	if err != nil {
		return err
	}
	at := func(o record.Offset) {
		out.Offset, out.LeaderEpoch = int64(o), int32(p.Epoch())
	}
	switch ts := in.Timestamp; {
	case ts == latestOffset:
		at(p.Readable(committed))
	case ts == earliestOffset, ts == earliestLocal:
		at(p.Log.Start())
	case ts == latestTiered, ts == earliestPending:
		out.LeaderEpoch = -1 // nothing is tiered
	case ts == maxTimestamp:
		found, ok, err := p.Log.MaxTimestamp(p.HighWatermark())
		if err != nil || !ok || found.Offset >= p.Readable(committed) { // as Kafka: of records that may not be read yet it says nothing
			return err
		}
		out.Offset, out.Timestamp, out.LeaderEpoch = int64(found.Offset), found.Timestamp, int32(found.Epoch)
	default:
		found, ok, err := p.Log.OffsetForTime(ts, p.Readable(committed))
		if err != nil || !ok {
			return err
		}
		out.Offset, out.Timestamp, out.LeaderEpoch = int64(found.Offset), found.Timestamp, int32(found.Epoch)
	}
	return nil
}
