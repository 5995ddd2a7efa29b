package broker

import (
	"container/list"
	"math/rand/v2"
	"sync"

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
	used   *list.Element
	mu     sync.Mutex // guards epoch, order and states
}

// sessionCache keeps the sessions that were used last.
type sessionCache struct {
	limit int
	mu    sync.Mutex
	byID  map[int32]*session
	used  *list.List
}

func newSessionCache(limit int) *sessionCache {
	return &sessionCache{limit: limit, byID: map[int32]*session{}, used: list.New()}
}

// add gives a session its id. The one that was not used for longest makes room.
func (c *sessionCache) add(s *session) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for s.id == 0 || c.byID[s.id] != nil {
		s.id = rand.Int32()
	}
	if len(c.byID) >= c.limit {
		c.removeLocked(c.used.Back().Value.(*session))
	}
	c.byID[s.id] = s
	s.used = c.used.PushFront(s)
}

func (c *sessionCache) removeLocked(s *session) {
	delete(c.byID, s.id)
	c.used.Remove(s.used)
}

func (c *sessionCache) get(id int32) *session {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.byID[id]
	if s != nil {
		c.used.MoveToFront(s.used)
	}
	return s
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
