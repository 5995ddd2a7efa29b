package storage

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"sync"
	"time"

	"github.com/milldam/milldam/core/record"
	"github.com/milldam/milldam/core/vfs"
)

// Recovery tells what opening a store found and did.
type Recovery struct {
	Logs           int // with records
	WALRecords     int // read from the write-ahead log
	Replayed       int // of these, batches that were not in segments yet
	ReplayedBytes  int64
	TruncatedBytes int64    // of segments, behind what was recovered
	Quarantined    []string // directories of no known topic
	Offline        []error  // partitions that are damaged below what was synced
	Took           time.Duration
}

// Open opens the store in opts.Dir and recovers it: segments up to the checkpoint, and the write-ahead log from there.
func Open(ctx context.Context, opts Options) (*Store, Recovery, error) {
	began := time.Now()
	s := &Store{opts: opts.withDefaults(), space: sync.NewCond(new(sync.Mutex))}
	s.slabs = newSlabs(s.opts.TailBytes)
	s.mu.logs = map[logKey]*Log{}
	s.files = newFileCache(s.opts.FS, s.opts.OpenFiles)
	s.committer, s.flusher = newCommitter(s), newFlusher(s)
	s.disk = newDiskGuard(s.opts, &s.tailBytes)
	s.disk.look()
	r := &recovery{store: s, removed: map[record.TopicID]bool{}, files: map[*Log][]segmentFile{}, topics: map[record.TopicID]topicFound{}, aside: map[*Log]*asideFile{}}
	if err := r.run(ctx); err != nil {
		err = fmt.Errorf("open the log store in %s: %w", s.opts.Dir, err)
		if s.wal != nil {
			err = errors.Join(err, s.wal.close())
		}
		return nil, Recovery{}, errors.Join(err, s.files.close())
	}
	go s.committer.commitLoop()
	go s.flusher.flushLoop()
	r.out.Took = time.Since(began)
	return s, r.out, nil
}

// recovery is one run of opening a store.
type recovery struct {
	store   *Store
	out     Recovery
	removed map[record.TopicID]bool
	rows    map[logKey]checkpointLog
	// scan is set when the checkpoint cannot be used: then the segments themselves say how far they go.
	scan bool

	mu     sync.Mutex // while logs are opened, several at a time; guards files, topics and out.Quarantined
	files  map[*Log][]segmentFile
	topics map[record.TopicID]topicFound

	aside map[*Log]*asideFile // what the write-ahead log has of damaged logs
}

// topicFound is what Options.Topic said of a topic.
type topicFound struct {
	name   string
	config LogConfig
	known  bool
}

// topic asks Options.Topic, about once for all partitions of a topic.
func (r *recovery) topic(id record.TopicID) (name string, c LogConfig, known bool) {
	r.mu.Lock()
	t, asked := r.topics[id]
	r.mu.Unlock()
	if !asked {
		t.name, t.config, t.known = r.store.opts.Topic(id)
		r.mu.Lock()
		r.topics[id] = t
		r.mu.Unlock()
	}
	return t.name, t.config, t.known
}

func (r *recovery) run(ctx context.Context) error {
	o := r.store.opts
	for _, dir := range []string{o.Dir, path.Join(o.Dir, logsDir), path.Join(o.Dir, walDir)} {
		if err := o.FS.MkdirAll(dir); err != nil {
			return err
		}
	}
	if err := errors.Join(o.FS.SyncDir(path.Dir(path.Clean(o.Dir))), o.FS.SyncDir(o.Dir)); err != nil {
		return err
	}
	var err error
	if r.store.wal, err = openWAL(o); err != nil {
		return err
	}
	walFrom, err := r.readCheckpoint()
	if err != nil {
		return err
	}
	if err := r.openLogs(); err != nil {
		return err
	}
	if err := r.replay(ctx, walFrom); err != nil {
		return err
	}
	if err := r.finish(); err != nil {
		return err
	}
	return r.store.wal.next(false)
}

// readCheckpoint loads the rows, and returns from which write-ahead log file on records are needed.
func (r *recovery) readCheckpoint() (walFrom uint64, err error) {
	r.rows = map[logKey]checkpointLog{}
	w := r.store.wal
	data, err := vfs.ReadFile(r.store.opts.FS, path.Join(r.store.opts.Dir, checkpointFile))
	if errors.Is(err, fs.ErrNotExist) {
		// Before the first checkpoint the write-ahead log has everything, from its first file on.
		r.scan = len(w.mu.full) > 0 && w.mu.full[0].sequence != 1
		return 1, nil
	}
	if err != nil {
		return 0, err
	}
	c, err := decodeCheckpoint(data)
	if err != nil {
		r.store.opts.Logger.Warn("the checkpoint is damaged: all segments that were written last are read",
			"file", path.Join(r.store.opts.Dir, checkpointFile), "error", err)
		r.scan = true
		return 1, nil
	}
	for _, row := range c.logs {
		r.rows[logKey{row.topic, row.partition}] = row
	}
	w.mu.nextSequence = max(w.mu.nextSequence, c.walFrom)
	r.store.walFrom = c.walFrom
	return c.walFrom, nil
}

// finish cuts what the segments hold beyond the recovered ends, and removes segments that never came to be.
func (r *recovery) finish() error {
	s := r.store
	s.mu.list = nil
	if err := r.closeAside(); err != nil {
		return err
	}
	for _, l := range s.Logs() {
		if l.mu.damage == nil && l.mu.err == nil {
			if err := r.cut(l, r.files[l]); err != nil {
				return fmt.Errorf("cut %s: %w", l, err)
			}
		}
		if err := l.errLocked(); err != nil {
			r.out.Offline = append(r.out.Offline, err)
			s.opts.Logger.Error("a partition does not serve", "log", l.String(), "error", err)
		} else if l.mu.end > 0 {
			r.out.Logs++
		}
		if l.mu.damage != nil && l.mu.err == nil {
			if err := r.keepDamage(l); err != nil {
				return err
			}
		}
	}
	r.files = nil
	return nil
}

// keepDamage notes the damage of a log whose state is whole up to there, before the write-ahead log that shows it is used again.
func (r *recovery) keepDamage(l *Log) error {
	if err := l.prepareDir(); err != nil {
		return err
	}
	if err := l.markDamaged(errors.Unwrap(l.mu.damage)); err != nil {
		return err
	}
	return l.enter()
}

// found keeps which files a log has, for cut.
func (r *recovery) found(l *Log, files []segmentFile) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.files[l] = files
}

// cut removes what the files that opening found hold beyond the log. What the write-ahead log brought since ends where the log does.
func (r *recovery) cut(l *Log, files []segmentFile) error {
	changed := false
	for _, f := range files {
		i := slices.IndexFunc(l.mu.segments, func(s *segment) bool { return s.base == f.base })
		switch {
		case i < 0:
			r.out.TruncatedBytes += f.size
			if err := (&segment{log: l, base: f.base}).remove(); err != nil {
				return err
			}
		case f.size > l.mu.segments[i].written:
			if err := r.truncate(l.mu.segments[i]); err != nil {
				return err
			}
		default:
			continue
		}
		changed = true
	}
	if !changed {
		return nil
	}
	return r.store.opts.FS.SyncDir(l.dir)
}

// truncate cuts the segment's file behind what was written of it.
func (r *recovery) truncate(seg *segment) error {
	f, err := r.store.files.get(seg.file(logSuffix), false)
	if err != nil {
		return err
	}
	size, err := f.Size()
	if err == nil && size > seg.written {
		r.out.TruncatedBytes += max(0, size-seg.size) // what the tail has comes to its place again
		err = f.Truncate(seg.written)
	}
	return errors.Join(err, f.release())
}
