package vfs

import (
	"math/rand/v2"
	"slices"
)

// CrashClone returns the file system that a power failure at this moment would leave: the content that Sync saw, under the names that
// SyncDir saw. m itself goes on unchanged.
//
// A real disk may have written more than it was asked to. With rng not nil, so does the clone: of each file some of the unsynced
// changes, each whole or, a write, cut at any byte, and of each directory, by chance, the names as they are now. What was synced is
// there in any case.
func (m *Mem) CrashClone(rng *rand.Rand) *Mem {
	m.mu.Lock()
	defer m.mu.Unlock()
	c := NewMem()
	c.mu.capacity = m.mu.capacity
	copies := map[*memNode]*memNode{}
	c.mu.root = m.mu.root.afterCrash(rng, copies)
	c.mu.root.eachFile(func(n *memNode) { c.mu.used += int64(len(n.data)) })
	return c
}

// afterCrash copies what is left of a node. copies keeps a file that has two names in the synced state one file.
func (n *memNode) afterCrash(rng *rand.Rand, copies map[*memNode]*memNode) *memNode {
	if done := copies[n]; done != nil {
		return done
	}
	c := &memNode{modified: n.modified}
	copies[n] = c
	if !n.isDir() {
		c.durable = slices.Clone(n.durable)
		if rng != nil {
			c.durable = n.withSomePending(c.durable, rng)
		}
		c.data = slices.Clone(c.durable)
		return c
	}
	left := n.synced
	if rng != nil && rng.IntN(2) == 0 {
		left = n.entries
	}
	c.entries = map[string]*memNode{}
	for name, child := range left {
		c.entries[name] = child.afterCrash(rng, copies)
	}
	c.synced = cloneEntries(c.entries)
	return c
}

// withSomePending applies a random part of the unsynced changes to data.
func (n *memNode) withSomePending(data []byte, rng *rand.Rand) []byte {
	for _, c := range n.pending {
		switch rng.IntN(3) {
		case 0: // never reached the disk
			continue
		case 1: // torn
			if c.data != nil {
				c.data = c.data[:rng.IntN(len(c.data)+1)]
				if len(c.data) == 0 {
					continue
				}
			}
		}
		data = c.applyTo(data)
	}
	return data
}

func (n *memNode) eachFile(fn func(*memNode)) {
	if !n.isDir() {
		fn(n)
	}
	for _, child := range n.entries {
		child.eachFile(fn)
	}
}
