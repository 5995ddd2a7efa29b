package node

import (
	"log/slog"
	"maps"
	"net"
	"strconv"
	"time"

	"github.com/milldam/milldam/core/storage"
	"github.com/milldam/milldam/core/vfs"
)

// Options configure Start. The zero value is a node in .milldam on the default ports.
type Options struct {
	FS  vfs.FS // default the operating system's
	Dir string // default .milldam

	// Kafka and HTTP are host:port to listen on; port 0 picks one. When one is empty the default port is tried, and where it is taken the next that is free. None
	// as HTTP is no HTTP.
	Kafka, HTTP string
	// Advertised is host:port that clients are told to come to. Empty: each is told the address it dialled.
	Advertised string
	// Insecure allows addresses that are not on the loopback.
	Insecure bool

	// MinFreeBytes and ReserveBytes are storage's guards against a full disk.
	MinFreeBytes, ReserveBytes int64

	NodeID int32 // default 1
	Flush  storage.FlushMode
	Static map[string]string // Kafka's broker keys of the configuration file
	Logger *slog.Logger
	// LogLevel is that of Logger, which Kafka's tools may change; nil when it cannot be changed.
	LogLevel *slog.LevelVar
	Version  string

	// InitialRebalanceDelay is how long the first members of a group wait for others.
	InitialRebalanceDelay time.Duration
	// Names are how the user sets the options, for errors; the zero value is the flags of `milldam dev`.
	Names Names

	// MaintainEvery is how often retention and compaction look at the logs; default 30 s.
	MaintainEvery time.Duration
}

// static returns Kafka's broker keys that hold here without anybody's change: those of the configuration file, and what was decided about this node otherwise.
func (o Options) static(kafka net.Addr) map[string]string {
	keys := map[string]string{
		"listeners":                       "PLAINTEXT://" + kafka.String(),
		"log.dirs":                        o.Dir,
		"log.retention.check.interval.ms": strconv.FormatInt(o.MaintainEvery.Milliseconds(), 10),
	}
	if o.Advertised != "" {
		keys["advertised.listeners"] = "PLAINTEXT://" + o.Advertised
	}
	if o.InitialRebalanceDelay != defaultRebalanceDelay {
		keys["group.initial.rebalance.delay.ms"] = strconv.FormatInt(o.InitialRebalanceDelay.Milliseconds(), 10)
	}
	maps.Copy(keys, o.Static)
	return keys
}

// Names of options as errors give them.
type Names struct{ Dir, Kafka, HTTP, Insecure string }

var (
	flagNames = Names{Dir: "--dir", Kafka: "--listen", HTTP: "--http", Insecure: "listeners.insecure: true in the configuration file of `milldam server`"}
	fileNames = Names{Dir: "node.data_dir", Kafka: "listeners.kafka", HTTP: "listeners.console", Insecure: "listeners.insecure: true"}
)

// None as an address is not to listen.
const None = "none"

// Default addresses, as the ecosystem's.
const (
	DefaultKafka = "127.0.0.1:9092"
	DefaultHTTP  = "127.0.0.1:8080"
	DefaultDir   = ".milldam"
)

const defaultMaintainEvery = 30 * time.Second

func (o Options) withDefaults() Options {
	if o.FS == nil {
		o.FS = vfs.OS()
	}
	if o.Dir == "" {
		o.Dir = DefaultDir
	}
	if o.NodeID == 0 {
		o.NodeID = 1
	}
	if o.Names == (Names{}) {
		o.Names = flagNames
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.MaintainEvery <= 0 {
		o.MaintainEvery = defaultMaintainEvery
	}
	return o
}
