package storage

import (
	"errors"
	"path"
	"slices"
	"strings"
	"testing"

	"github.com/milldam/milldam/core/record"
	"github.com/milldam/milldam/core/vfs"
)

// verifyFile checks one file.
func verifyFile(fsys vfs.FS, name string) (FileReport, error) {
	return NewVerifier(fsys, nil).File(name, nil)
}

func TestVerifyFileNamesTheFirstDamage(t *testing.T) {
	from, known, _ := filledStore(t)
	for _, name := range []string{"data/logs/a-0/00000000000000000000.log", "data/logs/a-0/00000000000000000028.snapshot", "data/checkpoint"} {
		if r, err := verifyFile(from, name); err != nil || r.Damage != "" || r.End == 0 {
			t.Errorf("%s: %+v, %v", name, r, err)
		}
		fs := from.CrashClone(nil)
		alter(t, fs, name, func(b []byte) []byte { b[len(b)/2] ^= 1; return b })
		if r, err := verifyFile(fs, name); err != nil || r.Damage == "" {
			t.Errorf("%s, damaged: %+v, %v", name, r, err)
		}
	}
	s := open(t, from, known)
	for range 5 {
		mustAppend(t, s.Log(topicA, 0), plain(t, "v"))
	}
	name := "data/wal/" + s.wal.active.name
	fs := from.CrashClone(nil)
	if r, err := verifyFile(fs, name); err != nil || r.Damage != "" || r.Batches != 5 {
		t.Errorf("%+v, %v", r, err)
	}
	alter(t, fs, name, func(b []byte) []byte { b[walHeaderBytes+walHeadBytes+30] ^= 1; return b })
	if r, err := verifyFile(fs, name); err != nil || !strings.Contains(r.Damage, "from byte 512") || r.Batches != 4 {
		t.Errorf("damaged: %+v, %v", r, err)
	}
	if _, err := verifyFile(vfs.NewMem(), "data/nothing.log"); err == nil {
		t.Error("a missing file is taken")
	}
}

// allWhole checks every file at and below dir that a Verifier knows, and that none is missing. Of a store that was killed a segment may be torn behind the checkpoint.
func allWhole(t testing.TB, fsys vfs.FS, dir string, except ...FileKind) {
	t.Helper()
	names, err := fsys.List(dir)
	if err != nil {
		t.Fatal(err)
	}
	v := NewVerifier(fsys, nil)
	defer func() {
		if missing, err := v.Missing(dir); err != nil || len(missing) > 0 {
			t.Errorf("%s: %+v, %v", dir, missing, err)
		}
	}()
	for _, name := range names {
		name = path.Join(dir, name)
		if info, err := fsys.Stat(name); err != nil {
			t.Fatal(err)
		} else if info.IsDir() {
			if path.Base(name) != quarantineDir { // there lies what a crash left of no topic
				allWhole(t, fsys, name, except...)
			}
		} else if kind := KindOf(name); kind != "" && !slices.Contains(except, kind) {
			if r, err := v.File(name, nil); err != nil || r.Damage != "" && !(r.Kind == SegmentFile && v.open(path.Dir(name)).unsettled(name)) {
				t.Errorf("%s: %s, %v", name, r.Damage, err)
			}
		}
	}
}

// TestVerifyHoldsTheIndexOfACompactedLogAgainstIt changes what a transaction index says of a log where batches and markers are missing.
func TestVerifyHoldsTheIndexOfACompactedLogAgainstIt(t *testing.T) {
	log := rebuiltTxns{compacted: true, markers: []abortMarker{
		{producer: 1, at: 10, data: noOffset, before: noOffset}, // nothing is left of its transaction
		{producer: 2, at: 20, data: 14, before: 11},
		{producer: 1, at: 30, data: 25, before: 10},
	}}
	second, third := AbortedTxn{2, 13, 20, 21}, AbortedTxn{1, 25, 30, 31}
	for name, x := range map[string]struct {
		list []AbortedTxn
		says string
	}{
		"as it is":                    {[]AbortedTxn{second, third}, ""},
		"with what is gone":           {[]AbortedTxn{{1, 2, 10, 11}, second, third}, ""},
		"one is missing":              {[]AbortedTxn{third}, "producer 2 that was aborted at offset 20 is missing"},
		"the last is missing":         {[]AbortedTxn{second}, "producer 1 that was aborted at offset 30 is missing"},
		"another producer":            {[]AbortedTxn{{3, 13, 20, 21}, third}, "no such marker"},
		"another marker":              {[]AbortedTxn{{2, 13, 21, 21}, third}, "producer 2 that was aborted at offset 20 is missing"},
		"it leaves a record out":      {[]AbortedTxn{{2, 15, 20, 21}, third}, "records of it from offset 14 on"},
		"it takes one of another":     {[]AbortedTxn{{2, 11, 20, 21}, third}, "marker in front at 11"},
		"stable behind what is known": {[]AbortedTxn{{2, 13, 20, 22}, third}, "last stable offset 22"},
	} {
		t.Run(name, func(t *testing.T) {
			err := log.verifyCompacted(x.list)
			if (err == nil) != (x.says == "") || err != nil && (!strings.Contains(err.Error(), x.says) || !errors.Is(err, ErrBadEntries)) {
				t.Errorf("%v, want %q", err, x.says)
			}
		})
	}
}

// TestVerifyTellsWhatIsMissing removes folders and segments of a store that was stopped, and of one that was killed after it wrote more.
func TestVerifyTellsWhatIsMissing(t *testing.T) {
	stopped, known, _ := filledStore(t)
	names := map[record.TopicID]string{topicA: "a", topicB: "b"}
	s := open(t, stopped.CrashClone(nil), known)
	mustAppend(t, s.Log(topicA, 0), idempotent(t, 5, 0, 30, "more"))
	killed := s.opts.FS.(*vfs.Mem).CrashClone(nil)
	const dir = "data/logs/a-0/"
	first, middle, last := offsetName(0)+".log", offsetName(14)+".log", offsetName(28)+".log"
	for name, x := range map[string]struct {
		remove, asked, file, says string
		topics                    map[record.TopicID]string
		both                      bool // of the killed store too
	}{
		"nothing":                       {"", "data/logs/a-0", "", "", names, true},
		"the active segment":            {dir + last, "data/logs/a-0", dir + last, "bytes of it were synced, up to offset 29", names, true},
		"the first segment":             {dir + first, "data/logs/a-0", dir + first, "the log begins at offset 0, and its first segment at 14", names, false},
		"a segment between":             {dir + middle, "data/logs/a-0", dir + middle, "the segment in front ends at offset 13, and the one behind begins at 28", names, false},
		"a folder":                      {"data/logs/b-0", "data/logs", "data/logs/b-0", "it had records up to offset 0", names, true},
		"all folders":                   {"data/logs", "data", "data/logs/a-0", "it had records up to offset 29", names, true},
		"a folder of a topic that went": {"data/logs/b-0", "data/logs", "", "", map[record.TopicID]string{topicA: "a"}, true},
		"a folder, without metadata":    {"data/logs/b-0", "data/logs", "", "", nil, true},
		"the checkpoint":                {"data/checkpoint", "data/logs/a-0", "", "", names, true},
	} {
		for kind, from := range map[string]*vfs.Mem{"stopped": stopped, "killed": killed} {
			t.Run(name+", "+kind, func(t *testing.T) {
				fs := from.CrashClone(nil)
				if x.remove != "" {
					if err := fs.RemoveAll(x.remove); err != nil {
						t.Fatal(err)
					}
				}
				v := NewVerifier(fs, func(string) map[record.TopicID]string { return x.topics })
				files, _ := fs.List("data/logs/a-0")
				for _, name := range files {
					if _, err := v.File(path.Join("data/logs/a-0", name), nil); KindOf(name) != "" && err != nil {
						t.Error(err)
					}
				}
				missing, err := v.Missing(x.asked)
				if x.file == "" || kind == "killed" && !x.both {
					if err != nil || len(missing) > 0 {
						t.Errorf("%+v, %v", missing, err)
					}
					return
				}
				if err != nil || len(missing) == 0 || missing[0].File != x.file || !strings.Contains(missing[0].Damage, x.says) || missing[0].Next == "" {
					t.Errorf("%+v, %v", missing, err)
				}
			})
		}
	}
}
