// Package file reads lines of files into records, and appends records to a file.
//
// The source reads NDJSON, a record a line, and CSV with a head, a record a row, as a JSON object of strings. It reads once, or follows
// files that grow, also over rotation. A position is a file's offset together with a sum over the file's first bytes: a file that was
// renamed goes on where it stood, one that was replaced begins anew.
//
// The sink appends each value as a line and syncs before it acknowledges. Half a line that a crash left is cut when it opens the file.
//
// Files: config.go; source.go reads files in turn, tailed.go is one file and its position, rows.go takes rows off its bytes; sink.go.
package file
