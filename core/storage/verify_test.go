package storage

import (
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
