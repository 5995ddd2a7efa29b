package broker

import (
	"context"
	"slices"
	"strings"
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
	image := s.opts.Controller.Image()
	all := req.Topics == nil || cl.header.Version == 0 && len(req.Topics) == 0
	create := cl.header.Version < 4 || req.AllowAutoTopicCreation
	if all {
		for t := range image.Topics() {
			resp.Topics = append(resp.Topics, metadataTopic(t))
		}
	}
	for _, asked := range req.Topics {
		t, err := s.findOrCreate(asked, create)
		if err == nil {
			resp.Topics = append(resp.Topics, metadataTopic(t))
			continue
		}
		out := kmsg.NewMetadataResponseTopic()
		out.Topic, out.TopicID, out.ErrorCode = asked.Topic, asked.TopicID, int16(s.code(err))
		resp.Topics = append(resp.Topics, out)
	}
	image = s.opts.Controller.Image()
	for _, b := range image.Brokers() {
		out := kmsg.NewMetadataResponseBroker()
		out.NodeID, out.Host, out.Port = b.ID, b.Host, b.Port
		if b.Host == "" {
			out.Host, out.Port = cl.address()
		}
		if b.Rack != "" {
			out.Rack = &b.Rack
		}
		resp.Brokers = append(resp.Brokers, out)
	}
	id := image.ClusterID()
	resp.ClusterID, resp.ControllerID = &id, image.Controller()
	cl.reply(resp)
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
	if name == offsetsTopic {
		return s.ensureOffsetsTopic(ctx)
	}
	t, err := s.opts.Controller.CreateTopic(ctx, meta.NewTopic{Name: name, Partitions: -1, Replicas: -1}, false)
	if err != nil {
		if t := s.opts.Controller.Image().Topic(name); t != nil { // another made it meanwhile
			return t, nil
		}
	}
	return t, err
}

func metadataTopic(t *meta.Topic) kmsg.MetadataResponseTopic {
	out := kmsg.NewMetadataResponseTopic()
	out.Topic, out.TopicID, out.IsInternal = kmsg.StringPtr(t.Name), t.ID, t.Internal
	for i, p := range t.Partitions {
		row := kmsg.NewMetadataResponseTopicPartition()
		row.Partition, row.Leader, row.LeaderEpoch, row.Replicas, row.ISR = int32(i), p.Leader, int32(p.LeaderEpoch), p.Replicas, p.ISR
		out.Partitions = append(out.Partitions, row)
	}
	return out
}

// DescribeCluster, versions 0 to 2.
func (s *Server) describeCluster(cl *call, _ *kmsg.DescribeClusterRequest) {
	image := s.opts.Controller.Image()
	resp := kmsg.NewPtrDescribeClusterResponse()
	resp.ClusterID, resp.ControllerID = image.ClusterID(), image.Controller()
	for _, b := range image.Brokers() {
		out := kmsg.NewDescribeClusterResponseBroker()
		out.NodeID, out.Host, out.Port = b.ID, b.Host, b.Port
		if b.Host == "" {
			out.Host, out.Port = cl.address()
		}
		resp.Brokers = append(resp.Brokers, out)
	}
	cl.reply(resp)
}

// maxDescribedPartitions bounds a response of DescribeTopicPartitions, as Kafka's max.request.partition.size.limit.
const maxDescribedPartitions = 2000

// DescribeTopicPartitions, version 0 (KIP-966): topics in the order of their names, in pages.
func (s *Server) describeTopicPartitions(cl *call, req *kmsg.DescribeTopicPartitionsRequest) {
	image := s.opts.Controller.Image()
	resp := kmsg.NewPtrDescribeTopicPartitionsResponse()
	var names []string
	if len(req.Topics) == 0 {
		for t := range image.Topics() {
			names = append(names, t.Name)
		}
	}
	for _, t := range req.Topics {
		names = append(names, t.Topic)
	}
	slices.Sort(names)
	names = slices.Compact(names)
	from := int32(0)
	if req.Cursor != nil {
		names = slices.DeleteFunc(names, func(n string) bool { return n < req.Cursor.Topic })
		from = req.Cursor.Partition
	}
	left := maxDescribedPartitions
	if req.ResponsePartitionLimit > 0 {
		left = min(left, int(req.ResponsePartitionLimit))
	}
	for i, name := range names {
		if i > 0 || req.Cursor == nil || name != req.Cursor.Topic {
			from = 0
		}
		if left == 0 {
			resp.NextCursor = cursor(name, from)
			break
		}
		out, next := describedTopic(image, name, from, left)
		left -= len(out.Partitions)
		resp.Topics = append(resp.Topics, out)
		if next > 0 {
			resp.NextCursor = cursor(name, next)
			break
		}
	}
	cl.reply(resp)
}

func cursor(topic string, partition int32) *kmsg.DescribeTopicPartitionsResponseNextCursor {
	c := kmsg.NewDescribeTopicPartitionsResponseNextCursor()
	c.Topic, c.Partition = topic, partition
	return &c
}

// describedTopic describes partitions of a topic from one on; next is the first that did not fit, 0 when all did.
func describedTopic(image *meta.Image, name string, from int32, limit int) (out kmsg.DescribeTopicPartitionsResponseTopic, next int32) {
	out = kmsg.NewDescribeTopicPartitionsResponseTopic()
	out.Topic = kmsg.StringPtr(name)
	t := image.Topic(name)
	if t == nil {
		out.ErrorCode = int16(wire.UnknownTopicOrPartition)
		if meta.CheckTopicName(name) != nil {
			out.ErrorCode = int16(wire.InvalidTopic)
		}
		return out, 0
	}
	out.TopicID, out.IsInternal = t.ID, t.Internal
	for i := int(from); i < len(t.Partitions); i++ {
		if len(out.Partitions) == limit {
			return out, int32(i)
		}
		p := t.Partitions[i]
		row := kmsg.NewDescribeTopicPartitionsResponseTopicPartition()
		row.Partition, row.LeaderID, row.LeaderEpoch, row.Replicas, row.ISR = int32(i), p.Leader, int32(p.LeaderEpoch), p.Replicas, p.ISR
		row.EligibleLeaderReplicas, row.LastKnownELR = []int32{}, []int32{} // null is legal, and stops Kafka's tools
		out.Partitions = append(out.Partitions, row)
	}
	return out, 0
}

// ListPartitionReassignments, version 0: none are under way on one node.
func (s *Server) listPartitionReassignments(cl *call, _ *kmsg.ListPartitionReassignmentsRequest) {
	cl.reply(kmsg.NewPtrListPartitionReassignmentsResponse())
}

// DescribeLogDirs, versions 1 to 5. 2 is flexible, 3 has an error for all, 4 the size of the disk, 5 whether new partitions stay out of it (KIP-1066).
func (s *Server) describeLogDirs(cl *call, req *kmsg.DescribeLogDirsRequest) {
	wanted := map[string][]int32{}
	for _, t := range req.Topics {
		wanted[t.Topic] = append(wanted[t.Topic], t.Partitions...)
	}
	dir := kmsg.NewDescribeLogDirsResponseDir()
	dir.Dir = s.opts.DataDir
	if s.opts.Replicas.Store().Err() != nil {
		dir.ErrorCode = int16(wire.KafkaStorageError)
	}
	total, free, err := s.opts.Replicas.Usage()
	if err == nil {
		dir.TotalBytes, dir.UsableBytes = int64(total), int64(free)
	}
	at := map[string]int{}
	for _, l := range s.opts.Replicas.Store().Logs() {
		if parts, asked := wanted[l.Topic()]; req.Topics != nil && (!asked || !slices.Contains(parts, l.Partition())) {
			continue
		}
		i, ok := at[l.Topic()]
		if !ok {
			i = len(dir.Topics)
			at[l.Topic()] = i
			t := kmsg.NewDescribeLogDirsResponseDirTopic()
			t.Topic = l.Topic()
			dir.Topics = append(dir.Topics, t)
		}
		p := kmsg.NewDescribeLogDirsResponseDirTopicPartition()
		p.Partition, p.Size = l.Partition(), l.SizeBytes()
		dir.Topics[i].Partitions = append(dir.Topics[i].Partitions, p)
	}
	resp := kmsg.NewPtrDescribeLogDirsResponse()
	resp.Dirs = append(resp.Dirs, dir)
	cl.reply(resp)
}

// isInternal tells topics that clients may not write or remove.
func isInternal(name string) bool { return strings.HasPrefix(name, "__consumer_offsets") }
