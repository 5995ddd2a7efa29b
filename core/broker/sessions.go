package broker

import (
	"container/list"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/milldam/milldam/core/record"
)

// fetchKey names a partition in a session: by id, or by name in versions without ids.
type fetchKey struct {
	id    record.TopicID
	name  string
	index int32
}

// fetchAsk is what a client asks for of a partition.
type fetchAsk struct {
	key      fetchKey
	offset   record.Offset
	epoch    record.LeaderEpoch
	maxBytes int32
}

// fetchState is a partition of a session: what is asked for of it, and what the client was told last.
type fetchState struct {
	fetchAsk
	toldHW    record.Offset
	toldStart record.Offset
	toldAny   bool
}

// session is an incremental fetch session (KIP-227): the client sends only what changes.
type session struct {
	id     int32
	byID   bool
	epoch  int32 // of the next request
	order  []*fetchState
	states map[fetchKey]*fetchState
	mu     sync.Mutex // guards epoch, order and states

	// What the cache knows of it, guarded by its mu.
	created, lastUsed time.Time
	size              int // how many partitions it had then
	place             *list.Element
}

// sessionKept is for how long a session is kept after its last use, and a young one from larger ones: as in Kafka, where more clients fetch than there are slots some go
// on without a session, rather than all of them losing theirs to each other.
const sessionKept = 2 * time.Minute

// sessionCache keeps sessions for the next request of their clients.
type sessionCache struct {
	limit int
	mu    sync.Mutex
	byID  map[int32]*session
	used  *list.List
}

func newSessionCache(limit int) *sessionCache {
	return &sessionCache{limit: limit, byID: map[int32]*session{}, used: list.New()}
}

// add gives a session its id, unless all slots are taken by others that stay.
func (c *sessionCache) add(s *session) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := time.Now()
	if len(c.byID) >= c.limit && !c.makeRoomLocked(len(s.states), now) {
		return false
	}
	for s.id == 0 || c.byID[s.id] != nil {
		s.id = rand.Int32()
	}
	c.byID[s.id] = s
	s.created, s.lastUsed, s.size, s.place = now, now, len(s.states), c.used.PushFront(s)
	return true
}

// makeRoomLocked removes a session that is out of use, or else the smallest that is no longer young when the new one is larger.
func (c *sessionCache) makeRoomLocked(size int, now time.Time) bool {
	last := c.used.Back()
	if last == nil { // there are no slots
		return false
	}
	out := last.Value.(*session)
	if now.Sub(out.lastUsed) <= sessionKept {
		if out = c.smallestLocked(); out == nil || out.size >= size {
			return false
		}
	}
	c.removeLocked(out)
	return true
}

func (c *sessionCache) smallestLocked() (smallest *session) {
	for _, s := range c.byID {
		if s.lastUsed.Sub(s.created) > sessionKept && (smallest == nil || s.size < smallest.size) {
			smallest = s
		}
	}
	return smallest
}

func (c *sessionCache) removeLocked(s *session) {
	delete(c.byID, s.id)
	c.used.Remove(s.place)
}

func (c *sessionCache) get(id int32) *session {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.byID[id]
}

// touch notes that a session was used, and how many partitions it has now.
func (c *sessionCache) touch(s *session, size int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.byID[s.id] == s {
		s.lastUsed, s.size = time.Now(), size
		c.used.MoveToFront(s.place)
	}
}

func (c *sessionCache) remove(id int32) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if s := c.byID[id]; s != nil {
		c.removeLocked(s)
	}
}

// set adds or changes what is asked for of a partition.
func (s *session) set(a fetchAsk) {
	if old := s.states[a.key]; old != nil {
		old.fetchAsk = a
		return
	}
	added := &fetchState{fetchAsk: a}
	s.states[a.key] = added
	s.order = append(s.order, added)
}

// asks is what is asked for now, in the order it is served. The next request may change it while this one waits.
func (s *session) asks() []fetchAsk {
	list := make([]fetchAsk, len(s.order))
	for i, st := range s.order {
		list[i] = st.fetchAsk
	}
	return list
}

// forget drops a partition.
func (s *session) forget(key fetchKey) {
	st := s.states[key]
	if st == nil {
		return
	}
	delete(s.states, key)
	for i, other := range s.order {
		if other == st {
			s.order = append(s.order[:i:i], s.order[i+1:]...)
			return
		}
	}
}

// rotate moves partitions that had data behind those that had none, so that none starves when not all fit.
func (s *session) rotate(served map[fetchKey]bool) {
	var first, last []*fetchState
	for _, st := range s.order {
		if served[st.key] {
			last = append(last, st)
		} else {
			first = append(first, st)
		}
	}
	s.order = append(first, last...)
}

// nextEpoch follows epoch; after the largest comes 1, since 0 starts a session.
func nextEpoch(epoch int32) int32 {
	if epoch == 1<<31-1 {
		return 1
	}
	return epoch + 1
}
