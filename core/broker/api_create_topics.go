package broker

import (
	"context"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/milldam/milldam/core/meta"
)

// Versions whose clients know THROTTLING_QUOTA_EXCEEDED (KIP-599): of an older one too many changes are made, and the client is throttled.
const (
	createTopicsStrict     = 6
	deleteTopicsStrict     = 5
	createPartitionsStrict = 3
)

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
		out.Topic, out.Configs = in.Topic, []kmsg.CreateTopicsResponseTopicConfig{} // null is for who may not see them
		var t *meta.Topic
		var err error
		if named[in.Topic] > 1 {
			err = wrapped{meta.ErrInvalidRequest, "the topic stands in the request twice"}
		} else {
			t, err = s.createTopic(ctx, in, changes, req.ValidateOnly)
		}
		out.ErrorCode, out.ErrorMessage = int16(s.code(err)), message(err)
		if err == nil {
			s.fillCreated(&out, in, t)
		}
		resp.Topics = append(resp.Topics, out)
	}
	cl.throttle = changes.throttle
	cl.reply(resp)
}

func (s *Server) createTopic(ctx context.Context, in *kmsg.CreateTopicsRequestTopic, changes *mutations, dryRun bool) (*meta.Topic, error) {
	if err := meta.CheckTopicName(in.Topic); err != nil {
		return nil, err
	}
	if s.opts.Controller.Image().Topic(in.Topic) != nil { // told before what else is wrong, as in Kafka
		return nil, wrapped{meta.ErrTopicExists, "Topic '" + in.Topic + "' already exists."}
	}
	t := meta.NewTopic{Name: in.Topic, Partitions: in.NumPartitions, Replicas: in.ReplicationFactor, Config: map[string]string{}, Internal: in.Topic == offsetsTopic || in.Topic == txnTopic}
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
func (s *Server) fillCreated(out *kmsg.CreateTopicsResponseTopic, in *kmsg.CreateTopicsRequestTopic, t *meta.Topic) {
	sent := map[string]*string{} // values are told as they came
	for _, c := range in.Configs {
		sent[c.Name] = c.Value
	}
	out.TopicID = t.ID // of one that was only planned too, as in Kafka
	out.NumPartitions, out.ReplicationFactor = int32(len(t.Partitions)), int16(len(t.Partitions[0].Replicas))
	for _, e := range s.opts.Controller.TopicConfig(s.opts.Controller.Image(), t) {
		c := kmsg.NewCreateTopicsResponseTopicConfig()
		c.Name, c.Source, c.ReadOnly, c.IsSensitive = e.Key, int8(e.Source), e.ReadOnly, e.Sensitive
		if value, ok := sent[e.Key]; ok {
			c.Value = value
		} else if !e.Null && !e.Sensitive {
			c.Value = &e.Value
		}
		out.Configs = append(out.Configs, c)
	}
}
