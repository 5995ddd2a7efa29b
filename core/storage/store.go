package storage

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"path"
	"slices"
	"sync"
	"sync/atomic"

	"golang.org/x/sync/errgroup"

	"github.com/milldam/milldam/core/record"
)

// Names below the store's directory, and of Kafka's files in a log's.
const (
	walDir         = "wal"
	logsDir        = "logs"
	quarantineDir  = "quarantine"
	checkpointFile = "checkpoint"
	metadataFile   = "partition.metadata"
	epochsFile     = "leader-epoch-checkpoint"
)

// logKey names a partition.
type logKey struct {
	topic     record.TopicID
	partition int32
}

// Store holds the partition logs of one node, over one write-ahead log with one committer. All methods are safe for concurrent use.
type Store struct {
	opts      Options
	wal       *wal
	committer *committer
	flusher   *flusher
	files     *fileCache

	slabs     *slabs       // memory of the tails
	tailBytes atomic.Int64 // of their batches
	space     *sync.Cond   // tailBytes sank, or the store went offline
	waiting   atomic.Int64 // appends that wait for space
	failed    atomic.Pointer[offlineError]
	disk      *diskGuard

	// dirs counts the partitions' directories that were made, and how many of them are durable.
	dirs struct {
		made   atomic.Int64
		io     sync.Mutex // held while logs/ is synced; guards synced
		synced int64
	}

	// checkpointing is held while a checkpoint is made, before all other locks; it guards walFrom.
	checkpointing sync.Mutex
	walFrom       uint64

	mu struct {
		sync.Mutex
		logs map[logKey]*Log
		list []*Log // the same, made anew when it is nil
	}
	closed sync.Once
}

// Log returns the log of a partition, nil when there is none.
func (s *Store) Log(id record.TopicID, partition int32) *Log {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.mu.logs[logKey{id, partition}]
}

// Logs returns all logs. The slice is not to be changed.
func (s *Store) Logs() []*Log {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.mu.list == nil {
		s.mu.list = make([]*Log, 0, len(s.mu.logs))
		for _, l := range s.mu.logs {
			s.mu.list = append(s.mu.list, l)
		}
		slices.SortFunc(s.mu.list, func(a, b *Log) int {
			return cmp.Or(cmp.Compare(a.topic, b.topic), cmp.Compare(a.partition, b.partition))
		})
	}
	return s.mu.list
}

// Create makes an empty log, or returns the one that exists. It holds no file until it has something to write, so it costs a few hundred bytes.
func (s *Store) Create(id record.TopicID, topic string, partition int32, c LogConfig) (*Log, error) {
	if err := s.Err(); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	key := logKey{id, partition}
	if l := s.mu.logs[key]; l != nil {
		return l, nil
	}
	l := newLog(s, id, topic, partition, c)
	s.mu.logs[key], s.mu.list = l, nil
	return l, nil
}

// RemoveTopic removes the logs of a topic. It returns after the removal is durable and the directories are gone.
func (s *Store) RemoveTopic(ctx context.Context, id record.TopicID) error {
	s.mu.Lock()
	var logs []*Log
	for key, l := range s.mu.logs {
		if key.topic == id {
			logs = append(logs, l)
		}
	}
	s.mu.Unlock()
	if len(logs) == 0 {
		return nil
	}
	for _, l := range logs {
		l.mu.Lock()
		l.mu.removing = true
		l.mu.Unlock()
	}
	// Until the removal is durable the logs are kept like all others: a crash may still bring them back whole.
	if err := s.commitHead(ctx, &walHead{kind: walRemove, topic: id}); err != nil {
		return fmt.Errorf("remove topic %s: %w", logs[0].topic, err)
	}
	s.mu.Lock()
	for _, l := range logs {
		delete(s.mu.logs, logKey{id, l.partition})
	}
	s.mu.list = nil
	s.mu.Unlock()
	for _, l := range logs {
		l.dropTail(fmt.Errorf("%s: %w", l, ErrRemoved))
		if err := l.removeFiles(); err != nil {
			return fmt.Errorf("remove %s: %w", l, err)
		}
	}
	return nil
}

// commitHead writes a record without a batch to the write-ahead log and waits until it is durable.
func (s *Store) commitHead(ctx context.Context, h *walHead) error {
	done := make(chan error, 1)
	p := NewPending(func(err error) { done <- err })
	p.add()
	s.committer.enqueue(queued{head: h, pending: p})
	p.Arm()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// dropTail makes the log return err from now on, and gives back its memory.
func (l *Log) dropTail(err error) {
	l.io.Lock() // a flush that is under way ends first
	defer l.io.Unlock()
	l.mu.Lock()
	l.mu.err = err
	tail, bytes := l.mu.tail, l.mu.tailBytes
	l.mu.tail, l.mu.tailBytes = nil, 0
	l.mu.Unlock()
	leaveTail(tail)
	l.store.gaveBack(bytes)
}

// removeFiles deletes the log's directory.
func (l *Log) removeFiles() error {
	l.cleaning.Lock()
	defer l.cleaning.Unlock()
	l.io.Lock()
	defer l.io.Unlock()
	l.mu.Lock()
	segments := l.mu.segments
	l.mu.Unlock()
	if l.dirMade {
		if err := l.store.opts.FS.RemoveAll(l.dir); err != nil {
			return err
		}
	}
	for _, seg := range segments { // a topic of the same name may have such files soon
		if err := l.store.files.forget(seg.file(logSuffix)); err != nil {
			return err
		}
	}
	if !l.dirMade {
		return nil
	}
	return l.store.opts.FS.SyncDir(path.Dir(l.dir))
}

// gone tells whether the segment's log was removed, so that nobody cares for it any more.
func (s *segment) gone() bool { return errors.Is(s.log.Err(), ErrRemoved) }

// DeleteRecords raises the log start to offset, at most to the committed end, and returns the new start once it is durable. The
// space is given back by Maintain.
func (l *Log) DeleteRecords(ctx context.Context, offset record.Offset) (record.Offset, error) {
	l.mu.Lock()
	switch {
	case l.errLocked() != nil:
		defer l.mu.Unlock()
		return 0, l.errLocked()
	case offset > l.mu.committed:
		defer l.mu.Unlock()
		return 0, fmt.Errorf("delete records of %s up to %d: %w: the log ends at %d", l, offset, ErrOffsetOutOfRange, l.mu.committed)
	case offset <= l.mu.start:
		defer l.mu.Unlock()
		return l.mu.start, nil
	}
	l.mu.Unlock()
	if err := l.store.commitHead(ctx, &walHead{kind: walLogStart, topic: l.id, partition: l.partition, offset: offset}); err != nil {
		return 0, fmt.Errorf("delete records of %s: %w", l, err)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.raiseStartLocked(offset)
	return l.mu.start, nil
}

func (l *Log) raiseStartLocked(offset record.Offset) {
	if offset > l.mu.start {
		l.mu.start = offset
		l.mu.epochs = l.mu.epochs.from(offset)
	}
}

// Err is not nil after a failed write or sync has latched the store offline. The first failure stays until the store is opened anew, which
// recovers it: a sync that failed is never tried again, since the system may have dropped what it could not write.
func (s *Store) Err() error {
	if e := s.failed.Load(); e != nil {
		return e
	}
	return nil
}

func (s *Store) fail(err error) {
	if errors.Is(err, ErrOffline) {
		return
	}
	if s.failed.CompareAndSwap(nil, &offlineError{err}) {
		s.opts.Logger.Error("storage is offline: a write or sync failed, and nothing is acknowledged any more; see what the system says of the disk, and start milldam anew: it recovers what was acknowledged",
			"dir", s.opts.Dir, "error", err)
	}
	s.space.L.Lock()
	defer s.space.L.Unlock()
	s.space.Broadcast()
}

// Close writes all tails to their segments, syncs everything and ends. Appends must have ended. After it recovery has nothing to do.
func (s *Store) Close() error {
	var err error
	s.closed.Do(func() { err = s.close() })
	return err
}

func (s *Store) close() error {
	s.committer.close()
	s.flusher.close()
	err := s.Err()
	if err == nil {
		err = s.finish()
	}
	if errors.Is(err, ErrOffline) {
		err = nil // it was told when it happened
	}
	for _, l := range s.Logs() {
		l.mu.Lock()
		left := l.mu.tail // of a log that is offline
		l.mu.tail = nil
		l.mu.Unlock()
		leaveTail(left)
	}
	s.slabs.close()
	return errors.Join(err, s.files.close(), s.wal.close())
}

// finish brings the segments up to the end of the logs.
func (s *Store) finish() error {
	var g errgroup.Group
	g.SetLimit(filesAtOnce)
	for _, l := range s.Logs() {
		g.Go(func() error {
			if err := l.flushTail(nil); err != nil {
				return nil // this log is offline, and said so
			}
			if err := l.foundDamage(l.writeActiveIndex()); err != nil && !errors.Is(err, ErrDamaged) {
				return fmt.Errorf("close %s: %w", l, err)
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	s.wal.mu.Lock()
	from := s.wal.mu.nextSequence
	if slices.ContainsFunc(s.Logs(), func(l *Log) bool { return l.Err() != nil }) {
		from = 0 // an offline log's tail is in the write-ahead log only
		for _, f := range s.wal.mu.full {
			from = f.sequence
			break
		}
		if from == 0 && s.wal.active != nil {
			from = s.wal.active.sequence
		}
	}
	s.wal.mu.Unlock()
	return s.writeCheckpoint(from)
}

// writeActiveIndex writes the files beside the active segment too, so that tools that read segments find them.
func (l *Log) writeActiveIndex() error {
	l.io.Lock()
	defer l.io.Unlock()
	l.mu.Lock()
	active := l.mu.segments[len(l.mu.segments)-1]
	changed := active.live != nil && active.size > active.liveFrom
	x, liveFrom, aborted, snapshot := active.live, active.liveFrom, slices.Clip(active.aborted), l.mu.producers.clone()
	l.mu.Unlock()
	if !changed {
		return nil
	}
	if liveFrom > 0 {
		active.older.Store(nil)
		var err error
		if x, err = active.loadOlder(active.size); err != nil {
			return err
		}
	}
	return active.complete(x, active.end, aborted, snapshot)
}
