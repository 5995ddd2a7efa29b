package meta

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/milldam/milldam/core/record"
)

// NewTopic is a request for a topic. Partitions or Replicas -1 take the default. Assignment, when not nil, lists replicas by partition and takes the
// place of both.
type NewTopic struct {
	Name       string
	Partitions int32
	Replicas   int16
	Assignment [][]int32
	Config     map[string]string
	Internal   bool
}

// maxPartitions is the most partitions one topic may have.
const maxPartitions = 100_000

// maxTopicName is the longest topic name, in bytes; with a partition it must do as a directory's.
const maxTopicName = 249

// CheckTopicName tells what is wrong with a topic's name.
func CheckTopicName(name string) error {
	switch {
	case name == "":
		return fmt.Errorf("%w: it is empty", ErrInvalidTopic)
	case name == "." || name == "..":
		return fmt.Errorf("%w: %q is no name", ErrInvalidTopic, name)
	case len(name) > maxTopicName:
		return fmt.Errorf("%w: %d characters, at most %d are allowed", ErrInvalidTopic, len(name), maxTopicName)
	}
	for _, r := range name {
		if !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("._-", r)) {
			return fmt.Errorf("%w: %q has a character that is none of a-z A-Z 0-9 . _ -", ErrInvalidTopic, name)
		}
	}
	return nil
}

// defaults are what a topic gets when its creator says nothing.
type defaults struct {
	partitions int32
	replicas   int16
}

// decideTopic checks a request for a topic and says what is to be written for it.
func decideTopic(i *Image, t NewTopic, id record.TopicID, d defaults) (setTopic, error) {
	if err := CheckTopicName(t.Name); err != nil {
		return setTopic{}, err
	}
	if i.Topic(t.Name) != nil {
		return setTopic{}, fmt.Errorf("%w: topic '%s' already exists", ErrTopicExists, t.Name)
	}
	if other := collision(i, t.Name); other != "" {
		return setTopic{}, fmt.Errorf("%w: '%s' collides with '%s': . and _ are the same in metrics", ErrInvalidTopic, t.Name, other)
	}
	config := normalTopicConfig(t.Config)
	if err := checkTopicConfig(config); err != nil {
		return setTopic{}, err
	}
	rows, err := assign(i, t, d)
	if err != nil {
		return setTopic{}, err
	}
	return setTopic{Topic{ID: id, Name: t.Name, Internal: t.Internal, Partitions: rows, Config: config}}, nil
}

// collision returns a topic whose name differs from name only in . and _.
func collision(i *Image, name string) string {
	if !strings.ContainsAny(name, "._") {
		return ""
	}
	flat := func(s string) string { return strings.ReplaceAll(s, ".", "_") }
	for t := range i.Topics() {
		if t.Name != name && flat(t.Name) == flat(name) {
			return t.Name
		}
	}
	return ""
}

// assign places the partitions of a new topic.
func assign(i *Image, t NewTopic, d defaults) ([]Partition, error) {
	if t.Assignment != nil {
		return assignAsAsked(i, t.Assignment)
	}
	partitions, replicas := t.Partitions, t.Replicas
	if partitions == -1 {
		partitions = d.partitions
	}
	brokers := i.Brokers()
	if replicas == -1 {
		replicas = d.replicas
		if t.Internal {
			replicas = min(replicas, int16(len(brokers)))
		}
	}
	switch { // in the order of Kafka
	case replicas < 1:
		return nil, fmt.Errorf("%w: %d, it must be 1 or more", ErrInvalidReplicationFactor, replicas)
	case partitions < 1:
		return nil, fmt.Errorf("%w: %d, it must be 1 or more", ErrInvalidPartitions, partitions)
	case partitions > maxPartitions:
		return nil, fmt.Errorf("%w: %d partitions, at most %d are possible", ErrTooManyPartitions, partitions, maxPartitions)
	case int(replicas) > len(brokers):
		return nil, fmt.Errorf("%w: %d replicas, but there are %d brokers", ErrInvalidReplicationFactor, replicas, len(brokers))
	}
	return spread(brokers, 0, partitions, int(replicas)), nil
}

// spread places partitions [first, count) round robin.
func spread(brokers []Broker, first, count int32, replicas int) []Partition {
	var rows []Partition
	for p := first; p < count; p++ {
		ids := make([]int32, replicas)
		for r := range ids {
			ids[r] = brokers[(int(p)+r)%len(brokers)].ID
		}
		rows = append(rows, Partition{Leader: ids[0], Replicas: ids, ISR: ids})
	}
	return rows
}

func assignAsAsked(i *Image, assignment [][]int32) ([]Partition, error) {
	if len(assignment) == 0 || len(assignment) > maxPartitions {
		return nil, fmt.Errorf("%w: of %d partitions", ErrInvalidAssignment, len(assignment))
	}
	var rows []Partition
	for p, ids := range assignment {
		if len(ids) == 0 || len(ids) != len(assignment[0]) {
			return nil, fmt.Errorf("%w: partition %d has %d replicas, partition 0 has %d", ErrInvalidAssignment, p, len(ids), len(assignment[0]))
		}
		for at, id := range ids {
			if _, ok := i.brokers[id]; !ok || slices.Contains(ids[:at], id) {
				return nil, fmt.Errorf("%w: partition %d on broker %d, which is unknown or stands there twice", ErrInvalidAssignment, p, id)
			}
		}
		rows = append(rows, Partition{Leader: ids[0], Replicas: ids, ISR: ids})
	}
	return rows, nil
}

// decidePartitions raises the number of partitions of a topic.
func decidePartitions(i *Image, name string, total int32, assignment [][]int32) (setTopic, error) {
	t := i.Topic(name)
	switch {
	case t == nil:
		return setTopic{}, fmt.Errorf("%w: %s", ErrUnknownTopic, name)
	case total < 1 || total > maxPartitions:
		return setTopic{}, fmt.Errorf("%w: %d, from 1 to %d are possible", ErrInvalidPartitions, total, maxPartitions)
	case int(total) <= len(t.Partitions):
		return setTopic{}, fmt.Errorf("%w: topic %s has %d partitions, their number can only grow", ErrInvalidPartitions, name, len(t.Partitions))
	case assignment != nil && len(assignment) != int(total)-len(t.Partitions):
		return setTopic{}, fmt.Errorf("%w: of %d partitions for %d new ones", ErrInvalidAssignment, len(assignment), int(total)-len(t.Partitions))
	}
	rows := spread(i.Brokers(), int32(len(t.Partitions)), total, len(t.Partitions[0].Replicas))
	if assignment != nil {
		var err error
		if rows, err = assignAsAsked(i, assignment); err != nil {
			return setTopic{}, err
		}
	}
	grown := *t
	grown.Partitions = slices.Concat(t.Partitions, rows)
	return setTopic{grown}, nil
}

// atoi32 is for values that were checked.
func atoi32(s string, otherwise int32) int32 {
	n, err := strconv.ParseInt(s, 10, 32)
	if err != nil {
		return otherwise
	}
	return int32(n)
}
