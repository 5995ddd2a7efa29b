package coordinator

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/milldam/milldam/core/record"
	"github.com/milldam/milldam/core/storage"
	"github.com/milldam/milldam/core/wire"
)

// memLog is a partition of the offsets topic in memory. It commits in order, each batch after delay.
type memLog struct {
	delay func() time.Duration
	mu    struct {
		sync.Mutex
		batches [][]byte
		waiting []func(error)
		end     record.Offset
		err     error // of the next append
	}
}

func newMemLog() *memLog { return &memLog{delay: func() time.Duration { return time.Millisecond }} }

func (l *memLog) Append(batch []byte, done func(error)) (record.Offset, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.mu.err; err != nil {
		l.mu.err = nil
		return 0, err
	}
	b := record.Batch(bytes.Clone(batch))
	b.SetBaseOffset(l.mu.end)
	l.mu.end = b.NextOffset()
	l.mu.batches = append(l.mu.batches, b)
	l.mu.waiting = append(l.mu.waiting, done)
	time.AfterFunc(l.delay(), l.commitOne)
	return b.BaseOffset(), nil
}

func (l *memLog) Verify(record.ProducerID, record.ProducerEpoch) (*storage.Verification, bool) {
	return nil, true
}

func (l *memLog) AppendTxn(batch []byte, _ *storage.Verification, done func(error)) (record.Offset, error) {
	return l.Append(batch, done)
}

func (l *memLog) AppendMarker(m record.Marker, _ int8, done func(error)) error {
	_, err := l.Append(m.Batch(time.Now().UnixMilli()), done)
	return err
}

func (l *memLog) failNext() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.mu.err = errors.New("disk")
}

// commitOne commits the oldest batch that is not yet: whatever the delays are, the order is the log's.
func (l *memLog) commitOne() {
	l.mu.Lock()
	defer l.mu.Unlock()
	done := l.mu.waiting[0]
	l.mu.waiting = l.mu.waiting[1:]
	done(nil)
}

func (l *memLog) Replay(_ context.Context, fn func(record.Batch) error) error {
	l.mu.Lock()
	batches := slices.Clone(l.mu.batches)
	l.mu.Unlock()
	for _, b := range batches {
		if err := fn(record.Batch(b)); err != nil {
			return err
		}
	}
	return nil
}

// bench is a coordinator on one log, within a bubble.
type bench struct {
	t       *testing.T
	log     *memLog
	refused wire.Code // of transactions that are verified
	*Groups
}

const (
	theGroup = "g"
	session  = 10 * time.Second
)

func newBench(t *testing.T, log *memLog, o Options) *bench {
	t.Helper()
	o.Partitions = 1
	o.Log = func(context.Context, int32) (OffsetsLog, error) { return log, nil }
	b := &bench{t: t, log: log}
	o.VerifyTxn = func(_ Txn, _ int32, _ int16, then func(wire.Code)) {
		time.AfterFunc(log.delay(), func() { then(b.refused) })
	}
	b.Groups = New(o)
	t.Cleanup(func() {
		if err := b.Close(); err != nil {
			t.Error(err)
		}
	})
	b.Load(t.Context())
	return b
}

// restarted is a second coordinator on what the log of the first has.
func (b *bench) restarted() *bench {
	b.t.Helper()
	return b.restartedWith(Options{})
}

func (b *bench) restartedWith(o Options) *bench {
	b.t.Helper()
	again := newMemLog()
	b.log.mu.Lock()
	again.mu.batches, again.mu.end = slices.Clone(b.log.mu.batches), b.log.mu.end
	b.log.mu.Unlock()
	return newBench(b.t, again, o)
}

// pass lets time pass in the bubble, and what it brings about come to rest.
func pass(d time.Duration) {
	<-time.After(d)
	synctest.Wait()
}

// answer is the answer to a request.
type answer[R any] struct {
	mu struct {
		sync.Mutex
		resp  *R
		times int
	}
}

func (a *answer[R]) take(r *R) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.mu.resp, a.mu.times = r, a.mu.times+1
}

// get returns the answer, nil before it came.
func (a *answer[R]) get() *R {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.mu.resp
}

// count is how often it came.
func (a *answer[R]) count() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.mu.times
}

// subscriber is one client, with what it was told.
type subscriber struct {
	id         string
	instance   *string
	protocols  []string
	metadata   string
	rebalance  time.Duration
	generation int32
}

func (c *subscriber) joinRequest(version int16) *kmsg.JoinGroupRequest {
	r := kmsg.NewPtrJoinGroupRequest()
	r.Version, r.Group, r.MemberID, r.InstanceID, r.ProtocolType = version, theGroup, c.id, c.instance, "consumer"
	r.SessionTimeoutMillis, r.RebalanceTimeoutMillis = int32(session/time.Millisecond), 30_000
	if c.rebalance > 0 {
		r.RebalanceTimeoutMillis = int32(c.rebalance / time.Millisecond)
	}
	for _, name := range c.protocols {
		p := kmsg.NewJoinGroupRequestProtocol()
		p.Name, p.Metadata = name, []byte(c.metadata)
		r.Protocols = append(r.Protocols, p)
	}
	return r
}

// join sends a JoinGroup, and once more when it is only given an id.
func (b *bench) join(c *subscriber) *answer[kmsg.JoinGroupResponse] {
	b.t.Helper()
	if c.protocols == nil {
		c.protocols = []string{"range"}
	}
	a := &answer[kmsg.JoinGroupResponse]{}
	b.Join(Client{"client", "/127.0.0.1"}, c.joinRequest(9), a.take)
	synctest.Wait()
	if a.get() != nil && wire.Code(a.get().ErrorCode) == wire.MemberIDRequired {
		c.id = a.get().MemberID
		a = &answer[kmsg.JoinGroupResponse]{}
		b.Join(Client{"client", "/127.0.0.1"}, c.joinRequest(9), a.take)
		synctest.Wait()
	}
	return a
}

// joined takes over the answer to a join, which must have come.
func (b *bench) joined(c *subscriber, a *answer[kmsg.JoinGroupResponse]) *kmsg.JoinGroupResponse {
	b.t.Helper()
	synctest.Wait()
	if a.get() == nil || a.get().ErrorCode != 0 || a.count() != 1 {
		b.t.Fatalf("join: %+v, answered %d times", a.get(), a.count())
	}
	c.id, c.generation = a.get().MemberID, a.get().Generation
	return a.get()
}

// sync sends a SyncGroup; assignments, by member, are the leader's.
func (b *bench) sync(c *subscriber, assignments map[string]string) *answer[kmsg.SyncGroupResponse] {
	r := kmsg.NewPtrSyncGroupRequest()
	r.Group, r.MemberID, r.InstanceID, r.Generation = theGroup, c.id, c.instance, c.generation
	for id, text := range assignments {
		x := kmsg.NewSyncGroupRequestGroupAssignment()
		x.MemberID, x.MemberAssignment = id, []byte(text)
		r.GroupAssignment = append(r.GroupAssignment, x)
	}
	a := &answer[kmsg.SyncGroupResponse]{}
	b.Sync(Client{}, r, a.take)
	synctest.Wait()
	return a
}

func (b *bench) heartbeat(c *subscriber) wire.Code {
	b.t.Helper()
	r := kmsg.NewPtrHeartbeatRequest()
	r.Group, r.MemberID, r.InstanceID, r.Generation = theGroup, c.id, c.instance, c.generation
	var a answer[kmsg.HeartbeatResponse]
	b.Heartbeat(r, a.take)
	if a.count() != 1 {
		b.t.Fatalf("a heartbeat was answered %d times", a.count())
	}
	return wire.Code(a.get().ErrorCode)
}

// commit commits an offset of t-0 and waits.
func (b *bench) commit(c *subscriber, at int64) wire.Code {
	b.t.Helper()
	var a answer[kmsg.OffsetCommitResponse]
	b.CommitOffsets(commitRequest(c, at), a.take)
	pass(time.Second)
	if a.count() != 1 {
		b.t.Fatalf("a commit was answered %d times", a.count())
	}
	return wire.Code(a.get().Topics[0].Partitions[0].ErrorCode)
}

func commitRequest(c *subscriber, at int64) *kmsg.OffsetCommitRequest {
	r := kmsg.NewPtrOffsetCommitRequest()
	r.Group, r.MemberID, r.InstanceID, r.Generation = theGroup, c.id, c.instance, c.generation
	topic := kmsg.NewOffsetCommitRequestTopic()
	topic.Topic = "t"
	p := kmsg.NewOffsetCommitRequestTopicPartition()
	p.Offset, p.Metadata = at, kmsg.StringPtr(fmt.Sprintf("at %d", at))
	topic.Partitions = append(topic.Partitions, p)
	r.Topics = append(r.Topics, topic)
	return r
}

func (b *bench) leave(c *subscriber) wire.Code {
	b.t.Helper()
	r := kmsg.NewPtrLeaveGroupRequest()
	m := kmsg.NewLeaveGroupRequestMember()
	r.Version, r.Group, m.MemberID, m.InstanceID = 5, theGroup, c.id, c.instance
	r.Members = append(r.Members, m)
	var a answer[kmsg.LeaveGroupResponse]
	b.Leave(r, a.take)
	if a.count() == 0 { // of a consumer group it is written first
		pass(10 * time.Millisecond)
	}
	if a.count() != 1 {
		b.t.Fatalf("a leave was answered %d times", a.count())
	}
	return wire.Code(a.get().Members[0].ErrorCode)
}

func (b *bench) delete() *answer[kmsg.DeleteGroupsResponse] {
	r := kmsg.NewPtrDeleteGroupsRequest()
	r.Groups = []string{theGroup}
	a := &answer[kmsg.DeleteGroupsResponse]{}
	b.Delete(r, a.take)
	synctest.Wait()
	return a
}

// deleted deletes the group and waits for the answer.
func (b *bench) deleted() wire.Code {
	b.t.Helper()
	a := b.delete()
	pass(time.Second)
	if a.count() != 1 {
		b.t.Fatalf("a removal was answered %d times", a.count())
	}
	return wire.Code(a.get().Groups[0].ErrorCode)
}

// described is the group as DescribeGroups tells it.
func (b *bench) described() kmsg.DescribeGroupsResponseGroup {
	b.t.Helper()
	r := kmsg.NewPtrDescribeGroupsRequest()
	r.Groups = []string{theGroup}
	var a answer[kmsg.DescribeGroupsResponse]
	b.Describe(r, a.take)
	return a.get().Groups[0]
}

// stable makes a group of the subscribers, each with its own assignment, in which the first leads.
func (b *bench) stable(list ...*subscriber) {
	b.t.Helper()
	var joins []*answer[kmsg.JoinGroupResponse]
	for _, c := range list {
		joins = append(joins, b.join(c))
	}
	for i, c := range list[:len(list)-1] { // each newcomer made those before join again
		if joins[i].get() != nil {
			b.joined(c, joins[i])
			joins[i] = b.join(c)
		}
	}
	assignments := map[string]string{}
	for i, c := range list {
		b.joined(c, joins[i])
		assignments[c.id] = "of " + c.id
	}
	var syncs []*answer[kmsg.SyncGroupResponse]
	for _, c := range list {
		syncs = append(syncs, b.sync(c, assignments))
	}
	pass(time.Second)
	for i, c := range list {
		if r := syncs[i].get(); r == nil || r.ErrorCode != 0 || string(r.MemberAssignment) != "of "+c.id {
			b.t.Fatalf("sync of member %d: %+v", i, r)
		}
	}
}

func bubble(t *testing.T, fn func(t *testing.T, b *bench)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) { fn(t, newBench(t, newMemLog(), Options{})) })
}

func TestKilledMemberLeadsToARebalance(t *testing.T) {
	bubble(t, func(t *testing.T, b *bench) {
		lives, killed := &subscriber{}, &subscriber{}
		b.stable(lives, killed)
		for range 8 {
			pass(time.Second)
			if code := b.heartbeat(lives); code != wire.None {
				t.Fatalf("within the session: %d", code)
			}
		}
		pass(session - 8*time.Second)
		if code := b.heartbeat(lives); code != wire.RebalanceInProgress {
			t.Fatalf("after the session: %d", code)
		}
		r := b.joined(lives, b.join(lives))
		if len(r.Members) != 1 || r.LeaderID != lives.id {
			t.Errorf("the new generation: %+v", r)
		}
		if code := b.heartbeat(killed); code != wire.UnknownMemberID {
			t.Errorf("the killed one comes back: %d", code)
		}
	})
}

func TestStaticMemberComesBackWithoutARebalance(t *testing.T) {
	for _, leads := range []bool{false, true} {
		t.Run(fmt.Sprintf("leader %v", leads), func(t *testing.T) {
			bubble(t, func(t *testing.T, b *bench) {
				other, static := &subscriber{}, &subscriber{instance: kmsg.StringPtr("i")}
				if leads {
					b.stable(static, other)
				} else {
					b.stable(other, static)
				}
				pass(session / 2)
				if code := b.heartbeat(other); code != wire.None {
					t.Fatal(code)
				}
				again := &subscriber{instance: static.instance, metadata: "which tells of no generation"}
				a := b.join(again)
				pass(time.Second)
				r := b.joined(again, a)
				if r.Generation != static.generation || again.id == static.id || r.SkipAssignment != leads {
					t.Errorf("it joined with %+v", r)
				}
				s := b.sync(again, nil)
				if s.get() == nil || s.get().ErrorCode != 0 || string(s.get().MemberAssignment) != "of "+static.id {
					t.Errorf("its assignment: %+v", s.get())
				}
				if code := b.heartbeat(other); code != wire.None {
					t.Errorf("the other is told %d", code)
				}
				b2 := b.restarted()
				for _, c := range []*subscriber{again, other} {
					if code := b2.heartbeat(c); code != wire.None {
						t.Errorf("after a restart: %d", code)
					}
				}
			})
		})
	}
}

func TestSecondHolderOfAnInstanceIDFencesTheFirst(t *testing.T) {
	bubble(t, func(t *testing.T, b *bench) {
		first := &subscriber{instance: kmsg.StringPtr("i")}
		b.stable(first)
		second := &subscriber{instance: first.instance}
		a := b.join(second)
		pass(time.Second)
		b.joined(second, a)
		for name, code := range map[string]wire.Code{
			"heartbeat": b.heartbeat(first),
			"commit":    b.commit(first, 1),
			"leave":     b.leave(first),
			"join":      wire.Code(b.join(first).get().ErrorCode),
			"sync":      wire.Code(b.sync(first, nil).get().ErrorCode),
		} {
			if code != wire.FencedInstanceID {
				t.Errorf("%s of the first: %d", name, code)
			}
		}
		if code := b.heartbeat(second); code != wire.None {
			t.Errorf("heartbeat of the second: %d", code)
		}
	})
}

func TestSecondHolderFencesAParkedJoin(t *testing.T) {
	bubble(t, func(t *testing.T, b *bench) {
		other, first := &subscriber{}, &subscriber{instance: kmsg.StringPtr("i")}
		b.stable(other)
		a := b.join(first) // waits for the other to join again
		second := &subscriber{instance: first.instance}
		a2 := b.join(second)
		if a.get() == nil || wire.Code(a.get().ErrorCode) != wire.FencedInstanceID {
			t.Errorf("the first: %+v", a.get())
		}
		b.joined(other, b.join(other))
		b.joined(second, a2)
	})
}

func TestSecondHolderFencesAParkedSync(t *testing.T) {
	bubble(t, func(t *testing.T, b *bench) {
		leader, first := &subscriber{}, &subscriber{instance: kmsg.StringPtr("i")}
		b.stable(leader)
		a := b.join(first)
		b.joined(leader, b.join(leader))
		b.joined(first, a)
		parked := b.sync(first, nil)
		second := &subscriber{instance: first.instance}
		a2 := b.join(second) // it makes all join again: nobody knows yet what the first was to get
		if r := parked.get(); r == nil || wire.Code(r.ErrorCode) != wire.FencedInstanceID {
			t.Errorf("the first: %+v", r)
		}
		b.joined(leader, b.join(leader))
		b.joined(second, a2)
	})
}

func TestCommitsDuringARebalance(t *testing.T) {
	bubble(t, func(t *testing.T, b *bench) {
		first, second := &subscriber{}, &subscriber{}
		b.stable(first)
		a := b.join(second)
		if code := b.commit(first, 1); code != wire.None { // of what it still owns
			t.Errorf("while others join: %d", code)
		}
		b.joined(first, b.join(first))
		b.joined(second, a)
		if code := b.commit(second, 2); code != wire.RebalanceInProgress {
			t.Errorf("before there is an assignment: %d", code)
		}
	})
}

func TestWhoWaitsForAnAnswerKeepsItsSession(t *testing.T) {
	bubble(t, func(t *testing.T, b *bench) {
		slow, newcomer := &subscriber{rebalance: 3 * session}, &subscriber{}
		b.stable(slow)
		a := b.join(newcomer)
		for range 5 { // the slow one is still busy, and says so
			pass(session / 2)
			if code := b.heartbeat(slow); code != wire.RebalanceInProgress {
				t.Fatal(code)
			}
		}
		b.joined(slow, b.join(slow))
		b.joined(newcomer, a)
	})
}

func TestRequestsOfNoMemberAreRefused(t *testing.T) {
	bubble(t, func(t *testing.T, b *bench) {
		m := &subscriber{}
		b.stable(m)
		of := func(id string, generation int32, instance *string) *subscriber {
			return &subscriber{id: id, generation: generation, instance: instance}
		}
		for name, tc := range map[string]struct {
			who  *subscriber
			want wire.Code
		}{
			"unknown member":    {of("nobody", m.generation, nil), wire.UnknownMemberID},
			"older generation":  {of(m.id, m.generation-1, nil), wire.IllegalGeneration},
			"newer generation":  {of(m.id, m.generation+1, nil), wire.IllegalGeneration},
			"unknown instance":  {of(m.id, m.generation, kmsg.StringPtr("i")), wire.UnknownMemberID},
			"no member, no gen": {of("", -1, nil), wire.UnknownMemberID},
		} {
			if got := b.heartbeat(tc.who); got != tc.want {
				t.Errorf("heartbeat, %s: %d, want %d", name, got, tc.want)
			}
			if got := wire.Code(b.sync(tc.who, nil).get().ErrorCode); got != tc.want {
				t.Errorf("sync, %s: %d, want %d", name, got, tc.want)
			}
			if got := b.commit(tc.who, 1); got != tc.want {
				t.Errorf("commit, %s: %d, want %d", name, got, tc.want)
			}
			if code := b.heartbeat(m); code != wire.None {
				t.Errorf("the member is told %d", code)
			}
		}
		if a := b.join(of("nobody", 0, nil)); wire.Code(a.get().ErrorCode) != wire.UnknownMemberID {
			t.Errorf("join of an unknown member: %+v", a.get())
		}
		if code := b.leave(of("nobody", 0, nil)); code != wire.UnknownMemberID {
			t.Errorf("leave of an unknown member: %d", code)
		}
	})
}

// TestCommitsToTheGroupWithoutAName: old clients use it, and it is a group like any other.
func TestCommitsToTheGroupWithoutAName(t *testing.T) {
	bubble(t, func(t *testing.T, b *bench) {
		commit := func(version int16, generation int32, want wire.Code) {
			t.Helper()
			r := commitRequest(&subscriber{generation: generation}, 1)
			r.Version, r.Group = version, ""
			if got := wire.Code(ask(b.CommitOffsets, r).Topics[0].Partitions[0].ErrorCode); got != want {
				t.Errorf("version %d, generation %d: %d, want %d", version, generation, got, want)
			}
		}
		commit(8, 3, wire.IllegalGeneration)
		commit(9, 3, wire.GroupIDNotFound)
		commit(2, -1, wire.None)
		commit(8, 3, wire.UnknownMemberID)
		commit(9, 3, wire.UnknownMemberID)
	})
}

func TestGroupWithMembersIsNotDeleted(t *testing.T) {
	bubble(t, func(t *testing.T, b *bench) {
		if code := b.deleted(); code != wire.GroupIDNotFound {
			t.Errorf("a group that never was: %d", code)
		}
		m := &subscriber{}
		b.stable(m)
		if code := b.commit(m, 5); code != wire.None {
			t.Fatal(code)
		}
		if code := b.deleted(); code != wire.NonEmptyGroup {
			t.Errorf("with a member: %d", code)
		}
		if code := b.leave(m); code != wire.None {
			t.Fatal(code)
		}
		pass(time.Second)
		if code := b.deleted(); code != wire.None {
			t.Errorf("without members: %d", code)
		}
		for _, x := range []*bench{b, b.restarted()} {
			if g := x.described(); g.State != string(dead) {
				t.Errorf("it is still there: %+v", g)
			}
			if d := x.mu.shards[0].groups[theGroup]; d != nil {
				t.Errorf("its offsets are still there: %+v", d)
			}
		}
	})
}

func TestFailedWriteAnswersEveryMember(t *testing.T) {
	bubble(t, func(t *testing.T, b *bench) {
		c, other := &subscriber{}, &subscriber{}
		b.stable(c, other)
		b.log.failNext()
		if code := b.commit(c, 1); code != wire.CoordinatorNotAvailable {
			t.Errorf("commit: %d", code)
		}
		a, a2 := b.join(c), b.join(other)
		b.joined(c, a)
		b.joined(other, a2)
		s := b.sync(other, nil)
		b.log.failNext()
		s2 := b.sync(c, map[string]string{c.id: "x"})
		for _, a := range []*answer[kmsg.SyncGroupResponse]{s, s2} {
			if a.count() != 1 || wire.Code(a.get().ErrorCode) != wire.CoordinatorNotAvailable {
				t.Errorf("sync: %+v, %d times", a.get(), a.count())
			}
		}
		if code := b.heartbeat(c); code != wire.RebalanceInProgress {
			t.Errorf("after the failure: %d", code)
		}
	})
}

// TestCloseAnswersWhatIsOnItsWay closes the coordinator while a commit and the marker of a transaction are on their way to the log.
func TestCloseAnswersWhatIsOnItsWay(t *testing.T) {
	bubble(t, func(t *testing.T, b *bench) {
		c := &subscriber{}
		b.stable(c)
		var a answer[kmsg.OffsetCommitResponse]
		b.CommitOffsets(commitRequest(c, 1), a.take)
		marked := make(chan error, 1)
		b.WriteMarker(0, record.Marker{ProducerID: 7, Commit: true}, 1, func(err error) { marked <- err })
		if err := b.Close(); err != nil {
			t.Fatal(err)
		}
		if a.count() != 1 || a.get().Topics[0].Partitions[0].ErrorCode != 0 {
			t.Errorf("a commit was answered %d times: %+v", a.count(), a.get())
		}
		select {
		case err := <-marked:
			if err != nil {
				t.Errorf("the marker: %v", err)
			}
		default:
			t.Error("nobody is told of the marker")
		}
	})
}

func TestGroupTakesAsManyMembersAsItMayHave(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, newMemLog(), Options{MaxGroupSize: 2})
		first, second := &subscriber{}, &subscriber{instance: kmsg.StringPtr("i")}
		b.stable(first)
		b.stable(first, second)
		if code := wire.Code(b.join(&subscriber{}).get().ErrorCode); code != wire.GroupMaxSizeReached {
			t.Errorf("a third of two: %d", code)
		}
		again := &subscriber{instance: second.instance}
		a := b.join(again)
		pass(time.Second)
		b.joined(again, a) // in the place of its former self
	})
}

func TestIDsThatWereGivenOutTakeNoPlace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, newMemLog(), Options{MaxGroupSize: 1})
		var given answer[kmsg.JoinGroupResponse]
		gone := &subscriber{protocols: []string{"range"}}
		b.Join(Client{"client", "/127.0.0.1"}, gone.joinRequest(9), given.take) // and never comes again
		if code := wire.Code(given.get().ErrorCode); code != wire.MemberIDRequired {
			t.Fatal(code)
		}
		a := b.join(&subscriber{})
		pass(session + time.Second) // until nobody waits for the other
		if r := a.get(); r == nil || r.ErrorCode != 0 {
			t.Errorf("the first member: %+v", r)
		}
	})
}

func TestGroupThatIsLargerThanItMayBeByNowLosesItsLastMembers(t *testing.T) {
	bubble(t, func(t *testing.T, b *bench) {
		first, last := &subscriber{}, &subscriber{}
		b.stable(first, last)
		b = b.restartedWith(Options{MaxGroupSize: 1})
		first.metadata = "changed"
		a := b.join(first)
		if code := wire.Code(b.join(last).get().ErrorCode); code != wire.GroupMaxSizeReached {
			t.Errorf("the last to join again: %d", code)
		}
		pass(session + time.Second) // until the last one is out
		b.joined(first, a)
		if n := len(b.described().Members); n != 1 {
			t.Errorf("%d members, want 1", n)
		}
	})
}

func TestMemberMayNotTakeTheLastCommonProtocolAway(t *testing.T) {
	bubble(t, func(t *testing.T, b *bench) {
		first, second := &subscriber{protocols: []string{"range", "cooperative"}}, &subscriber{protocols: []string{"range"}}
		b.stable(first, second)
		changed := *first
		changed.protocols = []string{"cooperative"}
		a := b.join(&changed)
		if a.get() == nil || wire.Code(a.get().ErrorCode) != wire.InconsistentGroupProtocol {
			t.Fatalf("%+v", a.get())
		}
		if code := b.heartbeat(second); code != wire.None {
			t.Errorf("the other is told %d", code)
		}
		if code := b.leave(second); code != wire.None {
			t.Fatal(code)
		}
		if r := b.joined(&changed, b.join(&changed)); *r.Protocol != "cooperative" { // alone it may
			t.Errorf("alone: %+v", r)
		}
	})
}

func TestDeadStaticMembersLoseTheirPlace(t *testing.T) {
	bubble(t, func(t *testing.T, b *bench) {
		// Their sessions are longer than two rebalances, so one follows the other while nobody is there.
		a, c := &subscriber{instance: kmsg.StringPtr("a"), rebalance: 2 * time.Second}, &subscriber{instance: kmsg.StringPtr("c"), rebalance: 2 * time.Second}
		b.stable(a, c)
		pass(session - 2*time.Second)
		if code := b.heartbeat(a); code != wire.None {
			t.Fatal(code)
		}
		pass(5 * session)
		if g := b.described(); g.State != string(empty) {
			t.Errorf("long after both died: %+v", g)
		}
		if code := b.deleted(); code != wire.None {
			t.Errorf("delete: %d", code)
		}
	})
}

// TestMemberThatNeverAsksForItsAssignmentIsRemoved has a member that joined and sends heartbeats: its partitions would be consumed by nobody.
func TestMemberThatNeverAsksForItsAssignmentIsRemoved(t *testing.T) {
	for name, id := range map[string]*string{"dynamic": nil, "static": kmsg.StringPtr("i")} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, b *bench) {
				const rebalance = 4 * time.Second
				leader, silent := &subscriber{rebalance: rebalance}, &subscriber{rebalance: rebalance, instance: id}
				b.joined(leader, b.join(leader))
				waits := b.join(silent)
				b.joined(leader, b.join(leader))
				b.joined(silent, waits)
				b.sync(leader, map[string]string{leader.id: "l", silent.id: "s"})
				pass(rebalance / 2)
				for _, m := range []*subscriber{leader, silent} {
					if code := b.heartbeat(m); code != wire.None {
						t.Errorf("in time: %d", code)
					}
				}
				pass(rebalance)
				if code := b.heartbeat(silent); code != wire.UnknownMemberID {
					t.Errorf("the silent one: %d", code)
				}
				if code := b.heartbeat(leader); code != wire.RebalanceInProgress {
					t.Errorf("the other: %d", code)
				}
				b.joined(leader, b.join(leader))
				b.sync(leader, map[string]string{leader.id: "all"})
				pass(2 * rebalance)
				if code := b.heartbeat(leader); code != wire.None {
					t.Errorf("alone: %d", code)
				}
			})
		})
	}
}

func TestFirstAssignmentOfALeaderHolds(t *testing.T) {
	bubble(t, func(t *testing.T, b *bench) {
		m := &subscriber{}
		b.joined(m, b.join(m))
		lost := b.sync(m, map[string]string{m.id: "first"})
		again := b.sync(m, map[string]string{m.id: "second"}) // the client gave the first up
		pass(time.Second)
		if lost.count() != 1 || again.count() != 1 || string(again.get().MemberAssignment) != "first" {
			t.Errorf("%+v, %+v", lost.get(), again.get())
		}
		for _, x := range []*bench{b, b.restarted()} {
			if g := x.described(); string(g.Members[0].MemberAssignment) != "first" {
				t.Errorf("%q", g.Members[0].MemberAssignment)
			}
		}
	})
}

// TestPartitionOfANameIsKafkas: the partitions are those that Apache Kafka 4.3.1 names in DescribeTransactions, the hashes are negative.
func TestPartitionOfANameIsKafkas(t *testing.T) {
	for name, want := range map[string]int32{"d21-g1": 0, "d12-g1": 30, "d29-g1": 22, "": 0} {
		if got := partitionOf(name, 50); got != want {
			t.Errorf("%q: partition %d, want %d", name, got, want)
		}
	}
}
