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

func (l *lane) dirty() bool {
	return slices.ContainsFunc(l.tasks, func(t *task) bool { return t.dirty })
}

func (l *lane) commitDue() bool {
	return time.Since(l.commits) >= l.w.options.CommitInterval && l.dirty()
}

// commit makes durable what the tasks did, in the order that loses nothing: outputs and changes of state are acknowledged first,
// then the offsets are committed, and only then the state that is no longer needed may go.
func (l *lane) commit(ctx context.Context) error {
	l.commits = time.Now()
	var dirty []*task
	for _, t := range l.tasks {
		if t.dirty {
			dirty = append(dirty, t)
			if err := t.flush(); err != nil {
				return err
			}
			l.produce(ctx, t)
		}
	}
	if err := l.waitAcknowledged(ctx); err != nil || len(dirty) == 0 {
		return err
	}
	committed, err := l.commitOffsets(ctx, dirty)
	if err != nil || !committed {
		return err
	}
	l.w.metrics.Commits.Add(1)
	for _, t := range dirty {
		t.committed()
	}
	return l.purge(ctx)
}

// passingCommit are the errors of a commit in the middle of a rebalance: the tasks either stay, and commit next time, or are about
// to be taken away.
var passingCommit = []error{kerr.RebalanceInProgress, kerr.IllegalGeneration, kerr.UnknownMemberID}

// passes reports whether an error of a commit goes away by itself: in a rebalance, or when the cluster answers again.
func passes(err error) bool {
	var refused *kerr.Error
	return !errors.As(err, &refused) || refused.Retriable || slices.ContainsFunc(passingCommit, func(p error) bool { return errors.Is(err, p) })
}

// commitOffsets commits the positions of tasks. It reports false when it has to be tried again.
func (l *lane) commitOffsets(ctx context.Context, tasks []*task) (bool, error) {
	offsets := map[string]map[int32]kgo.EpochOffset{}
	metadata := map[Source]string{}
	for _, t := range tasks {
		marks, err := t.marks()
		if err != nil {
			return false, err
		}
		for in, m := range marks {
			if offsets[in.source.Topic] == nil {
				offsets[in.source.Topic] = map[int32]kgo.EpochOffset{}
			}
			offsets[in.source.Topic][in.source.Partition] = kgo.EpochOffset{Epoch: -1, Offset: m.offset}
			metadata[*in.source] = m.metadata
		}
	}
	ctx = kgo.PreCommitFnContext(ctx, func(r *kmsg.OffsetCommitRequest) error {
		for i := range r.Topics {
			for j := range r.Topics[i].Partitions {
				p := &r.Topics[i].Partitions[j]
				// Without metadata of ours the client would put its own there.
				m := metadata[Source{r.Topics[i].Topic, p.Partition}]
				p.Metadata = &m
			}
		}
		return nil
	})
	var failed error
	l.w.client.CommitOffsetsSync(ctx, offsets, func(_ *kgo.Client, _ *kmsg.OffsetCommitRequest, resp *kmsg.OffsetCommitResponse, err error) {
		failed = errors.Join(err, commitError(resp))
	})
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
