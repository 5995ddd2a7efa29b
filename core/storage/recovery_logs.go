package storage

import (
	"errors"
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/milldam/milldam/core/record"
	"github.com/milldam/milldam/core/vfs"
)

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
