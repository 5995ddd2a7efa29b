package storage

import (
	"log/slog"
	"time"

	"github.com/milldam/milldam/core/record"
	"github.com/milldam/milldam/core/vfs"
)

// Options configure a Store.
type Options struct {
	FS     vfs.FS
	Dir    string // holds wal/, logs/ and quarantine/
	Flush  FlushMode
	Logger *slog.Logger
	// Topic tells whether metadata knows a topic, and how its logs are configured. Write-ahead records of unknown topics are
	// skipped; directories of unknown topics are moved to quarantine/ and never deleted.
	Topic func(record.TopicID) (name string, c LogConfig, ok bool)
	// OnAdvance is called by the committer after a round, with the logs whose Committed moved, before their Pendings resolve. It must not block
	// and must not keep the slice.
	OnAdvance func([]*Log)

	TailBytes    int64 // memory of all logs that is not in segments yet; default 64 MiB
	WALFileBytes int64 // size of one write-ahead log file; default 64 MiB
	WALFiles     int   // write-ahead log files kept for reuse; default 4
	OpenFiles    int   // segment files kept open; default 2048
	// CompactionKeys bounds the memory of one round of compaction, about 50 bytes a key: it goes as far into the log as this many different keys reach, and the next
	// round goes on from there. Default 1 Mi.
	CompactionKeys int
	// MinFreeBytes is the room on the disk below which clients' appends are refused; they are taken again at a quarter more. Default 5 % of the disk, at least
	// 1 GiB, and at most a quarter of the disk.
	MinFreeBytes int64
	// ReserveBytes is the size of the file that is given up for groups, transactions and metadata when the disk is full; at most 1/32 of the disk. Default 64
	// MiB, none when it is negative.
	ReserveBytes int64

	landmarkBytes int64 // how far the landmarks of a segment are apart at least; tests make them near
}

// FlushMode says when an append counts as committed.
type FlushMode int

// The flush modes.
const (
	FlushDurable    FlushMode = iota // after its sync
	FlushReplicated                  // once written to the page cache, as Kafka does
)

const (
	defaultTailBytes    = 64 << 20
	defaultWALFileBytes = 64 << 20
	defaultWALFiles     = 4
	defaultOpenFiles    = 2048
	defaultKeys         = 1 << 20 // of compaction

	defaultLandmarkBytes = 256 << 10
)

func (o Options) withDefaults() Options {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.OnAdvance == nil {
		o.OnAdvance = func([]*Log) {}
	}
	if o.landmarkBytes <= 0 {
		o.landmarkBytes = defaultLandmarkBytes
	}
	if o.TailBytes <= 0 {
		o.TailBytes = defaultTailBytes
	}
	if o.WALFileBytes <= 0 {
		o.WALFileBytes = defaultWALFileBytes
	}
	if o.WALFiles <= 0 {
		o.WALFiles = defaultWALFiles
	}
	if o.ReserveBytes == 0 {
		o.ReserveBytes = DefaultReserveBytes
	}
	if o.OpenFiles <= 0 {
		o.OpenFiles = defaultOpenFiles
	}
	if o.CompactionKeys <= 0 {
		o.CompactionKeys = defaultKeys
	}
	return o
}

// LogConfig is the part of a topic's configuration that its logs follow. Durations and sizes below zero mean no limit.
type LogConfig struct {
	CleanupDelete, CleanupCompact         bool
	SegmentBytes, RetentionBytes          int64
	SegmentAge, SegmentJitter, Retention  time.Duration
	SegmentIndexBytes                     int32 // of .index and .timeindex each
	FileDeleteDelay                       time.Duration
	IndexIntervalBytes, MaxMessageBytes   int32
	LogAppendTime                         bool
	TimestampBeforeMax, TimestampAfterMax time.Duration
	MinCompactionLag, MaxCompactionLag    time.Duration
	DeleteRetention                       time.Duration
	MinCleanableRatio                     float64
	// Recompress says that batches of another codec than Codec are compressed anew, with CompressionLevel.
	Recompress       bool
	Codec            record.Codec
	CompressionLevel int
	// ProducerExpiry is how long a producer's state is kept after its last batch.
	ProducerExpiry time.Duration
}

// segmentAge is the age at which a segment is sealed: a compacted one is so in time for max.compaction.lag.ms.
func (c *LogConfig) segmentAge() time.Duration {
	if lag := c.MaxCompactionLag; c.CleanupCompact && lag > 0 && (c.SegmentAge < 0 || lag < c.SegmentAge) {
		return lag
	}
	return c.SegmentAge
}

// DefaultLogConfig is what a topic has when nothing is set, as in Kafka.
func DefaultLogConfig() LogConfig {
	return LogConfig{CleanupDelete: true, SegmentBytes: 1 << 30, RetentionBytes: -1, SegmentAge: 7 * 24 * time.Hour, Retention: 7 * 24 * time.Hour,
		FileDeleteDelay: time.Minute, IndexIntervalBytes: 4096, MaxMessageBytes: 1048588, TimestampBeforeMax: -1, TimestampAfterMax: time.Hour,
		SegmentIndexBytes: 10 << 20, ProducerExpiry: 24 * time.Hour, MaxCompactionLag: -1, DeleteRetention: 24 * time.Hour, MinCleanableRatio: 0.5}
}
