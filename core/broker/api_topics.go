package broker

import (
	"context"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/milldam/milldam/core/meta"
	"github.com/milldam/milldam/core/record"
	"github.com/milldam/milldam/core/replica"
	"github.com/milldam/milldam/core/wire"
)

// Versions whose clients know THROTTLING_QUOTA_EXCEEDED (KIP-599): of an older one too many changes are made, and the client is throttled.
const (
	createTopicsStrict     = 6
	deleteTopicsStrict     = 5
	createPartitionsStrict = 3
)

// within is the context of a change that its request gives a time.
func (s *Server) within(ms int32) (context.Context, context.CancelFunc) {
	d := millis(ms)
	if d <= 0 {
		d = changeTimeout
	}
	return context.WithTimeout(s.ctx, d)
}

// CreateTopics, versions 2 to 7. 4 takes -1 for defaults (KIP-464), 5 is flexible and returns configs (KIP-525), 7 has topic ids.
func (s *Server) createTopics(cl *call, req *kmsg.CreateTopicsRequest) {
	ctx, cancel := s.within(req.TimeoutMillis)
	defer cancel()
	resp := kmsg.NewPtrCreateTopicsResponse()
	changes := s.quotas.mutationsOf(cl.header.ClientID, cl.header.Version >= createTopicsStrict)
	named := map[string]int{}
	for i := range req.Topics {
		named[req.Topics[i].Topic]++
	}
	answered := map[string]bool{}
	for i := range req.Topics {
		in := &req.Topics[i]
		if answered[in.Topic] {
			continue
		}
		answered[in.Topic] = true
		out := kmsg.NewCreateTopicsResponseTopic()
		out.Topic = in.Topic
		var t *meta.Topic
		var err error
		if named[in.Topic] > 1 {
			err = wrapped{meta.ErrInvalidRequest, "the topic stands in the request twice"}
		} else {
			t, err = s.createTopic(ctx, in, changes, req.ValidateOnly)
		}
		out.ErrorCode, out.ErrorMessage = int16(s.code(err)), message(err)
		if err == nil {
			s.fillCreated(&out, t, req.ValidateOnly)
		}
		resp.Topics = append(resp.Topics, out)
	}
	cl.throttle = changes.throttle
	cl.reply(resp)
}

func (s *Server) createTopic(ctx context.Context, in *kmsg.CreateTopicsRequestTopic, changes *mutations, dryRun bool) (*meta.Topic, error) {
	t := meta.NewTopic{Name: in.Topic, Partitions: in.NumPartitions, Replicas: in.ReplicationFactor, Config: map[string]string{}, Internal: in.Topic == offsetsTopic}
	if len(in.ReplicaAssignment) > 0 {
		if in.NumPartitions != -1 || in.ReplicationFactor != -1 {
			return nil, wrapped{meta.ErrInvalidRequest, "with an assignment, partitions and replication factor are -1"}
		}
		t.Assignment = make([][]int32, len(in.ReplicaAssignment))
		for _, a := range in.ReplicaAssignment {
			if a.Partition < 0 || int(a.Partition) >= len(t.Assignment) || t.Assignment[a.Partition] != nil {
				return nil, wrapped{meta.ErrInvalidAssignment, "partitions are numbered from 0 on without a gap"}
			}
			t.Assignment[a.Partition] = a.Replicas
		}
	}
	for _, c := range in.Configs {
		if c.Value == nil {
			return nil, wrapped{meta.ErrInvalidConfig, "null value for config " + c.Name}
		}
		t.Config[c.Name] = *c.Value
	}
	if changes.limited {
		planned, err := s.opts.Controller.CreateTopic(ctx, t, true)
		if err == nil {
			err = changes.take(len(planned.Partitions))
		}
		if err != nil {
			return nil, err
		}
	}
	return s.opts.Controller.CreateTopic(ctx, t, dryRun)
}

// fillCreated adds what versions from 5 on tell of a topic that was made.
func (s *Server) fillCreated(out *kmsg.CreateTopicsResponseTopic, t *meta.Topic, dryRun bool) {
	if !dryRun {
		out.TopicID = t.ID
	}
	out.NumPartitions, out.ReplicationFactor = int32(len(t.Partitions)), int16(len(t.Partitions[0].Replicas))
	for _, e := range s.opts.Controller.TopicConfig(s.opts.Controller.Image(), t) {
		c := kmsg.NewCreateTopicsResponseTopicConfig()
		c.Name, c.Source, c.ReadOnly, c.IsSensitive = e.Key, int8(e.Source), e.ReadOnly, e.Sensitive
		if !e.Null && !e.Sensitive {
			c.Value = &e.Value
		}
		out.Configs = append(out.Configs, c)
	}
}

// DeleteTopics, versions 1 to 6. 4 is flexible, 5 has messages, 6 takes topics by id (KIP-516).
func (s *Server) deleteTopics(cl *call, req *kmsg.DeleteTopicsRequest) {
	ctx, cancel := s.within(req.TimeoutMillis)
	defer cancel()
	changes := s.quotas.mutationsOf(cl.header.ClientID, cl.header.Version >= deleteTopicsStrict)
	resp := kmsg.NewPtrDeleteTopicsResponse()
	type asked struct {
		name *string
		id   record.TopicID
	}
	var list []asked
	for _, name := range req.TopicNames {
		list = append(list, asked{name: kmsg.StringPtr(name)})
	}
	for _, t := range req.Topics {
		list = append(list, asked{name: t.Topic, id: t.TopicID})
	}
	for _, a := range list {
		out := kmsg.NewDeleteTopicsResponseTopic()
		out.Topic, out.TopicID = a.name, a.id
		t, err := s.deleteTopic(ctx, a.name, a.id, changes)
		if t != nil {
			out.Topic, out.TopicID = kmsg.StringPtr(t.Name), t.ID
		}
		out.ErrorCode, out.ErrorMessage = int16(s.code(err)), message(err)
		resp.Topics = append(resp.Topics, out)
	}
	cl.throttle = changes.throttle
	cl.reply(resp)
}

func (s *Server) deleteTopic(ctx context.Context, name *string, id record.TopicID, changes *mutations) (*meta.Topic, error) {
	image := s.opts.Controller.Image()
	t := image.TopicByID(id)
	switch {
	case name != nil:
		if t = image.Topic(*name); t == nil {
			return nil, wrapped{meta.ErrUnknownTopic, "unknown topic " + *name}
		}
	case t == nil:
		return nil, unknownID
	}
	if isInternal(t.Name) {
		return t, wrapped{meta.ErrInvalidTopic, t.Name + " is internal and stays"}
	}
	if err := changes.take(len(t.Partitions)); err != nil {
		return t, err
	}
	if err := s.opts.Controller.DeleteTopic(ctx, t.ID); err != nil {
		return t, err
	}
	s.opts.Groups.TopicsDeleted([]string{t.Name})
	return t, s.opts.Replicas.RemoveTopic(ctx, t.ID)
}

// CreatePartitions, versions 0 to 3. 2 is flexible.
func (s *Server) createPartitions(cl *call, req *kmsg.CreatePartitionsRequest) {
	ctx, cancel := s.within(req.TimeoutMillis)
	defer cancel()
	changes := s.quotas.mutationsOf(cl.header.ClientID, cl.header.Version >= createPartitionsStrict)
	resp := kmsg.NewPtrCreatePartitionsResponse()
	for _, in := range req.Topics {
		var assignment [][]int32
		for _, a := range in.Assignment {
			assignment = append(assignment, a.Replicas)
		}
		var err error
		if t := s.opts.Controller.Image().Topic(in.Topic); t != nil && int(in.Count) > len(t.Partitions) {
			err = changes.take(int(in.Count) - len(t.Partitions))
		}
		if err == nil {
			err = s.opts.Controller.CreatePartitions(ctx, in.Topic, in.Count, assignment, req.ValidateOnly)
		}
		out := kmsg.NewCreatePartitionsResponseTopic()
		out.Topic, out.ErrorCode, out.ErrorMessage = in.Topic, int16(s.code(err)), message(err)
		resp.Topics = append(resp.Topics, out)
	}
	cl.throttle = changes.throttle
	cl.reply(resp)
}

// DeleteRecords, versions 0 to 2. -1 is the high watermark.
func (s *Server) deleteRecords(cl *call, req *kmsg.DeleteRecordsRequest) {
	ctx, cancel := s.within(req.TimeoutMillis)
	defer cancel()
	resp := kmsg.NewPtrDeleteRecordsResponse()
	for _, t := range req.Topics {
		out := kmsg.NewDeleteRecordsResponseTopic()
		out.Topic = t.Topic
		for _, in := range t.Partitions {
			p := kmsg.NewDeleteRecordsResponseTopicPartition()
			p.Partition, p.LowWatermark = in.Partition, -1
			start, err := s.deleteUpTo(ctx, t.Topic, in.Partition, record.Offset(in.Offset))
			if p.ErrorCode = int16(s.code(err)); err == nil {
				p.LowWatermark = int64(start)
			}
			out.Partitions = append(out.Partitions, p)
		}
		resp.Topics = append(resp.Topics, out)
	}
	cl.reply(resp)
}

func (s *Server) deleteUpTo(ctx context.Context, topic string, index int32, offset record.Offset) (record.Offset, error) {
	p, err := s.opts.Replicas.Partition(topic, index)
	if err != nil {
		return 0, err
	}
	if offset == -1 {
		offset = p.HighWatermark()
	}
	if offset < 0 {
		return 0, wrapped{errOutOfRange, "a negative offset"}
	}
	return p.Log.DeleteRecords(ctx, offset)
}

// OffsetForLeaderEpoch, versions 2 to 4 (KIP-320).
func (s *Server) offsetForLeaderEpoch(cl *call, req *kmsg.OffsetForLeaderEpochRequest) {
	resp := kmsg.NewPtrOffsetForLeaderEpochResponse()
	for _, t := range req.Topics {
		out := kmsg.NewOffsetForLeaderEpochResponseTopic()
		out.Topic = t.Topic
		for _, in := range t.Partitions {
			p := kmsg.NewOffsetForLeaderEpochResponseTopicPartition()
			p.Partition, p.LeaderEpoch, p.EndOffset = in.Partition, -1, -1
			part, err := s.opts.Replicas.Partition(t.Topic, in.Partition)
			if err == nil {
				err = part.CheckEpoch(record.LeaderEpoch(in.CurrentLeaderEpoch))
			}
			if p.ErrorCode = int16(s.code(err)); err == nil {
				epoch, end := epochEnd(part, record.LeaderEpoch(in.LeaderEpoch))
				p.LeaderEpoch, p.EndOffset = int32(epoch), int64(end)
			}
			out.Partitions = append(out.Partitions, p)
		}
		resp.Topics = append(resp.Topics, out)
	}
	cl.reply(resp)
}

// epochEnd tells where an epoch ends; the current one ends at the log's end also when nothing was appended in it.
func epochEnd(p *replica.Partition, epoch record.LeaderEpoch) (record.LeaderEpoch, record.Offset) {
	if epoch == p.Epoch() {
		return epoch, p.Log.End()
	}
	return p.Log.EpochEnd(epoch)
}

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
	for _, t := range req.Topics {
		out := kmsg.NewListOffsetsResponseTopic()
		out.Topic = t.Topic
		for _, in := range t.Partitions {
			p := kmsg.NewListOffsetsResponseTopicPartition()
			p.Partition, p.Timestamp, p.Offset, p.LeaderEpoch = in.Partition, -1, -1, -1
			if err := s.listOffset(cl.header.Version, req.IsolationLevel == readCommitted, t.Topic, &in, &p); err != nil {
				p.ErrorCode = int16(s.code(err))
			}
			out.Partitions = append(out.Partitions, p)
		}
		resp.Topics = append(resp.Topics, out)
	}
	cl.reply(resp)
}

func (s *Server) listOffset(version int16, committed bool, topic string, in *kmsg.ListOffsetsRequestTopicPartition, out *kmsg.ListOffsetsResponseTopicPartition) error {
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
	case ts == earliestOffset, ts == earliestLocal && version >= listEarliestLocal:
		at(p.Log.Start())
	case ts == latestTiered && version >= listLatestTiered, ts == earliestPending && version >= listPending:
		out.LeaderEpoch = -1 // nothing is tiered
	case ts == maxTimestamp && version >= listMaxTimestamp:
		found, ok, err := p.Log.MaxTimestamp(p.Readable(committed))
		if err != nil || !ok {
			return err
		}
		out.Offset, out.Timestamp, out.LeaderEpoch = int64(found.Offset), found.Timestamp, int32(found.Epoch)
	case ts < 0:
		out.ErrorCode = int16(wire.UnsupportedVersion)
	default:
		found, ok, err := p.Log.OffsetForTime(ts, p.Readable(committed))
		if err != nil || !ok {
			return err
		}
		out.Offset, out.Timestamp, out.LeaderEpoch = int64(found.Offset), found.Timestamp, int32(found.Epoch)
	}
	return nil
}
