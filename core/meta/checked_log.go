package meta

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"path"

	"github.com/hashicorp/raft"
	wal "github.com/hashicorp/raft-wal"

	"github.com/milldam/milldam/core/vfs"
)

// checkedLog is raft-wal with a checksum for each entry: by itself it believes what it reads, and a topic whose name has decayed would be another topic. The checksum
// stands in the entry's extensions, which are there for who stands between raft and its log. Entries from before there were checksums have none.
type checkedLog struct {
	*wal.WAL
	fs  vfs.FS
	dir string
}

// endFile says up to where the log went at the last start or stop. raft-wal takes what it cannot read for the end that a crash tore; what was there before cannot be that.
const endFile = "end"

const endMagic = "milldamE"

// noteEnd writes the end file.
func (c *checkedLog) noteEnd() error {
	last, err := c.LastIndex()
	if err != nil {
		return err
	}
	data := binary.BigEndian.AppendUint64([]byte(endMagic), last)
	return vfs.WriteFileAtomic(c.fs, path.Join(c.dir, endFile), binary.BigEndian.AppendUint32(data, crc32.Checksum(data, castagnoli)))
}

// checkEnd holds the log against the end file. Folders from before there was one have none, and one that cannot be read says nothing.
func (c *checkedLog) checkEnd() error {
	data, err := vfs.ReadFile(c.fs, path.Join(c.dir, endFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	const size = len(endMagic) + 8
	if len(data) != size+4 || string(data[:len(endMagic)]) != endMagic || binary.BigEndian.Uint32(data[size:]) != crc32.Checksum(data[:size], castagnoli) {
		return nil
	}
	last, err := c.LastIndex()
	if known := binary.BigEndian.Uint64(data[len(endMagic):]); err == nil && last < known {
		err = fmt.Errorf("%w: the log in %s can be read up to entry %d, and had %d: restore the folder from a backup", ErrDamaged, c.dir, last, known)
	}
	return err
}

// entryChecksum covers all of an entry that matters.
func entryChecksum(l *raft.Log) []byte {
	var head [17]byte
	binary.BigEndian.PutUint64(head[:], l.Index)
	binary.BigEndian.PutUint64(head[8:], l.Term)
	head[16] = byte(l.Type)
	return binary.BigEndian.AppendUint32(nil, crc32.Update(crc32.Checksum(head[:], castagnoli), castagnoli, l.Data))
}

// GetLog implements raft.LogStore. ErrDamaged is for an entry that is not what was written.
func (c *checkedLog) GetLog(index uint64, l *raft.Log) error {
	err := c.WAL.GetLog(index, l)
	if err == nil && (l.Index != index || len(l.Extensions) > 0 && string(l.Extensions) != string(entryChecksum(l))) {
		err = fmt.Errorf("%w: entry %d of the log in %s is not what was written: restore the folder from a backup", ErrDamaged, index, c.dir)
	}
	return err
}

// StoreLog implements raft.LogStore.
func (c *checkedLog) StoreLog(l *raft.Log) error { return c.StoreLogs([]*raft.Log{l}) }

// StoreLogs implements raft.LogStore. Raft goes on with the entries it gave, so these are copied.
func (c *checkedLog) StoreLogs(logs []*raft.Log) error {
	checked := make([]*raft.Log, len(logs))
	for i, l := range logs {
		copied := *l
		copied.Extensions = entryChecksum(l)
		checked[i] = &copied
	}
	return c.WAL.StoreLogs(checked)
}
