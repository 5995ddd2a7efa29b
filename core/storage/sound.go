package storage

import "sync"

// sound says which parts of a segment's file are known to hold what was written: what this process wrote, and what it has checked since it opened the file. Those
// may go to a connection without being looked at, which costs a third less. What came from a former life is checked when it is read for the first time.
type sound struct {
	mu sync.Mutex
	// Everything from own on was written by this process.
	own int64
	// [from, to) was checked: one run, since segments are mostly read forwards.
	from, to int64
}

// inherit is called for a file that has size bytes when it is opened.
func (s *sound) inherit(size int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.own = size
}

// covers tells whether [from, to) is known to be right.
func (s *sound) covers(from, to int64) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.from <= from && from < s.to {
		from = s.to
	}
	return from >= min(s.own, to)
}

// checked notes that [from, to) is right.
func (s *sound) checked(from, to int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.from <= from && from <= s.to {
		s.to = max(s.to, to)
		return
	}
	s.from, s.to = from, to
}
