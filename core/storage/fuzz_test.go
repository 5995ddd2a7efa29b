package storage

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"log/slog"
	"path"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/milldam/milldam/core/record"
	"github.com/milldam/milldam/core/vfs"
)

// The fuzz targets mend checksums when they are asked to: what a decoder does behind its checksum is never reached by chance.

// bounded fails when fn takes memory out of proportion to what it was given, as a declared length that is believed makes it.
func bounded(t *testing.T, given int, fn func()) {
	t.Helper()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	fn()
	runtime.ReadMemStats(&after)
	if took := after.TotalAlloc - before.TotalAlloc; took > uint64(64*given+1<<20) {
		t.Errorf("%d bytes of memory for %d bytes of input", took, given)
	}
}

// damaged calls add with data whole, cut and with flipped bits.
func damaged(data []byte, add func([]byte)) {
	add(data)
	for _, n := range []int{0, 1, len(data) / 2, len(data) - 1} {
		add(data[:max(0, min(n, len(data)))])
	}
	for at := 0; at < len(data); at += 1 + len(data)/16 {
		flipped := bytes.Clone(data)
		flipped[at] ^= 0x80
		add(flipped)
	}
	add(append(bytes.Clone(data), data...))
}

// mendWAL makes the checksums of all records right, of heads and batches, as far as they can be followed.
func mendWAL(data []byte, sequence uint64) []byte {
	data = bytes.Clone(data)
	for rest := data; len(rest) >= walHeadBytes; {
		binary.BigEndian.PutUint32(rest, walChecksum(rest[walCRCBytes:walHeadBytes], sequence))
		h, ok := parseWALHead(rest, sequence)
		if rest = rest[walHeadBytes:]; !ok || h.kind == walEnd {
			break
		}
		if h.kind != walAppend {
			continue
		}
		if int64(h.length) > int64(len(rest)) {
			break
		}
		mendBatch(rest[:h.length])
		rest = rest[h.length:]
	}
	return data
}

func mendBatch(b []byte) {
	if len(b) >= record.HeaderBytes {
		binary.BigEndian.PutUint32(b[17:], record.Batch(b).Checksum())
	}
}

func mendCheckpoint(data []byte) []byte {
	if len(data) < 4 {
		return data
	}
	body := data[:len(data)-4]
	return binary.BigEndian.AppendUint32(bytes.Clone(body), crc32.Checksum(body, castagnoli))
}

func mendSnapshot(data []byte) []byte {
	if data = bytes.Clone(data); len(data) >= snapshotHeadBytes {
		binary.BigEndian.PutUint32(data[2:], crc32.Checksum(data[6:], castagnoli))
	}
	return data
}

// walRecords are records of every kind, as the committer writes them.
func walRecords(t testing.TB, sequence uint64) []byte {
	var out []byte
	a, b := plain(t, "one", "two"), idempotent(t, 4, 0, 0, "three")
	b.SetBaseOffset(2)
	for _, h := range []walHead{
		{kind: walAppend, topic: topicA, length: uint32(len(a))},
		{kind: walAppend, topic: topicA, offset: 2, position: int64(len(a)), length: uint32(len(b))},
		{kind: walLogStart, topic: topicA, offset: 1},
		{kind: walDirect, topic: topicB, length: 300},
		{kind: walRemove, topic: topicB},
		{kind: walEnd},
	} {
		out = h.append(out, sequence)
		switch {
		case h.kind == walAppend && h.offset == 0:
			out = append(out, a...)
		case h.kind == walAppend:
			out = append(out, b...)
		}
	}
	return out
}

func FuzzWALRecords(f *testing.F) {
	const sequence = 7
	damaged(walRecords(f, sequence), func(b []byte) {
		f.Add(b, false)
		f.Add(b, true)
	})
	f.Fuzz(func(t *testing.T, data []byte, mend bool) {
		if mend {
			data = mendWAL(data, sequence)
		}
		fs := vfs.NewMem()
		file, err := fs.Create("w")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := file.WriteVecAt([][]byte{walHeader(sequence, 0), data}, 0); err != nil {
			t.Fatal(err)
		}
		w := &walFile{name: "w", file: file, sequence: sequence}
		bounded(t, len(data), func() {
			at := int64(walHeaderBytes)
			reading := &walReplay{file: w, damaged: func(d walDamage) error {
				at = d.next
				if d.mended || d.head == nil && d.next <= d.at {
					at = d.at
				}
				return nil
			}, record: func(h walHead, batch []byte) error {
				at += walHeadBytes + int64(len(batch))
				if h.kind != walAppend {
					return nil
				}
				if b := record.Batch(batch); b.Verify() != nil || b.BaseOffset() != h.offset || len(b) != int(h.length) {
					t.Errorf("a damaged batch is replayed: %+v", h)
				}
				return nil
			}}
			_, err := reading.run()
			end := reading.end
			if err != nil || end != at || end > int64(walHeaderBytes+len(data)) {
				t.Errorf("it ends at %d, %v; the records do at %d", end, err, at)
			}
		})
	})
}

func FuzzIndex(f *testing.F) {
	x := newIndex()
	at := int64(0)
	for i := range 20 {
		b := batchOf(f, record.NewBatchOptions(), int64(1000*i), "value")
		b.SetBaseOffset(record.Offset(i))
		x.add(b, len(b), 0, at, 100)
		at += int64(len(b))
	}
	offsets, times := x.encodeOffsets(), x.encodeTimes()
	damaged(offsets, func(b []byte) { f.Add(b, times, at) })
	damaged(times, func(b []byte) { f.Add(offsets, b, at) })
	f.Add([]byte{}, []byte{}, int64(0))
	f.Fuzz(func(t *testing.T, offsets, times []byte, size int64) {
		bounded(t, len(offsets)+len(times), func() {
			x, ok := decodeIndex(offsets, times, size)
			if !ok {
				return
			}
			for _, relative := range []int64{0, 1, 1 << 31, 1 << 40} {
				if at := x.seek(relative); at < 0 || at > 0 && at >= size {
					t.Errorf("offset %d is looked for at %d of %d", relative, at, size)
				}
			}
			for _, ts := range []int64{-1, 0, 1000, 1 << 62} {
				if relative := x.seekTime(ts); relative < 0 {
					t.Errorf("time %d is looked for at offset %d", ts, relative)
				}
			}
			if !bytes.Equal(x.encodeOffsets(), offsets) || !bytes.Equal(x.encodeTimes(), times) {
				t.Error("an index changes when it is written again")
			}
		})
	})
}

func FuzzProducerSnapshot(f *testing.F) {
	p := producers{}
	f.Add(p.encodeSnapshot(), false)
	for i := range 5 {
		p.apply(idempotent(f, record.ProducerID(i), 1, record.Sequence(i), "a", "b"))
	}
	open := transactional(f, 9, 2, 0, "a")
	open.SetBaseOffset(7)
	p.apply(open)
	p.apply(record.Marker{ProducerID: 3, ProducerEpoch: 2, CoordinatorEpoch: 5}.Batch(1))
	damaged(p.encodeSnapshot(), func(b []byte) {
		f.Add(b, false)
		f.Add(b, true)
	})
	f.Fuzz(func(t *testing.T, data []byte, mend bool) {
		if mend {
			data = mendSnapshot(data)
		}
		bounded(t, len(data), func() {
			p, err := decodeSnapshot(data)
			if err != nil {
				return
			}
			again, err := decodeSnapshot(p.encodeSnapshot())
			if err != nil || !reflect.DeepEqual(p, again) {
				t.Errorf("a snapshot changes when it is written again: %v", err)
			}
			for id, known := range p.known { // what is loaded must take a batch
				b := idempotent(t, id, known.epoch, 0, "v")
				if _, err := p.check(b, FromClient, nil, false); err == nil {
					p.apply(b)
				}
			}
		})
	})
}

func FuzzTxnIndex(f *testing.F) {
	list := []AbortedTxn{{ProducerID: 7, First: 100, Last: 110, LastStable: 90}, {ProducerID: 8, First: 90, Last: 140, LastStable: 141}, {ProducerID: 7, First: 141, Last: 150, LastStable: 151}}
	damaged(encodeTxnIndex(list), func(b []byte) { f.Add(b, int64(100), int64(200)) })
	f.Add(encodeTxnIndex(list), int64(120), int64(200))
	f.Add(encodeTxnIndex(list), int64(100), int64(140))
	f.Fuzz(func(t *testing.T, data []byte, base, end int64) {
		bounded(t, len(data), func() {
			list, ok := decodeTxnIndex(data, record.Offset(base), record.Offset(end))
			if !ok {
				return
			}
			if !bytes.Equal(encodeTxnIndex(list), data) {
				t.Error("an index changes when it is written again")
			}
			for i, a := range list { // each is found by every one of its offsets that matters
				for _, at := range []record.Offset{a.First, a.Last - 1, a.Last} {
					found, _ := collectAborted(nil, list, at, at+1)
					if !slices.Contains(found, a) {
						t.Errorf("transaction %d, %+v, is not found at %d", i, a, at)
					}
				}
			}
		})
	})
}

func FuzzCheckpoint(f *testing.F) {
	known := producers{}
	for i := range 7 {
		known.apply(idempotent(f, 1, 0, record.Sequence(i), "a"))
		known.apply(idempotent(f, 2, 0, record.Sequence(i), "a"))
	}
	known.apply(transactional(f, 3, 0, 0, "a"))
	known.apply(record.Marker{ProducerID: 2, ProducerEpoch: 1, CoordinatorEpoch: 5}.Batch(1))
	c := checkpoint{walFrom: 3, logs: []checkpointLog{
		{topic: topicA, recovered: 5, position: 300, first: 1000, hasFirst: true, cleaned: 3, producers: known, aborted: []AbortedTxn{{ProducerID: 2, First: 1, Last: 3, LastStable: 4}}},
		{topic: topicB, partition: 7, start: 9, recovered: 20, segment: 10, position: 1000, dated: true, youngest: timeEntry{2000, 8}, landmarks: []landmark{
			{offsetEntry{4, 300}, timeEntry{timestamp: record.NoTimestamp}}, {offsetEntry{7, 700}, timeEntry{1500, 5}}},
			txnIndexes: []txnIndexSum{{4, 0x12345678, true}, {segment: 9}}},
	}}
	damaged(c.encode(), func(b []byte) {
		f.Add(b, false)
		f.Add(b, true)
	})
	f.Fuzz(func(t *testing.T, data []byte, mend bool) {
		if mend {
			data = mendCheckpoint(data)
		}
		bounded(t, len(data), func() {
			c, err := decodeCheckpoint(data)
			if err != nil {
				return
			}
			for i := range c.logs {
				c.logs[i].listed = true // as it is from now on
			}
			again, err := decodeCheckpoint(c.encode())
			if err != nil || !reflect.DeepEqual(c, again) {
				t.Errorf("a checkpoint changes when it is written again: %v", err)
			}
			for _, l := range c.logs {
				if l.partition < 0 || l.start < 0 || l.segment < 0 || l.recovered < l.segment || l.position < 0 {
					t.Errorf("a row that cannot be is taken: %+v", l)
				}
				if !slices.IsSortedFunc(l.txnIndexes, func(a, b txnIndexSum) int { return int(a.segment - b.segment) }) {
					t.Errorf("transaction indexes are not in the order of their segments: %+v", l.txnIndexes)
				}
				for id, p := range l.producers.known {
					if len(p.batches) > keptBatches {
						t.Errorf("producer %d has %d batches", id, len(p.batches))
					}
				}
			}
		})
	})
}

func FuzzEpochs(f *testing.F) {
	e := epochs{}.with(0, 0).with(3, 100).with(4, 100).with(9, 12345678901)
	damaged(e.encode(), func(b []byte) { f.Add(b) })
	f.Add(epochs{}.encode())
	f.Add([]byte("0\n999999999\n1 1\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		bounded(t, len(data), func() {
			e, err := decodeEpochs(data)
			if err != nil {
				return
			}
			again, err := decodeEpochs(e.encode())
			if err != nil || !reflect.DeepEqual(e, again) {
				t.Errorf("%v became %v, %v", e, again, err)
			}
			for _, s := range e {
				if s.epoch < 0 || s.start < 0 {
					t.Errorf("taken: %+v", s)
				}
			}
		})
	})
}

// filledStore is a closed store with two segments in a-0, and one in b-0, whose files are all there.
func filledStore(t testing.TB) (*vfs.Mem, topics, []string) {
	t.Helper()
	known, fs := twoTopics(), vfs.NewMem()
	s := open(t, fs, known)
	a, b := create(t, s, known, topicA, 0), create(t, s, known, topicB, 0)
	for i := range 30 {
		mustAppend(t, a, idempotent(t, 5, 0, record.Sequence(i), fmt.Sprintf("%0500d", i)))
	}
	mustAppend(t, b, plain(t, "v"))
	want := read(t, a, 0)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	return fs, known, want
}

// diskFile is a file that the disk may be wrong in.
type diskFile struct {
	name string
	mend func([]byte) []byte // makes its checksums right
	// lost is what happened to the checkpoint, for files that are not read while there is one.
	lost string
}

var diskFiles = []diskFile{
	{name: "data/checkpoint", mend: mendCheckpoint},
	{name: "data/wal/00000000000000000001.wal", mend: mendWALFile, lost: "removed"},
	{name: "data/logs/a-0/00000000000000000000.index", mend: bytes.Clone},
	{name: "data/logs/a-0/00000000000000000000.timeindex", mend: bytes.Clone},
	{name: "data/logs/a-0/00000000000000000028.snapshot", mend: mendSnapshot, lost: "damaged"},
	{name: "data/logs/a-0/leader-epoch-checkpoint", mend: bytes.Clone},
	{name: "data/logs/a-0/partition.metadata", mend: bytes.Clone},
}

func mendWALFile(b []byte) []byte {
	if len(b) < walHeaderBytes {
		return b
	}
	sequence, _ := parseWALHeader(b)
	return append(bytes.Clone(b[:walHeaderBytes]), mendWAL(b[walHeaderBytes:], sequence)...)
}

// openWith opens a copy of a store in which one file has other content, and reads and appends whatever is possible.
func openWith(t testing.TB, from *vfs.Mem, known topics, file diskFile, data []byte) (report string, a *Log, err error) {
	t.Helper()
	fs := from.CrashClone(nil)
	err = vfs.WriteFileAtomic(fs, file.name, data)
	switch file.lost {
	case "removed":
		err = errors.Join(err, fs.Remove("data/checkpoint"))
	case "damaged":
		err = errors.Join(err, vfs.WriteFileAtomic(fs, "data/checkpoint", []byte("garbage")))
	}
	if err != nil {
		t.Fatal(err)
	}
	var logged bytes.Buffer
	o := smallOptions(fs, known)
	o.Logger = slog.New(slog.NewTextHandler(&logged, nil))
	s, r, err := Open(t.Context(), o)
	if err != nil {
		return logged.String(), nil, err
	}
	t.Cleanup(func() { s.Close() })
	for _, l := range s.Logs() {
		_ = l.Scan(0, l.End(), func(record.Batch) error { return nil }) // it may fail, and must not panic
		for _, at := range []record.Offset{0, 1, 13, 14, 29} {
			if span, err := l.Read(at, 1000, l.End(), true); err == nil {
				if err := span.Close(); err != nil {
					t.Fatal(err)
				}
			}
		}
		_, _, _ = l.OffsetForTime(1000, l.Committed())
		_, _ = appendSync(l, idempotent(t, 5, 0, 30, "v"))
	}
	return fmt.Sprint(logged.String(), r.Offline), s.Log(topicA, 0), nil
}

func FuzzOpen(f *testing.F) {
	from, known, _ := filledStore(f)
	for i, file := range diskFiles {
		data, err := vfs.ReadFile(from, file.name)
		if err != nil {
			f.Fatal(err)
		}
		if len(data) > walHeaderBytes {
			sequence, _ := parseWALHeader(data)
			data = append(data[:walHeaderBytes:walHeaderBytes], walRecords(f, sequence)...)
		}
		damaged(data, func(b []byte) {
			f.Add(uint8(i), b, false)
			f.Add(uint8(i), b, true)
		})
	}
	f.Fuzz(func(t *testing.T, which uint8, data []byte, mend bool) {
		file := diskFiles[int(which)%len(diskFiles)]
		if mend {
			data = file.mend(data)
		}
		if _, _, err := openWith(t, from, known, file, data); err != nil && !strings.Contains(err.Error(), path.Base(file.name)) {
			t.Errorf("the error does not name %s: %v", file.name, err)
		}
	})
}

func TestDamagedFileIsNamedAndNothingIsLost(t *testing.T) {
	from, known, want := filledStore(t)
	for _, file := range diskFiles {
		if ext := path.Ext(file.name); ext == ".wal" || ext == ".metadata" {
			continue // nobody needs the one after a clean stop; without the other the directory is not known
		}
		t.Run(path.Base(file.name), func(t *testing.T) {
			data, err := vfs.ReadFile(from, file.name)
			if err != nil {
				t.Fatal(err)
			}
			damagedData := bytes.Clone(data)
			damagedData[len(data)/2] ^= 0xff
			if bytes.Equal(data, damagedData) {
				t.Fatal("no damage")
			}
			report, l, err := openWith(t, from, known, file, damagedData[:len(data)-1])
			if err != nil {
				t.Fatal(err)
			}
			if !strings.Contains(report, file.name) {
				t.Errorf("%s is not named: %s", file.name, report)
			}
			if got := read(t, l, 0); fmt.Sprint(got[:len(want)]) != fmt.Sprint(want) {
				t.Errorf("%d records, want %d", len(got), len(want))
			}
		})
	}
}

// TestFlippedBitInAnIndexHidesNothing flips bits of index files: every record is found as before, by offset and by time, and retention takes none that
// is young enough.
func TestFlippedBitInAnIndexHidesNothing(t *testing.T) {
	c := smallConfig()
	c.IndexIntervalBytes = 300
	known := topics{topicA: {"a", c}}
	from := vfs.NewMem()
	s := open(t, from, known)
	l := create(t, s, known, topicA, 0)
	began := time.Now().Add(-time.Hour).UnixMilli()
	for i := range 24 {
		mustAppend(t, l, batchOf(t, record.NewBatchOptions(), began+int64(10*i), fmt.Sprintf("%0500d", i)))
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	for _, suffix := range []string{indexSuffix, timeSuffix} {
		name := "data/logs/a-0/00000000000000000000" + suffix
		data, err := vfs.ReadFile(from, name)
		if err != nil || len(data) < 5*timeEntryBytes {
			t.Fatalf("%d bytes of index, %v", len(data), err)
		}
		for bit := 0; bit < 8*len(data); bit += 11 {
			fs := from.CrashClone(nil)
			flipped := bytes.Clone(data)
			flipped[bit/8] ^= 1 << (bit % 8)
			if err := vfs.WriteFileAtomic(fs, name, flipped); err != nil {
				t.Fatal(err)
			}
			s, _, err := Open(t.Context(), smallOptions(fs, known))
			if err != nil {
				t.Fatal(err)
			}
			checkIndexed(t, s, began, fmt.Sprintf("bit %d of %s", bit, suffix))
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
		}
	}
}

func checkIndexed(t *testing.T, s *Store, began int64, what string) {
	t.Helper()
	l := s.Log(topicA, 0)
	for i := range record.Offset(24) {
		span, err := l.Read(i, 1, 24, true)
		var buf bytes.Buffer
		if err == nil {
			_, err = span.WriteTo(&buf)
			err = errors.Join(err, span.Close())
		}
		if err != nil || record.Batch(buf.Bytes()).BaseOffset() != i {
			t.Fatalf("%s: a read at %d: %v", what, i, err)
		}
		ts := began + int64(10*i)
		if found, ok, err := l.OffsetForTime(ts-5, l.Committed()); err != nil || !ok || found.Offset != i {
			t.Fatalf("%s: the time of %d is at %+v, %v, %v", what, i, found, ok, err)
		}
	}
	if err := l.Scan(3, 4, func(b record.Batch) error {
		if b.BaseOffset() != 3 {
			t.Fatalf("%s: a scan at 3 finds %d", what, b.BaseOffset())
		}
		return nil
	}); err != nil {
		t.Fatalf("%s: %v", what, err)
	}
	c := l.config()
	c.Retention = 2 * time.Hour
	l.SetConfig(c)
	if err := s.Maintain(t.Context(), time.Now()); err != nil {
		t.Fatal(err)
	}
	if l.Start() != 0 {
		t.Fatalf("%s: retention took records that were young enough, up to %d", what, l.Start())
	}
}

func TestDirectRecordOfMoreThanItsSegmentHas(t *testing.T) {
	known, fs := twoTopics(), vfs.NewMem()
	large := plain(t, "v")
	binary.BigEndian.PutUint32(large[8:], 1<<31-1) // the length it declares, of which 80 bytes are there
	h := walHead{kind: walDirect, topic: topicA, length: 1<<31 + 11}
	for name, data := range map[string][]byte{
		"data/wal/00000000000000000001.wal":      (&walHead{kind: walEnd}).append(h.append(walHeader(1, 0), 1), 1),
		"data/logs/a-0/00000000000000000000.log": large,
		"data/logs/a-0/" + metadataFile:          encodeMetadata(topicA),
	} {
		if err := errors.Join(fs.MkdirAll(path.Dir(name)), vfs.WriteFileAtomic(fs, name, data)); err != nil {
			t.Fatal(err)
		}
	}
	bounded(t, len(large), func() {
		_, r := openRecovered(t, fs, known)
		if len(r.Offline) != 1 || !errors.Is(r.Offline[0], ErrCorrupt) || !strings.Contains(r.Offline[0].Error(), "a-0") {
			t.Errorf("recovery: %+v", r)
		}
	})
}
