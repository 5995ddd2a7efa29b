// Package stdout prints records, for tries and for shell pipes.
//
// Files: sink.go.
package stdout
