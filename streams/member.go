package streams

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
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

// clientOptions are those of the client that is the member of the group, and that also writes.
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
		kgo.MetadataMinAge(knownAge),
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
