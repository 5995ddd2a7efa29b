package streams

import (
	"fmt"
	"testing"
)

// The vectors are those of Kafka's own test: a record must land where any other client would put it.
func TestMurmur2(t *testing.T) {
	for key, want := range map[string]int32{
		"21": -973932308, "foobar": -790332482, "a-little-bit-long-string": -985981536, "a-little-bit-longer-string": -1486304829,
		"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8": -58897971, "abc": 479470107,
	} {
		if got := int32(murmur2([]byte(key))); got != want {
			t.Errorf("murmur2(%q) = %d, want %d", key, got, want)
		}
	}
}

func TestTasksAreDividedFairlyAndStay(t *testing.T) {
	p, err := countingTopology("in", "table", "out", true).plan("app", map[string]int32{"in": 5, "table": 4})
	if err != nil {
		t.Fatal(err)
	}
	owners := map[Source]int{}
	check := func(members, movesAtMost int) {
		t.Helper()
		given, load, moved := p.divide(members, owners), map[int]int{}, 0
		if len(given) != 9 {
			t.Fatalf("%d tasks were given, want 9", len(given))
		}
		for id, member := range given {
			load[member]++
			for _, source := range p.sourcesOf(id) {
				if before, ok := owners[source]; ok && before != member {
					moved++
				}
				owners[source] = member
			}
		}
		for member := range members {
			if load[member] < 9/members || load[member] > (9+members-1)/members {
				t.Errorf("%d members: loads %v", members, load)
			}
		}
		if moved > movesAtMost {
			t.Errorf("%d members: %d partitions moved, want at most %d", members, moved, movesAtMost)
		}
	}
	check(1, 0)
	check(2, 8)
	check(2, 0)
	check(3, 6)
}

func TestPlan(t *testing.T) {
	p, err := countingTopology("in", "table", "out", true).plan("app", map[string]int32{"in": 5, "table": 4})
	if err != nil {
		t.Fatal(err)
	}
	// The repartition topic takes the number of the table it is joined with, not that of its writers.
	want := map[string]int32{"in": 5, "table": 4, "app-by-value-repartition": 4, "app-counts-changelog": 4}
	if fmt.Sprint(p.partitions) != fmt.Sprint(want) {
		t.Errorf("got %v, want %v", p.partitions, want)
	}
}
