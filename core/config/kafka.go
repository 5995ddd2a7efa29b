package config

import (
	"strconv"
	"strings"
	"time"
)

// kafkaUnits are the units of time that Kafka's config keys end in.
var kafkaUnits = []struct {
	suffix string
	span   time.Duration
}{
	{".ms", time.Millisecond}, {".seconds", time.Second}, {".minutes", time.Minute}, {".hours", time.Hour},
}

// KafkaValue returns the value of one of Kafka's config keys as Kafka writes it: a duration such as 7d or a size such as 1GiB becomes a
// number of the unit that the key's name ends in. Any other value stays as it is, for the broker to judge.
func KafkaValue(key, value string) string {
	if strings.HasSuffix(key, ".bytes") {
		if size, err := ParseSize(value); err == nil {
			return strconv.FormatInt(int64(size), 10)
		}
		return value
	}
	for _, u := range kafkaUnits {
		if !strings.HasSuffix(key, u.suffix) {
			continue
		}
		if d, err := ParseDuration(value); err == nil && d.Std()%u.span == 0 {
			return strconv.FormatInt(int64(d.Std()/u.span), 10)
		}
	}
	return value
}
