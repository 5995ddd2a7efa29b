package node

import (
	"syscall"

	"github.com/milldam/milldam/core/broker"
)

// descriptors divides what files a process may have open: a flood of connections must not keep the logs from opening their segments, which would take the node offline.
type descriptors struct {
	files, connections int // 0 is the default of who is limited
}

const (
	// segmentFiles is how many segment files are kept open where there are enough descriptors.
	segmentFiles = 2048
	// otherFiles is for all else: the write-ahead log, metadata, readers of segments that are not kept open, HTTP, connectors.
	otherFiles = 512
)

// divideDescriptors divides by the limit of this process, which Go has raised as far as it may.
func divideDescriptors() descriptors {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return descriptors{}
	}
	return divide(int(min(limit.Cur, 1<<30)))
}

func divide(limit int) descriptors {
	files := min(segmentFiles, max(1, limit/4))
	return descriptors{files: files, connections: min(broker.DefaultMaxConnections, max(1, limit-files-min(otherFiles, limit/4)))}
}
