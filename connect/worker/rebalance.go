package worker

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/milldam/milldam/connect"
)

const (
	// pollRecords bounds what is taken from the client at once.
	pollRecords = 10_000
	// fetchMaxBytes bounds what the client buffers for one broker.
	fetchMaxBytes = 16 << 20
	// revokePatience is how long a call into the sink may go on when partitions are to be given up; then it is interrupted.
	revokePatience = 5 * time.Second
	// flushPatience bounds the last flush of partitions that are given up.
	flushPatience = 15 * time.Second
)

// delivery is what was fetched of one partition.
type delivery struct {
	to      *assignment
	records []*kgo.Record
}

// revocation tells the loop to give up partitions; done is closed when it has.
type revocation struct {
	parts []*assignment
	lost  bool // they belong to another member already
	done  chan struct{}
}

func (t *SinkTask) clientOptions() []kgo.Opt {
	isolation := kgo.ReadCommitted()
	if t.opts.ReadUncommitted {
		isolation = kgo.ReadUncommitted()
	}
	opts := []kgo.Opt{
		kgo.ConsumerGroup(t.opts.Group),
		kgo.ConsumeTopics(t.opts.Topics...),
		kgo.DisableAutoCommit(),
		kgo.BlockRebalanceOnPoll(),
		kgo.OnPartitionsAssigned(t.onAssigned),
		kgo.OnPartitionsRevoked(func(_ context.Context, _ *kgo.Client, parts map[string][]int32) { t.onRevoked(parts, false) }),
		kgo.OnPartitionsLost(func(_ context.Context, _ *kgo.Client, parts map[string][]int32) { t.onRevoked(parts, true) }),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
		kgo.FetchIsolationLevel(isolation),
		// With the markers of transactions offsets are committed to the end of the log also where the last records are markers.
		kgo.KeepControlRecords(),
		kgo.FetchMaxBytes(fetchMaxBytes),
	}
	if t.opts.InstanceID != "" {
		opts = append(opts, kgo.InstanceID(t.opts.InstanceID))
	}
	return opts
}

// onAssigned is called by the client before it fetches the partitions.
func (t *SinkTask) onAssigned(_ context.Context, _ *kgo.Client, added map[string][]int32) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for topic, partitions := range added {
		for _, p := range partitions {
			part := connect.TopicPartition{Topic: topic, Partition: p}
			t.mu.parts[part] = newAssignment(part)
		}
	}
}

// onRevoked is called by the client, which gives the partitions up when it returns.
func (t *SinkTask) onRevoked(parts map[string][]int32, lost bool) {
	r := revocation{lost: lost, done: make(chan struct{})}
	t.mu.Lock()
	for topic, partitions := range parts {
		for _, p := range partitions {
			if a := t.mu.parts[connect.TopicPartition{Topic: topic, Partition: p}]; a != nil {
				r.parts = append(r.parts, a)
			}
		}
	}
	t.mu.Unlock()
	if len(r.parts) == 0 {
		return
	}
	patience := time.NewTimer(revokePatience)
	defer patience.Stop()
	for {
		select {
		case t.revoked <- r:
			<-r.done
			return
		case <-t.ended:
			return
		case <-patience.C:
			t.mu.Lock()
			if t.mu.interrupt != nil {
				t.mu.interrupt()
			}
			t.mu.Unlock()
		}
	}
}

// revoke gives partitions up: what the sink holds of them is made durable and committed first, if the task still may.
func (t *SinkTask) revoke(ctx context.Context, r revocation) {
	defer close(r.done)
	if !r.lost {
		ctx, cancel := context.WithTimeout(ctx, flushPatience)
		defer cancel()
		if err := t.opts.Sink.Flush(ctx, connect.FlushAll); err != nil {
			t.opts.Logger.Warn("partitions are given up before all of them is durable; their next owner reads the rest again", "error", err)
		}
		t.commit(ctx, r.parts)
	}
	parts := make([]connect.TopicPartition, len(r.parts))
	t.mu.Lock()
	for i, a := range r.parts {
		a.gone = true
		parts[i] = a.part
		delete(t.mu.parts, a.part)
	}
	t.mu.Unlock()
	t.opts.Sink.Revoke(parts)
}

// errInterrupted is the error of a call into the sink that was ended because partitions are to be given up.
var errInterrupted = errors.New("interrupted, partitions are given up")

func interrupted(ctx context.Context, err error) bool {
	return errors.Is(err, errInterrupted) || ctx.Err() != nil
}

// call runs fn, a call into the sink that a revocation may interrupt.
func (t *SinkTask) call(ctx context.Context, fn func(context.Context) error) error {
	calling, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	t.setInterrupt(func() { cancel(errInterrupted) })
	err := fn(calling)
	t.setInterrupt(nil)
	if err != nil && context.Cause(calling) == errInterrupted {
		return errInterrupted
	}
	return err
}

func (t *SinkTask) setInterrupt(f context.CancelFunc) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.mu.interrupt = f
}

// poll hands over what the client fetches until ctx ends.
func (t *SinkTask) poll(ctx context.Context) {
	for ctx.Err() == nil {
		fetches := t.client.PollRecords(ctx, pollRecords)
		if fetches.IsClientClosed() || ctx.Err() != nil {
			t.client.AllowRebalance()
			return
		}
		fetches.EachError(func(topic string, partition int32, err error) { t.fetchFailed(topic, partition, err) })
		var ds []delivery
		t.mu.Lock()
		fetches.EachPartition(func(f kgo.FetchTopicPartition) {
			if a := t.mu.parts[connect.TopicPartition{Topic: f.Topic, Partition: f.Partition}]; a != nil && len(f.Records) > 0 {
				ds = append(ds, delivery{a, f.Records})
			}
		})
		t.mu.Unlock()
		t.client.AllowRebalance()
		if len(ds) == 0 {
			continue
		}
		select {
		case t.deliveries <- ds:
		case <-ctx.Done():
		}
	}
}

// fatalFetch are errors that do not pass by themselves.
var fatalFetch = []error{kerr.FencedInstanceID, kerr.TopicAuthorizationFailed, kerr.GroupAuthorizationFailed, kerr.SaslAuthenticationFailed, kerr.InconsistentGroupProtocol}

func (t *SinkTask) fetchFailed(topic string, partition int32, err error) {
	for _, fatal := range fatalFetch {
		if errors.Is(err, fatal) {
			select {
			case t.failed <- connect.Permanent(fmt.Errorf("group %s: %w; another process may run this pipeline, or the account lacks a right", t.opts.Group, err)):
			default: // one is enough to end the task
			}
			return
		}
	}
	t.opts.Logger.Warn("fetch", "group", t.opts.Group, "topic", topic, "partition", partition, "error", err)
}

func (t *SinkTask) commitOffsets(ctx context.Context, offsets map[string]map[int32]kgo.EpochOffset) error {
	var refused error
	t.client.CommitOffsetsSync(ctx, offsets, func(_ *kgo.Client, _ *kmsg.OffsetCommitRequest, response *kmsg.OffsetCommitResponse, err error) {
		if refused = err; response == nil {
			return
		}
		for _, topic := range response.Topics {
			for _, p := range topic.Partitions {
				if err := kerr.ErrorForCode(p.ErrorCode); err != nil && refused == nil {
					refused = fmt.Errorf("%s-%d: %w", topic.Topic, p.Partition, err)
				}
			}
		}
	})
	return refused
}
