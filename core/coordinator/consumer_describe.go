package coordinator

import (
	"maps"
	"slices"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/milldam/milldam/core/wire"
)

// groupState is where a consumer group is, by Kafka's names.
func (c *consumerGroup) groupState() string {
	switch {
	case len(c.members) == 0:
		return string(empty)
	case c.epoch > c.targetEpoch:
		return "Assigning"
	}
	for _, m := range c.members {
		if m.state != memberStable || m.epoch != c.targetEpoch {
			return "Reconciling"
		}
	}
	return string(stable)
}

// DescribeConsumers handles a ConsumerGroupDescribe request.
func (g *Groups) DescribeConsumers(req *kmsg.ConsumerGroupDescribeRequest, reply func(*kmsg.ConsumerGroupDescribeResponse)) {
	r := kmsg.NewPtrConsumerGroupDescribeResponse()
	for _, name := range req.Groups {
		out := kmsg.NewConsumerGroupDescribeResponseGroup()
		out.Group, out.AuthorizedOperations = name, noOperations
		code := wire.InvalidGroupID
		if name != "" {
			_, code = g.enter(name)
		}
		if out.ErrorCode = int16(code); code != wire.None {
			r.Groups = append(r.Groups, out)
			continue
		}
		switch c := g.mu.consumers[name]; {
		case c != nil:
			g.describeConsumer(c, &out)
		default:
			text := "Group " + name + " not found."
			if g.mu.groups[name] != nil {
				text = "Group " + name + " is not a consumer group."
			}
			out.ErrorCode, out.ErrorMessage = int16(wire.GroupIDNotFound), &text
		}
		g.mu.Unlock()
		r.Groups = append(r.Groups, out)
	}
	reply(r)
}

// Member types of ConsumerGroupDescribe (KIP-1099).
const (
	memberTypeClassic  = 0
	memberTypeConsumer = 1
)

func (g *Groups) describeConsumer(c *consumer, out *kmsg.ConsumerGroupDescribeResponseGroup) {
	st, topics := c.state(), g.topics()
	out.State, out.Epoch, out.AssignmentEpoch, out.AssignorName = st.groupState(), st.epoch, st.targetEpoch, g.assignorOf(st)
	for _, id := range slices.Sorted(maps.Keys(st.members)) {
		m := st.members[id]
		regex := m.regex
		row := kmsg.NewConsumerGroupDescribeResponseGroupMember()
		row.MemberID, row.InstanceID, row.RackID, row.MemberEpoch = id, m.instance, m.rack, m.epoch
		row.ClientID, row.ClientHost, row.SubscribedTopics, row.SubscribedTopicRegex = m.client.ID, m.client.Host, m.topics, &regex
		row.Assignment, row.TargetAssignment = describedAssignment(m.held(), topics), describedAssignment(st.targets[id], topics)
		if row.MemberType = memberTypeConsumer; m.classic != nil {
			row.MemberType = memberTypeClassic
		}
		out.Members = append(out.Members, row)
	}
}

// held are the partitions that a member has, those that it has to give back included.
func (m *consumerMember) held() partitions {
	all := owned{}
	for _, o := range []owned{m.assigned, m.revoking} {
		for topic, list := range o {
			for p, epoch := range list {
				all.add(topic, p, epoch)
			}
		}
	}
	return all.partitions()
}

func describedAssignment(p partitions, topics Topics) kmsg.Assignment {
	a := kmsg.NewAssignment()
	for _, id := range sortedTopics(p) {
		if name, ok := topics.Name(id); ok {
			row := kmsg.NewAssignmentTopicPartition()
			row.TopicID, row.Topic, row.Partitions = id, name, p[id]
			a.TopicPartitions = append(a.TopicPartitions, row)
		}
	}
	return a
}
