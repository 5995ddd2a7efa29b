// Package file is the connector for files of lines on the machine that runs the pipeline.
//
// # Source
//
// Each line of an NDJSON file is a value, as it is; each row of a CSV file (RFC 4180, as encoding/csv reads it) becomes a JSON object of text. Empty
// lines are passed over. A line that is no JSON is a value like any other, for the steps to dead-letter; a row that is no CSV, or a line
// longer than max_line, stops the pipeline with file:line, and what was read before it is delivered.
//
//   - A file is a source partition. Its position is {"version":1,"offset":BYTES,"line":LINES,"fingerprint":HEX}, the fingerprint over the
//     first and the last KiB before the offset. A file that no longer matches is another one, and read from its start.
//   - read: once goes through the files in order and ends. A last line without line end counts.
//   - read: tail polls. A file is the one behind its open handle: renamed, it is read on under its new name for goneAfter beyond its last growth;
//     removed, to its end; cut or rewritten, it begins anew, and a copy of what was cut is read to its end. The same
//     holds for what happened while nothing ran, where the fingerprint finds the file. A last line without line end waits for its end.
//
// # Sink
//
// Values are appended to one file, one a line; JSON that spans lines is written on one. Lines are kept in memory until Flush, at the latest
// until bufferBytes of them are there, then written and synced, and only then acknowledged. Delivery is at least once: what a crash left
// unacknowledged is written again, and the half of a line it may have left at the end is cut. A failed write or sync is made good by
// cutting the file back to what was synced and writing the same lines again. PATH.lock keeps a second process away.
//
// The worker's goroutine calls everything but Close, which may come from any: both take turn, a channel of one place, since it is held
// while files are read and written. No other goroutines, no locks.
//
// Files: config.go the configuration; source.go the source, and reading once; follow.go following; renamed.go finding files again
// under another name; reader.go the lines of one file; csv.go rows; position.go positions and fingerprints; sink.go the sink;
// appendfile.go the file it writes.
package file
