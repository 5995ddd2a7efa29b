package storage

import (
	"sync/atomic"
	"time"
)

// Stats is how a store fares, for metrics. Counts begin anew when it is opened.
type Stats struct {
	Commits        int64         // writes of the committer
	CommittedBytes int64         // of them
	CommitTime     time.Duration // in them, with their syncs
	TailBytes      int64         // memory of batches that are in no segment yet
	TailLimit      int64         // of TailBytes; at twice that appends wait
	WaitingAppends int64         // appends that wait for that memory
	Partitions     int
	Damaged        int // partitions that are not served because a file of theirs is damaged
	Full           bool
	Offline        bool
}

// commitStats are what the committer counts.
type commitStats struct{ commits, bytes, nanos atomic.Int64 }

func (s *commitStats) count(bytes int64, took time.Duration) {
	s.commits.Add(1)
	s.bytes.Add(bytes)
	s.nanos.Add(int64(took))
}

// Stats looks how the store fares.
func (s *Store) Stats() Stats {
	c := &s.committer.stats
	out := Stats{Commits: c.commits.Load(), CommittedBytes: c.bytes.Load(), CommitTime: time.Duration(c.nanos.Load()), TailBytes: s.tailMemory(),
		TailLimit: s.opts.TailBytes, WaitingAppends: s.waiting.Load(), Full: s.DiskFull(), Offline: s.Err() != nil}
	for _, l := range s.Logs() {
		out.Partitions++
		if l.Damaged() != nil {
			out.Damaged++
		}
	}
	return out
}
