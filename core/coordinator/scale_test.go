package coordinator

import (
	"context"
	"fmt"
	"runtime"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/milldam/milldam/core/record"
	"github.com/milldam/milldam/core/storage"
	"github.com/milldam/milldam/core/wire"
)

// forgetfulLog commits at once and keeps nothing: what is measured is the coordinator.
type forgetfulLog struct {
	mu  sync.Mutex
	end record.Offset
}

func (l *forgetfulLog) Append(batch []byte, done func(error)) (record.Offset, error) {
	l.mu.Lock()
	base := l.end
	l.end += record.Offset(record.Batch(batch).Count())
	l.mu.Unlock()
	done(nil)
	return base, nil
}

func (l *forgetfulLog) AppendTxn(batch []byte, _ *storage.Verification, done func(error)) (record.Offset, error) {
	return l.Append(batch, done)
}

func (l *forgetfulLog) AppendMarker(_ record.Marker, _ int8, done func(error)) error {
	done(nil)
	return nil
}

func (l *forgetfulLog) Verify(record.ProducerID, record.ProducerEpoch) (*storage.Verification, bool) {
	return nil, false
}

func (l *forgetfulLog) Replay(context.Context, func(record.Batch) error) error { return nil }

// crowd is a coordinator with groups of members of both protocols.
type crowd struct {
	*Groups
	classic []*kmsg.HeartbeatRequest
	modern  []*kmsg.ConsumerGroupHeartbeatRequest
}

func newCrowd(t testing.TB) *crowd {
	topics := &someTopics{"few": 4, "many": 2000}
	c := &crowd{Groups: New(Options{Topics: func() Topics { return topics },
		Log: func(context.Context, int32) (OffsetsLog, error) { return &forgetfulLog{}, nil }})}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	return c
}

// joinClassic makes a classic group of one member.
func (c *crowd) joinClassic(t testing.TB, group string) {
	s := &subscriber{instance: kmsg.StringPtr("i"), protocols: []string{"range"}, metadata: "some topics"}
	join := s.joinRequest(9)
	join.Group, join.SessionTimeoutMillis = group, 45_000
	j := ask(func(r *kmsg.JoinGroupRequest, reply func(*kmsg.JoinGroupResponse)) {
		c.Join(Client{"client", "/127.0.0.1"}, r, reply)
	}, join)
	sync := kmsg.NewPtrSyncGroupRequest()
	sync.Group, sync.MemberID, sync.InstanceID, sync.Generation = group, j.MemberID, s.instance, j.Generation
	r := ask(func(r *kmsg.SyncGroupRequest, reply func(*kmsg.SyncGroupResponse)) { c.Sync(Client{}, r, reply) }, sync)
	if j.ErrorCode != 0 || r.ErrorCode != 0 {
		t.Fatal(j.ErrorCode, r.ErrorCode)
	}
	beat := kmsg.NewPtrHeartbeatRequest()
	beat.Group, beat.MemberID, beat.InstanceID, beat.Generation = group, j.MemberID, s.instance, j.Generation
	c.classic = append(c.classic, beat)
}

// joinModern adds a member to a consumer group.
func (c *crowd) joinModern(t testing.TB, group, topic string) {
	m := &modern{id: fmt.Sprintf("member-%06d", len(c.modern)), topics: []string{topic}}
	req := m.request()
	req.Group = group
	if r := c.beatModern(req); r.ErrorCode != 0 {
		t.Fatal(r.ErrorCode)
	}
	c.modern = append(c.modern, req)
}

// beatModern sends a heartbeat and notes what the next one is.
func (c *crowd) beatModern(req *kmsg.ConsumerGroupHeartbeatRequest) *kmsg.ConsumerGroupHeartbeatResponse {
	r := ask(func(r *kmsg.ConsumerGroupHeartbeatRequest, reply func(*kmsg.ConsumerGroupHeartbeatResponse)) {
		c.ConsumerHeartbeat(Client{"client", "/127.0.0.1"}, r, reply)
	}, req)
	req.MemberEpoch, req.RebalanceTimeoutMillis, req.SubscribedTopicNames = r.MemberEpoch, -1, nil
	req.Topics = nil
	if r.Assignment != nil {
		req.Topics = []kmsg.ConsumerGroupHeartbeatRequestTopic{}
		for _, t := range r.Assignment.Topics {
			req.Topics = append(req.Topics, kmsg.ConsumerGroupHeartbeatRequestTopic{TopicID: t.TopicID, Partitions: t.Partitions})
		}
	}
	return r
}

// settle sends heartbeats until no member of a consumer group is told anything new.
func (c *crowd) settle(t testing.TB) {
	for range 20 {
		quiet := true
		for _, req := range c.modern {
			r := c.beatModern(req)
			if r.ErrorCode != 0 {
				t.Fatal(r.ErrorCode)
			}
			quiet = quiet && r.Assignment == nil
		}
		if quiet {
			return
		}
	}
	t.Fatal("the group does not come to rest")
}

// TestNobodyMissesAHeartbeat keeps many groups, and a large one, for two sessions.
func TestNobodyMissesAHeartbeat(t *testing.T) {
	const groups, members = 1000, 300 // the whole is over the network, in .ci/e2e
	synctest.Test(t, func(t *testing.T) {
		c := newCrowd(t)
		for i := range groups / 2 {
			c.joinClassic(t, fmt.Sprintf("classic-%d", i))
			c.joinModern(t, fmt.Sprintf("consumer-%d", i), "few")
		}
		for range members {
			c.joinModern(t, "large", "many")
		}
		c.settle(t)
		for range 2 * 45 / 5 {
			pass(5 * time.Second)
			for _, req := range c.classic {
				c.Heartbeat(req, func(r *kmsg.HeartbeatResponse) {
					if wire.Code(r.ErrorCode) != wire.None {
						t.Errorf("a classic member is told %d", r.ErrorCode)
					}
				})
			}
			for _, req := range c.modern {
				if r := c.beatModern(req); r.ErrorCode != 0 || r.Assignment != nil {
					t.Errorf("a member is told %d, %+v", r.ErrorCode, r.Assignment)
				}
			}
		}
	})
}

// heapInUse is the memory in use.
func heapInUse() float64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return float64(m.HeapAlloc)
}

// BenchmarkHeartbeat is the CPU of one heartbeat that changes nothing, and the memory of who sends it.
func BenchmarkHeartbeat(b *testing.B) {
	for _, tc := range []struct {
		name            string
		groups, members int
		topic           string // empty: of the classic protocol
	}{{"classic, 10000 groups of one", 10_000, 10_000, ""}, {"consumer, 10000 groups of one", 10_000, 10_000, "few"}, {"consumer, one group of 1000", 1, 1000, "many"}} {
		b.Run(tc.name, func(b *testing.B) {
			before := heapInUse()
			c := newCrowd(b)
			for i := range tc.members {
				if group := fmt.Sprintf("group-%d", i%tc.groups); tc.topic == "" {
					c.joinClassic(b, group)
				} else {
					c.joinModern(b, group, tc.topic)
				}
			}
			c.settle(b)
			used := heapInUse() - before
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				if tc.topic == "" {
					c.Heartbeat(c.classic[i%tc.members], func(*kmsg.HeartbeatResponse) {})
				} else {
					c.ConsumerHeartbeat(Client{"client", "/127.0.0.1"}, c.modern[i%tc.members], func(*kmsg.ConsumerGroupHeartbeatResponse) {})
				}
			}
			b.ReportMetric(used/float64(tc.members), "B/member")
		})
	}
}

// BenchmarkGroupOf1000 is the CPU of a group of the consumer type from nothing to 1,000 members with their share of 2,000 partitions.
func BenchmarkGroupOf1000(b *testing.B) {
	for range b.N {
		c := newCrowd(b)
		for range 1000 {
			c.joinModern(b, "large", "many")
		}
		c.settle(b)
	}
}
