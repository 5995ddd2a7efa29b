package storage

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"path"
	"strconv"
	"strings"

	"github.com/milldam/milldam/core/record"
	"github.com/milldam/milldam/core/vfs"
)

// walKind is what a write-ahead record says; see docs/formats/wal.md.
type walKind uint8

const (
	walAppend   walKind = iota + 1 // a batch, which follows the head
	walDirect                      // a batch that lies, synced, in its segment
	walLogStart                    // the log starts at offset
	walRemove                      // the topic is gone
	walEnd                         // the rest of the file is unused
)

// walHead is the fixed part of every write-ahead record.
type walHead struct {
	kind      walKind
	topic     record.TopicID
	partition int32
	offset    record.Offset // of the batch, or the new log start
	segment   record.Offset // base offset of the batch's segment
	position  int64         // of a direct batch in its segment
	length    uint32        // bytes of the batch
	epoch     record.LeaderEpoch
	synced    uint32 // the file was synced up to here before this record was written
}

// Layout of a record: checksum 4, kind 1, topic 16, partition 4, offset 8, segment 8, position 8, length 4, leader epoch 4, synced 4, then the
// batch. The checksum covers the head behind it, and starts from the file's sequence number, so that what a reused file still holds of its former
// life is no record of the new one. The batch has its own checksum, which covers neither its offset nor its leader epoch.
const (
	walCRCBytes  = 4
	walHeadBytes = walCRCBytes + 1 + 16 + 4 + 8 + 8 + 8 + 4 + 4 + 4
)

// Layout of a file's header: magic 8, sequence 8, end of the file in front 8, checksum of the three 4, padding.
const (
	walHeaderBytes = 512
	walMagic       = "milldamW"
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// append writes the head to dst.
func (h *walHead) append(dst []byte, sequence uint64) []byte {
	at := len(dst)
	dst = append(dst, 0, 0, 0, 0, byte(h.kind))
	dst = append(dst, h.topic[:]...)
	dst = binary.BigEndian.AppendUint32(dst, uint32(h.partition))
	dst = binary.BigEndian.AppendUint64(dst, uint64(h.offset))
	dst = binary.BigEndian.AppendUint64(dst, uint64(h.segment))
	dst = binary.BigEndian.AppendUint64(dst, uint64(h.position))
	dst = binary.BigEndian.AppendUint32(dst, h.length)
	dst = binary.BigEndian.AppendUint32(dst, uint32(h.epoch))
	dst = binary.BigEndian.AppendUint32(dst, h.synced)
	binary.BigEndian.PutUint32(dst[at:], walChecksum(dst[at+walCRCBytes:], sequence))
	return dst
}

func walChecksum(data []byte, sequence uint64) uint32 {
	return crc32.Update(checksumOf(sequence), castagnoli, data)
}

// checksumOf is the checksum of v in big endian; crc32.Checksum would have its eight bytes allocated, for each batch.
func checksumOf(v uint64) uint32 {
	sum := ^uint32(0)
	for shift := 56; shift >= 0; shift -= 8 {
		sum = castagnoli[byte(sum)^byte(v>>shift)] ^ sum>>8
	}
	return ^sum
}

// parseWALHead reads a head; ok is false where none of this file's present life is.
func parseWALHead(b []byte, sequence uint64) (h walHead, ok bool) {
	if len(b) < walHeadBytes || binary.BigEndian.Uint32(b) != walChecksum(b[walCRCBytes:walHeadBytes], sequence) {
		return walHead{}, false
	}
	b = b[walCRCBytes:]
	h.kind = walKind(b[0])
	copy(h.topic[:], b[1:])
	h.partition = int32(binary.BigEndian.Uint32(b[17:]))
	h.offset = record.Offset(binary.BigEndian.Uint64(b[21:]))
	h.segment = record.Offset(binary.BigEndian.Uint64(b[29:]))
	h.position = int64(binary.BigEndian.Uint64(b[37:]))
	h.length = binary.BigEndian.Uint32(b[45:])
	h.epoch = record.LeaderEpoch(binary.BigEndian.Uint32(b[49:]))
	h.synced = binary.BigEndian.Uint32(b[53:])
	return h, h.kind >= walAppend && h.kind <= walEnd
}

// walFile is one file of the write-ahead log.
type walFile struct {
	name     string
	file     vfs.File
	sequence uint64
	previous int64 // where the file in front of it ended, synced, when this one was begun; 0 when that is not known
	torn     bool  // there is something where its header should be, and it is no header
	size     int64 // written, header included
	made     int64 // of the file's blocks: writes below it are cheap to sync, beyond it the file grows
}

func walHeader(sequence uint64, previous int64) []byte {
	b := make([]byte, 0, walHeaderBytes)
	b = binary.BigEndian.AppendUint64(append(b, walMagic...), sequence)
	b = binary.BigEndian.AppendUint64(b, uint64(previous))
	b = binary.BigEndian.AppendUint32(b, crc32.Checksum(b, castagnoli))
	return append(b, make([]byte, walHeaderBytes-len(b))...)
}

// parseWALHeader returns the sequence of a file, and where the one in front ended; 0 of one that was never begun.
func parseWALHeader(b []byte) (sequence uint64, previous int64) {
	if len(b) < 28 || string(b[:8]) != walMagic || binary.BigEndian.Uint32(b[24:]) != crc32.Checksum(b[:24], castagnoli) {
		return 0, 0
	}
	return binary.BigEndian.Uint64(b[8:]), int64(binary.BigEndian.Uint64(b[16:]))
}

// zeroChunk is what files are pre-written with, a part at a time.
const zeroChunk = 1 << 20

// makeWALFile makes a pre-written file: overwriting blocks that are there is what makes its syncs cheap.
func makeWALFile(fs vfs.FS, dir, name string, size int64) (*walFile, error) {
	full := path.Join(dir, name)
	f, err := fs.Create(full)
	if err != nil {
		return nil, err
	}
	err = writeZeros(f, size)
	if err == nil {
		err = fs.SyncDir(dir)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("make write-ahead log file %s: %w", full, err), f.Close())
	}
	return &walFile{name: name, file: f, made: size}, nil
}

// walSuffix is of the files of the write-ahead log.
const walSuffix = ".wal"

func walName(n uint64) string { return fmt.Sprintf("%020d", n) + walSuffix }

// walNumber returns the number in a file's name.
func walNumber(name string) (uint64, bool) {
	digits, ok := strings.CutSuffix(name, walSuffix)
	if !ok {
		return 0, false
	}
	n, err := strconv.ParseUint(digits, 10, 64)
	return n, err == nil
}

// begin makes the file the log's newest; previous is where the one in front of it ends, if that is synced. The header becomes durable with the first
// round that is written to it: the records' checksums depend on it, so a lost header loses nothing that was acknowledged.
func (f *walFile) begin(sequence uint64, previous int64) error {
	f.sequence, f.previous, f.size = sequence, previous, walHeaderBytes
	_, err := f.file.WriteAt(walHeader(sequence, previous), 0)
	return err
}

// grows tells whether the next write lies beyond what the file has.
func (f *walFile) grows() bool { return f.size >= f.made }

// end writes that no record follows; with sync that is durable.
func (f *walFile) end(sync bool) error {
	h := walHead{kind: walEnd}
	if sync {
		h.synced = uint32(f.size)
	}
	if _, err := f.file.WriteAt(h.append(nil, f.sequence), f.size); err != nil || !sync {
		return err
	}
	return f.file.Sync()
}

// rewrite writes what the file has from position from on once more, and syncs it. After a sync that failed the system has pages in its memory that are not on the disk and that it
// takes for written: a later sync alone would make nobody's acknowledgement true, nor what the records behind say of them.
func (f *walFile) rewrite(from int64) error {
	if from <= walHeaderBytes {
		from = 0 // the header is as new
	}
	size, err := f.file.Size()
	if err != nil {
		return err
	}
	end := min(f.size, size) // of a file that was just begun not even the header may be there
	buf := make([]byte, min(windowBytes, max(end-from, 0)))
	for at := from; at < end; at += int64(len(buf)) {
		buf = buf[:min(int64(len(buf)), end-at)]
		if n, err := f.file.ReadAt(buf, at); n < len(buf) {
			return err
		}
		if _, err := f.file.WriteAt(buf, at); err != nil {
			return err
		}
	}
	return f.file.Sync()
}

// windowReader reads a file forwards through one buffer.
type windowReader struct {
	file   vfs.File
	size   int64
	window int // bytes to read at a time, where no more are asked for
	buf    []byte
	at     int64 // position of buf in the file
}

// windowBytes is the window of who reads everything.
const windowBytes = 1 << 20

// read returns n bytes at at, fewer at the end of the file. They are valid until the next call.
func (r *windowReader) read(at int64, n int) ([]byte, error) {
	if n = int(min(int64(n), r.size-at)); n <= 0 {
		return nil, nil
	}
	if at < r.at || at+int64(n) > r.at+int64(len(r.buf)) {
		want := int(min(int64(max(n, r.window)), r.size-at))
		if cap(r.buf) < want {
			r.buf = make([]byte, want)
		}
		r.buf = r.buf[:want]
		got, err := r.file.ReadAt(r.buf, at)
		if err != nil && !errors.Is(err, io.EOF) {
			return nil, err
		}
		r.at, r.buf = at, r.buf[:got]
		n = min(n, got)
	}
	return r.buf[at-r.at:][:n], nil
}
