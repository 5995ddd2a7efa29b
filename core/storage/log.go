package storage

import (
	"fmt"
	"math/rand/v2"
	"path"
	"sync"
	"sync/atomic"
	"time"

	"github.com/milldam/milldam/core/invariant"
	"github.com/milldam/milldam/core/record"
)

// Log is one partition's log. All methods are safe for concurrent use.
type Log struct {
	store     *Store
	id        record.TopicID
	topic     string
	partition int32
	dir       string

	// io is held while the tail is written to segments, and while segments are replaced or removed: one writer of a log's files at a time. It is
	// taken before mu, and guards the fields below it.
	io         sync.Mutex
	dirMade    bool // the directory is there
	epochsOnFS int  // how many of the epochs the checkpoint file holds

	// cleaning is held while the log is compacted, and before its files are removed. It is taken before io.
	cleaning sync.Mutex

	// rebuilding is held while a transaction index is made anew, so that one does it for all. It is taken before io.
	rebuilding sync.Mutex

	// kept is what the last checkpoint said of a log that recovery found damaged: the next ones say it again. It is not changed after recovery.
	kept *checkpointLog
	// fresh is set while the directory, or the small files in it, are not durable yet.
	fresh atomic.Bool
	// found is set when a former life made the directory, and may not have come to make it durable. It is not changed after recovery.
	found bool
	// entering is held while the directory is made durable.
	entering sync.Mutex

	// configured is replaced, never changed.
	configured atomic.Pointer[LogConfig]

	// rewrites counts the segments that were replaced or removed. It rises before their files change.
	rewrites atomic.Int64

	mu struct {
		sync.Mutex
		err error // first failure, or ErrRemoved
		// damage is set when what was synced is not what was written. Nobody reads or appends then; what was acknowledged before still goes to its segment.
		damage error
		// removing is set while the removal is made durable: nobody gets in, and the tail is still kept.
		removing bool

		start, end record.Offset
		committed  record.Offset // end of what is committed
		written    record.Offset // end of what is in segment files
		// checkpointed is the base of the segment that was active at the last checkpoint: only segments below it may be rewritten or removed.
		checkpointed record.Offset
		// cleaned is up to where the log is compacted, horizon when the next tombstone or marker of that may go, in ms; 0 is never, or not known.
		cleaned  record.Offset
		horizon  int64
		segments []*segment // at least one; the last one is active
		// txnIndexes are of the complete segments that have a transaction index, or may have, by segments: the others have none.
		txnIndexes []txnIndexSum

		tail      []*entry // batches in [written, end), in order
		tailBytes int64

		producers producers
		// flushed is producers as of written, which a checkpoint keeps: the batches behind come from the write-ahead log.
		flushed producers
		// verifying has the producers whose next batch waits for the coordinator's answer.
		verifying map[record.ProducerID]*Verification
		// unstable has the ended transactions whose markers are not committed yet, in their order.
		unstable []endedTxn
		epochs   epochs
	}
}

// entry is a batch in the memory tail.
type entry struct {
	batch    record.Batch
	segment  *segment
	position int64
	wal      uint64 // sequence of the write-ahead log file that has it, 0 before it is committed; guarded by mu
	direct   bool   // it goes straight to its segment, and the write-ahead log only says so

	slab *slab        // that the batch is in; nil when the collector has it
	refs atomic.Int32 // of those who may look at the batch: the tail, the committer, readers
}

// hold keeps the batch's memory until drop. Who calls it knows that somebody else holds it.
func (e *entry) hold() { e.refs.Add(1) }

// drop ends hold.
func (e *entry) drop() {
	if n := e.refs.Add(-1); n == 0 {
		e.slab.release()
	} else if invariant.On {
		invariant.Check(n > 0, "a batch was dropped more often than it was held")
	}
}

func dropAll(list []*entry) {
	for _, e := range list {
		e.drop()
	}
}

// leaveTail ends what the tail holds.
func leaveTail(list []*entry) {
	for _, e := range list {
		e.slab.leaveTail()
		e.drop()
	}
}

func newLog(s *Store, id record.TopicID, topic string, partition int32, c LogConfig) *Log {
	l := &Log{store: s, id: id, topic: topic, partition: partition}
	l.dir = path.Join(s.opts.Dir, logsDir, l.String())
	l.configured.Store(&c)
	l.mu.segments = []*segment{l.newSegment(0)}
	return l
}

// String returns topic-partition, which is also the name of the log's directory.
func (l *Log) String() string { return fmt.Sprintf("%s-%d", l.topic, l.partition) }

// TopicID is the id of the topic.
func (l *Log) TopicID() record.TopicID { return l.id }

// Topic is the name of the topic.
func (l *Log) Topic() string { return l.topic }

// Partition is the number of the partition.
func (l *Log) Partition() int32 { return l.partition }

// Start is the log start offset: records below it are gone.
func (l *Log) Start() record.Offset {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.mu.start
}

// End is the log end offset: the one the next record gets.
func (l *Log) End() record.Offset {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.mu.end
}

// Committed is the end of what is committed. On a single node this is the high watermark.
func (l *Log) Committed() record.Offset {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.mu.committed
}

// Err is not nil when the log is offline.
func (l *Log) Err() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.errLocked()
}

func (l *Log) errLocked() error {
	switch {
	case l.mu.err != nil:
		return l.mu.err
	case l.mu.removing:
		return fmt.Errorf("%s: %w", l, ErrRemoved)
	case l.mu.damage != nil:
		return l.mu.damage
	}
	return l.store.Err()
}

// fail latches the log offline; the first error stays.
func (l *Log) fail(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.mu.err == nil {
		l.mu.err = &offlineError{err}
		l.store.opts.Logger.Error("log is offline", "log", l.String(), "error", err)
	}
}

func (l *Log) config() LogConfig { return *l.configured.Load() }

// SetConfig replaces the configuration.
func (l *Log) SetConfig(c LogConfig) { l.configured.Store(&c) }

// SizeBytes is the size of the log's batches.
func (l *Log) SizeBytes() int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	var sum int64
	for _, s := range l.mu.segments {
		sum += s.size
	}
	return sum
}

// EpochEnd returns the largest leader epoch not above epoch and the offset where it ends; -1 and -1 when there is none.
func (l *Log) EpochEnd(epoch record.LeaderEpoch) (record.LeaderEpoch, record.Offset) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.mu.epochs.end(epoch, l.mu.end)
}

// LastEpoch is the leader epoch of the last batch, -1 when there was none.
func (l *Log) LastEpoch() record.LeaderEpoch {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.mu.epochs.at(l.mu.end)
}

// AppendOrigin says who appends; it decides which checks apply.
type AppendOrigin int

// The origins.
const (
	FromClient      AppendOrigin = iota // all checks of a produce request
	FromCoordinator                     // internal topics; the batch is our own
)

// Appended is the outcome of Append, known before the sync.
type Appended struct {
	BaseOffset, LastOffset record.Offset
	LogAppendTime          int64 // ms; -1 with CreateTime
	LogStart               record.Offset
	Duplicate              bool // it repeats one of its producer's last five batches, whose offsets these are
}

// Append checks a batch, gives it its offsets and queues it for the committer. It copies the batch, which it may change before. When p is
// not nil the append is registered with it, and resolves it once committed; a duplicate waits for the batch it repeats. v is what Verify
// returned, nil for none: a client's transactional batch needs it unless its transaction has batches here already.
//
// Errors: ErrCorrupt, ErrMagic, ErrUnsupportedCodec, ErrInvalidRecord, ErrTooLarge, ErrLargerThanSegment, ErrTimestamp, ErrOutOfOrderSequence,
// ErrProducerFenced, ErrTxnState, ErrDiskFull, ErrOffline, ErrRemoved.
func (l *Log) Append(batch record.Batch, epoch record.LeaderEpoch, origin AppendOrigin, v *Verification, p *Pending) (Appended, error) {
	now, config := p.time(), l.configured.Load()
	if err := checkBatch(batch, config, origin, now); err != nil {
		return Appended{}, fmt.Errorf("append to %s: %w", l, err)
	}
	if origin == FromClient && config.Recompress && batch.Codec() != config.Codec {
		var err error
		if batch, err = recompressed(batch, config); err != nil {
			return Appended{}, fmt.Errorf("append to %s: %w", l, err)
		}
	}
	if err := l.store.room(len(batch)); err != nil {
		return Appended{}, fmt.Errorf("append to %s: %w", l, err)
	}
	logAppendTime := int64(-1)
	if config.LogAppendTime && origin == FromClient {
		logAppendTime = time.Now().UnixMilli() // not the request's, which may have waited for room
		batch.SetLogAppendTime(logAppendTime)
	}
	kept, in, err := l.store.slabs.keep(batch)
	if err != nil {
		return Appended{}, fmt.Errorf("append to %s: %w", l, err)
	}
	out, err := l.appendKept(kept, in, epoch, origin, v, p)
	if err != nil {
		return Appended{}, fmt.Errorf("append to %s: %w", l, err)
	}
	if !out.Duplicate {
		out.LogAppendTime = logAppendTime
	}
	return out, nil
}

// appendKept queues a batch that was checked and copied to in, which goes back when the batch does not come into the log.
func (l *Log) appendKept(kept record.Batch, in *slab, epoch record.LeaderEpoch, origin AppendOrigin, v *Verification, p *Pending) (Appended, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.errLocked(); err != nil {
		in.unused()
		return Appended{}, err
	}
	duplicate, err := l.mu.producers.check(kept, origin, v, v != nil && l.mu.verifying[kept.ProducerID()] == v)
	if err != nil {
		in.unused()
		return Appended{}, err
	}
	if duplicate == nil {
		if err := l.store.disk.check(origin); err != nil {
			in.unused()
			return Appended{}, err
		}
		return l.enqueueLocked(kept, in, epoch, p), nil
	}
	in.unused()
	if p != nil && duplicate.lastOffset >= l.mu.committed {
		l.store.committer.enqueue(queued{log: l, pending: p}) // behind the batch it repeats
		p.add()
	}
	// The time is the batch's, as Kafka says, whatever message.timestamp.type is.
	return Appended{BaseOffset: duplicate.firstOffset(), LastOffset: duplicate.lastOffset, LogAppendTime: duplicate.timestamp, LogStart: l.mu.start, Duplicate: true}, nil
}

// enqueueLocked gives a batch that may be appended its offsets, and queues it for the committer.
func (l *Log) enqueueLocked(b record.Batch, in *slab, epoch record.LeaderEpoch, p *Pending) Appended {
	b.SetBaseOffset(l.mu.end)
	b.SetLeaderEpoch(epoch)
	e := l.pushLocked(b)
	e.slab = in
	e.hold() // until the committer is done with it
	if len(l.mu.verifying) > 0 && (b.IsTransactional() || b.IsControl()) {
		delete(l.mu.verifying, b.ProducerID())
	}
	if p != nil {
		p.add()
	}
	l.store.committer.enqueue(queued{log: l, entry: e, pending: p})
	return Appended{BaseOffset: b.BaseOffset(), LastOffset: b.LastOffset(), LogAppendTime: -1, LogStart: l.mu.start}
}

// pushLocked adds a batch, with its offsets, to the tail and to all state that follows from the batches. It is how batches come in, live
// and on recovery.
func (l *Log) pushLocked(b record.Batch) *entry {
	active := l.mu.segments[len(l.mu.segments)-1]
	if !active.fitsLocked(b, l.configured.Load()) {
		active = l.rollLocked(b.BaseOffset())
	}
	return l.placeLocked(b, active)
}

func (l *Log) placeLocked(b record.Batch, active *segment) *entry {
	if invariant.On {
		invariant.Check(b.BaseOffset() >= l.mu.end, "%s: a batch at offset %d, the log ends at %d", l, b.BaseOffset(), l.mu.end)
		invariant.Check(l.mu.committed <= l.mu.end, "%s: committed up to %d, the log ends at %d", l, l.mu.committed, l.mu.end)
	}
	e := &entry{batch: b, segment: active, position: active.addLocked(b), direct: len(b) >= directBytes}
	e.hold() // until it leaves the tail
	l.mu.end = b.NextOffset()
	if ended, ok := l.mu.producers.apply(b); ok {
		l.mu.unstable = append(l.mu.unstable, ended)
		if ended.aborted {
			active.aborted = append(active.aborted, ended.AbortedTxn)
		}
	}
	l.mu.epochs = l.mu.epochs.with(b.LeaderEpoch(), b.BaseOffset())
	l.mu.tail = append(l.mu.tail, e)
	l.mu.tailBytes += int64(len(b))
	l.store.tailBytes.Add(int64(len(b)))
	return e
}

// newSegment is an empty segment. Its age is counted less a random part of segment.jitter.ms, so that not all partitions roll at once.
func (l *Log) newSegment(base record.Offset) *segment {
	s := &segment{log: l, base: base, end: base, live: newIndex(), youngest: timeEntry{timestamp: record.NoTimestamp}, dated: true, created: time.Now()}
	c := l.configured.Load()
	if jitter := min(c.SegmentJitter, c.segmentAge()); jitter > 0 {
		s.jitter = rand.N(jitter)
	}
	return s
}

// rollLocked seals the active segment and starts one at base.
func (l *Log) rollLocked(base record.Offset) *segment {
	active := l.mu.segments[len(l.mu.segments)-1]
	active.sealed, active.snapshot = true, l.mu.producers.clone()
	next := l.newSegment(base)
	l.mu.segments = append(l.mu.segments, next)
	return next
}
