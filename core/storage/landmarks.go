package storage

import (
	"slices"
	"sync/atomic"

	"github.com/milldam/milldam/core/record"
)

// landmark is one of the few entries of the active segment's index that a checkpoint keeps, with the youngest record of all batches in front of it.
type landmark struct {
	offsetEntry
	youngest timeEntry
}

// maxLandmarks is how many a checkpoint keeps of a log: 300 bytes, and a sixteenth of the segment to be read for an answer.
const maxLandmarks = 15

// landmarks cut what was in the active segment when the log was opened into parts, whose indexes are built one by one, each when something in it is looked
// for: after a crash of a node with many partitions no first answer waits until gigabytes were read.
type landmarks struct {
	list  []landmark
	parts []atomic.Pointer[index] // parts[i] ends at list[i]; the last one has what is behind all of them
}

func newLandmarks(list []landmark) *landmarks {
	return &landmarks{list, make([]atomic.Pointer[index], len(list)+1)}
}

// landmarksLocked picks entries of the index at equal distances in what is written of the segment. Where live does not reach they are among those that were kept before.
func (s *segment) landmarksLocked() []landmark {
	if !s.dated || s.live == nil {
		return nil
	}
	var known []landmark
	if m := s.landmarks.Load(); m != nil {
		known = m.list
	}
	var list []landmark
	step := max(s.written/(maxLandmarks+1)+1, s.log.store.opts.landmarkBytes)
	for at := step; at < s.written; at += step {
		m, ok := s.live.landmarkAt(at)
		if !ok {
			m, ok = lastAt(known, at)
		}
		if ok && (len(list) == 0 || m.position > list[len(list)-1].position) {
			list = append(list, m)
		}
	}
	return list
}

// landmarkAt returns the last entry at or before position at.
func (x *index) landmarkAt(at int64) (m landmark, ok bool) {
	i, found := slices.BinarySearchFunc(x.offsets, at, func(e offsetEntry, want int64) int { return int(int64(e.position) - want) })
	if !found {
		i--
	}
	if i < 0 {
		return landmark{}, false
	}
	m = landmark{x.offsets[i], timeEntry{timestamp: record.NoTimestamp}}
	if j, _ := slices.BinarySearchFunc(x.times, m.relative, func(e timeEntry, want uint32) int { return int(int64(e.relative) - int64(want)) }); j > 0 {
		m.youngest = x.times[j-1]
	}
	return m, true
}

// lastAt returns the last of list at or before position at.
func lastAt(list []landmark, at int64) (m landmark, ok bool) {
	i, found := slices.BinarySearchFunc(list, at, func(m landmark, want int64) int { return int(int64(m.position) - want) })
	if found {
		return list[i], true
	}
	if i == 0 {
		return landmark{}, false
	}
	return list[i-1], true
}

// olderAt returns an index of the first size bytes that answers for base+relative; like every index of a part it says where the part begins, when nothing in it is
// nearer.
func (s *segment) olderAt(relative int64, size int64) (*index, error) {
	return s.olderBehind(size, func(m landmark) bool { return int64(m.relative) <= relative })
}

// olderAtTime returns an index of the first size bytes that answers for a time.
func (s *segment) olderAtTime(ts, size int64) (*index, error) {
	return s.olderBehind(size, func(m landmark) bool { return m.youngest.timestamp < ts })
}

// olderBehind returns the index of the part behind the last landmark that passed holds for; it holds for all in front of that too.
func (s *segment) olderBehind(size int64, passed func(landmark) bool) (*index, error) {
	m := s.landmarks.Load()
	if m == nil || s.older.Load() != nil {
		return s.loadOlder(size)
	}
	i := len(m.list)
	for i > 0 && !passed(m.list[i-1]) {
		i--
	}
	return s.loadPart(m, i, size)
}

// loadPart builds the index of a part. It starts with the landmark in front, so that it knows all that an index of everything would know there.
func (s *segment) loadPart(m *landmarks, i int, size int64) (*index, error) {
	if x := m.parts[i].Load(); x != nil {
		return x, nil
	}
	x := newIndex()
	if i > 0 {
		front := m.list[i-1]
		x.offsets = append(x.offsets, front.offsetEntry)
		x.maxTimestamp, x.maxRelative = front.youngest.timestamp, front.youngest.relative
		x.addTime()
	}
	if i < len(m.list) {
		size = int64(m.list[i].position)
	}
	if err := s.extend(x, size); err != nil {
		return nil, err
	}
	m.parts[i].Store(x)
	return x, nil
}
