package coordinator

import (
	"fmt"
	"testing"
	"time"
)

func TestStatsOfClassicGroups(t *testing.T) {
	bubble(t, func(t *testing.T, b *bench) {
		a, c := &subscriber{}, &subscriber{}
		b.stable(a, c)
		b.commit(a, 1)
		b.commit(a, 2)
		s := b.Stats()
		want(t, "groups", fmt.Sprint(s.States), "map[{classic Stable}:1]")
		want(t, "members", s.Members, 2)
		want(t, "rebalances", s.Rebalances, int64(2))
		want(t, "commits", s.Commits, int64(2))
		want(t, "offsets", s.Offsets, 1)
		b.leave(a)
		want(t, "groups while one is awaited", fmt.Sprint(b.Stats().States), "map[{classic PreparingRebalance}:1]")
		b.leave(c)
		pass(time.Second)
		want(t, "groups without members", fmt.Sprint(b.Stats().States), "map[{classic Empty}:1]")
		b.deleted()
		pass(time.Second)
		s = b.Stats()
		want(t, "groups after the last", fmt.Sprint(s.States), "map[]")
		want(t, "removed", s.Removed, int64(1))
		want(t, "offsets after the last", s.Offsets, 0)
	})
}

func TestStatsOfConsumerGroups(t *testing.T) {
	consumerBubble(t, someTopics{"t": 2}, Options{}, func(t *testing.T, c *consumers) {
		c.beat(&modern{id: "m"})
		s := c.Stats()
		want(t, "groups", fmt.Sprint(s.States), "map[{consumer Stable}:1]")
		want(t, "members", s.Members, 1)
		want(t, "rebalances", s.Rebalances, int64(1))
	})
}

// TestStatsForgetWhatFailed: a commit that could not be written is none.
func TestStatsForgetWhatFailed(t *testing.T) {
	bubble(t, func(t *testing.T, b *bench) {
		a := &subscriber{}
		b.stable(a)
		b.log.failNext()
		b.commit(a, 1)
		want(t, "commits", b.Stats().Commits, int64(0))
		want(t, "offsets", b.Stats().Offsets, 0)
	})
}
