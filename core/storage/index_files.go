package storage

import (
	"errors"

	"github.com/milldam/milldam/core/record"
	"github.com/milldam/milldam/core/vfs"
)

// readIndexFiles returns what the index files hold of the first size bytes; nothing when they are missing or damaged. The last entries must be
// true: they say from where on the index is built from the segment, and which timestamp is the largest, by which retention removes.
func (s *segment) readIndexFiles(size int64) (*index, error) {
	fsys := s.log.store.opts.FS
	offsets, err := vfs.ReadFile(fsys, s.file(indexSuffix))
	if err != nil {
		return newIndex(), nil
	}
	times, err := vfs.ReadFile(fsys, s.file(timeSuffix))
	if err != nil {
		return newIndex(), nil
	}
	if len(times) == 0 { // no batch has a time, or the file is cut: the segment tells
		return newIndex(), nil
	}
	x, ok := decodeIndex(offsets, times, size)
	if ok && len(x.times) > 0 {
		ok, err = s.trueTime(x, x.times[len(x.times)-1], size)
	}
	if ok && err == nil && len(x.offsets) > 0 {
		ok, err = s.trueOffset(x.offsets[len(x.offsets)-1])
	}
	if err != nil {
		return nil, err
	}
	if !ok {
		s.indexDamaged()
		return newIndex(), nil
	}
	return x, nil
}

func (s *segment) indexDamaged() {
	s.log.store.opts.Logger.Warn("damaged index is built anew", "file", s.file(indexSuffix), "with", s.file(timeSuffix))
}

// provenOffset returns x when its entry e is true, and else an index that is built from the segment. A look-up that started at a wrong position would
// pass over records in silence.
func (s *segment) provenOffset(x *index, e offsetEntry, size int64) (*index, error) {
	ok, err := s.trueOffset(e)
	if ok || err != nil {
		return x, err
	}
	return s.buildOlder(size)
}

// provenTime is provenOffset for a time.
func (s *segment) provenTime(x *index, e timeEntry, size int64) (*index, error) {
	ok, err := s.trueTime(x, e, size)
	if ok || err != nil {
		return x, err
	}
	return s.buildOlder(size)
}

// buildOlder builds the index of the first size bytes from the segment alone.
func (s *segment) buildOlder(size int64) (*index, error) {
	s.indexDamaged()
	x := newIndex()
	if err := s.extend(x, size); err != nil {
		return nil, err
	}
	s.older.Store(x)
	return x, nil
}

// trueOffset tells whether the batch that e stands for lies at its position.
func (s *segment) trueOffset(e offsetEntry) (bool, error) {
	f, err := s.open()
	if err != nil {
		return false, err
	}
	head := make([]byte, record.HeaderBytes)
	n, _ := f.ReadAt(head, int64(e.position)) // what cannot be read is not true; who reads on will be told why
	return n == len(head) && int64(record.Batch(head).LastOffset()-s.base) == int64(e.relative), f.release()
}

// trueTime tells whether the batch that e stands for has its timestamp.
func (s *segment) trueTime(x *index, e timeEntry, size int64) (ok bool, err error) {
	err = s.scan(x.seek(int64(e.relative)), size, seekWindow, func(b record.Batch, _ int64) error {
		relative := int64(b.LastOffset() - s.base)
		if relative < int64(e.relative) {
			return nil
		}
		ok = relative == int64(e.relative) && b.MaxTimestamp() == e.timestamp
		return errFound
	})
	if errors.Is(err, errFound) || errors.Is(err, ErrCorrupt) {
		err = nil
	}
	return ok, err
}
