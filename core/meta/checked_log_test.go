package meta

import (
	"context"
	"errors"
	"fmt"
	"path"
	"strings"
	"testing"
	"time"

	"github.com/milldam/milldam/core/vfs"
)

// flipped is fs as it is on disk, with one bit of a file turned.
func flipped(t *testing.T, fs *vfs.Mem, name string, at int64) *vfs.Mem {
	t.Helper()
	out := fs.CrashClone(nil)
	f, err := out.OpenReadWrite(name)
	must(t, err)
	b := make([]byte, 1)
	_, err = f.ReadAt(b, at)
	must(t, err)
	b[0] ^= 1 << (at % 8)
	_, err = f.WriteAt(b, at)
	must(t, err)
	must(t, errors.Join(f.Sync(), f.Close()))
	return out
}

// TestDecayedBitsOfTheLogAreNoOtherTopics turns a bit of the Raft log here and there. A node that starts all the same has every topic that was acknowledged, as it
// was, but for the last: where the end of the log is damaged nobody can tell that from a write that a crash tore.
func TestDecayedBitsOfTheLogAreNoOtherTopics(t *testing.T) {
	const topics = 5
	fs := vfs.NewMem()
	open := func(fs vfs.FS) (*Controller, error) {
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		defer cancel()
		return Open(ctx, Options{FS: fs, Dir: "meta", NodeID: 1})
	}
	c, err := open(fs)
	must(t, err)
	must(t, c.RegisterBroker(t.Context(), Broker{ID: 1}))
	ids := map[string]string{}
	for i := range topics {
		made, err := c.CreateTopic(t.Context(), NewTopic{Name: fmt.Sprint("topic-", i), Partitions: 1, Replicas: 1}, false)
		must(t, err)
		ids[made.Name] = idText(made.ID)
	}
	must(t, c.Close())
	names, err := fs.List("meta/raft")
	must(t, err)
	var segment string
	for _, name := range names {
		if path.Ext(name) == ".wal" {
			segment = path.Join("meta/raft", name)
		}
	}
	data, err := vfs.ReadFile(fs, segment)
	must(t, err)
	end := int64(len(strings.TrimRight(string(data), "\x00")))
	if end < 1000 {
		t.Fatalf("%s has %d bytes", segment, end)
	}
	step := int64(1)
	if testing.Short() {
		step = 13
	}
	for at := int64(0); at < end; at += step {
		c, err := open(flipped(t, fs, segment, at))
		if err != nil {
			if !strings.Contains(err.Error(), "meta") {
				t.Errorf("byte %d: the error does not say where: %v", at, err)
			}
			continue
		}
		for i := range topics {
			name := fmt.Sprint("topic-", i)
			switch made := c.Image().Topic(name); {
			case made == nil && i < topics-1:
				t.Errorf("byte %d of %d: %s is gone without a word", at, end, name)
			case made != nil && idText(made.ID) != ids[name]:
				t.Errorf("byte %d: %s has another id", at, name)
			}
		}
		for made := range c.Image().Topics() {
			if ids[made.Name] == "" {
				t.Errorf("byte %d: nobody made %s", at, made.Name)
			}
		}
		must(t, c.Close())
	}
}
