package worker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/milldam/milldam/connect"
	"github.com/milldam/milldam/core/client"
)

// Transform applies the steps of a pipeline to a record; keep is false when one dropped it.
type Transform func(connect.Record) (out connect.Record, keep bool, err error)

// SinkOptions say what a SinkTask reads, and where it goes.
type SinkOptions struct {
	Pipeline string
	Client   client.Options
	Group    string
	// InstanceID, when set, is the task's stable name in the group: a restarted one takes its place again without a rebalance.
	InstanceID string
	Topics     []string
	// ReadUncommitted also reads what is in transactions that have not ended or were aborted.
	ReadUncommitted bool
	Sink            connect.Sink
	Transform       Transform // nil: records as they are
	Errors          Errors
	// MemoryBytes is what the sink and the batches before it may hold.
	MemoryBytes int64
	Logger      *slog.Logger
}

const (
	// tickInterval is how often a sink is asked to flush what is due, and offsets are committed.
	tickInterval = 500 * time.Millisecond
	// stopPatience is how long a task that is told to stop may take to make durable what it holds.
	stopPatience = 2 * time.Second
	// commitPatience bounds one commit; what is not committed is committed by the next.
	commitPatience = 5 * time.Second
)

// SinkTask is a member of a consumer group that hands what it reads to a sink. It runs once.
type SinkTask struct {
	opts   SinkOptions
	batch  connect.Batch
	client *kgo.Client
	admin  *kadm.Client
	dead   deadLetters
	counter

	deliveries chan []delivery
	revoked    chan revocation
	failed     chan error    // an error of the group that does not pass
	ended      chan struct{} // closed when the loop no longer takes revocations

	flushAfter time.Time // of the next attempt after a flush on a tick failed
	flushPace  backoff

	mu struct {
		sync.Mutex
		parts     map[connect.TopicPartition]*assignment
		interrupt context.CancelFunc // ends the call into the sink that is under way
	}
}

// NewSinkTask returns a task that has not started.
func NewSinkTask(o SinkOptions) *SinkTask {
	o.Errors = o.Errors.withDefaults()
	t := &SinkTask{opts: o, deliveries: make(chan []delivery), revoked: make(chan revocation), failed: make(chan error, 1), ended: make(chan struct{})}
	if b, ok := o.Sink.(connect.Batcher); ok {
		t.batch = b.Batch()
	}
	t.flushPace = o.Errors.backoff()
	t.mu.parts = map[connect.TopicPartition]*assignment{}
	return t
}

// Progress returns a snapshot of the counts.
func (t *SinkTask) Progress() Progress { return t.snapshot() }

// Run opens the sink, joins the group and works until ctx ends, which is no error, or until it cannot go on. What an owner must mend
// wraps connect.ErrPermanent; with any other error a new task may be tried. Run closes the sink.
func (t *SinkTask) Run(ctx context.Context) (err error) {
	defer func() {
		if closed := t.opts.Sink.Close(); closed != nil && err == nil {
			err = fmt.Errorf("close the sink: %w", closed)
		}
	}()
	if t.client, err = client.New(t.opts.Client, t.clientOptions()...); err != nil {
		close(t.ended)
		return connect.Permanent(fmt.Errorf("make a client: %w", err))
	}
	defer t.client.CloseAllowingRebalance()
	t.admin = kadm.NewClient(t.client)
	t.dead = deadLetters{options: t.opts.Client, topic: t.opts.Errors.DeadLetter, pipeline: t.opts.Pipeline}
	defer t.dead.close()

	task := connect.SinkTask{Pipeline: t.opts.Pipeline, Logger: t.opts.Logger, Ack: t.ack, TopicID: t.topicID}
	if err := t.opts.Sink.Open(ctx, task); err != nil {
		close(t.ended)
		return withoutCancel(ctx, err)
	}
	polling, stop := context.WithCancel(ctx)
	var poller sync.WaitGroup
	poller.Go(func() { t.poll(polling) })
	err = t.loop(ctx)
	stop()
	if finished := t.finish(ctx); err == nil {
		err = finished
	}
	close(t.ended)
	poller.Wait()
	return withoutCancel(ctx, err)
}

// withoutCancel drops the error of a task that was told to stop.
func withoutCancel(ctx context.Context, err error) error {
	if ctx.Err() != nil && errors.Is(err, ctx.Err()) {
		return nil
	}
	return err
}

// loop works until ctx ends or it cannot go on.
func (t *SinkTask) loop(ctx context.Context) error {
	tick := time.NewTicker(tickInterval)
	defer tick.Stop()
	linger := time.NewTimer(time.Hour)
	defer linger.Stop()
	lingering := false // linger runs
	for {
		var err error
		select {
		case <-ctx.Done():
			return nil
		case err = <-t.failed:
		case r := <-t.revoked:
			t.revoke(ctx, r)
		case ds := <-t.deliveries:
			// A timer that runs is left alone: with records that keep coming it would never fire.
			if err = t.take(ctx, ds); t.batch.Linger > 0 && !lingering {
				linger.Reset(t.batch.Linger.Std())
				lingering = true
			}
		case <-linger.C:
			lingering, err = t.writeLingering(ctx, linger)
		case <-tick.C:
			err = t.tick(ctx)
		}
		if err != nil {
			return err
		}
	}
}

// tick lets the sink flush what is due by age, and commits.
func (t *SinkTask) tick(ctx context.Context) error {
	if !time.Now().Before(t.flushAfter) {
		err := t.call(ctx, func(ctx context.Context) error { return t.opts.Sink.Flush(ctx, connect.FlushTick) })
		switch {
		case err == nil && !t.flushAfter.IsZero():
			t.flushAfter = time.Time{}
			t.well()
		case err == nil || interrupted(ctx, err):
		case errors.Is(err, connect.ErrPermanent):
			return err
		default:
			if t.flushAfter.IsZero() {
				t.flushPace = t.opts.Errors.backoff()
			}
			if t.flushPace.over() {
				return t.flushPace.gaveUp(err)
			}
			pause := t.flushPace.next()
			t.flushAfter = time.Now().Add(pause)
			t.retrying(err, pause)
		}
	}
	t.commit(ctx, t.assignments())
	return nil
}

// finish makes durable what the sink holds and commits it, within stopPatience.
func (t *SinkTask) finish(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopPatience)
	defer cancel()
	err := t.opts.Sink.Flush(ctx, connect.FlushAll)
	t.commit(ctx, t.assignments())
	if err != nil {
		return fmt.Errorf("make durable what was read when stopping (it will be read again): %w", err)
	}
	return nil
}

// ack is what the sink reports through connect.SinkTask.
func (t *SinkTask) ack(part connect.TopicPartition, next int64) {
	written := 0
	t.mu.Lock()
	if a := t.mu.parts[part]; a != nil {
		a.acked = max(a.acked, next)
		for len(a.handed) > 0 && a.handed[0].next <= a.acked {
			written += a.handed[0].records
			a.handed = a.handed[1:]
		}
	}
	t.mu.Unlock()
	if written > 0 {
		t.count(func(p *Progress) { p.Out += int64(written) })
	}
}

// topicID is what the sink may ask through connect.SinkTask.
func (t *SinkTask) topicID(ctx context.Context, topic string) ([16]byte, error) {
	details, err := t.admin.ListTopics(ctx, topic)
	if err == nil {
		err = details[topic].Err
	}
	if err != nil {
		return [16]byte{}, fmt.Errorf("look up the id of topic %s: %w", topic, err)
	}
	return details[topic].ID, nil
}

func (t *SinkTask) assignments() []*assignment {
	t.mu.Lock()
	defer t.mu.Unlock()
	all := make([]*assignment, 0, len(t.mu.parts))
	for _, a := range t.mu.parts {
		all = append(all, a)
	}
	return all
}

// commit commits what is durable of parts. A failure is only told: the next commit makes up for it.
func (t *SinkTask) commit(ctx context.Context, parts []*assignment) {
	offsets := map[string]map[int32]kgo.EpochOffset{}
	t.mu.Lock()
	for _, a := range parts {
		if next := min(a.acked, a.resolved); next > a.committed {
			if offsets[a.part.Topic] == nil {
				offsets[a.part.Topic] = map[int32]kgo.EpochOffset{}
			}
			offsets[a.part.Topic][a.part.Partition] = kgo.EpochOffset{Epoch: -1, Offset: next}
		}
	}
	t.mu.Unlock()
	if len(offsets) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, commitPatience)
	defer cancel()
	if err := t.commitOffsets(ctx, offsets); err != nil {
		t.opts.Logger.Warn("offsets are not committed yet", "group", t.opts.Group, "error", err)
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, a := range parts {
		if o, ok := offsets[a.part.Topic][a.part.Partition]; ok {
			a.committed = o.Offset
		}
	}
}
