package meta

import (
	"fmt"
	"strings"
	"testing"

	"github.com/milldam/milldam/core/vfs"
)

// TestDecayedBitsOfTheLogAreNoOtherTopics turns a bit of the Raft log here and there, of a node that was stopped and of one that was killed. A node that starts all the same has every topic that was
// acknowledged, as it was.
func TestDecayedBitsOfTheLogAreNoOtherTopics(t *testing.T) {
	f := fillLog(t, false)
	for kind, fs := range map[string]*vfs.Mem{"stopped": f.stopped, "killed": f.killed} {
		for i, segment := range f.segments {
			t.Run(fmt.Sprintf("%s, segment %d", kind, i), func(t *testing.T) {
				t.Parallel()
				everyBit(t, fs, segment, f.want)
			})
		}
	}
}

func everyBit(t *testing.T, fs *vfs.Mem, segment, want string) {
	data, err := vfs.ReadFile(fs, segment)
	must(t, err)
	step := 5 // each opens a folder
	if testing.Short() {
		step = 13
	}
	for at := 0; at < len(data); at += step {
		decayed := copyOf(t, fs)
		rewrite(t, decayed, segment, func(data []byte) []byte {
			data[at] ^= 1 << (at % 8)
			return data
		})
		c, _, err := openLogged(t, decayed)
		switch {
		case err != nil && !strings.Contains(err.Error(), segment):
			t.Errorf("byte %d: the error does not say where: %v", at, err)
		case err == nil:
			if got := content(t, c.Image()); got != want {
				t.Errorf("byte %d of %d: it has\n%s\nwant\n%s", at, len(data), got, want)
			}
			must(t, c.Close())
		}
	}
}
