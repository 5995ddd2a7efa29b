package meta

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"

	"github.com/milldam/milldam/core/vfs"
)

// endMark keeps, in a small file beside the Raft log, up to which entry the log is durable. What cannot be read at the end of a log may be a write that a crash tore, or
// entries that were acknowledged and have decayed since: up to the mark it is the latter.
//
// The mark is written after each write to the log, before anybody hears of it, and is not synced then: a killed process leaves it all the same, and a machine that loses its power leaves one
// that may be too low, which says less and nothing wrong. So it costs a write of 20 bytes into the page cache, where the write to the log is synced anyway. It is synced at the start and
// the stop. Two slots are written in turn, so that a torn one leaves the other.
type endMark struct {
	fs   vfs.FS
	name string
	file vfs.File // nil before open
	slot int64    // that is written next
}

const (
	endFile      = "end"
	endMagic     = "milldamE"
	endSlots     = 2
	endSlotBytes = 512 // a sector, so that the slots are not torn together
	endMarkBytes = len(endMagic) + 8 + 4
	endFileBytes = endSlotBytes + endMarkBytes
)

// errBadMark says that a slot holds something else than a mark.
var errBadMark = errors.New("a mark of the end of the log cannot be read")

func encodeMark(last uint64) []byte {
	data := binary.BigEndian.AppendUint64([]byte(endMagic), last)
	return binary.BigEndian.AppendUint32(data, crc32.Checksum(data, castagnoli))
}

// decodeMark reads a slot; there is false for one that was never written.
func decodeMark(data []byte) (last uint64, there bool, err error) {
	if len(data) == 0 || len(data) == endMarkBytes && string(data) == string(make([]byte, endMarkBytes)) {
		return 0, false, nil
	}
	const head = len(endMagic) + 8
	if len(data) != endMarkBytes || string(data[:len(endMagic)]) != endMagic || binary.BigEndian.Uint32(data[head:]) != crc32.Checksum(data[:head], castagnoli) {
		return 0, false, errBadMark
	}
	return binary.BigEndian.Uint64(data[len(endMagic):]), true, nil
}

// marks are what the file says.
type marks struct {
	last  uint64 // the higher one
	known bool   // there is one that can be read
	slot  int64  // where
	bad   error  // errBadMark when there is one that cannot
}

func decodeMarks(data []byte) (m marks) {
	for slot := range int64(endSlots) {
		from := min(slot*endSlotBytes, int64(len(data)))
		last, there, err := decodeMark(data[from:min(from+int64(endMarkBytes), int64(len(data)))])
		if err != nil {
			m.bad = fmt.Errorf("position %d: %w", from, err)
		}
		if there && (!m.known || last > m.last) {
			m.last, m.known, m.slot = last, true, slot
		}
	}
	return m
}

// read returns the marks; without a file, as in folders from before there was one, none is known.
func (e *endMark) read() (marks, error) {
	data, err := vfs.ReadFile(e.fs, e.name)
	if errors.Is(err, fs.ErrNotExist) {
		return marks{}, nil
	}
	return decodeMarks(data), err
}

// open takes the file for note to write to, and marks last. A file that is not whole is made anew.
func (e *endMark) open(last uint64) error {
	data, err := vfs.ReadFile(e.fs, e.name)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	m := decodeMarks(data)
	if len(data) != endFileBytes || !m.known || m.bad != nil || m.last > last {
		return e.make(last)
	}
	if e.file, err = e.fs.OpenReadWrite(e.name); err != nil {
		return err
	}
	e.slot = (m.slot + 1) % endSlots
	return e.note(last)
}

// make makes a file with nothing but the mark last, durably.
func (e *endMark) make(last uint64) error {
	data := append(encodeMark(last), make([]byte, endFileBytes-endMarkBytes)...)
	if err := errors.Join(e.close(), vfs.WriteFileAtomic(e.fs, e.name, data)); err != nil {
		return err
	}
	var err error
	e.slot = 1
	e.file, err = e.fs.OpenReadWrite(e.name)
	return err
}

// note writes a mark. It is not synced.
func (e *endMark) note(last uint64) error {
	_, err := e.file.WriteAt(encodeMark(last), e.slot*endSlotBytes)
	e.slot = (e.slot + 1) % endSlots
	return err
}

// close is idempotent.
func (e *endMark) close() error {
	if e.file == nil {
		return nil
	}
	f := e.file
	e.file = nil
	return f.Close()
}
