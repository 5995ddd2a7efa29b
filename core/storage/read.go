package storage

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"

	"github.com/milldam/milldam/core/record"
)

// Span is a readable run of batches: slices of the memory tail, or a range of a segment file. Nothing is read from a file before WriteTo. It must
// be closed; what it was made of stays readable until then, whatever happens to the log. The zero value is an empty one.
type Span struct {
	memory [][]byte
	held   []*entry // that memory is of
	file   *openFile
	at     int64
	length int
	upTo   record.Offset // no batch of it begins at or behind it

	// Of a range of a file: the log it is of, and what its batches must be.
	log     *Log
	sound   *sound
	next    record.Offset // none begins below
	end     record.Offset // of what the segment holds, and where that ends in the file
	written int64
	epochs  epochs
}

// Len is the number of bytes WriteTo writes.
func (s *Span) Len() int { return s.length }

// copyBytes is how much of a file is read at a time; less costs a consumer a fifth more.
const copyBytes = 256 << 10

// copyBuffers carry file ranges that are checked on their way.
var copyBuffers = sync.Pool{New: func() any { b := make([]byte, copyBytes); return &b }}

// WriteTo writes the run to w. Batches of a file that are not known to be sound are checked on the way: it stops before the end of one that is not what was
// written, and its log is offline from then on.
func (s *Span) WriteTo(w io.Writer) (int64, error) {
	if s.file != nil {
		if s.sound.covers(s.at, s.at+int64(s.length)) {
			return s.file.CopyTo(w, s.at, int64(s.length))
		}
		n, err := s.writeFile(w)
		return n, s.log.foundDamage(err)
	}
	var sum int64
	for _, b := range s.memory {
		n, err := w.Write(b)
		sum += int64(n)
		if err != nil {
			return sum, err
		}
	}
	return sum, nil
}

func (s *Span) writeFile(w io.Writer) (sum int64, err error) {
	buf := copyBuffers.Get().(*[]byte)
	defer copyBuffers.Put(buf)
	check := batchCheck{name: s.file.name, at: s.at, next: s.next, end: s.end, epochs: s.epochs}
	for sum < int64(s.length) {
		part := (*buf)[:min(int64(len(*buf)), int64(s.length)-sum)]
		if n, err := s.file.ReadAt(part, s.at+sum); n < len(part) {
			return sum, fmt.Errorf("read %s at %d: %w", s.file.name, s.at+sum, err)
		}
		if err := check.feed(part); err != nil {
			return sum, err
		}
		if sum+int64(len(part)) == int64(s.length) && check.gap {
			if err := s.checkGap(&check); err != nil {
				return sum, err
			}
		}
		n, err := w.Write(part)
		sum += int64(n)
		if err != nil {
			return sum, err
		}
	}
	s.sound.checked(s.at, check.at)
	return sum, nil
}

// checkGap looks behind a run whose last batch does not begin where the one in front ended. That is right where compaction took what was between, and then the
// next one goes on behind it; otherwise its offset has decayed.
func (s *Span) checkGap(c *batchCheck) error {
	if c.have == len(c.head) {
		return nil // it is cut, and nobody takes it
	}
	next := s.end
	if c.at < s.written {
		var head [8]byte
		if _, err := s.file.ReadAt(head[:], c.at); err != nil {
			return fmt.Errorf("read %s at %d: %w", s.file.name, c.at, err)
		}
		next = record.Offset(binary.BigEndian.Uint64(head[:]))
	}
	if next < c.next || c.at >= s.written && next != c.next {
		return damagedAt(s.file.name, c.at, fmt.Sprintf("it goes on at offset %d behind %d", next, c.next-1))
	}
	return nil
}

// Memory returns the run as slices, when all of it is in memory; they are not to be changed.
func (s *Span) Memory() ([][]byte, bool) { return s.memory, s.file == nil }

// Close releases the run. Idempotent.
func (s *Span) Close() error {
	f, held := s.file, s.held
	s.file, s.memory, s.held, s.length = nil, nil, nil, 0
	dropAll(held)
	if f == nil {
		return nil
	}
	return f.release()
}

// Read returns the batches from the one that holds offset on, none that begins at or behind bound. The run has at most maxBytes, but the whole
// first batch when atLeastOne is set; its last batch may be cut, as in Kafka's answers, and clients read it again. ErrOffsetOutOfRange is
// for offsets outside [Start, End].
func (l *Log) Read(offset record.Offset, maxBytes int, bound record.Offset, atLeastOne bool) (Span, error) {
	l.mu.Lock()
	if err := l.errLocked(); err != nil {
		l.mu.Unlock()
		return Span{}, fmt.Errorf("read %s: %w", l, err)
	}
	if offset < l.mu.start || offset > l.mu.end {
		defer l.mu.Unlock()
		return Span{}, fmt.Errorf("read %s at %d: %w: it has offsets %d to %d", l, offset, ErrOffsetOutOfRange, l.mu.start, l.mu.end)
	}
	if offset >= min(bound, l.mu.end) {
		l.mu.Unlock()
		return Span{}, nil
	}
	if offset >= l.mu.written {
		defer l.mu.Unlock()
		return l.readTailLocked(offset, maxBytes, bound, atLeastOne), nil
	}
	place := l.placeOfLocked(offset)
	l.mu.Unlock()
	span, err := place.read(offset, maxBytes, bound, atLeastOne)
	if errors.Is(err, errReplaced) {
		return l.Read(offset, maxBytes, bound, atLeastOne)
	}
	if err != nil {
		return Span{}, fmt.Errorf("read %s at %d: %w", l, offset, l.foundDamage(err))
	}
	return span, nil
}

// ReadCommitted is Read up to LastStable, with the aborted transactions that have records in the run.
func (l *Log) ReadCommitted(offset record.Offset, maxBytes int, atLeastOne bool) (Span, []AbortedTxn, error) {
	for {
		before := l.rewrites.Load()
		span, err := l.Read(offset, maxBytes, l.LastStable(), atLeastOne)
		if err != nil || span.length == 0 {
			return span, nil, err
		}
		aborted, err := l.Aborted(offset, span.upTo)
		// What compaction or retention takes meanwhile the run still has, and the index no more.
		if err == nil && l.rewrites.Load() == before {
			return span, aborted, nil
		}
		if errors.Is(err, errReplaced) {
			err = nil
		}
		if err = errors.Join(err, span.Close()); err != nil {
			return Span{}, nil, err
		}
	}
}

func (l *Log) readTailLocked(offset record.Offset, maxBytes int, bound record.Offset, atLeastOne bool) Span {
	i, _ := slices.BinarySearchFunc(l.mu.tail, offset, func(e *entry, want record.Offset) int {
		if e.batch.LastOffset() < want {
			return -1
		}
		return 1
	})
	var s Span
	for _, e := range l.mu.tail[i:] {
		fits := s.length+len(e.batch) <= maxBytes || s.length == 0 && atLeastOne
		if !fits || e.batch.BaseOffset() >= bound {
			break
		}
		e.hold()
		s.held = append(s.held, e)
		s.memory = append(s.memory, e.batch)
		s.length += len(e.batch)
		s.upTo = e.batch.NextOffset()
	}
	return s
}

// place is a segment as it was when somebody wanted to read it.
type place struct {
	segment  *segment
	next     []*segment // behind it
	written  int64
	live     *index
	liveFrom int64
	end      record.Offset // of what its file holds
	epochs   epochs
}

// placeOfLocked finds the segment whose file holds offset, or the first behind it.
func (l *Log) placeOfLocked(offset record.Offset) place {
	return l.placeLockedAt(l.segmentAtLocked(offset))
}

// segmentAtLocked is the index of the last segment whose base is not above offset, or the first.
func (l *Log) segmentAtLocked(offset record.Offset) int {
	i, found := slices.BinarySearchFunc(l.mu.segments, offset, func(s *segment, want record.Offset) int {
		switch {
		case s.base < want:
			return -1
		case s.base > want:
			return 1
		}
		return 0
	})
	if !found {
		i = max(0, i-1)
	}
	return i
}

func (l *Log) placeLockedAt(i int) place {
	s := l.mu.segments[i]
	p := place{segment: s, next: l.mu.segments[i+1:], written: s.written, liveFrom: s.liveFrom, end: min(s.end, l.mu.written), epochs: l.mu.epochs}
	if s.live != nil { // grows under the lock; its entries do not change
		c := *s.live
		p.live = &c
	}
	return p
}

var errFound = errors.New("found")

// locate returns position and size of the batch that holds offset, or of the first behind it; ok is false when the segment has none.
func (p *place) locate(offset record.Offset) (at int64, head record.Batch, ok bool, err error) {
	from, err := p.segment.seek(offset, p.live, p.liveFrom)
	if err != nil {
		return 0, nil, false, err
	}
	err = p.segment.scan(from, p.written, seekWindow, func(b record.Batch, pos int64) error {
		if b.LastOffset() < offset {
			return nil
		}
		at, head = pos, slices.Clone(b)
		return errFound
	})
	if err == nil {
		return 0, nil, false, nil
	}
	if !errors.Is(err, errFound) {
		return 0, nil, false, err
	}
	return at, head, true, nil
}

func (p *place) read(offset record.Offset, maxBytes int, bound record.Offset, atLeastOne bool) (Span, error) {
	at, head, ok, err := p.locate(offset)
	if err != nil {
		return Span{}, err
	}
	if !ok { // compaction keeps the last batch of a segment, and nothing is between two segments
		return Span{}, damagedAt(p.segment.file(logSuffix), p.written, fmt.Sprintf("it ends before offset %d, and should hold all below %d", offset, p.end))
	}
	if head.BaseOffset() >= bound {
		return Span{}, nil
	}
	first, err := record.SizeIn(head)
	if err != nil {
		return Span{}, fmt.Errorf("%w: %w", ErrCorrupt, err)
	}
	length := min(int64(maxBytes), p.written-at)
	if atLeastOne {
		length = max(length, int64(first))
	}
	if bound < p.end {
		if length, err = p.upTo(bound, at, length); err != nil {
			return Span{}, err
		}
	}
	if length <= 0 {
		return Span{}, nil
	}
	f, err := p.segment.open()
	if err != nil {
		return Span{}, err
	}
	return Span{file: f, at: at, length: int(length), log: p.segment.log, sound: &p.segment.sound, next: min(offset, head.BaseOffset()), end: p.end, written: p.written, epochs: p.epochs, upTo: min(bound, p.endOf(at+length))}, nil
}

// endOf returns an offset at or behind the end of what lies before position, as far as the index knows.
func (p *place) endOf(position int64) record.Offset {
	x := p.live
	if older := p.segment.older.Load(); older != nil && position <= p.liveFrom {
		x = older
	}
	if x == nil || x.fromFiles { // an entry of a file may be wrong, and nobody would know
		return p.end
	}
	i, _ := slices.BinarySearchFunc(x.offsets, position, func(e offsetEntry, want int64) int { return cmp.Compare(int64(e.position), want) })
	if i == len(x.offsets) {
		return p.end
	}
	return min(p.end, p.segment.base+record.Offset(x.offsets[i].relative))
}

// upTo shortens a range that starts at position at, so that it ends before the batch at or behind bound.
func (p *place) upTo(bound record.Offset, at, length int64) (int64, error) {
	err := p.segment.scan(at, p.written, seekWindow, func(b record.Batch, pos int64) error {
		if pos-at >= length {
			return errFound
		}
		if b.BaseOffset() >= bound {
			length = pos - at
			return errFound
		}
		return nil
	})
	if err != nil && !errors.Is(err, errFound) {
		return 0, err
	}
	return length, nil
}

// Scan calls fn with every whole batch that holds offsets in [from, to), in order. A batch is valid during the call. It reads segments without keeping
// the log from being appended to.
func (l *Log) Scan(from, to record.Offset, fn func(record.Batch) error) error {
	if err := l.Err(); err != nil { // of a damaged log nothing may be known but that, not even where it begins
		return err
	}
	for offset := max(from, l.Start()); offset < to; {
		next, err := l.scanPart(offset, to, fn)
		if err != nil {
			return err
		}
		if next <= offset {
			return nil
		}
		offset = next
	}
	return nil
}

// scanPart scans one segment file, or the tail, and returns where to go on.
func (l *Log) scanPart(offset, to record.Offset, fn func(record.Batch) error) (record.Offset, error) {
	l.mu.Lock()
	if err := l.errLocked(); err != nil {
		l.mu.Unlock()
		return 0, err
	}
	if offset >= l.mu.written {
		tail := slices.Clone(l.mu.tail)
		for _, e := range tail {
			e.hold()
		}
		l.mu.Unlock()
		defer dropAll(tail)
		return scanTail(tail, offset, to, fn)
	}
	p := l.placeOfLocked(offset)
	l.mu.Unlock()
	from, err := p.segment.seek(offset, p.live, p.liveFrom)
	if errors.Is(err, errReplaced) {
		return l.scanPart(offset, to, fn)
	}
	if err != nil {
		return 0, l.foundDamage(err)
	}
	next := offset
	err = p.segment.batches(from, p.written, func(b record.Batch, _ int64) error {
		if b.BaseOffset() >= to {
			return errFound
		}
		if b.LastOffset() < offset {
			return nil
		}
		next = b.NextOffset()
		return fn(b)
	})
	switch {
	case errors.Is(err, errReplaced):
		return l.scanPart(offset, to, fn)
	case errors.Is(err, errFound):
		return to, nil
	}
	if err == nil && next < p.end {
		err = damagedAt(p.segment.file(logSuffix), p.written, fmt.Sprintf("it ends at offset %d, and should at %d", next, p.end))
	}
	return next, l.foundDamage(err)
}

func scanTail(tail []*entry, offset, to record.Offset, fn func(record.Batch) error) (record.Offset, error) {
	next := offset
	for _, e := range tail {
		if e.batch.BaseOffset() >= to {
			break
		}
		if e.batch.LastOffset() < offset {
			continue
		}
		if err := fn(e.batch); err != nil {
			return 0, err
		}
		next = e.batch.NextOffset()
	}
	return next, nil
}
