package vfs

import (
	"fmt"
	"io/fs"
)

// ErrNotExist is what a missing file is reported with.
var ErrNotExist = fs.ErrNotExist

// LockedError says that another process, or another part of this one, holds a lock.
type LockedError struct {
	Path string
	PID  int // 0: unknown
}

// Error names the file and the holder.
func (e *LockedError) Error() string {
	if e.PID == 0 {
		return fmt.Sprintf("%s is locked by another process", e.Path)
	}
	return fmt.Sprintf("%s is locked by process %d", e.Path, e.PID)
}
