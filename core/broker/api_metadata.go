package broker

import (
	"context"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/milldam/milldam/core/meta"
	"github.com/milldam/milldam/core/record"
	"github.com/milldam/milldam/core/wire"
)

// changeTimeout bounds a change of metadata whose request says no time of its own.
const changeTimeout = 30 * time.Second

// Metadata, versions 0 to 13. 1 tells an empty list of topics from none, 4 asks for topics to be made, 7 has leader epochs, 8 to 10 authorised operations, 10 topic ids
// (KIP-516), 12 topics by id alone, 13 an error for all.
func (s *Server) metadata(cl *call, req *kmsg.MetadataRequest) {
	resp := kmsg.NewPtrMetadataResponse()
	if refuseIDs(cl.header.Version, req.Topics, resp) {
		cl.reply(resp)
		return
	}
	image := s.opts.Controller.Image()
	all := req.Topics == nil || cl.header.Version == 0 && len(req.Topics) == 0
	create := cl.header.Version < 4 || req.AllowAutoTopicCreation
	if all {
		for t := range image.Topics() {
			resp.Topics = append(resp.Topics, s.metadataTopic(t, req.IncludeTopicAuthorizedOperations))
		}
	}
	type topicKey struct {
		name string
		id   record.TopicID
	}
	answered := map[topicKey]bool{}
	byID := slices.ContainsFunc(req.Topics, func(t kmsg.MetadataRequestTopic) bool { return t.TopicID != [16]byte{} })
	for _, asked := range req.Topics {
		if byID && asked.TopicID == [16]byte{} { // as in Kafka: where there are ids, names do not count
			continue
		}
		if asked.TopicID != [16]byte{} {
			asked.Topic = nil // the id counts: Java clients send an empty name with it
		}
		key := topicKey{id: record.TopicID(asked.TopicID)}
		if asked.Topic != nil {
			key.name = *asked.Topic
		}
		if answered[key] { // once is enough, as in Kafka
			continue
		}
		answered[key] = true
		t, err := s.findOrCreate(asked, create)
		if err == nil {
			resp.Topics = append(resp.Topics, s.metadataTopic(t, req.IncludeTopicAuthorizedOperations))
			continue
		}
		out := kmsg.NewMetadataResponseTopic()
		out.Topic, out.TopicID, out.ErrorCode = asked.Topic, asked.TopicID, int16(s.code(err))
		if req.IncludeTopicAuthorizedOperations && asked.Topic != nil { // of an id that names nothing there is nothing to say
			out.AuthorizedOperations = topicOperations
		}
		resp.Topics = append(resp.Topics, out)
	}
	image = s.opts.Controller.Image()
	resp.Brokers = cl.metadataBrokers(image)
	id := image.ClusterID()
	resp.ClusterID, resp.ControllerID = &id, image.Controller()
	if req.IncludeClusterAuthorizedOperations {
		resp.AuthorizedOperations = clusterOperations
	}
	cl.reply(resp)
}

// metadataBrokers are the brokers as the client can reach them.
func (cl *call) metadataBrokers(i *meta.Image) (list []kmsg.MetadataResponseBroker) {
	for _, b := range i.Brokers() {
		out := kmsg.NewMetadataResponseBroker()
		out.NodeID = b.ID
		out.Host, out.Port = cl.addressOf(b)
		if b.Rack != "" {
			out.Rack = &b.Rack
		}
		list = append(list, out)
	}
	return list
}

// metadataByID is the version from which topics may be asked for by id.
const metadataByID = 12

// refuseIDs answers a request that asks by id, or without a name, before it may: as in Kafka for each of its topics, and nothing else is told.
func refuseIDs(version int16, topics []kmsg.MetadataRequestTopic, resp *kmsg.MetadataResponse) bool {
	if version >= metadataByID || !slices.ContainsFunc(topics, func(t kmsg.MetadataRequestTopic) bool { return t.Topic == nil || t.TopicID != [16]byte{} }) {
		return false
	}
	for _, asked := range topics {
		out := kmsg.NewMetadataResponseTopic()
		out.Topic, out.TopicID, out.ErrorCode = asked.Topic, asked.TopicID, int16(wire.InvalidRequest)
		if out.Topic == nil {
			out.Topic = new(string)
		}
		resp.Topics = append(resp.Topics, out)
	}
	return true
}

// findOrCreate returns a topic that was asked for by name or id, and makes it where that is wanted and allowed.
func (s *Server) findOrCreate(asked kmsg.MetadataRequestTopic, create bool) (*meta.Topic, error) {
	image := s.opts.Controller.Image()
	if asked.Topic == nil {
		if t := image.TopicByID(record.TopicID(asked.TopicID)); t != nil {
			return t, nil
		}
		return nil, unknownID
	}
	name := *asked.Topic
	if t := image.Topic(name); t != nil {
		return t, nil
	}
	if err := meta.CheckTopicName(name); err != nil {
		return nil, err
	}
	if !create || s.opts.Controller.BrokerValue(image, "auto.create.topics.enable") != "true" {
		return nil, wrapped{meta.ErrUnknownTopic, "unknown topic " + name}
	}
	ctx, cancel := context.WithTimeout(s.ctx, changeTimeout)
	defer cancel()
	switch name {
	case offsetsTopic:
		return EnsureOffsetsTopic(ctx, s.opts.Controller)
	case txnTopic:
		return EnsureTxnTopic(ctx, s.opts.Controller)
	}
	t, err := s.opts.Controller.CreateTopic(ctx, meta.NewTopic{Name: name, Partitions: -1, Replicas: -1}, false)
	if err != nil {
		if t := s.opts.Controller.Image().Topic(name); t != nil { // another made it meanwhile
			return t, nil
		}
	}
	return t, err
}

func (s *Server) metadataTopic(t *meta.Topic, operations bool) kmsg.MetadataResponseTopic {
	out := kmsg.NewMetadataResponseTopic()
	out.Topic, out.TopicID, out.IsInternal = kmsg.StringPtr(t.Name), t.ID, t.Internal
	if operations {
		out.AuthorizedOperations = topicOperations
	}
	for i, p := range t.Partitions {
		row := kmsg.NewMetadataResponseTopicPartition()
		row.Partition, row.Leader, row.LeaderEpoch, row.Replicas, row.ISR = int32(i), p.Leader, int32(p.LeaderEpoch), p.Replicas, p.ISR
		row.OfflineReplicas = []int32{}
		if s.damaged(t, int32(i)) {
			row.ErrorCode, row.Leader, row.OfflineReplicas = int16(wire.LeaderNotAvailable), noLeader, p.Replicas
		}
		out.Partitions = append(out.Partitions, row)
	}
	return out
}
