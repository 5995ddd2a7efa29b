package coordinator

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"testing/cryptotest"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/milldam/milldam/core/wire"
)

// consumerActor is one client of a consumer scenario: it has one heartbeat under way, and gives up what it is not assigned any more when it is told.
type consumerActor struct {
	modern
	asked *answer[kmsg.ConsumerGroupHeartbeatResponse]
	gone  bool
	away  bool // static, and comes back
}

type consumerScenario struct {
	*consumers
	rng    *rand.Rand
	actors []*consumerActor
	asked  []func() int // how often each request was answered
	number int
}

func (s *consumerScenario) chance(percent int) bool { return s.rng.IntN(100) < percent }

func (s *consumerScenario) enlist(instance *string) {
	s.number++
	a := &consumerActor{modern: modern{id: fmt.Sprintf("m%03d", s.number), instance: instance, topics: []string{"t0", "t1", "t2"}}}
	switch s.rng.IntN(4) {
	case 0:
		a.topics = []string{"t0", "t1"}
	case 1:
		a.topics, a.regex = []string{}, kmsg.StringPtr("t.")
	case 2:
		a.assignor = kmsg.StringPtr(rangeAssignor)
	}
	s.actors = append(s.actors, a)
}

// ask sends the next request of a client.
func (s *consumerScenario) ask(a *consumerActor) {
	a.asked = &answer[kmsg.ConsumerGroupHeartbeatResponse]{}
	s.asked = append(s.asked, a.asked.count)
	s.ConsumerHeartbeat(Client{a.id, "/127.0.0.1"}, a.request(), a.asked.take)
}

// take takes over an answer.
func (s *consumerScenario) take(a *consumerActor) {
	r := a.asked.get()
	a.asked, a.full = nil, false
	switch code := wire.Code(r.ErrorCode); code {
	case wire.None:
	case wire.UnknownMemberID, wire.FencedMemberEpoch, wire.GroupIDNotFound:
		a.epoch, a.has = joinEpoch, nil
		return
	case wire.FencedInstanceID:
		a.gone, a.has = true, nil
		return
	case wire.UnreleasedInstanceID, wire.CoordinatorNotAvailable:
		return
	default:
		s.t.Errorf("%s is told %d: %s", a.id, code, deref(r.ErrorMessage))
		return
	}
	if a.away = a.epoch == leftStatic; a.epoch < 0 {
		a.gone, a.has = true, nil
		return
	}
	a.epoch = r.MemberEpoch
	if r.Assignment != nil {
		a.has = partitions{}
		for _, t := range r.Assignment.Topics {
			a.has[t.TopicID] = t.Partitions
		}
	}
}

func (s *consumerScenario) act(a *consumerActor, calm bool) {
	if a.gone {
		return
	}
	if a.asked != nil {
		if a.asked.get() != nil {
			s.take(a)
		} else if !calm && s.chance(5) {
			a.asked, a.full = nil, true // its connection broke: the answer is lost
		}
		return
	}
	switch dice := s.rng.IntN(100); {
	case calm || dice < 80 || a.epoch <= 0:
	case dice < 84: // killed
		a.gone, a.has = true, nil
		if a.instance != nil {
			s.enlist(a.instance)
		}
		return
	case dice < 88 && a.instance != nil:
		a.epoch, a.has = leftStatic, nil
		s.enlist(a.instance)
	case dice < 92:
		a.epoch, a.has = leaveEpoch, nil
	case dice < 95: // it subscribes to something else
		a.topics = []string{"t0", fmt.Sprintf("t%d", 1+s.rng.IntN(3))}
		a.regex, a.epoch, a.has = kmsg.StringPtr(""), joinEpoch, nil
	}
	s.ask(a)
}

// exclusive checks that no two members believe that they have the same partition. Who was removed, and will hear of it, is none.
func (s *consumerScenario) exclusive() {
	s.t.Helper()
	owner := map[topicPartition]string{}
	members := map[string]bool{}
	for _, m := range s.describedConsumer().Members {
		members[m.MemberID] = true
	}
	for _, a := range s.actors {
		for topic, list := range a.has {
			for _, p := range list {
				if !members[a.id] {
					continue
				}
				tp := topicPartition{topic, p}
				if owner[tp] != "" {
					s.t.Fatalf("%s-%d is with %s and %s", topic[:2], p, owner[tp], a.id)
				}
				owner[tp] = a.id
			}
		}
	}
}

func (s *consumerScenario) run(steps int) {
	for range 5 {
		var instance *string
		if s.chance(40) {
			instance = kmsg.StringPtr(fmt.Sprintf("i%d", s.number))
		}
		s.enlist(instance)
	}
	for step := range steps {
		s.act(s.actors[s.rng.IntN(len(s.actors))], false)
		switch {
		case s.chance(2):
			s.enlist(nil)
		case s.chance(2):
			s.set(someTopics{"t0": int32(1 + step/40), "t1": int32(2 + step/100), "t2": 3, fmt.Sprintf("t%d", 3+s.rng.IntN(2)): 2})
		case s.rng.IntN(steps) < 2:
			pass(time.Second)
			s.restart()
			for _, a := range s.actors { // what was answered counts; who was not answered asks the new one
				if a.asked != nil && a.asked.get() == nil {
					a.asked, a.full = nil, true
				}
			}
		}
		s.exclusive()
		pass(time.Duration(s.rng.Int64N(int64(300 * time.Millisecond))))
	}
	for range 250 {
		for _, a := range s.actors {
			s.act(a, true)
		}
		s.exclusive()
		pass(time.Second / 2)
	}
}

// check compares, at rest, what clients have with what the coordinator says, and that with what a new one reads from the log.
func (s *consumerScenario) check() {
	if live, rebuilt := renderConsumer(s.bench), renderConsumer(s.rebuilt()); live != rebuilt {
		s.t.Errorf("live:\n%s\nfrom the log:\n%s", live, rebuilt)
	}
	g := s.describedConsumer()
	var up []*consumerActor
	for _, a := range s.actors {
		if !a.gone {
			up = append(up, a)
		}
	}
	if len(up) != len(g.Members) || len(up) > 0 && g.State != "Stable" {
		s.t.Errorf("%d clients, and the group is %s with %d members", len(up), g.State, len(g.Members))
	}
	assigned := map[topicPartition]bool{}
	wanted := map[topicPartition]bool{}
	for _, a := range up {
		i := slices.IndexFunc(g.Members, func(m kmsg.ConsumerGroupDescribeResponseGroupMember) bool { return m.MemberID == a.id })
		if i < 0 {
			s.t.Errorf("%s is no member", a.id)
			continue
		}
		told := partitions{}
		for _, t := range g.Members[i].Assignment.TopicPartitions {
			told[t.TopicID] = t.Partitions
			for _, p := range t.Partitions {
				assigned[topicPartition{t.TopicID, p}] = true
			}
		}
		if !samePartitions(told, a.has) {
			s.t.Errorf("%s has %v, the coordinator says %v", a.id, a.has, told)
		}
		for _, name := range append(slices.Clone(g.Members[i].SubscribedTopics), matching(*g.Members[i].SubscribedTopicRegex, s.topics)...) {
			if id, n, ok := s.topics.Topic(name); ok {
				for p := range n {
					wanted[topicPartition{id, p}] = true
				}
			}
		}
	}
	if len(assigned) != len(wanted) {
		s.t.Errorf("%d partitions are subscribed to, %d assigned", len(wanted), len(assigned))
	}
}

// TestRandomConsumerScenarios lets members join, leave, die, change their mind and lose answers while topics change and the coordinator is started anew: at
// no time two of them have the same partition, in the end all partitions are assigned, and the coordinator is what a new one reads from its log.
func TestRandomConsumerScenarios(t *testing.T) {
	for seed := range uint64(40) {
		t.Run(fmt.Sprintf("seed %d", seed), func(t *testing.T) {
			cryptotest.SetGlobalRandom(t, seed)
			o := Options{}
			if seed%2 == 0 {
				o.Consumer.Times = func(string) ConsumerTimes {
					return ConsumerTimes{Session: 20 * time.Second, Heartbeat: 5 * time.Second, AssignmentInterval: time.Second}
				}
			}
			synctest.Test(t, func(t *testing.T) {
				c := &consumers{}
				c.set(someTopics{"t0": 1, "t1": 2, "t2": 3})
				o.Topics = func() Topics { return c.topics }
				c.opts = o
				log := newMemLog()
				delays := rand.New(rand.NewPCG(seed, 4))
				log.delay = func() time.Duration { return time.Duration(delays.Int64N(int64(200 * time.Millisecond))) }
				c.bench = newBench(t, log, o)
				s := &consumerScenario{consumers: c, rng: rand.New(rand.NewPCG(seed, 5))}
				s.run(400)
				s.check()
			})
		})
	}
}
