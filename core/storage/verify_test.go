package storage

import (
	"errors"
	"path"
	"slices"
	"strings"
	"testing"

	"github.com/milldam/milldam/core/vfs"
)

func TestVerifyFileNamesTheFirstDamage(t *testing.T) {
	from, known, _ := filledStore(t)
	for _, name := range []string{"data/logs/a-0/00000000000000000000.log", "data/logs/a-0/00000000000000000028.snapshot", "data/checkpoint"} {
		if r, err := VerifyFile(from, name, nil); err != nil || r.Damage != "" || r.End == 0 {
			t.Errorf("%s: %+v, %v", name, r, err)
		}
		fs := from.CrashClone(nil)
		alter(t, fs, name, func(b []byte) []byte { b[len(b)/2] ^= 1; return b })
		if r, err := VerifyFile(fs, name, nil); err != nil || r.Damage == "" {
			t.Errorf("%s, damaged: %+v, %v", name, r, err)
		}
	}
	s := open(t, from, known)
	for range 5 {
		mustAppend(t, s.Log(topicA, 0), plain(t, "v"))
	}
	name := "data/wal/" + s.wal.active.name
	fs := from.CrashClone(nil)
	if r, err := VerifyFile(fs, name, nil); err != nil || r.Damage != "" || r.Batches != 5 {
		t.Errorf("%+v, %v", r, err)
	}
	alter(t, fs, name, func(b []byte) []byte { b[walHeaderBytes+walHeadBytes+30] ^= 1; return b })
	if r, err := VerifyFile(fs, name, nil); err != nil || !strings.Contains(r.Damage, "from byte 512") || r.Batches != 4 {
		t.Errorf("damaged: %+v, %v", r, err)
	}
	if _, err := VerifyFile(vfs.NewMem(), "data/nothing.log", nil); err == nil {
		t.Error("a missing file is taken")
	}
}

// allWhole checks every file at and below dir that VerifyFile knows. Of a store that was killed a segment may be torn behind the checkpoint.
func allWhole(t testing.TB, fsys vfs.FS, dir string, except ...FileKind) {
	t.Helper()
	names, err := fsys.List(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		name = path.Join(dir, name)
		if info, err := fsys.Stat(name); err != nil {
			t.Fatal(err)
		} else if info.IsDir() {
			if path.Base(name) != quarantineDir { // there lies what a crash left of no topic
				allWhole(t, fsys, name, except...)
			}
		} else if kind := KindOf(name); kind != "" && !slices.Contains(except, kind) {
			if r, err := VerifyFile(fsys, name, nil); err != nil || r.Damage != "" && !(r.Kind == SegmentFile && unsettled(fsys, name)) {
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
