package meta

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// Resource is something that has configs.
type Resource struct {
	Type ResourceType
	Name string
}

// ResourceType is a type of resources, by its number in the protocol.
type ResourceType int8

// The types. Loggers are of this process alone and not in the metadata.
const (
	ResourceTopic         ResourceType = 2
	ResourceBroker        ResourceType = 4
	ResourceLogger        ResourceType = 8
	ResourceClientMetrics ResourceType = 16
	ResourceGroup         ResourceType = 32
)

// ConfigOp is one change of configs.
type ConfigOp struct {
	Key, Value string
	Op         ConfigOpKind
}

// ConfigOpKind says what a ConfigOp does, by its number in the protocol.
type ConfigOpKind int8

// The operations. Append and Subtract are for lists.
const (
	OpSet ConfigOpKind = iota
	OpDelete
	OpAppend
	OpSubtract
)

// AlterConfig applies all ops to a resource, or none; with replace, what ops do not name goes back to its default. ErrInvalidConfig,
// ErrInvalidRequest, ErrUnknownTopic.
func (c *Controller) AlterConfig(ctx context.Context, r Resource, ops []ConfigOp, replace, dryRun bool) error {
	c.deciding.Lock()
	defer c.deciding.Unlock()
	cmd, err := c.decideConfig(c.Image(), r, ops, replace)
	if err != nil || dryRun {
		return err
	}
	return c.write(ctx, cmd)
}

// AlterTopicConfig is AlterConfig of a topic.
func (c *Controller) AlterTopicConfig(ctx context.Context, topic string, ops []ConfigOp, dryRun bool) error {
	return c.AlterConfig(ctx, Resource{ResourceTopic, topic}, ops, false, dryRun)
}

// AlterBrokerConfig is AlterConfig of one broker or AllBrokers.
func (c *Controller) AlterBrokerConfig(ctx context.Context, broker int32, ops []ConfigOp, dryRun bool) error {
	return c.AlterConfig(ctx, BrokerResource(broker), ops, false, dryRun)
}

// BrokerResource is the resource of one broker or AllBrokers.
func BrokerResource(id int32) Resource {
	if id == AllBrokers {
		return Resource{Type: ResourceBroker}
	}
	return Resource{ResourceBroker, strconv.Itoa(int(id))}
}

func (c *Controller) decideConfig(i *Image, r Resource, ops []ConfigOp, replace bool) (command, error) {
	if err := checkOps(ops); err != nil {
		return nil, err
	}
	switch r.Type {
	case ResourceTopic:
		return c.decideTopicConfig(i, r.Name, ops, replace)
	case ResourceBroker:
		return c.decideBrokerConfig(i, r.Name, ops, replace)
	case ResourceGroup:
		if r.Name == "" {
			return nil, refused(ErrInvalidRequest, "Default group resources are not allowed.")
		}
		return c.decideResourceConfig(i, r, ops, replace, c.checkGroup)
	case ResourceClientMetrics:
		if r.Name == "" {
			return nil, refused(ErrInvalidRequest, "Subscription name can't be empty")
		}
		return c.decideResourceConfig(i, r, ops, replace, func(_ *Image, config map[string]string) error { return checkClientMetrics(config) })
	}
	return nil, refused(ErrInvalidRequest, "Unknown resource type %d", r.Type)
}

func checkOps(ops []ConfigOp) error {
	seen := map[string]bool{}
	for _, op := range ops {
		switch {
		case op.Op < OpSet || op.Op > OpSubtract:
			return refused(ErrInvalidRequest, "Unknown config operation %d", op.Op)
		case seen[op.Key]:
			return refused(ErrInvalidRequest, "Error due to duplicate config keys")
		}
		seen[op.Key] = true
	}
	return nil
}

func (c *Controller) decideTopicConfig(i *Image, name string, ops []ConfigOp, replace bool) (command, error) {
	t, there := i.Topic(name), true
	if t == nil { // what is wrong with the ops is told before
		t, there = &Topic{Name: name}, false
	}
	known := knownConfigs().topic
	config, err := alter(t.Config, ops, replace, known, func(def definition) string { return c.topicValue(i, t, def)[0].Value })
	if err == nil && name == "" {
		err = refused(ErrInvalidRequest, "Default topic resources are not allowed.")
	}
	if err == nil {
		err = CheckTopicName(name)
	}
	if err == nil {
		err = checkTopicConfig(config)
	}
	if err == nil && !there {
		err = refused(ErrUnknownTopic, "The topic '%s' does not exist.", name)
	}
	return setTopicConfig{ID: t.ID, Config: config}, err
}

func (c *Controller) decideResourceConfig(i *Image, r Resource, ops []ConfigOp, replace bool, check func(*Image, map[string]string) error) (command, error) {
	config, err := alter(i.resources[r], ops, replace, knownConfigs().of(r.Type), func(def definition) string { return def.value })
	if err == nil {
		err = check(i, config)
	}
	return setResourceConfig{r, config}, err
}

// decideBrokerConfig takes keys that nobody knows, as Kafka does: they may be of a plug-in.
func (c *Controller) decideBrokerConfig(i *Image, name string, ops []ConfigOp, replace bool) (command, error) {
	id := AllBrokers
	if name != "" {
		n, err := strconv.ParseInt(name, 10, 32)
		if err != nil {
			return nil, refused(ErrInvalidRequest, "Node id must be an integer, but it is: %s", name)
		}
		if _, there := i.brokers[int32(n)]; !there {
			return nil, refused(ErrInvalidRequest, "Unexpected broker id, expected %d, but received %d", c.opts.NodeID, n)
		}
		id = int32(n)
	}
	known := knownConfigs().broker
	config, err := alter(i.configs[id], ops, replace, known, func(def definition) string {
		if found := c.brokerValue(i, id, def); len(found) > 0 {
			return found[0].Value
		}
		return ""
	})
	if err == nil {
		err = c.checkBroker(i, id, ops, config)
	}
	return setBrokerConfig{Broker: id, Config: config}, err
}

// alter applies ops to what is set; current gives the value that applies when nothing is set.
func alter(set map[string]string, ops []ConfigOp, replace bool, known map[string]definition, current func(definition) string) (map[string]string, error) {
	out := maps.Clone(set)
	if out == nil || replace {
		out = map[string]string{}
	}
	for _, op := range ops {
		def, isKnown := known[op.Key]
		switch op.Op {
		case OpSet:
			out[op.Key] = op.Value
		case OpDelete:
			delete(out, op.Key)
		case OpAppend, OpSubtract:
			if def.kind != TypeList {
				return nil, refused(ErrInvalidConfig, "Can't %s to key %s because its type is not LIST.", map[ConfigOpKind]string{OpAppend: "APPEND", OpSubtract: "SUBTRACT"}[op.Op], op.Key)
			}
			value, isSet := out[op.Key]
			if !isSet && isKnown {
				value = current(def)
			}
			out[op.Key] = alterList(value, op)
		}
	}
	for key, value := range out {
		if def, ok := known[key]; ok {
			out[key] = def.normal(value)
		}
	}
	return out, nil
}

func alterList(value string, op ConfigOp) string {
	list := words(value)
	for _, word := range opWords(op.Value) {
		at := slices.Index(list, word)
		switch {
		case op.Op == OpAppend && at < 0:
			list = append(list, word)
		case op.Op == OpSubtract && at >= 0:
			list = slices.Delete(list, at, at+1)
		}
	}
	return strings.Join(list, ",")
}

// opWords splits what an operation puts into a list or takes out of it, as Kafka does: nothing is a word, and commas at the end are none.
func opWords(value string) []string {
	if value == "" {
		return []string{""}
	}
	return strings.Split(strings.TrimRight(value, ","), ",")
}

// words splits a list.
func words(value string) []string {
	if strings.TrimSpace(value) == "" {
		return nil
	}
	var list []string
	for word := range strings.SplitSeq(value, ",") {
		list = append(list, strings.TrimSpace(word))
	}
	return list
}

// Resources returns the groups and subscriptions of client metrics that have configs, sorted.
func (i *Image) Resources() []Resource {
	return slices.SortedFunc(maps.Keys(i.resources), func(a, b Resource) int {
		if a.Type != b.Type {
			return int(a.Type) - int(b.Type)
		}
		return strings.Compare(a.Name, b.Name)
	})
}

// ResourceConfig describes every key of a group or a subscription of client metrics, sorted by key. It need not exist.
func (c *Controller) ResourceConfig(i *Image, r Resource) []ConfigEntry {
	var list []ConfigEntry
	for _, def := range knownConfigs().of(r.Type) {
		e := entry(def, c.resourceValue(i, r, def))
		if r.Type == ResourceClientMetrics { // Kafka names no default there
			e.Synonyms = slices.DeleteFunc(e.Synonyms, func(y Synonym) bool { return y.Source == SourceDefault })
		}
		list = append(list, e)
	}
	return sorted(list)
}

// GroupValue returns the value of one group key as it applies to a group.
func (c *Controller) GroupValue(i *Image, group, key string) string {
	return c.resourceValue(i, Resource{ResourceGroup, group}, knownConfigs().group[key])[0].Value
}

// sourceOf says what a value set on a resource is called.
var sourceOf = map[ResourceType]ConfigSource{ResourceGroup: SourceGroup, ResourceClientMetrics: SourceClientMetrics}

func (c *Controller) resourceValue(i *Image, r Resource, def definition) []Synonym {
	var found []Synonym
	if v, ok := i.resources[r][def.key]; ok {
		found = append(found, Synonym{def.key, v, sourceOf[r.Type]})
	}
	if b, ok := knownConfigs().broker[def.broker]; ok {
		return append(found, c.brokerValue(i, c.opts.NodeID, b)...)
	}
	return append(found, Synonym{def.key, def.value, SourceDefault})
}

// unknownKey is Kafka's answer to a key that it does not know.
func unknownKey(kind, key string) error {
	return refused(ErrInvalidConfig, "Unknown %s config name: %s", kind, key)
}

// invalidValue is Kafka's answer to a value that its key does not take.
func invalidValue(key, value, format string, args ...any) error {
	return refused(ErrInvalidConfig, "Invalid value %s for configuration %s: %s", value, key, fmt.Sprintf(format, args...))
}
