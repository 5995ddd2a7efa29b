// Package replica is the leader side of partitions: what stands between the protocol and a log.
//
// A Manager follows the metadata image. It makes the logs of the partitions this node leads, gives them their configuration, and removes those of topics that are
// gone. A Partition checks leader epochs, appends, reads up to the high watermark, and wakes those who wait for it to move. On one node
// the high watermark is the committed end of the log; followers will be a second side of the same Partition.
//
// Waiting is bounded: a request waits in at most one Waiter, all of them on one timing wheel.
//
// Goroutines: the wheel's, which runs while somebody waits. Lock order: Manager.mu, then Partition.mu; nothing is called with either held but
// storage's constructors.
//
// Files: manager.go, partition.go, config.go (topic configs to log configs), waiter.go and wheel.go (waiting), errors.go.
package replica
