package meta

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"log/slog"
	"path"
	"runtime"

	"github.com/hashicorp/raft"
	wal "github.com/hashicorp/raft-wal"
)

// checkedLog is raft-wal with a checksum for each entry, and a mark of its end: by itself it believes what it reads, and a topic whose name has decayed would be another topic. The
// checksum stands in the entry's extensions, which are there for who stands between raft and its log. Entries from before there were checksums have none.
type checkedLog struct {
	*wal.WAL
	dir    string
	stable *stableStore
	end    *endMark
	logger *slog.Logger
}

// entryChecksum covers all of an entry that matters.
func entryChecksum(l *raft.Log) []byte {
	var head [17]byte
	binary.BigEndian.PutUint64(head[:], l.Index)
	binary.BigEndian.PutUint64(head[8:], l.Term)
	head[16] = byte(l.Type)
	return binary.BigEndian.AppendUint32(nil, crc32.Update(crc32.Checksum(head[:], castagnoli), castagnoli, l.Data))
}

// GetLog implements raft.LogStore. ErrDamaged is for an entry that is not what was written. Raft panics when it cannot read what it has written: as in stableStore, once it was started it waits instead.
func (c *checkedLog) GetLog(index uint64, l *raft.Log) error {
	err := c.read(index, l)
	if err == nil {
		err = checkEntry(l, index)
	}
	if first, last := c.bounds(); err == nil || index < first || index > last || last == 0 { // raft asks for entries that are gone, too
		return err
	}
	if failed := (*fs.PathError)(nil); !errors.As(err, &failed) {
		err = damagedFile(path.Join(c.dir, c.stable.fileOf(index)), "entry %d: %w", index, err)
	}
	if c.stable.running.Load() {
		c.stable.onFail(err)
		runtime.Goexit()
	}
	return err
}

// read reads an entry. raft-wal panics at some of what it cannot decode.
func (c *checkedLog) read(index uint64, l *raft.Log) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("it cannot be read: %v", r)
		}
	}()
	return c.WAL.GetLog(index, l)
}

// bounds are the first and the last index; of a closed log nothing is between them.
func (c *checkedLog) bounds() (first, last uint64) {
	first, bad := c.FirstIndex()
	last, err := c.LastIndex()
	if bad != nil || err != nil {
		return 1, 0
	}
	return first, last
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
	if err := c.WAL.StoreLogs(checked); err != nil || len(logs) == 0 {
		return err
	}
	c.note(logs[len(logs)-1].Index)
	return nil
}

// note moves the mark of the end. The entries are durable without it: where it cannot be written, the one that is there stays, and says less.
func (c *checkedLog) note(last uint64) {
	if c.end.file == nil {
		return
	}
	if err := c.end.note(last); err != nil {
		c.logger.Warn("the end of the metadata log is not marked any more: until the next start nobody could tell its decay from a write that a crash tore", "file", c.end.name, "error", err)
		_ = c.end.close() // nothing was left to be written
	}
}

// syncEnd makes the mark durable.
func (c *checkedLog) syncEnd() error {
	if c.end.file == nil {
		return nil
	}
	return c.end.file.Sync()
}

// DeleteRange implements raft.LogStore. Where the end of the log goes, as that of a voter which followed another leader, the mark goes first.
func (c *checkedLog) DeleteRange(first, last uint64) error {
	if from, end := c.bounds(); last >= end && first <= end {
		kept := first - 1
		if first <= from {
			kept = 0
		}
		if err := c.end.make(kept); err != nil {
			return fmt.Errorf("mark the new end of the metadata log: %w", err)
		}
	}
	return c.WAL.DeleteRange(first, last)
}

// Close ends the log. It can be opened again.
func (c *checkedLog) Close() error {
	if err := c.end.close(); err != nil {
		c.logger.Warn("close a file of the metadata log", "file", c.end.name, "error", err)
	}
	return c.WAL.Close()
}
