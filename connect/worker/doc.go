// Package worker runs connectors: a SinkTask reads topics for a connect.Sink, a SourceTask writes what a connect.Source reads.
//
// Guarantees
//
//   - At least once. A group's offset is committed only below what the sink reported durable and above which every record that
//     could not be written is in the dead-letter topic; a source's position is stored only after the broker acknowledged its records.
//   - Exactly once, for a source with SourceOptions.ExactlyOnce: records and positions are written in transactions, so that who reads
//     committed records sees each once. The next task of a pipeline ends the transaction of the one before, and fences it. What the broker
//     refuses goes to the dead-letter topic outside of the transaction, and after a crash may be there twice.
//   - A sink gets committed records, unless SinkOptions.ReadUncommitted.
//   - Records of one partition reach the sink in order, one batch after the other, a batch that failed before the one behind it.
//   - A transient failure is tried again with growing pauses and stops nothing; what only an owner can mend ends the task with an
//     error that wraps connect.ErrPermanent. No record is dropped without the task's steps or its error policy asking for it.
//   - What a sink and its batches hold stays within SinkOptions.MemoryBytes, plus one fetch.
//   - Run returns within stopPatience after its context ends.
//
// Goroutines: SinkTask.Run calls every method of the sink; it starts a poller, which hands fetched records over by a channel, and
// the client calls back when partitions come and go: both meet Run by channels and by SinkTask.mu, under which nothing blocks.
// SourceTask.Run calls every method of the source; the client acknowledges from its own goroutine, under SourceTask.mu, and what is read
// reaches the goroutine that runs transactions by a channel.
//
// Files: sink.go is the loop of a SinkTask, assignment.go what it knows of a partition, rebalance.go how partitions come and go, write.go
// batches and retries; source.go is a SourceTask, source_txn.go its transactions, positions.go the compacted topic where sources' positions lie; deadletter.go and
// backoff.go say what happens to failures, progress.go counts.
package worker
