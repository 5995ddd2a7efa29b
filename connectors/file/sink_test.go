package file

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/milldam/milldam/connect"
	"github.com/milldam/milldam/core/vfs"
)

const outPath = "out/deep/delays.ndjson"

// written is a sink on a file system, and what it acknowledged.
type written struct {
	*Sink
	fs    vfs.FS
	acked map[int32]int64
}

func openSink(t *testing.T, fsys vfs.FS, c SinkConfig) (*written, error) {
	t.Helper()
	w := &written{Sink: newSink(c, fsys), fs: fsys, acked: map[int32]int64{}}
	t.Cleanup(func() {
		if err := w.Close(); err != nil && !errors.Is(err, vfs.ErrCrashed) {
			t.Error(err)
		}
	})
	return w, w.Open(t.Context(), connect.SinkTask{Logger: slog.New(slog.DiscardHandler),
		Ack: func(p connect.TopicPartition, next int64) { w.acked[p.Partition] = next }})
}

func mustOpenSink(t *testing.T, fsys vfs.FS) *written {
	t.Helper()
	w, err := openSink(t, fsys, SinkConfig{Path: outPath, OnTombstone: "ignore"})
	if err != nil {
		t.Fatal(err)
	}
	return w
}

func (w *written) content(t *testing.T) string {
	t.Helper()
	text, err := vfs.ReadFile(w.fs, outPath)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func batchOf(partition int32, first int64, values ...string) connect.SinkBatch {
	b := connect.SinkBatch{TopicPartition: connect.TopicPartition{Topic: "t", Partition: partition}, Next: first + int64(len(values))}
	for i, v := range values {
		b.Records = append(b.Records, connect.Record{Topic: "t", Partition: partition, Offset: first + int64(i), Value: []byte(v)})
	}
	return b
}

func (w *written) mustWrite(t *testing.T, b connect.SinkBatch) {
	t.Helper()
	if err := w.Write(t.Context(), b); err != nil {
		t.Fatal(err)
	}
}

func (w *written) mustFlush(t *testing.T) {
	t.Helper()
	if err := w.Flush(t.Context(), connect.FlushTick); err != nil {
		t.Fatal(err)
	}
}

func TestSinkAppendsLines(t *testing.T) {
	fsys := vfs.NewMem()
	w := mustOpenSink(t, fsys)
	w.mustWrite(t, batchOf(0, 0, `{"a":1}`, "{\n\"b\": [\n2]}", "plain"))
	if len(w.acked) > 0 {
		t.Error("acknowledged before Flush")
	}
	w.mustFlush(t)
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	w = mustOpenSink(t, fsys)
	w.mustWrite(t, batchOf(0, 3, `{"c":3}`))
	w.mustFlush(t)
	if got, want := w.content(t), "{\"a\":1}\n{\"b\":[2]}\nplain\n{\"c\":3}\n"; got != want {
		t.Errorf("file holds %q, want %q", got, want)
	}
	if w.acked[0] != 4 {
		t.Errorf("acknowledged %d", w.acked[0])
	}
}

func TestSinkRecordsThatAreNoLine(t *testing.T) {
	for _, onTombstone := range []string{"ignore", "fail"} {
		w, err := openSink(t, vfs.NewMem(), SinkConfig{Path: outPath, OnTombstone: onTombstone})
		if err != nil {
			t.Fatal(err)
		}
		b := batchOf(0, 0, "1", "no\nJSON", "", "x", "2")
		b.Records[3].Value = nil
		var failed *connect.BatchError
		if err := w.Write(t.Context(), b); !errors.As(err, &failed) {
			t.Fatalf("Write: %v", err)
		}
		var got []string
		for _, f := range failed.Records {
			got = append(got, fmt.Sprint(f.Index, f.Outcome == connect.Poison))
		}
		want := "1 true,2 true"
		if onTombstone == "fail" {
			want += ",3 true"
		}
		if strings.Join(got, ",") != want {
			t.Errorf("%s: failed %v, want %s", onTombstone, got, want)
		}
		w.mustFlush(t)
		if len(w.acked) > 0 || w.content(t) != "1\n2\n" {
			t.Errorf("acknowledged %v of %q", w.acked, w.content(t))
		}
		b.Records = nil
		w.mustWrite(t, b)
		w.mustFlush(t)
		if w.acked[0] != 5 {
			t.Errorf("acknowledged %v", w.acked)
		}
	}
}

func TestSinkEndOfFile(t *testing.T) {
	long := strings.Repeat("x", 40<<10)
	for name, c := range map[string]struct{ before, after string }{
		"half a line":               {"1\n2\n{\"a\":", "1\n2\n"},
		"half a long line":          {"1\n\"" + long, "1\n"},
		"only half a line":          {`{"a":`, ""},
		"JSON that lacks its end":   {"1\n{\"a\":1}", "1\n{\"a\":1}\n"},
		"zeros of a power failure":  {"1\n\x00\x00\x00", "1\n"},
		"whole lines":               {"1\n2\n", "1\n2\n"},
		"long line that is JSON":    {"\"" + long + "\"", "\"" + long + "\"\n"},
		"long lines, last one half": {long + "\n" + long + "\n" + long, long + "\n" + long + "\n"},
	} {
		t.Run(name, func(t *testing.T) {
			fsys := vfs.NewMem()
			if err := fsys.MkdirAll(filepath.Dir(outPath)); err != nil {
				t.Fatal(err)
			}
			if err := vfs.WriteFileAtomic(fsys, outPath, []byte(c.before)); err != nil {
				t.Fatal(err)
			}
			w := mustOpenSink(t, fsys)
			w.mustWrite(t, batchOf(0, 0, "9"))
			w.mustFlush(t)
			if got := w.content(t); got != c.after+"9\n" {
				t.Errorf("file holds %.80q", got)
			}
		})
	}
}

func TestSinkRefusesFilesThatAreNotOfLines(t *testing.T) {
	fsys := vfs.NewMem()
	if err := fsys.MkdirAll(filepath.Dir(outPath)); err != nil {
		t.Fatal(err)
	}
	foreign := strings.Repeat("x", maxCutBytes+2)
	if err := vfs.WriteFileAtomic(fsys, outPath, []byte(foreign)); err != nil {
		t.Fatal(err)
	}
	w, err := openSink(t, fsys, SinkConfig{Path: outPath})
	if !errors.Is(err, connect.ErrPermanent) || w.content(t) != foreign {
		t.Errorf("Open: %v", err)
	}
}

func TestSinkGoesOnAfterFullDisk(t *testing.T) {
	mem := vfs.NewMem()
	w := mustOpenSink(t, mem)
	w.mustWrite(t, batchOf(0, 0, "1"))
	w.mustFlush(t)
	for _, op := range []vfs.Op{vfs.OpWrite, vfs.OpSync} {
		full := &vfs.Rule{Ops: []vfs.Op{op}, Path: filepath.Base(outPath), Err: syscall.ENOSPC, Short: true}
		w.file.fs = vfs.Fault(mem, full)
		if err := w.file.give(); err != nil { // opened again through the faults
			t.Fatal(err)
		}
		w.mustWrite(t, batchOf(0, w.acked[0], "2", "3"))
		before, next := w.content(t), w.acked[0]
		for range 2 {
			err := w.Flush(t.Context(), connect.FlushTick)
			if err == nil || errors.Is(err, connect.ErrPermanent) || !strings.Contains(err.Error(), outPath) || !strings.Contains(err.Error(), "make room") {
				t.Fatalf("Flush: %v", err)
			}
		}
		if w.acked[0] != next {
			t.Errorf("acknowledged %d", w.acked[0])
		}
		w.file.fs.(*vfs.Faulty).Lift(full)
		w.mustFlush(t)
		if got := w.content(t); got != before+"2\n3\n" || w.acked[0] != next+2 || w.Buffered() != 0 {
			t.Errorf("after room was made the file holds %q, acknowledged is %d", got, w.acked[0])
		}
	}
}

// Whatever change to the disk is the last one before a power failure: what was acknowledged is there, followed by whole lines only.
func TestSinkCrashAtEveryChange(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for n := 1; ; n++ {
		mem := vfs.NewMem()
		disk := vfs.Fault(mem, &vfs.Rule{N: n, Crash: true, Short: n%2 == 0})
		w, err := openSink(t, disk, SinkConfig{Path: outPath, OnTombstone: "ignore"})
		for i := int64(0); err == nil && i < 5; i++ {
			if err = w.Write(t.Context(), batchOf(0, 2*i, fmt.Sprintf(`{"n":%d}`, 2*i), fmt.Sprintf(`{"n":%d}`, 2*i+1))); err == nil {
				err = w.Flush(t.Context(), connect.FlushTick)
			}
		}
		if !disk.Crashed() {
			if n < 10 {
				t.Fatalf("only %d changes", n)
			}
			return
		}
		next := w.acked[0]
		again := mustOpenSink(t, mem.CrashClone(rng))
		again.mustWrite(t, batchOf(0, next, `"end"`))
		again.mustFlush(t)
		lines := strings.Split(strings.TrimSuffix(again.content(t), "\n"), "\n")
		for i := range next {
			if int(i) >= len(lines) || lines[i] != fmt.Sprintf(`{"n":%d}`, i) {
				t.Fatalf("crash at change %d: %d acknowledged, the file holds %q", n, next, lines)
			}
		}
		for _, line := range lines[next : len(lines)-1] {
			if !strings.HasPrefix(line, `{"n":`) || !strings.HasSuffix(line, "}") {
				t.Fatalf("crash at change %d: line %q", n, line)
			}
		}
	}
}

func TestSinkFileTouchedByOthers(t *testing.T) {
	for name, c := range map[string]struct {
		touch func(fsys vfs.FS) error
		want  string
	}{
		"removed":        {func(fsys vfs.FS) error { return fsys.Remove(outPath) }, "2\n"},
		"moved":          {func(fsys vfs.FS) error { return fsys.Rename(outPath, outPath+".1") }, "2\n"},
		"folder is gone": {func(fsys vfs.FS) error { return fsys.RemoveAll("out") }, "2\n"},
		"appended to":    {func(fsys vfs.FS) error { return vfs.WriteFileAtomic(fsys, outPath, []byte("1\nx\n")) }, "1\nx\n2\n"},
		"emptied":        {func(fsys vfs.FS) error { return vfs.WriteFileAtomic(fsys, outPath, nil) }, "2\n"},
	} {
		t.Run(name, func(t *testing.T) {
			w := mustOpenSink(t, vfs.NewMem())
			w.mustWrite(t, batchOf(0, 0, "1"))
			w.mustFlush(t)
			if err := c.touch(w.fs); err != nil {
				t.Fatal(err)
			}
			w.mustWrite(t, batchOf(0, 1, "2"))
			w.mustFlush(t)
			if got := w.content(t); got != c.want {
				t.Errorf("file holds %q, want %q", got, c.want)
			}
		})
	}
}

func TestSinkErrorsSayWhatToDo(t *testing.T) {
	for name, c := range map[string]struct {
		err       error
		op        vfs.Op
		permanent bool
		want      string
	}{
		"no permission":    {fs.ErrPermission, vfs.OpCreate, true, "let the user that runs milldam write there"},
		"read only disk":   {syscall.EROFS, vfs.OpCreate, true, "choose another sink.file.path"},
		"a file as folder": {syscall.ENOTDIR, vfs.OpCreate, true, "correct sink.file.path"},
		"disk is full":     {syscall.ENOSPC, vfs.OpCreate, false, "make room there"},
		"broken disk":      {syscall.EIO, vfs.OpCreate, false, "input/output error"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := openSink(t, vfs.Fault(vfs.NewMem(), &vfs.Rule{Ops: []vfs.Op{c.op}, Err: c.err}), SinkConfig{Path: outPath})
			if err == nil || errors.Is(err, connect.ErrPermanent) != c.permanent || !strings.Contains(err.Error(), outPath) || !strings.Contains(err.Error(), c.want) {
				t.Errorf("Open: %v", err)
			}
		})
	}
}

func TestSinkPathIsAFolder(t *testing.T) {
	dir := t.TempDir()
	_, err := openSink(t, vfs.OS(), SinkConfig{Path: dir})
	if !errors.Is(err, connect.ErrPermanent) || !strings.Contains(err.Error(), dir+" is a folder") {
		t.Errorf("Open: %v", err)
	}
}

func TestSinkLocksItsFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.ndjson")
	first, err := openSink(t, vfs.OS(), SinkConfig{Path: path})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := openSink(t, vfs.OS(), SinkConfig{Path: path}); err == nil || errors.Is(err, connect.ErrPermanent) || !strings.Contains(err.Error(), "written by another pipeline") {
		t.Errorf("second Open: %v", err)
	}
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := openSink(t, vfs.OS(), SinkConfig{Path: path}); err != nil {
		t.Errorf("Open after Close: %v", err)
	}
	if _, err := os.Stat(path); err != nil {
		t.Error(err)
	}
}

func TestSinkKeepsFewBytes(t *testing.T) {
	w := mustOpenSink(t, vfs.NewMem())
	value := strings.Repeat("x", bufferBytes/4)
	for i := range int64(20) {
		w.mustWrite(t, batchOf(0, i, value))
		if w.Buffered() > bufferBytes+int64(len(value))+1 {
			t.Fatalf("keeps %d bytes", w.Buffered())
		}
	}
	if w.acked[0] == 0 {
		t.Error("nothing is acknowledged though the buffer was full")
	}
}

func TestSinkAfterClose(t *testing.T) {
	w := mustOpenSink(t, vfs.NewMem())
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if err := w.Write(context.Background(), batchOf(0, 0, "1")); !errors.Is(err, fs.ErrClosed) {
		t.Errorf("Write: %v", err)
	}
}
