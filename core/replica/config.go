package replica

import (
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/milldam/milldam/core/meta"
	"github.com/milldam/milldam/core/record"
	"github.com/milldam/milldam/core/storage"
)

// logConfig turns the topic's configuration, which the metadata has checked, into its logs'.
func logConfig(c *meta.Controller, i *meta.Image, t *meta.Topic) storage.LogConfig {
	v := values{c, i, t}
	policy := strings.Split(v.text("cleanup.policy"), ",")
	has := func(word string) bool {
		for _, p := range policy {
			if strings.TrimSpace(p) == word {
				return true
			}
		}
		return false
	}
	ratio, err := strconv.ParseFloat(v.text("min.cleanable.dirty.ratio"), 64)
	if err != nil {
		ratio = storage.DefaultLogConfig().MinCleanableRatio
	}
	codec, level, recompress := v.compression()
	return storage.LogConfig{
		Recompress: recompress, Codec: codec, CompressionLevel: level,
		ProducerExpiry: time.Duration(c.BrokerInt(i, "producer.id.expiration.ms")) * time.Millisecond,
		SegmentJitter:  v.millis("segment.jitter.ms"), SegmentIndexBytes: int32(v.number("segment.index.bytes")),
		CleanupDelete: has("delete"), CleanupCompact: has("compact"),
		SegmentBytes: v.number("segment.bytes"), RetentionBytes: v.number("retention.bytes"),
		SegmentAge: v.millis("segment.ms"), Retention: v.millis("retention.ms"), FileDeleteDelay: v.millis("file.delete.delay.ms"),
		IndexIntervalBytes: int32(v.number("index.interval.bytes")), MaxMessageBytes: int32(v.number("max.message.bytes")),
		LogAppendTime:      v.text("message.timestamp.type") == "LogAppendTime",
		TimestampBeforeMax: v.millis("message.timestamp.before.max.ms"), TimestampAfterMax: v.millis("message.timestamp.after.max.ms"),
		MinCompactionLag: v.millis("min.compaction.lag.ms"), MaxCompactionLag: v.millis("max.compaction.lag.ms"),
		DeleteRetention: v.millis("delete.retention.ms"), MinCleanableRatio: ratio,
	}
}

// lz4Default is Kafka's default level, which means its fast compressor.
const lz4Default = 9

// compression is what batches of other codecs are compressed to; recompress is false when they stay as the producer made them.
func (v values) compression() (codec record.Codec, level int, recompress bool) {
	name := v.text("compression.type")
	codec, err := record.ParseCodec(name)
	if err != nil { // producer
		return record.None, record.DefaultLevel, false
	}
	if codec == record.Gzip || codec == record.LZ4 || codec == record.Zstd {
		level = int(v.number("compression." + name + ".level"))
	}
	if codec == record.LZ4 && level == lz4Default {
		level = record.DefaultLevel
	}
	return codec, level, true
}

// values reads the configuration of one topic.
type values struct {
	controller *meta.Controller
	image      *meta.Image
	topic      *meta.Topic
}

func (v values) text(key string) string { return v.controller.TopicValue(v.image, v.topic, key) }

func (v values) number(key string) int64 {
	n, err := strconv.ParseInt(v.text(key), 10, 64)
	if err != nil { // checked when it was set
		return -1
	}
	return n
}

// millis is a duration; -1, and what is longer than a Duration holds, is no limit.
func (v values) millis(key string) time.Duration {
	n := v.number(key)
	if n < 0 || n > math.MaxInt64/int64(time.Millisecond) {
		return -1
	}
	return time.Duration(n) * time.Millisecond
}
