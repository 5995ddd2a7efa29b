package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
)

// groupView is a group of either type with the lag of all it has committed or reads.
type groupView struct {
	name, state, protocol string
	members               []memberRow
	lag                   []lagRow
}

// groupState looks at a group: the types of groups have a request each to describe them.
func groupState(ctx context.Context, admin *kadm.Client, group string) (groupView, error) {
	described, err := admin.DescribeConsumerGroups(ctx, group)
	if g, ok := described[group]; ok && err == nil && g.Err == nil {
		return consumerState(ctx, admin, g)
	}
	// None of that type, or a Kafka that knows none.
	return classicState(ctx, admin, group)
}

func classicState(ctx context.Context, admin *kadm.Client, group string) (groupView, error) {
	lags, err := admin.Lag(ctx, group)
	if err != nil {
		return groupView{}, err
	}
	l := lags[group]
	switch {
	case errors.Is(l.DescribeErr, kerr.GroupIDNotFound), l.State == "Dead":
		return groupView{}, groupError(group, kerr.GroupIDNotFound)
	case l.Error() != nil:
		return groupView{}, groupError(group, l.Error())
	}
	v := groupView{name: group, state: l.State, protocol: l.Protocol, members: []memberRow{}, lag: []lagRow{}}
	for _, m := range l.Members {
		row := memberRow{ID: m.MemberID, Client: m.ClientID, Host: m.ClientHost, Partitions: []string{}}
		if m.InstanceID != nil {
			row.Instance = *m.InstanceID
		}
		if c, ok := m.Assigned.AsConsumer(); ok {
			for _, t := range c.Topics {
				for _, p := range t.Partitions {
					row.Partitions = append(row.Partitions, fmt.Sprintf("%s/%d", t.Topic, p))
				}
			}
		}
		v.members = append(v.members, row)
	}
	for _, m := range l.Lag.Sorted() {
		row := lagRow{Topic: m.Topic, Partition: m.Partition, Committed: m.Commit.At, End: m.End.Offset, Lag: m.Lag}
		if m.Member != nil {
			row.Member = m.Member.MemberID
		}
		v.lag = append(v.lag, row)
	}
	return v, nil
}

// consumerState is the view of a group of the consumer type (KIP-848).
func consumerState(ctx context.Context, admin *kadm.Client, g kadm.DescribedConsumerGroup) (groupView, error) {
	v := groupView{name: g.Group, state: g.State, protocol: g.AssignorName, members: []memberRow{}, lag: []lagRow{}}
	committed, err := admin.FetchOffsets(ctx, g.Group)
	if err != nil {
		return v, groupError(g.Group, err)
	}
	reads, owner := committed.Offsets().TopicsSet(), map[string]string{}
	for _, m := range g.Members {
		row := memberRow{ID: m.MemberID, Client: m.ClientID, Host: m.ClientHost, Partitions: []string{}}
		if m.InstanceID != nil {
			row.Instance = *m.InstanceID
		}
		for _, t := range m.Assignment.Sorted() {
			for _, p := range t.Partitions {
				name := fmt.Sprintf("%s/%d", t.Topic, p)
				row.Partitions, owner[name] = append(row.Partitions, name), m.MemberID
				reads.Add(t.Topic, p)
			}
		}
		v.members = append(v.members, row)
	}
	if len(reads) == 0 {
		return v, nil
	}
	first, err := served(admin.ListStartOffsets(ctx, reads.Topics()...))
	if err != nil {
		return v, err
	}
	last, err := served(admin.ListEndOffsets(ctx, reads.Topics()...))
	if err != nil {
		return v, err
	}
	for _, t := range reads.Sorted() {
		for _, p := range t.Partitions {
			end, ok := last.Lookup(t.Topic, p)
			if !ok || end.Err != nil {
				continue // the topic is gone, or the partition has no leader
			}
			row := lagRow{Topic: t.Topic, Partition: p, Committed: -1, End: end.Offset, Member: owner[fmt.Sprintf("%s/%d", t.Topic, p)]}
			from, _ := first.Lookup(t.Topic, p)
			row.Lag = end.Offset - from.Offset
			if c, ok := committed.Lookup(t.Topic, p); ok {
				row.Committed, row.Lag = c.At, end.Offset-c.At
			}
			v.lag = append(v.lag, row)
		}
	}
	slices.SortFunc(v.lag, func(a, b lagRow) int {
		return cmp.Or(cmp.Compare(a.Topic, b.Topic), cmp.Compare(a.Partition, b.Partition))
	})
	return v, nil
}
