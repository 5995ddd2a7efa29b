package streams

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/milldam/milldam/core/client"
)

// startBackoff and startBackoffMax are the times between attempts to start tasks.
const (
	startBackoff    = 50 * time.Millisecond
	startBackoffMax = 5 * time.Second
)

// start makes tasks, restores their stores, and sets where they go on. Records that come meanwhile wait in the inbox.
func (l *lane) start(ids []taskID) {
	ctx := l.m.hard
	if _, err := l.commit(ctx); err != nil { // the start may take longer than a transaction may be open
		l.failed = err
		return
	}
	slices.SortFunc(ids, func(a, b taskID) int {
		if a.sub != b.sub {
			return a.sub - b.sub
		}
		return int(a.partition - b.partition)
	})
	for wait := startBackoff; ; wait = min(2*wait, startBackoffMax) {
		tasks, err := l.restore(ctx, ids)
		if err == nil {
			l.own(tasks)
			return
		}
		if ctx.Err() != nil {
			return
		}
		if errors.As(err, new(*damagedError)) || isLasting(err) {
			l.failed = err
			return
		}
		l.w.options.Logger.Warn("start tasks", "application", l.w.options.ApplicationID, "error", err)
		if sleep(ctx, wait) != nil {
			return
		}
	}
}

// damagedError is that what is stored for a task cannot be read: trying again would not help.
type damagedError struct{ err error }

func (e *damagedError) Error() string {
	return fmt.Sprintf("%v: what is stored does not fit the program; go back to the version that wrote it, or use another ApplicationID to begin again", e.err)
}

func (e *damagedError) Unwrap() error { return e.err }

func (l *lane) own(tasks []*task) {
	l.m.mu.Lock()
	defer l.m.mu.Unlock()
	for _, t := range tasks {
		l.tasks = append(l.tasks, t)
		for _, in := range t.inputs {
			r := l.m.mu.routes[*in.source]
			if r == nil {
				r = &route{lane: l} // taken away already; the command that ends the task is in the inbox
			}
			r.position.Store(in.position)
			r.end.Store(in.end)
			l.inputs[*in.source] = &laneInput{input: in, task: t, route: r}
		}
	}
}

// restore makes tasks with the state and the offsets of their last commit.
func (l *lane) restore(ctx context.Context, ids []taskID) ([]*task, error) {
	env := environment{metrics: &l.w.metrics, now: time.Now, sleep: sleep, atomic: l.txn != nil}
	var tasks []*task
	topics := map[string]bool{}
	for _, id := range ids {
		t := newTask(l.m.plan, id, env)
		tasks = append(tasks, t)
		for _, in := range t.inputs {
			topics[in.source.Topic] = true
		}
	}
	asked, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	committed, err := l.w.committedOffsets(asked, tasks)
	if err != nil {
		return nil, err
	}
	starts, err := l.w.admin.ListStartOffsets(asked, keysOf(topics)...)
	if err = errors.Join(err, starts.Error()); err != nil {
		return nil, fmt.Errorf("list offsets: %w", err)
	}
	ends, err := l.w.endOffsets(asked, topics)
	if err != nil {
		return nil, err
	}
	if err := l.restoreStores(ctx, tasks); err != nil {
		return nil, err
	}
	for _, t := range tasks {
		for _, in := range t.inputs {
			first, _ := starts.Lookup(in.source.Topic, in.source.Partition)
			if err := t.resume(in, committed[*in.source], first.Offset, ends[*in.source]); err != nil {
				return nil, &damagedError{err}
			}
		}
		t.restored()
	}
	return tasks, nil
}

// committedOffsets asks for what is committed of the inputs of tasks. Offsets in a transaction that has not ended are no answer yet, and an
// error that passes when it has.
func (w *Worker) committedOffsets(ctx context.Context, tasks []*task) (map[Source]*mark, error) {
	resp, err := offsetFetch(w.options.ApplicationID, tasks).RequestWith(ctx, w.asker)
	if err == nil && len(resp.Groups) != 1 {
		err = fmt.Errorf("%d groups in the answer", len(resp.Groups))
	}
	if err == nil {
		err = kerr.ErrorForCode(resp.Groups[0].ErrorCode)
	}
	if err != nil {
		return nil, fmt.Errorf("fetch committed offsets: %w", err)
	}
	committed := map[Source]*mark{}
	for _, t := range resp.Groups[0].Topics {
		for _, p := range t.Partitions {
			if err := kerr.ErrorForCode(p.ErrorCode); err != nil {
				return nil, fmt.Errorf("fetch the committed offset of %s-%d: %w", t.Topic, p.Partition, err)
			}
			if p.Offset < 0 {
				continue // nothing is committed
			}
			m := &mark{offset: p.Offset}
			if p.Metadata != nil {
				m.metadata = *p.Metadata
			}
			committed[Source{t.Topic, p.Partition}] = m
		}
	}
	return committed, nil
}

// offsetFetch asks for the offsets of these tasks only: those of others may be in transactions.
func offsetFetch(application string, tasks []*task) *kmsg.OffsetFetchRequest {
	partitions := map[string][]int32{}
	for _, t := range tasks {
		for _, in := range t.inputs {
			partitions[in.source.Topic] = append(partitions[in.source.Topic], in.source.Partition)
		}
	}
	group := kmsg.NewOffsetFetchRequestGroup()
	group.Group = application
	for topic, ps := range partitions {
		t := kmsg.NewOffsetFetchRequestGroupTopic()
		t.Topic, t.Partitions = topic, ps
		group.Topics = append(group.Topics, t)
	}
	req := kmsg.NewPtrOffsetFetchRequest()
	req.RequireStable = true
	req.Groups = append(req.Groups, group)
	return req
}

// endOffsets asks for the ends of the logs of topics. What is in transactions that have not ended lies before them: it may be committed
// already, and readers only do not know it yet.
func (w *Worker) endOffsets(ctx context.Context, topics map[string]bool) (map[Source]int64, error) {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	listed, err := w.admin.ListEndOffsets(ctx, keysOf(topics)...)
	if err = errors.Join(err, listed.Error()); err != nil {
		return nil, fmt.Errorf("list offsets: %w", err)
	}
	ends := map[Source]int64{}
	listed.Each(func(o kadm.ListedOffset) { ends[Source{o.Topic, o.Partition}] = o.Offset })
	return ends, nil
}

func keysOf(set map[string]bool) []string {
	var keys []string
	for k := range set {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

// changelog is a store to be restored.
type changelog struct {
	task  *task
	store taskStore
	end   int64
}

// restoreStores reads the changelogs of tasks from start to end.
func (l *lane) restoreStores(ctx context.Context, tasks []*task) error {
	logs, offsets, err := l.changelogs(ctx, tasks)
	if err != nil || len(logs) == 0 {
		return err
	}
	began := time.Now()
	c, err := client.New(l.w.options.Client, kgo.ConsumePartitions(offsets), kgo.KeepControlRecords(),
		kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.FetchMaxBytes(fetchMaxBytes), kgo.MetadataMinAge(knownAge))
	if err != nil {
		return err
	}
	defer c.Close()
	before := l.w.metrics.Restored.Load()
	for len(logs) > 0 {
		fetches := c.PollFetches(ctx)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if errs := fetches.Errors(); len(errs) > 0 {
			return fmt.Errorf("restore from %s-%d: %w", errs[0].Topic, errs[0].Partition, errs[0].Err)
		}
		var failed error
		fetches.EachPartition(func(f kgo.FetchTopicPartition) {
			source := Source{f.Topic, f.Partition}
			log, ok := logs[source]
			if !ok || len(f.Records) == 0 || failed != nil {
				return
			}
			failed = log.task.restoreStore(log.store, f.Records)
			if f.Records[len(f.Records)-1].Offset+1 >= log.end {
				delete(logs, source)
			}
		})
		if failed != nil {
			return &damagedError{failed}
		}
	}
	l.w.options.Logger.Info("restored", "application", l.w.options.ApplicationID, "tasks", len(tasks),
		"records", l.w.metrics.Restored.Load()-before, "took", time.Since(began).Round(time.Millisecond))
	return nil
}

// changelogs returns the changelogs that have something in them.
func (l *lane) changelogs(ctx context.Context, tasks []*task) (map[Source]changelog, map[string]map[int32]kgo.Offset, error) {
	topics := map[string]bool{}
	for _, t := range tasks {
		for _, s := range t.stores {
			topics[s.topic] = true
		}
	}
	if len(topics) == 0 {
		return nil, nil, nil
	}
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	starts, err := l.w.admin.ListStartOffsets(ctx, keysOf(topics)...)
	if err = errors.Join(err, starts.Error()); err != nil {
		return nil, nil, fmt.Errorf("list offsets of changelogs: %w", err)
	}
	ends, err := l.w.endOffsets(ctx, topics)
	if err != nil {
		return nil, nil, err
	}
	logs, offsets := map[Source]changelog{}, map[string]map[int32]kgo.Offset{}
	for _, t := range tasks {
		for _, s := range t.stores {
			source := Source{s.topic, t.id.partition}
			first, _ := starts.Lookup(source.Topic, source.Partition)
			if ends[source] <= first.Offset {
				continue
			}
			logs[source] = changelog{t, s, ends[source]}
			if offsets[s.topic] == nil {
				offsets[s.topic] = map[int32]kgo.Offset{}
			}
			offsets[s.topic][t.id.partition] = kgo.NewOffset().AtStart()
		}
	}
	return logs, offsets, nil
}

// release ends tasks. With commit what they did is committed first; without, another worker has them already.
func (l *lane) release(ids map[taskID]bool, commit bool) {
	var err error
	if commit {
		_, err = l.commit(l.m.hard)
	}
	if err == nil && l.txn != nil && l.txn.open {
		// What they wrote cannot leave the transaction, which is not to be committed without their offsets.
		err = &transactionError{errReleased}
	}
	if err != nil && l.failed == nil {
		l.failed = err
	}
	l.tasks = slices.DeleteFunc(l.tasks, func(t *task) bool {
		if !ids[t.id] {
			return false
		}
		for _, in := range t.inputs {
			l.w.metrics.Buffered.Add(-int64(len(in.queue)))
			delete(l.inputs, *in.source)
		}
		return true
	})
}
