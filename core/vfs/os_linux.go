package vfs

import (
	"errors"
	"io"
	"io/fs"

	"golang.org/x/sys/unix"
)

// maxVectors is IOV_MAX: how many buffers one pwritev takes.
const maxVectors = 1024

// Sync is fdatasync: the size and content, not the times.
func (f *osFile) Sync() error {
	return f.control("fdatasync", func(fd int) error { return unix.Fdatasync(fd) })
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
