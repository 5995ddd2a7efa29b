// Command milldam is the whole platform: the broker, pipelines, and the command line for any Kafka cluster.
package main

import (
	"context"
	"os"
	"os/signal"
	"runtime/debug"
	"slices"
	"syscall"
)

// version is set by `make`; a plain go build or go install leaves it empty.
var version string

// versionName is the version, or what Go's own build notes of it.
func versionName() string {
	if version != "" {
		return version
	}
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" {
		return info.Main.Version
	}
	return "unknown"
}

func main() {
	if args := os.Args[1:]; slices.Contains(args, "dev") || slices.Contains(args, "server") { // one too many does no harm
		relaxTimers()
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second ^C ends the process at once
	code := run(ctx, os.Args[1:], streams{in: os.Stdin, out: os.Stdout, err: os.Stderr})
	stop()
	os.Exit(code)
}
