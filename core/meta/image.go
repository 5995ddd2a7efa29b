package meta

import (
	"cmp"
	"encoding/base64"
	"iter"
	"maps"
	"slices"

	"github.com/benbjohnson/immutable"

	"github.com/milldam/milldam/core/record"
)

// Image is the cluster's metadata at one raft index. It is immutable, and shares with its successors what did not change.
type Image struct {
	clusterID  string
	controller int32
	topics     *immutable.SortedMap[string, *Topic]
	byID       *immutable.Map[string, *Topic] // by the bytes of the id
	brokers    map[int32]Broker
	configs    map[int32]map[string]string // dynamic broker configs; AllBrokers is for all
	nextPID    record.ProducerID
	brokerSeq  int64 // the last broker epoch given out

	features      map[string]int16 // finalised levels; one that is off is not there
	featuresEpoch int64            // counts changes of features; 0 before the first

	acls      *immutable.SortedMap[string, ACL] // by ACL.key
	scram     map[scramKey]*ScramCredential
	quotas    map[QuotaEntity]map[string]float64
	resources map[Resource]map[string]string // what is set on groups and subscriptions of client metrics
}

// AllBrokers stands for every broker in broker configs.
const AllBrokers int32 = -1

// Topic is one topic of an Image. It is immutable.
type Topic struct {
	ID         record.TopicID
	Name       string
	Internal   bool
	Partitions []Partition
	Config     map[string]string // only what was set on the topic
}

// Has tells whether the topic has a partition of this number.
func (t *Topic) Has(partition int32) bool {
	return partition >= 0 && int(partition) < len(t.Partitions)
}

// Partition is where a partition lives.
type Partition struct {
	Leader      int32
	LeaderEpoch record.LeaderEpoch
	Epoch       int32 // counts changes of this row
	Replicas    []int32
	ISR         []int32
}

// Broker is one registered broker.
type Broker struct {
	ID    int32
	Epoch int64
	Host  string // empty: each client is answered with the address it dialled
	Port  int32
	Rack  string
}

func emptyImage() *Image {
	return &Image{controller: -1, topics: immutable.NewSortedMap[string, *Topic](nil), byID: immutable.NewMap[string, *Topic](nil),
		brokers: map[int32]Broker{}, configs: map[int32]map[string]string{},
		acls: immutable.NewSortedMap[string, ACL](nil), scram: map[scramKey]*ScramCredential{}, quotas: map[QuotaEntity]map[string]float64{}, resources: map[Resource]map[string]string{}}
}

// ClusterID is the id of the cluster, in Kafka's form: 22 characters.
func (i *Image) ClusterID() string { return i.clusterID }

// Controller is the id of the broker that leads the metadata.
func (i *Image) Controller() int32 { return i.controller }

// Topic returns the topic called name, nil when there is none.
func (i *Image) Topic(name string) *Topic {
	t, _ := i.topics.Get(name)
	return t
}

// TopicByID returns a topic by its id, nil when there is none.
func (i *Image) TopicByID(id record.TopicID) *Topic {
	t, _ := i.byID.Get(string(id[:]))
	return t
}

// Topics returns all topics, sorted by name.
func (i *Image) Topics() iter.Seq[*Topic] {
	return func(yield func(*Topic) bool) {
		for it := i.topics.Iterator(); !it.Done(); {
			if _, t, ok := it.Next(); ok && !yield(t) {
				return
			}
		}
	}
}

// TopicCount is the number of topics.
func (i *Image) TopicCount() int { return i.topics.Len() }

// Brokers returns the registered brokers, sorted by id.
func (i *Image) Brokers() []Broker {
	return slices.SortedFunc(maps.Values(i.brokers), func(a, b Broker) int { return cmp.Compare(a.ID, b.ID) })
}

// BrokerConfig returns what was set dynamically on a broker, or with AllBrokers on all. It is not to be changed.
func (i *Image) BrokerConfig(id int32) map[string]string { return i.configs[id] }

// FeatureLevel is the finalised level of a feature, 0 when it is off.
func (i *Image) FeatureLevel(name string) int16 { return i.features[name] }

// FinalizedFeatures returns the levels of all features that are on, which are not to be changed, and their epoch, which rises with every change.
func (i *Image) FinalizedFeatures() (levels map[string]int16, epoch int64) {
	return i.features, i.featuresEpoch
}

// withTopic returns an image in which t stands, in the place of those of the same name or id: what is found by name is found by id, whatever the log says.
func (i *Image) withTopic(t *Topic) *Image {
	if old := i.Topic(t.Name); old != nil && old.ID != t.ID {
		i = i.withoutTopic(old)
	}
	if old := i.TopicByID(t.ID); old != nil && old.Name != t.Name {
		i = i.withoutTopic(old)
	}
	c := *i
	c.topics, c.byID = i.topics.Set(t.Name, t), i.byID.Set(string(t.ID[:]), t)
	return &c
}

func (i *Image) withoutTopic(t *Topic) *Image {
	c := *i
	c.topics, c.byID = i.topics.Delete(t.Name), i.byID.Delete(string(t.ID[:]))
	return &c
}

// idText is a 16-byte id in Kafka's form.
func idText(id [16]byte) string { return base64.RawURLEncoding.EncodeToString(id[:]) }
