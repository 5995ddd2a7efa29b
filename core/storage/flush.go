package storage

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path"
	"slices"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/milldam/milldam/core/vfs"
)

const (
	// flushBytes is how much of a log's tail is worth a write to its segment.
	flushBytes = 64 << 10
	// directBytes is the size from which a batch goes straight to its segment: writing it twice would cost more than the second sync.
	directBytes = 256 << 10
	// startSyncBytes is how much of a segment is worth being written to disk before its sync: what a checkpoint finds unwritten keeps the syncs of the write-ahead
	// log waiting, and small parts of many segments are many small writes.
	startSyncBytes = 1 << 20
	pageBytes      = 4096
)

// flushTail writes the log's tail to its segments: what is committed, or everything up to and including last when that is not nil. Segments
// that this completes get the files beside them. Only one runs at a time for a log.
func (l *Log) flushTail(last *entry) error {
	l.io.Lock()
	defer l.io.Unlock()
	if err := l.store.Err(); err != nil {
		return err
	}
	l.mu.Lock()
	if errors.Is(l.mu.err, ErrRemoved) {
		defer l.mu.Unlock()
		return l.mu.err
	}
	list := l.mu.tail[:l.flushableLocked(last)] // of a log that is offline alone too: the write-ahead log is used again
	l.mu.Unlock()
	err := l.writeEntries(list)
	if err == nil {
		err = l.completeSegments()
	}
	if err != nil && !errors.Is(l.Err(), ErrRemoved) {
		l.store.fail(fmt.Errorf("write to the segments of %s: %w", l, err))
	}
	return l.Err()
}

// writeEntries writes entries of the tail, a run of those in one segment at a time. The caller holds io.
func (l *Log) writeEntries(list []*entry) error {
	if len(list) == 0 {
		return nil
	}
	if err := l.prepareDir(); err != nil {
		return err
	}
	for len(list) > 0 {
		n := 1
		for n < len(list) && list[n].segment == list[0].segment {
			n++
		}
		// A checkpoint takes over what is in memory of one segment only: the one before is complete when the next has its first byte.
		if err := l.completeSegments(); err != nil {
			return err
		}
		if err := l.writeRun(list[:n]); err != nil {
			return err
		}
		list = list[n:]
	}
	return nil
}

// flushableLocked is how many entries of the tail may be written.
func (l *Log) flushableLocked(last *entry) int {
	for i, e := range l.mu.tail {
		if last == nil && e.wal == 0 {
			return i
		}
		if e == last {
			return i + 1
		}
	}
	if last != nil {
		return 0 // another flush wrote it
	}
	return len(l.mu.tail)
}

// prepareDir makes the log's directory and writes its epochs, where that is still to be done. The caller holds io, which guards the two
// fields it sets.
//
// A new directory is made durable with the first sync of a segment in it (enter): until then the write-ahead log has everything, and a thousand new
// partitions wait for no sync of their own.
func (l *Log) prepareDir() error {
	fsys := l.store.opts.FS
	if !l.dirMade {
		if err := l.store.quarantineOther(l); err != nil {
			return err
		}
		if err := fsys.MkdirAll(l.dir); err != nil {
			return err
		}
		l.store.dirs.made.Add(1)
		l.fresh.Store(true)
		if err := vfs.WriteFile(fsys, path.Join(l.dir, metadataFile), encodeMetadata(l.id)); err != nil {
			return err
		}
		l.dirMade = true
	}
	l.mu.Lock()
	known := l.mu.epochs
	l.mu.Unlock()
	if len(known) == l.epochsOnFS {
		return nil
	}
	write := vfs.WriteFileAtomic
	if l.epochsOnFS == 0 && l.fresh.Load() {
		write = vfs.WriteFile
	}
	if err := write(fsys, path.Join(l.dir, epochsFile), known.encode()); err != nil {
		return err
	}
	l.epochsOnFS = len(known)
	return nil
}

// enter makes a new directory durable, with the files that say whose it is.
func (l *Log) enter() error {
	l.entering.Lock()
	defer l.entering.Unlock()
	fsys := l.store.opts.FS
	if l.found { // it can be read, and what a former life's sync could not write no other will
		if err := vfs.WriteFileAtomic(fsys, path.Join(l.dir, metadataFile), encodeMetadata(l.id)); err != nil {
			return err
		}
	}
	for _, name := range []string{metadataFile, epochsFile} {
		if err := vfs.SyncFile(fsys, path.Join(l.dir, name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	if err := fsys.SyncDir(l.dir); err != nil {
		return err
	}
	if err := l.store.syncDirs(); err != nil {
		return err
	}
	l.fresh.Store(false)
	return nil
}

// syncDirs makes the directories durable that were made so far. Those that come while it syncs share the next one.
func (s *Store) syncDirs() error {
	want := s.dirs.made.Load()
	s.dirs.io.Lock()
	defer s.dirs.io.Unlock()
	if s.dirs.synced >= want {
		return nil
	}
	made := s.dirs.made.Load()
	if err := s.opts.FS.SyncDir(path.Join(s.opts.Dir, logsDir)); err != nil {
		return err
	}
	s.dirs.synced = made
	return nil
}

// writeRun writes entries of one segment, takes them out of the tail, and completes the segment when they were its last.
func (l *Log) writeRun(list []*entry) error {
	seg := list[0].segment
	f, err := l.store.files.get(seg.file(logSuffix), true)
	if err != nil {
		return err
	}
	vectors := make([][]byte, len(list))
	for i, e := range list {
		vectors[i] = e.batch
	}
	if _, err = f.WriteVecAt(vectors, list[0].position); err == nil {
		last := list[len(list)-1]
		err = seg.startSync(f, last.position+int64(len(last.batch)))
	}
	if closed := f.release(); err == nil {
		err = closed
	}
	if err != nil {
		return err
	}
	l.store.flusher.dirty(seg)
	last := list[len(list)-1]
	var sum int64
	for _, e := range list {
		sum += int64(len(e.batch))
	}
	l.mu.Lock()
	l.mu.tail = l.mu.tail[len(list):]
	if len(l.mu.tail) == 0 {
		l.mu.tail = nil // gives the array back
	}
	l.mu.tailBytes -= sum
	l.mu.written = last.batch.NextOffset()
	for _, e := range list {
		l.mu.flushed.apply(e.batch)
		seg.wroteLocked(e.batch, e.position+int64(len(e.batch)))
	}
	l.mu.Unlock()
	leaveTail(list)
	l.store.gaveBack(sum)
	return nil
}

// startSync has the system begin to write to disk what the segment's file has up to position end, once that is much. The caller holds the log's io.
func (s *segment) startSync(f vfs.File, end int64) error {
	if end -= end % pageBytes; end-s.begun < startSyncBytes {
		return nil
	}
	if err := f.StartSync(s.begun, end-s.begun); err != nil {
		return err
	}
	s.begun = end
	return nil
}

// completeSegments writes the files beside every sealed segment that is whole; from then on its index is read from there. The caller holds io.
func (l *Log) completeSegments() error {
	for {
		l.mu.Lock()
		seg := l.mu.segments[l.firstLiveLocked()]
		if !seg.sealed || seg.written < seg.size {
			l.mu.Unlock()
			return nil
		}
		x, liveFrom, aborted, snapshot := seg.live, seg.liveFrom, seg.aborted, seg.snapshot
		l.mu.Unlock()
		if liveFrom > 0 {
			seg.older.Store(nil) // it may end where live began
			var err error
			if x, err = seg.loadOlder(seg.size); errors.Is(err, ErrCorrupt) { // it gets no index files, and what was acknowledged comes to its place all the same
				_, x = l.foundDamage(err), nil
			} else if err != nil {
				return err
			}
		}
		if seg.size > 0 && x != nil {
			if err := seg.complete(x, seg.end, aborted, snapshot); err != nil {
				return err
			}
		}
		l.mu.Lock()
		seg.older.Store(nil)
		seg.landmarks.Store(nil)
		seg.live, seg.liveFrom, seg.aborted, seg.snapshot = nil, seg.size, nil, producers{}
		l.setTxnIndexLocked(seg.base, seg.end, aborted)
		l.mu.Unlock()
	}
}

// firstLiveLocked is the index of the first segment that is not complete; all behind it are neither.
func (l *Log) firstLiveLocked() int {
	i := len(l.mu.segments) - 1
	for i > 0 && l.mu.segments[i-1].live != nil {
		i--
	}
	return i
}

// sync makes a segment's file durable, and with the first time its entry in the directory.
func (s *segment) sync() error {
	f, err := s.open()
	if errors.Is(err, errReplaced) {
		return nil // compaction synced what took its place
	}
	if err != nil {
		return err
	}
	err = s.syncs.sync(f)
	if closed := f.release(); err == nil {
		err = closed
	}
	if err != nil {
		return err
	}
	if s.log.fresh.Load() {
		if err := s.log.enter(); err != nil {
			return err
		}
	}
	if s.entered.Load() {
		return nil
	}
	if err := s.log.store.opts.FS.SyncDir(s.log.dir); err != nil {
		return err
	}
	s.entered.Store(true)
	return nil
}

// syncOnce syncs a file for several who ask, one after the other. A system tells one of them only that it could not write, and takes what it could not write for
// written: the first error is everybody's.
type syncOnce struct {
	sync.Mutex
	failed error
}

func (s *syncOnce) sync(f vfs.File) error {
	s.Lock()
	defer s.Unlock()
	if s.failed == nil {
		s.failed = f.Sync()
	}
	return s.failed
}

// flushDirect writes the round's large batches to their segments, behind what comes before them, and syncs those.
func (s *Store) flushDirect(round []queued) error {
	for i := range round {
		e := round[i].entry
		if e == nil || !e.direct {
			continue
		}
		if err := round[i].log.flushTail(e); errors.Is(err, ErrRemoved) {
			continue
		} else if err != nil {
			return err
		}
		s.disk.appended(len(e.batch))
		if s.opts.Flush == FlushDurable {
			if err := e.segment.sync(); err != nil {
				return err
			}
		}
	}
	return nil
}

// flusher moves tails to segments behind the committer, and frees write-ahead log files.
type flusher struct {
	store *Store
	wake  chan struct{} // capacity 1
	done  chan struct{}

	mu struct {
		sync.Mutex
		wanted map[*Log]bool // a full tail
		dirty  map[*segment]bool
		closed bool
	}
}

func newFlusher(s *Store) *flusher {
	f := &flusher{store: s, wake: make(chan struct{}, 1), done: make(chan struct{})}
	f.mu.wanted, f.mu.dirty = map[*Log]bool{}, map[*segment]bool{}
	return f
}

func (f *flusher) signal() {
	select {
	case f.wake <- struct{}{}:
	default:
	}
}

// want asks for l's tail to be written.
func (f *flusher) want(l *Log) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.mu.wanted[l] = true
}

// dirty notes that a segment has bytes that are not synced.
func (f *flusher) dirty(s *segment) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.mu.dirty[s] = true
}

// afterRound is called by the committer after each round.
func (f *flusher) afterRound() {
	f.store.wal.publish()
	f.mu.Lock()
	work := len(f.mu.wanted) > 0
	f.mu.Unlock()
	free, full, files := f.store.wal.state()
	if work || f.store.tailMemory() > f.store.opts.TailBytes || f.store.waiting.Load() > 0 || free == 0 && (full > 0 || files < f.store.opts.WALFiles) {
		f.signal()
	}
}

// flushLoop ends when the flusher was closed, or the store went offline.
func (f *flusher) flushLoop() {
	defer close(f.done)
	for range f.wake {
		f.mu.Lock()
		closed := f.mu.closed
		f.mu.Unlock()
		if closed || f.store.Err() != nil {
			return
		}
		if err := f.work(); err != nil {
			f.store.fail(err)
			return
		}
	}
}

// work does what there is to do now.
func (f *flusher) work() error {
	f.mu.Lock()
	wanted := f.mu.wanted
	f.mu.wanted = map[*Log]bool{}
	f.mu.Unlock()
	if err := f.store.flushTails(slices.Collect(maps.Keys(wanted))); err != nil {
		return err
	}
	// Many small tails: there are more active logs than would each reach flushBytes within the bound.
	if f.store.tailMemory() > f.store.opts.TailBytes || f.store.waiting.Load() > 0 {
		if err := f.store.flushTails(f.store.Logs()); err != nil {
			return err
		}
	}
	for {
		free, full, files := f.store.wal.state()
		switch {
		case free == 0 && files < f.store.opts.WALFiles && f.store.disk.hasRoom(f.store.wal.fileBytes): // before a checkpoint: fewer of them, each with more for a sync
			if err := f.store.wal.prepare(); err != nil {
				return err
			}
		case free == 0 && full > 0:
			if err := f.store.checkpoint(); err != nil {
				return err
			}
		default:
			return nil
		}
	}
}

// filesAtOnce is how many logs are written or synced at the same time. A sync is mostly waiting, and those that wait together share the file
// system's journal commits: one after the other, a thousand partitions take ten times as long.
const filesAtOnce = 16

// flushTails writes the tails of logs to their segments. A log that goes offline alone does not keep the others from it.
func (s *Store) flushTails(logs []*Log) error {
	var g errgroup.Group
	g.SetLimit(filesAtOnce)
	for _, l := range logs {
		g.Go(func() error {
			if err := l.flushTail(nil); err != nil && s.Err() != nil {
				return err
			}
			return nil
		})
	}
	return g.Wait()
}

// takeDirty returns the segments to be synced.
func (f *flusher) takeDirty() map[*segment]bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	d := f.mu.dirty
	f.mu.dirty = map[*segment]bool{}
	return d
}

func (f *flusher) close() {
	f.mu.Lock()
	f.mu.closed = true
	f.mu.Unlock()
	f.signal()
	<-f.done
}

// tailMemory is what counts for the bound of the tails: their bytes, or half of the memory that these keep. A slab is free when the last of its batches has left, so
// in a steady load every second byte of what is kept has gone already.
func (s *Store) tailMemory() int64 { return max(s.tailBytes.Load(), s.slabs.tailBytes()/2) }

// room waits while the memory tails hold more than twice their bound: the disk is slower than the producers.
func (s *Store) room(bytes int) error {
	if s.tailMemory()+int64(bytes) <= tailSlack*s.opts.TailBytes {
		return nil
	}
	s.waiting.Add(1)
	defer s.waiting.Add(-1)
	s.flusher.signal()
	s.space.L.Lock()
	defer s.space.L.Unlock()
	for s.tailBytes.Load() > 0 && s.tailMemory()+int64(bytes) > tailSlack*s.opts.TailBytes {
		if err := s.Err(); err != nil {
			return err
		}
		s.space.Wait()
	}
	return nil
}

// tailSlack is how far the tails may pass their bound before appends wait: what comes in while they are written.
const tailSlack = 2

// gaveBack notes that bytes left the tails.
func (s *Store) gaveBack(bytes int64) {
	s.tailBytes.Add(-bytes)
	s.space.L.Lock()
	defer s.space.L.Unlock()
	s.space.Broadcast()
}
