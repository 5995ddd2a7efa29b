package file

import (
	"fmt"
	"strings"
	"testing"

	"github.com/milldam/milldam/connect"
	"github.com/milldam/milldam/connect/connecttest"
	"github.com/milldam/milldam/core/vfs"
)

func TestSinkConformance(t *testing.T) {
	connecttest.Sink(t, func(t *testing.T) (connect.Sink, connecttest.Verify) {
		fsys := vfs.NewMem()
		return newSink(SinkConfig{Path: outPath, OnTombstone: "ignore"}, fsys), func(t *testing.T) []string {
			text, err := vfs.ReadFile(fsys.CrashClone(nil), outPath) // only what is synced
			if err != nil {
				t.Error(err)
			}
			return strings.Split(strings.TrimSuffix(string(text), "\n"), "\n")
		}
	})
}

func TestSourceConformance(t *testing.T) {
	const lines = 20
	for name, c := range map[string]struct {
		pattern, fields string
		line            string
	}{
		"NDJSON once":   {"*.log", "read: once", "{\"n\":%d}\n"},
		"CSV once":      {"*.csv", "read: once", "%d,\"a\nb\"\n"},
		"NDJSON tailed": {"*.log", "read: tail", "{\"n\":%d}\n"},
		"CSV tailed":    {"*.csv", "read: tail", "%d,\"a\nb\"\n"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel() // the tailed ones wait
			f := newFolder(t)
			for _, file := range []string{"a", "b"} {
				if strings.HasPrefix(name, "CSV") {
					f.append(file+c.pattern[1:], "n,text\n")
				}
				for i := range lines / 2 {
					f.append(file+c.pattern[1:], fmt.Sprintf(c.line, i))
				}
			}
			connecttest.Source(t, lines, func(t *testing.T) connect.Source {
				s := newSource(sourceConfig(t, "{path: \""+f.path(c.pattern)+"\", "+c.fields+"}"))
				s.limits.chunkBytes, s.limits.batchRecords = 40, 3
				return s
			})
		})
	}
}
