package state

// Codec writes values of one type as bytes, and reads them back.
type Codec[V any] interface {
	Append(dst []byte, v V) ([]byte, error)
	Decode(src []byte) (V, error)
}

// Entry is the value of one key. Only its store changes it.
type Entry[V any] struct {
	Value V
	Time  int64 // of the value, in milliseconds; the timestamp of its record in the changelog

	key string
	entryStatus
}

// entryStatus says how an entry stands to the changelog.
type entryStatus struct {
	dirty  bool // changed since the last flush, and in the list of changes
	logged bool // the changelog has a value for the key
	gone   bool // deleted
}

// Key is the encoded key of the entry.
func (e *Entry[V]) Key() string { return e.key }

// Store keeps the value of each key in memory, and the changes since the last flush: a key that changed a hundred times between
// two flushes is written to the changelog once.
type Store[V any] struct {
	codec   Codec[V]
	entries map[string]*Entry[V]
	changes changes[V]
}

// NewStore returns an empty store.
func NewStore[V any](codec Codec[V]) *Store[V] {
	return &Store[V]{codec: codec, entries: map[string]*Entry[V]{}}
}

// Len is the number of keys.
func (s *Store[V]) Len() int { return len(s.entries) }

// Get returns the entry of key, or nil.
func (s *Store[V]) Get(key []byte) *Entry[V] { return s.entries[string(key)] }

// Insert makes the entry of a key that has none.
func (s *Store[V]) Insert(key []byte, v V, time int64) *Entry[V] {
	e := &Entry[V]{Value: v, Time: time, key: string(key)}
	s.entries[e.key] = e
	s.changes.add(e)
	return e
}

// Set changes an entry.
func (s *Store[V]) Set(e *Entry[V], v V, time int64) {
	e.Value, e.Time = v, time
	s.changes.add(e)
}

// Upsert sets the value of key, whether it has one or not.
func (s *Store[V]) Upsert(key []byte, v V, time int64) {
	if e := s.entries[string(key)]; e != nil {
		s.Set(e, v, time)
		return
	}
	s.Insert(key, v, time)
}

// Delete removes key.
func (s *Store[V]) Delete(key []byte) {
	if e := s.entries[string(key)]; e != nil {
		delete(s.entries, e.key)
		s.changes.remove(e)
	}
}

// All calls fn with every entry, in no order, until it returns false. fn must not change the store.
func (s *Store[V]) All(fn func(*Entry[V]) bool) {
	for _, e := range s.entries {
		if !fn(e) {
			return
		}
	}
}

// Flush hands the changes since the last flush to write, in the order in which the keys first changed.
func (s *Store[V]) Flush(write func(Change) error) error {
	return s.changes.flush(s.codec, func(e *Entry[V], value []byte) error {
		return write(Change{Key: []byte(e.key), Value: value, Time: e.Time})
	})
}

// Discard forgets the changes since the last flush without writing them: what the store keeps is to be read again elsewhere.
func (s *Store[V]) Discard() { s.changes.discard() }

// Restore takes a record of the changelog; Flush does not write it again.
func (s *Store[V]) Restore(c Change) error {
	if c.Value == nil {
		delete(s.entries, string(c.Key))
		return nil
	}
	v, err := s.codec.Decode(c.Value)
	if err != nil {
		return err
	}
	s.entries[string(c.Key)] = &Entry[V]{Value: v, Time: c.Time, key: string(c.Key), entryStatus: entryStatus{logged: true}}
	return nil
}

// Committed tells that the offsets of all that was flushed are committed.
func (s *Store[V]) Committed() {}

// Leaving reports whether the changelog still has entries of what is gone; here they leave with the flush after Delete.
func (s *Store[V]) Leaving() bool { return false }
