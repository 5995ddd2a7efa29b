package replica

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"

	"github.com/milldam/milldam/core/meta"
	"github.com/milldam/milldam/core/record"
	"github.com/milldam/milldam/core/storage"
)

// Options configure Open. Storage's Topic and OnAdvance are set by the manager.
type Options struct {
	NodeID     int32
	Controller *meta.Controller
	Storage    storage.Options
	Logger     *slog.Logger
}

// Manager holds the partitions that this node leads.
type Manager struct {
	opts  Options
	store *storage.Store
	Wheel Wheel

	mu struct {
		sync.RWMutex
		topics map[record.TopicID][]*Partition
		names  map[string]record.TopicID
		logs   map[*storage.Log]*Partition
		err    error // the first log that could not be made
	}
}

// Open opens the store, with the topics the metadata knows, and follows the metadata from then on.
func Open(ctx context.Context, o Options) (*Manager, storage.Recovery, error) {
	m := &Manager{opts: o}
	if m.opts.Logger == nil {
		m.opts.Logger = slog.New(slog.DiscardHandler)
	}
	m.mu.topics, m.mu.names, m.mu.logs = map[record.TopicID][]*Partition{}, map[string]record.TopicID{}, map[*storage.Log]*Partition{}
	image := o.Controller.Image()
	o.Storage.Topic = func(id record.TopicID) (string, storage.LogConfig, bool) {
		t := image.TopicByID(id)
		if t == nil {
			return "", storage.LogConfig{}, false
		}
		return t.Name, logConfig(o.Controller, image, t), true
	}
	o.Storage.OnAdvance = m.advanced
	store, recovery, err := storage.Open(ctx, o.Storage)
	if err != nil {
		return nil, recovery, err
	}
	m.store = store
	o.Controller.Subscribe(m.follow)
	return m, recovery, nil
}

// Store is the store of this node's logs.
func (m *Manager) Store() *storage.Store { return m.store }

// follow takes over a new image. Who waits for a partition that is gone is woken, and finds that.
func (m *Manager) follow(old, image *meta.Image) {
	for _, p := range m.take(old, image) {
		p.wake()
	}
}

// take takes over a new image and returns the partitions that are gone.
func (m *Manager) take(old, image *meta.Image) (gone []*Partition) {
	m.mu.Lock()
	defer m.mu.Unlock()
	seen := map[record.TopicID]bool{}
	for t := range image.Topics() {
		seen[t.ID] = true
		if old == nil || old.TopicByID(t.ID) != t || !sameBrokerConfigs(m.opts.NodeID, old, image) {
			m.takeLocked(image, t)
		}
	}
	for id, parts := range m.mu.topics {
		if seen[id] {
			continue
		}
		delete(m.mu.topics, id)
		if name := parts[0].Topic.Name; m.mu.names[name] == id {
			delete(m.mu.names, name)
		}
		for _, p := range parts {
			delete(m.mu.logs, p.Log)
		}
		gone = append(gone, parts...)
	}
	return gone
}

// sameBrokerConfigs tells whether topics that set nothing themselves have the same configs in both.
func sameBrokerConfigs(node int32, a, b *meta.Image) bool {
	return maps.Equal(a.BrokerConfig(meta.AllBrokers), b.BrokerConfig(meta.AllBrokers)) && maps.Equal(a.BrokerConfig(node), b.BrokerConfig(node))
}

// takeLocked makes the partitions of a topic that are missing, and configures all.
func (m *Manager) takeLocked(image *meta.Image, t *meta.Topic) {
	config := logConfig(m.opts.Controller, image, t)
	parts := slices.Clone(m.mu.topics[t.ID])
	for i := range t.Partitions {
		if i < len(parts) {
			parts[i].Log.SetConfig(config)
			continue
		}
		l, err := m.store.Create(t.ID, t.Name, int32(i), config)
		if err != nil {
			m.opts.Logger.Error("a log could not be made", "topic", t.Name, "partition", i, "error", err)
			return
		}
		l.SetConfig(config)
		p := &Partition{Log: l, Topic: t, Index: int32(i)}
		p.epoch.Store(int32(t.Partitions[i].LeaderEpoch))
		parts = append(parts, p)
		m.mu.logs[l] = p
	}
	m.mu.topics[t.ID], m.mu.names[t.Name] = parts, t.ID
}

// advanced is storage's callback.
func (m *Manager) advanced(logs []*storage.Log) {
	m.mu.RLock()
	parts := make([]*Partition, 0, len(logs))
	for _, l := range logs {
		if p := m.mu.logs[l]; p != nil {
			parts = append(parts, p)
		}
	}
	m.mu.RUnlock()
	for _, p := range parts {
		p.wake()
	}
}

// Partition returns a partition by its topic's name. ErrUnknownPartition.
func (m *Manager) Partition(topic string, index int32) (*Partition, error) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	id, ok := m.mu.names[topic]
	if !ok {
		return nil, fmt.Errorf("%w: %s-%d", ErrUnknownPartition, topic, index)
	}
	return m.atLocked(id, topic, index)
}

// PartitionByID returns a partition by its topic's id. ErrUnknownTopicID, ErrUnknownPartition.
func (m *Manager) PartitionByID(id record.TopicID, index int32) (*Partition, error) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	if _, ok := m.mu.topics[id]; !ok {
		return nil, fmt.Errorf("%w: %x", ErrUnknownTopicID, id)
	}
	return m.atLocked(id, m.mu.topics[id][0].Topic.Name, index)
}

func (m *Manager) atLocked(id record.TopicID, topic string, index int32) (*Partition, error) {
	parts := m.mu.topics[id]
	if index < 0 || int(index) >= len(parts) {
		return nil, fmt.Errorf("%w: %s-%d", ErrUnknownPartition, topic, index)
	}
	return parts[index], nil
}

// RemoveTopic deletes the logs of a topic that the metadata does not have any more. It returns once that is durable.
func (m *Manager) RemoveTopic(ctx context.Context, id record.TopicID) error {
	return m.store.RemoveTopic(ctx, id)
}

// Usage tells size and free bytes of the disk the store is on.
func (m *Manager) Usage() (total, free uint64, err error) {
	return m.opts.Storage.FS.Usage(m.opts.Storage.Dir)
}

// Close closes the store.
func (m *Manager) Close() error { return m.store.Close() }
