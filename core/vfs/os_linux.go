package vfs

import (
	"errors"
	"io"
	"io/fs"
	"math"
	"syscall"

	"golang.org/x/sys/unix"
)

// maxVectors is IOV_MAX: how many buffers one pwritev takes.
const maxVectors = 1024

// Sync is fdatasync: the size and content, not the times.
func (f *osFile) Sync() error {
	return f.control("fdatasync", func(fd int) error { return unix.Fdatasync(fd) })
}

// StartSync is sync_file_range; a file system without it begins at Sync.
func (f *osFile) StartSync(off, n int64) error {
	err := f.control("sync_file_range", func(fd int) error { return unix.SyncFileRange(fd, off, n, unix.SYNC_FILE_RANGE_WRITE) })
	if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOSYS) || errors.Is(err, unix.ESPIPE) {
		return nil
	}
	return err
}

// WriteVecAt writes with pwritev, going on where the kernel stopped short.
func (f *osFile) WriteVecAt(bufs [][]byte, off int64) (int, error) {
	written := 0
	rest := make([][]byte, 0, min(len(bufs), maxVectors))
	for len(bufs) > 0 {
		rest = append(rest[:0], bufs[:min(len(bufs), maxVectors)]...)
		bufs = bufs[len(rest):]
		for rest = dropEmpty(rest); len(rest) > 0; {
			var n int
			err := f.control("pwritev", func(fd int) (err error) {
				n, err = unix.Pwritev(fd, rest, off+int64(written))
				return err
			})
			if err != nil {
				return written, err
			}
			if n == 0 {
				return written, &fs.PathError{Op: "pwritev", Path: f.Name(), Err: io.ErrShortWrite}
			}
			written += n
			rest = advance(rest, n)
		}
	}
	return written, nil
}

// smallestSend is the shortest range for sendfile: a copy of less costs less than a system call and a packet of its own, and may share those with what comes before and after.
const smallestSend = 32 << 10

// CopyTo uses sendfile where w is a connection and the range is long enough.
func (f *osFile) CopyTo(w io.Writer, off, n int64) (int64, error) {
	c, ok := w.(syscall.Conn)
	if !ok || n < smallestSend {
		return copyRange(w, f, off, n)
	}
	to, err := c.SyscallConn()
	if err != nil {
		return copyRange(w, f, off, n)
	}
	done, err := f.sendTo(to, off, n)
	if done == 0 && (errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOSYS)) { // not from this file system, or not to this kind of connection
		return copyRange(w, f, off, n)
	}
	return done, err
}

// sendTo moves n bytes from off on to a connection.
func (f *osFile) sendTo(to syscall.RawConn, off, n int64) (int64, error) {
	done := int64(0)
	err := f.control("sendfile", func(fd int) error {
		var failed error
		err := to.Write(func(conn uintptr) bool {
			for done < n {
				at := off + done
				sent, err := unix.Sendfile(int(conn), fd, &at, int(min(n-done, math.MaxInt32)))
				done += int64(max(sent, 0))
				switch {
				case errors.Is(err, unix.EINTR):
				case errors.Is(err, unix.EAGAIN):
					return false // the poller calls again when there is room
				case err == nil && sent == 0:
					failed = io.ErrUnexpectedEOF
					return true
				case err != nil:
					failed = err
					return true
				}
			}
			return true
		})
		return errors.Join(failed, err)
	})
	return done, err
}

// control runs a system call on the file's descriptor and keeps the file open meanwhile; an interrupted call is made again.
func (f *osFile) control(op string, call func(fd int) error) error {
	raw, err := f.SyscallConn()
	if err != nil {
		return err
	}
	var failed error
	err = raw.Control(func(fd uintptr) {
		for {
			if failed = call(int(fd)); !errors.Is(failed, unix.EINTR) {
				return
			}
		}
	})
	if err != nil {
		return err
	}
	if failed != nil {
		return &fs.PathError{Op: op, Path: f.Name(), Err: failed}
	}
	return nil
}

func dropEmpty(bufs [][]byte) [][]byte {
	for len(bufs) > 0 && len(bufs[0]) == 0 {
		bufs = bufs[1:]
	}
	return bufs
}

// advance drops the first n bytes of bufs. The slice headers are changed in place, the caller's own list is another.
func advance(bufs [][]byte, n int) [][]byte {
	for n > 0 && n >= len(bufs[0]) {
		n -= len(bufs[0])
		bufs = bufs[1:]
	}
	if n > 0 {
		bufs[0] = bufs[0][n:]
	}
	return dropEmpty(bufs)
}
