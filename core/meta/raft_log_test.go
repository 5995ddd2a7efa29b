package meta

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"path"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/raft"

	"github.com/milldam/milldam/core/vfs"
)

// copyOf is a file system with what a process sees in fs, synced or not: what a kill leaves.
func copyOf(t *testing.T, fs vfs.FS) *vfs.Mem {
	t.Helper()
	out := vfs.NewMem()
	for name, data := range filesOf(t, fs, "meta") {
		must(t, out.MkdirAll(path.Dir(name)))
		must(t, vfs.WriteFileAtomic(out, name, data))
	}
	return out
}

// filesOf are all files at and below dir.
func filesOf(t *testing.T, fs vfs.FS, dir string) map[string][]byte {
	t.Helper()
	names, err := fs.List(dir)
	must(t, err)
	files := map[string][]byte{}
	for _, name := range names {
		name = path.Join(dir, name)
		info, err := fs.Stat(name)
		must(t, err)
		if info.IsDir() {
			for name, data := range filesOf(t, fs, name) {
				files[name] = data
			}
			continue
		}
		files[name], err = vfs.ReadFile(fs, name)
		must(t, err)
	}
	return files
}

// filledLog is a metadata folder with topics, a log of several segments, and the image it holds.
type filledLog struct {
	stopped, killed *vfs.Mem
	segments        []string // files, the one that is written last
	want            string
}

// fillLog makes one. With snapshot the log begins behind a snapshot, and there are entries behind that.
func fillLog(t *testing.T, snapshot bool) filledLog {
	t.Helper()
	fs := vfs.NewMem()
	c, err := Open(t.Context(), Options{FS: fs, Dir: "meta", NodeID: 1, segmentBytes: smallSegments})
	must(t, err)
	must(t, c.RegisterBroker(t.Context(), Broker{ID: 1}))
	if snapshot {
		must(t, c.raft.ReloadConfig(raft.ReloadableConfig{TrailingLogs: 1, SnapshotInterval: snapshotInterval, SnapshotThreshold: snapshotEvery,
			HeartbeatTimeout: electionTimeout, ElectionTimeout: electionTimeout}))
	}
	var f filledLog
	for i := 0; !f.various(t, fs); i++ {
		create(t, c, fmt.Sprint("topic-", i))
		if snapshot && i == 6 {
			must(t, c.raft.Snapshot().Error())
		}
	}
	f.want, f.killed = content(t, c.Image()), copyOf(t, fs)
	must(t, c.Close())
	f.stopped = copyOf(t, fs)
	return f
}

// various tells whether the log has three segments, and the last some writes and room for more.
func (f *filledLog) various(t *testing.T, fs vfs.FS) bool {
	files := filesOf(t, fs, "meta/raft")
	f.segments = slices.DeleteFunc(slices.Sorted(maps.Keys(files)), func(name string) bool { return !isLog(name) })
	if len(f.segments) < 3 {
		return false
	}
	tail := scanSegment(files[f.segments[len(f.segments)-1]], 1, 0)
	return len(tail.batches) > 1 && tail.sealed() == 0
}

// openLogged opens the metadata in fs, and returns what it logged.
func openLogged(t *testing.T, fs vfs.FS) (c *Controller, logged string, err error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	var out bytes.Buffer
	c, err = Open(ctx, Options{FS: fs, Dir: "meta", NodeID: 1, segmentBytes: smallSegments, Logger: slog.New(slog.NewTextHandler(&out, &slog.HandlerOptions{Level: slog.LevelWarn}))})
	return c, out.String(), err
}

// rewrite changes a file; nil removes it.
func rewrite(t *testing.T, fs vfs.FS, name string, change func([]byte) []byte) {
	t.Helper()
	data, err := vfs.ReadFile(fs, name)
	must(t, err)
	if data = change(data); data == nil {
		must(t, fs.Remove(name))
		return
	}
	must(t, vfs.WriteFileAtomic(fs, name, data))
}

func gone([]byte) []byte         { return nil }
func emptied([]byte) []byte      { return []byte{} }
func halved(data []byte) []byte  { return data[:len(data)/2] }
func lastCut(data []byte) []byte { return data[:len(data)-1] }

func bitTurned(at int) func([]byte) []byte {
	return func(data []byte) []byte {
		if at < 0 {
			at += len(data)
		}
		data[at] ^= 1
		return data
	}
}

// TestLogThatLostEntriesDoesNotStart takes from stopped and killed folders what was acknowledged. Nobody starts then, the error names the file and says what to do, and no file is changed.
func TestLogThatLostEntriesDoesNotStart(t *testing.T) {
	whole, trimmed := fillLog(t, false), fillLog(t, true)
	tail := func(f filledLog) string { return f.segments[len(f.segments)-1] }
	for name, x := range map[string]struct {
		of     filledLog
		file   string
		change func([]byte) []byte
		says   string
	}{
		"a segment is missing":            {whole, whole.segments[1], gone, "it is missing: it had the entries"},
		"a segment is empty":              {whole, whole.segments[1], emptied, "a header has 32 bytes"},
		"a segment is cut":                {whole, whole.segments[1], halved, "it is cut: it has"},
		"a segment's header":              {whole, whole.segments[0], bitTurned(9), "header"},
		"a segment's entry":               {whole, whole.segments[1], bitTurned(60), "entry"},
		"an entry's length":               {whole, tail(whole), bitTurned(segmentHeaderBytes + 4), "entry"},
		"the last segment is missing":     {whole, tail(whole), gone, "it is missing, and the log had entries up to"},
		"the last segment is empty":       {whole, tail(whole), emptied, "it is empty, and the log had entries up to"},
		"the last segment is cut":         {whole, tail(whole), lastCut, "can be read up to entry"},
		"the last segment's last bit":     {whole, tail(whole), bitTurned(-1), "the checksum of the entries"},
		"the last segment's first header": {whole, tail(whole), bitTurned(0), "position 0: the header"},
		"a frame that cannot be":          {whole, tail(whole), bitTurned(segmentHeaderBytes), "can be read up to entry"},
		"the state is missing":            {whole, "meta/raft/stable", gone, "so the cluster is not new"},
		"the state is empty":              {whole, "meta/raft/stable", emptied, "checksum"},
		"the state is damaged":            {whole, "meta/raft/stable", bitTurned(40), "checksum"},
		"all segments behind a snapshot":  {trimmed, tail(trimmed), gone, "it is missing"},
		"the state beside a snapshot":     {trimmed, "meta/raft/stable", gone, "so the cluster is not new"},
	} {
		for kind, fs := range map[string]*vfs.Mem{"stopped": x.of.stopped, "killed": x.of.killed} {
			t.Run(name+", "+kind, func(t *testing.T) {
				fs := copyOf(t, fs)
				rewrite(t, fs, x.file, x.change)
				doesNotStart(t, fs, x.file, x.says)
			})
		}
	}
	for name, change := range map[string]func([]byte) []byte{"missing": gone, "damaged": bitTurned(-3), "empty": emptied} {
		t.Run("the snapshot is "+name, func(t *testing.T) {
			fs := copyOf(t, trimmed.stopped)
			names, err := fs.List("meta/snapshots")
			must(t, err)
			file := "meta/snapshots/" + names[0]
			rewrite(t, fs, file, change)
			if name == "missing" {
				file = "meta/snapshots"
			}
			doesNotStart(t, fs, file, "a snapshot of entry")
		})
	}
	t.Run("the folder of the log is missing", func(t *testing.T) {
		fs := copyOf(t, trimmed.stopped)
		must(t, fs.RemoveAll("meta/raft"))
		doesNotStart(t, fs, "meta/raft/stable", "the cluster is not new")
	})
}

// doesNotStart wants a folder not to open, twice, with an error that names file.
func doesNotStart(t *testing.T, fs vfs.FS, file, says string) {
	t.Helper()
	before := filesOf(t, fs, "meta")
	for range 2 {
		_, _, err := openLogged(t, fs)
		if err == nil {
			t.Fatal("it starts")
		}
		if text := err.Error(); !errors.Is(err, ErrDamaged) || !strings.Contains(text, file) || !strings.Contains(text, says) || !strings.Contains(text, "restore the metadata folder") {
			t.Errorf("%v; want %q, %q", err, file, says)
		}
	}
	after := filesOf(t, fs, "meta")
	for name, data := range before {
		if path.Base(name) != endFile && !bytes.Equal(after[name], data) {
			t.Errorf("%s was changed", name)
		}
	}
}

// TestLogThatIsWholeStarts takes what nobody needs: all topics are there, and what is odd is logged.
func TestLogThatIsWholeStarts(t *testing.T) {
	f, snapshot := fillLog(t, false), fillLog(t, true)
	tail := f.segments[len(f.segments)-1]
	torn := func(data []byte) []byte { return append(data, data[segmentHeaderBytes:segmentHeaderBytes+20]...) }
	names, err := snapshot.stopped.List("meta/snapshots")
	must(t, err)
	for name, x := range map[string]struct {
		of     filledLog
		file   string
		change func([]byte) []byte
		logs   string // of the killed folder
	}{
		"as it is":              {f, tail, func(data []byte) []byte { return data }, ""},
		"behind a snapshot":     {snapshot, "meta/snapshots/" + names[0], func(data []byte) []byte { return data }, ""},
		"no mark of the end":    {f, "meta/raft/end", gone, "has no mark of its end"},
		"an empty mark":         {f, "meta/raft/end", emptied, "has no mark of its end"},
		"a damaged mark":        {f, "meta/raft/end", bitTurned(3), "meta/raft/end"},
		"another damaged mark":  {f, "meta/raft/end", bitTurned(-1), "meta/raft/end"},
		"no whole mark":         {f, "meta/raft/end", func(data []byte) []byte { return bitTurned(-1)(bitTurned(0)(data)) }, "meta/raft/end"},
		"a mark of an old kind": {f, "meta/raft/end", func([]byte) []byte { return encodeMark(4) }, ""},
		"a torn write":          {f, tail, torn, "write that a crash tore"},
		"zeros at the end":      {f, tail, func(data []byte) []byte { return append(data, make([]byte, 100)...) }, "write that a crash tore"},
	} {
		for kind, fs := range map[string]*vfs.Mem{"stopped": x.of.stopped, "killed": x.of.killed} {
			t.Run(name+", "+kind, func(t *testing.T) {
				fs := copyOf(t, fs)
				rewrite(t, fs, x.file, x.change)
				starts(t, fs, x.of.want, x.logs)
				starts(t, fs, "", "") // and what was odd is no more
			})
		}
	}
}

// starts wants the folder to open with the image want, and with a warning that has logs; no logs, no warning.
func starts(t *testing.T, fs vfs.FS, want, logs string) {
	t.Helper()
	c, logged, err := openLogged(t, fs)
	must(t, err)
	if got := content(t, c.Image()); want != "" && got != want {
		t.Errorf("it has\n%s\nwant\n%s", got, want)
	}
	if !strings.Contains(logged, logs) || logs == "" && logged != "" {
		t.Errorf("it logs %q, want %q", logged, logs)
	}
	create(t, c, "after-"+fmt.Sprint(c.Image().TopicCount()))
	must(t, c.Close())
}

// TestTornEndOfAKilledLogIsCut kills a node in the middle of a write: its log has any part of it, and the mark does not.
func TestTornEndOfAKilledLogIsCut(t *testing.T) {
	fs := vfs.NewMem()
	c, err := Open(t.Context(), Options{FS: fs, Dir: "meta", NodeID: 1, segmentBytes: smallSegments})
	must(t, err)
	t.Cleanup(func() { c.Close() })
	must(t, c.RegisterBroker(t.Context(), Broker{ID: 1}))
	sealing, rolled := 0, 0
	for i := range 6 {
		before, want := copyOf(t, fs), content(t, c.Image())
		create(t, c, fmt.Sprint("topic-", i))
		after := filesOf(t, fs, "meta/raft")
		for name, old := range filesOf(t, before, "meta/raft") {
			if !isLog(name) || len(after[name]) == len(old) {
				continue
			}
			if s := scanSegment(after[name], 1, 0); s.sealed() > 0 {
				sealing++
			}
			step := 1
			if testing.Short() {
				step = 37
			}
			for cut := len(old); cut <= len(after[name]); cut += step {
				killed := copyOf(t, before)
				rewrite(t, killed, name, func([]byte) []byte { return after[name][:cut] })
				c, _, err := openLogged(t, killed)
				if err != nil {
					t.Fatalf("%s cut at %d of %d: %v", name, cut, len(after[name]), err)
				}
				if got := content(t, c.Image()); cut < len(after[name]) && got != want {
					t.Errorf("cut at %d it has\n%s\nwant\n%s", cut, got, want)
				}
				create(t, c, "after")
				must(t, c.Close())
				if len(filesOf(t, killed, "meta/raft")) > len(after) {
					rolled++
				}
			}
		}
	}
	if sealing == 0 || rolled == 0 {
		t.Errorf("%d writes filled a segment, and %d times a new one was begun after the kill", sealing, rolled)
	}
}

// TestMarkThatCannotBeWrittenStopsNothing fails the writes to the mark: what was acknowledged is there, and the log says what it cannot tell any more.
func TestMarkThatCannotBeWrittenStopsNothing(t *testing.T) {
	mem := vfs.NewMem()
	fs := vfs.Fault(mem)
	c, logged, err := openLogged(t, fs)
	must(t, err)
	if logged != "" {
		t.Error(logged)
	}
	var out bytes.Buffer
	c.log.logger = slog.New(slog.NewTextHandler(&out, nil))
	must(t, c.RegisterBroker(t.Context(), Broker{ID: 1}))
	fs.Add(&vfs.Rule{Ops: []vfs.Op{vfs.OpWrite}, Path: "raft/" + endFile, Err: errors.New("broken")})
	create(t, c, "a")
	create(t, c, "b")
	want := content(t, c.Image())
	must(t, c.Close())
	if text := out.String(); strings.Count(text, "is not marked any more") != 1 || !strings.Contains(text, "raft/"+endFile) {
		t.Errorf("it logs %q", text)
	}
	starts(t, copyOf(t, mem), want, "")
}

// TestWithoutAMarkWhatCanBeReadIsAll is what is left to do where there is no backup: without the mark, the rest of a damaged log is cut.
func TestWithoutAMarkWhatCanBeReadIsAll(t *testing.T) {
	f := fillLog(t, false)
	fs := copyOf(t, f.stopped)
	rewrite(t, fs, f.segments[len(f.segments)-1], lastCut)
	doesNotStart(t, fs, f.segments[len(f.segments)-1], "can be read up to entry")
	rewrite(t, fs, "meta/raft/end", gone)
	c, logged, err := openLogged(t, fs)
	must(t, err)
	if n := c.Image().TopicCount(); n < 3 || !strings.Contains(logged, "has no mark of its end") || !strings.Contains(logged, "is cut") {
		t.Errorf("%d topics, it logs %q", n, logged)
	}
	must(t, c.Close())
	starts(t, fs, "", "")
}
