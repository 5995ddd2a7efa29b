package broker

import (
	"fmt"
	"slices"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/milldam/milldam/core/meta"
	"github.com/milldam/milldam/core/wire"
)

// AlterPartitionReassignments, versions 0 and 1 (KIP-455). 1 can forbid another replication factor (KIP-860). On one node a partition can only be
// reassigned to where it is, which is done at once.
func (s *Server) alterPartitionReassignments(cl *call, req *kmsg.AlterPartitionAssignmentsRequest) {
	image := s.opts.Controller.Image()
	resp := kmsg.NewPtrAlterPartitionAssignmentsResponse()
	if len(req.Topics) == 0 { // Kafka's answer is then nothing but defaults
		resp.ErrorMessage = new(string)
	} else {
		resp.AllowReplicationFactorChange = req.AllowReplicationFactorChange
	}
	for _, in := range req.Topics {
		out := kmsg.NewAlterPartitionAssignmentsResponseTopic()
		out.Topic = in.Topic
		for _, p := range in.Partitions {
			row := kmsg.NewAlterPartitionAssignmentsResponseTopicPartition()
			code, text := reassign(image, in.Topic, p.Partition, p.Replicas)
			if row.Partition, row.ErrorCode = p.Partition, int16(code); text != "" {
				row.ErrorMessage = &text
			}
			out.Partitions = append(out.Partitions, row)
		}
		resp.Topics = append(resp.Topics, out)
	}
	cl.reply(resp)
}

// reassign checks where a partition is to go; null replicas cancel.
func reassign(image *meta.Image, topic string, index int32, replicas []int32) (wire.Code, string) {
	t := image.Topic(topic)
	switch {
	case t == nil:
		return wire.UnknownTopicOrPartition, fmt.Sprintf("Unable to find a topic named %s.", topic)
	case index < 0 || int(index) >= len(t.Partitions):
		return wire.UnknownTopicOrPartition, fmt.Sprintf("Unable to find partition %s:%d.", topic, index)
	case replicas == nil:
		return wire.NoReassignmentInProgress, ""
	case len(replicas) == 0:
		return wire.InvalidReplicaAssignment, "The manual partition assignment includes an empty replica list."
	}
	brokers := image.Brokers()
	for at, id := range replicas {
		if !slices.ContainsFunc(brokers, func(b meta.Broker) bool { return b.ID == id }) {
			return wire.InvalidReplicaAssignment, fmt.Sprintf("The manual partition assignment includes broker %d, but no such broker is registered.", id)
		}
		if slices.Contains(replicas[:at], id) {
			return wire.InvalidReplicaAssignment, fmt.Sprintf("The manual partition assignment includes the broker %d more than once.", id)
		}
	}
	return wire.None, ""
}
