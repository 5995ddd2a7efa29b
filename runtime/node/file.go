package node

import (
	"maps"
	"net"
	"strconv"
	"time"

	"github.com/milldam/milldam/core/config"
	"github.com/milldam/milldam/core/meta"
	"github.com/milldam/milldam/core/storage"
)

// File is the configuration file of `milldam server`.
type File struct {
	Node struct {
		ID      int32  `yaml:"id" default:"1" doc:"number of this broker"`
		DataDir string `yaml:"data_dir" default:"/var/lib/milldam" doc:"data folder"`
	} `yaml:"node" doc:"this node"`
	Listeners struct {
		Kafka      []string `yaml:"kafka" doc:"host:port to listen on; one for now"`
		Advertised string   `yaml:"advertised" doc:"host:port that clients are told to come to, where addresses are translated between them and the node, as by a container; without it each is told the address it dialled"`
		Console    string   `yaml:"console" default:"127.0.0.1:8080" doc:"host:port of metrics, health and status; none is no HTTP"`
		Insecure   bool     `yaml:"insecure" default:"false" doc:"listen on addresses that others can reach, although there is no authentication yet"`
	} `yaml:"listeners" doc:"where the node listens"`
	Topics struct {
		Defaults topicDefaults `yaml:"defaults" doc:"topic configs, by Kafka's names, of topics that set none"`
	} `yaml:"topics" doc:"topics"`
	Log struct {
		Flush string `yaml:"flush" default:"durable" enum:"durable,replicated" doc:"durable: an acknowledgement follows its sync; replicated: it does not wait for the disk"`
	} `yaml:"log" doc:"partition logs"`
	Storage struct {
		MinFree config.Size `yaml:"min_free" doc:"free space on the disk below which produce requests are refused; they are taken again at a quarter more. Without it 5 % of the disk, at least 1GiB and at most a quarter of the disk"`
		Reserve config.Size `yaml:"reserve" default:"64MiB" doc:"size of a file that is given up for groups, transactions and metadata when the disk is full, at most 1/32 of it; 0 is none"`
	} `yaml:"storage" doc:"the disk"`
	Pipelines struct {
		Dir string `yaml:"dir" doc:"folder of pipelines to run"`
	} `yaml:"pipelines" doc:"pipelines"`
	Kafka brokerConfigs `yaml:"kafka" doc:"broker configs by Kafka's names; durations such as 7d and sizes such as 1GiB are taken too"`
}

// topicDefaults are topic configs of all topics, under the broker keys that hold them.
type topicDefaults map[string]string

// ownNames are topic defaults that are no topic configs in Kafka.
var ownNames = map[string]string{"replication.factor": "default.replication.factor", "partitions": "num.partitions"}

// DecodeConfig implements config.Decoder.
func (m *topicDefaults) DecodeConfig(n config.Node) error {
	*m = topicDefaults{}
	return eachSetting(n, func(key, value string) error {
		broker, err := ownNames[key], error(nil)
		if broker == "" {
			broker, err = meta.TopicDefault(key, value)
		} else {
			err = meta.CheckStatic(broker, value)
		}
		(*m)[broker] = value
		return err
	})
}

// ConfigType names the type.
func (topicDefaults) ConfigType() string { return "a section" }

// brokerConfigs are broker configs by Kafka's names.
type brokerConfigs map[string]string

// DecodeConfig implements config.Decoder.
func (m *brokerConfigs) DecodeConfig(n config.Node) error {
	*m = brokerConfigs{}
	return eachSetting(n, func(key, value string) error {
		(*m)[key] = value
		return meta.CheckStatic(key, value)
	})
}

// ConfigType names the type.
func (brokerConfigs) ConfigType() string { return "a section" }

// eachSetting calls set with every field of a section, durations and sizes as Kafka writes them.
func eachSetting(n config.Node, set func(key, value string) error) error {
	entries, errs := n.Entries()
	for _, e := range entries {
		var text string
		if more := e.Value.Decode(&text); len(more) > 0 {
			errs = append(errs, more...)
			continue
		}
		if err := set(e.Key, config.KafkaValue(e.Key, text)); err != nil {
			errs = append(errs, e.Value.KeyErrorf("%v", err))
		}
	}
	return errs.Err()
}

// defaultRebalanceDelay is Kafka's.
const defaultRebalanceDelay = 3 * time.Second

// ParseFile reads a configuration file, and returns the options it makes and the folder of pipelines.
func ParseFile(name string, text []byte, o config.Options) (Options, string, config.Errors) {
	var f File
	if errs := config.Load(name, text, &f, o); len(errs) > 0 {
		return Options{}, "", errs
	}
	out := Options{Dir: f.Node.DataDir, NodeID: f.Node.ID, Advertised: f.Listeners.Advertised, HTTP: f.Listeners.Console, Insecure: f.Listeners.Insecure, Static: map[string]string{}, Names: fileNames,
		InitialRebalanceDelay: defaultRebalanceDelay}
	out.Kafka = DefaultKafka
	if len(f.Listeners.Kafka) > 0 {
		out.Kafka = f.Listeners.Kafka[0]
	}
	maps.Copy(out.Static, f.Topics.Defaults)
	maps.Copy(out.Static, f.Kafka)
	setMillis(&out.InitialRebalanceDelay, out.Static, "group.initial.rebalance.delay.ms")
	setMillis(&out.MaintainEvery, out.Static, "log.retention.check.interval.ms")
	out.MinFreeBytes, out.ReserveBytes = int64(f.Storage.MinFree), int64(f.Storage.Reserve)
	if out.ReserveBytes == 0 {
		out.ReserveBytes = -1
	}
	if f.Log.Flush == "replicated" || out.Static["log.flush"] == "replicated" {
		out.Flush = storage.FlushReplicated
		out.Static["log.flush"] = "replicated"
	}
	return out, f.Pipelines.Dir, nil
}

// setMillis takes a duration from a key that may be set.
func setMillis(d *time.Duration, static map[string]string, key string) {
	if ms, err := strconv.ParseInt(static[key], 10, 64); err == nil { // set, and checked when it was read
		*d = time.Duration(ms) * time.Millisecond
	}
}

// ownFields are Kafka's keys of what has a field of its own.
var ownFields = []struct{ key, field string }{
	{"advertised.listeners", "listeners.advertised to host:port"},
	{"listeners", "listeners.kafka to [host:port]"},
	{"log.dirs", "node.data_dir"},
	{"log.dir", "node.data_dir"},
	{"node.id", "node.id outside of the section kafka"},
	{"broker.id", "node.id outside of the section kafka"},
}

// Validate checks what single fields cannot.
func (f *File) Validate() error {
	if len(f.Listeners.Kafka) > 1 {
		return config.Fieldf("listeners.kafka", "one address for now")
	}
	for _, own := range ownFields {
		if _, set := f.Kafka[own.key]; set {
			return config.Fieldf("kafka", "%s has no effect here: set %s", own.key, own.field)
		}
	}
	if a := f.Listeners.Advertised; a != "" {
		host, port, err := net.SplitHostPort(a)
		if n, wrong := strconv.ParseUint(port, 10, 16); err != nil || host == "" || wrong != nil || n == 0 {
			return config.Fieldf("listeners.advertised", "%q is no host:port that a client could dial", a)
		}
	}
	return nil
}
