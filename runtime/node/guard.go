package node

import (
	"context"
	"time"

	"github.com/milldam/milldam/core/storage"
	"github.com/milldam/milldam/core/vfs"
)

const (
	// lookAtDiskEvery is how often the node looks how full its disk is, besides what storage sees of its own writes.
	lookAtDiskEvery = time.Second
	// maintainFullEvery is how often retention is applied while the disk is full: it is what makes room.
	maintainFullEvery = 5 * time.Second
)

// guardLoop looks at the disk.
func (n *Node) guardLoop(ctx context.Context) {
	defer n.wg.Done()
	tick := time.NewTicker(lookAtDiskEvery)
	defer tick.Stop()
	store := n.replicas.Store()
	var maintained time.Time
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-tick.C:
			if store.LookAtDisk(); store.DiskFull() && now.Sub(maintained) >= maintainFullEvery {
				maintained = now
				n.maintain(ctx, now)
			}
		}
	}
}

// roomToOpen gives up the reserve where the disk has less than that left: opening writes too, and who cannot open cannot delete.
func roomToOpen(fs vfs.FS, dir string) error {
	if _, free, err := fs.Usage(dir); err != nil || int64(free) >= storage.DefaultReserveBytes {
		return nil // who looks at the disk will tell
	}
	return storage.ReleaseReserve(fs, dir)
}
