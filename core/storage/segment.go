package storage

import (
	"errors"
	"fmt"
	"io/fs"
	"math"
	"path"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/milldam/milldam/core/record"
	"github.com/milldam/milldam/core/vfs"
)

// Suffixes of a segment's files, as in Kafka.
const (
	logSuffix      = ".log"
	indexSuffix    = ".index"
	timeSuffix     = ".timeindex"
	txnSuffix      = ".txnindex"
	snapshotSuffix = ".snapshot"
	cleanedSuffix  = ".cleaned" // a compacted segment that is not in its place yet
)

// segment is a run of a log's batches, and the file they are written to. All fields that are not atomic are guarded by the log's mu.
type segment struct {
	log  *Log
	base record.Offset
	end  record.Offset // after its last batch

	size    int64 // of all its batches, those in the tail included
	written int64 // of the batches in the file
	sealed  bool  // no batch will be added

	// first is the timestamp that rolling by time counts from: the first batch's.
	first    int64
	hasFirst bool
	created  time.Time     // or opened
	jitter   time.Duration // what it is sealed earlier than segment.ms says

	// live indexes the batches from position liveFrom on; older, loaded when it is asked for, those before.
	live     *index
	liveFrom int64
	older    atomic.Pointer[index]
	// landmarks stand for older until that is needed as a whole.
	landmarks atomic.Pointer[landmarks]

	// youngest is the youngest record of what is written; with dated, which does not change, it is known, and the times of live are of the whole segment.
	youngest timeEntry
	dated    bool

	// largest is the largest timestamp, once known, of a sealed segment.
	largest atomic.Pointer[int64]

	// begun is up to where the system was told to write the file to disk. It is guarded by the log's io.
	begun int64

	// syncs is how the file is synced.
	syncs syncOnce

	// entered is set once the file's entry in the directory is durable: later syncs are of the file alone.
	entered atomic.Bool

	// replaced is set before a compacted segment is renamed over this one's file, or the file is removed: what is opened by name from then on may be another file,
	// or none.
	replaced atomic.Bool

	// sound says what of the file may be sent without being looked at.
	sound sound

	// aborted has the aborted transactions whose markers are in the segment, in the order of the markers, until its files are complete; then the
	// index file has them, and txns once they were asked for. A slice that was handed out is only appended to.
	aborted []AbortedTxn
	txns    atomic.Pointer[segmentTxns]

	// snapshot is the state of the producers after the segment, from when it is sealed until its files are complete.
	snapshot producers
}

// offsetName is what a file is named by an offset: twenty digits. It is asked for with each fetch.
func offsetName(o record.Offset) string {
	const zeros = "00000000000000000000"
	digits := strconv.FormatInt(int64(o), 10)
	return zeros[min(len(digits), len(zeros)):] + digits
}

// segmentBase returns the base offset in the name of a segment file with suffix.
func segmentBase(name, suffix string) (record.Offset, bool) {
	digits, ok := strings.CutSuffix(name, suffix)
	if !ok || len(digits) != 20 {
		return 0, false
	}
	n, err := strconv.ParseInt(digits, 10, 64)
	return record.Offset(n), err == nil && n >= 0
}

func (s *segment) file(suffix string) string { return s.log.dir + "/" + offsetName(s.base) + suffix }

// addLocked gives a batch its place behind the others and returns its position.
func (s *segment) addLocked(b record.Batch) int64 {
	at := s.size
	if !s.hasFirst {
		s.first, s.hasFirst = b.MaxTimestamp(), true
	}
	s.live.add(b, len(b), s.base, at, int64(s.log.configured.Load().IndexIntervalBytes))
	s.size += int64(len(b))
	s.end = b.NextOffset()
	return at
}

// wroteLocked notes that the file has a batch, up to position end.
func (s *segment) wroteLocked(b record.Batch, end int64) {
	s.written = end
	if b.Count() > 0 && b.MaxTimestamp() > s.youngest.timestamp {
		s.youngest = timeEntry{b.MaxTimestamp(), uint32(b.LastOffset() - s.base)}
	}
}

// maxSegmentBytes keeps positions in 32 bits, as Kafka's index has them.
const maxSegmentBytes = math.MaxInt32

// fitsLocked tells whether a batch may still be added.
func (s *segment) fitsLocked(b record.Batch, c *LogConfig) bool {
	switch limit := min(c.SegmentBytes, maxSegmentBytes); {
	case s.size == 0:
		return true
	case s.sealed, s.size+int64(len(b)) > limit, int64(b.LastOffset()-s.base) > math.MaxInt32, s.indexFullLocked(c):
		return false
	}
	age := c.segmentAge()
	return age < 0 || s.ageLocked(b) <= age-s.jitter
}

// ageLocked is how much older than the segment's first batch b is, by their timestamps; of a segment without, the time since it was made.
func (s *segment) ageLocked(b record.Batch) time.Duration {
	if s.hasFirst && s.first >= 0 {
		if ms := b.MaxTimestamp() - s.first; ms < math.MaxInt64/int64(time.Millisecond) {
			return time.Duration(ms) * time.Millisecond
		}
		return math.MaxInt64
	}
	return time.Since(s.created)
}

// indexFullLocked tells whether an index file would be larger than segment.index.bytes with one entry more. Of what was there when the log was opened the
// number of entries is that of its intervals.
func (s *segment) indexFullLocked(c *LogConfig) bool {
	older := s.liveFrom / max(int64(c.IndexIntervalBytes), 1)
	return (int64(len(s.live.offsets))+older+1)*offsetEntryBytes > int64(c.SegmentIndexBytes) ||
		(int64(len(s.live.times))+older+2)*timeEntryBytes > int64(c.SegmentIndexBytes)
}

// errReplaced says that a segment was compacted or removed meanwhile: the caller looks it up again.
var errReplaced = errors.New("segment was replaced or removed")

// open returns the segment's file, to be released.
func (s *segment) open() (*openFile, error) {
	f, err := s.log.store.files.get(s.file(logSuffix), false)
	if s.replaced.Load() {
		if err == nil {
			err = f.release()
		}
		return nil, errors.Join(errReplaced, err)
	}
	return f, err
}

// seek returns a position at or before the batch that holds offset. limit is the size of the file that may be read.
func (s *segment) seek(offset record.Offset, live *index, liveFrom int64) (int64, error) {
	if live != nil {
		if at := live.seek(int64(offset - s.base)); at > 0 || liveFrom == 0 {
			return max(at, liveFrom), nil
		}
	}
	older, err := s.olderAt(int64(offset-s.base), liveFrom)
	if err != nil {
		return 0, err
	}
	if e, ok := older.before(int64(offset - s.base)); ok && older.fromFiles {
		if older, err = s.provenOffset(older, e, liveFrom); err != nil {
			return 0, err
		}
	}
	return older.seek(int64(offset - s.base)), nil
}

// loadOlder returns the index of the first size bytes, from the index files as far as they go, and from the segment itself.
func (s *segment) loadOlder(size int64) (*index, error) {
	if x := s.older.Load(); x != nil {
		return x, nil
	}
	x, err := s.readIndexFiles(size)
	if err != nil {
		return nil, err
	}
	if err := s.extend(x, size); err != nil {
		return nil, err
	}
	s.older.Store(x)
	return x, nil
}

// extend adds to an index what is missing of the first size bytes.
func (s *segment) extend(x *index, size int64) error {
	start := int64(0)
	if n := len(x.offsets); n > 0 {
		start = int64(x.offsets[n-1].position)
	}
	interval := int64(s.log.config().IndexIntervalBytes)
	return s.scan(start, size, wholeWindow, func(b record.Batch, at int64) error {
		bytes, err := record.SizeIn(b)
		if at == start && start > 0 {
			x.see(b, bytes, s.base)
		} else {
			x.add(b, bytes, s.base, at, interval)
		}
		return err
	})
}

// scan calls fn with each batch header of the file from position start, where a batch begins, up to size. Of a batch only the header may be looked at.
func (s *segment) scan(start, size int64, w *window, fn func(b record.Batch, at int64) error) error {
	if start >= size {
		return nil
	}
	f, err := s.open()
	if err != nil {
		return err
	}
	err = scanFile(f, start, size, w, s.rising(fn))
	if errors.Is(err, ErrCorrupt) {
		err = fmt.Errorf("%s: %w", f.name, err)
	}
	return errors.Join(err, f.release())
}

// rising lets through the batches whose offsets rise, which is all that can be told of them without the checksum.
func (s *segment) rising(fn func(b record.Batch, at int64) error) func(b record.Batch, at int64) error {
	next := s.base
	return func(b record.Batch, at int64) error {
		if b.BaseOffset() < next || b.LastOffset() < b.BaseOffset() {
			return fmt.Errorf("%w at position %d: it has offsets %d to %d, the one in front ends at %d", ErrCorrupt, at, b.BaseOffset(), b.LastOffset(), next-1)
		}
		next = b.NextOffset()
		return fn(b, at)
	}
}

// window is how much of a file a scan reads at a time. Its buffers are used again: to find its batch a third of a fetch's time went into a new one.
type window struct {
	bytes   int
	buffers sync.Pool
}

func newWindow(bytes int) *window {
	return &window{bytes: bytes, buffers: sync.Pool{New: func() any { return new([]byte) }}} // as large as what is read, up to bytes
}

var (
	// seekWindow is for finding a batch: the index leads to within an interval of it, so mostly one read is enough.
	seekWindow = newWindow(8 << 10)
	// wholeWindow is for going through a file.
	wholeWindow = newWindow(windowBytes)
)

// scanFile reads a window at a time; batches larger than that are passed over without being read.
func scanFile(f vfs.File, start, size int64, w *window, fn func(b record.Batch, at int64) error) error {
	buf := w.buffers.Get().(*[]byte)
	r := &windowReader{file: f, size: size, window: w.bytes, buf: (*buf)[:0]}
	defer func() {
		*buf = r.buf
		w.buffers.Put(buf)
	}()
	for at := start; at < size; {
		head, err := r.read(at, record.HeaderBytes)
		if err != nil {
			return err
		}
		n, err := record.SizeIn(head)
		if err != nil || len(head) < record.HeaderBytes || int64(n) > size-at {
			return fmt.Errorf("%w at position %d", ErrCorrupt, at)
		}
		if err := fn(record.Batch(head), at); err != nil {
			return err
		}
		at += int64(n)
	}
	return nil
}

// batches calls fn with each whole batch of the file from position start up to size. A batch is valid during the call.
func (s *segment) batches(start, size int64, fn func(b record.Batch, at int64) error) error {
	if start >= size {
		return nil
	}
	f, err := s.open()
	if err != nil {
		return err
	}
	err = batchesOf(f, start, size, s.rising(fn))
	if errors.Is(err, ErrCorrupt) {
		err = fmt.Errorf("%s: %w", f.name, err)
	}
	return errors.Join(err, f.release())
}

func batchesOf(f vfs.File, start, size int64, fn func(b record.Batch, at int64) error) error {
	r := &windowReader{file: f, size: size, window: windowBytes}
	for at := start; at < size; {
		head, err := r.read(at, record.HeaderBytes)
		if err != nil {
			return err
		}
		n, err := record.SizeIn(head)
		if err != nil || int64(n) > size-at {
			return fmt.Errorf("%w at position %d", ErrCorrupt, at)
		}
		whole, err := r.read(at, n)
		if err != nil {
			return err
		}
		if err := record.Batch(whole).Verify(); err != nil {
			return fmt.Errorf("%w at position %d: %w", ErrCorrupt, at, err)
		}
		if err := fn(record.Batch(whole), at); err != nil {
			return err
		}
		at += int64(n)
	}
	return nil
}

// complete writes the files that a sealed segment has beside it: indexes, aborted transactions and the producers' state. They are made durable here, since without a
// checksum a half-written one could not be told.
func (s *segment) complete(x *index, next record.Offset, aborted []AbortedTxn, snapshot producers) error {
	fsys := s.log.store.opts.FS
	if len(aborted) > 0 { // before the files by which the segment counts as complete
		if err := vfs.WriteFileAtomic(fsys, s.file(txnSuffix), encodeTxnIndex(aborted)); err != nil {
			return err
		}
	}
	if err := vfs.WriteFileAtomic(fsys, s.file(indexSuffix), x.encodeOffsets()); err != nil {
		return err
	}
	if err := vfs.WriteFileAtomic(fsys, s.file(timeSuffix), x.encodeTimes()); err != nil {
		return err
	}
	largest := x.maxTimestamp
	s.largest.Store(&largest)
	if len(snapshot.known) == 0 {
		return nil
	}
	return vfs.WriteFileAtomic(fsys, path.Join(s.log.dir, offsetName(next)+snapshotSuffix), snapshot.encodeSnapshot())
}

// largestTimestamp is the largest timestamp of a sealed segment, and the time its file was written when its batches have none.
func (s *segment) largestTimestamp(size int64) (time.Time, error) {
	if known := s.largest.Load(); known != nil && *known >= 0 {
		return time.UnixMilli(*known), nil
	}
	x, err := s.loadOlder(size)
	if err != nil {
		return time.Time{}, err
	}
	largest := x.maxTimestamp
	s.largest.Store(&largest)
	if largest >= 0 {
		return time.UnixMilli(largest), nil
	}
	info, err := s.log.store.opts.FS.Stat(s.file(logSuffix))
	if err != nil {
		return time.Time{}, err
	}
	return info.ModTime(), nil
}

// remove deletes the segment's files, the log first: without it the others are nothing.
func (s *segment) remove() error {
	for _, suffix := range []string{logSuffix, indexSuffix, timeSuffix, txnSuffix, snapshotSuffix} {
		if err := s.log.store.opts.FS.Remove(s.file(suffix)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return s.log.store.files.forget(s.file(logSuffix))
}
