package meta

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/milldam/milldam/core/vfs"
)

func TestConfigValuesAreCheckedAsKafkaChecksThem(t *testing.T) {
	c := open(t, vfs.NewMem())
	create(t, c, "t")
	topic, group, metrics := Resource{ResourceTopic, "t"}, Resource{ResourceGroup, "g"}, Resource{ResourceClientMetrics, "m"}
	all, one := Resource{Type: ResourceBroker}, Resource{ResourceBroker, "1"}
	set := func(pairs ...string) (ops []ConfigOp) {
		for i := 0; i < len(pairs); i += 2 {
			ops = append(ops, ConfigOp{Key: pairs[i], Value: pairs[i+1]})
		}
		return ops
	}
	for _, tc := range []struct {
		resource Resource
		ops      []ConfigOp
		want     error
		text     string
	}{
		{topic, set("retention.ms", " 5 ", "preallocate", "TRUE"), nil, ""},
		{Resource{ResourceTopic, "no/slash"}, []ConfigOp{{Key: "retention.ms", Value: "5", Op: OpAppend}}, ErrInvalidConfig, "not LIST"}, // before the name
		{Resource{Type: ResourceTopic}, []ConfigOp{{Key: "compression.type", Value: "odd", Op: OpSubtract}}, ErrInvalidConfig, "not LIST"},
		{Resource{ResourceTopic, "no/slash"}, set("retention.ms", "many"), ErrInvalidTopic, "no/slash"},
		{topic, set("cleanup.policy", ""), nil, ""},
		{topic, set("cleanup.policy", "compact, delete"), nil, ""},
		{topic, set("cleanup.policy", "compress"), ErrInvalidConfig, "must be one of: compact, delete"},
		{topic, set("retention.ms", "-2"), ErrInvalidConfig, "at least -1"},
		{topic, set("retention.ms", "1d"), ErrInvalidConfig, "Not a number of type LONG"},
		{topic, set("segment.bytes", "4294967296"), ErrInvalidConfig, "Not a number of type INT"},
		{topic, set("compression.gzip.level", "-1"), nil, ""},
		{topic, set("compression.gzip.level", "0"), ErrInvalidConfig, "between 1 and 9 or equal to -1"},
		{topic, set("compression.lz4.level", "18"), ErrInvalidConfig, "no more than 17"},
		{topic, set("min.cleanable.dirty.ratio", "1.1"), ErrInvalidConfig, "no more than 1"},
		{topic, set("preallocate", "yes"), ErrInvalidConfig, "true or false"},
		{topic, set("min.compaction.lag.ms", "10", "max.compaction.lag.ms", "5"), ErrInvalidConfig, "conflict"},
		{topic, set("remote.storage.enable", "true"), ErrInvalidConfig, "Tiered Storage"},
		{topic, set("leader.replication.throttled.replicas", "0:1,1:1"), nil, ""},
		{topic, set("leader.replication.throttled.replicas", "*"), nil, ""},
		{topic, set("leader.replication.throttled.replicas", "0"), ErrInvalidConfig, "literal '*'"},
		{topic, set("retentoin.ms", "1"), ErrInvalidConfig, "Unknown topic config name: retentoin.ms"},
		{topic, []ConfigOp{{Key: "retention.ms", Value: "1", Op: OpAppend}}, ErrInvalidConfig, "not LIST"},
		{topic, []ConfigOp{{Key: "cleanup.policy", Value: "", Op: OpAppend}}, ErrInvalidConfig, "cleanup.policy"},
		{topic, []ConfigOp{{Key: "cleanup.policy", Value: "compact,", Op: OpAppend}}, nil, ""},
		{topic, []ConfigOp{{Key: "retention.ms", Value: "1", Op: 9}}, ErrInvalidRequest, "operation"},
		{topic, set("retention.ms", "1", "retention.ms", "2"), ErrInvalidRequest, "duplicate"},
		{topic, []ConfigOp{{Key: "nobody.set.it", Op: OpDelete}}, nil, ""},
		{Resource{Type: ResourceTopic}, nil, ErrInvalidRequest, "Default topic"},
		{Resource{ResourceTopic, "none"}, nil, ErrUnknownTopic, "does not exist"},
		{Resource{77, "x"}, nil, ErrInvalidRequest, "Unknown resource type 77"},
		{all, set("a.plug.ins.key", "x"), nil, ""},
		{all, set("log.retention.ms", "x"), ErrInvalidRequest, "LONG"},
		{all, set("broker.id", "2"), ErrInvalidRequest, "dynamically: [broker.id]"},
		{all, set("ssl.protocol", "TLSv1.3"), ErrInvalidRequest, "broker id must be specified"},
		{one, set("ssl.protocol", "TLSv1.3"), nil, ""},
		{one, set("ssl.keystore.location", "x"), ErrInvalidRequest, "per-listener"},
		{all, set("num.io.threads", "16"), nil, ""},
		{all, set("num.io.threads", "17"), ErrInvalidRequest, "double the current value 8"},
		{all, set("num.io.threads", "3"), ErrInvalidRequest, "half the current value 8"},
		{all, set("max.connections.per.ip", "0"), ErrInvalidRequest, "overrides"},
		{all, set("max.connections.per.ip", "0", "max.connections.per.ip.overrides", "127.0.0.1:5"), nil, ""},
		{all, set("max.connections.per.ip.overrides", "127.0.0.1"), ErrInvalidRequest, "want address:connections"},
		{all, set("log.cleaner.min.compaction.lag.ms", "2", "log.cleaner.max.compaction.lag.ms", "1"), ErrInvalidRequest, "more than"},
		{all, set("leader.replication.throttled.rate", "100"), nil, ""},
		{Resource{ResourceBroker, "2"}, nil, ErrInvalidRequest, "expected 1, but received 2"},
		{Resource{ResourceBroker, "x"}, nil, ErrInvalidRequest, "integer"},
		{group, set("consumer.session.timeout.ms", "50000"), nil, ""},
		{group, set("consumer.session.timeout.ms", "1"), ErrInvalidConfig, "group.consumer.min.session.timeout.ms"},
		{group, set("consumer.heartbeat.interval.ms", "100000"), ErrInvalidConfig, "group.consumer.max.heartbeat.interval.ms"},
		{group, set("share.auto.offset.reset", "by_duration:P1DT2H"), nil, ""},
		{group, set("share.auto.offset.reset", "by_duration:P"), ErrInvalidConfig, "by_duration"},
		{group, set("session.timeout.ms", "50000"), ErrInvalidConfig, "Unknown group config name"},
		{Resource{Type: ResourceGroup}, nil, ErrInvalidRequest, "Default group"},
		{metrics, set("interval.ms", "1000", "metrics", "a.b,c", "match", "client_id=x.*"), nil, ""},
		{metrics, set("interval.ms", "99"), ErrInvalidRequest, "between 100 and 3600000"},
		{metrics, set("match", "colour=red"), ErrInvalidConfig, "colour=red"},
		{metrics, set("match", "client_id=["), ErrInvalidConfig, "pattern"},
		{metrics, set("intervals.ms", "1"), ErrInvalidRequest, "Unknown client metrics"},
	} {
		err := c.AlterConfig(t.Context(), tc.resource, tc.ops, false, true)
		if !errors.Is(err, tc.want) || err != nil && !strings.Contains(err.Error(), tc.text) {
			t.Errorf("%v %v: %v, want %v with %q", tc.resource, tc.ops, err, tc.want, tc.text)
		}
	}
}

func TestAlteredConfigsAreDescribed(t *testing.T) {
	fs := vfs.NewMem()
	c := open(t, fs)
	create(t, c, "t") // with retention.ms
	must(t, c.AlterConfig(t.Context(), Resource{ResourceTopic, "t"}, []ConfigOp{{Key: "cleanup.policy", Value: "compact", Op: OpAppend}}, false, false))
	must(t, c.AlterConfig(t.Context(), Resource{ResourceTopic, "t"}, []ConfigOp{{Key: "cleanup.policy", Value: "delete", Op: OpSubtract}}, false, false))
	if config := c.Image().Topic("t").Config; config["cleanup.policy"] != "compact" || config["retention.ms"] != "-1" {
		t.Errorf("appended and subtracted: %v", config)
	}
	must(t, c.AlterConfig(t.Context(), Resource{ResourceTopic, "t"}, []ConfigOp{{Key: "preallocate", Value: " TRUE "}}, true, false))
	if config := c.Image().Topic("t").Config; len(config) != 1 || config["preallocate"] != "true" {
		t.Errorf("replaced: %v", config)
	}
	g := Resource{ResourceGroup, "g"}
	must(t, c.AlterConfig(t.Context(), g, []ConfigOp{{Key: "consumer.session.timeout.ms", Value: "50000"}}, false, false))
	must(t, c.AlterBrokerConfig(t.Context(), AllBrokers, []ConfigOp{{Key: "group.consumer.assignment.interval.ms", Value: "7"}}, false))
	must(t, c.Close())
	c = open(t, fs)
	i := c.Image()
	if got := c.GroupValue(i, "g", "consumer.session.timeout.ms"); got != "50000" {
		t.Errorf("of the group: %s", got)
	}
	if got := c.GroupValue(i, "other", "consumer.session.timeout.ms"); got != "45000" {
		t.Errorf("of another group: %s", got)
	}
	if got := c.GroupValue(i, "g", "consumer.assignment.interval.ms"); got != "7" {
		t.Errorf("from the brokers: %s", got)
	}
	must(t, c.AlterConfig(t.Context(), g, []ConfigOp{{Key: "consumer.session.timeout.ms", Op: OpDelete}}, false, false))
	if list := c.Image().Resources(); len(list) != 0 {
		t.Errorf("a group without configs is still listed: %v", list)
	}
}

func TestDefaultsOfAllBrokersNameNoOtherSources(t *testing.T) {
	c, err := Open(t.Context(), Options{FS: vfs.NewMem(), Dir: "meta", NodeID: 1, Static: map[string]string{"log.retention.ms": "9", "num.partitions": "3", "of.another": "x"}})
	must(t, err)
	defer c.Close()
	if got := c.BrokerConfig(c.Image(), AllBrokers); len(got) != 0 {
		t.Errorf("nothing was set, and there is %+v", got)
	}
	must(t, c.AlterBrokerConfig(t.Context(), AllBrokers, []ConfigOp{{Key: "log.retention.ms", Value: "5"}}, false))
	got := c.BrokerConfig(c.Image(), AllBrokers)
	if want := []Synonym{{"log.retention.ms", "5", SourceDefaultBroker}}; len(got) != 1 || got[0].Value != "5" || !slices.Equal(got[0].Synonyms, want) {
		t.Errorf("got %+v, want one key with the synonyms %v", got, want)
	}
}

func TestOlderUnitsOfBrokerKeysCount(t *testing.T) {
	c, err := Open(t.Context(), Options{FS: vfs.NewMem(), Dir: "meta", NodeID: 1, Static: map[string]string{"log.retention.hours": "2", "log.retention.minutes": "-1", "log.roll.hours": "3"}})
	must(t, err)
	defer c.Close()
	if got := c.TopicValue(c.Image(), nil, "retention.ms"); got != "-1" {
		t.Errorf("retention.ms is %s, want that of the minutes", got)
	}
	if got := c.TopicValue(c.Image(), nil, "segment.ms"); got != "10800000" {
		t.Errorf("segment.ms is %s, want three hours", got)
	}
}

func TestDocumentationIsOfKeysThatAreKnown(t *testing.T) {
	for key := range effects {
		if !IsConfigKey(key) {
			t.Errorf("%s is documented, and nobody knows it", key)
		}
	}
	for key, want := range map[string]string{"retention.ms": "How old", "log.retention.ms": "The default of retention.ms", "num.io.threads": "no effect"} {
		if got := ConfigDocumentation(key); !strings.Contains(got, want) {
			t.Errorf("%s: %q, want %q", key, got, want)
		}
	}
}

// FuzzConfigValues sets any value of any key: it is refused, or what was set is described and can be set again.
func FuzzConfigValues(f *testing.F) {
	for _, seed := range [][2]string{{"retention.ms", "-1"}, {"cleanup.policy", "compact,,delete"}, {"min.cleanable.dirty.ratio", "NaN"}, {"leader.replication.throttled.replicas", "0:1,*"},
		{"max.connections.per.ip.overrides", "[::1]:5,a:"}, {"share.auto.offset.reset", "by_duration:P1D"}, {"match", "client_id=(((("}, {"compression.gzip.level", "-1"}, {"no.such.key", "\xff"}} {
		f.Add(seed[0], seed[1])
	}
	c := &Controller{}
	i := emptyImage().withTopic(&Topic{Name: "t"})
	i.brokers[1] = Broker{ID: 1}
	f.Fuzz(func(t *testing.T, key, value string) {
		for _, r := range []Resource{{ResourceTopic, "t"}, {ResourceBroker, ""}, {ResourceBroker, "1"}, {ResourceGroup, "g"}, {ResourceClientMetrics, "m"}} {
			cmd, err := c.decideConfig(i, r, []ConfigOp{{Key: key, Value: value}}, false)
			if err != nil {
				continue
			}
			if _, err := c.decideConfig(i.apply(cmd), r, []ConfigOp{{Key: key, Value: value}}, true); err != nil {
				t.Errorf("%v: %s=%q was set, and cannot be set again: %v", r, key, value, err)
			}
		}
	})
}

// TestListenersAreNotChangedWhileTheBrokerRuns: Kafka can, here nothing would listen there.
func TestListenersAreNotChangedWhileTheBrokerRuns(t *testing.T) {
	c := &Controller{opts: Options{NodeID: 1, Static: map[string]string{"listeners": "PLAINTEXT://127.0.0.1:9092"}}}
	i := emptyImage()
	i.brokers[1] = Broker{ID: 1}
	set := func(value string) error {
		_, err := c.decideConfig(i, BrokerResource(1), []ConfigOp{{Key: "listeners", Value: value}}, false)
		return err
	}
	if err := set("PLAINTEXT://:1"); !errors.Is(err, ErrInvalidRequest) {
		t.Errorf("another address: %v", err)
	}
	if err := set("PLAINTEXT://127.0.0.1:9092"); err != nil {
		t.Errorf("the same: %v", err)
	}
}
