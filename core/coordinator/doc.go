// Package coordinator is the group coordinator of one node: the classic consumer group protocol, and committed offsets.
//
// What must survive is in the partitions of __consumer_offsets, in Kafka's own format (docs/formats/consumer-offsets.md), so that Kafka's tools read it:
// committed offsets, and each group as its last complete rebalance left it. Durable state is changed by apply alone, from records, live and on replay; requests
// only decide which records to append, and are answered after those are committed. What a rebalance holds in flight (who waits, who has joined) dies with the process:
// members join again.
//
// Guarantees: every request is answered once; an offset that was committed is fetched as it was, metadata included; a member of an older generation, or whose
// instance id has a newer member, changes nothing; a static member that comes back takes its place without a rebalance.
//
// Goroutines: applyLoop, which takes what was committed, and one timer for all sessions and rebalances; Close ends both. One lock, Groups.mu, guards everything;
// replies are called with it held, and do not block. The lock is not held while a log is opened.
//
// Files: groups.go (the type, lookup, timers), join.go, sync.go (sync, heartbeat, leave), group.go (a group's state), offsets.go, admin.go (list, describe,
// delete), state.go (durable state and apply), records.go (encoding), deadlines.go.
package coordinator
