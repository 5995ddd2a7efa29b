package storage

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strconv"
	"strings"
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
	TruncatedBytes int64    // of segments, behind what was committed
	Quarantined    []string // directories of no known topic
	Offline        []error  // partitions that are damaged below what was synced
	Took           time.Duration
}

// Open opens the store in opts.Dir and recovers it: segments up to the checkpoint, and the write-ahead log from there.
func Open(ctx context.Context, opts Options) (*Store, Recovery, error) {
	began := time.Now()
	s := &Store{opts: opts.withDefaults(), space: sync.NewCond(new(sync.Mutex))}
	s.mu.logs = map[logKey]*Log{}
	s.files = newFileCache(s.opts.FS, s.opts.OpenFiles)
	s.committer, s.flusher = newCommitter(s), newFlusher(s)
	r := &recovery{store: s, removed: map[record.TopicID]bool{}}
	if err := r.run(ctx); err != nil {
		err = fmt.Errorf("open the log store in %s: %w", s.opts.Dir, err)
		if s.wal != nil {
			err = errors.Join(err, s.wal.close())
		}
		return nil, Recovery{}, errors.Join(err, s.files.close())
	}
	s.checkRoom()
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

// openLogs opens the log of each directory whose topic is known, and moves the others out of the way.
func (r *recovery) openLogs() error {
	s := r.store
	root := path.Join(s.opts.Dir, logsDir)
	names, err := s.opts.FS.List(root)
	if err != nil {
		return err
	}
	for _, name := range names {
		id, partition, ok := r.identify(path.Join(root, name), name)
		topic, config, known := "", LogConfig{}, false
		if ok {
			topic, config, known = s.opts.Topic(id)
		}
		if !known || fmt.Sprintf("%s-%d", topic, partition) != name {
			if err := r.quarantine(name); err != nil {
				return err
			}
			continue
		}
		l := newLog(s, id, topic, partition, config)
		l.dirMade = true
		s.mu.logs[logKey{id, partition}] = l
		if err := l.openSegments(r); err != nil {
			l.damaged(err)
		}
	}
	// A row without a directory is of a log that has no segment yet.
	for key, row := range r.rows {
		if l := s.mu.logs[key]; l == nil && row.recovered > 0 {
			if topic, _, known := s.opts.Topic(key.topic); known {
				s.opts.Logger.Error("the directory of a partition is missing", "topic", topic, "partition", key.partition,
					"records_up_to", int64(row.recovered))
			}
		}
	}
	return nil
}

// identify reads what directory dir is of.
func (r *recovery) identify(dir, name string) (record.TopicID, int32, bool) {
	dash := strings.LastIndexByte(name, '-')
	if dash < 1 {
		return record.TopicID{}, 0, false
	}
	partition, err := strconv.ParseInt(name[dash+1:], 10, 32)
	if err != nil || partition < 0 {
		return record.TopicID{}, 0, false
	}
	data, err := vfs.ReadFile(r.store.opts.FS, path.Join(dir, metadataFile))
	if err != nil {
		return record.TopicID{}, 0, false
	}
	id, err := decodeMetadata(data)
	return id, int32(partition), err == nil
}

func (r *recovery) quarantine(name string) error {
	if err := r.store.quarantine(name); err != nil {
		return err
	}
	r.out.Quarantined = append(r.out.Quarantined, name)
	return nil
}

// quarantine moves a directory that belongs to no known topic out of the way; nothing unknown is ever deleted.
func (s *Store) quarantine(name string) error {
	o := s.opts
	to := path.Join(o.Dir, quarantineDir, name+"."+strconv.FormatInt(time.Now().UnixNano(), 10))
	if err := o.FS.MkdirAll(path.Dir(to)); err != nil {
		return err
	}
	if err := o.FS.Rename(path.Join(o.Dir, logsDir, name), to); err != nil {
		return err
	}
	s.opts.Logger.Warn("a directory of no known topic was moved away; delete it when nobody misses it", "directory", name, "to", to)
	return errors.Join(o.FS.SyncDir(path.Dir(to)), o.FS.SyncDir(path.Join(o.Dir, logsDir)), o.FS.SyncDir(o.Dir))
}

// quarantineOther moves a directory away that has l's name and is of another topic.
func (s *Store) quarantineOther(l *Log) error {
	data, err := vfs.ReadFile(s.opts.FS, path.Join(l.dir, metadataFile))
	if errors.Is(err, fs.ErrNotExist) {
		if there, err := vfs.Exists(s.opts.FS, l.dir); !there || err != nil {
			return err
		}
	} else if err != nil {
		return err
	}
	if id, err := decodeMetadata(data); err == nil && id == l.id {
		return nil
	}
	return s.quarantine(path.Base(l.dir))
}

// damaged notes a log that cannot serve; all others do. Its topic may still turn out to be removed, so it is told at the end.
func (l *Log) damaged(err error) {
	if l.mu.err == nil {
		l.mu.err = &offlineError{err}
	}
}

// openSegments finds the log's segments and takes over what the checkpoint says of it.
func (l *Log) openSegments(r *recovery) error {
	fsys := l.store.opts.FS
	names, err := fsys.List(l.dir)
	if err != nil {
		return err
	}
	var bases []record.Offset
	for _, name := range names {
		if base, ok := segmentBase(name, logSuffix); ok {
			bases = append(bases, base)
		}
		if strings.HasSuffix(name, cleanedSuffix) {
			if err := fsys.Remove(path.Join(l.dir, name)); err != nil {
				return err
			}
		}
	}
	slices.Sort(bases)
	l.readEpochs()
	row, known := r.rows[logKey{l.id, l.partition}]
	if r.scan {
		if row, err = l.scanSegments(bases); err != nil {
			return err
		}
		known = len(bases) > 0
	}
	if !known {
		return nil // all it has is in the write-ahead log
	}
	return l.restore(bases, row, r.scan)
}

func (l *Log) readEpochs() {
	name := path.Join(l.dir, epochsFile)
	data, err := vfs.ReadFile(l.store.opts.FS, name)
	if err != nil {
		return // built from the batches
	}
	known, err := decodeEpochs(data)
	if err != nil {
		l.store.opts.Logger.Warn("the leader epochs are read from the batches", "file", name, "error", err)
		return
	}
	l.mu.epochs, l.epochsOnFS = known, len(known)
}

// restore makes the segments up to the checkpoint's offset. Whatever lies behind it comes from the write-ahead log.
func (l *Log) restore(bases []record.Offset, row checkpointLog, scanned bool) error {
	l.mu.segments = nil
	for i, base := range bases {
		if base > row.segment {
			break
		}
		seg := &segment{log: l, base: base, end: row.recovered, size: row.position, sealed: base != row.segment}
		info, err := l.store.opts.FS.Stat(seg.file(logSuffix))
		if err != nil {
			return err
		}
		if seg.sealed {
			seg.size = info.Size()
			if seg.end = row.segment; i+1 < len(bases) {
				seg.end = min(seg.end, bases[i+1])
			}
		} else if seg.first, seg.hasFirst, seg.live = row.first, row.hasFirst, newIndex(); info.Size() < row.position {
			return fmt.Errorf("%w: segment %d has %d bytes, %d were synced", ErrCorrupt, base, info.Size(), row.position)
		}
		seg.written, seg.liveFrom = seg.size, seg.size
		l.mu.segments = append(l.mu.segments, seg)
	}
	if n := len(l.mu.segments); n == 0 || l.mu.segments[n-1].base != row.segment {
		if row.position > 0 {
			return fmt.Errorf("%w: segment %d is missing", ErrCorrupt, row.segment)
		}
		l.mu.segments = append(l.mu.segments, &segment{log: l, base: row.segment, end: row.segment, live: newIndex()})
	}
	l.mu.start = max(row.start, min(l.mu.segments[0].base, row.recovered))
	l.mu.end, l.mu.written, l.mu.committed = row.recovered, row.recovered, row.recovered
	if !scanned {
		l.mu.checkpointed = row.segment
	}
	l.mu.producers = row.producers
	for len(l.mu.epochs) > 0 && l.mu.epochs[len(l.mu.epochs)-1].start > row.recovered {
		l.mu.epochs = l.mu.epochs[:len(l.mu.epochs)-1]
	}
	l.epochsOnFS = min(l.epochsOnFS, len(l.mu.epochs))
	return nil
}

// scanSegments reads how far the log goes, when no checkpoint says it: everything of the last segment that is whole. The producers' state
// comes from the newest snapshot and the batches behind it.
func (l *Log) scanSegments(bases []record.Offset) (checkpointLog, error) {
	row := checkpointLog{topic: l.id, partition: l.partition, producers: producers{}}
	if len(bases) == 0 {
		return row, nil
	}
	row.start, row.segment, row.recovered = bases[0], bases[len(bases)-1], bases[len(bases)-1]
	from := l.loadSnapshot(&row, bases)
	for i, base := range bases {
		seg := &segment{log: l, base: base}
		info, err := l.store.opts.FS.Stat(seg.file(logSuffix))
		if err != nil {
			return row, err
		}
		last := i == len(bases)-1
		if !last && bases[i+1] <= from {
			continue
		}
		err = seg.batches(0, info.Size(), func(b record.Batch, at int64) error {
			if b.BaseOffset() >= from {
				row.producers.apply(b)
			}
			if last {
				if !row.hasFirst {
					row.first, row.hasFirst = b.MaxTimestamp(), true
				}
				row.recovered, row.position = b.NextOffset(), at+int64(len(b))
			}
			return nil
		})
		if err != nil && (!last || !errors.Is(err, ErrCorrupt)) {
			return row, err
		}
	}
	return row, nil
}

// loadSnapshot loads the newest producer snapshot and returns the offset it is of.
func (l *Log) loadSnapshot(row *checkpointLog, bases []record.Offset) record.Offset {
	for i := len(bases) - 1; i >= 0; i-- {
		name := path.Join(l.dir, offsetName(bases[i])+snapshotSuffix)
		data, err := vfs.ReadFile(l.store.opts.FS, name)
		if err != nil {
			continue
		}
		p, err := decodeSnapshot(data)
		if err == nil {
			row.producers = p
			return bases[i]
		}
		l.store.opts.Logger.Warn("the producers are read from an older snapshot and the batches", "file", name, "error", err)
	}
	return 0
}

// replay applies the write-ahead log.
func (r *recovery) replay(ctx context.Context, walFrom uint64) error {
	w := r.store.wal
	needed := slices.IndexFunc(w.mu.full, func(f *walFile) bool { return f.sequence >= walFrom })
	if needed < 0 {
		needed = len(w.mu.full)
	}
	w.mu.free = append(w.mu.free, w.mu.full[:needed]...)
	w.mu.full = w.mu.full[needed:]
	for i, f := range w.mu.full {
		if err := ctx.Err(); err != nil {
			return err
		}
		if i > 0 && f.sequence != w.mu.full[i-1].sequence+1 {
			return fmt.Errorf("write-ahead log file %d is missing; restore it, or restore the whole folder from a backup", w.mu.full[i-1].sequence+1)
		}
		end, ended, err := f.replay(func(h walHead, batch []byte) error { return r.apply(f.sequence, h, batch) })
		if err != nil {
			return fmt.Errorf("replay write-ahead log file %s: %w", f.name, err)
		}
		if !ended && i < len(w.mu.full)-1 && r.store.opts.Flush == FlushDurable && !r.onlyTorn(w.mu.full[i+1:]) {
			return fmt.Errorf("%w: write-ahead log file %s is damaged at byte %d; restore it, or restore the whole folder from a backup", ErrCorrupt, f.name, end)
		}
		f.size = end
		if !ended { // what is torn behind its end is over; the next crash must find a file that is whole
			if err := f.end(r.store.opts.Flush == FlushDurable); err != nil {
				return err
			}
		}
	}
	return nil
}

// onlyTorn tells whether the files hold no record: the crash came when the first of them was begun, before the end of the file in front was synced.
func (r *recovery) onlyTorn(files []*walFile) bool {
	for _, f := range files {
		some := errors.New("a record")
		if _, ended, err := f.replay(func(walHead, []byte) error { return some }); ended || err != nil {
			return false
		}
	}
	return true
}

// apply applies one record. Everything it may meet twice it skips the second time.
func (r *recovery) apply(sequence uint64, h walHead, batch []byte) error {
	r.out.WALRecords++
	s := r.store
	if h.kind == walRemove {
		return r.removeTopic(h.topic)
	}
	if r.removed[h.topic] {
		return nil
	}
	topic, config, known := s.opts.Topic(h.topic)
	if !known {
		return nil
	}
	l := s.mu.logs[logKey{h.topic, h.partition}]
	if l == nil {
		l = newLog(s, h.topic, topic, h.partition, config)
		s.mu.logs[logKey{h.topic, h.partition}] = l
	}
	if l.mu.err != nil {
		return nil
	}
	if h.kind == walLogStart {
		if h.offset <= l.mu.end {
			l.raiseStartLocked(h.offset)
		}
		return nil
	}
	if h.offset < l.mu.end {
		return nil
	}
	if err := r.add(l, sequence, h, batch); err != nil {
		l.damaged(fmt.Errorf("replay offset %d: %w", h.offset, err))
	}
	if s.tailBytes.Load() > s.opts.TailBytes {
		for _, l := range s.Logs() {
			if err := l.flushTail(nil); err != nil && s.Err() != nil {
				return err
			}
		}
	}
	return nil
}

// add puts a batch at the end of its log, in the segment and at the position it had.
func (r *recovery) add(l *Log, sequence uint64, h walHead, batch []byte) error {
	active := l.mu.segments[len(l.mu.segments)-1]
	if h.segment != active.base {
		if h.segment != l.mu.end || h.segment < active.base {
			return fmt.Errorf("%w: it lies in segment %d, the log is in %d", ErrCorrupt, h.segment, active.base)
		}
		active = l.rollLocked(h.segment)
	}
	if h.position != active.size || h.offset != l.mu.end && active.size > 0 && r.store.opts.Flush == FlushDurable {
		return fmt.Errorf("%w: it is at offset %d and position %d, the log ends at %d and %d", ErrCorrupt, h.offset, h.position, l.mu.end, active.size)
	}
	r.out.Replayed++
	r.out.ReplayedBytes += int64(h.length)
	if h.kind == walDirect {
		return l.addDirect(active, h)
	}
	e := l.placeLocked(bytes.Clone(batch), active)
	e.wal, e.direct = sequence, false
	l.mu.committed = l.mu.end
	return nil
}

// addDirect takes over a batch that lies in its segment already.
func (l *Log) addDirect(active *segment, h walHead) error {
	if err := l.flushTail(nil); err != nil {
		return err
	}
	end := h.position + int64(h.length)
	if info, err := l.store.opts.FS.Stat(active.file(logSuffix)); err != nil {
		return err
	} else if info.Size() < end { // before memory is taken for it
		return fmt.Errorf("%w: segment %d has %d bytes, %d were synced", ErrCorrupt, active.base, info.Size(), end)
	}
	return active.batches(h.position, end, func(b record.Batch, at int64) error {
		if at != h.position || b.BaseOffset() != h.offset || len(b) != int(h.length) {
			return fmt.Errorf("%w: another batch lies at position %d of segment %d", ErrCorrupt, at, active.base)
		}
		l.placeLocked(bytes.Clone(b), active)
		l.mu.tail, l.mu.tailBytes = nil, 0
		l.store.tailBytes.Add(-int64(h.length))
		active.written, l.mu.written, l.mu.committed = active.size, l.mu.end, l.mu.end
		return nil
	})
}

// removeTopic deletes what is left of a topic whose removal was durable.
func (r *recovery) removeTopic(id record.TopicID) error {
	r.removed[id] = true
	s := r.store
	for key, l := range s.mu.logs {
		if key.topic != id {
			continue
		}
		l.dropTail(ErrRemoved)
		delete(s.mu.logs, key)
		if err := l.removeFiles(); err != nil {
			return err
		}
	}
	s.mu.list = nil
	return nil
}

// finish cuts what the segments hold beyond the recovered ends, and removes segments that never came to be.
func (r *recovery) finish() error {
	s := r.store
	s.mu.list = nil
	for _, l := range s.Logs() {
		if l.mu.err == nil {
			if err := r.cut(l); err != nil {
				l.damaged(err)
			}
		}
		if l.mu.err != nil {
			r.out.Offline = append(r.out.Offline, fmt.Errorf("%s: %w", l, l.mu.err))
			s.opts.Logger.Error("a partition is damaged and does not serve", "log", l.String(), "error", l.mu.err)
		} else if l.mu.end > 0 {
			r.out.Logs++
		}
	}
	return nil
}

func (r *recovery) cut(l *Log) error {
	if !l.dirMade {
		return nil
	}
	names, err := r.store.opts.FS.List(l.dir)
	if err != nil {
		return err
	}
	known := map[record.Offset]*segment{}
	for _, seg := range l.mu.segments {
		known[seg.base] = seg
	}
	for _, name := range names {
		base, ok := segmentBase(name, logSuffix)
		if !ok {
			continue
		}
		seg := known[base]
		if seg == nil {
			if err := (&segment{log: l, base: base}).remove(); err != nil {
				return err
			}
			continue
		}
		if err := r.truncate(seg); err != nil {
			return err
		}
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
		r.out.TruncatedBytes += size - seg.written
		err = f.Truncate(seg.written)
	}
	return errors.Join(err, f.release())
}

// encodeMetadata writes Kafka's partition.metadata, whose topic id is base64 as in Kafka's tools.
func encodeMetadata(id record.TopicID) []byte {
	return fmt.Appendf(nil, "version: 0\ntopic_id: %s", base64.RawURLEncoding.EncodeToString(id[:]))
}

func decodeMetadata(data []byte) (id record.TopicID, err error) {
	for line := range strings.Lines(string(data)) {
		text, ok := strings.CutPrefix(strings.TrimSpace(line), "topic_id: ")
		if !ok {
			continue
		}
		raw, err := base64.RawURLEncoding.DecodeString(text)
		if err == nil && len(raw) == len(id) {
			copy(id[:], raw)
			return id, nil
		}
	}
	return id, errors.New("damaged partition.metadata")
}
