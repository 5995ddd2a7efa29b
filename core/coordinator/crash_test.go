package coordinator

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/milldam/milldam/core/record"
	"github.com/milldam/milldam/core/storage"
	"github.com/milldam/milldam/core/vfs"
	"github.com/milldam/milldam/core/vfs/vfstest"
	"github.com/milldam/milldam/core/wire"
)

// storedLog is the offsets topic in a real log.
type storedLog struct{ log *storage.Log }

func (l storedLog) Append(batch []byte, done func(error)) (record.Offset, error) {
	return l.AppendTxn(batch, nil, done)
}

func (l storedLog) AppendTxn(batch []byte, v *storage.Verification, done func(error)) (record.Offset, error) {
	p := storage.NewPending(done)
	a, err := l.log.Append(batch, 0, storage.FromCoordinator, v, p)
	if err == nil {
		p.Arm()
	}
	return a.BaseOffset, err
}

func (l storedLog) AppendMarker(m record.Marker, version int8, done func(error)) error {
	p := storage.NewPending(done)
	_, err := l.log.AppendMarker(m, version, 0, p)
	if err == nil {
		p.Arm()
	}
	return err
}

func (l storedLog) Verify(id record.ProducerID, epoch record.ProducerEpoch) (*storage.Verification, bool) {
	return l.log.Verify(id, epoch)
}

func (l storedLog) Replay(_ context.Context, fn func(record.Batch) error) error {
	return l.log.Scan(l.log.Start(), l.log.End(), fn)
}

// crashHistory is what the clients of a coordinator know.
type crashHistory struct {
	t    *testing.T
	rng  *rand.Rand
	last int64 // value that was given out

	acked  map[string]int64           // by group, the largest offset that was acknowledged and is committed
	hidden map[int64]map[string]int64 // by producer, what is pending by group
	lost   map[int64]bool             // values that no fetch may show: of transactions without a commit
	epoch  map[int64]record.ProducerEpoch

	members    []*modern
	left       map[string]bool // members that may be gone
	generation int32           // of the classic group, acknowledged
}

const (
	crashMembers  = 3
	crashGroup    = "consumers"
	crashClassic  = "classic"
	crashOffsets  = "offsets"
	stepsPerCrash = 40
)

func newCrashHistory(t *testing.T, rng *rand.Rand) *crashHistory {
	h := &crashHistory{t: t, rng: rng, acked: map[string]int64{crashOffsets: -1}, hidden: map[int64]map[string]int64{}, lost: map[int64]bool{},
		epoch: map[int64]record.ProducerEpoch{}, left: map[string]bool{}}
	for i := range crashMembers {
		h.members = append(h.members, &modern{id: fmt.Sprintf("m%d", i), topics: []string{"t"}})
	}
	return h
}

// ask sends a request and waits for the answer.
func ask[Q, R any](send func(Q, func(*R)), req Q) *R {
	got := make(chan *R, 1)
	send(req, func(r *R) { got <- r })
	return <-got
}

func (h *crashHistory) workload(g *Groups, s *storage.Store, steps int) error {
	for range steps {
		var err error
		switch dice := h.rng.IntN(100); {
		case dice < 25:
			err = h.commit(g)
		case dice < 45:
			err = h.txnCommit(g)
		case dice < 60:
			err = h.endTxn(g)
		case dice < 85:
			err = h.beat(g, h.members[h.rng.IntN(len(h.members))])
		case dice < 93:
			err = h.rebalance(g)
		default:
			err = s.Maintain(h.t.Context(), time.Now().Add(time.Hour)) // compaction among others
		}
		if err != nil {
			return err
		}
	}
	return nil
}

var errCut = errors.New("cut")

func codeError(code int16) error {
	if code != 0 {
		return fmt.Errorf("%w: answered with code %d", errCut, code)
	}
	return nil
}

func (h *crashHistory) commit(g *Groups) error {
	h.last++
	r := kmsg.NewPtrOffsetCommitRequest()
	topic, p := kmsg.NewOffsetCommitRequestTopic(), kmsg.NewOffsetCommitRequestTopicPartition()
	p.Offset, topic.Topic = h.last, "t"
	topic.Partitions = append(topic.Partitions, p)
	r.Group, r.Generation, r.Topics = crashOffsets, -1, append(r.Topics, topic)
	a := ask(g.CommitOffsets, r)
	if err := codeError(a.Topics[0].Partitions[0].ErrorCode); err != nil {
		return err
	}
	h.acked[crashOffsets] = h.last
	return nil
}

func (h *crashHistory) txnCommit(g *Groups) error {
	h.last++
	producer := h.rng.Int64N(3)
	h.lost[h.last] = true
	r := kmsg.NewPtrTxnOffsetCommitRequest()
	topic, p := kmsg.NewTxnOffsetCommitRequestTopic(), kmsg.NewTxnOffsetCommitRequestTopicPartition()
	p.Offset, topic.Topic = h.last, "t"
	topic.Partitions = append(topic.Partitions, p)
	r.TransactionalID, r.ProducerID, r.ProducerEpoch = "txn", producer, int16(h.epoch[producer])
	r.Group, r.Generation, r.Topics = crashOffsets, -1, append(r.Topics, topic)
	a := ask(g.CommitTxnOffsets, r)
	if h.hidden[producer] == nil {
		h.hidden[producer] = map[string]int64{}
	}
	if err := codeError(a.Topics[0].Partitions[0].ErrorCode); err != nil {
		return err
	}
	h.hidden[producer][crashOffsets] = h.last
	return nil
}

func (h *crashHistory) endTxn(g *Groups) error {
	producer := h.rng.Int64N(3)
	commit := h.rng.IntN(2) == 0
	if commit { // from here on the values may show
		for value := range h.lost {
			if value == h.hidden[producer][crashOffsets] {
				delete(h.lost, value)
			}
		}
	}
	ended := make(chan error, 1)
	h.epoch[producer]++
	g.WriteMarker(0, record.Marker{ProducerID: record.ProducerID(producer), ProducerEpoch: h.epoch[producer], Commit: commit}, 2, func(err error) { ended <- err })
	if err := <-ended; err != nil {
		return err
	}
	if at, ok := h.hidden[producer][crashOffsets]; ok && commit {
		h.acked[crashOffsets] = max(h.acked[crashOffsets], at)
	}
	delete(h.hidden, producer)
	return nil
}

// beat sends a heartbeat, and now and then leaves.
func (h *crashHistory) beat(g *Groups, m *modern) error {
	if m.epoch > 0 && h.rng.IntN(12) == 0 {
		m.epoch = leaveEpoch
		h.left[m.id] = true
	}
	req := m.request()
	req.Group = crashGroup
	send := func(req *kmsg.ConsumerGroupHeartbeatRequest, reply func(*kmsg.ConsumerGroupHeartbeatResponse)) {
		g.ConsumerHeartbeat(Client{m.id, "/127.0.0.1"}, req, reply)
	}
	r := ask(send, req)
	switch code := wire.Code(r.ErrorCode); {
	case code == wire.UnknownMemberID, code == wire.FencedMemberEpoch, code == wire.GroupIDNotFound:
		if !h.left[m.id] {
			h.t.Errorf("member %s of epoch %d is told %d", m.id, m.epoch, code)
		}
		m.epoch, m.has = joinEpoch, nil
		return nil
	case code != wire.None:
		m.full = true
		return codeError(r.ErrorCode)
	case r.MemberEpoch < 0:
		m.epoch, m.has = joinEpoch, nil
		return nil
	}
	delete(h.left, m.id)
	m.epoch, m.full = r.MemberEpoch, false
	if r.Assignment != nil {
		m.has = partitions{}
		for _, t := range r.Assignment.Topics {
			m.has[t.TopicID] = t.Partitions
		}
	}
	return nil
}

// rebalance is one of a classic group of one static member.
func (h *crashHistory) rebalance(g *Groups) error {
	c := &subscriber{instance: kmsg.StringPtr("i"), protocols: []string{"range"}, metadata: fmt.Sprint(h.generation)}
	join := c.joinRequest(9)
	join.Group = crashClassic
	j := ask(func(req *kmsg.JoinGroupRequest, reply func(*kmsg.JoinGroupResponse)) { g.Join(Client{}, req, reply) }, join)
	if err := codeError(j.ErrorCode); err != nil {
		return err
	}
	r := kmsg.NewPtrSyncGroupRequest()
	r.Group, r.MemberID, r.InstanceID, r.Generation = crashClassic, j.MemberID, c.instance, j.Generation
	x := kmsg.NewSyncGroupRequestGroupAssignment()
	x.MemberID, x.MemberAssignment = j.MemberID, fmt.Append(nil, j.Generation)
	r.GroupAssignment = append(r.GroupAssignment, x)
	s := ask(func(req *kmsg.SyncGroupRequest, reply func(*kmsg.SyncGroupResponse)) { g.Sync(Client{}, req, reply) }, r)
	if err := codeError(s.ErrorCode); err != nil {
		return err
	}
	h.generation = j.Generation
	return nil
}

// check compares a coordinator that was started on what a crash left with what clients know.
func (h *crashHistory) check(g *Groups) {
	h.t.Helper()
	in := kmsg.NewOffsetFetchRequestGroup()
	in.Group = crashOffsets
	topic := kmsg.NewOffsetFetchRequestGroupTopic()
	topic.Topic, topic.Partitions = "t", []int32{0}
	in.Topics = append(in.Topics, topic)
	at := g.fetchGroup(in, false).Topics[0].Partitions[0].Offset
	if at < h.acked[crashOffsets] || at > h.last || h.lost[at] {
		h.t.Errorf("the committed offset is %d, after %d was acknowledged and %d sent; of no committed transaction: %v", at, h.acked[crashOffsets], h.last, h.lost[at])
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	st := newConsumerGroup()
	if c := g.mu.consumers[crashGroup]; c != nil {
		st = c.state()
	}
	owner := map[topicPartition]string{}
	for id, m := range st.members {
		for _, o := range []owned{m.assigned, m.revoking} {
			for topic, list := range o {
				for p := range list {
					tp := topicPartition{topic, p}
					if owner[tp] != "" {
						h.t.Errorf("%v is with %s and %s", tp, owner[tp], id)
					}
					owner[tp] = id
				}
			}
		}
	}
	for _, m := range h.members {
		if h.left[m.id] || m.epoch <= 0 {
			continue
		}
		switch now := st.members[m.id]; {
		case now == nil:
			h.t.Errorf("member %s of epoch %d is lost", m.id, m.epoch)
		case now.epoch < m.epoch:
			h.t.Errorf("member %s went back from epoch %d to %d", m.id, m.epoch, now.epoch)
		case now.epoch == m.epoch && !m.full && !now.hasNoMore(m.has) && now.state != memberUnrevoked:
			h.t.Errorf("member %s was told %v and has %v", m.id, m.has, now.assigned)
		}
	}
	if gr := g.mu.groups[crashClassic]; h.generation > 0 && (gr == nil || gr.generation < h.generation) {
		h.t.Errorf("generation %d of the classic group is lost: %+v", h.generation, gr)
	}
}

// crashedOnce runs the workload until operation n of the file system fails, three lives long, and returns true when the first life ended before.
func crashedOnce(t *testing.T, n int) (finished bool) {
	mem, rng := vfs.NewMem(), rand.New(rand.NewPCG(uint64(n), 6))
	h := newCrashHistory(t, rng)
	for life := range 4 {
		cut := n
		if life > 0 {
			cut = 1 + rng.IntN(120)
		}
		fs := vfs.Fault(mem, &vfs.Rule{N: cut, Crash: true, Short: rng.IntN(2) == 0})
		under := vfs.FS(fs)
		if life == 3 {
			under = mem
		}
		err := h.life(under)
		switch {
		case err == nil && life == 0:
			finished = true
		case err != nil && !errors.Is(err, vfs.ErrCrashed) && !fs.Crashed():
			t.Fatalf("cut at %d, life %d: %v", n, life, err)
		}
		if t.Failed() {
			t.Fatalf("cut at %d, life %d", n, life)
		}
		if rng.IntN(2) == 0 {
			mem = mem.CrashClone(nil)
		} else {
			mem = mem.CrashClone(rng)
		}
	}
	return finished
}

// life is one start of a coordinator on a log, until something fails.
func (h *crashHistory) life(fs vfs.FS) (err error) {
	config := storage.DefaultLogConfig()
	config.CleanupDelete, config.CleanupCompact, config.MinCleanableRatio, config.SegmentBytes, config.Retention = false, true, 0, 4<<10, -1
	config.DeleteRetention = time.Minute // less than Maintain is ahead: tombstones and markers go
	id := record.TopicID{9}
	s, _, err := storage.Open(h.t.Context(), storage.Options{FS: fs, Dir: "data", TailBytes: 32 << 10, WALFileBytes: 32 << 10, WALFiles: 2, OpenFiles: 3, ReserveBytes: -1,
		Topic: func(of record.TopicID) (string, storage.LogConfig, bool) {
			return "__consumer_offsets", config, of == id
		}})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	log, err := s.Create(id, "__consumer_offsets", 0, config)
	if err != nil {
		return err
	}
	topics := &someTopics{"t": 5}
	g := New(Options{Partitions: 1, Topics: func() Topics { return topics },
		VerifyTxn: func(_ Txn, _ int32, _ int16, then func(wire.Code)) { then(wire.None) },
		Log:       func(context.Context, int32) (OffsetsLog, error) { return storedLog{log}, nil }})
	defer func() { err = errors.Join(err, g.Close()) }()
	if _, err := g.shard(h.t.Context(), 0); err != nil { // Load would go on without it
		return err
	}
	h.check(g)
	return h.workload(g, s, stepsPerCrash)
}

// TestGroupsSurviveACrashAtEveryOperation cuts the file system at every operation of a life, and the survivors at random ones: no committed offset goes
// back, nothing of a transaction shows that was not committed, no member and no generation that was acknowledged is lost, and no partition has two owners.
func TestGroupsSurviveACrashAtEveryOperation(t *testing.T) {
	vfstest.EachOperation(t, 7, crashedOnce)
}
