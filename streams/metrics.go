package streams

import "sync/atomic"

// Metrics counts what a worker or a simulation did. All of it may be read at any time.
type Metrics struct {
	RecordsIn    atomic.Int64 // records of streams and tables that were processed
	RecordsOut   atomic.Int64 // records written to topics, dead letters included
	Repartition  atomic.Int64 // records written to repartition topics
	Changes      atomic.Int64 // records written to changelog topics
	Restored     atomic.Int64 // records read from changelog topics
	Late         atomic.Int64 // records all of whose windows were closed
	LateWindows  atomic.Int64 // times a record missed one of its windows
	Closed       atomic.Int64 // final values of windows
	DroppedNull  atomic.Int64 // records without the key or value that an operator needs
	Skipped      atomic.Int64 // records left out because of an error
	DeadLettered atomic.Int64
	Retried      atomic.Int64
	Commits      atomic.Int64
	Aborts       atomic.Int64 // transactions given up, after which the worker begins again from what is committed
	Buffered     atomic.Int64 // records fetched and not yet processed, now
}
