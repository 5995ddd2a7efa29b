// Package connecttest is the conformance suite of connectors: what package connect asks of every Source and Sink, as tests that a
// connector's own test runs over itself.
//
// Sink runs a sink the way the worker does and, at each acknowledgement, reads back what the target holds. SinkHangs is for a target
// that does not answer. Source stops a source behind each of its batches and opens it again with the position it gave.
//
// What a suite calls must return within patience, by the real clock: a sink or source under test does not run in a synctest bubble.
//
// Files: sink.go and source.go are the suites; run.go is the worker's side of a sink.
package connecttest
