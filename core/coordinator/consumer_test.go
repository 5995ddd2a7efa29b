package coordinator

import (
	"bytes"
	"cmp"
	"fmt"
	"iter"
	"maps"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/milldam/milldam/core/record"
	"github.com/milldam/milldam/core/wire"
)

// someTopics are topics with as many partitions.
type someTopics map[string]int32

func topicID(name string) (id record.TopicID) {
	copy(id[:], name)
	return id
}

func (s *someTopics) Topic(name string) (record.TopicID, int32, bool) {
	n, ok := (*s)[name]
	return topicID(name), n, ok
}

func (s *someTopics) Name(id record.TopicID) (string, bool) {
	for name := range *s {
		if topicID(name) == id {
			return name, true
		}
	}
	return "", false
}

func (s *someTopics) Names() iter.Seq[string] { return maps.Keys(*s) }

// consumers is a coordinator whose topics can be changed.
type consumers struct {
	*bench
	topics *someTopics
	opts   Options
}

func (c *consumers) set(topics someTopics) { c.topics = &topics }

func consumerBubble(t *testing.T, topics someTopics, o Options, fn func(t *testing.T, c *consumers)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		c := &consumers{}
		c.set(topics)
		o.Topics = func() Topics { return c.topics }
		c.opts = o
		c.bench = newBench(t, newMemLog(), o)
		fn(t, c)
	})
}

// restart puts a new coordinator in the place of the old one.
func (c *consumers) restart() {
	c.t.Helper()
	old := c.bench
	c.bench = c.rebuilt()
	if err := old.Close(); err != nil {
		c.t.Error(err)
	}
}

// rebuilt is a second coordinator on what the log has.
func (c *consumers) rebuilt() *bench {
	c.t.Helper()
	log := newMemLog()
	c.log.mu.Lock()
	log.mu.batches, log.mu.end = slices.Clone(c.log.mu.batches), c.log.mu.end
	c.log.mu.Unlock()
	return newBench(c.t, log, c.opts)
}

// modern is a member of the consumer protocol, with what it was told.
type modern struct {
	id       string
	instance *string
	topics   []string
	regex    *string
	assignor *string
	epoch    int32
	has      partitions
	told     *partitions // the assignment of the last answer, if it had one
	full     bool        // it says all, as after an answer that was lost
}

func (m *modern) request() *kmsg.ConsumerGroupHeartbeatRequest {
	r := kmsg.NewPtrConsumerGroupHeartbeatRequest()
	r.Version, r.Group, r.MemberID, r.MemberEpoch, r.InstanceID = 1, theGroup, m.id, m.epoch, m.instance
	r.Topics = []kmsg.ConsumerGroupHeartbeatRequestTopic{}
	for _, id := range sortedTopics(m.has) {
		t := kmsg.NewConsumerGroupHeartbeatRequestTopic()
		t.TopicID, t.Partitions = id, m.has[id]
		r.Topics = append(r.Topics, t)
	}
	if m.epoch <= 0 || m.full {
		r.RebalanceTimeoutMillis, r.SubscribedTopicNames, r.SubscribedTopicRegex, r.ServerAssignor = 30_000, m.topics, m.regex, m.assignor
	}
	if m.epoch <= 0 {
		r.Topics = []kmsg.ConsumerGroupHeartbeatRequestTopic{}
	}
	return r
}

// send sends a request and waits for its answer.
func (c *consumers) send(r *kmsg.ConsumerGroupHeartbeatRequest) *kmsg.ConsumerGroupHeartbeatResponse {
	c.t.Helper()
	var a answer[kmsg.ConsumerGroupHeartbeatResponse]
	c.ConsumerHeartbeat(Client{"client", "/127.0.0.1"}, r, a.take)
	pass(10 * time.Millisecond)
	if a.count() != 1 {
		c.t.Fatalf("a heartbeat was answered %d times", a.count())
	}
	return a.get()
}

// beat sends a heartbeat as a client does, and takes over the answer.
func (c *consumers) beat(m *modern) wire.Code {
	c.t.Helper()
	if m.topics == nil && m.regex == nil {
		m.topics = []string{"t"}
	}
	r := c.send(m.request())
	if r.ErrorCode != 0 {
		return wire.Code(r.ErrorCode)
	}
	m.epoch, m.told = r.MemberEpoch, nil
	if r.Assignment != nil {
		told := partitions{}
		for _, t := range r.Assignment.Topics {
			told[t.TopicID] = t.Partitions
		}
		m.has, m.told = told, &told
	}
	return wire.None
}

// settle sends heartbeats until nobody is told anything new.
func (c *consumers) settle(list ...*modern) {
	c.t.Helper()
	for range 10 {
		quiet := true
		for _, m := range list {
			before := m.epoch
			if code := c.beat(m); code != wire.None {
				c.t.Fatalf("%s: %d", m.id, code)
			}
			quiet = quiet && m.epoch == before && m.told == nil
		}
		if quiet {
			return
		}
	}
	c.t.Fatal("it does not come to rest")
}

// shares checks that the members have all partitions of the topics among them, each one once, and nobody more than one more than another.
func (c *consumers) shares(list ...*modern) {
	c.t.Helper()
	owner := map[topicPartition]string{}
	least, most := 1<<30, 0
	for _, m := range list {
		n := 0
		for topic, parts := range m.has {
			for _, p := range parts {
				tp := topicPartition{topic, p}
				if owner[tp] != "" {
					c.t.Errorf("%v is with %s and %s", tp, owner[tp], m.id)
				}
				owner[tp] = m.id
				n++
			}
		}
		least, most = min(least, n), max(most, n)
	}
	total := 0
	for _, n := range *c.topics {
		total += int(n)
	}
	if len(owner) != total || most-least > 1 {
		c.t.Errorf("%d of %d partitions are assigned, from %d to %d a member", len(owner), total, least, most)
	}
}

func (c *consumers) describedConsumer() kmsg.ConsumerGroupDescribeResponseGroup {
	c.t.Helper()
	r := kmsg.NewPtrConsumerGroupDescribeRequest()
	r.Groups = []string{theGroup}
	var a answer[kmsg.ConsumerGroupDescribeResponse]
	c.DescribeConsumers(r, a.take)
	return a.get().Groups[0]
}

func TestConsumersShareTheirTopics(t *testing.T) {
	consumerBubble(t, someTopics{"t": 7, "u": 3}, Options{}, func(t *testing.T, c *consumers) {
		var list []*modern
		for i := range 4 {
			list = append(list, &modern{id: fmt.Sprintf("m%d", i), topics: []string{"t", "u"}})
			c.settle(list...)
			c.shares(list...)
		}
		if g := c.describedConsumer(); g.State != "Stable" || len(g.Members) != 4 || g.Epoch != g.AssignmentEpoch || g.AssignorName != "uniform" {
			t.Errorf("%+v", g)
		}
		gone := list[0]
		gone.epoch = leaveEpoch
		if r := c.send(gone.request()); r.ErrorCode != 0 || r.MemberEpoch != leaveEpoch {
			t.Fatalf("leave: %+v", r)
		}
		c.settle(list[1:]...)
		c.shares(list[1:]...)
	})
}

func TestPartitionIsAssignedOnceItWasGivenBack(t *testing.T) {
	consumerBubble(t, someTopics{"t": 2}, Options{}, func(t *testing.T, c *consumers) {
		first, second := &modern{id: "a"}, &modern{id: "b"}
		c.settle(first)
		if code := c.beat(second); code != wire.None || len(second.has) > 0 {
			t.Fatalf("the second got %v at once (%d)", second.has, code)
		}
		if g := c.describedConsumer(); g.State != "Reconciling" {
			t.Errorf("the group is %s", g.State)
		}
		slow := *first
		r := c.send(first.request()) // it is told to give one back
		if r.Assignment == nil || len(r.Assignment.Topics[0].Partitions) != 1 || r.MemberEpoch != first.epoch {
			t.Fatalf("%+v", r)
		}
		if r := c.send(slow.request()); r.MemberEpoch != slow.epoch { // it still has both
			t.Errorf("it went on with what it has to give back: %+v", r)
		}
		if c.beat(second); len(second.has) > 0 {
			t.Errorf("the second got %v before", second.has)
		}
		first.has = partitions{topicID("t"): r.Assignment.Topics[0].Partitions}
		c.settle(first, second)
		c.shares(first, second)
	})
}

func TestMemberThatKeepsWhatItShallGiveBackIsRemoved(t *testing.T) {
	consumerBubble(t, someTopics{"t": 2}, Options{}, func(t *testing.T, c *consumers) {
		first, second := &modern{id: "a"}, &modern{id: "b"}
		c.settle(first)
		c.beat(second)
		for range 8 { // for longer than its rebalance timeout
			if r := c.send(first.request()); wire.Code(r.ErrorCode) == wire.UnknownMemberID {
				break
			}
			c.beat(second)
			pass(5 * time.Second)
		}
		if code := c.beat(first); code != wire.UnknownMemberID {
			t.Errorf("after its time: %d", code)
		}
		c.settle(second)
		c.shares(second)
	})
}

func TestSilentConsumerIsRemoved(t *testing.T) {
	consumerBubble(t, someTopics{"t": 2}, Options{}, func(t *testing.T, c *consumers) {
		lives, killed := &modern{id: "a"}, &modern{id: "b"}
		c.settle(lives)
		c.settle(lives, killed)
		for range 10 {
			pass(5 * time.Second)
			if code := c.beat(lives); code != wire.None {
				t.Fatal(code)
			}
		}
		c.settle(lives)
		c.shares(lives)
		if code := c.beat(killed); code != wire.UnknownMemberID {
			t.Errorf("the killed one comes back: %d", code)
		}
		killed.epoch = 0
		c.settle(lives, killed)
		c.shares(lives, killed)
	})
}

func TestMemberEpochs(t *testing.T) {
	consumerBubble(t, someTopics{"t": 2}, Options{}, func(t *testing.T, c *consumers) {
		m := &modern{id: "a"}
		if code := c.beat(&modern{id: "x", epoch: 3}); code != wire.GroupIDNotFound {
			t.Errorf("a group that never was: %d", code)
		}
		c.settle(m)
		other := &modern{id: "b"}
		c.settle(m, other)
		for name, tc := range map[string]struct {
			who  modern
			want wire.Code
		}{
			"unknown":                   {modern{id: "x", epoch: 1}, wire.UnknownMemberID},
			"newer":                     {modern{id: "a", epoch: m.epoch + 1}, wire.FencedMemberEpoch},
			"much older":                {modern{id: "a", epoch: -1 + 1 + 1, has: partitions{topicID("t"): {0, 1}}}, wire.FencedMemberEpoch},
			"unknown instance":          {modern{id: "a", epoch: m.epoch, instance: kmsg.StringPtr("i")}, wire.UnknownMemberID},
			"current":                   {modern{id: "a", epoch: m.epoch, has: m.has}, wire.None},
			"older with more":           {modern{id: "b", epoch: other.epoch - 1, has: partitions{topicID("t"): {0, 1}}}, wire.FencedMemberEpoch},
			"joins again, with nothing": {modern{id: "a", topics: []string{"t"}}, wire.None},
		} {
			if code := wire.Code(c.send(tc.who.request()).ErrorCode); code != tc.want {
				t.Errorf("%s: %d, want %d", name, code, tc.want)
			}
		}
	})
}

func TestLostAnswerWithANewEpochIsForgiven(t *testing.T) {
	consumerBubble(t, someTopics{"t": 1}, Options{}, func(t *testing.T, c *consumers) {
		m := &modern{id: "a"}
		c.settle(m)
		before := *m
		c.set(someTopics{"t": 3})
		if r := c.send(m.request()); r.MemberEpoch != before.epoch+1 {
			t.Fatalf("%+v", r)
		}
		if code := c.beat(m); code != wire.None || m.epoch != before.epoch+1 {
			t.Errorf("with the epoch before: %d, epoch %d", code, m.epoch)
		}
	})
}

func TestInvalidConsumerHeartbeats(t *testing.T) {
	consumerBubble(t, someTopics{"t": 1}, Options{}, func(t *testing.T, c *consumers) {
		for name, tc := range map[string]struct {
			change func(*kmsg.ConsumerGroupHeartbeatRequest)
			want   wire.Code
		}{
			"no group":                      {func(r *kmsg.ConsumerGroupHeartbeatRequest) { r.Group = "" }, wire.InvalidRequest},
			"no member":                     {func(r *kmsg.ConsumerGroupHeartbeatRequest) { r.MemberID = "" }, wire.InvalidRequest},
			"no timeout":                    {func(r *kmsg.ConsumerGroupHeartbeatRequest) { r.RebalanceTimeoutMillis = -1 }, wire.InvalidRequest},
			"no partitions":                 {func(r *kmsg.ConsumerGroupHeartbeatRequest) { r.Topics = nil }, wire.InvalidRequest},
			"no subscription":               {func(r *kmsg.ConsumerGroupHeartbeatRequest) { r.SubscribedTopicNames = nil }, wire.InvalidRequest},
			"an epoch that is no":           {func(r *kmsg.ConsumerGroupHeartbeatRequest) { r.MemberEpoch = -3 }, wire.InvalidRequest},
			"leaves for a while":            {func(r *kmsg.ConsumerGroupHeartbeatRequest) { r.MemberEpoch = leftStatic }, wire.InvalidRequest},
			"empty instance":                {func(r *kmsg.ConsumerGroupHeartbeatRequest) { r.InstanceID = kmsg.StringPtr("") }, wire.InvalidRequest},
			"empty rack":                    {func(r *kmsg.ConsumerGroupHeartbeatRequest) { r.RackID = kmsg.StringPtr("") }, wire.InvalidRequest},
			"another assignor":              {func(r *kmsg.ConsumerGroupHeartbeatRequest) { r.ServerAssignor = kmsg.StringPtr("x") }, wire.UnsupportedAssignor},
			"no regex":                      {func(r *kmsg.ConsumerGroupHeartbeatRequest) { r.SubscribedTopicRegex = kmsg.StringPtr("a(") }, wire.InvalidRegularExpression},
			"a regex that leaves its place": {func(r *kmsg.ConsumerGroupHeartbeatRequest) { r.SubscribedTopicRegex = kmsg.StringPtr("a)|(b") }, wire.InvalidRegularExpression},
			"a huge regex": {func(r *kmsg.ConsumerGroupHeartbeatRequest) {
				r.SubscribedTopicRegex = kmsg.StringPtr(string(slices.Repeat([]byte("a"), maxRegexBytes+1)))
			}, wire.InvalidRegularExpression},
		} {
			r := (&modern{id: "m", topics: []string{"t"}}).request()
			tc.change(r)
			if code := wire.Code(c.send(r).ErrorCode); code != tc.want {
				t.Errorf("%s: %d, want %d", name, code, tc.want)
			}
			if len(c.mu.groups)+len(c.mu.consumers)+len(c.mu.shards[0].groups) > 0 {
				t.Fatalf("%s: it left a group behind", name)
			}
		}
	})
}

func TestRegularExpressionsFollowTheTopics(t *testing.T) {
	consumerBubble(t, someTopics{"a1": 2, "b1": 2}, Options{}, func(t *testing.T, c *consumers) {
		m := &modern{id: "m", regex: kmsg.StringPtr("a.*")}
		c.settle(m)
		c.check(m, "a1")
		c.set(someTopics{"a1": 2, "b1": 2, "a2": 1, "xa3": 1})
		pass(regexRefresh)
		c.settle(m)
		c.check(m, "a1", "a2")
		c.set(someTopics{"b1": 2, "a2": 1})
		pass(regexRefresh)
		c.settle(m)
		c.check(m, "a2")
		c.restart()
		c.settle(m)
		c.check(m, "a2")
		m.epoch = leaveEpoch
		c.send(m.request())
		if st := c.mu.consumers[theGroup].state(); len(st.regexes) > 0 {
			t.Errorf("regular expressions of nobody: %v", st.regexes)
		}
	})
}

// check tells whether a member has the topics and no others.
func (c *consumers) check(m *modern, topics ...string) {
	c.t.Helper()
	var got []string
	for id := range m.has {
		name, _ := c.topics.Name(id)
		got = append(got, name)
	}
	if slices.Sort(got); !slices.Equal(got, topics) {
		c.t.Errorf("%s has %v, want %v", m.id, got, topics)
	}
}

func TestAssignmentFollowsTheTopics(t *testing.T) {
	consumerBubble(t, someTopics{"t": 1}, Options{}, func(t *testing.T, c *consumers) {
		a, b := &modern{id: "a", topics: []string{"t", "u"}}, &modern{id: "b", topics: []string{"t", "u"}}
		c.settle(a, b)
		for _, topics := range []someTopics{{"t": 4}, {"t": 4, "u": 3}, {"u": 3}} {
			c.set(topics)
			c.settle(a, b)
			c.shares(a, b)
		}
	})
}

func TestStaticConsumerComesBackToItsPartitions(t *testing.T) {
	consumerBubble(t, someTopics{"t": 4}, Options{}, func(t *testing.T, c *consumers) {
		static, other := &modern{id: "a", instance: kmsg.StringPtr("i")}, &modern{id: "b"}
		c.settle(static, other)
		second := &modern{id: "c", instance: static.instance}
		if code := c.beat(second); code != wire.UnreleasedInstanceID {
			t.Errorf("while the first is there: %d", code)
		}
		had, epoch := static.has, other.epoch
		static.epoch = leftStatic
		if r := c.send(static.request()); r.ErrorCode != 0 || r.MemberEpoch != leftStatic {
			t.Fatalf("%+v", r)
		}
		pass(20 * time.Second)
		if code := c.beat(other); code != wire.None || other.epoch != epoch {
			t.Errorf("the other notices: %d, epoch %d", code, other.epoch)
		}
		c.restart()
		if code := c.beat(second); code != wire.None || !samePartitions(second.has, had) {
			t.Errorf("it comes back: %d, with %v, had %v", code, second.has, had)
		}
		static.epoch = epoch
		if code := c.beat(static); code != wire.FencedInstanceID {
			t.Errorf("its former self: %d", code)
		}
		c.settle(second, other)
		c.shares(second, other)
	})
}

func TestStaticConsumerThatStaysAwayLosesItsPlace(t *testing.T) {
	consumerBubble(t, someTopics{"t": 4}, Options{}, func(t *testing.T, c *consumers) {
		static, other := &modern{id: "a", instance: kmsg.StringPtr("i")}, &modern{id: "b"}
		c.settle(static, other)
		static.epoch = leftStatic
		c.send(static.request())
		for range 10 {
			pass(5 * time.Second)
			if code := c.beat(other); code != wire.None {
				t.Fatal(code)
			}
		}
		c.settle(other)
		c.shares(other)
	})
}

func TestTargetIsComputedNoMoreOftenThanAsked(t *testing.T) {
	o := Options{Consumer: ConsumerOptions{Times: func(string) ConsumerTimes {
		return ConsumerTimes{Session: 45 * time.Second, Heartbeat: 5 * time.Second, AssignmentInterval: 3 * time.Second}
	}}}
	consumerBubble(t, someTopics{"t": 2}, o, func(t *testing.T, c *consumers) {
		a, b := &modern{id: "a"}, &modern{id: "b"}
		c.settle(a)
		c.shares(a)
		c.beat(b)
		if g := c.describedConsumer(); g.State != "Assigning" {
			t.Errorf("%s", g.State)
		}
		pass(3 * time.Second)
		c.settle(a, b)
		c.shares(a, b)
	})
}

func TestConsumerGroupSurvivesARestart(t *testing.T) {
	consumerBubble(t, someTopics{"t": 5}, Options{}, func(t *testing.T, c *consumers) {
		a, b := &modern{id: "a"}, &modern{id: "b", instance: kmsg.StringPtr("i")}
		c.settle(a, b)
		epochs := []int32{a.epoch, b.epoch}
		before := renderConsumer(c.bench)
		c.restart()
		if after := renderConsumer(c.bench); after != before {
			t.Errorf("before:\n%s\nafter:\n%s", before, after)
		}
		c.settle(a, b)
		if a.epoch != epochs[0] || b.epoch != epochs[1] {
			t.Errorf("epochs %d and %d, were %v", a.epoch, b.epoch, epochs)
		}
		pass(46 * time.Second)
		if g := c.describedConsumer(); g.State != "Empty" {
			t.Errorf("nobody came back, and it is %s", g.State)
		}
	})
}

func TestFailedWriteChangesNothing(t *testing.T) {
	consumerBubble(t, someTopics{"t": 5}, Options{}, func(t *testing.T, c *consumers) {
		a, b := &modern{id: "a"}, &modern{id: "b"}
		c.log.failNext()
		if code := c.beat(a); code != wire.CoordinatorNotAvailable || len(c.mu.consumers) > 0 {
			t.Fatalf("%d, %d groups", code, len(c.mu.consumers))
		}
		c.settle(a)
		before := renderConsumer(c.bench)
		c.log.failNext()
		if code := c.beat(b); code != wire.CoordinatorNotAvailable {
			t.Fatal(code)
		}
		if after := renderConsumer(c.bench); after != before {
			t.Errorf("before:\n%s\nafter:\n%s", before, after)
		}
		c.settle(a, b)
		c.shares(a, b)
	})
}

func TestDeleteOfConsumerGroups(t *testing.T) {
	consumerBubble(t, someTopics{"t": 5}, Options{}, func(t *testing.T, c *consumers) {
		a := &modern{id: "a"}
		c.settle(a)
		if code := c.deleted(); code != wire.NonEmptyGroup {
			t.Errorf("with a member: %d", code)
		}
		a.epoch = leaveEpoch
		c.send(a.request())
		if g := c.describedConsumer(); g.State != "Empty" {
			t.Errorf("%+v", g)
		}
		if code := c.deleted(); code != wire.None {
			t.Errorf("without members: %d", code)
		}
		for _, x := range []*bench{c.bench, c.rebuilt()} {
			if len(x.mu.consumers)+len(x.mu.shards[0].groups) > 0 {
				t.Error("it is still there")
			}
		}
		a.epoch = 0
		c.settle(a)
		c.shares(a)
	})
}

func compareTopicPartition(a, b topicPartition) int {
	return cmp.Or(bytes.Compare(a.topic[:], b.topic[:]), cmp.Compare(a.partition, b.partition))
}

// renderConsumer is all that the records say of the group, as text.
func renderConsumer(b *bench) string {
	b.mu.Lock()
	defer b.mu.Unlock()
	d := b.mu.shards[0].groups[theGroup]
	if d == nil || d.consumer == nil {
		return ""
	}
	st := d.consumer
	out := fmt.Sprintf("epoch %d, hash %d, target of %d at %d, static %v\n", st.epoch, st.metadataHash, st.targetEpoch, st.targetTime, st.static)
	for _, id := range slices.Sorted(maps.Keys(st.members)) {
		m := st.members[id]
		_, said := memberFact{id, m.memberMetadata}.encode(theGroup)
		_, now := currentFact{id, m.currentAssignment}.encode(theGroup)
		out += fmt.Sprintf("%s: %x, %x, target %v\n", id, said, now, st.targets[id])
	}
	for _, regex := range slices.Sorted(maps.Keys(st.regexes)) {
		out += fmt.Sprintf("%s: %+v\n", regex, *st.regexes[regex])
	}
	for _, tp := range slices.SortedFunc(maps.Keys(st.owners), compareTopicPartition) {
		out += fmt.Sprintf("%v: %d\n", tp, st.owners[tp])
	}
	return out
}

func TestSilentConsumerIsRemovedOnceThatCanBeWritten(t *testing.T) {
	consumerBubble(t, someTopics{"t": 2}, Options{}, func(t *testing.T, c *consumers) {
		a := &modern{id: "a"}
		c.settle(a)
		c.log.failNext()
		pass(46 * time.Second)
		if g := c.describedConsumer(); len(g.Members) != 1 {
			t.Fatalf("%+v", g)
		}
		pass(46 * time.Second)
		for _, b := range []*bench{c.bench, c.rebuilt()} {
			if members := len(b.mu.consumers[theGroup].state().members); members != 0 {
				t.Errorf("%d members long after the only one died", members)
			}
		}
	})
}

func TestAssignorsThatAreNotThereAreLeftOut(t *testing.T) {
	for _, tc := range []struct{ configured, want []string }{
		{nil, []string{"uniform", "range"}},
		{[]string{"com.example.Mine", "range"}, []string{"range"}},
		{[]string{"com.example.Mine"}, []string{"uniform", "range"}},
	} {
		if got := (ConsumerOptions{Assignors: tc.configured}).withDefaults().Assignors; !slices.Equal(got, tc.want) {
			t.Errorf("%q: %q, want %q", tc.configured, got, tc.want)
		}
	}
}
