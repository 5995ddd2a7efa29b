package streams

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
)

const (
	// topicWaitMin and topicWaitMax bound the time between two looks for topics that do not exist yet.
	topicWaitMin = 50 * time.Millisecond
	topicWaitMax = 2 * time.Second
)

// errCreated is that the application's own topics are being created.
var errCreated = errors.New("creating repartition and changelog topics")

// errMissing is that topics do not exist.
type errMissing struct{ topics []string }

func (e errMissing) Error() string {
	return fmt.Sprintf("waiting for topic %s: create it, as in `milldam topic create %s`", strings.Join(e.topics, ", "), e.topics[0])
}

// makePlan looks at the topics that the topology reads and writes, and creates its own. What cannot work is an error at once;
// topics that do not exist yet, and a cluster that does not answer, are waited for.
func (w *Worker) makePlan(ctx context.Context) (*plan, error) {
	for wait := topicWaitMin; ; wait = min(2*wait, topicWaitMax) {
		p, retry, err := w.tryPlan(ctx)
		if err == nil || !retry {
			return p, err
		}
		w.setStatus(err.Error())
		if wait >= topicWaitMax {
			w.options.Logger.Warn("not started yet", "application", w.options.ApplicationID, "reason", err)
		}
		if err := sleep(ctx, wait); err != nil {
			return nil, err
		}
	}
}

func (w *Worker) tryPlan(ctx context.Context) (p *plan, retry bool, err error) {
	names := append(w.topology.sourceTopics(), w.topology.sinkTopics()...)
	partitions, missing, err := w.partitionsOf(ctx, names)
	if err != nil {
		return nil, true, err
	}
	if len(missing) > 0 {
		return nil, true, errMissing{missing}
	}
	if p, err = w.topology.plan(w.options.ApplicationID, partitions); err != nil {
		return nil, false, err
	}
	retry, err = w.createTopics(ctx, p)
	return p, retry, err
}

func (w *Worker) partitionsOf(ctx context.Context, topics []string) (map[string]int32, []string, error) {
	details, err := w.admin.ListTopics(ctx, topics...)
	if err != nil {
		return nil, nil, fmt.Errorf("look for topics: %w", err)
	}
	partitions, missing := map[string]int32{}, []string(nil)
	for _, topic := range topics {
		d, ok := details[topic]
		switch {
		case !ok || errors.Is(d.Err, kerr.UnknownTopicOrPartition) || d.Err == nil && len(d.Partitions) == 0:
			missing = append(missing, topic)
		case d.Err != nil:
			return nil, nil, fmt.Errorf("look for topic %s: %w", topic, d.Err)
		default:
			partitions[topic] = int32(len(d.Partitions))
		}
	}
	return partitions, missing, nil
}

// createTopics creates the repartition and changelog topics that do not exist, and compares those that do.
//
// A changelog is compacted only: retention by time would delete the state of keys that do not change. A repartition topic has no
// retention at all: it is emptied by DeleteRecords up to what is committed, and a worker that was away for a month still finds
// what it has not read.
func (w *Worker) createTopics(ctx context.Context, p *plan) (retry bool, err error) {
	configs := map[string]map[string]*string{}
	for _, sub := range p.subs {
		for _, n := range sub.stores {
			configs[p.changelog(n)] = map[string]*string{"cleanup.policy": kadm.StringPtr("compact")}
		}
		for _, n := range sub.inputs {
			if n.kind == kindRepartition {
				configs[p.topic(n)] = map[string]*string{
					"cleanup.policy": kadm.StringPtr("delete"), "retention.ms": kadm.StringPtr("-1"), "retention.bytes": kadm.StringPtr("-1"),
				}
			}
		}
	}
	if len(configs) == 0 {
		return false, nil
	}
	var names []string
	for topic := range configs {
		names = append(names, topic)
	}
	partitions, missing, err := w.partitionsOf(ctx, names)
	if err != nil {
		return true, err
	}
	for topic, n := range partitions {
		if n != p.partitions[topic] {
			return false, fmt.Errorf("topic %q has %d partitions, but the topology needs %d, the topics it reads were changed: state cannot be divided anew; delete the topics that begin with %q and the group's offsets to begin again, or use another ApplicationID",
				topic, n, p.partitions[topic], w.options.ApplicationID+"-")
		}
	}
	for _, topic := range missing {
		r, err := w.admin.CreateTopic(ctx, p.partitions[topic], w.options.ReplicationFactor, configs[topic], topic)
		if err = errors.Join(err, r.Err); err != nil && !errors.Is(err, kerr.TopicAlreadyExists) {
			return true, fmt.Errorf("create topic %s: %w", topic, err)
		}
	}
	if len(missing) > 0 {
		return true, errCreated // look again: a cluster knows a new topic a little later than it answers
	}
	return false, nil
}

// sleep waits for d, or until ctx ends.
func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
