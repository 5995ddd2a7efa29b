package storage

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"

	"github.com/milldam/milldam/core/record"
)

// batchCheck checks a run of batches while its bytes pass by, in pieces of any size: their checksums, and, since those do not cover it, that their offsets
// rise and their leader epochs are the log's. It is what keeps a decayed segment from being served: the answer is cut short, the client drops it, and
// the partition is offline by then.
type batchCheck struct {
	name string        // of the file
	at   int64         // position of the batch that passes by
	next record.Offset // no batch may begin below
	end  record.Offset // or reach it

	epochs epochs // of the log, as far as they are known

	head [record.HeaderBytes]byte
	have int // bytes of head
	left int // bytes of the batch behind the header
	size int
	sum  uint32
	gap  bool // the last batch began above next
}

// Positions in a batch's header.
const (
	magicAt   = 16
	crcAt     = 17
	crcCovers = 21

	magicVersion = 2
)

// feed takes the next bytes.
func (c *batchCheck) feed(p []byte) error {
	for len(p) > 0 {
		if c.have < len(c.head) {
			n := copy(c.head[c.have:], p)
			c.have += n
			p = p[n:]
			if c.have < len(c.head) {
				return nil
			}
			if err := c.begin(); err != nil {
				return err
			}
		}
		n := min(c.left, len(p))
		c.sum = crc32.Update(c.sum, castagnoli, p[:n])
		c.left -= n
		p = p[n:]
		if c.left > 0 {
			return nil
		}
		if c.sum != binary.BigEndian.Uint32(c.head[crcAt:]) {
			return c.damaged("its checksum does not hold")
		}
		c.at += int64(c.size)
		c.have = 0
	}
	return nil
}

// begin takes a header that is complete.
func (c *batchCheck) begin() error {
	b := record.Batch(c.head[:])
	size, err := record.SizeIn(b)
	if err != nil {
		return c.damaged(err.Error())
	}
	base, last := b.BaseOffset(), b.LastOffset()
	if base < c.next || last < base || last >= c.end {
		return c.damaged(fmt.Sprintf("it has offsets %d to %d, between %d and %d are possible", base, last, c.next, c.end))
	}
	if epoch := c.epochs.at(base); epoch >= 0 && epoch != b.LeaderEpoch() || b[magicAt] != magicVersion {
		return c.damaged(fmt.Sprintf("it has version %d and leader epoch %d, the log has %d there", b[magicAt], b.LeaderEpoch(), epoch))
	}
	c.gap = base > c.next
	c.next, c.size, c.left = last+1, size, size-len(c.head)
	c.sum = crc32.Checksum(c.head[crcCovers:], castagnoli)
	return nil
}

func (c *batchCheck) damaged(what string) error { return damagedAt(c.name, c.at, what) }

// damagedAt is how damage in a file is told.
func damagedAt(file string, at int64, what string) error {
	return fmt.Errorf("%w at position %d of %s: %s", ErrCorrupt, at, file, what)
}
