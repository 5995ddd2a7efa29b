package meta

import (
	"encoding/json"
	"fmt"

	"github.com/milldam/milldam/core/record"
)

// A command is one change of the metadata, as the raft log has it: a version byte, a kind byte, and the fields as JSON; see
// docs/formats/metadata.md. Decisions are made before a command is written, so applying one cannot fail, and does the same on every node.
type command interface{ kind() commandKind }

type commandKind byte

const (
	kindCluster commandKind = iota + 1
	kindBroker
	kindTopic
	kindRemoveTopic
	kindTopicConfig
	kindBrokerConfig
	kindProducerIDs
	kindFeatures
	kindAddACLs
	kindRemoveACLs
	kindScram
	kindQuota
	kindResourceConfig
)

// commandVersion is raised when older nodes could not apply a command any more.
const commandVersion = 1

// setCluster gives the cluster its id.
type setCluster struct{ ID string }

// setBroker registers a broker anew, with a higher epoch.
type setBroker struct{ Broker Broker }

// setTopic adds a topic, or partitions to one.
type setTopic struct{ Topic Topic }

// removeTopic removes a topic.
type removeTopic struct{ ID record.TopicID }

// setTopicConfig replaces what is set on a topic.
type setTopicConfig struct {
	ID     record.TopicID
	Config map[string]string
}

// setBrokerConfig replaces what is set on a broker, or on all.
type setBrokerConfig struct {
	Broker int32
	Config map[string]string
}

// takeProducerIDs gives out the producer ids below Next.
type takeProducerIDs struct{ Next record.ProducerID }

// setFeatures replaces the finalised levels of features.
type setFeatures struct{ Levels map[string]int16 }

// addACLs adds rules.
type addACLs struct{ ACLs []ACL }

// removeACLs removes rules.
type removeACLs struct{ ACLs []ACL }

// alterScram sets or removes credentials.
type alterScram struct{ Rows []scramRow }

// setQuota replaces the quotas of one entity.
type setQuota struct{ Quota Quota }

// setResourceConfig replaces what is set on a group or a subscription of client metrics.
type setResourceConfig struct {
	Resource Resource
	Config   map[string]string
}

func (setCluster) kind() commandKind        { return kindCluster }
func (setBroker) kind() commandKind         { return kindBroker }
func (setTopic) kind() commandKind          { return kindTopic }
func (removeTopic) kind() commandKind       { return kindRemoveTopic }
func (setTopicConfig) kind() commandKind    { return kindTopicConfig }
func (setBrokerConfig) kind() commandKind   { return kindBrokerConfig }
func (takeProducerIDs) kind() commandKind   { return kindProducerIDs }
func (setFeatures) kind() commandKind       { return kindFeatures }
func (addACLs) kind() commandKind           { return kindAddACLs }
func (removeACLs) kind() commandKind        { return kindRemoveACLs }
func (alterScram) kind() commandKind        { return kindScram }
func (setQuota) kind() commandKind          { return kindQuota }
func (setResourceConfig) kind() commandKind { return kindResourceConfig }

func encodeCommand(c command) ([]byte, error) {
	body, err := json.Marshal(c)
	if err != nil {
		return nil, err
	}
	return append([]byte{commandVersion, byte(c.kind())}, body...), nil
}

func decodeCommand(data []byte) (command, error) {
	if len(data) < 2 {
		return nil, fmt.Errorf("%w: a command of %d bytes", ErrDamaged, len(data))
	}
	if data[0] != commandVersion {
		return nil, fmt.Errorf("a metadata command has version %d, this milldam knows %d: run the newer one", data[0], commandVersion)
	}
	switch commandKind(data[1]) {
	case kindCluster:
		return decodeAs[setCluster](data[2:])
	case kindBroker:
		return decodeAs[setBroker](data[2:])
	case kindTopic:
		return decodeAs[setTopic](data[2:])
	case kindRemoveTopic:
		return decodeAs[removeTopic](data[2:])
	case kindTopicConfig:
		return decodeAs[setTopicConfig](data[2:])
	case kindBrokerConfig:
		return decodeAs[setBrokerConfig](data[2:])
	case kindProducerIDs:
		return decodeAs[takeProducerIDs](data[2:])
	case kindFeatures:
		return decodeAs[setFeatures](data[2:])
	case kindAddACLs:
		return decodeAs[addACLs](data[2:])
	case kindRemoveACLs:
		return decodeAs[removeACLs](data[2:])
	case kindScram:
		return decodeAs[alterScram](data[2:])
	case kindQuota:
		return decodeAs[setQuota](data[2:])
	case kindResourceConfig:
		return decodeAs[setResourceConfig](data[2:])
	}
	return nil, fmt.Errorf("%w: a command of kind %d", ErrDamaged, data[1])
}

func decodeAs[C command](body []byte) (command, error) {
	var c C
	if err := json.Unmarshal(body, &c); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	return c, nil
}

// apply returns the image after c. It is the only code that changes the metadata, live and on replay.
func (i *Image) apply(c command) *Image {
	n := *i
	switch c := c.(type) {
	case setCluster:
		n.clusterID = c.ID
	case setBroker:
		n.brokers = withEntry(i.brokers, c.Broker.ID, c.Broker)
		n.brokerSeq = max(i.brokerSeq, c.Broker.Epoch)
		n.controller = c.Broker.ID
	case setTopic:
		return i.withTopic(&c.Topic)
	case removeTopic:
		if t := i.TopicByID(c.ID); t != nil {
			return i.withoutTopic(t)
		}
	case setTopicConfig:
		if t := i.TopicByID(c.ID); t != nil {
			changed := *t
			changed.Config = c.Config
			return i.withTopic(&changed)
		}
	case setBrokerConfig:
		n.configs = withEntry(i.configs, c.Broker, c.Config)
	case takeProducerIDs:
		n.nextPID = max(i.nextPID, c.Next)
	case setFeatures:
		n.features, n.featuresEpoch = c.Levels, i.featuresEpoch+1
	case addACLs:
		for _, a := range c.ACLs {
			n.acls = n.acls.Set(a.key(), a)
		}
	case removeACLs:
		for _, a := range c.ACLs {
			n.acls = n.acls.Delete(a.key())
		}
	case alterScram:
		n.scram = i.withScram(c.Rows)
	case setQuota:
		n.quotas = withOrWithout(i.quotas, c.Quota.Entity, c.Quota.Values)
	case setResourceConfig:
		n.resources = withOrWithout(i.resources, c.Resource, c.Config)
	}
	return &n
}

// withEntry returns a copy of m with one entry set.
func withEntry[K comparable, V any](m map[K]V, k K, v V) map[K]V {
	c := make(map[K]V, len(m)+1)
	for key, value := range m {
		c[key] = value
	}
	c[k] = v
	return c
}

// withOrWithout returns a copy of m with one entry set, or without it when it is empty.
func withOrWithout[K comparable, V any](m map[K]map[string]V, k K, v map[string]V) map[K]map[string]V {
	c := withEntry(m, k, v)
	if len(v) == 0 {
		delete(c, k)
	}
	return c
}

// imageContent is an Image in a snapshot.
type imageContent struct {
	ClusterID  string
	Controller int32
	Topics     []*Topic
	Brokers    map[int32]Broker
	Configs    map[int32]map[string]string
	NextPID    record.ProducerID
	BrokerSeq  int64

	Features      map[string]int16
	FeaturesEpoch int64

	ACLs      []ACL
	Scram     []scramRow
	Quotas    []Quota
	Resources []setResourceConfig
}

// encode writes the image for a snapshot: a version byte and JSON.
func (i *Image) encode() ([]byte, error) {
	c := imageContent{ClusterID: i.clusterID, Controller: i.controller, Brokers: i.brokers, Configs: i.configs, NextPID: i.nextPID, BrokerSeq: i.brokerSeq,
		Features: i.features, FeaturesEpoch: i.featuresEpoch, Scram: i.scramRows(), Quotas: i.Quotas()}
	for a := range i.ACLs(everyACL) {
		c.ACLs = append(c.ACLs, a)
	}
	for _, r := range i.Resources() {
		c.Resources = append(c.Resources, setResourceConfig{r, i.resources[r]})
	}
	for t := range i.Topics() {
		c.Topics = append(c.Topics, t)
	}
	body, err := json.Marshal(c)
	if err != nil {
		return nil, err
	}
	return append([]byte{commandVersion}, body...), nil
}

func decodeImage(data []byte) (*Image, error) {
	if len(data) == 0 || data[0] != commandVersion {
		return nil, fmt.Errorf("%w: a snapshot of an unknown version", ErrDamaged)
	}
	var c imageContent
	if err := json.Unmarshal(data[1:], &c); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	i := emptyImage()
	for _, t := range c.Topics {
		if t == nil {
			return nil, fmt.Errorf("%w: a snapshot with an empty topic", ErrDamaged)
		}
		i = i.withTopic(t)
	}
	i.clusterID, i.controller, i.nextPID, i.brokerSeq = c.ClusterID, c.Controller, c.NextPID, c.BrokerSeq
	i.features, i.featuresEpoch = c.Features, c.FeaturesEpoch
	i.scram = i.withScram(c.Scram)
	for _, a := range c.ACLs {
		i.acls = i.acls.Set(a.key(), a)
	}
	for _, q := range c.Quotas {
		i.quotas[q.Entity] = q.Values
	}
	for _, r := range c.Resources {
		i.resources[r.Resource] = r.Config
	}
	if c.Brokers != nil {
		i.brokers = c.Brokers
	}
	if c.Configs != nil {
		i.configs = c.Configs
	}
	return i, nil
}
