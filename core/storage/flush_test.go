package storage

import (
	"path"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/milldam/milldam/core/record"
	"github.com/milldam/milldam/core/vfs"
)

// begunBytes counts what of segments the system was told to begin to write.
type begunBytes struct {
	vfs.FS
	sum, calls atomic.Int64
}

type begunFile struct {
	vfs.File
	of *begunBytes
}

func (f begunFile) StartSync(off, n int64) error {
	if off != f.of.sum.Load() || off%pageBytes != 0 {
		return vfs.ErrCrashed // a hole, or something twice
	}
	f.of.sum.Add(n)
	f.of.calls.Add(1)
	return f.File.StartSync(off, n)
}

func (b *begunBytes) Create(name string) (vfs.File, error) {
	f, err := b.FS.Create(name)
	if path.Ext(name) == logSuffix {
		f = begunFile{f, b}
	}
	return f, err
}

// TestLargePartsOfSegmentsAreBegunBeforeTheirSync writes more than is worth it, and as much again: all but the end is begun, once and in order.
func TestLargePartsOfSegmentsAreBegunBeforeTheirSync(t *testing.T) {
	fs, known := &begunBytes{FS: vfs.NewMem()}, oneSegment()
	s := open(t, fs, known)
	l := create(t, s, known, topicA, 0)
	b := batchOf(t, record.NewBatchOptions(), 1, strings.Repeat("x", 100<<10))
	for range 3 * startSyncBytes / len(b) {
		mustAppend(t, l, slices.Clone(b))
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if got := fs.sum.Load(); got < 2*startSyncBytes || got > 3*startSyncBytes || fs.calls.Load() > 3 {
		t.Errorf("%d bytes begun in %d calls", got, fs.calls.Load())
	}
}
