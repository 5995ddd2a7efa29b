//go:build !linux

package vfs

import "io"

// WriteVecAt writes the buffers one by one.
func (f *osFile) WriteVecAt(bufs [][]byte, off int64) (int, error) {
	written := 0
	for _, b := range bufs {
		n, err := f.WriteAt(b, off+int64(written))
		written += n
		if err != nil {
			return written, err
		}
	}
	return written, nil
}

// StartSync does nothing: all is written at Sync.
func (f *osFile) StartSync(off, n int64) error { return nil }

// CopyTo copies through a buffer.
func (f *osFile) CopyTo(w io.Writer, off, n int64) (int64, error) { return copyRange(w, f, off, n) }
