package coordinator

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/milldam/milldam/core/record"
)

// randomInput is a group of members that read some of the topics, or all of them.
func randomInput(rng *rand.Rand, sameForAll bool) assignorInput {
	in := assignorInput{subscribed: map[string][]record.TopicID{}, counts: map[record.TopicID]int32{}, current: map[string]partitions{}}
	var topics []record.TopicID
	for i := range 1 + rng.IntN(5) {
		topics = append(topics, topicID(fmt.Sprintf("t%d", i)))
		in.counts[topics[i]] = rng.Int32N(12)
	}
	for i := range 1 + rng.IntN(9) {
		id := fmt.Sprintf("m%d", i)
		in.members = append(in.members, id)
		for _, topic := range topics {
			if sameForAll || rng.IntN(2) == 0 {
				in.subscribed[id] = append(in.subscribed[id], topic)
			}
		}
	}
	return in
}

// check tests that every partition that somebody reads is with one who does, and returns how many each member has.
func (in assignorInput) check(t *testing.T, out map[string]partitions) (load map[string]int) {
	t.Helper()
	load = map[string]int{}
	owner := map[topicPartition]string{}
	for id, have := range out {
		for topic, list := range have {
			if !slices.Contains(in.subscribed[id], topic) || !slices.IsSorted(list) {
				t.Fatalf("%s has %v of topic %s", id, list, topic[:2])
			}
			for _, p := range list {
				tp := topicPartition{topic, p}
				if owner[tp] != "" || p < 0 || p >= in.counts[topic] {
					t.Fatalf("%v is with %s and %s", tp, owner[tp], id)
				}
				owner[tp] = id
				load[id]++
			}
		}
	}
	want := 0
	for topic := range in.subscribers() {
		want += int(in.counts[topic])
	}
	if len(owner) != want {
		t.Fatalf("%d of %d partitions are assigned", len(owner), want)
	}
	return load
}

func TestUniformSharesEvenly(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 7))
	for range 500 {
		in := randomInput(rng, true)
		load := in.check(t, assignUniform(in))
		least, most := 1<<30, 0
		for _, id := range in.members {
			least, most = min(least, load[id]), max(most, load[id])
		}
		if most-least > 1 {
			t.Fatalf("from %d to %d partitions a member", least, most)
		}
	}
}

func TestUniformSharesEvenlyWhatFewMayHave(t *testing.T) {
	rng := rand.New(rand.NewPCG(2, 7))
	for range 500 {
		in := randomInput(rng, false)
		out := assignUniform(in)
		load := in.check(t, out)
		for id, have := range out {
			for topic := range have {
				for _, other := range in.subscribers()[topic] {
					if load[id] > load[other]+1 {
						t.Fatalf("%s has %d partitions, %s, which could have one of them, %d", id, load[id], other, load[other])
					}
				}
			}
		}
	}
}

func TestUniformMovesAsLittleAsItCan(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 7))
	for range 300 {
		in := randomInput(rng, rng.IntN(2) == 0)
		in.current = assignUniform(in)
		for id, have := range assignUniform(in) {
			if !samePartitions(have, in.current[id]) {
				t.Fatalf("nothing changed, and %s has %v instead of %v", id, have, in.current[id])
			}
		}
	}
	in := randomInput(rng, true)
	in.members, in.subscribed = nil, map[string][]record.TopicID{}
	topic := topicID("t")
	in.counts = map[record.TopicID]int32{topic: 12}
	for i := range 4 {
		id := fmt.Sprintf("m%d", i)
		in.members, in.subscribed[id] = append(in.members, id), []record.TopicID{topic}
		if i == 2 {
			in.current = assignUniform(in)
		}
	}
	out, kept := assignUniform(in), 0
	for id, have := range in.current {
		for _, p := range have[topic] {
			if slices.Contains(out[id][topic], p) {
				kept++
			}
		}
	}
	if kept != 9 {
		t.Errorf("a fourth member came, and %d of 12 partitions stayed where they were, want 9", kept)
	}
}

func TestRangeGivesTheSameNumbersOfAllTopics(t *testing.T) {
	in := assignorInput{members: []string{"a", "b", "c"}, subscribed: map[string][]record.TopicID{}, counts: map[record.TopicID]int32{topicID("t"): 7, topicID("u"): 7}}
	for _, id := range in.members {
		in.subscribed[id] = []record.TopicID{topicID("t"), topicID("u")}
	}
	out := assignRange(in)
	in.check(t, out)
	for id, want := range map[string][]int32{"a": {0, 1, 2}, "b": {3, 4}, "c": {5, 6}} {
		if !slices.Equal(out[id][topicID("t")], want) || !slices.Equal(out[id][topicID("u")], want) {
			t.Errorf("%s has %v", id, out[id])
		}
	}
}
