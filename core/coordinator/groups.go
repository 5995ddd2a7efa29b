package coordinator

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/milldam/milldam/core/record"
	"github.com/milldam/milldam/core/storage"
	"github.com/milldam/milldam/core/wire"
)

// OffsetsLog is a partition of __consumer_offsets.
type OffsetsLog interface {
	// Append appends a batch and calls done, from any goroutine, once it is committed. With an error done is not called.
	Append(batch []byte, done func(error)) (base record.Offset, err error)
	// Verify prepares the append of a batch in a transaction. needed tells that v is good only once the transaction coordinator says that the partition is in it.
	Verify(id record.ProducerID, epoch record.ProducerEpoch) (v *storage.Verification, needed bool)
	// AppendTxn appends a batch in a transaction, with what Verify gave; see Append.
	AppendTxn(batch []byte, v *storage.Verification, done func(error)) (base record.Offset, err error)
	// AppendMarker appends the end of a transaction of that transaction.version; see Append.
	AppendMarker(m record.Marker, transactionVersion int8, done func(error)) error
	// Replay calls fn with every batch from the log start to the log end.
	Replay(ctx context.Context, fn func(record.Batch) error) error
}

// Options configure New.
type Options struct {
	Partitions int32 // of __consumer_offsets; default 50
	// Log opens the log of a partition, and makes the topic when it is missing.
	Log    func(ctx context.Context, partition int32) (OffsetsLog, error)
	Logger *slog.Logger

	InitialRebalanceDelay  time.Duration // how long the first members of a group wait for others; 0 is not at all
	MinSession, MaxSession time.Duration // default 6 s and 30 min, as Kafka
	OffsetsRetention       time.Duration // of groups without members; default 7 days
	MaxGroupSize           int           // default 10,000
	MaxMetadataBytes       int           // of a committed offset; default 4,096

	// VerifyTxn asks whether a partition of the offsets topic is in a transaction that is under way, or, for who asks with a TxnOffsetCommit of version 5 or
	// newer, puts it there. It calls then once, from any goroutine, without a lock that is held while Groups is called. nil: there are no transactions.
	VerifyTxn func(txn Txn, partition int32, version int16, then func(wire.Code))

	Consumer ConsumerOptions
	Topics   func() Topics // what topics there are now; needed by groups of the consumer type
}

func (o Options) withDefaults() Options {
	if o.Partitions <= 0 {
		o.Partitions = 50
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.MinSession <= 0 {
		o.MinSession = 6 * time.Second
	}
	if o.MaxSession <= 0 {
		o.MaxSession = 30 * time.Minute
	}
	if o.OffsetsRetention <= 0 {
		o.OffsetsRetention = 7 * 24 * time.Hour
	}
	if o.MaxGroupSize <= 0 {
		o.MaxGroupSize = 10_000
	}
	if o.MaxMetadataBytes <= 0 {
		o.MaxMetadataBytes = 4096
	}
	o.Consumer = o.Consumer.withDefaults()
	return o
}

var errClosed = errors.New("the group coordinator is closed")

// Client describes who asks.
type Client struct{ ID, Host string }

// Groups is the group coordinator of one node. Every method answers through reply, which is called once, from any goroutine, and must not block. Error codes
// inside the responses are Kafka's.
type Groups struct {
	opts   Options
	ctx    context.Context
	cancel context.CancelFunc
	wg     sync.WaitGroup
	writes sync.WaitGroup // on their way to the logs; once mu.closed is set, what was written may add to it, and no request

	mu struct {
		sync.Mutex
		shards    map[int32]*shard
		groups    map[string]*group    // of the classic type, and those with offsets alone
		consumers map[string]*consumer // of the consumer type
		deadlines deadlines
		counts    groupCounts
		unlocked  []func() // what applyLoop calls when it has given mu back
		closed    bool
	}
	opening sync.Mutex // one log is opened at a time; taken before mu

	committed *committed
}

// New returns a coordinator. Load brings back what an earlier life left.
func New(o Options) *Groups {
	g := &Groups{opts: o.withDefaults(), committed: newCommitted()}
	g.ctx, g.cancel = context.WithCancel(context.Background())
	g.mu.shards, g.mu.groups, g.mu.consumers = map[int32]*shard{}, map[string]*group{}, map[string]*consumer{}
	g.mu.deadlines.fire = func() {
		g.mu.Lock()
		defer g.mu.Unlock()
		if !g.mu.closed {
			g.mu.deadlines.run()
		}
	}
	g.wg.Add(1)
	go func() {
		defer g.wg.Done()
		g.committed.applyLoop(g.ctx, g.apply)
	}()
	return g
}

// Load opens every partition of the offsets topic and replays it. It is called at start when the topic exists. The groups of a partition that cannot be read are not
// served, which the log says; all others are.
func (g *Groups) Load(ctx context.Context) {
	for p := range g.opts.Partitions {
		if _, err := g.shard(ctx, p); err != nil {
			g.opts.Logger.Error("a partition of the offsets topic cannot be read: its groups are not served", "partition", p, "error", err)
		}
	}
}

// shard returns a partition's state, which it loads the first time.
func (g *Groups) shard(ctx context.Context, partition int32) (*shard, error) {
	g.mu.Lock()
	s := g.mu.shards[partition]
	g.mu.Unlock()
	if s != nil {
		return s, nil
	}
	g.opening.Lock()
	defer g.opening.Unlock()
	g.mu.Lock()
	s = g.mu.shards[partition]
	g.mu.Unlock()
	if s != nil {
		return s, nil
	}
	log, err := g.opts.Log(ctx, partition)
	if err != nil {
		return nil, err
	}
	s = newShard(log)
	if err := log.Replay(ctx, s.replay); err != nil {
		return nil, err
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.mu.shards[partition] = s
	for name, d := range s.groups {
		if d.consumer != nil {
			g.restoreConsumer(name, s)
		} else {
			g.mu.groups[name] = g.restored(name, s, d)
		}
	}
	return s, nil
}

// PartitionFor is the partition of the offsets topic that a group belongs to: as Kafka's, by Java's hash of its name.
func (g *Groups) PartitionFor(name string) int32 { return partitionOf(name, g.opts.Partitions) }

// partitionOf is the partition, of so many, that a name belongs to: by Java's hash of it, as in Kafka.
func partitionOf(name string, partitions int32) int32 {
	h := int32(0)
	for _, c := range utf16Of(name) {
		h = 31*h + int32(c)
	}
	if h == math.MinInt32 {
		return 0
	}
	return max(h, -h) % partitions // Kafka's Utils.abs, not the mask that its partitioner of records has
}

func utf16Of(s string) []uint16 {
	var out []uint16
	for _, r := range s {
		if r >= 0x10000 {
			r -= 0x10000
			out = append(out, uint16(0xd800+(r>>10)), uint16(0xdc00+(r&0x3ff)))
			continue
		}
		out = append(out, uint16(r))
	}
	return out
}

// closedCode is what is answered where a log cannot be opened. One that is damaged has no coordinator, as in Kafka: clients look for another, and hear so.
func closedCode(err error) wire.Code {
	if errors.Is(err, storage.ErrDamaged) {
		return wire.NotCoordinator
	}
	return wire.CoordinatorNotAvailable
}

// enter finds the shard of a group and locks; the caller unlocks when code is None.
func (g *Groups) enter(name string) (*shard, wire.Code) {
	s, err := g.shard(g.ctx, g.PartitionFor(name))
	if err != nil {
		if g.ctx.Err() == nil && !errors.Is(err, storage.ErrOffline) { // which was told when it was found, and clients ask again and again
			g.opts.Logger.Error("the log of a group's partition cannot be opened", "group", name, "error", err)
		}
		return nil, closedCode(err)
	}
	g.mu.Lock()
	if g.mu.closed || s.broken {
		g.mu.Unlock()
		return nil, wire.CoordinatorNotAvailable
	}
	return s, wire.None
}

// write appends records to a group's log. then is called with mu held, from applyLoop, when they are committed and applied, or could not be.
func (g *Groups) write(s *shard, list []entry, then func(wire.Code)) {
	g.writeFor(s, noTxn, nil, list, then)
}

// writeFor is write within a transaction that v verifies, or within none. What the records say of groups is applied when they are in the log, so that the next
// request decides on it; nobody is answered, and no offset seen, before they are committed.
func (g *Groups) writeFor(s *shard, txn Txn, v *storage.Verification, list []entry, then func(wire.Code)) {
	g.append(s, txn, v, list, func() {
		for _, e := range list {
			if !e.isOffset {
				s.applyGroup(e)
			}
		}
	}, then)
}

// append appends records; appended is called when they are in the log, then when they are committed or could not be written.
func (g *Groups) append(s *shard, txn Txn, v *storage.Verification, list []entry, appended func(), then func(wire.Code)) {
	var base record.Offset // set before mu is released, so before anything is applied
	last := &tail{}
	inLog := false
	g.writes.Add(1)
	later := func(err error) {
		g.later(func() {
			defer g.writes.Done()
			if s.gone {
				err = storage.ErrRemoved
			}
			for i, e := range list {
				if err == nil && e.isOffset {
					s.applyOffset(e, base+record.Offset(i), txn.ID)
				}
			}
			if s.broken = s.broken || err != nil && inLog; s.tail == last {
				s.tail = nil
			}
			code := g.codeOf(err)
			g.mu.counts.written(list, code)
			then(code)
			for i, e := range list {
				if !s.gone && (i == 0 || e.group != list[i-1].group) {
					g.settle(s, e.group)
				}
			}
			last.run(code)
			if errors.Is(err, storage.ErrRemoved) {
				g.forget(s)
			}
		})
	}
	batch, err := batchOf(list, txn)
	if err == nil {
		if txn.ID == record.NoProducer {
			base, err = s.log.Append(batch, later)
		} else {
			base, err = s.log.AppendTxn(batch, v, later)
		}
	}
	if err != nil {
		later(err)
		return
	}
	inLog, s.tail = true, last
	appended()
}

// tail are those who wait for a write of somebody else.
type tail struct{ waiting []func(wire.Code) }

func (t *tail) run(code wire.Code) {
	for _, fn := range t.waiting {
		fn(code)
	}
}

// afterWrites calls fn when all that was decided so far is committed: what an answer shows must not be lost.
func (g *Groups) afterWrites(s *shard, fn func(wire.Code)) {
	if s.tail == nil {
		fn(wire.None)
		return
	}
	s.tail.waiting = append(s.tail.waiting, fn)
}

// codeOf is what a failed write is answered with.
func (g *Groups) codeOf(err error) wire.Code {
	switch {
	case err == nil:
		return wire.None
	case errors.Is(err, storage.ErrRemoved):
		return wire.NotCoordinator // of what was; the next request begins anew
	case errors.Is(err, storage.ErrProducerFenced):
		return wire.InvalidProducerEpoch
	case errors.Is(err, storage.ErrTxnState):
		return wire.InvalidTxnState
	case errors.Is(err, storage.ErrDamaged): // told when it was found
		return closedCode(err)
	}
	g.opts.Logger.Error("the group coordinator could not write", "error", err)
	return wire.CoordinatorNotAvailable
}

// settle makes the groups that live those that the log knows, and those that somebody is in.
func (g *Groups) settle(s *shard, name string) {
	switch gr, d := g.mu.groups[name], s.groups[name]; {
	case g.mu.consumers[name] != nil || d != nil && d.consumer != nil:
	case gr == nil && d != nil: // a commit that was on its way when the group was removed
		g.mu.groups[name] = g.restored(name, s, d)
	}
}

// Forget drops every group and offset: the topic that kept them was deleted. Who waits is told to look for the coordinator, and the next request makes the topic anew.
func (g *Groups) Forget() {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, s := range g.mu.shards {
		g.forget(s)
	}
}

// forget drops a shard whose log is gone, and its groups.
func (g *Groups) forget(s *shard) {
	if s.gone {
		return
	}
	s.gone, s.broken = true, true
	maps.DeleteFunc(g.mu.shards, func(_ int32, other *shard) bool { return other == s })
	for _, gr := range g.mu.groups {
		if gr.shard == s {
			g.retire(gr, wire.NotCoordinator)
		}
	}
	for _, c := range g.mu.consumers {
		if c.shard == s {
			g.endConsumer(c)
		}
	}
}

// later has fn called by applyLoop, with mu held.
func (g *Groups) later(fn func()) { g.committed.later(fn) }

func (g *Groups) apply(list []func()) {
	g.mu.Lock()
	for _, fn := range list {
		fn()
	}
	unlocked := g.mu.unlocked
	g.mu.unlocked = nil
	g.mu.Unlock()
	for _, fn := range unlocked {
		fn()
	}
}

// Close answers parked requests with COORDINATOR_NOT_AVAILABLE, waits for what is on its way to the logs, which is answered too, and ends the goroutines. Idempotent.
func (g *Groups) Close() error {
	g.mu.Lock()
	if !g.mu.closed {
		g.mu.closed = true
		if g.mu.deadlines.timer != nil {
			g.mu.deadlines.timer.Stop()
		}
		for _, gr := range g.mu.groups {
			for _, m := range gr.members {
				m.answerJoin(gr, failedJoin(m.id, wire.CoordinatorNotAvailable))
				m.answerSync(&kmsg.SyncGroupResponse{ErrorCode: int16(wire.CoordinatorNotAvailable)})
			}
		}
	}
	g.mu.Unlock()
	g.writes.Wait()
	g.cancel()
	g.wg.Wait()
	return nil
}

// newMemberID makes an id as Kafka does: client id, or instance id, and a UUID.
func newMemberID(prefix string) (string, error) {
	var b [16]byte
	if _, err := rand.Read(b[:]); err != nil {
		return "", errors.Join(errors.New("no random bytes"), err)
	}
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return fmt.Sprintf("%s-%x-%x-%x-%x-%x", prefix, b[:4], b[4:6], b[6:8], b[8:10], b[10:]), nil
}

func failedJoin(member string, code wire.Code) *kmsg.JoinGroupResponse {
	r := kmsg.NewPtrJoinGroupResponse()
	r.ErrorCode, r.Generation, r.MemberID = int16(code), -1, member
	return r
}
