package meta

import (
	"maps"
	"slices"
	"strings"
)

// effects say what the keys do that do something here; those of topics are also said of the broker keys they fall back to.
var effects = map[string]string{
	// topics
	"compression.gzip.level":          "level of gzip, where the broker compresses",
	"compression.lz4.level":           "level of LZ4, where the broker compresses",
	"compression.type":                "producer keeps batches as they come; with a codec, batches of others are compressed with it, with uncompressed they are stored plain",
	"compression.zstd.level":          "level of Zstandard, where the broker compresses",
	"segment.index.bytes":             "size of a segment's index at which the segment is closed",
	"segment.jitter.ms":               "how much earlier than segment.ms a segment may be closed, so that not all are at once",
	"cleanup.policy":                  "delete removes what is too old or too much, compact keeps the last record of each key, both do both, none keeps everything",
	"delete.retention.ms":             "how long a tombstone stays after its first compaction",
	"file.delete.delay.ms":            "how long a segment that was removed stays on disk",
	"index.interval.bytes":            "bytes of a segment from one index entry to the next",
	"max.compaction.lag.ms":           "after this time a record is compacted, however little there is to gain",
	"max.message.bytes":               "largest record batch",
	"message.timestamp.after.max.ms":  "how far in the future a record's time may be",
	"message.timestamp.before.max.ms": "how far in the past a record's time may be",
	"message.timestamp.type":          "CreateTime keeps the producer's time, LogAppendTime sets the broker's",
	"min.cleanable.dirty.ratio":       "how much of a log must be new before it is compacted",
	"min.compaction.lag.ms":           "for this time a record is not compacted",
	"retention.bytes":                 "how large a partition may become before its oldest segments go; -1 is no limit",
	"retention.ms":                    "how old records may become before their segments go; -1 is no limit",
	"segment.bytes":                   "size of a segment",
	"segment.ms":                      "age at which a segment is closed",
	// groups
	"consumer.assignment.interval.ms": "least time from one assignment of a group to the next",
	"consumer.heartbeat.interval.ms":  "how often members of the consumer protocol are to be heard",
	"consumer.session.timeout.ms":     "after which silence a member of the consumer protocol is out",
	// brokers
	"add.partitions.to.txn.retry.backoff.max.ms":                  "how long the first batch of a transaction waits for the last one to be completed",
	"auto.create.topics.enable":                                   "whether a topic that is asked for and is not there is made",
	"connections.max.idle.ms":                                     "how long a connection may be silent",
	"controller.quota.window.num":                                 "windows of the quota on changes of topics; together they are its burst",
	"controller.quota.window.size.seconds":                        "length of such a window",
	"default.replication.factor":                                  "replicas of a topic that asks for none",
	"delete.topic.enable":                                         "whether topics can be removed",
	"fetch.max.bytes":                                             "largest Fetch response",
	"group.consumer.assignors":                                    "assignors of the consumer protocol, the default first",
	"group.consumer.max.size":                                     "members of a group of the consumer protocol",
	"group.consumer.migration.policy":                             "whether groups may change their protocol while members are up",
	"group.initial.rebalance.delay.ms":                            "how long the first members of a classic group wait for others",
	"group.max.session.timeout.ms":                                "longest session of a classic member",
	"group.max.size":                                              "members of a classic group",
	"group.min.session.timeout.ms":                                "shortest session of a classic member",
	"log.flush":                                                   "ours: durable acknowledges what is synced, replicated does not wait for the disk",
	"log.retention.check.interval.ms":                             "how often retention and compaction look at the logs",
	"transaction.remove.expired.transaction.cleanup.interval.ms":  "how often transactional ids that are not used are looked for",
	"log.retention.hours":                                         "log.retention.ms in hours, where that and the minutes are not set",
	"log.retention.minutes":                                       "log.retention.ms in minutes, where that is not set",
	"log.roll.jitter.hours":                                       "log.roll.jitter.ms in hours, where that is not set",
	"log.roll.hours":                                              "log.roll.ms in hours, where that is not set",
	"listeners":                                                   "where the node listens, as listeners.kafka of the configuration file says",
	"log.dirs":                                                    "the data folder, as node.data_dir of the configuration file says",
	"advertised.listeners":                                        "what listeners.advertised of the configuration file says; without it each client is told the address it dialled",
	"max.connection.creation.rate":                                "connections that are accepted in a second",
	"max.connections":                                             "open connections",
	"max.connections.per.ip":                                      "open connections of one address",
	"max.connections.per.ip.overrides":                            "the same for addresses by name: address:connections, and so on",
	"max.incremental.fetch.session.cache.slots":                   "fetch sessions that are remembered",
	"max.request.partition.size.limit":                            "partitions in a DescribeTopicPartitions response",
	"num.partitions":                                              "partitions of a topic that asks for none",
	"offset.metadata.max.bytes":                                   "largest note that a member may keep with an offset",
	"offsets.retention.check.interval.ms":                         "how often old offsets, and groups that have neither members nor offsets, are removed",
	"offsets.retention.minutes":                                   "how long offsets of a group without members stay",
	"offsets.topic.num.partitions":                                "partitions of __consumer_offsets, when it is made",
	"offsets.topic.replication.factor":                            "replicas of __consumer_offsets, at most as many as there are brokers",
	"offsets.topic.segment.bytes":                                 "segment size of __consumer_offsets",
	"producer.id.expiration.ms":                                   "how long a producer that writes nothing is remembered in a partition",
	"quota.window.num":                                            "windows that rates are measured over",
	"quota.window.size.seconds":                                   "length of such a window",
	"socket.request.max.bytes":                                    "largest request, at most 100 MiB",
	"transaction.abort.timed.out.transaction.cleanup.interval.ms": "how often transactions that are too old are looked for",
	"transaction.max.timeout.ms":                                  "longest timeout of a transaction",
	"transaction.partition.verification.enable":                   "whether a batch is checked to be of an open transaction",
	"transaction.state.log.num.partitions":                        "partitions of __transaction_state, when it is made",
	"transaction.state.log.replication.factor":                    "replicas of __transaction_state, at most as many as there are brokers",
	"transaction.state.log.segment.bytes":                         "segment size of __transaction_state",
	"transactional.id.expiration.ms":                              "how long a transactional id that is not used is remembered",
	// client metrics
	"interval.ms": "kept for clients that ask; metrics are not taken",
	"match":       "kept for clients that ask; metrics are not taken",
	"metrics":     "kept for clients that ask; metrics are not taken",
}

// NoEffect is the documentation of every other key.
const NoEffect = "Kept, checked and described as in Apache Kafka 4.3.1; it has no effect here."

// ConfigDocumentation says in a sentence what a config key does here.
func ConfigDocumentation(key string) string {
	if text, ok := effects[key]; ok {
		return strings.ToUpper(text[:1]) + text[1:] + "."
	}
	known := knownConfigs()
	for _, defs := range []map[string]definition{known.topic, known.group} {
		for _, name := range slices.Sorted(maps.Keys(defs)) {
			if _, ok := effects[name]; ok && defs[name].broker == key {
				return "The default of " + name + ": " + effects[name] + "."
			}
		}
	}
	return NoEffect
}

// IsConfigKey tells whether Kafka knows a config key of that name, of anything.
func IsConfigKey(key string) bool {
	known := knownConfigs()
	for _, defs := range []map[string]definition{known.topic, known.broker, known.group, known.metrics} {
		if _, ok := defs[key]; ok {
			return true
		}
	}
	return false
}

// ConfigKey is a key for the reference.
type ConfigKey struct {
	Kind, Key, Default, Valid, Text string
	Dynamic                         bool // can be changed while the broker runs
}

// ConfigKeys returns the keys that have an effect, by kind and name.
func ConfigKeys() []ConfigKey {
	known := knownConfigs()
	var list []ConfigKey
	for _, kind := range []struct {
		name string
		defs map[string]definition
	}{{"topic", known.topic}, {"group", known.group}, {"broker", known.broker}} {
		for _, key := range slices.Sorted(maps.Keys(kind.defs)) {
			if def, text := kind.defs[key], ConfigDocumentation(key); text != NoEffect {
				list = append(list, ConfigKey{Kind: kind.name, Key: key, Default: def.value, Valid: def.valid, Text: text, Dynamic: !def.readOnly})
			}
		}
	}
	return list
}
