package storage

import (
	"encoding/binary"

	"github.com/milldam/milldam/core/record"
)

// A record that does not hold is torn, or it is damaged. Torn is what was written last and never synced: the log ends there, and nobody was
// acknowledged what is behind. Damaged is what was synced and decayed since. Each record says up to where its file was synced when it was
// written, and each file where the one in front ended, so that whatever whole record follows tells the two apart.

// walDamage is a stretch of a file that was synced and is not what was written.
type walDamage struct {
	at, next int64    // from the record's head to where the next record is read
	head     *walHead // nil when it cannot be told whose the records were
	mended   bool     // it was one bit of the head, and nothing is lost
}

// walReplay is one reading of a file from its beginning.
type walReplay struct {
	file  *walFile
	until int64 // where the file ended when the next one was begun, 0 when that is not known

	// record is called for each record, with the batch of an append, damaged for what is none although it was synced.
	record  func(h walHead, batch []byte) error
	damaged func(walDamage) error

	r      *windowReader
	end    int64 // behind the last record
	synced int64 // up to where the last record says that the file was synced
}

// run reads the file. ended is true when all its records were read, or told as damaged, and false when its end is torn.
func (p *walReplay) run() (ended bool, err error) {
	size, err := p.file.file.Size()
	if err != nil {
		return false, err
	}
	p.r, p.end = &windowReader{file: p.file.file, size: size, window: windowBytes}, walHeaderBytes
	for {
		b, err := p.r.read(p.end, walHeadBytes)
		if err != nil {
			return false, err
		}
		h, ok := parseWALHead(b, p.file.sequence)
		if !ok {
			if p.end == p.until {
				return true, nil // only its end record was lost
			}
			synced, err := p.syncedBeyond()
			if !synced || err != nil {
				return false, err
			}
			if h, ok, err = p.mend(); err != nil {
				return false, err
			}
			if !ok {
				continue
			}
		}
		if h.kind == walEnd {
			return true, nil
		}
		if goOn, err := p.take(h); !goOn || err != nil {
			return false, err
		}
	}
}

// take reads the record with head h at the end; goOn is false when it is torn.
func (p *walReplay) take(h walHead) (goOn bool, err error) {
	next := p.end + walHeadBytes
	var batch []byte
	if h.kind == walAppend {
		if batch, err = p.r.read(next, int(h.length)); err != nil {
			return false, err
		}
		next += int64(h.length)
		if b := record.Batch(batch); len(b) != int(h.length) || b.Verify() != nil || b.BaseOffset() != h.offset || b.LeaderEpoch() != h.epoch {
			synced, err := p.syncedBeyond()
			if !synced || err != nil {
				return false, err
			}
			err = p.damaged(walDamage{at: p.end, next: next, head: &h})
			p.end = next
			return true, err
		}
	}
	if err := p.record(h, batch); err != nil {
		return false, err
	}
	p.end, p.synced = next, int64(h.synced)
	return true, nil
}

// syncedBeyond tells whether what lies at the end was synced.
func (p *walReplay) syncedBeyond() (bool, error) {
	if p.until > p.end {
		return true, nil
	}
	at := p.end
	found, err := p.file.search(p.r, at+1, func(h walHead) bool { return int64(h.synced) > at })
	return found >= 0, err
}

// mend finds what the damaged head at the end was, or passes over to the next head there is.
func (p *walReplay) mend() (h walHead, ok bool, err error) {
	b, err := p.r.read(p.end, walHeadBytes)
	if err != nil {
		return h, false, err
	}
	if h, ok = mendHead(b, p.file.sequence); ok {
		return h, true, p.damaged(walDamage{at: p.end, next: p.end + walHeadBytes, head: &h, mended: true})
	}
	next, err := p.file.search(p.r, p.end+1, func(walHead) bool { return true })
	if err != nil {
		return h, false, err
	}
	if next < 0 { // nothing to its end
		next = p.until
	}
	err = p.damaged(walDamage{at: p.end, next: next})
	p.end = next
	return h, false, err
}

// mendHead finds the one bit that was flipped in a head, so that it is known whose record it was.
func mendHead(b []byte, sequence uint64) (walHead, bool) {
	if len(b) < walHeadBytes {
		return walHead{}, false
	}
	b = append([]byte(nil), b[:walHeadBytes]...)
	for bit := range 8 * walHeadBytes {
		b[bit/8] ^= 1 << (bit % 8)
		if h, ok := parseWALHead(b, sequence); ok {
			return h, true
		}
		b[bit/8] ^= 1 << (bit % 8)
	}
	return walHead{}, false
}

// any tells whether the file holds a head of its sequence. Where its header should be are zeros in a file that was pre-written and never begun, so
// that not all of it is read then.
func (f *walFile) any() (bool, error) {
	size, err := f.file.Size()
	if err != nil {
		return false, err
	}
	if !f.torn {
		size = min(size, windowBytes)
	}
	at, err := f.search(&windowReader{file: f.file, size: size, window: windowBytes}, walHeaderBytes, func(walHead) bool { return true })
	return at >= 0, err
}

// search returns the first position from at on where a head lies that fits, -1 when there is none. It looks at every byte: what is damaged does not say
// where the next record begins.
func (f *walFile) search(r *windowReader, at int64, fits func(h walHead) bool) (int64, error) {
	for at+walHeadBytes <= r.size {
		chunk, err := r.read(at, int(min(windowBytes, r.size-at)))
		if err != nil {
			return -1, err
		}
		if len(chunk) < walHeadBytes {
			return -1, nil
		}
		for i := 0; i+walHeadBytes <= len(chunk); i++ {
			kind, synced := chunk[i+walCRCBytes], int64(binary.BigEndian.Uint32(chunk[i+walHeadBytes-4:]))
			if kind < byte(walAppend) || kind > byte(walEnd) || synced > at+int64(i) {
				continue
			}
			if h, ok := parseWALHead(chunk[i:], f.sequence); ok && fits(h) {
				return at + int64(i), nil
			}
		}
		at += int64(len(chunk) - walHeadBytes + 1)
	}
	return -1, nil
}
