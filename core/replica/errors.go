package replica

import "errors"

// Errors that the broker translates.
var (
	ErrUnknownPartition = errors.New("unknown topic or partition")
	ErrUnknownTopicID   = errors.New("unknown topic id")
	ErrNotLeader        = errors.New("this node does not lead the partition")
	ErrFencedEpoch      = errors.New("the leader epoch is older than the current one")
	ErrUnknownEpoch     = errors.New("the leader epoch is newer than the current one")
)
