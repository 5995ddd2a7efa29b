package vfs

import (
	"io"
	"io/fs"
)

// FS is the file system everything in Milldam that touches a disk goes through. All methods are safe for concurrent use.
// Names are slash-separated paths. A missing file is reported as an error that satisfies errors.Is(err, fs.ErrNotExist).
//
// Durability is POSIX's: the bytes of a file survive a crash once its Sync returned nil, and its name (creation, rename,
// removal) once SyncDir of its parent returned nil.
type FS interface {
	// Create makes name, or empties it when it exists, open for reading and writing.
	Create(name string) (File, error)
	// Open opens an existing file for reading.
	Open(name string) (File, error)
	// OpenReadWrite opens an existing file for reading and writing; its content is kept.
	OpenReadWrite(name string) (File, error)
	// Remove removes a file or an empty directory.
	Remove(name string) error
	// RemoveAll removes name with everything below it; a missing name is no error.
	RemoveAll(name string) error
	// Rename moves oldname to newname and replaces what stood there.
	Rename(oldname, newname string) error
	// MkdirAll makes dir and its missing parents.
	MkdirAll(dir string) error
	// List returns the names in dir, sorted.
	List(dir string) ([]string, error)
	// Stat describes name.
	Stat(name string) (fs.FileInfo, error)
	// SyncDir makes the entries of dir durable.
	SyncDir(dir string) error
	// Lock takes the exclusive lock on name, which it makes and fills with the holder's process id. When another
	// holder has it the error is a *LockedError. Closing the result gives it up.
	Lock(name string) (io.Closer, error)
	// Usage returns the size and the free bytes of the file system that holds dir.
	Usage(dir string) (total, free uint64, err error)
}

// File is one open file. ReadAt and WriteAt may run concurrently on ranges that do not overlap.
type File interface {
	io.ReaderAt
	io.WriterAt
	io.Closer
	// WriteVecAt writes bufs one behind the other from off on, in as few system calls as the system allows. It does not keep
	// or change bufs. It returns the bytes written; fewer than all come with an error.
	WriteVecAt(bufs [][]byte, off int64) (int, error)
	// CopyTo writes the n bytes from off on to w; fewer come with an error. Where w is a syscall.Conn, as TCP connections are, and the system can, a
	// long range goes from the file to the connection without passing through the process.
	CopyTo(w io.Writer, off, n int64) (int64, error)
	// Size returns the length in bytes.
	Size() (int64, error)
	// Truncate sets the length in bytes.
	Truncate(size int64) error
	// StartSync has the system begin to write n bytes from off on to the disk, where it can, and waits for nothing: a Sync that comes later has less to do. It makes
	// nothing durable.
	StartSync(off, n int64) error
	// Sync makes the content durable (fdatasync where the system has it). After an error the content is unknown: the caller
	// stops using the file and never retries.
	Sync() error
}
