package node

import (
	"strings"
	"testing"
	"time"

	"github.com/milldam/milldam/core/config"
	"github.com/milldam/milldam/core/storage"
)

func TestConfigurationFile(t *testing.T) {
	o, dir, errs := ParseFile("m.yaml", []byte(`
node: { id: 7, data_dir: /data }
listeners: { kafka: ["127.0.0.1:9999"], console: none }
topics: { defaults: { retention.ms: 7d, partitions: 3, min.insync.replicas: 1, index.interval.bytes: 8KiB } }
log: { flush: replicated }
pipelines: { dir: pipes }
kafka: { message.max.bytes: 2MiB, group.initial.rebalance.delay.ms: 0, log.retention.check.interval.ms: 2s, offsets.retention.minutes: 14d }
`), config.Options{})
	if len(errs) > 0 {
		t.Fatal(errs.Render())
	}
	if o.NodeID != 7 || o.Dir != "/data" || o.Kafka != "127.0.0.1:9999" || o.HTTP != None || o.Flush != storage.FlushReplicated || dir != "pipes" {
		t.Errorf("%+v, %s", o, dir)
	}
	if o.InitialRebalanceDelay != 0 {
		t.Errorf("groups wait %s for members, want not at all", o.InitialRebalanceDelay)
	}
	if o.MaintainEvery != 2*time.Second {
		t.Errorf("retention looks every %s, want 2s", o.MaintainEvery)
	}
	for key, want := range map[string]string{"log.retention.ms": "604800000", "num.partitions": "3", "min.insync.replicas": "1", "log.index.interval.bytes": "8192",
		"message.max.bytes": "2097152", "offsets.retention.minutes": "20160", "log.flush": "replicated"} {
		if o.Static[key] != want {
			t.Errorf("%s is %q, want %q", key, o.Static[key], want)
		}
	}
	plain, _, errs := ParseFile("m.yaml", nil, config.Options{})
	if len(errs) > 0 || plain.InitialRebalanceDelay != 3*time.Second || plain.Kafka != DefaultKafka || plain.Insecure {
		t.Errorf("an empty file: %+v, %v", plain, errs)
	}
}

func TestMistakesInTheConfigurationFile(t *testing.T) {
	for name, x := range map[string]struct{ text, want string }{
		"unknown field":              {"listners: {}", `m.yaml:1:1: listners: unknown field, did you mean "listeners"?`},
		"unknown broker config":      {"kafka:\n  mesage.max.bytes: 1", `m.yaml:2:3: kafka.mesage.max.bytes: unknown broker config, did you mean "message.max.bytes"?`},
		"unknown topic config":       {"topics: { defaults: { retention.msx: 1 } }", `m.yaml:1:23: topics.defaults.retention.msx: unknown topic config, did you mean "retention.ms"?`},
		"no number":                  {"topics: { defaults: { retention.ms: long } }", `topics.defaults.retention.ms: Invalid value long for configuration retention.ms: Not a number of type LONG`},
		"no broker number":           {"kafka: { num.partitions: many }", `kafka.num.partitions: Invalid value many for configuration num.partitions: Not a number of type INT`},
		"out of bounds":              {"kafka: { log.segment.bytes: 1 }", "Value must be at least 1048576"},
		"no word":                    {"kafka: { log.cleanup.policy: keep }", "String must be one of: compact, delete"},
		"a topic's own":              {"topics: { defaults: { remote.storage.enable: true } }", "there is no default for all"},
		"two listeners":              {"listeners: { kafka: [a, b] }", "listeners.kafka: one address for now"},
		"advertised by Kafka's name": {"kafka: { advertised.listeners: PLAINTEXT://a:1 }", "listeners.advertised"},
		"listeners by Kafka's name":  {"kafka: { listeners: PLAINTEXT://a:1 }", "listeners.kafka"},
		"folder by Kafka's name":     {"kafka: { log.dirs: /data }", "node.data_dir"},
		"number by Kafka's name":     {"kafka: { broker.id: 7 }", "node.id"},
		"advertised without a port":  {"listeners: { advertised: example.com }", `m.yaml:1:26: listeners.advertised: "example.com" is no host:port`},
		"advertised port 0":          {"listeners: { advertised: example.com:0 }", "is no host:port"},
		"a section for a setting":    {"kafka: { num.partitions: { a: 1 } }", "kafka.num.partitions: expected"},
	} {
		t.Run(name, func(t *testing.T) {
			_, _, errs := ParseFile("m.yaml", []byte(x.text), config.Options{})
			if len(errs) != 1 || !strings.Contains(errs.Error(), x.want) {
				t.Errorf("it says %q, want %q", errs.Error(), x.want)
			}
		})
	}
}
