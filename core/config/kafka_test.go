package config

import "testing"

func TestKafkaValuesMayHaveUnits(t *testing.T) {
	for _, x := range []struct{ key, value, want string }{
		{"retention.ms", "7d", "604800000"},
		{"retention.ms", "604800000", "604800000"},
		{"retention.ms", "-1", "-1"},
		{"retention.ms", "1500us", "1500us"}, // no whole number of milliseconds
		{"retention.ms", "abc", "abc"},
		{"offsets.retention.minutes", "7d", "10080"},
		{"offsets.retention.minutes", "90s", "90s"},
		{"segment.bytes", "1GiB", "1073741824"},
		{"segment.bytes", "4096", "4096"},
		{"retention.bytes", "-1", "-1"},
		{"cleanup.policy", "compact", "compact"},
		{"some.name", "7d", "7d"},
	} {
		if got := KafkaValue(x.key, x.value); got != x.want {
			t.Errorf("%s=%s: %s, want %s", x.key, x.value, got, x.want)
		}
	}
}
