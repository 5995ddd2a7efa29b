// Package coordinator is the group and the transaction coordinator of one node: Groups is the classic consumer group protocol, the one of KIP-848, and committed
// offsets, Transactions what producers write as a whole.
//
// What must survive is in the partitions of __consumer_offsets, in Kafka's own format (docs/formats/consumer-offsets.md), so that Kafka's tools read it: committed
// offsets, each classic group as its last complete rebalance left it, and each group of the consumer type as a whole. Durable state is changed by apply alone, from
// records, live and on replay; requests only decide which records to append. What records say of groups is applied when they are in the log, so that the next request is decided on it;
// offsets when they are committed, so that nobody reads one that a crash takes back. Requests are answered when all that the answer shows is committed. What a
// classic rebalance holds in flight (who waits, who has joined) dies with the process: members join again.
//
// Guarantees: every request is answered once; an offset that was committed is fetched as it was, metadata included; a member of an older generation or epoch, or whose
// instance id has a newer member, changes nothing; a partition of a consumer group is assigned after its former owner gave it back; a static member that comes
// back takes its place without a rebalance.
//
// Goroutines: applyLoop, which takes what was committed, and one timer for all sessions and rebalances; Close ends both. One lock, Groups.mu, guards everything;
// replies are called with it held, and do not block. The lock is not held while a log is opened.
//
// Files: groups.go (the type, lookup, writes), state.go (durable state and apply), records.go and consumer_records.go with flexible.go (encoding), deadlines.go (timers), committed.go (what follows a commit);
// offsets.go (commit, fetch), pending.go (transactions), removal.go (delete, expiry), admin.go and consumer_describe.go (list, describe), group_stats.go;
// of the classic protocol join.go, sync.go (sync, heartbeat, leave), group.go (a group's state);
// of KIP-848 consumer.go (what lives of a group, and changes of it), consumer_state.go (its durable state), consumer_heartbeat.go (join, heartbeat, leave),
// consumer_target.go and consumer_assignors.go (who shall have what), consumer_regex.go, consumer_reconcile.go (the way there), consumer_classic.go (classic members in
// such a group), migration.go (from one type to the other), inspect.go (records in words, of both topics).
//
// Transactions keeps the partitions of __transaction_state the same way (docs/formats/transaction-state.md). A transactional id has at most one transition on its way
// to the log; decisions are pure (decider), txnShard.apply is all that changes what is durable. A decided transaction is completed by markers, of which MaxMarkers are
// on their way at a time. One lock, Transactions.mu; callbacks are called without it. Goroutines: applyLoop, and a timer for what takes too long. It knows nothing of
// Groups: the broker gives it a way to write markers.
//
// Files: txn.go (the type, lookup, writing), txn_options.go, txn_add.go (requests of producers, and of appends), txn_decide.go and txn_end.go (decisions), txn_complete.go (markers),
// txn_expire.go (timeouts), txn_admin.go (list, describe), txn_state.go (values), txn_records.go (encoding), producer_ids.go.
package coordinator
