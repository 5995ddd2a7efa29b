package vfs

import (
	"bytes"
	"errors"
	"io"
	"net"
	"path"
	"testing"
	"time"
)

// through copies a range of f over a TCP connection and returns what arrived.
func through(t *testing.T, f File, off, n int64) ([]byte, int64, error) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	defer l.Close()
	got := make(chan []byte, 1)
	go func() {
		var b []byte
		if c, err := l.Accept(); err == nil {
			b, _ = io.ReadAll(c) // what came before the error is compared
			c.Close()
		}
		got <- b
	}()
	c, err := net.Dial("tcp", l.Addr().String())
	must(t, err)
	sent, copyErr := f.CopyTo(c, off, n)
	must(t, c.Close())
	return <-got, sent, copyErr
}

func TestCopyTo(t *testing.T) {
	everyFS(t, func(t *testing.T, fs FS, dir string) {
		f, err := fs.Create(path.Join(dir, "f"))
		must(t, err)
		defer f.Close()
		content := make([]byte, 3*copyBytes+5) // more than fits into a connection's buffers
		for i := range content {
			content[i] = byte(i * 7 >> 3)
		}
		_, err = f.WriteAt(content, 0)
		must(t, err)
		for _, tc := range []struct {
			name   string
			off, n int64
			short  bool
		}{
			{"all", 0, int64(len(content)), false},
			{"a part", 12345, 2*copyBytes + 1, false},
			{"a short part", 12345, 4096, false},
			{"nothing", 7, 0, false},
			{"more than there is", int64(len(content)) - 10, 20, true},
			{"more than there is, and long", int64(len(content)) - copyBytes, copyBytes + 10, true},
		} {
			t.Run(tc.name, func(t *testing.T) {
				want := content[tc.off:min(tc.off+tc.n, int64(len(content)))]
				var buf bytes.Buffer
				n, err := f.CopyTo(&buf, tc.off, tc.n)
				if tc.short != errors.Is(err, io.ErrUnexpectedEOF) || !tc.short && (err != nil || n != tc.n || !bytes.Equal(buf.Bytes(), want)) {
					t.Errorf("to a buffer: %d bytes, %v", n, err)
				}
				got, n, err := through(t, f, tc.off, tc.n)
				if tc.short != errors.Is(err, io.ErrUnexpectedEOF) || !tc.short && (err != nil || n != tc.n || !bytes.Equal(got, want)) {
					t.Errorf("over TCP: %d bytes, %v", n, err)
				}
			})
		}
	})
}

// TestCopyToStopsForWhoDoesNotRead has a reader that never reads: the copy ends at the connection's deadline.
func TestCopyToStopsForWhoDoesNotRead(t *testing.T) {
	fs := OS()
	f, err := fs.Create(path.Join(t.TempDir(), "f"))
	must(t, err)
	defer f.Close()
	const size = 64 << 20
	must(t, f.Truncate(size))
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	defer l.Close()
	c, err := net.Dial("tcp", l.Addr().String())
	must(t, err)
	defer c.Close()
	must(t, c.SetWriteDeadline(time.Now().Add(50*time.Millisecond)))
	n, err := f.CopyTo(c, 0, size)
	var timeout net.Error
	if !errors.As(err, &timeout) || !timeout.Timeout() || n >= size {
		t.Errorf("%d bytes, %v", n, err)
	}
}
