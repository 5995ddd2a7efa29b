package pipelines

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"

	"github.com/milldam/milldam/connect"
	"github.com/milldam/milldam/core/client"
	"github.com/milldam/milldam/core/config"
)

// environment is what the hops of all pipelines share.
type environment struct {
	opts   Options
	shares int64

	mu struct {
		sync.Mutex
		admin *kadm.Client
	}
}

func (e *environment) admin() (*kadm.Client, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.mu.admin == nil {
		admin, err := client.NewAdmin(e.opts.Client)
		if err != nil {
			return nil, err
		}
		e.mu.admin = admin
	}
	return e.mu.admin, nil
}

func (e *environment) close() error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.mu.admin != nil {
		e.mu.admin.Close()
		e.mu.admin = nil
	}
	return nil
}

// Waiting for a topic that another pipeline will create.
const topicPollInterval = 500 * time.Millisecond

// prepare creates the topics that h writes, waits for those it reads, and returns its runner.
func (e *environment) prepare(ctx context.Context, s *Spec, h *hop, log *slog.Logger) (runner, error) {
	if h.Write != "" {
		if err := e.createTopic(ctx, h.Write, h.create); err != nil {
			return nil, err
		}
	}
	if d := s.Errors.DeadLetter; d != nil {
		if err := e.createTopic(ctx, d.Topic, TopicCreate{Partitions: 1, Replicas: 1}); err != nil {
			return nil, err
		}
	}
	for _, topic := range h.reads(s) {
		if err := e.awaitTopic(ctx, h, topic); err != nil {
			return nil, err
		}
	}
	if s.Source.Topic != nil && s.Source.Topic.Start == "latest" && h.Group == s.group() {
		if err := e.startAtEnd(ctx, h); err != nil {
			return nil, err
		}
	}
	switch h.Kind {
	case SourceHop:
		return e.newSourceRunner(s, h, log)
	case SinkHop:
		return e.newSinkRunner(s, h, log)
	}
	return e.newStreamRunner(s, h, log)
}

// reads lists the topics that must be there before the hop starts.
func (h Hop) reads(s *Spec) []string {
	topics := append([]string(nil), h.Read...)
	for _, step := range s.Steps[h.first:h.last] {
		if step.Join != nil {
			topics = append(topics, step.Join.Table)
		}
	}
	return topics
}

// createTopic creates a topic that does not exist; one that does stays as it is.
func (e *environment) createTopic(ctx context.Context, topic string, c TopicCreate) error {
	admin, err := e.admin()
	if err != nil {
		return err
	}
	configs := make(map[string]*string, len(c.Config))
	for name, value := range c.Config {
		value = config.KafkaValue(name, value)
		configs[name] = &value
	}
	r, err := admin.CreateTopic(ctx, c.Partitions, c.Replicas, configs, topic)
	if err == nil {
		err = r.Err
	}
	switch {
	case err == nil || errors.Is(err, kerr.TopicAlreadyExists):
		return nil
	case errors.Is(err, kerr.InvalidConfig), errors.Is(err, kerr.InvalidReplicationFactor), errors.Is(err, kerr.InvalidPartitions),
		errors.Is(err, kerr.PolicyViolation):
		return connect.Permanent(fmt.Errorf("create topic %s: %w %s; correct sink.topic.create", topic, err, r.ErrMessage))
	case errors.Is(err, kerr.TopicAuthorizationFailed), errors.Is(err, kerr.ClusterAuthorizationFailed):
		return connect.Permanent(fmt.Errorf("create topic %s: %w %s", topic, err, r.ErrMessage))
	}
	return fmt.Errorf("create topic %s: %w", topic, err)
}

// awaitTopic waits until a topic exists.
func (e *environment) awaitTopic(ctx context.Context, h *hop, topic string) error {
	admin, err := e.admin()
	if err != nil {
		return err
	}
	for {
		details, err := admin.ListTopics(ctx, topic)
		if err != nil {
			return fmt.Errorf("look up topic %s: %w", topic, err)
		}
		if d, ok := details[topic]; ok && d.Err == nil {
			return nil
		}
		h.set(Waiting, fmt.Sprintf("for topic %s, which does not exist; a pipeline that writes it, or milldam topic create %s, makes it", topic, topic))
		select {
		case <-time.After(topicPollInterval):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// startAtEnd commits the end of the topics for a group that has not committed anything yet. Doing it once, before the first start, leaves no gap
// that a client's own rule for a missing offset would: a partition that is added later is read from its beginning.
func (e *environment) startAtEnd(ctx context.Context, h *hop) error {
	admin, err := e.admin()
	if err != nil {
		return err
	}
	committed, err := admin.FetchOffsets(ctx, h.Group)
	if err != nil {
		return fmt.Errorf("look up the offsets of group %s: %w", h.Group, err)
	}
	for _, topic := range h.Read {
		if len(committed[topic]) > 0 {
			return nil
		}
	}
	ends, err := admin.ListEndOffsets(ctx, h.Read...)
	if err == nil {
		err = ends.Error()
	}
	if err != nil {
		return fmt.Errorf("look up the ends of the topics: %w", err)
	}
	offsets := ends.Offsets()
	if err := admin.CommitAllOffsets(ctx, h.Group, offsets); err != nil {
		return fmt.Errorf("set group %s to the ends of its topics: %w", h.Group, err)
	}
	return nil
}
