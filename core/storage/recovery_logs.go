package storage

import (
	"cmp"
	"errors"
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/milldam/milldam/core/record"
	"github.com/milldam/milldam/core/vfs"
)

// openLogs opens the log of each directory whose topic is known, and moves the others out of the way.
func (r *recovery) openLogs() error {
	s := r.store
	names, err := s.opts.FS.List(path.Join(s.opts.Dir, logsDir))
	if err != nil {
		return err
	}
	var g errgroup.Group
	g.SetLimit(filesAtOnce)
	for _, name := range names {
		g.Go(func() error { return r.openLog(name) })
	}
	if err := g.Wait(); err != nil {
		return err
	}
	for key, row := range r.rows {
		topic, config, known := r.topic(key.topic)
		if s.mu.logs[key] != nil || row.recovered <= row.start || !known {
			continue
		}
		l := newLog(s, key.topic, topic, key.partition, config)
		l.kept = &row
		l.closed(fmt.Errorf("%w: its directory %s is missing, it had records up to offset %d", ErrCorrupt, l.dir, row.recovered-1))
		s.mu.logs[key] = l
	}
	return nil
}

// openLog opens the log in one directory.
func (r *recovery) openLog(name string) error {
	s := r.store
	dir := path.Join(s.opts.Dir, logsDir, name)
	id, partition, err := r.identify(dir, name)
	if err != nil {
		if id, err = r.identifyByRow(dir, partition, name, err); err != nil {
			return err
		}
	}
	topic, config, known := r.topic(id)
	if !known || topic+"-"+strconv.Itoa(int(partition)) != name {
		if empty, err := r.unfinished(dir); empty || err != nil {
			return err
		}
		return r.quarantine(name)
	}
	l := newLog(s, id, topic, partition, config)
	l.dirMade = true
	if r.rows[logKey{id, partition}].recovered == 0 { // no checkpoint: nobody may have come to make it durable
		l.found = true
		l.fresh.Store(true)
		s.dirs.made.Add(1)
	}
	s.mu.Lock()
	s.mu.logs[logKey{id, partition}] = l
	s.mu.Unlock()
	if err := l.openSegments(r); errors.Is(err, ErrCorrupt) {
		l.closed(err)
	} else if err != nil { // nobody knows what is there, and what the write-ahead log has of it must wait for who does
		return fmt.Errorf("open %s: %w", dir, err)
	}
	return nil
}

// unfinished removes a directory that a crash left before anything was written to its log.
func (r *recovery) unfinished(dir string) (bool, error) {
	fsys := r.store.opts.FS
	names, err := fsys.List(dir)
	if err != nil {
		return false, nil // no directory: it goes the way of all that is unknown
	}
	for _, name := range names {
		info, err := fsys.Stat(path.Join(dir, name))
		if err != nil || info.IsDir() || info.Size() > 0 && name != metadataFile+".tmp" {
			return false, err
		}
	}
	return true, fsys.RemoveAll(dir)
}

// identify reads what directory dir is of. The partition is -1 where name is no partition's.
func (r *recovery) identify(dir, name string) (id record.TopicID, partition int32, err error) {
	dash := strings.LastIndexByte(name, '-')
	n, err := strconv.ParseInt(name[dash+1:], 10, 32)
	if dash < 1 || err != nil || n < 0 {
		return id, -1, fmt.Errorf("%s is not the name of a partition's directory", name)
	}
	data, err := vfs.ReadFile(r.store.opts.FS, path.Join(dir, metadataFile))
	if err == nil {
		id, err = decodeMetadata(data)
	}
	return id, int32(n), err
}

// identifyByRow finds whose a directory is that does not say it: where the checkpoint has a partition of that name with records, the file that says it
// was damaged after it was durable, and is written anew. Without such a row the id is the zero one, which no topic has.
func (r *recovery) identifyByRow(dir string, partition int32, name string, damage error) (record.TopicID, error) {
	if partition < 0 {
		return record.TopicID{}, nil
	}
	for key, row := range r.rows {
		topic, _, known := r.topic(key.topic)
		if !known || key.partition != partition || row.recovered == 0 || topic+"-"+strconv.Itoa(int(partition)) != name {
			continue
		}
		file := path.Join(dir, metadataFile)
		r.store.opts.Logger.Warn("a damaged file is written anew from the checkpoint", "file", file, "error", damage)
		return key.topic, vfs.WriteFileAtomic(r.store.opts.FS, file, encodeMetadata(key.topic))
	}
	return record.TopicID{}, nil
}

// segmentFile is a segment's file as opening found it.
type segmentFile struct {
	base    record.Offset
	size    int64
	aborted bool // it has a transaction index
}

// openSegments finds the log's segments and takes over what the checkpoint says of it.
func (l *Log) openSegments(r *recovery) error {
	fsys := l.store.opts.FS
	row, known := r.rows[logKey{l.id, l.partition}]
	if known {
		l.kept = &row
	}
	names, err := fsys.List(l.dir)
	if err != nil {
		return err
	}
	if names, err = l.finishSwaps(names); err != nil {
		return err
	}
	var files []segmentFile
	aborted := map[record.Offset]bool{}
	for _, name := range names {
		if base, ok := segmentBase(name, txnSuffix); ok {
			aborted[base] = true
		}
		if base, ok := segmentBase(name, logSuffix); ok {
			info, err := fsys.Stat(path.Join(l.dir, name))
			if err != nil {
				return err
			}
			files = append(files, segmentFile{base: base, size: info.Size()})
		}
	}
	if err := l.readDamage(names); err != nil {
		return err
	}
	for i := range files {
		files[i].aborted = aborted[files[i].base]
	}
	slices.SortFunc(files, func(a, b segmentFile) int { return cmp.Compare(a.base, b.base) })
	r.found(l, files)
	read := l.readEpochs()
	if r.scan {
		if row, err = l.scanSegments(files); err != nil {
			return err
		}
		known = len(files) > 0
	}
	if !known {
		return nil // all it has is in the write-ahead log
	}
	if !row.listed {
		l.listTxnIndexes(&row, files)
	}
	if err := l.restore(files, row, r.scan); err != nil {
		return err
	}
	if read != nil && l.mu.end > 0 { // else its batches are all in the write-ahead log, and the process was killed while it made the file
		l.store.opts.Logger.Warn("the leader epochs are read from the segments", "file", path.Join(l.dir, epochsFile), "error", read)
		l.epochsFromSegments()
	}
	l.kept = nil
	return nil
}

// readEpochs takes over the leader epochs that the file has.
func (l *Log) readEpochs() error {
	data, err := vfs.ReadFile(l.store.opts.FS, path.Join(l.dir, epochsFile))
	if err != nil {
		return err
	}
	known, err := decodeEpochs(data)
	if err != nil {
		return err
	}
	l.mu.epochs, l.epochsOnFS = known, len(known)
	return nil
}

// epochsFromSegments finds the leader epochs in the batches' headers. They rise, so only segments are read through in which another begins, and the last one. Of a damaged segment
// they stay unknown, which nothing depends on.
func (l *Log) epochsFromSegments() {
	var found epochs
	for i, s := range l.mu.segments {
		one := i+1 < len(l.mu.segments) && l.epochOfFirst(s) == l.epochOfFirst(l.mu.segments[i+1])
		err := s.scan(0, s.size, wholeWindow, func(b record.Batch, _ int64) error {
			if found = found.with(b.LeaderEpoch(), b.BaseOffset()); one {
				return errFound
			}
			return nil
		})
		if err != nil && !errors.Is(err, errFound) {
			return
		}
	}
	l.mu.epochs = found
}

// epochOfFirst is the leader epoch of a segment's first batch, -1 when that cannot be read.
func (l *Log) epochOfFirst(s *segment) record.LeaderEpoch {
	epoch := record.LeaderEpoch(-1)
	err := s.scan(0, s.size, seekWindow, func(b record.Batch, _ int64) error {
		epoch = b.LeaderEpoch()
		return errFound
	})
	if err != nil && !errors.Is(err, errFound) {
		return -1
	}
	return epoch
}

// restore makes the segments up to the checkpoint's offset. Whatever lies behind it comes from the write-ahead log.
func (l *Log) restore(files []segmentFile, row checkpointLog, scanned bool) error {
	l.mu.segments = nil
	for i, f := range files {
		if f.base > row.segment {
			break
		}
		seg := &segment{log: l, base: f.base, end: row.recovered, size: row.position, sealed: f.base != row.segment, created: time.Now()}
		if seg.sealed {
			seg.size = f.size
			l.restoreTxnIndex(&row, f)
			if seg.end = row.segment; i+1 < len(files) {
				seg.end = min(seg.end, files[i+1].base)
			}
		} else if seg.first, seg.hasFirst, seg.live = row.first, row.hasFirst, newIndex(); f.size < row.position {
			return fmt.Errorf("%w: segment %d has %d bytes, %d were synced", ErrCorrupt, f.base, f.size, row.position)
		}
		seg.written, seg.liveFrom = seg.size, seg.size
		if !seg.sealed && row.dated {
			seg.dated, seg.youngest = true, row.youngest
			seg.live.maxTimestamp, seg.live.maxRelative = row.youngest.timestamp, row.youngest.relative
			if len(row.landmarks) > 0 {
				seg.landmarks.Store(newLandmarks(row.landmarks))
			}
		}
		seg.sound.inherit(seg.size)
		l.mu.segments = append(l.mu.segments, seg)
	}
	if n := len(l.mu.segments); n == 0 || l.mu.segments[n-1].base != row.segment {
		if row.position > 0 {
			return fmt.Errorf("%w: segment %d is missing", ErrCorrupt, row.segment)
		}
		l.mu.segments = append(l.mu.segments, l.newSegment(row.segment))
	}
	l.mu.start = max(row.start, min(l.mu.segments[0].base, row.recovered))
	l.mu.end, l.mu.written, l.mu.committed = row.recovered, row.recovered, row.recovered
	if !scanned {
		l.mu.checkpointed = row.segment
	}
	l.mu.cleaned = row.cleaned
	l.mu.producers, l.mu.flushed = row.producers, row.producers.clone()
	l.mu.segments[len(l.mu.segments)-1].aborted = row.aborted
	for len(l.mu.epochs) > 0 && l.mu.epochs[len(l.mu.epochs)-1].start > row.recovered {
		l.mu.epochs = l.mu.epochs[:len(l.mu.epochs)-1]
	}
	l.epochsOnFS = min(l.epochsOnFS, len(l.mu.epochs))
	return nil
}

// restoreTxnIndex takes over what the checkpoint says of a segment's transaction index. A file that it does not know came with a compaction after it.
func (l *Log) restoreTxnIndex(row *checkpointLog, f segmentFile) {
	if i, ok := findTxnIndex(row.txnIndexes, f.base); ok {
		l.mu.txnIndexes = append(l.mu.txnIndexes, row.txnIndexes[i])
	} else if f.aborted {
		l.mu.txnIndexes = append(l.mu.txnIndexes, txnIndexSum{segment: f.base})
	}
}

// listTxnIndexes takes the transaction indexes that are there for what they are, since the checkpoint is of a version that does not list them.
func (l *Log) listTxnIndexes(row *checkpointLog, files []segmentFile) {
	for _, f := range files {
		if !f.aborted {
			continue
		}
		t := txnIndexSum{segment: f.base}
		if data, err := vfs.ReadFile(l.store.opts.FS, (&segment{log: l, base: f.base}).file(txnSuffix)); err == nil {
			t = sumOfTxns(f.base, data)
		}
		row.txnIndexes = append(row.txnIndexes, t)
	}
}

// scanSegments reads how far the log goes, when no checkpoint says it: everything of the last segment that is whole. The producers' state
// comes from the newest snapshot and the batches behind it.
func (l *Log) scanSegments(files []segmentFile) (checkpointLog, error) {
	row := checkpointLog{topic: l.id, partition: l.partition, listed: true}
	if len(files) == 0 {
		return row, nil
	}
	row.start, row.segment, row.recovered = files[0].base, files[len(files)-1].base, files[len(files)-1].base
	from := l.loadSnapshot(&row, files)
	for i, f := range files {
		seg := &segment{log: l, base: f.base, youngest: timeEntry{timestamp: record.NoTimestamp}}
		last := i == len(files)-1
		if !last && files[i+1].base <= from {
			row.txnIndexes = append(row.txnIndexes, txnIndexSum{segment: f.base})
			continue
		}
		var aborted []AbortedTxn
		err := seg.batches(0, f.size, func(b record.Batch, at int64) error {
			if b.BaseOffset() >= from {
				if ended, ok := row.producers.apply(b); ok && ended.aborted {
					aborted = append(aborted, ended.AbortedTxn)
				}
			}
			if last {
				if !row.hasFirst {
					row.first, row.hasFirst = b.MaxTimestamp(), true
				}
				row.recovered, row.position = b.NextOffset(), at+int64(len(b))
				seg.wroteLocked(b, row.position)
			}
			return nil
		})
		if err != nil && (!last || !errors.Is(err, ErrCorrupt)) {
			return row, err
		}
		if last {
			row.aborted, row.youngest, row.dated = aborted, seg.youngest, true
		} else if len(aborted) > 0 {
			index := encodeTxnIndex(aborted)
			if err := vfs.WriteFileAtomic(l.store.opts.FS, seg.file(txnSuffix), index); err != nil {
				return row, err
			}
			row.txnIndexes = append(row.txnIndexes, sumOfTxns(f.base, index))
		}
	}
	return row, nil
}

// loadSnapshot loads the newest producer snapshot and returns the offset it is of.
func (l *Log) loadSnapshot(row *checkpointLog, files []segmentFile) record.Offset {
	for i := len(files) - 1; i >= 0; i-- {
		name := path.Join(l.dir, offsetName(files[i].base)+snapshotSuffix)
		data, err := vfs.ReadFile(l.store.opts.FS, name)
		if err != nil {
			continue
		}
		p, err := decodeSnapshot(data)
		if err == nil {
			row.producers = p
			return files[i].base
		}
		l.store.opts.Logger.Warn("the producers are read from an older snapshot and the batches", "file", name, "error", err)
	}
	return 0
}
