package meta

import (
	"cmp"
	_ "embed"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"sync"
)

//go:embed configs.tsv
var configTable string

// ConfigType is a type of config values, by its number in the protocol.
type ConfigType int8

// The types.
const (
	TypeBoolean  ConfigType = 1
	TypeString   ConfigType = 2
	TypeInt      ConfigType = 3
	TypeShort    ConfigType = 4
	TypeLong     ConfigType = 5
	TypeDouble   ConfigType = 6
	TypeList     ConfigType = 7
	TypeClass    ConfigType = 8
	TypePassword ConfigType = 9
)

// ConfigSource says where a value comes from, by its number in the protocol.
type ConfigSource int8

// The sources.
const (
	SourceTopic         ConfigSource = 1
	SourceBroker        ConfigSource = 2 // dynamic, of one broker
	SourceDefaultBroker ConfigSource = 3 // dynamic, of all brokers
	SourceStatic        ConfigSource = 4 // of the configuration file
	SourceDefault       ConfigSource = 5
)

// definition is one config key that Kafka knows.
type definition struct {
	key                 string
	kind                ConfigType
	readOnly, sensitive bool
	value               string // default
	hasValue            bool
	broker              string // of a topic key: the broker key it falls back to
}

// definitions are all keys, by name.
type definitions struct{ topic, broker map[string]definition }

// ownBrokerKeys are ours; Kafka has none of them.
var ownBrokerKeys = []definition{{key: "log.flush", kind: TypeString, readOnly: true, value: "durable", hasValue: true}}

// timeKeys are topic keys whose broker key has another unit too, so that Kafka names none: the one in milliseconds is taken.
var timeKeys = map[string]string{"retention.ms": "log.retention.ms", "segment.ms": "log.roll.ms", "segment.jitter.ms": "log.roll.jitter.ms",
	"flush.ms": "log.flush.interval.ms"}

var knownConfigs = sync.OnceValue(func() definitions {
	d := definitions{topic: map[string]definition{}, broker: map[string]definition{}}
	for line := range strings.Lines(configTable) {
		f := strings.Split(strings.TrimRight(line, "\n"), "\t")
		if len(f) != 7 {
			continue // the heading
		}
		kind, err := strconv.Atoi(f[2])
		if err != nil {
			panic(fmt.Sprintf("configs.tsv: %q", line)) // a file of ours
		}
		def := definition{key: f[1], kind: ConfigType(kind), readOnly: f[3] == "true", sensitive: f[4] == "true", value: f[5], hasValue: f[5] != "-"}
		if f[0] == "broker" {
			d.broker[def.key] = def
			continue
		}
		def.broker = cmp.Or(f[6], timeKeys[def.key])
		d.topic[def.key] = def
	}
	for key, def := range d.topic {
		if _, same := d.broker[key]; same && def.broker == "" {
			def.broker = key
			d.topic[key] = def
		}
	}
	for _, def := range ownBrokerKeys {
		d.broker[def.key] = def
	}
	return d
})

// bounds of the whole numbers that have any, and words of those that are words.
var (
	numberBounds = map[string][2]int64{
		"segment.bytes": {1 << 20, math.MaxInt32}, "segment.ms": {1, math.MaxInt64}, "segment.index.bytes": {4, math.MaxInt32},
		"max.message.bytes": {0, math.MaxInt32}, "index.interval.bytes": {0, math.MaxInt32}, "min.insync.replicas": {1, math.MaxInt32},
		"retention.ms": {-1, math.MaxInt64}, "retention.bytes": {-1, math.MaxInt64}, "delete.retention.ms": {0, math.MaxInt64},
		"min.compaction.lag.ms": {0, math.MaxInt64}, "max.compaction.lag.ms": {1, math.MaxInt64}, "flush.messages": {1, math.MaxInt64},
		"flush.ms": {0, math.MaxInt64}, "file.delete.delay.ms": {0, math.MaxInt64}, "local.retention.ms": {-2, math.MaxInt64},
		"local.retention.bytes": {-2, math.MaxInt64}, "message.timestamp.before.max.ms": {0, math.MaxInt64},
		"message.timestamp.after.max.ms": {0, math.MaxInt64}, "segment.jitter.ms": {0, math.MaxInt64},
		"compression.lz4.level": {1, 17}, "compression.zstd.level": {-131072, 22},
	}
	words = map[string][]string{
		"cleanup.policy": {"delete", "compact"}, "message.timestamp.type": {"CreateTime", "LogAppendTime"},
		"compression.type": {"producer", "uncompressed", "gzip", "snappy", "lz4", "zstd"},
	}
)

// check tells what is wrong with a value of the key.
func (d definition) check(value string) error {
	wrong := func(want string) error {
		return fmt.Errorf("%w: %s is %q, it must be %s", ErrInvalidConfig, d.key, value, want)
	}
	switch d.kind {
	case TypeBoolean:
		if value != "true" && value != "false" {
			return wrong("true or false")
		}
	case TypeInt, TypeShort, TypeLong:
		return d.checkNumber(value, wrong)
	case TypeDouble:
		f, err := strconv.ParseFloat(value, 64)
		if err != nil || math.IsNaN(f) || d.key == "min.cleanable.dirty.ratio" && (f < 0 || f > 1) {
			return wrong("a number, a ratio from 0 to 1")
		}
	case TypeList, TypeString:
		if allowed := words[d.key]; allowed != nil {
			for word := range strings.SplitSeq(value, ",") {
				if !slices.Contains(allowed, strings.TrimSpace(word)) || d.kind == TypeString && strings.Contains(value, ",") {
					return wrong(strings.Join(allowed, ", "))
				}
			}
		}
	}
	return nil
}

func (d definition) checkNumber(value string, wrong func(string) error) error {
	bits := map[ConfigType]int{TypeShort: 16, TypeInt: 32, TypeLong: 64}[d.kind]
	n, err := strconv.ParseInt(value, 10, bits)
	if err != nil {
		return wrong("a whole number")
	}
	if b, ok := numberBounds[d.key]; ok && (n < b[0] || n > b[1]) {
		return wrong(fmt.Sprintf("from %d to %d", b[0], b[1]))
	}
	return nil
}

// checkTopicConfig checks what is to be set on a topic. A key that Kafka does not know is refused, as there.
func checkTopicConfig(config map[string]string) error {
	for key, value := range config {
		def, ok := knownConfigs().topic[key]
		if !ok {
			return fmt.Errorf("%w: unknown topic config name: %s", ErrInvalidConfig, key)
		}
		if err := def.check(value); err != nil {
			return err
		}
	}
	return nil
}

// ConfigEntry is one described config value.
type ConfigEntry struct {
	Key, Value          string
	Null                bool // there is no value
	Type                ConfigType
	Source              ConfigSource
	ReadOnly, Sensitive bool
	Synonyms            []Synonym // the value's sources, the one that wins first
}

// Synonym is one source of a value.
type Synonym struct {
	Key, Value string
	Source     ConfigSource
}

// brokerValue finds a broker key's value and all its sources.
func (c *Controller) brokerValue(i *Image, broker int32, def definition) []Synonym {
	var found []Synonym
	if v, ok := i.configs[broker][def.key]; ok && broker != AllBrokers {
		found = append(found, Synonym{def.key, v, SourceBroker})
	}
	if v, ok := i.configs[AllBrokers][def.key]; ok {
		found = append(found, Synonym{def.key, v, SourceDefaultBroker})
	}
	if v, ok := c.opts.Static[def.key]; ok {
		found = append(found, Synonym{def.key, v, SourceStatic})
	}
	if def.hasValue {
		found = append(found, Synonym{def.key, def.value, SourceDefault})
	}
	return found
}

// topicValue finds a topic key's value and all its sources.
func (c *Controller) topicValue(i *Image, t *Topic, def definition) []Synonym {
	var found []Synonym
	if t != nil {
		if v, ok := t.Config[def.key]; ok {
			found = append(found, Synonym{def.key, v, SourceTopic})
		}
	}
	if b, ok := knownConfigs().broker[def.broker]; ok {
		b.hasValue = b.hasValue && b.value == def.value // where they differ the topic key's own default holds
		found = append(found, c.brokerValue(i, c.opts.NodeID, b)...)
	}
	if len(found) == 0 || found[len(found)-1].Source != SourceDefault {
		found = append(found, Synonym{def.key, def.value, SourceDefault})
	}
	return found
}

func entry(def definition, found []Synonym) ConfigEntry {
	e := ConfigEntry{Key: def.key, Type: def.kind, ReadOnly: def.readOnly, Sensitive: def.sensitive || def.kind == TypePassword, Source: SourceDefault, Null: true, Synonyms: found}
	if len(found) > 0 {
		e.Value, e.Source, e.Null = found[0].Value, found[0].Source, false
	}
	return e
}

// TopicConfig describes every topic config key as it applies to t, sorted by key.
func (c *Controller) TopicConfig(i *Image, t *Topic) []ConfigEntry {
	var list []ConfigEntry
	for _, def := range knownConfigs().topic {
		list = append(list, entry(def, c.topicValue(i, t, def)))
	}
	return sorted(list)
}

// TopicValue returns the value of one topic key as it applies to t, which may be nil, in Kafka's text form.
func (c *Controller) TopicValue(i *Image, t *Topic, key string) string {
	return c.topicValue(i, t, knownConfigs().topic[key])[0].Value
}

// BrokerConfig describes every broker config key as it applies to broker, and keys that nobody knows but that were set, sorted by key.
func (c *Controller) BrokerConfig(i *Image, broker int32) []ConfigEntry {
	known := knownConfigs().broker
	var list []ConfigEntry
	for _, def := range known {
		if found := c.brokerValue(i, broker, def); broker != AllBrokers || len(found) > 0 && found[0].Source == SourceDefaultBroker {
			list = append(list, entry(def, found))
		}
	}
	extra := map[string]bool{}
	for _, m := range []map[string]string{i.configs[broker], i.configs[AllBrokers], c.opts.Static} {
		for key := range m {
			if _, ok := known[key]; !ok && !extra[key] {
				extra[key] = true
				def := definition{key: key, kind: TypeString, sensitive: true} // unknown, so it may be a secret
				list = append(list, entry(def, c.brokerValue(i, broker, def)))
			}
		}
	}
	return sorted(list)
}

// BrokerValue returns the value of one broker key as it applies to this node; empty when there is none.
func (c *Controller) BrokerValue(i *Image, key string) string {
	def, ok := knownConfigs().broker[key]
	if !ok {
		def = definition{key: key}
	}
	if found := c.brokerValue(i, c.opts.NodeID, def); len(found) > 0 {
		return found[0].Value
	}
	return ""
}

// BrokerInt is BrokerValue as a whole number, which the checks made sure it is.
func (c *Controller) BrokerInt(i *Image, key string) int64 {
	n, err := strconv.ParseInt(c.BrokerValue(i, key), 10, 64)
	if err != nil {
		n, _ = strconv.ParseInt(knownConfigs().broker[key].value, 10, 64) // a value of the configuration file that is no number
	}
	return n
}

func sorted(list []ConfigEntry) []ConfigEntry {
	slices.SortFunc(list, func(a, b ConfigEntry) int { return cmp.Compare(a.Key, b.Key) })
	return list
}
