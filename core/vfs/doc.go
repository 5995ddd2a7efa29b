// Package vfs is the file-system seam: everything in Milldam that touches a disk goes through FS, so that tests can crash, fill
// and break the disk under any part of it.
//
// There are three implementations. OS is the operating system's files. Mem keeps files in memory and knows which bytes and which
// names have been synced: CrashClone returns what a power failure would leave. Fault wraps either and fails, cuts short, delays or ends
// the world at a chosen operation.
//
// Every FS and File is safe for concurrent use.
//
// Files: vfs.go the interfaces; helpers.go reading and replacing whole files; os.go and os_linux.go the operating system; lock.go
// the lock file's error; mem.go and mem_crash.go memory; fault.go faults.
package vfs
