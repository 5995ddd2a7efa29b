package storage

import (
	"hash/maphash"

	"github.com/milldam/milldam/core/record"
	"github.com/milldam/milldam/core/vfs"
)

// keyMap maps keys to offsets by 128 bits of two hashes with seeds nobody knows, so that keys take the same little memory whatever their size.
type keyMap struct {
	seeds   [2]maphash.Seed
	offsets map[[2]uint64]record.Offset
}

func newKeyMap() keyMap {
	return keyMap{seeds: [2]maphash.Seed{maphash.MakeSeed(), maphash.MakeSeed()}, offsets: map[[2]uint64]record.Offset{}}
}

func (m *keyMap) hash(key []byte) [2]uint64 {
	return [2]uint64{maphash.Bytes(m.seeds[0], key), maphash.Bytes(m.seeds[1], key)}
}

func (m *keyMap) len() int                             { return len(m.offsets) }
func (m *keyMap) put(key []byte, offset record.Offset) { m.offsets[m.hash(key)] = offset }

// superseded tells whether key has a record behind offset.
func (m *keyMap) superseded(key []byte, offset record.Offset) bool {
	last, ok := m.offsets[m.hash(key)]
	return ok && last > offset
}

// cleanedChunk is how much of a compacted segment is written at a time.
const cleanedChunk = 1 << 20

// compactor writes what stays of the batches it is given. One does a whole round, from the log's first segment on.
type compactor struct {
	latest      keyMap
	reached     record.Offset // what is behind stays
	limit       int
	now         int64
	horizon     int64 // for tombstones and markers that are seen for the first time
	nextHorizon int64 // the first that is still to come, 0 when there is none
	interval    int64
	txns        *txnTracker
	stop        func() error
	builder     record.Builder
	built       []byte // the batch at hand

	// Of the segment that is written now.
	out     vfs.File
	base    record.Offset
	end     record.Offset
	lastOf  map[record.ProducerID]lastOf
	index   *index
	aborted []AbortedTxn
	buf     []byte
	written int64
	changed bool
	first   int64
	any     bool
}

func (w *compactor) begin(out vfs.File, base, end record.Offset, last map[record.ProducerID]lastOf) {
	w.out, w.base, w.end, w.lastOf = out, base, end, last
	w.index, w.aborted, w.buf, w.written, w.changed, w.any = newIndex(), nil, w.buf[:0], 0, false, false
}

// rewrite keeps what must be kept of one batch. The last batch of a live producer stays even when it is empty, for its sequence, and so does the last
// of the segment, so that a log never ends before its records did.
func (w *compactor) rewrite(b record.Batch) error {
	if b.IsControl() {
		return w.rewriteMarker(b)
	}
	aborted := w.txns.batch(b)
	horizon, hadHorizon := b.DeleteHorizon()
	w.builder.Reset(w.optionsOf(b))
	total, tombstones := int32(0), false
	if !aborted {
		var err error
		if total, tombstones, err = w.keep(b, hadHorizon && horizon <= w.now); err != nil {
			return err
		}
	}
	last, live := w.lastOf[b.ProducerID()]
	mustStay := live && b.LastOffset() == last.offset || b.NextOffset() >= w.end
	switch {
	case total == 0 && !mustStay:
		w.changed = true
		return nil
	case total == b.Count() && (!tombstones || hadHorizon):
		return w.emit(b)
	case total == 0:
		return w.emitEmpty(b)
	case tombstones && !hadHorizon: // the batch once more: the horizon is in its header
		opts := w.optionsOf(b)
		opts.HasDeleteHorizon, opts.DeleteHorizon = true, w.horizon
		w.builder.Reset(opts)
		if _, _, err := w.keep(b, false); err != nil {
			return err
		}
	}
	w.builder.ExtendTo(b.LastOffset())
	return w.emitBuilt()
}

// keep gives the builder the records of a batch that stay, and returns how many they are, and whether there are tombstones among them.
func (w *compactor) keep(b record.Batch, dropTombstones bool) (total int32, tombstones bool, err error) {
	err = b.Each(w.limit, func(r *record.Record) error {
		if r.Offset < w.reached && (r.Key == nil || w.latest.superseded(r.Key, r.Offset) || r.Value == nil && dropTombstones) {
			return nil
		}
		tombstones = tombstones || r.Value == nil
		total++
		w.builder.AppendAt(r)
		return nil
	})
	return total, tombstones, err
}

// optionsOf are those of a batch with fewer records in place of b.
func (w *compactor) optionsOf(b record.Batch) record.BatchOptions {
	horizon, had := b.DeleteHorizon()
	return record.BatchOptions{Codec: b.Codec(), BaseOffset: b.BaseOffset(), LeaderEpoch: b.LeaderEpoch(), ProducerID: b.ProducerID(),
		ProducerEpoch: b.ProducerEpoch(), BaseSequence: b.BaseSequence(), Transactional: b.IsTransactional(), Control: b.IsControl(),
		LogAppendTime: b.HasLogAppendTime(), HasDeleteHorizon: had, DeleteHorizon: horizon}
}

// rewriteMarker keeps a marker while the log has something of its transaction, or nothing else tells the epoch of a live producer; and from the round on that
// finds nothing for delete.retention.ms more, so that a consumer in the middle of the transaction still reads how it ended.
func (w *compactor) rewriteMarker(b record.Batch) error {
	needed, aborted := w.txns.marker(b)
	if aborted != nil {
		w.aborted = append(w.aborted, *aborted)
	}
	last, live := w.lastOf[b.ProducerID()]
	mustStay := live && last.offset == noOffset && b.ProducerEpoch() == last.epoch || b.NextOffset() >= w.end
	horizon, had := b.DeleteHorizon()
	switch {
	case needed:
		return w.emit(b)
	case had && horizon > w.now, mustStay && (had || b.Count() == 0):
		return w.emit(b)
	case had || b.Count() == 0:
		w.changed = true
		return nil
	}
	opts := w.optionsOf(b)
	opts.HasDeleteHorizon, opts.DeleteHorizon = true, w.horizon
	w.builder.Reset(opts)
	err := b.Each(w.limit, func(r *record.Record) error {
		w.builder.AppendAt(r)
		return nil
	})
	if err != nil {
		return err
	}
	return w.emitBuilt()
}

func (w *compactor) emitBuilt() error {
	var err error
	if w.built, err = w.builder.Build(w.built[:0]); err != nil {
		return err
	}
	w.changed = true
	return w.emit(w.built)
}

// emitEmpty keeps a batch's header, with its time: a producer's age counts from it.
func (w *compactor) emitEmpty(b record.Batch) error {
	opts := w.optionsOf(b)
	opts.HasDeleteHorizon = false
	w.builder.Reset(opts)
	w.builder.ExtendTo(b.LastOffset())
	var err error
	if w.built, err = w.builder.Build(w.built[:0]); err != nil {
		return err
	}
	record.Batch(w.built).SetMaxTimestamp(b.MaxTimestamp())
	w.changed = true
	return w.emit(w.built)
}

func (w *compactor) emit(b record.Batch) error {
	if horizon, ok := b.DeleteHorizon(); ok && horizon > w.now && (w.nextHorizon == 0 || horizon < w.nextHorizon) {
		w.nextHorizon = horizon
	}
	if !w.any {
		w.first, w.any = b.MaxTimestamp(), true
	}
	w.index.add(b, len(b), w.base, w.written+int64(len(w.buf)), w.interval)
	w.buf = append(w.buf, b...)
	if len(w.buf) < cleanedChunk {
		return nil
	}
	return w.flush()
}

func (w *compactor) flush() error {
	if err := w.stop(); err != nil {
		return err
	}
	n, err := w.out.WriteAt(w.buf, w.written)
	w.written += int64(n)
	w.buf = w.buf[:0]
	return err
}
