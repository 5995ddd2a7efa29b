// Package stdout is the sink that prints records on standard output, a line each, for tries and for shell pipes.
//
// A record is acknowledged when the write that holds it returned. A write to a pipe that nobody reads cannot be interrupted: when the context
// ends before it, Write returns and leaves it to end by itself, and the next Write waits for it first, so that lines keep their order. That is the one
// goroutine that nobody may wait for at the end, since a reader of the pipe may never come back.
//
// Files: sink.go the sink; line.go records as lines.
package stdout
