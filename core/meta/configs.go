package meta

import (
	"cmp"
	_ "embed"
	"fmt"
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
	SourceLogger        ConfigSource = 6
	SourceClientMetrics ConfigSource = 7
	SourceGroup         ConfigSource = 8
)

// definition is one config key that Kafka knows.
type definition struct {
	key                 string
	kind                ConfigType
	readOnly, sensitive bool
	value               string // default
	hasValue            bool
	broker              string // of a topic or group key: the broker key it falls back to
	valid               string // from..to, or words with | between; empty when the type says all
	quiet               bool   // described only where it is set
}

// definitions are all keys, by name.
type definitions struct{ topic, broker, group, metrics map[string]definition }

func (d definitions) of(t ResourceType) map[string]definition {
	return map[ResourceType]map[string]definition{ResourceTopic: d.topic, ResourceBroker: d.broker, ResourceGroup: d.group, ResourceClientMetrics: d.metrics}[t]
}

// ownBrokerKeys are ours; Kafka has none of them.
var ownBrokerKeys = []definition{{key: "log.flush", kind: TypeString, readOnly: true, value: "durable", hasValue: true}}

// throttleKeys are rates of replication, which Kafka knows only where they are set.
var throttleKeys = []string{"leader.replication.throttled.rate", "follower.replication.throttled.rate", "replica.alter.log.dirs.io.max.bytes.per.second"}

// timeKeys are topic keys whose broker key has another unit too, so that Kafka names none: the one in milliseconds is taken.
var timeKeys = map[string]string{"retention.ms": "log.retention.ms", "segment.ms": "log.roll.ms", "segment.jitter.ms": "log.roll.jitter.ms",
	"flush.ms": "log.flush.interval.ms"}

var knownConfigs = sync.OnceValue(func() definitions {
	d := definitions{topic: map[string]definition{}, broker: map[string]definition{}, group: map[string]definition{}, metrics: map[string]definition{}}
	tables := map[string]map[string]definition{"topic": d.topic, "broker": d.broker, "group": d.group, "client-metrics": d.metrics}
	for line := range strings.Lines(configTable) {
		if f := strings.Split(strings.TrimRight(line, "\n"), "\t"); len(f) == 8 { // all but the heading
			tables[f[0]][f[1]] = parseDefinition(f)
		}
	}
	for key, def := range d.topic {
		def.broker = cmp.Or(def.broker, timeKeys[key])
		if _, same := d.broker[key]; same && def.broker == "" {
			def.broker = key
		}
		d.topic[key] = def
	}
	for _, def := range ownBrokerKeys {
		d.broker[def.key] = def
	}
	for _, key := range throttleKeys {
		d.broker[key] = definition{key: key, kind: TypeLong, valid: "0..", quiet: true}
	}
	return d
})

// parseDefinition reads a row of configs.tsv, which is a file of ours.
func parseDefinition(f []string) definition {
	kind, err := strconv.Atoi(f[2])
	if err != nil {
		panic(fmt.Sprintf("configs.tsv: %q", f))
	}
	return definition{key: f[1], kind: ConfigType(kind), readOnly: f[3] == "true", sensitive: f[4] == "true", value: f[5], hasValue: f[5] != "-", broker: f[6], valid: f[7]}
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

// older are broker keys of older units, each with what one of it is in that of the key whose place they take where it is not set.
var older = map[string][]struct {
	key    string
	factor int64
}{
	"log.retention.ms":      {{"log.retention.minutes", 60_000}, {"log.retention.hours", 3_600_000}},
	"log.roll.ms":           {{"log.roll.hours", 3_600_000}},
	"log.roll.jitter.ms":    {{"log.roll.jitter.hours", 3_600_000}},
	"log.flush.interval.ms": {{"log.flush.scheduler.interval.ms", 1}},
}

// olderUnits are the values of the keys in whose place def is, in their own units.
func (c *Controller) olderUnits(i *Image, broker int32, def definition) []Synonym {
	var found []Synonym
	for _, o := range older[def.key] {
		found = append(found, c.brokerValue(i, broker, knownConfigs().broker[o.key])...)
	}
	return found
}

// ofOlderUnits finds the value of a broker key in a key of an older unit that is set, in the unit of def.
func (c *Controller) ofOlderUnits(i *Image, def definition) (Synonym, bool) {
	for _, o := range older[def.key] {
		for _, y := range c.brokerValue(i, c.opts.NodeID, knownConfigs().broker[o.key]) {
			if n, err := strconv.ParseInt(y.Value, 10, 64); err == nil && y.Source != SourceDefault {
				if n > 0 {
					n *= o.factor
				}
				return Synonym{o.key, strconv.FormatInt(n, 10), y.Source}, true
			}
		}
	}
	return Synonym{}, false
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
		of := c.brokerValue(i, c.opts.NodeID, b)
		if y, ok := c.ofOlderUnits(i, b); ok && len(of) == 0 {
			of = append(of, y)
		}
		found = append(found, of...)
	}
	if len(found) == 0 || found[len(found)-1].Source != SourceDefault {
		found = append(found, Synonym{def.key, def.value, SourceDefault})
	}
	return found
}

func entry(def definition, found []Synonym) ConfigEntry {
	e := ConfigEntry{Key: def.key, Type: def.kind, ReadOnly: def.readOnly, Sensitive: def.sensitive || def.kind == TypePassword, Source: SourceDefault, Null: true, Synonyms: found}
	if len(found) > 0 {
		e.Source = found[0].Source
		if found[0].Key == def.key || def.broker == found[0].Key {
			e.Value, e.Null = found[0].Value, false
		}
	}
	return e
}

// TopicConfig describes every topic config key as it applies to t, sorted by key.
func (c *Controller) TopicConfig(i *Image, t *Topic) []ConfigEntry {
	var list []ConfigEntry
	for _, def := range knownConfigs().topic {
		e := entry(def, c.topicValue(i, t, def))
		if b := knownConfigs().broker[def.broker]; !b.hasValue { // Kafka names no default where the broker key has none
			e.Synonyms = slices.DeleteFunc(e.Synonyms, func(y Synonym) bool { return y.Source == SourceDefault })
			if slices.ContainsFunc(e.Synonyms, func(y Synonym) bool { return y.Key == b.key }) {
				e.Synonyms = append(e.Synonyms, c.olderUnits(i, c.opts.NodeID, b)...)
			}
		}
		list = append(list, e)
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
		found := c.brokerValue(i, broker, def)
		if def.quiet && len(found) == 0 {
			continue
		}
		switch {
		case broker == AllBrokers:
			if found = setForAll(found); len(found) == 0 {
				continue
			}
		case len(found) > 0: // Kafka names them beside a value alone
			found = append(found, c.olderUnits(i, broker, def)...)
		}
		list = append(list, entry(def, found))
	}
	extra := map[string]bool{}
	for _, m := range []map[string]string{i.configs[broker], i.configs[AllBrokers], c.opts.Static} {
		for key := range m {
			if _, ok := known[key]; ok || extra[key] {
				continue
			}
			extra[key] = true
			def := definition{key: key, readOnly: true, sensitive: true} // unknown, so it may be a secret
			found := c.brokerValue(i, broker, def)
			if broker == AllBrokers {
				found = setForAll(found)
			}
			if len(found) > 0 {
				list = append(list, entry(def, found))
			}
		}
	}
	return sorted(list)
}

// setForAll leaves what was set for all brokers: Kafka names nothing else there that holds without it.
func setForAll(found []Synonym) []Synonym {
	return slices.DeleteFunc(found, func(y Synonym) bool { return y.Source != SourceDefaultBroker })
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

// sensitive tells whether a broker key may hold a secret; one that is unknown may.
func sensitive(key string) bool {
	def, known := knownConfigs().broker[key]
	return !known || def.sensitive || def.kind == TypePassword
}
