package streams

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

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
	// drainTimeout is how long Close lets lanes finish what they do and commit, before it cancels them.
	drainTimeout = 4 * time.Second
)

// Worker runs tasks of a topology as a member of its consumer group.
type Worker struct {
	topology *Topology
	options  Options
	metrics  Metrics
	plan     *plan
	client   *kgo.Client     // reads, writes, commits
	admin    *kadm.Client    // asks, creates and purges
	hard     context.Context // ends when all must stop, and what is not committed is given up
	kill     context.CancelFunc
	stopping chan struct{} // closed when the worker is to drain
	stop     func()
	done     chan struct{}
	lanes    []*lane

	mu struct {
		sync.Mutex
		err    error
		status string
		routes map[Source]*route
		tasks  map[taskID]*lane
	}
}

// route is where the records of an assigned partition go.
type route struct {
	lane     *lane
	buffered atomic.Int64
	paused   atomic.Bool
	position atomic.Int64 // of the next record to be processed
	end      atomic.Int64 // of the log, as far as is known
}

// Start starts a worker. It returns at once: topics that do not exist yet and a cluster that does not answer are waited for. The
// worker drains and stops when ctx ends, or when Close is called; it stops by itself when a record fails, see Wait.
func Start(ctx context.Context, t *Topology, o Options) (*Worker, error) {
	o = o.withDefaults()
	if err := o.Validate(); err != nil {
		return nil, err
	}
	if err := t.Build(); err != nil {
		return nil, err
	}
	admin, err := client.NewAdmin(o.Client)
	if err != nil {
		return nil, err
	}
	w := &Worker{topology: t, options: o, admin: admin, stopping: make(chan struct{}), done: make(chan struct{})}
	w.hard, w.kill = context.WithCancel(context.WithoutCancel(ctx))
	w.stop = sync.OnceFunc(func() { close(w.stopping) })
	w.mu.routes, w.mu.tasks = map[Source]*route{}, map[taskID]*lane{}
	w.setStatus("starting")
	detach := context.AfterFunc(ctx, w.stop)
	go func() {
		defer detach()
		w.run()
	}()
	return w, nil
}

// Run is Start and Wait: it returns when ctx has ended and all is committed, or when a record failed.
func (t *Topology) Run(ctx context.Context, o Options) error {
	w, err := Start(ctx, t, o)
	if err != nil {
		return err
	}
	return w.Wait()
}

// Wait waits until the worker has stopped, and returns why if it was not told to.
func (w *Worker) Wait() error {
	<-w.done
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.mu.err
}

// Close lets the worker finish the records it is at and commit, and returns when it has stopped. Without an instance id the
// worker leaves its group, with one its tasks are kept for it.
func (w *Worker) Close() error {
	w.stop()
	return w.Wait()
}

// Metrics are the counts of this worker.
func (w *Worker) Metrics() *Metrics { return &w.metrics }

// Status says what a worker is doing.
type Status struct {
	// State is "running", or what the worker is waiting for.
	State   string
	Tasks   int
	Inputs  []InputStatus
	Stopped bool
}

// InputStatus is how far a partition is processed.
type InputStatus struct {
	Topic     string
	Partition int32
	Position  int64 // of the next record to be processed
	End       int64 // of the log, as far as is known
}

// Status returns what the worker is doing now.
func (w *Worker) Status() Status {
	w.mu.Lock()
	defer w.mu.Unlock()
	s := Status{State: w.mu.status, Tasks: len(w.mu.tasks)}
	for source, r := range w.mu.routes {
		s.Inputs = append(s.Inputs, InputStatus{source.Topic, source.Partition, r.position.Load(), r.end.Load()})
	}
	select {
	case <-w.done:
		s.Stopped = true
	default:
	}
	return s
}

func (w *Worker) setStatus(s string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.mu.status = s
}

// fail stops the worker because of err. Only the first error counts.
func (w *Worker) fail(err error) {
	w.mu.Lock()
	if w.mu.err == nil {
		w.mu.err = err
		w.mu.status = err.Error()
	}
	w.mu.Unlock()
	w.stop()
}

// run is the goroutine of the worker.
func (w *Worker) run() {
	defer close(w.done)
	defer w.kill()
	defer w.admin.Close()
	soft, cancel := context.WithCancel(w.hard)
	defer cancel()
	go func() {
		select {
		case <-w.stopping:
			cancel()
		case <-soft.Done():
		}
	}()
	plan, err := w.makePlan(soft)
	if err != nil {
		if soft.Err() == nil {
			w.fail(err)
		}
		return
	}
	w.plan = plan
	if w.client, err = client.New(w.options.Client, w.clientOptions()...); err != nil {
		w.fail(err)
		return
	}
	defer w.client.CloseAllowingRebalance()
	lanes := w.startLanes()
	w.setStatus("running")
	w.poll(soft)
	w.drain(lanes)
}

func (w *Worker) startLanes() *sync.WaitGroup {
	lanes := &sync.WaitGroup{}
	for range w.options.Lanes {
		l := newLane(w)
		w.lanes = append(w.lanes, l)
		lanes.Go(l.run)
	}
	return lanes
}

// drain lets the lanes commit what they have done, and waits for them.
func (w *Worker) drain(lanes *sync.WaitGroup) {
	timer := time.AfterFunc(drainTimeout, w.kill)
	defer timer.Stop()
	for _, l := range w.lanes {
		l.command(func() { l.draining = true })
	}
	lanes.Wait()
	w.mu.Lock()
	clear(w.mu.routes)
	clear(w.mu.tasks)
	w.mu.Unlock()
}

func (w *Worker) clientOptions() []kgo.Opt {
	var topics []string
	for _, sub := range w.plan.subs {
		for _, n := range sub.inputs {
			topics = append(topics, w.plan.topic(n))
		}
	}
	opts := []kgo.Opt{
		kgo.ConsumerGroup(w.options.ApplicationID),
		kgo.ConsumeTopics(topics...),
		kgo.Balancers(balancer{w.plan, w.fail}),
		kgo.SessionTimeout(w.options.SessionTimeout),
		kgo.DisableAutoCommit(),
		kgo.BlockRebalanceOnPoll(),
		kgo.OnPartitionsAssigned(w.assigned),
		kgo.OnPartitionsRevoked(func(ctx context.Context, _ *kgo.Client, lost map[string][]int32) { w.release(lost, true) }),
		kgo.OnPartitionsLost(func(ctx context.Context, _ *kgo.Client, lost map[string][]int32) { w.release(lost, false) }),
		kgo.AdjustFetchOffsetsFn(w.tablesFromStart),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
		// With the markers of transactions the position reaches the end of the log also where the last records are markers.
		kgo.KeepControlRecords(),
		kgo.FetchIsolationLevel(kgo.ReadCommitted()),
		kgo.FetchMaxBytes(fetchMaxBytes),
		kgo.FetchMaxWait(fetchWait),
		kgo.ProducerLinger(producerLinger),
		kgo.ProducerBatchMaxBytes(w.options.MaxBatchBytes),
		kgo.RecordPartitioner(kgo.BasicConsistentPartitioner(newPartitioner)),
	}
	if w.options.InstanceID != "" {
		opts = append(opts, kgo.InstanceID(w.options.InstanceID))
	}
	return opts
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
func (w *Worker) tablesFromStart(_ context.Context, offsets map[string]map[int32]kgo.Offset) (map[string]map[int32]kgo.Offset, error) {
	for _, sub := range w.plan.subs {
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
func (w *Worker) assigned(_ context.Context, _ *kgo.Client, added map[string][]int32) {
	starting := map[*lane][]taskID{}
	w.mu.Lock()
	for topic, partitions := range added {
		for _, partition := range partitions {
			source := Source{topic, partition}
			id, ok := w.plan.taskOf(source)
			if !ok {
				continue
			}
			l := w.mu.tasks[id]
			if l == nil {
				l = w.leastLoadedLocked()
				w.mu.tasks[id] = l
				starting[l] = append(starting[l], id)
			}
			w.mu.routes[source] = &route{lane: l}
		}
	}
	w.mu.Unlock()
	for l, ids := range starting {
		l.command(func() { l.start(ids) })
	}
}

func (w *Worker) leastLoadedLocked() *lane {
	load := map[*lane]int{}
	for _, l := range w.mu.tasks {
		load[l]++
	}
	least := w.lanes[0]
	for _, l := range w.lanes {
		if load[l] < load[least] {
			least = l
		}
	}
	return least
}

// release stops the tasks of partitions that the worker loses, and returns when they have ended. What they did is committed first
// if the worker still may.
func (w *Worker) release(lost map[string][]int32, commit bool) {
	stopping := map[*lane]map[taskID]bool{}
	w.mu.Lock()
	for topic, partitions := range lost {
		for _, partition := range partitions {
			delete(w.mu.routes, Source{topic, partition})
			id, ok := w.plan.taskOf(Source{topic, partition})
			if l := w.mu.tasks[id]; ok && l != nil {
				if stopping[l] == nil {
					stopping[l] = map[taskID]bool{}
				}
				stopping[l][id] = true
			}
		}
	}
	for _, ids := range stopping {
		for id := range ids {
			delete(w.mu.tasks, id)
		}
	}
	w.mu.Unlock()
	w.client.ResumeFetchPartitions(lost)
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
func (w *Worker) poll(ctx context.Context) {
	for ctx.Err() == nil {
		fetches := w.client.PollRecords(ctx, pollRecords)
		if fetches.IsClientClosed() {
			return
		}
		fetches.EachError(func(topic string, partition int32, err error) { w.fetchFailed(ctx, topic, partition, err) })
		fetches.EachPartition(func(f kgo.FetchTopicPartition) {
			end := f.HighWatermark
			if f.LastStableOffset >= 0 {
				end = f.LastStableOffset
			}
			w.deliver(Source{f.Topic, f.Partition}, f.Records, end)
		})
		w.client.AllowRebalance()
	}
}

func (w *Worker) deliver(source Source, records []*kgo.Record, end int64) {
	w.mu.Lock()
	r := w.mu.routes[source]
	w.mu.Unlock()
	if r == nil {
		return
	}
	if r.buffered.Add(int64(len(records))) >= int64(w.options.MaxBuffered) && !r.paused.Swap(true) {
		w.client.PauseFetchPartitions(map[string][]int32{source.Topic: {source.Partition}})
	}
	w.metrics.Buffered.Add(int64(len(records)))
	r.lane.deliver(delivery{source, records, end})
}

// consumed lets a partition be fetched again of which enough was processed.
func (w *Worker) consumed(source Source, r *route, n int) {
	if r.buffered.Add(-int64(n)) <= int64(w.options.MaxBuffered/2) && r.paused.Swap(false) {
		w.client.ResumeFetchPartitions(map[string][]int32{source.Topic: {source.Partition}})
	}
}

// fatalFetch are errors that do not pass by themselves.
var fatalFetch = []error{kerr.FencedInstanceID, kerr.TopicAuthorizationFailed, kerr.GroupAuthorizationFailed, kerr.SaslAuthenticationFailed, kerr.InconsistentGroupProtocol}

func (w *Worker) fetchFailed(ctx context.Context, topic string, partition int32, err error) {
	if ctx.Err() != nil {
		return
	}
	for _, fatal := range fatalFetch {
		if errors.Is(err, fatal) {
			w.fail(w.explain(err))
			return
		}
	}
	w.options.Logger.Warn("fetch", "application", w.options.ApplicationID, "topic", topic, "partition", partition, "error", err)
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
