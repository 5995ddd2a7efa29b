package meta

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"time"

	"github.com/hashicorp/raft"
	"github.com/hashicorp/raft-wal/types"
)

// A segment of the Raft log is read here as raft-wal writes it (docs/formats/metadata.md), for two reasons. Tools look at it without opening the log, which would change it; and opening it
// wants to know where the log ends and why, which raft-wal, that takes the first thing it cannot read for the end, does not tell.

// The frames of raft-wal, all little endian: type 1, zeros 3, length of the payload 4, the payload, zeros up to a multiple of 8. A commit has, in the place of a length, the checksum of all
// bytes since the commit in front of it, or since the beginning of the file.
const (
	segmentHeaderBytes = 32
	frameHeaderBytes   = 8

	frameEntry  = 1
	frameIndex  = 2 // where the entries are; a segment with one takes no more
	frameCommit = 3

	segmentMagic = 0x58eb6b0d
	segmentCodec = 1
)

// segmentBatch is what one write brought: entries, and the commit behind them.
type segmentBatch struct {
	from, to int64 // in the file, with the commit
	entries  []segmentEntry
	index    int64 // where the index begins, 0 without one
	whole    bool  // its checksum holds
}

// segmentEntry is where an entry's payload lies.
type segmentEntry struct{ from, to int64 }

// segmentScan is the content of a segment's file.
type segmentScan struct {
	data    []byte
	base    uint64 // index of the first entry
	id      uint64
	batches []segmentBatch
	rest    int64 // where what is no batch begins
	cause   error // why it is none; nil at the end of the file
}

// scanSegment finds the batches in a segment's file. base and id are those of its name.
func scanSegment(data []byte, base, id uint64) *segmentScan {
	s := &segmentScan{data: data, base: base, id: id}
	b := segmentBatch{}
	at := int64(segmentHeaderBytes)
	for s.cause == nil && at < int64(len(data)) {
		if s.sealed() > 0 && b.from == at {
			s.cause = fmt.Errorf("position %d: a segment takes nothing behind its index", at)
			break
		}
		kind, size, err := s.frame(at)
		if err != nil {
			s.cause = err
			break
		}
		payload := at + frameHeaderBytes
		switch kind {
		case frameEntry:
			b.entries = append(b.entries, segmentEntry{payload, payload + size})
		case frameIndex:
			b.index = payload
		case frameCommit:
			b.to = payload
			b.whole = crc32.Checksum(data[b.from:at], castagnoli) == binary.LittleEndian.Uint32(data[at+4:])
			s.batches = append(s.batches, b)
			b = segmentBatch{from: b.to}
		}
		at = payload + (size+7)&^7
	}
	s.rest = b.from
	if s.cause == nil && b.from < int64(len(data)) {
		s.cause = errors.New("the last entries have no commit behind them")
	}
	return s
}

// frame reads the header of a frame.
func (s *segmentScan) frame(at int64) (kind byte, size int64, err error) {
	left := int64(len(s.data)) - at
	if left < frameHeaderBytes {
		return 0, 0, fmt.Errorf("position %d: %d bytes of a frame", at, left)
	}
	kind, size = s.data[at], int64(binary.LittleEndian.Uint32(s.data[at+4:]))
	switch kind {
	case frameCommit:
		return kind, 0, nil
	case frameEntry, frameIndex:
		if frameHeaderBytes+size > left {
			return 0, 0, fmt.Errorf("position %d: a frame of %d bytes, %d are there", at, size, left-frameHeaderBytes)
		}
		return kind, size, nil
	}
	return 0, 0, fmt.Errorf("position %d: no frame has type %d", at, kind)
}

// checkHeader tells whether the file begins as its name says.
func (s *segmentScan) checkHeader() error {
	if len(s.data) < segmentHeaderBytes {
		return fmt.Errorf("position %d: a header has %d bytes", len(s.data), segmentHeaderBytes)
	}
	le := binary.LittleEndian
	if le.Uint64(s.data) != segmentMagic || le.Uint64(s.data[8:]) != s.base || le.Uint64(s.data[16:]) != s.id || le.Uint64(s.data[24:]) != segmentCodec {
		return errors.New("position 0: the header is not that of the file's name")
	}
	return nil
}

// cutTorn leaves out the batches at the end whose checksum does not hold: a crash tore their write, or they have decayed since.
func (s *segmentScan) cutTorn() {
	for n := len(s.batches); n > 0 && !s.batches[n-1].whole; n-- {
		s.rest, s.cause = s.batches[n-1].from, fmt.Errorf("position %d: the checksum of the entries from there to %d does not hold", s.batches[n-1].from, s.batches[n-1].to)
		s.batches = s.batches[:n-1]
	}
}

// why tells why the segment ends where it does.
func (s *segmentScan) why() error {
	if s.cause != nil {
		return s.cause
	}
	return fmt.Errorf("position %d: the file ends there", s.rest)
}

// next is the index behind the last entry.
func (s *segmentScan) next() uint64 {
	next := s.base
	for _, b := range s.batches {
		next += uint64(len(b.entries))
	}
	return next
}

// sealed returns where the index is that ends the segment, 0 when it may go on.
func (s *segmentScan) sealed() int64 {
	if n := len(s.batches); n > 0 {
		return s.batches[n-1].index
	}
	return 0
}

// each calls fn with every entry from index from on and where it lies, in order. What cannot be read is ErrDamaged; what is in front of from is not looked at.
func (s *segmentScan) each(from uint64, fn func(at int64, l *raft.Log) error) error {
	index := s.base
	for _, b := range s.batches {
		whole := b.whole
		for _, e := range b.entries {
			if index < from {
				whole = true // it may be that one
				index++
				continue
			}
			l, err := decodeEntry(s.data[e.from:e.to])
			if err == nil {
				err = checkEntry(l, index)
			}
			if err != nil {
				return fmt.Errorf("%w at position %d: entry %d: %w", ErrDamaged, e.from, index, err)
			}
			if err := fn(e.from, l); err != nil {
				return err
			}
			index++
		}
		if !whole {
			return fmt.Errorf("%w: the checksum of the bytes from position %d to %d does not hold", ErrDamaged, b.from, b.to)
		}
	}
	return nil
}

// checkSealed tells whether the entries from index from on can be read from a segment that takes no more, as raft-wal does: by the index at its end, whatever the checksums of the writes say.
func (s *segmentScan) checkSealed(info types.SegmentInfo, from uint64) error {
	for index := max(from, info.BaseIndex); index <= info.MaxIndex; index++ {
		at := int64(info.IndexStart + 4*(index-info.BaseIndex))
		if at+4 > int64(len(s.data)) {
			return fmt.Errorf("%w at position %d: the index is cut off", ErrDamaged, at)
		}
		at = int64(binary.LittleEndian.Uint32(s.data[at:]))
		kind, size, err := s.frame(at)
		if err != nil || kind != frameEntry {
			return fmt.Errorf("%w: entry %d: %w", ErrDamaged, index, errors.Join(err, errors.New("the index is wrong")))
		}
		l, err := decodeEntry(s.data[at+frameHeaderBytes : at+frameHeaderBytes+size])
		if err == nil {
			err = checkEntry(l, index)
		}
		if err != nil {
			return fmt.Errorf("%w at position %d: entry %d: %w", ErrDamaged, at, index, err)
		}
	}
	return nil
}

// checkEntry tells whether an entry is what was written at this index. Entries from before there were checksums have none.
func checkEntry(l *raft.Log, index uint64) error {
	if l.Index != index || len(l.Extensions) > 0 && string(l.Extensions) != string(entryChecksum(l)) {
		return errors.New("it is not what was written")
	}
	return nil
}

// decodeEntry reads an entry as raft-wal's codec writes it: index, term and type as varints, command and extensions behind their lengths, the time.
func decodeEntry(data []byte) (*raft.Log, error) {
	f := entryFields{data: data}
	l := &raft.Log{Index: f.varint(), Term: f.varint(), Type: raft.LogType(f.varint()), Data: f.bytes(), Extensions: f.bytes()}
	if f.bad {
		return nil, errors.New("its fields are cut off")
	}
	var at time.Time
	if err := at.UnmarshalBinary(f.data); err != nil {
		return nil, err
	}
	l.AppendedAt = at
	return l, nil
}

// entryFields reads the fields of an entry; after the end bad is true.
type entryFields struct {
	data []byte
	bad  bool
}

func (f *entryFields) varint() uint64 {
	v, n := binary.Uvarint(f.data)
	if n <= 0 {
		f.bad, f.data = true, nil
		return 0
	}
	f.data = f.data[n:]
	return v
}

func (f *entryFields) bytes() []byte {
	n := f.varint()
	if n > uint64(len(f.data)) {
		f.bad, f.data = true, nil
		return nil
	}
	b := f.data[:n]
	f.data = f.data[n:]
	return b
}
