package broker

import (
	"context"
	"iter"
	"log/slog"
	"strconv"
	"strings"
	"time"

	"github.com/milldam/milldam/core/coordinator"
	"github.com/milldam/milldam/core/meta"
	"github.com/milldam/milldam/core/record"
	"github.com/milldam/milldam/core/replica"
)

// GroupsOptions are the options of the group coordinator as the broker's configuration has them.
func GroupsOptions(c *meta.Controller, m *replica.Manager, log *slog.Logger) coordinator.Options {
	image := c.Image()
	number := func(key string) int { return int(c.BrokerInt(image, key)) }
	return coordinator.Options{
		Partitions:            partitionsOf(c, image, offsetsTopic, "offsets.topic.num.partitions"),
		Logger:                log,
		InitialRebalanceDelay: brokerMillis(c, image, "group.initial.rebalance.delay.ms"),
		MinSession:            brokerMillis(c, image, "group.min.session.timeout.ms"),
		MaxSession:            brokerMillis(c, image, "group.max.session.timeout.ms"),
		OffsetsRetention:      time.Duration(number("offsets.retention.minutes")) * time.Minute,
		MaxGroupSize:          number("group.max.size"),
		MaxMetadataBytes:      number("offset.metadata.max.bytes"),
		Consumer: coordinator.ConsumerOptions{
			Times:     func(group string) coordinator.ConsumerTimes { return consumerTimes(c, group) },
			MaxSize:   number("group.consumer.max.size"),
			Migration: coordinator.MigrationPolicy(strings.ToLower(c.BrokerValue(image, "group.consumer.migration.policy"))),
			Assignors: assignorNames(c.BrokerValue(image, "group.consumer.assignors")),
		},
		Topics: func() coordinator.Topics { return imageTopics{c.Image()} },
		Log: func(ctx context.Context, p int32) (coordinator.OffsetsLog, error) {
			return OffsetsLog(ctx, c, m, p)
		},
	}
}

// assignorNames are the names in a list of assignors, in which Kafka's own may also stand as classes.
func assignorNames(list string) (names []string) {
	for name := range strings.SplitSeq(list, ",") {
		switch name = strings.TrimSpace(name); name {
		case "org.apache.kafka.coordinator.group.assignor.UniformAssignor":
			name = "uniform"
		case "org.apache.kafka.coordinator.group.assignor.RangeAssignor":
			name = "range"
		}
		names = append(names, name)
	}
	return names
}

func brokerMillis(c *meta.Controller, i *meta.Image, key string) time.Duration {
	return time.Duration(c.BrokerInt(i, key)) * time.Millisecond
}

// consumerTimes are the times of a group of the consumer type: its own configs, or the broker's.
func consumerTimes(c *meta.Controller, group string) coordinator.ConsumerTimes {
	image := c.Image()
	millis := func(key string) time.Duration {
		n, err := strconv.ParseInt(c.GroupValue(image, group, key), 10, 64)
		if err != nil { // a value of the configuration file that is no number
			n = c.BrokerInt(image, "group."+key)
		}
		return time.Duration(n) * time.Millisecond
	}
	return coordinator.ConsumerTimes{Session: millis("consumer.session.timeout.ms"), Heartbeat: millis("consumer.heartbeat.interval.ms"),
		AssignmentInterval: millis("consumer.assignment.interval.ms")}
}

// imageTopics is the metadata as the group coordinator sees it.
type imageTopics struct{ image *meta.Image }

// Topic implements coordinator.Topics.
func (t imageTopics) Topic(name string) (record.TopicID, int32, bool) {
	found := t.image.Topic(name)
	if found == nil {
		return record.TopicID{}, 0, false
	}
	return found.ID, int32(len(found.Partitions)), true
}

// Name implements coordinator.Topics.
func (t imageTopics) Name(id record.TopicID) (string, bool) {
	if found := t.image.TopicByID(id); found != nil {
		return found.Name, true
	}
	return "", false
}

// Names implements coordinator.Topics.
func (t imageTopics) Names() iter.Seq[string] {
	return func(yield func(string) bool) {
		for found := range t.image.Topics() {
			if !yield(found.Name) {
				return
			}
		}
	}
}
