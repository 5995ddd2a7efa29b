package broker

import (
	"context"

	"github.com/milldam/milldam/core/coordinator"
	"github.com/milldam/milldam/core/meta"
	"github.com/milldam/milldam/core/record"
	"github.com/milldam/milldam/core/replica"
	"github.com/milldam/milldam/core/storage"
)

// offsetsTopic is where groups and their offsets are kept.
const offsetsTopic = "__consumer_offsets"

// errOutOfRange is for offsets that no log could have.
var errOutOfRange = storage.ErrOffsetOutOfRange

// unknownID is the error of a topic id that is not in the metadata.
var unknownID = wrapped{replica.ErrUnknownTopicID, "unknown topic id"}

// HasOffsetsTopic tells whether there are groups to load.
func HasOffsetsTopic(i *meta.Image) bool { return i.Topic(offsetsTopic) != nil }

// EnsureOffsetsTopic returns the topic that keeps groups and offsets, and makes it when it is missing.
func EnsureOffsetsTopic(ctx context.Context, c *meta.Controller) (*meta.Topic, error) {
	return ensureInternalTopic(ctx, c, offsetsTopic, "offsets.topic", map[string]string{"compression.type": "producer"})
}

// ensureInternalTopic returns a compacted topic of ours, and makes it when it is missing, with the partitions that the keys of the configuration ask for that begin
// with prefix, and as many replicas as there are brokers for.
func ensureInternalTopic(ctx context.Context, c *meta.Controller, name, prefix string, config map[string]string) (*meta.Topic, error) {
	image := c.Image()
	if t := image.Topic(name); t != nil {
		return t, nil
	}
	replicas := min(c.BrokerInt(image, prefix+".replication.factor"), int64(len(image.Brokers())))
	config["cleanup.policy"], config["segment.bytes"] = "compact", c.BrokerValue(image, prefix+".segment.bytes")
	t, err := c.CreateTopic(ctx, meta.NewTopic{Name: name, Partitions: int32(c.BrokerInt(image, prefix+".num.partitions")), Replicas: int16(replicas), Internal: true,
		Config: config}, false)
	if err != nil {
		if t := c.Image().Topic(name); t != nil { // somebody else made it
			return t, nil
		}
	}
	return t, err
}

// OffsetsLog returns the log of one partition of the offsets topic, which it makes when it is missing.
func OffsetsLog(ctx context.Context, c *meta.Controller, m *replica.Manager, partition int32) (coordinator.OffsetsLog, error) {
	if _, err := EnsureOffsetsTopic(ctx, c); err != nil {
		return nil, err
	}
	p, err := m.Partition(offsetsTopic, partition)
	if err != nil {
		return nil, err
	}
	return offsetsLog{p}, nil
}

// offsetsLog is a partition as the coordinator sees it.
type offsetsLog struct{ partition *replica.Partition }

func (l offsetsLog) Append(batch []byte, done func(error)) (record.Offset, error) {
	return l.AppendTxn(batch, nil, done)
}

func (l offsetsLog) AppendTxn(batch []byte, v *storage.Verification, done func(error)) (record.Offset, error) {
	p := storage.NewPending(done)
	a, err := l.partition.Append(batch, storage.FromCoordinator, v, p)
	if err != nil {
		return 0, err // p is never armed, so done is not called
	}
	p.Arm()
	return a.BaseOffset, nil
}

func (l offsetsLog) AppendMarker(m record.Marker, transactionVersion int8, done func(error)) error {
	p := storage.NewPending(done)
	if _, err := l.partition.AppendMarker(m, transactionVersion, p); err != nil {
		return err // as above
	}
	p.Arm()
	return nil
}

func (l offsetsLog) Verify(id record.ProducerID, epoch record.ProducerEpoch) (*storage.Verification, bool) {
	return l.partition.Verify(id, epoch)
}

func (l offsetsLog) Replay(_ context.Context, fn func(record.Batch) error) error {
	return l.partition.Log.Scan(l.partition.Log.Start(), l.partition.Log.End(), fn)
}
