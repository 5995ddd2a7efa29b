package streams

import (
	"fmt"
	"slices"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// balancer divides tasks among the workers of a group: all partitions of a task go to one worker, a worker keeps the tasks it has,
// and none has two more than another. Only tasks that move are stopped.
type balancer struct {
	plan *plan
	// grown is told of topics that have other partitions than the plan was made for.
	grown func(error)
}

// balancerName is the protocol that all workers of a group must speak. It changes when the rules change.
const balancerName = "milldam-streams-1"

func (balancer) ProtocolName() string { return balancerName }
func (balancer) IsCooperative() bool  { return true }

func (balancer) JoinGroupMetadata(topics []string, current map[string][]int32, generation int32) []byte {
	meta := kmsg.NewConsumerMemberMetadata()
	meta.Version = 3
	meta.Topics = topics
	meta.Generation = generation
	for topic, partitions := range current {
		owned := kmsg.NewConsumerMemberMetadataOwnedPartition()
		owned.Topic, owned.Partitions = topic, partitions
		meta.OwnedPartitions = append(meta.OwnedPartitions, owned)
	}
	slices.SortFunc(meta.OwnedPartitions, func(a, b kmsg.ConsumerMemberMetadataOwnedPartition) int {
		if a.Topic < b.Topic {
			return -1
		}
		return 1
	})
	return meta.AppendTo(nil)
}

func (balancer) ParseSyncAssignment(assignment []byte) (map[string][]int32, error) {
	return kgo.ParseConsumerSyncAssignment(assignment)
}

func (b balancer) MemberBalancer(members []kmsg.JoinGroupResponseMember) (kgo.GroupMemberBalancer, map[string]struct{}, error) {
	cb, err := kgo.NewConsumerBalancer(b, members)
	if err != nil {
		return nil, nil, err
	}
	return cb, cb.MemberTopics(), nil
}

// Balance makes the assignment.
func (b balancer) Balance(cb *kgo.ConsumerBalancer, topics map[string]int32) kgo.IntoSyncAssignment {
	for topic, planned := range b.plan.partitions {
		if now, ok := topics[topic]; ok && now != planned {
			b.grown(fmt.Errorf("topic %q has %d partitions now, it had %d at the start: start again to use them", topic, now, planned))
		}
	}
	var members []*kmsg.JoinGroupResponseMember
	owners := map[Source]int{}
	generations := map[Source]int32{}
	cb.EachMember(func(member *kmsg.JoinGroupResponseMember, meta *kmsg.ConsumerMemberMetadata) {
		for _, owned := range meta.OwnedPartitions {
			for _, partition := range owned.Partitions {
				source := Source{owned.Topic, partition}
				if generation, ok := generations[source]; !ok || meta.Generation > generation {
					owners[source], generations[source] = len(members), meta.Generation
				}
			}
		}
		members = append(members, member)
	})
	plan := cb.NewPlan()
	for id, member := range b.plan.divide(len(members), owners) {
		for _, source := range b.plan.sourcesOf(id) {
			plan.AddPartition(members[member], source.Topic, source.Partition)
		}
	}
	plan.AdjustCooperative(cb)
	return plan
}

// divide gives each task to one of the members. owners says who has which partition now.
func (p *plan) divide(members int, owners map[Source]int) map[taskID]int {
	var tasks []taskID
	for _, sub := range p.subs {
		for partition := range sub.tasks {
			tasks = append(tasks, taskID{sub.id, partition})
		}
	}
	given, load := map[taskID]int{}, make([]int, members)
	if members == 0 {
		return given
	}
	fair := (len(tasks) + members - 1) / members
	for _, id := range tasks {
		owner, ok := owners[p.sourcesOf(id)[0]]
		if ok && load[owner] < fair {
			given[id] = owner
			load[owner]++
		}
	}
	for _, id := range tasks {
		if _, ok := given[id]; !ok {
			least := slices.Index(load, slices.Min(load))
			given[id] = least
			load[least]++
		}
	}
	return given
}

// sourcesOf returns the partitions that a task reads.
func (p *plan) sourcesOf(id taskID) []Source {
	var sources []Source
	for _, n := range p.subs[id.sub].inputs {
		if topic := p.topic(n); id.partition < p.partitions[topic] {
			sources = append(sources, Source{topic, id.partition})
		}
	}
	return sources
}

// taskOf returns the task that reads a partition.
func (p *plan) taskOf(source Source) (taskID, bool) {
	for _, sub := range p.subs {
		for _, n := range sub.inputs {
			if p.topic(n) == source.Topic && source.Partition < sub.tasks {
				return taskID{sub.id, source.Partition}, true
			}
		}
	}
	return taskID{}, false
}
