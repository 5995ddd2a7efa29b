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
)

// purgeInterval is the time between two purges of repartition topics.
const purgeInterval = time.Second

const (
	// commitShare is the share of its time, one part in so many, that a lane spends on commits when no interval is set, as long as that lies
	// between the shortest and the longest interval.
	commitShare       = 10
	minCommitInterval = 20 * time.Millisecond
	maxCommitInterval = 200 * time.Millisecond
)

func (l *lane) dirty() bool {
	return slices.ContainsFunc(l.tasks, func(t *task) bool { return t.dirty })
}

// interval is the time between two commits.
func (l *lane) interval() time.Duration {
	if set := l.w.options.CommitInterval; set > 0 {
		return set
	}
	return min(max(commitShare*l.took, minCommitInterval), maxCommitInterval)
}

func (l *lane) commitDue() bool {
	due := time.Since(l.commits) >= l.interval() || l.txn != nil && l.txn.full()
	return due && l.dirty()
}

// commit makes durable what the tasks did, and reports false when that has to be tried again. In a transaction all of it becomes so at
// once. Without, it does in the order that loses nothing: outputs and changes of state are acknowledged first, then the offsets are
// committed, and only then the state that is no longer needed may go.
func (l *lane) commit(ctx context.Context) (bool, error) {
	l.commits = time.Now()
	var dirty []*task
	for _, t := range l.tasks {
		if t.dirty {
			dirty = append(dirty, t)
			if err := t.flush(); err != nil {
				return false, err
			}
			if err := l.produce(ctx, t); err != nil {
				return false, err
			}
		}
	}
	if len(dirty) == 0 {
		return true, l.purge(ctx)
	}
	committed, err := l.commitTasks(ctx, dirty)
	if err != nil || !committed {
		return false, err
	}
	l.took = time.Since(l.commits)
	l.w.metrics.Commits.Add(1)
	for _, t := range dirty {
		t.committed()
	}
	return true, l.purge(ctx)
}

// commitTasks commits the offsets of tasks behind what they wrote. Where they wrote nothing, the offsets alone need no transaction: they
// become durable all or none, and a worker that lost its partitions is refused by the group.
func (l *lane) commitTasks(ctx context.Context, dirty []*task) (bool, error) {
	if l.txn != nil && l.txn.open {
		return l.txn.commit(ctx, dirty)
	}
	if err := l.waitAcknowledged(ctx); err != nil {
		return false, err
	}
	return l.commitOffsets(ctx, dirty)
}

// passingCommit are the errors of a commit in the middle of a rebalance: the tasks either stay, and commit next time, or are about
// to be taken away.
var passingCommit = []error{kerr.RebalanceInProgress, kerr.IllegalGeneration, kerr.UnknownMemberID}

// passes reports whether an error of a commit goes away by itself: in a rebalance, or when the cluster answers again.
func passes(err error) bool {
	var refused *kerr.Error
	return !errors.As(err, &refused) || refused.Retriable || slices.ContainsFunc(passingCommit, func(p error) bool { return errors.Is(err, p) })
}

// marksOf are the positions of tasks.
func marksOf(tasks []*task) (map[Source]mark, error) {
	all := map[Source]mark{}
	for _, t := range tasks {
		marks, err := t.marks()
		if err != nil {
			return nil, err
		}
		for in, m := range marks {
			all[*in.source] = m
		}
	}
	return all, nil
}

// commitOffsets commits the positions of tasks. It reports false when it has to be tried again.
func (l *lane) commitOffsets(ctx context.Context, tasks []*task) (bool, error) {
	marks, err := marksOf(tasks)
	if err != nil {
		return false, err
	}
	offsets := map[string]map[int32]kgo.EpochOffset{}
	for source, m := range marks {
		if offsets[source.Topic] == nil {
			offsets[source.Topic] = map[int32]kgo.EpochOffset{}
		}
		offsets[source.Topic][source.Partition] = kgo.EpochOffset{Epoch: -1, Offset: m.offset}
	}
	ctx = kgo.PreCommitFnContext(ctx, func(r *kmsg.OffsetCommitRequest) error {
		for i := range r.Topics {
			for j := range r.Topics[i].Partitions {
				p := &r.Topics[i].Partitions[j]
				// Without metadata of ours the client would put its own there.
				m := marks[Source{r.Topics[i].Topic, p.Partition}].metadata
				p.Metadata = &m
			}
		}
		return nil
	})
	var failed error
	l.m.client.CommitOffsetsSync(ctx, offsets, func(_ *kgo.Client, _ *kmsg.OffsetCommitRequest, resp *kmsg.OffsetCommitResponse, err error) {
		failed = errors.Join(err, commitError(resp))
	})
	return l.commitAnswer(ctx, failed)
}

// commitAnswer sorts out the answer to a commit of offsets: done, to be tried again, or refused for good.
func (l *lane) commitAnswer(ctx context.Context, failed error) (bool, error) {
	switch {
	case failed == nil:
		return true, nil
	case ctx.Err() != nil:
		return false, ctx.Err()
	case passes(failed):
		l.w.options.Logger.Warn("commit offsets, tried again", "application", l.w.options.ApplicationID, "error", failed)
		return false, nil
	}
	return false, fmt.Errorf("commit offsets: %w", l.w.explain(failed))
}

func commitError(resp *kmsg.OffsetCommitResponse) error {
	if resp == nil {
		return nil
	}
	for _, t := range resp.Topics {
		for _, p := range t.Partitions {
			if err := kerr.ErrorForCode(p.ErrorCode); err != nil {
				return fmt.Errorf("%s-%d: %w", t.Topic, p.Partition, err)
			}
		}
	}
	return nil
}

// purge empties repartition topics up to what is committed.
func (l *lane) purge(ctx context.Context) error {
	if time.Since(l.purges) < purgeInterval && !l.draining {
		return nil
	}
	l.purges = time.Now()
	offsets := kadm.Offsets{}
	var purged []*laneInput
	for source, in := range l.inputs {
		if in.node.kind == kindRepartition && in.position > in.purged {
			offsets.Add(kadm.Offset{Topic: source.Topic, Partition: source.Partition, At: in.position, LeaderEpoch: -1})
			purged = append(purged, in)
		}
	}
	if len(offsets) == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	deleted, err := l.w.admin.DeleteRecords(ctx, offsets)
	if err = errors.Join(err, deleted.Error()); err != nil {
		// The records take space until the next purge, nothing else depends on it.
		l.w.options.Logger.Warn("purge repartition topics", "application", l.w.options.ApplicationID, "error", err)
		return nil
	}
	for _, in := range purged {
		in.purged = in.position
	}
	return nil
}
