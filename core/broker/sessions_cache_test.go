package broker

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/milldam/milldam/core/record"
)

// TestSessionsMakeRoomAsInKafka fills a cache and asks for another slot.
func TestSessionsMakeRoomAsInKafka(t *testing.T) {
	sized := func(n int32) *session {
		s := &session{states: map[fetchKey]*fetchState{}}
		for i := range n {
			s.set(fetchAsk{key: fetchKey{id: record.TopicID{1}, index: i}})
		}
		return s
	}
	for name, c := range map[string]struct {
		slots int
		wait  time.Duration // from the beginning, in which both are used now and then
		idle  time.Duration // from the last use on
		size  int32         // of the third
		goes  string
	}{
		"no slots":             {slots: 0, size: 9, goes: "new"},
		"both are young":       {slots: 2, size: 9, goes: "new"},
		"one is smaller":       {slots: 2, wait: 3 * time.Minute, size: 9, goes: "small"},
		"the new one is small": {slots: 2, wait: 3 * time.Minute, size: 1, goes: "new"},
		"one as large":         {slots: 2, wait: 3 * time.Minute, size: 2, goes: "new"},
		"out of use":           {slots: 2, idle: 3 * time.Minute, size: 1, goes: "large"},
		"used two minutes ago": {slots: 2, idle: 2 * time.Minute, size: 9, goes: "new"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				cache := newSessionCache(c.slots)
				large, small, other := sized(5), sized(2), sized(c.size)
				kept := map[string]*session{"large": large, "small": small, "new": other}
				for _, s := range []*session{large, small} {
					if cache.add(s) != (c.slots > 0) {
						t.Fatal("there is a slot, or none")
					}
				}
				for range int(c.wait / time.Minute) {
					time.Sleep(time.Minute)
					cache.touch(large, 5)
					cache.touch(small, 2)
				}
				time.Sleep(c.idle)
				if added := cache.add(other); added != (c.goes != "new") {
					t.Errorf("the new one was added: %v", added)
				}
				for who, s := range kept {
					if there := cache.get(s.id) != nil; c.slots > 0 && there == (who == c.goes) {
						t.Errorf("%s is there: %v", who, there)
					}
				}
			})
		})
	}
}
