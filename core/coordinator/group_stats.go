package coordinator

import "github.com/milldam/milldam/core/wire"

// GroupStats are numbers of groups for metrics.
type GroupStats struct {
	States     map[GroupKind]int // groups
	Members    int
	Offsets    int   // that are kept
	Rebalances int64 // generations of classic groups that have members, and new assignments of those of the consumer type
	Commits    int64 // offsets that were committed, those of transactions when they are written
	Removed    int64 // offsets that were deleted or have expired
}

// GroupKind is what groups are counted by, in Kafka's names.
type GroupKind struct{ Type, State string }

// groupCounts are the numbers of GroupStats that only rise.
type groupCounts struct{ rebalances, commits, removed int64 }

// written counts what has become of records of a group.
func (c *groupCounts) written(list []entry, code wire.Code) {
	for _, e := range list {
		switch {
		case code != wire.None || !e.isOffset:
		case e.offset == nil:
			c.removed++
		default:
			c.commits++
		}
	}
}

// Stats returns the numbers of now.
func (g *Groups) Stats() GroupStats {
	g.mu.Lock()
	defer g.mu.Unlock()
	n := g.mu.counts
	s := GroupStats{States: map[GroupKind]int{}, Rebalances: n.rebalances, Commits: n.commits, Removed: n.removed}
	for _, gr := range g.mu.groups {
		s.States[GroupKind{classicType, string(gr.state)}]++
		s.Members += len(gr.members)
	}
	for _, c := range g.mu.consumers {
		st := c.state()
		s.States[GroupKind{consumerType, st.groupState()}]++
		s.Members += len(st.members)
	}
	for _, shard := range g.mu.shards {
		for _, d := range shard.groups {
			s.Offsets += len(d.offsets)
		}
	}
	return s
}
