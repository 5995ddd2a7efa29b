// Package storage keeps the partition logs of one node.
//
// # Guarantees
//
// An append is acknowledged (its Pending resolves, Committed passes it) after it was synced, unless Options.Flush is FlushReplicated. What was
// acknowledged is there after any crash, in order, at its offset; behind it there may be whole batches that were not acknowledged. Nothing that was
// deleted comes back. What a former life of the process wrote is checked when it is first read. The first failed write or sync takes the store offline until it is opened anew: nothing is tried again on a file
// whose content is unknown. A partition that turns out damaged below what was synced goes offline by name and the others serve.
//
// # How
//
// All partitions append to one write-ahead log with one committer, which writes and syncs what has come while the last round was written. The
// batches stay in the log's memory tail, from where they are fetched while they are hot, until the flusher writes them to their segment in
// chunks of 64 KiB or more; a batch of 256 KiB or more goes straight to its segment. Write-ahead log files are pre-written and used again: before
// that, what they hold is written to segments, the segments are synced, and the checkpoint says from where recovery has to read.
//
// On disk, below Options.Dir (docs/formats/wal.md, docs/formats/segments.md):
//
//	wal/<20 digits>.wal                      the write-ahead log
//	checkpoint                               up to where segments are complete
//	logs/<topic>-<partition>/                Kafka's layout: <20 digits>.log .index .timeindex .txnindex
//	                                         .snapshot, leader-epoch-checkpoint, partition.metadata
//	quarantine/                              directories of no known topic
//
// A partition has no directory before it has something to write there, and no open file while it is idle.
//
// # Concurrency
//
// Two goroutines: commitLoop (committer.go) and flushLoop (flush.go); Close ends both. Where many logs are written or synced, the one that
// does it shares the work with up to filesAtOnce more, for whose end it waits. Lock order: Log.cleaning, Log.rebuilding, Log.io, Log.mu, then one of committer.mu,
// flusher.mu, wal.mu, fileCache.mu, Store.mu. No I/O under mu; Log.io is the right to write a log's files.
//
// # Files
//
// options.go, errors.go; store.go the store; log.go a log and append; append.go the checks of a batch; committer.go rounds and Pending;
// slab.go the memory of tails; wal.go, wal_files.go, wal_replay.go the write-ahead log; flush.go tails to segments; checkpoint.go;
// recovery.go, recovery_logs.go, recovery_wal.go, quarantine.go opening; segment.go, index.go, index_files.go, landmarks.go, files.go segments; read.go,
// times.go, youngest.go reading; check.go, sound.go, damage.go what keeps decayed bytes from being served; maintain.go, compact.go,
// compactor.go, compact_txns.go, compact_swap.go what time asks for; producers.go, snapshot.go, transactions.go, txn_index.go, txn_load.go, epochs.go what
// follows from the batches; stats.go; inspect.go, verify.go, verify_index.go, verify_missing.go the files of a stopped node, one by one.
package storage
