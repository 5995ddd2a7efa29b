package coordinator

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"testing/cryptotest"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/milldam/milldam/core/wire"
)

// phase is where a client believes it is.
type phase int

const (
	out     phase = iota // it has to join
	joining              // its join waits for an answer
	in                   // it is in a generation, without an assignment
	syncing
	assigned
	gone // it has left, was killed or was fenced
)

// actor is one client of a scenario.
type actor struct {
	subscriber
	number      int
	phase       phase
	cooperative bool
	round       int // of its cooperative rebalances: it says something else in each
	plan        []kmsg.JoinGroupResponseMember
	join        *answer[kmsg.JoinGroupResponse]
	sync        *answer[kmsg.SyncGroupResponse]

	commit    *answer[kmsg.OffsetCommitResponse]
	sent      int64 // the last offset it committed
	committed int64 // the last that was acknowledged, -1 before
}

// scenario is a coordinator, clients that do this and that, and what they may rely on.
type scenario struct {
	t       *testing.T
	rng     *rand.Rand
	b       *bench
	actors  []*actor
	leaders map[int32]string // by generation
	replies []func() int     // how often each request was answered

	restarted bool
}

// slot names a member in assignments: a static one keeps its own when it is started again.
func slot(instance *string, id string) string {
	if instance != nil {
		return *instance
	}
	return id
}

func track[R any](s *scenario) *answer[R] {
	a := &answer[R]{}
	s.replies = append(s.replies, a.count)
	return a
}

func (s *scenario) chance(percent int) bool { return s.rng.IntN(100) < percent }

// enlist adds a client; with an instance id it may be the second of it.
func (s *scenario) enlist(instance *string) {
	a := &actor{number: len(s.actors), cooperative: s.chance(40), committed: -1}
	a.instance, a.rebalance, a.protocols = instance, []time.Duration{4 * time.Second, 2 * session}[s.rng.IntN(2)], []string{"range"}
	if a.cooperative { // as a group is that is on its way from one protocol to the other
		a.protocols = []string{"cooperative-sticky", "range"}
	}
	s.actors = append(s.actors, a)
}

// act has one client take its next step; calm is without leaving, dying and changing its mind.
func (s *scenario) act(a *actor, calm bool) {
	s.takeCommit(a)
	if !calm && a.instance != nil && a.phase != gone && s.chance(1) { // started again while the first still runs
		s.enlist(a.instance)
	}
	switch a.phase {
	case out:
		s.startJoin(a)
	case joining:
		if a.join.get() != nil {
			s.takeJoin(a)
		} else if !calm && s.chance(3) { // its connection broke
			s.startJoin(a)
		}
	case in:
		if !calm && s.chance(4) {
			a.phase = gone
			return
		}
		s.startSync(a)
	case syncing:
		if a.sync.get() != nil {
			s.takeSync(a)
		} else if !calm && s.chance(3) {
			s.startSync(a)
		}
	case assigned:
		s.live(a, calm)
	}
}

// live is what a member does that has its assignment.
func (s *scenario) live(a *actor, calm bool) {
	dice := s.rng.IntN(100)
	if calm {
		dice = 0
	}
	switch {
	case dice < 60:
		s.judge(a, s.b.heartbeat(&a.subscriber))
	case dice < 80:
		s.startCommit(a)
	case dice < 86 && a.cooperative: // it has given partitions back
		a.round++
		a.metadata = fmt.Sprintf("round %d", a.round)
		s.startJoin(a)
	case dice < 90:
		s.judge(a, s.b.leave(&a.subscriber))
		a.phase = gone
	case dice < 93:
		a.phase = gone
	case dice < 96 && a.instance != nil: // started again
		a.phase = gone
		s.enlist(a.instance)
	}
}

// judge takes over what an error code tells a client.
func (s *scenario) judge(a *actor, code wire.Code) {
	switch code {
	case wire.None:
		return
	case wire.UnknownMemberID:
		a.id, a.generation = "", 0
	case wire.FencedInstanceID:
		if a.instance == nil {
			s.t.Errorf("client %d has no instance id and is fenced", a.number)
		}
		a.phase = gone
		return
	case wire.InconsistentGroupProtocol:
		// The log has of each member the protocol that was chosen, as Kafka's format is: one that only knows another is turned away after a restart.
		if !s.restarted || a.cooperative {
			s.t.Errorf("client %d has no protocol in common with the others", a.number)
		}
		a.phase = gone
		return
	case wire.MemberIDRequired, wire.RebalanceInProgress, wire.IllegalGeneration, wire.CoordinatorNotAvailable:
	default:
		s.t.Errorf("client %d is told %d", a.number, code)
	}
	a.phase = out
}

func (s *scenario) startJoin(a *actor) {
	a.phase, a.join = joining, track[kmsg.JoinGroupResponse](s)
	s.b.Join(Client{fmt.Sprintf("client-%d", a.number), "/127.0.0.1"}, a.joinRequest(9), a.join.take)
}

func (s *scenario) takeJoin(a *actor) {
	r := a.join.get()
	if code := wire.Code(r.ErrorCode); code != wire.None {
		s.judge(a, code)
		if code == wire.MemberIDRequired {
			a.id = r.MemberID
		}
		return
	}
	a.id, a.generation, a.phase, a.plan = r.MemberID, r.Generation, in, r.Members
	if *r.Protocol != "range" && *r.Protocol != "cooperative-sticky" {
		s.t.Errorf("the protocol is %q", *r.Protocol)
	}
	if len(r.Members) == 0 || r.SkipAssignment {
		a.plan = nil
		return
	}
	if other, ok := s.leaders[r.Generation]; ok && other != r.MemberID {
		s.t.Errorf("generation %d is led by %s and %s", r.Generation, other, r.MemberID)
	}
	s.leaders[r.Generation] = r.MemberID
}

func (s *scenario) startSync(a *actor) {
	r := kmsg.NewPtrSyncGroupRequest()
	r.Group, r.MemberID, r.InstanceID, r.Generation = theGroup, a.id, a.instance, a.generation
	for _, m := range a.plan {
		x := kmsg.NewSyncGroupRequestGroupAssignment()
		x.MemberID, x.MemberAssignment = m.MemberID, fmt.Appendf(nil, "%d for %s", a.generation, slot(m.InstanceID, m.MemberID))
		r.GroupAssignment = append(r.GroupAssignment, x)
	}
	a.phase, a.sync = syncing, track[kmsg.SyncGroupResponse](s)
	s.b.Sync(Client{}, r, a.sync.take)
}

func (s *scenario) takeSync(a *actor) {
	if code := wire.Code(a.sync.get().ErrorCode); code != wire.None {
		s.judge(a, code)
		return
	}
	a.phase = assigned
	if got, want := string(a.sync.get().MemberAssignment), fmt.Sprintf("%d for %s", a.generation, slot(a.instance, a.id)); got != want {
		s.t.Errorf("client %d got the assignment %q, want %q", a.number, got, want)
	}
}

// startCommit commits the next offset of the client's own partition, one at a time.
func (s *scenario) startCommit(a *actor) {
	if a.commit != nil {
		return
	}
	a.sent++
	r := kmsg.NewPtrOffsetCommitRequest()
	r.Group, r.MemberID, r.InstanceID, r.Generation = theGroup, a.id, a.instance, a.generation
	topic := kmsg.NewOffsetCommitRequestTopic()
	topic.Topic = "t"
	p := kmsg.NewOffsetCommitRequestTopicPartition()
	p.Partition, p.Offset, p.Metadata = int32(a.number), a.sent, kmsg.StringPtr(a.id)
	topic.Partitions = append(topic.Partitions, p)
	r.Topics = append(r.Topics, topic)
	a.commit = track[kmsg.OffsetCommitResponse](s)
	s.b.CommitOffsets(r, a.commit.take)
}

func (s *scenario) takeCommit(a *actor) {
	if a.commit == nil || a.commit.get() == nil {
		return
	}
	code := wire.Code(a.commit.get().Topics[0].Partitions[0].ErrorCode)
	if a.commit = nil; code == wire.None {
		a.committed = a.sent
	} else if a.phase == assigned {
		s.judge(a, code)
	}
}

// restart puts a new coordinator in the place of the old one, on what its log has. What was on its way to the log is there by then.
func (s *scenario) restart() {
	pass(time.Second)
	if err := s.b.Close(); err != nil {
		s.t.Error(err)
	}
	for _, a := range s.actors {
		if a.phase == joining {
			s.takeJoin(a)
		}
	}
	clear(s.leaders) // a generation that has no assignment yet is not in the log: its number is given again
	delay := s.b.log.delay
	s.b, s.restarted = s.b.restarted(), true
	s.b.log.delay = delay
}

// run is a scenario of steps, with a quiet end.
func (s *scenario) run(steps int) {
	for range 5 {
		var instance *string
		if s.chance(50) {
			instance = kmsg.StringPtr(fmt.Sprintf("instance-%d", len(s.actors)))
		}
		s.enlist(instance)
	}
	for range steps {
		s.act(s.actors[s.rng.IntN(len(s.actors))], false)
		if s.chance(2) {
			s.enlist(nil)
		}
		if s.rng.IntN(steps) < 2 {
			s.restart()
		}
		pass(time.Duration(s.rng.Int64N(int64(400 * time.Millisecond))))
	}
	for range 100 {
		for _, a := range s.actors {
			s.act(a, true)
		}
		pass(time.Second / 2)
	}
}

// members are the clients that should be in the group now.
func (s *scenario) members() []*actor {
	return slices.DeleteFunc(slices.Clone(s.actors), func(a *actor) bool { return a.phase == gone })
}

// render is all that is known of the group, durable and live, as text. A group at rest is the same after a restart.
func (b *bench) render() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	var out strings.Builder
	if d := b.mu.shards[0].groups[theGroup]; d != nil {
		for _, key := range d.sortedKeys() {
			fmt.Fprintf(&out, "%v: %+v\n", key, d.offsets[key])
		}
		if d.metadata != nil {
			_, value := entry{group: theGroup, metadata: d.metadata}.encode()
			fmt.Fprintf(&out, "%x\n", value)
		}
	}
	g := b.mu.groups[theGroup]
	if g == nil {
		return out.String()
	}
	fmt.Fprintf(&out, "%s, generation %d, %q, %q, led by %q, static %v\n", g.state, g.generation, g.protocolType, g.protocol, g.leader, g.static)
	for _, id := range slices.Sorted(maps.Keys(g.members)) {
		m := g.members[id]
		fmt.Fprintf(&out, "%s: %q, %v, %s, %s, %q, %q\n", id, deref(m.instance), m.client, m.session, m.rebalance, m.assignment, m.metadata(g.protocol))
	}
	return out.String()
}

func (s *scenario) check() {
	want := kmsg.NewOffsetFetchRequestGroup()
	want.Group = theGroup
	again := s.b.restarted()
	if live, rebuilt := s.b.render(), again.render(); live != rebuilt {
		s.t.Errorf("live:\n%s\nfrom the log:\n%s", live, rebuilt)
	}
	state := stable
	if len(s.members()) == 0 {
		state = empty
	}
	for _, b := range []*bench{s.b, again} {
		g := b.described()
		if g.State != string(state) && !(state == empty && g.State == string(dead)) || len(g.Members) != len(s.members()) {
			s.t.Errorf("%d clients are left, and the group is %s with %d members", len(s.members()), g.State, len(g.Members))
		}
		for _, a := range s.members() {
			if a.phase != assigned {
				s.t.Errorf("client %d is in phase %d at the end", a.number, a.phase)
			} else if code := b.heartbeat(&a.subscriber); code != wire.None {
				s.t.Errorf("client %d is told %d at the end", a.number, code)
			}
		}
		got := map[int32]int64{}
		for _, t := range b.fetchGroup(want, false).Topics {
			for _, p := range t.Partitions {
				got[p.Partition] = p.Offset
			}
		}
		for _, a := range s.actors {
			if at, ok := got[int32(a.number)]; ok != (a.committed >= 0) || ok && at != a.committed {
				s.t.Errorf("client %d committed %d, there is %d (%v)", a.number, a.committed, at, ok)
			}
		}
	}
	if err := s.b.Close(); err != nil {
		s.t.Error(err)
	}
	for i, times := range s.replies {
		if times() != 1 {
			s.t.Errorf("request %d of %d was answered %d times", i, len(s.replies), times())
		}
	}
}

// TestRandomScenarios lets eager, cooperative and static clients do what clients do, restarts of the coordinator included, and compares what it holds
// in the end with what a new one reads from the log.
func TestRandomScenarios(t *testing.T) {
	for seed := range uint64(40) {
		t.Run(fmt.Sprintf("seed %d", seed), func(t *testing.T) {
			cryptotest.SetGlobalRandom(t, seed) // member ids
			synctest.Test(t, func(t *testing.T) {
				log := newMemLog()
				delays := rand.New(rand.NewPCG(seed, 1))
				log.delay = func() time.Duration { return time.Duration(delays.Int64N(int64(300 * time.Millisecond))) }
				o := Options{}
				if seed%2 == 0 {
					o.InitialRebalanceDelay = 3 * time.Second
				}
				s := &scenario{t: t, rng: rand.New(rand.NewPCG(seed, 2)), b: newBench(t, log, o), leaders: map[int32]string{}}
				s.run(400)
				s.check()
			})
		})
	}
}
