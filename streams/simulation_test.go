package streams_test

import (
	"encoding/binary"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/milldam/milldam/streams"
)

func at(ms int64) time.Time { return time.UnixMilli(ms).UTC() }

func msg(key, value string, ms int64) streams.Message {
	return streams.Message{Key: []byte(key), Value: []byte(value), Time: at(ms)}
}

func simulate(t *testing.T, top *streams.Topology, o streams.SimulationOptions) *streams.Simulation {
	t.Helper()
	s, err := streams.Simulate(top, o)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// shown prints records of string keys and values as key=value@time.
func shown(messages []streams.Message) []string {
	var out []string
	for _, m := range messages {
		value := string(m.Value)
		if m.Value == nil {
			value = "⊥"
		}
		out = append(out, fmt.Sprintf("%s=%s@%d", m.Key, value, m.Time.UnixMilli()))
	}
	return out
}

func want(t *testing.T, got []streams.Message, want ...string) {
	t.Helper()
	if !slices.Equal(shown(got), want) {
		t.Errorf("got  %q\nwant %q", shown(got), want)
	}
}

func TestWordCountThroughARepartition(t *testing.T) {
	s := simulate(t, declared(), streams.SimulationOptions{Partitions: map[string]int32{"lines": 3, "word-counts": 2, "clicks": 2, "pages": 2}})
	for i, line := range []string{"to be or not", "To be", "be"} {
		must(t, s.SendTo("lines", int32(i), msg("", line, int64(i))))
	}
	counts := map[string]int64{}
	for _, m := range s.Read("word-counts") {
		counts[string(m.Key)] = int64(binary.BigEndian.Uint64(m.Value))
	}
	if fmt.Sprint(counts) != "map[be:3 not:1 or:1 to:2]" {
		t.Error(counts)
	}
}
