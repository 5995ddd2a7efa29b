package broker

import (
	"log/slog"
	"strconv"
	"strings"

	"github.com/milldam/milldam/core/meta"
)

// rootLogger is the one logger there is; Kafka has one per class.
const rootLogger = "root"

// logLevels are the levels by Kafka's names, from the one that says most on.
var logLevels = []struct {
	name  string
	level slog.Level
}{{"TRACE", slog.LevelDebug - 4}, {"DEBUG", slog.LevelDebug}, {"INFO", slog.LevelInfo}, {"WARN", slog.LevelWarn}, {"ERROR", slog.LevelError}, {"FATAL", slog.LevelError + 4}}

// loggers describes the levels of this process's loggers. They are not kept: a restart has those of the configuration.
func (s *Server) loggers() []meta.ConfigEntry {
	name := logLevels[0].name
	for _, l := range logLevels {
		if s.opts.LogLevel.Level() >= l.level {
			name = l.name
		}
	}
	return []meta.ConfigEntry{{Key: rootLogger, Value: name, Source: meta.SourceLogger}}
}

// alterLoggers sets levels, all or none.
func (s *Server) alterLoggers(node string, ops []meta.ConfigOp, dryRun bool) error {
	id, err := strconv.ParseInt(node, 10, 32)
	if err != nil {
		return wrapped{meta.ErrInvalidRequest, "Node id must be an integer, but it is: " + node}
	}
	if int32(id) != s.opts.NodeID {
		return wrapped{meta.ErrInvalidRequest, "Unexpected node id. Expected " + strconv.Itoa(int(s.opts.NodeID)) + ", but received " + node}
	}
	level := s.opts.LogLevel.Level()
	for _, op := range ops {
		switch {
		case op.Op == meta.OpAppend || op.Op == meta.OpSubtract:
			return wrapped{meta.ErrInvalidRequest, "a log level can only be set or removed"}
		case op.Key != rootLogger:
			return wrapped{meta.ErrInvalidConfig, "Logger " + op.Key + " does not exist!"}
		case op.Op != meta.OpSet:
			return wrapped{meta.ErrInvalidRequest, "Removing the log level of the root logger is not allowed"}
		}
		var ok bool
		if level, ok = levelNamed(op.Value); !ok {
			return wrapped{meta.ErrInvalidConfig, "Cannot set the log level of " + op.Key + " to " + op.Value + " as it is not a supported log level. Valid log levels are DEBUG, ERROR, FATAL, INFO, TRACE, WARN"}
		}
	}
	if !dryRun {
		s.opts.LogLevel.Set(level)
	}
	return nil
}

func levelNamed(name string) (slog.Level, bool) {
	for _, l := range logLevels {
		if strings.EqualFold(l.name, name) {
			return l.level, true
		}
	}
	return 0, false
}
