package state

import (
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
)

// windowPrefix is the length of a window's start before the key in a changelog: eight bytes, big endian.
const windowPrefix = 8

// Windows keeps a value for each key and window in memory, and the changes since the last flush. A window is named by its start.
//
// A closed window is not removed at once. Its entries leave by tombstone only in the flush after Committed has told that the
// offsets which closed it are committed: when the process dies in between, the window is restored whole and closed again, and
// its value is never lower than what was counted. Where what Flush writes and the offsets become durable together, nothing can come in
// between, and the entries leave with the flush that follows the close: see Atomic.
type Windows[V any] struct {
	// Atomic is that what Flush writes and the offsets are committed in one transaction.
	Atomic bool

	codec  Codec[V]
	open   map[int64]*window[V]
	starts []int64 // of the open windows, ascending
	// last is the window used last: records come in about the order of time.
	last *window[V]

	closed  []*window[V] // since the last flush
	flushed []*window[V] // closed before the last flush; it is not known that their offsets are committed
	leaving []*window[V] // to be deleted from the changelog in the next flush
}

type window[V any] struct {
	start   int64
	entries map[string]*Entry[V]
	changes changes[V]
}

// NewWindows returns a store without windows.
func NewWindows[V any](codec Codec[V]) *Windows[V] {
	return &Windows[V]{codec: codec, open: map[int64]*window[V]{}}
}

// Get returns the entry of key in the window that begins at start, or nil.
func (w *Windows[V]) Get(start int64, key []byte) *Entry[V] {
	if win := w.find(start); win != nil {
		return win.entries[string(key)]
	}
	return nil
}

// Insert makes the entry of a key that has none in the window, and opens the window if it is the first.
func (w *Windows[V]) Insert(start int64, key []byte, v V, time int64) {
	win := w.openWindow(start)
	e := &Entry[V]{Value: v, Time: time, key: string(key)}
	win.entries[e.key] = e
	win.changes.add(e)
}

// Set changes an entry of the window that begins at start.
func (w *Windows[V]) Set(start int64, e *Entry[V], v V, time int64) {
	e.Value, e.Time = v, time
	w.find(start).changes.add(e)
}

// Starts returns the starts of the open windows, in order. It is valid until the store changes.
func (w *Windows[V]) Starts() []int64 { return w.starts }

// Close closes the window that begins at start, and returns its entries in the order of their keys.
func (w *Windows[V]) Close(start int64) []*Entry[V] {
	win := w.take(start)
	if win == nil {
		return nil
	}
	w.closed = append(w.closed, win)
	entries := make([]*Entry[V], 0, len(win.entries))
	for _, e := range win.entries {
		entries = append(entries, e)
	}
	slices.SortFunc(entries, func(a, b *Entry[V]) int { return strings.Compare(a.key, b.key) })
	return entries
}

// Drop removes a window that was closed, and whose offsets were committed, before the store was restored.
func (w *Windows[V]) Drop(start int64) {
	if win := w.take(start); win != nil {
		w.leaving = append(w.leaving, win)
	}
}

// Flush hands the changes since the last flush to write, window by window. The last changes of a window closed since then are not
// written: the changelog keeps what it had when the offsets were last committed, and the records that follow come again after a
// crash.
func (w *Windows[V]) Flush(write func(Change) error) error {
	if w.Atomic {
		w.leaving = append(w.leaving, w.closed...)
		w.closed = nil
	}
	for len(w.leaving) > 0 {
		if err := w.leaving[0].delete(write); err != nil {
			return err
		}
		w.leaving = w.leaving[1:]
	}
	for _, start := range w.starts {
		win := w.open[start]
		err := win.changes.flush(w.codec, func(e *Entry[V], value []byte) error {
			return write(Change{Key: windowKey(start, e.key), Value: value, Time: e.Time})
		})
		if err != nil {
			return err
		}
	}
	w.flushed = append(w.flushed, w.closed...)
	w.closed = nil
	return nil
}

// Committed tells that the offsets of all that was flushed are committed: the windows closed before may go.
func (w *Windows[V]) Committed() {
	w.leaving = append(w.leaving, w.flushed...)
	w.flushed = nil
}

// Leaving reports whether the changelog still has entries of windows that are gone; the next Flush deletes them.
func (w *Windows[V]) Leaving() bool { return len(w.leaving) > 0 }

// Restore takes a record of the changelog; Flush does not write it again.
func (w *Windows[V]) Restore(c Change) error {
	if len(c.Key) < windowPrefix {
		return fmt.Errorf("a key of a window store has at least %d bytes, not %d", windowPrefix, len(c.Key))
	}
	start := int64(binary.BigEndian.Uint64(c.Key))
	key := string(c.Key[windowPrefix:])
	if c.Value == nil {
		if win := w.find(start); win != nil {
			delete(win.entries, key)
			if len(win.entries) == 0 {
				w.take(start)
			}
		}
		return nil
	}
	v, err := w.codec.Decode(c.Value)
	if err != nil {
		return err
	}
	w.openWindow(start).entries[key] = &Entry[V]{Value: v, Time: c.Time, key: key, entryStatus: entryStatus{logged: true}}
	return nil
}

func windowKey(start int64, key string) []byte {
	b := make([]byte, windowPrefix, windowPrefix+len(key))
	binary.BigEndian.PutUint64(b, uint64(start))
	return append(b, key...)
}

func (w *Windows[V]) find(start int64) *window[V] {
	if w.last == nil || w.last.start != start {
		win := w.open[start]
		if win == nil {
			return nil
		}
		w.last = win
	}
	return w.last
}

func (w *Windows[V]) openWindow(start int64) *window[V] {
	if win := w.find(start); win != nil {
		return win
	}
	win := &window[V]{start: start, entries: map[string]*Entry[V]{}}
	w.open[start], w.last = win, win
	i, _ := slices.BinarySearch(w.starts, start)
	w.starts = slices.Insert(w.starts, i, start)
	return win
}

// take removes a window from the open ones.
func (w *Windows[V]) take(start int64) *window[V] {
	win := w.open[start]
	if win == nil {
		return nil
	}
	delete(w.open, start)
	i, _ := slices.BinarySearch(w.starts, start)
	w.starts = slices.Delete(w.starts, i, i+1)
	w.last = nil
	return win
}

// delete writes tombstones for the entries that the changelog has.
func (win *window[V]) delete(write func(Change) error) error {
	for key, e := range win.entries {
		if e.logged {
			if err := write(Change{Key: windowKey(win.start, key), Time: e.Time}); err != nil {
				return err
			}
		}
		delete(win.entries, key)
	}
	return nil
}
