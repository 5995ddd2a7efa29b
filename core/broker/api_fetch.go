package broker

import (
	"io"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/milldam/milldam/core/meta"
	"github.com/milldam/milldam/core/record"
	"github.com/milldam/milldam/core/replica"
	"github.com/milldam/milldam/core/storage"
	"github.com/milldam/milldam/core/wire"
)

// Fetch, versions 4 to 18. 5 adds the log start offset, 7 sessions (KIP-227), 9 leader epochs (KIP-320), 11 racks (KIP-392), 12 is flexible, 13 names topics by id
// (KIP-516), 15 moves the replica id to a tag, 16 to 18 add tags that a client's fetch does not use.

const fetchTopicIDs = 13

// fetchOp is one Fetch request while it is served.
type fetchOp struct {
	server  *Server
	call    *call
	req     *kmsg.FetchRequest
	session *session // nil without one
	epoch   int32    // of the session once this request had changed it, unless full
	full    bool     // every partition is answered, also those where nothing changed
	asks    []fetchAsk
	waiter  *replica.Waiter
	once    sync.Once
}

func (s *Server) fetch(cl *call, req *kmsg.FetchRequest) {
	op := &fetchOp{server: s, call: cl, req: req}
	code := wire.InvalidRequest
	if isolates(req.IsolationLevel) || cl.header.Version < fetchSessions {
		code = op.openSession()
	}
	if code != wire.None {
		resp := wire.FetchResponse{Version: cl.header.Version, Error: code}
		cl.streamed(func(w io.Writer) (int64, error) { return resp.WriteFrame(w, cl.header.Correlation) }, nil)
		return
	}
	if req.MaxWaitMillis <= 0 || op.enough() || !cl.park() {
		op.finish()
		return
	}
	op.wait()
}

// wait parks the request until there is enough, or its time is over.
func (op *fetchOp) wait() {
	op.req.Topics, op.req.ForgottenTopics, op.req.Rack, op.req.UnknownTags = nil, nil, "", kmsg.Tags{} // the asks say it
	var parts []*replica.Partition
	for i := range op.asks {
		if p, err := op.partition(&op.asks[i]); err == nil {
			parts = append(parts, p)
		}
	}
	started := make(chan struct{})
	op.waiter = op.server.opts.Replicas.Wheel.Wait(parts, millis(op.req.MaxWaitMillis), func(expired bool) {
		<-started // the waiter is assigned
		if expired || op.enough() {
			op.waiter.Done()
			op.finish()
		}
	})
	close(started)
	if op.enough() { // what came before the wait began woke nobody
		op.waiter.Done()
		op.finish()
	}
}

func (op *fetchOp) byID() bool { return op.call.header.Version >= fetchTopicIDs }

func (op *fetchOp) partition(a *fetchAsk) (*replica.Partition, error) {
	return op.server.partitionOf(op.byID(), a.key.name, a.key.id, a.key.index)
}

// openSession finds or makes the request's session, and the partitions it asks for.
func (op *fetchOp) openSession() wire.Code {
	req := op.req
	if req.SessionEpoch == -1 || op.call.header.Version < fetchSessions { // no session, or the end of one
		if req.SessionID != 0 {
			op.server.sessions.remove(req.SessionID)
		}
		op.full = true
		op.takeAsks(func(a fetchAsk) { op.asks = append(op.asks, a) })
		return wire.None
	}
	if req.SessionEpoch == 0 {
		if req.SessionID != 0 {
			op.server.sessions.remove(req.SessionID)
		}
		op.session = &session{byID: op.byID(), epoch: 1, states: map[fetchKey]*fetchState{}}
		op.full = true
		op.takeAsks(op.session.set)
		op.asks = op.session.asks()
		if !op.server.sessions.add(op.session) {
			op.session = nil
		}
		return wire.None
	}
	s := op.server.sessions.get(req.SessionID)
	if s == nil {
		return wire.FetchSessionIDNotFound
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.epoch != req.SessionEpoch {
		return wire.InvalidFetchSessionEpoch
	}
	if s.byID != op.byID() {
		return wire.FetchSessionTopicIDError
	}
	s.epoch = nextEpoch(s.epoch)
	op.session, op.epoch = s, s.epoch
	op.takeAsks(s.set)
	for _, t := range req.ForgottenTopics {
		for _, index := range t.Partitions {
			s.forget(fetchKey{op.id(t.TopicID), op.name(t.Topic), index})
		}
	}
	op.server.sessions.touch(s, len(s.states))
	op.asks = s.asks()
	if len(op.asks) == 0 { // a session of nothing ends
		op.server.sessions.remove(s.id)
		op.session = nil
	}
	return wire.None
}

func (op *fetchOp) id(id [16]byte) record.TopicID {
	if op.byID() {
		return id
	}
	return record.TopicID{}
}

func (op *fetchOp) name(name string) string {
	if op.byID() {
		return ""
	}
	return name
}

func (op *fetchOp) takeAsks(add func(fetchAsk)) {
	for _, t := range op.req.Topics {
		for _, p := range t.Partitions {
			add(fetchAsk{key: fetchKey{op.id(t.TopicID), op.name(t.Topic), p.Partition}, offset: record.Offset(p.FetchOffset),
				epoch: record.LeaderEpoch(max(p.CurrentLeaderEpoch, -1)), maxBytes: p.PartitionMaxBytes})
		}
	}
}

// enough tells whether the request is to be answered now: something is wrong, there are as many bytes as asked for, or none were.
func (op *fetchOp) enough() bool {
	if len(op.asks) == 0 || op.fromReplica() || !isolates(op.req.IsolationLevel) {
		return true
	}
	need := int64(op.req.MinBytes)
	for i := range op.asks {
		a := &op.asks[i]
		p, err := op.partition(a)
		if err != nil || p.CheckEpoch(a.epoch) != nil || p.Log.Err() != nil {
			return true
		}
		if a.offset > p.Log.End() || a.offset < p.Log.Start() {
			return true
		}
		if a.offset < p.Readable(op.readCommitted()) {
			if need <= 1 || op.negative(a) {
				return true
			}
			span, _, err := op.span(p, a, min(int(a.maxBytes), op.server.opts.FetchBytes), true)
			if err != nil {
				return true
			}
			need -= int64(span.Len())
			if span.Close() != nil || need <= 0 {
				return true
			}
		}
	}
	return need <= 0
}

// finish reads and answers; once.
func (op *fetchOp) finish() {
	op.once.Do(func() {
		var spans []storage.Span
		resp := op.build(&spans)
		cl := op.call
		if wait := op.overQuota(resp); wait > 0 {
			op.closeAll(spans)
			spans, resp = nil, op.empty(wait)
		}
		cl.streamed(func(w io.Writer) (int64, error) { return resp.WriteFrame(w, cl.header.Correlation) }, func() { op.closeAll(spans) })
	})
}

func (op *fetchOp) closeAll(spans []storage.Span) {
	for i := range spans {
		if err := spans[i].Close(); err != nil {
			op.server.opts.Logger.Error("a segment file could not be closed", "error", err)
		}
	}
}

// overQuota counts the response's bytes, and returns for how long the client is to be throttled instead of getting it.
func (op *fetchOp) overQuota(resp *wire.FetchResponse) time.Duration {
	q, id, now := op.server.quotas, op.call.header.ClientID, time.Now()
	if _, limited := q.most(id, meta.ConsumerByteRate); limited {
		size := float64(resp.Size())
		if op.call.throttle = q.use(id, meta.ConsumerByteRate, size, now); op.call.throttle > 0 {
			q.giveBack(id, meta.ConsumerByteRate, size, now) // it is not sent
		}
	}
	return op.call.throttled()
}

// empty is the response of who is throttled; what a session would have been told is told with the next one.
func (op *fetchOp) empty(wait time.Duration) *wire.FetchResponse {
	resp := &wire.FetchResponse{Version: op.call.header.Version, Throttle: int32(wait.Milliseconds())}
	if op.session != nil {
		op.session.mu.Lock()
		defer op.session.mu.Unlock()
		if resp.SessionID = op.session.id; op.overtaken() {
			resp.Error = wire.InvalidFetchSessionEpoch
			return resp
		}
		for _, a := range op.asks {
			if st := op.session.states[a.key]; st != nil {
				st.toldAny = false
			}
		}
	}
	return resp
}

// build reads every partition within the limits of the request. The first that has something gives a whole batch, whatever its size. A request that another of its
// session has overtaken would tell what the session says no more: its answer is an error, as in Kafka.
func (op *fetchOp) build(spans *[]storage.Span) *wire.FetchResponse {
	resp := &wire.FetchResponse{Version: op.call.header.Version}
	if op.session != nil {
		resp.SessionID = op.session.id
		op.session.mu.Lock()
		defer op.session.mu.Unlock()
		if op.overtaken() {
			resp.Error = wire.InvalidFetchSessionEpoch
			return resp
		}
	}
	left := op.server.opts.FetchBytes
	if op.req.MaxBytes >= 0 { // else negative tells it is an error
		left = min(left, int(op.req.MaxBytes))
	}
	if most, limited := op.server.quotas.most(op.call.header.ClientID, meta.ConsumerByteRate); limited {
		left = int(min(float64(left), most))
	}
	*spans = make([]storage.Span, 0, len(op.asks)) // payloads point into it
	served := map[fetchKey]bool{}
	topics := map[fetchKey]int{}
	for i := range op.asks {
		a := &op.asks[i]
		out := op.read(a, &left, len(served) == 0, spans)
		if out.Records != nil {
			served[a.key] = true
		}
		if op.session != nil && !op.tell(a.key, &out) {
			continue
		}
		key := fetchKey{id: a.key.id, name: a.key.name}
		at, ok := topics[key]
		if !ok {
			at = len(resp.Topics)
			topics[key] = at
			resp.Topics = append(resp.Topics, wire.FetchTopic{Name: a.key.name, ID: a.key.id})
		}
		resp.Topics[at].Partitions = append(resp.Topics[at].Partitions, out)
	}
	if op.session != nil && len(served) > 0 {
		op.session.rotate(served)
	}
	return resp
}

// overtaken tells that another request of the session came after this one. The caller holds the session's mu.
func (op *fetchOp) overtaken() bool { return !op.full && op.session.epoch != op.epoch }

// tell tells whether the response has to name the partition, and if so notes what it says. The caller holds the session's mu.
func (op *fetchOp) tell(key fetchKey, out *wire.FetchPartition) bool {
	st := op.session.states[key]
	if st == nil { // another request has dropped it
		return op.full
	}
	if !op.full && out.Records == nil && out.Error == wire.None && st.toldAny && out.HighWatermark == st.toldHW && out.LogStart == st.toldStart {
		return false
	}
	st.toldHW, st.toldStart, st.toldAny = out.HighWatermark, out.LogStart, true
	return true
}

// Isolation levels: readCommitted is of consumers that see no aborted records.
const (
	readUncommitted = 0
	readCommitted   = 1
)

func isolates(level int8) bool { return level == readUncommitted || level == readCommitted }

// fetchSessions is the version of Fetch from which there are sessions, and an error of the whole response.
const fetchSessions = 7

// fetchReplicaState is the version of Fetch that has the replica's id in another place.
const fetchReplicaState = 15

// errNoFollower is of a client that says it is a replica: on one node there is no other.
var errNoFollower = wrapped{replica.ErrNotLeader, "no partition has that replica"}

var errIsolation = wrapped{meta.ErrInvalidRequest, "there is no such isolation level"}

func (op *fetchOp) fromReplica() bool {
	if op.call.header.Version < fetchReplicaState {
		return op.req.ReplicaID >= 0
	}
	return op.req.ReplicaState.ID >= 0
}

func (op *fetchOp) readCommitted() bool { return op.req.IsolationLevel != readUncommitted }

// span is what the consumer may read of a partition, and for read_committed ones which transactions in it are aborted.
func (op *fetchOp) span(p *replica.Partition, a *fetchAsk, maxBytes int, atLeastOne bool) (storage.Span, []storage.AbortedTxn, error) {
	if op.readCommitted() {
		return p.ReadCommitted(a.offset, maxBytes, atLeastOne)
	}
	span, err := p.Read(a.offset, maxBytes, atLeastOne)
	return span, nil, err
}

// negative tells that a partition is asked for less than no bytes, which is an error where there is something to read.
func (op *fetchOp) negative(a *fetchAsk) bool { return a.maxBytes < 0 || op.req.MaxBytes < 0 }

func (op *fetchOp) read(a *fetchAsk, left *int, atLeastOne bool, spans *[]storage.Span) wire.FetchPartition {
	out := wire.FetchPartition{Partition: a.key.index, HighWatermark: -1, LastStable: -1, LogStart: -1, ReadCommitted: op.readCommitted()}
	p, err := op.partition(a)
	if err == nil && op.fromReplica() {
		err = errNoFollower
	}
	if err == nil && !isolates(op.req.IsolationLevel) { // in a version that has no error of the whole response
		err = errIsolation
	}
	if err == nil {
		err = p.CheckEpoch(a.epoch)
	}
	if err != nil {
		out.Error = op.server.code(err)
		return out
	}
	out.HighWatermark, out.LastStable, out.LogStart = p.HighWatermark(), p.LastStable(), p.Log.Start()
	if op.negative(a) && a.offset < p.Readable(op.readCommitted()) && a.offset >= out.LogStart {
		out.Error, out.HighWatermark, out.LastStable, out.LogStart = wire.UnknownServerError, -1, -1, -1
		return out
	}
	if *left <= 0 && !atLeastOne && a.offset >= p.Log.Start() && a.offset <= p.Log.End() {
		return out
	}
	span, aborted, err := op.span(p, a, min(int(a.maxBytes), max(*left, 0)), atLeastOne)
	if err != nil { // and nothing else, as in Kafka
		out.Error, out.HighWatermark, out.LastStable, out.LogStart = op.server.code(err), -1, -1, -1
		return out
	}
	if span.Len() == 0 {
		return out
	}
	*left -= span.Len()
	for _, txn := range aborted {
		out.Aborted = append(out.Aborted, wire.AbortedTxn{ProducerID: txn.ProducerID, First: txn.First})
	}
	op.server.metrics.fetched.Add(float64(span.Len()))
	*spans = append(*spans, span)
	out.Records = &(*spans)[len(*spans)-1]
	return out
}
