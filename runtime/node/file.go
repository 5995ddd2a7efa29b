package node

import (
	"time"

	"github.com/milldam/milldam/core/config"
	"github.com/milldam/milldam/core/storage"
)

// File is the configuration file of `milldam server`.
type File struct {
	Node struct {
		ID      int32  `yaml:"id" default:"1" doc:"number of this broker"`
		DataDir string `yaml:"data_dir" default:"/var/lib/milldam" doc:"data folder"`
	} `yaml:"node" doc:"this node"`
	Listeners struct {
		Kafka    []string `yaml:"kafka" doc:"host:port to listen on; one for now"`
		Console  string   `yaml:"console" default:"127.0.0.1:8080" doc:"host:port of metrics, health and status; none is no HTTP"`
		Insecure bool     `yaml:"insecure" default:"false" doc:"listen on addresses that others can reach, although there is no authentication yet"`
	} `yaml:"listeners" doc:"where the node listens"`
	Topics struct {
		Defaults map[string]string `yaml:"defaults" doc:"topic configs, by Kafka's names, of topics that set none"`
	} `yaml:"topics" doc:"topics"`
	Log struct {
		Flush string `yaml:"flush" default:"durable" enum:"durable,replicated" doc:"durable: an acknowledgement follows its sync; replicated: it does not wait for the disk"`
	} `yaml:"log" doc:"partition logs"`
	Pipelines struct {
		Dir string `yaml:"dir" doc:"folder of pipelines to run"`
	} `yaml:"pipelines" doc:"pipelines"`
	Kafka map[string]string `yaml:"kafka" doc:"broker configs by Kafka's names, as they stand"`
}

// brokerKeys are the broker keys that give topic configs their defaults, where the names differ.
var brokerKeys = map[string]string{"retention.ms": "log.retention.ms", "retention.bytes": "log.retention.bytes", "segment.bytes": "log.segment.bytes",
	"segment.ms": "log.roll.ms", "cleanup.policy": "log.cleanup.policy", "max.message.bytes": "message.max.bytes", "replication.factor": "default.replication.factor",
	"partitions": "num.partitions", "message.timestamp.type": "log.message.timestamp.type"}

// defaultRebalanceDelay is Kafka's.
const defaultRebalanceDelay = 3 * time.Second

// ParseFile reads a configuration file, and returns the options it makes and the folder of pipelines.
func ParseFile(name string, text []byte, o config.Options) (Options, string, config.Errors) {
	var f File
	if errs := config.Load(name, text, &f, o); len(errs) > 0 {
		return Options{}, "", errs
	}
	out := Options{Dir: f.Node.DataDir, NodeID: f.Node.ID, HTTP: f.Listeners.Console, Insecure: f.Listeners.Insecure, Static: map[string]string{},
		InitialRebalanceDelay: defaultRebalanceDelay}
	out.Kafka = DefaultKafka
	if len(f.Listeners.Kafka) > 0 {
		out.Kafka = f.Listeners.Kafka[0]
	}
	for key, value := range f.Topics.Defaults {
		if other, ok := brokerKeys[key]; ok {
			key = other
		}
		out.Static[key] = value
	}
	for key, value := range f.Kafka {
		out.Static[key] = value
	}
	if f.Log.Flush == "replicated" || out.Static["log.flush"] == "replicated" {
		out.Flush = storage.FlushReplicated
		out.Static["log.flush"] = "replicated"
	}
	return out, f.Pipelines.Dir, nil
}

// Validate checks what single fields cannot.
func (f *File) Validate() error {
	if len(f.Listeners.Kafka) > 1 {
		return config.Fieldf("listeners.kafka", "one address for now")
	}
	return nil
}
