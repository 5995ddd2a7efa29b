package vfs

import (
	"errors"
	"io"
	"sync"
)

// copyBuffers carry ranges of files to where they cannot go by themselves.
var copyBuffers = sync.Pool{New: func() any { b := make([]byte, copyBytes); return &b }}

// copyBytes is a size from which larger ones are no faster.
const copyBytes = 256 << 10

// copyRange writes the n bytes of r from off on to w, through a buffer.
func copyRange(w io.Writer, r io.ReaderAt, off, n int64) (int64, error) {
	buf := copyBuffers.Get().(*[]byte)
	defer copyBuffers.Put(buf)
	for done := int64(0); done < n; {
		part := (*buf)[:min(n-done, copyBytes)]
		if got, err := r.ReadAt(part, off+done); got < len(part) {
			if err == nil || errors.Is(err, io.EOF) {
				err = io.ErrUnexpectedEOF
			}
			return done, err
		}
		written, err := w.Write(part)
		done += int64(written)
		if err != nil {
			return done, err
		}
	}
	return n, nil
}
