// Package streams is a typed DSL for programs that read topics, transform, aggregate and join records, and write topics.
//
//	t := streams.NewTopology()
//	t.Stream("lines", streams.String, streams.String).
//		FlatMapValues(strings.FieldsSeq).
//		GroupBy("by-word", func(_, word string) string { return word }).
//		Count("counts").
//		To("word-counts")
//	err := t.Run(ctx, streams.Options{ApplicationID: "word-count"})
//
// A Topology is declared once. Mistakes in it are collected and come out of Build, with the name of the operator. It is run by any
// number of workers, which share its tasks as a consumer group; Simulate runs it without a broker.
//
// # Guarantees
//
//   - At least once, unless Options.Delivery says more: outputs and changes of state are acknowledged, then offsets are committed. After a
//     crash the records since the last commit are processed again. A count may be too high then, never too low: see state.Windows.
//   - Exactly once, with ExactlyOnce: outputs, changes of state and offsets are one transaction of the lane. A crash aborts it, state and
//     offsets are those of the last commit, and who reads committed records sees each output once. A worker that was replaced cannot
//     commit any more: see transaction. What a function does elsewhere, as a call to a service, is still done again.
//   - A task reads a table to the end it had at start before it handles the first record of a stream.
//   - Inputs are merged by the timestamps of their records. One that is known to have more is waited for, and one with IdleAfter
//     until it is idle.
//   - The time of an operator is the highest it has seen, over several partitions that of the furthest behind; it never goes back,
//     and is kept with the committed offsets. It goes through repartition topics: each writer tells the readers its own.
//   - A window closes when that time passes its end and grace, or when all inputs are idle: at the end of their logs, asked from the
//     broker, and without a record for the idle time since the start, the restore or the last record. What comes later is late: it
//     goes to Windowed.Late and is counted.
//   - No record is dropped without a count in Metrics.
//
// # How it runs
//
// Operators connected without a repartition are a part; a part has a task for each partition of its inputs. A task is a chain of
// typed functions, made anew for each task from the declaration, through which records go in batches: no channel, no interface and,
// without state, no allocation for a single record. A batch belongs to who hands it on, and is valid until the call returns.
//
// A lane is a goroutine that owns tasks: it takes fetched records from its inbox, lets its tasks step, produces what they wrote,
// and commits for all of them together. lane.commit is the only place where something becomes durable. State is kept in memory, and its
// changelog is its durable form: a transaction that cannot be completed ends the membership of the worker in its group, tasks and state are
// dropped, and the next membership begins from what is committed.
//
// # Goroutines and locks
//
// One goroutine of the worker polls, each lane is one, with another while it commits a transaction; the client has its own, which call
// member.assigned and member.release, and lane.acknowledged. A rebalance waits until polled records are handed to the lanes, so none comes
// after its task has gone. The locks are Worker.mu, member.mu, lane.inbox and lane.unacked; none is held while another is taken, nor while
// user code or the client is called.
//
// # Topics
//
// APPLICATION-NAME-changelog is compacted; package state draws its records. APPLICATION-NAME-repartition has no retention, and is
// purged up to what is committed; repartition.go says what headers its records have. The metadata of a committed offset is JSON,
// inputMetadata.
//
// # Files
//
//	topology.go     nodes, ports, how operators are declared    clock.go       the time of an operator
//	stream.go       operators without state                     task.go        inputs, order, steps, idleness
//	try.go          operators that may fail, dead letters        input.go       one partition of a task
//	source.go       reading topics                              offsets.go     what is committed, and resumed
//	sink.go         writing topics                              worker.go      start and stop, one membership after the other
//	group.go        grouping and aggregates                     member.go      a membership in the group, polling
//	window.go       windows, as declared                        lane.go        processing
//	windower.go     which windows are open                      commit.go      what becomes durable, and when
//	window_aggregate.go  aggregates by key and window           transaction.go  what becomes durable together
//	table.go        tables                                      restore.go     the start of tasks
//	join.go         stream-table joins                          balancer.go    who gets which task
//	repartition.go  topics between parts                        topics.go      topics that must exist
//	simulation.go   a topology without a broker                 plan.go        parts, partitions, co-partitioning
//	codec.go, record.go, output.go, options.go, metrics.go, describe.go
package streams
