// Package broker is the Kafka server: connections, dispatch, and one file per API.
//
// A connection has one goroutine that reads frames and handles them in order. What can be answered at once is answered from that goroutine, with one write
// for all that one read brought; what has to wait (a sync, new records, a rebalance) keeps its place in the connection's queue, and is written by a second
// goroutine that exists from the first such request on. Responses leave in the order of their requests. An idle connection holds no buffer.
//
// Memory for requests is one budget: a frame is admitted before more of it is read than its first 72 KiB, and must come at a pace. What a fetch that waits for
// records holds counts in a budget of its own; where that is full, it does not wait. A connection has a limited number of requests in flight, the server and each
// address a limited number of connections, opened at a limited pace. Bytes that are no request close their connection and disturb no other.
//
// A client over a quota is answered, told for how long to be quiet, and not read for that time.
//
// Handlers authorise, loop and map errors; what they do stands in replica, meta and coordinator. Error codes are made in errmap.go alone.
//
// Lock order: Server.mu; conn.mu; quotas.mu. None is held while anything of other packages is called, or written.
//
// A Produce request with the first batch of a transaction asks the transaction coordinator before it appends; the reader waits for that, so that batches are appended
// in the order of their requests.
//
// Files: server.go, conn.go (a connection), conn_read.go, conn_write.go, write_now_unix.go, paced_linux.go (send buffers), frames.go (buffers for requests), call.go (a request in flight), apis.go (the table), errmap.go, metrics.go and coordinator_metrics.go, sessions.go (fetch sessions), groups_log.go and
// txn_log.go (the coordinators' logs, markers), produce_txn.go (what transactions add to Produce), authorized.go (what ANONYMOUS may do),
// loggers.go, quotas.go with rate.go, limits.go (connections), api_<name>.go.
package broker
