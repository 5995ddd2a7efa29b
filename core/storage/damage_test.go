package storage

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/milldam/milldam/core/record"
	"github.com/milldam/milldam/core/vfs"
)

// twoClosed is a store with partitions a-0 and b-0 of 100 records each in several segments, after a clean stop.
func twoClosed(t *testing.T) (*vfs.Mem, topics, []string) {
	t.Helper()
	known, fs := twoTopics(), vfs.NewMem()
	s := open(t, fs, known)
	for _, id := range []record.TopicID{topicA, topicB} {
		l := create(t, s, known, id, 0)
		for i := range 100 {
			mustAppend(t, l, plain(t, fmt.Sprintf("%d:%0300d", i, i)))
		}
	}
	want := read(t, s.Log(topicB, 0), 0)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	return fs, known, want
}

// alter changes bytes of a file.
func alter(t *testing.T, fs vfs.FS, name string, change func([]byte) []byte) {
	t.Helper()
	data, err := vfs.ReadFile(fs, name)
	if err != nil {
		t.Fatal(err)
	}
	if err := vfs.WriteFileAtomic(fs, name, change(data)); err != nil {
		t.Fatal(err)
	}
}

func allFiles(t *testing.T, fs vfs.FS, dir string) map[string]string {
	t.Helper()
	names, err := fs.List(dir)
	if err != nil {
		t.Fatal(err)
	}
	files := map[string]string{}
	for _, name := range names {
		data, err := vfs.ReadFile(fs, dir+"/"+name)
		if err != nil {
			t.Fatal(err)
		}
		files[name] = string(data)
	}
	return files
}

// TestDamagedPartitionStaysAsItIs opens a store with a damaged partition several times: it is told each time, the others serve, and its files are not touched.
func TestDamagedPartitionStaysAsItIs(t *testing.T) {
	const dir = "data/logs/a-0"
	last := func(fs vfs.FS) string {
		names, err := fs.List(dir)
		if err != nil {
			t.Fatal(err)
		}
		log := ""
		for _, name := range names {
			if strings.HasSuffix(name, logSuffix) {
				log = dir + "/" + name
			}
		}
		return log
	}
	for name, damage := range map[string]func(fs *vfs.Mem){
		"the active segment is too short": func(fs *vfs.Mem) { alter(t, fs, last(fs), func(b []byte) []byte { return b[:10] }) },
		"the active segment is missing": func(fs *vfs.Mem) {
			if err := errors.Join(fs.Remove(last(fs)), fs.SyncDir(dir)); err != nil {
				t.Fatal(err)
			}
		},
		"the directory is missing": func(fs *vfs.Mem) {
			if err := errors.Join(fs.RemoveAll(dir), fs.SyncDir("data/logs")); err != nil {
				t.Fatal(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			fs, known, want := twoClosed(t)
			damage(fs)
			var before map[string]string
			if there, err := vfs.Exists(fs, dir); err != nil {
				t.Fatal(err)
			} else if there {
				before = allFiles(t, fs, dir)
			}
			for life := range 3 {
				s, r := openRecovered(t, fs, known)
				if len(r.Offline) != 1 || !strings.Contains(r.Offline[0].Error(), "a-0: ") {
					t.Fatalf("life %d: recovery: %+v", life, r)
				}
				a, b := s.Log(topicA, 0), s.Log(topicB, 0)
				if _, err := appendSync(a, plain(t, "v")); !errors.Is(err, ErrOffline) || !errors.Is(err, ErrCorrupt) {
					t.Errorf("append to the damaged one: %v", err)
				}
				if got := read(t, b, 0); fmt.Sprint(got[:len(want)]) != fmt.Sprint(want) {
					t.Errorf("the other has %d records, want %d", len(got), len(want))
				}
				for range 100 { // over the write-ahead log's files, so that there are checkpoints
					mustAppend(t, b, plain(t, fmt.Sprintf("%01000d", life)))
				}
				if life == 1 {
					fs = fs.CrashClone(nil)
				} else if err := s.Close(); err != nil {
					t.Fatal(err)
				}
				if before != nil {
					if after := allFiles(t, fs, dir); fmt.Sprint(after) != fmt.Sprint(before) {
						t.Fatalf("life %d: the damaged partition's files changed: %d files, were %d", life, len(after), len(before))
					}
				}
			}
		})
	}
}

func TestDamagedPartitionMetadataIsRebuilt(t *testing.T) {
	fs, known, _ := twoClosed(t)
	alter(t, fs, "data/logs/a-0/partition.metadata", func(b []byte) []byte { return b[:20] })
	s, r := openRecovered(t, fs, known)
	if len(r.Offline)+len(r.Quarantined) > 0 || s.Log(topicA, 0).End() != 100 {
		t.Errorf("recovery: %+v", r)
	}
	if data, err := vfs.ReadFile(fs, "data/logs/a-0/partition.metadata"); err != nil || string(data) != string(encodeMetadata(topicA)) {
		t.Errorf("the file holds %q, %v", data, err)
	}
}

func TestUnfinishedDirectoryIsNoStranger(t *testing.T) {
	known, fs := twoTopics(), vfs.NewMem()
	if err := fs.MkdirAll("data/logs/a-0"); err != nil {
		t.Fatal(err)
	}
	s, r := openRecovered(t, fs, known)
	if len(r.Quarantined) > 0 {
		t.Errorf("quarantined: %v", r.Quarantined)
	}
	mustAppend(t, create(t, s, known, topicA, 0), plain(t, "v"))
}
