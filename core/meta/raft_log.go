package meta

import (
	"context"
	"fmt"
	"io"
	"log"
	"log/slog"

	"github.com/hashicorp/go-hclog"
	wal "github.com/hashicorp/raft-wal"
	"github.com/hashicorp/raft-wal/segment"

	"github.com/milldam/milldam/core/vfs"
)

// openRaftLog opens raft-wal on our file system.
func openRaftLog(fs vfs.FS, dir string, stable *stableStore, logger hclog.Logger) (*checkedLog, error) {
	w, err := wal.Open(dir, wal.WithSegmentFiler(segment.NewFiler(dir, walFiles{fs})), wal.WithMetaStore(stable),
		wal.WithSegmentSize(walSegmentBytes), wal.WithLogger(logger))
	if err != nil {
		return nil, fmt.Errorf("open the log in %s: %w", dir, err)
	}
	return &checkedLog{w, fs, dir}, nil
}

// raftLogger is raft's logger on ours. What raft says of elections in a cluster of one is no news to anybody.
type raftLogger struct{ to *slog.Logger }

var levels = map[hclog.Level]slog.Level{hclog.Trace: slog.LevelDebug, hclog.Debug: slog.LevelDebug, hclog.Info: slog.LevelDebug,
	hclog.Warn: slog.LevelDebug, hclog.Error: slog.LevelError}

func (l raftLogger) Log(level hclog.Level, msg string, args ...any) {
	l.to.Log(context.Background(), levels[level], "raft: "+msg, args...)
}
func (l raftLogger) Trace(msg string, args ...any)  { l.Log(hclog.Trace, msg, args...) }
func (l raftLogger) Debug(msg string, args ...any)  { l.Log(hclog.Debug, msg, args...) }
func (l raftLogger) Info(msg string, args ...any)   { l.Log(hclog.Info, msg, args...) }
func (l raftLogger) Warn(msg string, args ...any)   { l.Log(hclog.Warn, msg, args...) }
func (l raftLogger) Error(msg string, args ...any)  { l.Log(hclog.Error, msg, args...) }
func (l raftLogger) IsTrace() bool                  { return false }
func (l raftLogger) IsDebug() bool                  { return false }
func (l raftLogger) IsInfo() bool                   { return false }
func (l raftLogger) IsWarn() bool                   { return true }
func (l raftLogger) IsError() bool                  { return true }
func (l raftLogger) ImpliedArgs() []any             { return nil }
func (l raftLogger) With(args ...any) hclog.Logger  { return raftLogger{l.to.With(args...)} }
func (l raftLogger) Name() string                   { return "raft" }
func (l raftLogger) Named(string) hclog.Logger      { return l }
func (l raftLogger) ResetNamed(string) hclog.Logger { return l }
func (l raftLogger) SetLevel(hclog.Level)           {}
func (l raftLogger) GetLevel() hclog.Level          { return hclog.Warn }
func (l raftLogger) StandardLogger(*hclog.StandardLoggerOptions) *log.Logger {
	return slog.NewLogLogger(l.to.Handler(), slog.LevelDebug)
}
func (l raftLogger) StandardWriter(*hclog.StandardLoggerOptions) io.Writer { return io.Discard }
