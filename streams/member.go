package streams

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/milldam/milldam/core/client"
)

const (
	// pollRecords bounds what is taken from the client at once.
	pollRecords = 10_000
	// producerLinger is how long a batch waits for more records; the next commit waits for it.
	producerLinger = time.Millisecond
	// fetchMaxBytes bounds one fetch, and with it what the client buffers for one broker.
	fetchMaxBytes = 16 << 20
	// fetchWait is how long the broker waits for a first record.
	fetchWait = 500 * time.Millisecond
	// askedAge and knownAge are how old the client's knowledge of topics may be: where it asks whether they exist yet, and where it
	// reads and writes. The client's own default of 5 s would be the longest part of a start.
	askedAge = 20 * time.Millisecond
	knownAge = 250 * time.Millisecond
)

// route is where the records of an assigned partition go.
type route struct {
	lane     *lane
	buffered atomic.Int64
	paused   atomic.Bool
	position atomic.Int64 // of the next record to be processed
	end      atomic.Int64 // of the log, as far as is known
}

// member is one membership of a worker in the group: a client, and lanes with the tasks that it was given. It ends when the worker is
// told to stop, or with the first error; a transaction that failed ends it too, and the worker then begins another one.
type member struct {
	w      *Worker
	plan   *plan
	client *kgo.Client     // reads and commits; without transactions it also writes
	hard   context.Context // ends when what is not committed is given up
	kill   context.CancelFunc
	ended  chan struct{} // closed when the lanes are to drain
	lanes  []*lane
	// takingOver is the number of lanes that have not ended the transactions of their predecessors yet, and tookOver is closed when it is 0.
	takingOver atomic.Int32
	tookOver   chan struct{}

	mu struct {
		sync.Mutex
		err    error
		routes map[Source]*route
		tasks  map[taskID]*lane
	}
}

// drainTimeout is how long a membership that ends lets lanes finish what they do and commit, before it cancels them.
const drainTimeout = 4 * time.Second

func newMember(w *Worker, p *plan) (*member, error) {
	m := &member{w: w, plan: p, ended: make(chan struct{}), tookOver: make(chan struct{})}
	m.takingOver.Store(int32(w.options.Lanes))
	m.mu.routes, m.mu.tasks = map[Source]*route{}, map[taskID]*lane{}
	m.hard, m.kill = context.WithCancel(w.hard)
	for i := range w.options.Lanes {
		l, err := newLane(m, i)
		if err != nil {
			m.close()
			return nil, err
		}
		m.lanes = append(m.lanes, l)
	}
	var err error
	if m.client, err = client.New(w.options.Client, m.clientOptions()...); err != nil {
		m.close()
		return nil, err
	}
	return m, nil
}

func (m *member) close() {
	m.kill()
	if m.client != nil {
		m.client.CloseAllowingRebalance()
	}
	for _, l := range m.lanes {
		if l.txn != nil {
			l.txn.client.Close()
		}
	}
}

// run works until ctx ends, which is no error, or until something ends the membership.
func (m *member) run(ctx context.Context) error {
	defer m.close()
	polling, stop := context.WithCancel(ctx)
	defer stop()
	var running sync.WaitGroup
	for _, l := range m.lanes {
		running.Go(l.run)
	}
	go func() {
		select {
		case <-m.ended:
			stop()
		case <-polling.Done():
		}
	}()
	m.poll(polling)
	m.drain(&running)
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.mu.err
}

// drain lets the lanes commit what they have done, and waits for them.
func (m *member) drain(running *sync.WaitGroup) {
	timer := time.AfterFunc(drainTimeout, m.kill)
	defer timer.Stop()
	for _, l := range m.lanes {
		l.command(func() { l.draining = true })
	}
	running.Wait()
	m.mu.Lock()
	defer m.mu.Unlock()
	clear(m.mu.routes)
	clear(m.mu.tasks)
}

// end ends the membership because of err. Only the first error counts.
func (m *member) end(err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.mu.err == nil {
		m.mu.err = err
		close(m.ended)
	}
}

func (m *member) status() (tasks int, inputs []InputStatus) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for source, r := range m.mu.routes {
		inputs = append(inputs, InputStatus{source.Topic, source.Partition, r.position.Load(), r.end.Load()})
	}
	return len(m.mu.tasks), inputs
}

// clientOptions are those of the client that is the member of the group, and that also writes.
func (m *member) clientOptions() []kgo.Opt {
	var topics []string
	for _, sub := range m.plan.subs {
		for _, n := range sub.inputs {
			topics = append(topics, m.plan.topic(n))
		}
	}
	isolation := kgo.ReadCommitted()
	if m.w.options.ReadUncommitted {
		isolation = kgo.ReadUncommitted()
	}
	opts := []kgo.Opt{
		kgo.ConsumerGroup(m.w.options.ApplicationID),
		kgo.ConsumeTopics(topics...),
		kgo.Balancers(balancer{m.plan, m.end}),
		kgo.SessionTimeout(m.w.options.SessionTimeout),
		kgo.DisableAutoCommit(),
		kgo.BlockRebalanceOnPoll(),
		kgo.OnPartitionsAssigned(m.assigned),
		kgo.OnPartitionsRevoked(func(ctx context.Context, _ *kgo.Client, lost map[string][]int32) { m.release(lost, true) }),
		kgo.OnPartitionsLost(func(ctx context.Context, _ *kgo.Client, lost map[string][]int32) { m.release(lost, false) }),
		kgo.AdjustFetchOffsetsFn(m.tablesFromStart),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
		// With the markers of transactions the position reaches the end of the log also where the last records are markers.
		kgo.KeepControlRecords(),
		kgo.FetchIsolationLevel(isolation),
		kgo.FetchMaxBytes(fetchMaxBytes),
		kgo.FetchMaxWait(fetchWait),
	}
	if m.w.options.InstanceID != "" {
		opts = append(opts, kgo.InstanceID(m.w.options.InstanceID))
	}
	return append(opts, m.w.producerOptions()...)
}

// producerOptions are those of a client that writes.
func (w *Worker) producerOptions() []kgo.Opt {
	return []kgo.Opt{
		kgo.MetadataMinAge(knownAge),
		kgo.ProducerLinger(producerLinger),
		kgo.ProducerBatchMaxBytes(w.options.MaxBatchBytes),
		kgo.RecordPartitioner(kgo.BasicConsistentPartitioner(newPartitioner)),
	}
}

// newPartitioner chooses the partitions of one topic: that which the task chose, else by key, else one after the other.
func newPartitioner(string) func(*kgo.Record, int) int {
	turn := 0
	return func(r *kgo.Record, n int) int {
		switch {
		case r.Partition >= 0:
			return int(r.Partition)
		case r.Key != nil:
			return int(partitionOf(r.Key, int32(n)))
		}
		turn++
		return turn % n
	}
}

// tablesFromStart lets tables be read from their start: they are kept in memory.
func (m *member) tablesFromStart(_ context.Context, offsets map[string]map[int32]kgo.Offset) (map[string]map[int32]kgo.Offset, error) {
	for _, sub := range m.plan.subs {
		for _, n := range sub.inputs {
			if n.kind != kindTable {
				continue
			}
			for partition := range offsets[n.topic] {
				offsets[n.topic][partition] = kgo.NewOffset().AtStart()
			}
		}
	}
	return offsets, nil
}

// assigned makes tasks of the partitions that the worker got. It is called by the client before it fetches them.
func (m *member) assigned(_ context.Context, _ *kgo.Client, added map[string][]int32) {
	starting := map[*lane][]taskID{}
	m.mu.Lock()
	for topic, partitions := range added {
		for _, partition := range partitions {
			source := Source{topic, partition}
			id, ok := m.plan.taskOf(source)
			if !ok {
				continue
			}
			l := m.mu.tasks[id]
			if l == nil {
				l = m.leastLoadedLocked()
				m.mu.tasks[id] = l
				starting[l] = append(starting[l], id)
			}
			m.mu.routes[source] = &route{lane: l}
		}
	}
	m.mu.Unlock()
	for l, ids := range starting {
		l.command(func() { l.start(ids) })
	}
}

func (m *member) leastLoadedLocked() *lane {
	load := map[*lane]int{}
	for _, l := range m.mu.tasks {
		load[l]++
	}
	least := m.lanes[0]
	for _, l := range m.lanes {
		if load[l] < load[least] {
			least = l
		}
	}
	return least
}

// release stops the tasks of partitions that the worker loses, and returns when they have ended. What they did is committed first
// if the worker still may.
func (m *member) release(lost map[string][]int32, commit bool) {
	stopping := map[*lane]map[taskID]bool{}
	m.mu.Lock()
	for topic, partitions := range lost {
		for _, partition := range partitions {
			delete(m.mu.routes, Source{topic, partition})
			id, ok := m.plan.taskOf(Source{topic, partition})
			if l := m.mu.tasks[id]; ok && l != nil {
				if stopping[l] == nil {
					stopping[l] = map[taskID]bool{}
				}
				stopping[l][id] = true
			}
		}
	}
	for _, ids := range stopping {
		for id := range ids {
			delete(m.mu.tasks, id)
		}
	}
	m.mu.Unlock()
	m.client.ResumeFetchPartitions(lost)
	for l, ids := range stopping {
		ended := make(chan struct{})
		l.command(func() {
			l.release(ids, commit)
			close(ended)
		})
		select {
		case <-ended:
		case <-l.ended:
		}
	}
}

// poll hands fetched records to the lanes until ctx ends.
func (m *member) poll(ctx context.Context) {
	for ctx.Err() == nil {
		fetches := m.client.PollRecords(ctx, pollRecords)
		if fetches.IsClientClosed() {
			return
		}
		fetches.EachError(func(topic string, partition int32, err error) { m.fetchFailed(ctx, topic, partition, err) })
		fetches.EachPartition(func(f kgo.FetchTopicPartition) {
			end := f.HighWatermark
			if f.LastStableOffset >= 0 {
				end = f.LastStableOffset
			}
			m.deliver(Source{f.Topic, f.Partition}, f.Records, end)
		})
		m.client.AllowRebalance()
	}
}

func (m *member) deliver(source Source, records []*kgo.Record, end int64) {
	m.mu.Lock()
	r := m.mu.routes[source]
	m.mu.Unlock()
	if r == nil {
		return
	}
	if r.buffered.Add(int64(len(records))) >= int64(m.w.options.MaxBuffered) && !r.paused.Swap(true) {
		m.client.PauseFetchPartitions(map[string][]int32{source.Topic: {source.Partition}})
	}
	m.w.metrics.Buffered.Add(int64(len(records)))
	r.lane.deliver(delivery{source, records, end})
}

// consumed lets a partition be fetched again of which enough was processed.
func (m *member) consumed(source Source, r *route, n int) {
	if r.buffered.Add(-int64(n)) <= int64(m.w.options.MaxBuffered/2) && r.paused.Swap(false) {
		m.client.ResumeFetchPartitions(map[string][]int32{source.Topic: {source.Partition}})
	}
}

// fatalFetch are errors that do not pass by themselves.
var fatalFetch = []error{kerr.FencedInstanceID, kerr.TopicAuthorizationFailed, kerr.GroupAuthorizationFailed, kerr.SaslAuthenticationFailed, kerr.InconsistentGroupProtocol}

func (m *member) fetchFailed(ctx context.Context, topic string, partition int32, err error) {
	if ctx.Err() != nil {
		return
	}
	for _, fatal := range fatalFetch {
		if errors.Is(err, fatal) {
			m.end(m.w.explain(err))
			return
		}
	}
	m.w.options.Logger.Warn("fetch", "application", m.w.options.ApplicationID, "topic", topic, "partition", partition, "error", err)
}

// explain adds to errors of the group what to do about them.
func (w *Worker) explain(err error) error {
	switch {
	case errors.Is(err, kerr.FencedInstanceID):
		return fmt.Errorf("another worker of %q has the instance id %q: give each its own: %w", w.options.ApplicationID, w.options.InstanceID, err)
	case errors.Is(err, kerr.InconsistentGroupProtocol):
		return fmt.Errorf("the group %q has members that are no streams workers: use another ApplicationID: %w", w.options.ApplicationID, err)
	}
	return fmt.Errorf("application %s: %w", w.options.ApplicationID, err)
}

// heartbeat asks whether the worker is still the member that it was.
func (m *member) heartbeat() error {
	ctx, cancel := context.WithTimeout(m.hard, askTimeout)
	defer cancel()
	req := kmsg.NewPtrHeartbeatRequest()
	req.Group = m.w.options.ApplicationID
	req.MemberID, req.Generation = m.client.GroupMetadata()
	if instance := m.w.options.InstanceID; instance != "" {
		req.InstanceID = &instance
	}
	resp, err := req.RequestWith(ctx, m.w.asker)
	if err != nil {
		return err
	}
	return kerr.ErrorForCode(resp.ErrorCode)
}
