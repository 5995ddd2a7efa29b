package storage

import (
	"encoding/binary"
	"slices"

	"github.com/milldam/milldam/core/record"
)

// offsetEntry says where in a segment the batch lies that holds an offset.
type offsetEntry struct {
	relative uint32 // last offset of the batch, less the segment's base offset
	position uint32
}

// timeEntry says up to which offset no record is younger.
type timeEntry struct {
	timestamp int64
	relative  uint32
}

// Sizes of the entries in Kafka's index files.
const (
	offsetEntryBytes = 8
	timeEntryBytes   = 12
)

func (e offsetEntry) append(out []byte) []byte {
	return binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint32(out, e.relative), e.position)
}

func (e timeEntry) append(out []byte) []byte {
	return binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint64(out, uint64(e.timestamp)), e.relative)
}

// before tells whether the entry is of a batch in front of the relative offset end, or of none.
func (e timeEntry) before(end int64) bool {
	return int64(e.relative) < end || e.timestamp == record.NoTimestamp && e.relative == 0
}

// index is the sparse index of a segment: an entry every interval bytes. It has no pointers inside.
type index struct {
	offsets []offsetEntry
	times   []timeEntry

	// Bytes since the last entry, and the youngest record so far with the batch it is in.
	since        int64
	maxTimestamp int64
	maxRelative  uint32

	// fromFiles says that entries come from index files, which have no checksum: none is believed before the batch it stands for was looked at.
	fromFiles bool
}

func newIndex() *index { return &index{maxTimestamp: record.NoTimestamp} }

// add notes a batch of size bytes at position, of which b may be the header alone. Like Kafka's, an entry stands for the batch it was made at: its last offset and
// its position.
func (x *index) add(b record.Batch, size int, base record.Offset, position, interval int64) {
	if x.since > interval {
		x.offsets = append(x.offsets, offsetEntry{uint32(b.LastOffset() - base), uint32(position)})
		x.addTime()
		x.since = 0
	}
	x.see(b, size, base)
}

// see notes a batch that has its entry.
func (x *index) see(b record.Batch, size int, base record.Offset) {
	relative := uint32(b.LastOffset() - base)
	x.since += int64(size)
	if b.Count() > 0 && b.MaxTimestamp() > x.maxTimestamp { // an emptied batch keeps its time, and has no record of it
		x.maxTimestamp, x.maxRelative = b.MaxTimestamp(), relative
	}
}

// addTime adds an entry for the youngest record so far, if there is none.
func (x *index) addTime() { x.times = x.allTimes(x.times) }

// allTimes returns times with an entry for the youngest record so far.
func (x *index) allTimes(times []timeEntry) []timeEntry {
	if n := len(times); x.maxTimestamp >= 0 && (n == 0 || times[n-1].timestamp < x.maxTimestamp) {
		times = append(times, timeEntry{x.maxTimestamp, x.maxRelative})
	}
	return times
}

// seek returns a position at or before the batch that holds the offset base+relative.
func (x *index) seek(relative int64) int64 {
	e, _ := x.before(relative)
	return int64(e.position)
}

// before returns the last entry whose batch does not end behind base+relative; ok is false when there is none.
func (x *index) before(relative int64) (e offsetEntry, ok bool) {
	i, _ := slices.BinarySearchFunc(x.offsets, relative, func(e offsetEntry, want int64) int {
		if int64(e.relative) <= want {
			return -1
		}
		return 1
	})
	// The entry's own batch ends at relative; where it equals what is wanted, the batch at its position holds it.
	if i == 0 {
		return offsetEntry{}, false
	}
	return x.offsets[i-1], true
}

// seekTime returns an offset, relative to the base, at or before the first record of ts or younger.
func (x *index) seekTime(ts int64) int64 {
	e, _ := x.beforeTime(ts)
	return int64(e.relative)
}

// beforeTime returns the last entry that is older than ts; ok is false when there is none.
func (x *index) beforeTime(ts int64) (e timeEntry, ok bool) {
	i, _ := slices.BinarySearchFunc(x.times, ts, func(e timeEntry, want int64) int {
		if e.timestamp < want {
			return -1
		}
		return 1
	})
	if i == 0 {
		return timeEntry{}, false
	}
	return x.times[i-1], true
}

func (x *index) encodeOffsets() []byte {
	out := make([]byte, 0, len(x.offsets)*offsetEntryBytes)
	for _, e := range x.offsets {
		out = e.append(out)
	}
	return out
}

// encodeTimes ends with an entry for the youngest record, which is how a sealed segment tells its largest timestamp. It leaves x as it is: others read it.
func (x *index) encodeTimes() []byte {
	times := x.allTimes(slices.Clip(x.times))
	out := make([]byte, 0, len(times)*timeEntryBytes)
	for _, e := range times {
		out = e.append(out)
	}
	return out
}

// decodeIndex reads index files of a segment of size bytes. They have no checksum, so whatever does not add up makes ok false, and the
// index has to be built from the segment.
func decodeIndex(offsets, times []byte, size int64) (x *index, ok bool) {
	if len(offsets)%offsetEntryBytes != 0 || len(times)%timeEntryBytes != 0 || len(times) == 0 && size > 0 {
		return nil, false
	}
	x = newIndex()
	x.fromFiles = true
	for ; len(offsets) > 0; offsets = offsets[offsetEntryBytes:] {
		e := offsetEntry{binary.BigEndian.Uint32(offsets), binary.BigEndian.Uint32(offsets[4:])}
		if n := len(x.offsets); int64(e.position) >= size || n > 0 && (e.relative <= x.offsets[n-1].relative || e.position <= x.offsets[n-1].position) {
			return nil, false
		}
		x.offsets = append(x.offsets, e)
	}
	for ; len(times) > 0; times = times[timeEntryBytes:] {
		e := timeEntry{int64(binary.BigEndian.Uint64(times)), binary.BigEndian.Uint32(times[8:])}
		if n := len(x.times); n > 0 && (e.timestamp <= x.times[n-1].timestamp || e.relative < x.times[n-1].relative) {
			return nil, false
		}
		x.times = append(x.times, e)
		x.maxTimestamp, x.maxRelative = e.timestamp, e.relative
	}
	return x, true
}
