package meta

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"log/slog"
	"path"

	"github.com/hashicorp/go-hclog"
	wal "github.com/hashicorp/raft-wal"
	"github.com/hashicorp/raft-wal/segment"

	"github.com/milldam/milldam/core/vfs"
)

// openRaftLog opens raft-wal on our file system.
func openRaftLog(fsys vfs.FS, dir string, segmentBytes int, stable *stableStore, logger raftLogger) (*checkedLog, error) {
	found, err := lookAtLog(fsys, dir)
	if err != nil {
		return nil, err
	}
	if _, err := stable.Load(found.dir); err != nil {
		return nil, err
	}
	if err := found.mend(fsys, stable, logger.to); err != nil {
		return nil, err
	}
	w, err := wal.Open(found.dir, wal.WithSegmentFiler(segment.NewFiler(found.dir, walFiles{fsys})), wal.WithMetaStore(stable),
		wal.WithSegmentSize(segmentBytes), wal.WithLogger(logger))
	if err != nil {
		return nil, fmt.Errorf("open the log in %s: %w", found.dir, err)
	}
	c := &checkedLog{w, found.dir, stable, &endMark{fs: fsys, name: path.Join(found.dir, endFile)}, logger.to}
	_, last := c.bounds()
	switch {
	case found.marks.bad != nil:
		logger.to.Warn("a damaged file of the metadata log is written anew: nothing is missing as far as it can be read", "file", c.end.name, "error", found.marks.bad, "last", last)
	case !found.marks.known && last > 0:
		logger.to.Warn("the metadata log has no mark of its end, as those of older versions have none: it is written, and what can be read is taken for all there was", "file", c.end.name, "last", last)
	}
	if err := c.end.open(last); err != nil {
		return nil, errors.Join(fmt.Errorf("mark the end of the metadata log: %w", err), w.Close())
	}
	return c, nil
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
