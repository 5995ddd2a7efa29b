package broker

import (
	"fmt"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/milldam/milldam/core/meta"
	"github.com/milldam/milldam/core/wire"
)

// uncleanElection is the highest of the two types of elections.
const uncleanElection = 1

// ElectLeaders, versions 0 to 2. 1 has unclean elections (KIP-460), 2 is flexible. On one node each partition has the leader it can have, or is damaged; with all
// partitions asked for, those that need no election are not told.
func (s *Server) electLeaders(cl *call, req *kmsg.ElectLeadersRequest) {
	resp := kmsg.NewPtrElectLeadersResponse()
	nothing := req.Topics != nil && len(req.Topics) == 0 // then Kafka does not look at the type
	if !nothing && (req.ElectionType < 0 || req.ElectionType > uncleanElection) {
		resp.ErrorCode = int16(wire.InvalidRequest)
	}
	image := s.opts.Controller.Image()
	if req.Topics == nil && resp.ErrorCode == 0 {
		for t := range image.Topics() {
			out := kmsg.NewElectLeadersResponseTopic()
			out.Topic = t.Name
			resp.Topics = append(resp.Topics, out)
		}
	}
	for _, in := range req.Topics {
		out := kmsg.NewElectLeadersResponseTopic()
		out.Topic = in.Topic
		for _, index := range in.Partitions {
			row := kmsg.NewElectLeadersResponseTopicPartition()
			code, text := s.electLeader(image, in.Topic, index, req.ElectionType)
			if resp.ErrorCode != 0 {
				code, text = wire.InvalidRequest, fmt.Sprintf("there is no election of type %d", req.ElectionType)
			}
			row.Partition, row.ErrorCode, row.ErrorMessage = index, int16(code), &text
			out.Partitions = append(out.Partitions, row)
		}
		resp.Topics = append(resp.Topics, out)
	}
	cl.reply(resp)
}

func (s *Server) electLeader(image *meta.Image, topic string, index int32, election int8) (wire.Code, string) {
	t := image.Topic(topic)
	switch {
	case t == nil:
		return wire.UnknownTopicOrPartition, "No such topic as " + topic
	case index < 0 || int(index) >= len(t.Partitions):
		return wire.UnknownTopicOrPartition, fmt.Sprintf("No such partition as %s-%d", topic, index)
	case s.damaged(t, index) && election == uncleanElection:
		return wire.EligibleLeadersMissing, "Eligible topic partition leaders are not available."
	case s.damaged(t, index):
		return wire.PreferredLeaderMissing, "The preferred leader was not available."
	}
	return wire.ElectionNotNeeded, "Leader election not needed for topic partition."
}
