package file

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/milldam/milldam/connect"
	"github.com/milldam/milldam/core/config"
)

// folder is a folder of files to read.
type folder struct {
	t   *testing.T
	dir string
	log bytes.Buffer
}

func newFolder(t *testing.T) *folder { return &folder{t: t, dir: t.TempDir()} }

func (f *folder) path(name string) string { return filepath.Join(f.dir, name) }

func (f *folder) write(name, text string) {
	f.t.Helper()
	if err := os.WriteFile(f.path(name), []byte(text), 0o644); err != nil {
		f.t.Fatal(err)
	}
}

func (f *folder) append(name, text string) {
	f.t.Helper()
	file, err := os.OpenFile(f.path(name), os.O_APPEND|os.O_WRONLY|os.O_CREATE, 0o644)
	if err != nil {
		f.t.Fatal(err)
	}
	if _, err := file.WriteString(text); err != nil {
		f.t.Fatal(err)
	}
	if err := file.Close(); err != nil {
		f.t.Fatal(err)
	}
}

func (f *folder) rename(from, to string) {
	f.t.Helper()
	if err := os.Rename(f.path(from), f.path(to)); err != nil {
		f.t.Fatal(err)
	}
}

func sourceConfig(t testing.TB, yaml string) SourceConfig {
	t.Helper()
	var c SourceConfig
	if errs := config.Load("source.yaml", []byte(yaml), &c, config.Options{}); len(errs) > 0 {
		t.Fatal(errs.Render())
	}
	return c
}

// open opens a source whose batches are small; fields are those behind path.
func (f *folder) open(pattern, fields string, positions map[string][]byte) (*Source, error) {
	f.t.Helper()
	s := newSource(sourceConfig(f.t, "{path: \""+f.path(pattern)+"\", "+fields+"}"))
	s.limits.chunkBytes, s.limits.batchRecords = 40, 3
	f.t.Cleanup(func() {
		if err := s.Close(); err != nil {
			f.t.Error(err)
		}
	})
	task := connect.SourceTask{Pipeline: "test", Logger: slog.New(slog.NewTextHandler(&f.log, nil)), Positions: positions}
	return s, s.Open(f.t.Context(), task)
}

// rest reads what there is and returns the values, and the positions behind them.
func (f *folder) rest(s *Source, from map[string][]byte) (values []string, positions map[string][]byte, err error) {
	positions = maps.Clone(from)
	if positions == nil {
		positions = map[string][]byte{}
	}
	for {
		ctx, cancel := context.WithTimeout(f.t.Context(), 2*pollInterval)
		b, err := s.Read(ctx)
		cancel()
		if err != nil {
			return values, positions, err
		}
		positions[b.Partition] = b.Position
		for _, r := range b.Records {
			values = append(values, string(r.Value))
		}
	}
}

// wants reads what there is and compares it.
func (f *folder) wants(s *Source, end error, want ...string) map[string][]byte {
	f.t.Helper()
	got, positions, err := f.rest(s, nil)
	if !errors.Is(err, end) {
		f.t.Errorf("ended with %v, want %v", err, end)
	}
	if !slices.Equal(got, want) {
		f.t.Errorf("got %q, want %q", got, want)
	}
	return positions
}

func TestReadOnce(t *testing.T) {
	for name, c := range map[string]struct {
		file, text, fields string
		want               []string
	}{
		"lines":                   {"a.ndjson", "{\"a\":1}\n{\"a\":2}\n", "read: once", []string{`{"a":1}`, `{"a":2}`}},
		"last line has no end":    {"a.log", "1\n2", "format: ndjson", []string{"1", "2"}},
		"empty lines and CRLF":    {"a.log", "\n1\r\n  \n\r\n2\n\n", "read: once", []string{"1", "2"}},
		"no JSON is a value too":  {"a.log", "{\"a\":\nnull\n", "read: once", []string{`{"a":`, "null"}},
		"byte order mark":         {"a.log", "\xef\xbb\xbf1\n2\n", "read: once", []string{"1", "2"}},
		"empty file":              {"a.log", "", "read: once", nil},
		"line longer than chunks": {"a.log", strings.Repeat("x", 1000) + "\n1\n", "read: once", []string{strings.Repeat("x", 1000), "1"}},
		"rows":                    {"a.csv", "b,a\n1,2\n3,\n", "read: once", []string{`{"b":"1","a":"2"}`, `{"b":"3","a":""}`}},
		"quotes": {"a.csv", "a,\"b,\"\"c\"\n\"x\ny\",\"\"\"\"\n\"\r\n,\",\"q\"\r\n", "read: once",
			[]string{`{"a":"x\ny","b,\"c":"\""}`, `{"a":"\n,","b,\"c":"q"}`}},
		"rows, no last line end":       {"a.txt", "\xef\xbb\xbfa\n1\n\n\"2\"", "format: csv", []string{`{"a":"1"}`, `{"a":"2"}`}},
		"header only":                  {"a.csv", "a,b", "read: once", nil},
		"text that is no UTF-8":        {"a.csv", "a\n\xff\n", "read: once", []string{`{"a":"\ufffd"}`}},
		"CSV by name, told otherwise":  {"a.csv", "a,b\n", "format: ndjson", []string{"a,b"}},
		"row longer than chunks":       {"a.csv", "a\n\"" + strings.Repeat("y\n", 100) + "\"\n", "read: once", []string{`{"a":"` + strings.Repeat(`y\n`, 100) + `"}`}},
		"more rows than a batch holds": {"a.csv", "a\n" + strings.Repeat("1\n", 10), "read: once", slices.Repeat([]string{`{"a":"1"}`}, 10)},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFolder(t)
			f.write(c.file, c.text)
			s, err := f.open(c.file, c.fields, nil)
			if err != nil {
				t.Fatal(err)
			}
			positions := f.wants(s, io.EOF, c.want...)
			again, err := f.open(c.file, c.fields, positions)
			if err != nil {
				t.Fatal(err)
			}
			f.wants(again, io.EOF)
		})
	}
}

func TestBadInputNamesTheLine(t *testing.T) {
	for name, c := range map[string]struct {
		file, text string
		before     int // records
		want       string
	}{
		"fields missing":     {"a.csv", "a,b\n1,2\n\"3\n\",4\n5\n", 2, `a.csv:5: the row has 1 fields, the header 2; mend it`},
		"quote in a field":   {"a.csv", "a,b\n1,2\n3,x\"y\n5,6\n", 1, `a.csv:3: bare " in non-quoted-field`},
		"quote not ended":    {"a.csv", "a,b\n1,2\n3,\"" + strings.Repeat("z\n", 100), 1, `a.csv:3: the row is longer than 100 bytes; raise source.file.max_line, or close the quote`},
		"open to the end":    {"a.csv", "a,b\n1,2\n3,\"y\n", 1, `a.csv:3: extraneous or missing " in quoted-field`},
		"column twice":       {"a.csv", "a,a\n", 0, `a.csv:1: the header names column "a" twice`},
		"column has no name": {"a.csv", "a,\n", 0, `a.csv:1: column 2 of the header has no name`},
		"line too long":      {"a.log", "1\n2\n" + strings.Repeat("x", 150), 2, `a.log:3: the line is longer than 100 bytes; raise source.file.max_line`},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFolder(t)
			f.write(c.file, c.text)
			s, err := f.open(c.file, "max_line: 100B", nil)
			if err != nil {
				t.Fatal(err)
			}
			got, positions, err := f.rest(s, nil)
			if !errors.Is(err, connect.ErrPermanent) || !strings.Contains(err.Error(), f.path(c.want)) || len(got) != c.before {
				t.Errorf("%d records, then %v; want %d, then %s", len(got), err, c.before, c.want)
			}
			again, err := f.open(c.file, "max_line: 100B", positions)
			if err != nil {
				t.Fatal(err)
			}
			if _, _, err := f.rest(again, nil); err == nil || !strings.Contains(err.Error(), f.path(c.want)) {
				t.Errorf("started again: %v", err)
			}
		})
	}
}

func TestFilesThatCannotBeOpened(t *testing.T) {
	for name, c := range map[string]struct {
		make    func(*folder)
		pattern string
		want    string
	}{
		"missing":          {func(*folder) {}, "a.csv", "a.csv; correct source.file.path, or wait for it with source.file.read: tail"},
		"pattern for none": {func(*folder) {}, "*.csv", "wait for it with source.file.read: tail"},
		"folder":           {func(f *folder) { f.write("b", "") }, ".", "is a folder; name the files in it in source.file.path"},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFolder(t)
			c.make(f)
			_, err := f.open(c.pattern, "read: once", nil)
			if !errors.Is(err, connect.ErrPermanent) || !strings.Contains(err.Error(), f.dir) || !strings.Contains(err.Error(), c.want) {
				t.Errorf("Open: %v", err)
			}
		})
	}
}

func TestPermissionSaysWhatToDo(t *testing.T) {
	err := explainOpen("/x/a.log", &os.PathError{Op: "open", Path: "/x/a.log", Err: os.ErrPermission})
	if !errors.Is(err, connect.ErrPermanent) || err.Error() != "open /x/a.log: permission denied; let the user that runs milldam read it, or correct source.file.path" {
		t.Error(err)
	}
}

func TestRelativePathsAreStoredAbsolute(t *testing.T) {
	f := newFolder(t)
	t.Chdir(f.dir)
	f.write("a.log", "1\n")
	for _, pattern := range []string{"a.log", "./*.log"} {
		s := newSource(sourceConfig(t, "path: "+pattern))
		if err := s.Open(t.Context(), connect.SourceTask{}); err != nil {
			t.Fatal(err)
		}
		b, err := s.Read(t.Context())
		if err != nil || b.Partition != f.path("a.log") {
			t.Errorf("%s: partition %q, %v", pattern, b.Partition, err)
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}
}

func TestSeveralFilesAndProgress(t *testing.T) {
	f := newFolder(t)
	f.write("b.log", "3\n4\n5\n6\n")
	f.write("a.log", "1\n2\n")
	f.write("a.csv", "x\n0\n")
	if err := os.Mkdir(f.path("c.log"), 0o755); err != nil {
		t.Fatal(err)
	}
	s := newSource(sourceConfig(t, "path: ["+f.path("a.csv")+", "+f.path("*.log")+", "+f.path("b.log")+"]"))
	defer s.Close()
	s.limits.batchRecords = 3
	if err := s.Open(t.Context(), connect.SourceTask{}); err != nil {
		t.Fatal(err)
	}
	var got []string
	for {
		b, err := s.Read(t.Context())
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, strings.TrimPrefix(b.Partition, f.dir)+strings.Repeat("+", len(b.Records)), string(rune('0'+b.Done/2))+"/"+string(rune('0'+b.Total/2)))
	}
	if want := []string{"/a.csv+", "2/8", "/a.log++", "4/8", "/b.log+++", "7/8", "/b.log+", "8/8"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestChangedFileStartsAnew(t *testing.T) {
	long := strings.Repeat("0123456789\n", 300)
	for name, c := range map[string]struct{ before, after string }{
		"replaced":                  {"1\n2\n", "a\nb\nc\n"},
		"shorter":                   {"1\n2\n", "1\n"},
		"long, first bytes changed": {long, "x" + long[1:] + "new\n"},
		"long, last bytes changed":  {long, long[:len(long)-3] + "x\n" + "\nnew\n"},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFolder(t)
			f.write("a.log", c.before)
			s, err := f.open("a.log", "read: once", nil)
			if err != nil {
				t.Fatal(err)
			}
			positions := f.wants(s, io.EOF, strings.Fields(c.before)...)
			f.write("a.log", c.after)
			if s, err = f.open("a.log", "read: once", positions); err != nil {
				t.Fatal(err)
			}
			f.wants(s, io.EOF, strings.Fields(c.after)...)
			if !strings.Contains(f.log.String(), "read from its start") {
				t.Errorf("the log says nothing: %s", f.log.String())
			}
		})
	}
	f := newFolder(t)
	f.write("a.log", long)
	s, err := f.open("a.log", "read: once", nil)
	if err != nil {
		t.Fatal(err)
	}
	positions := f.wants(s, io.EOF, strings.Fields(long)...)
	f.append("a.log", "more\n")
	if s, err = f.open("a.log", "read: once", positions); err != nil {
		t.Fatal(err)
	}
	f.wants(s, io.EOF, "more")
}

func TestTail(t *testing.T) {
	for name, c := range map[string]struct {
		pattern string
		run     func(f *folder, read func(want ...string))
	}{
		"appended": {"a.log", func(f *folder, read func(...string)) {
			f.append("a.log", "1\n2")
			read("1")
			f.append("a.log", "2\n3\n")
			read("22", "3")
			read()
		}},
		"appears later": {"a.log", func(f *folder, read func(...string)) {
			read()
			f.append("a.log", "1\n")
			read("1")
		}},
		"CSV row in pieces": {"a.csv", func(f *folder, read func(...string)) {
			f.append("a.csv", "a,")
			read()
			f.append("a.csv", "b\n1,\"x\n")
			read()
			f.append("a.csv", "y\"\n")
			read(`{"a":"1","b":"x\ny"}`)
		}},
		"renamed, a new one at its place": {"a.log", func(f *folder, read func(...string)) {
			f.append("a.log", "1\n2\n")
			read("1", "2")
			f.append("a.log", "3\n")
			f.rename("a.log", "a.log.1")
			f.append("a.log", "4\n")
			read("3", "4")
			f.append("a.log.1", "late\n")
			f.append("a.log", "5\n")
			read("late", "5")
		}},
		"CSV renamed, a new one at its place": {"a.csv", func(f *folder, read func(...string)) {
			f.append("a.csv", "a\n1\n2\n")
			read(`{"a":"1"}`, `{"a":"2"}`)
			f.append("a.csv", "3\n")
			f.rename("a.csv", "a.csv.1")
			f.append("a.csv", "b,c\n4,5\n")
			read(`{"a":"3"}`, `{"b":"4","c":"5"}`)
		}},
		"renamed twice": {"a.log", func(f *folder, read func(...string)) {
			f.append("a.log", "1\n")
			read("1")
			f.append("a.log", "2\n")
			f.rename("a.log", "a.log.1")
			f.rename("a.log.1", "a.log.2")
			f.append("a.log.1", "never followed\n")
			f.append("a.log", "3\n")
			read("2", "3")
		}},
		"files that begin alike": {"*.log", func(f *folder, read func(...string)) {
			f.append("a.log", "1\n2\n")
			read("1", "2")
			f.append("b.log", "1\n2\n3\n")
			read("1", "2", "3")
		}},
		"renamed within the pattern": {"a.log*", func(f *folder, read func(...string)) {
			f.append("a.log", "1\n2\n")
			read("1", "2")
			f.rename("a.log", "a.log.1")
			f.append("a.log", "3\n")
			read("3")
			f.rename("a.log.1", "a.log.2")
			f.rename("a.log", "a.log.1")
			f.append("a.log.2", "2b\n")
			f.append("a.log", "4\n")
			read("2b", "4")
		}},
		"cut": {"a.log", func(f *folder, read func(...string)) {
			f.append("a.log", "1\n2\n")
			read("1", "2")
			f.write("a.log", "3\n")
			read("3")
			f.append("a.log", "4\n")
			read("4")
		}},
		"renamed again and again": {"a.log*", func(f *folder, read func(...string)) {
			f.append("a.log", "1\n")
			read("1")
			for i, name := range []string{"2", "3", "4"} {
				for j := i; j > 0; j-- {
					f.rename(fmt.Sprintf("a.log.%d", j), fmt.Sprintf("a.log.%d", j+1))
				}
				f.rename("a.log", "a.log.1")
				f.append("a.log", name+"\n")
				read(name)
				f.append("a.log.1", "late "+name+"\n")
				read("late " + name)
			}
			read()
		}},
		"copied and cut": {"a.log", func(f *folder, read func(...string)) {
			f.append("a.log", "1\n2\n")
			read("1", "2")
			f.write("a.log.1", "1\n2\n3\n")
			f.write("a.log", "4\n")
			read("3", "4")
		}},
		"removed": {"a.log", func(f *folder, read func(...string)) {
			f.append("a.log", "1\n2")
			read("1")
			if err := os.Remove(f.path("a.log")); err != nil {
				f.t.Fatal(err)
			}
			read("2")
			f.append("a.log", "3\n")
			read("3")
		}},
		"saved by an editor": {"a.log", func(f *folder, read func(...string)) {
			f.append("a.log", "1\n2\n")
			read("1", "2")
			f.write("new", "1\n2\n3\n")
			f.rename("new", "a.log")
			read("3")
		}},
		"several take turns": {"*.log", func(f *folder, read func(...string)) {
			f.append("a.log", "1\n2\n3\n4\n")
			f.append("b.log", "5\n6\n7\n8\n")
			read("1", "2", "3", "5", "6", "7", "4", "8")
		}},
	} {
		for _, restarts := range []bool{false, true} {
			t.Run(name+map[bool]string{false: "", true: ", restarts between"}[restarts], func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					f := newFolder(t)
					var positions map[string][]byte
					s, err := f.open(c.pattern, "read: tail", nil)
					if err != nil {
						t.Fatal(err)
					}
					c.run(f, func(want ...string) {
						t.Helper()
						if restarts {
							if s, err = f.open(c.pattern, "read: tail", positions); err != nil {
								t.Fatal(err)
							}
						}
						var got []string
						got, positions, err = f.rest(s, positions)
						if !errors.Is(err, context.DeadlineExceeded) {
							t.Fatal(err)
						}
						if restarts && strings.Contains(name, "removed") {
							return // what is gone is gone
						}
						if restarts {
							slices.Sort(got)
							slices.Sort(want)
						}
						if !slices.Equal(got, want) {
							t.Fatalf("got %q, want %q\n%s", got, want, f.log.String())
						}
					})
				})
			})
		}
	}
}

func TestFileRenamedAwayIsLetGo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFolder(t)
		f.append("a.log", "1\n")
		s, err := f.open("a.log", "read: tail", nil)
		if err != nil {
			t.Fatal(err)
		}
		f.wants(s, context.DeadlineExceeded, "1")
		f.append("a.log", "half")
		f.rename("a.log", "a.log.1")
		f.wants(s, context.DeadlineExceeded)
		<-time.After(goneAfter)
		f.wants(s, context.DeadlineExceeded, "half")
		if len(s.follow.files) != 0 {
			t.Errorf("%d files are still followed", len(s.follow.files))
		}
	})
}

func TestRenamedFileIsStoredUnderItsNewName(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFolder(t)
		f.append("a.log", "1\n2\n")
		s, err := f.open("a.log*", "read: tail", nil)
		if err != nil {
			t.Fatal(err)
		}
		f.wants(s, context.DeadlineExceeded, "1", "2")
		f.rename("a.log", "a.log.1")
		f.append("a.log", "3\n")
		positions := f.wants(s, context.DeadlineExceeded, "3")
		if s, err = f.open("a.log*", "read: tail", positions); err != nil {
			t.Fatal(err)
		}
		f.wants(s, context.DeadlineExceeded)
	})
}

func TestTailTellsWhatItCannotRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFolder(t)
		f.append("a.log", "1\n")
		s, err := f.open("a.log", "read: tail", nil)
		if err != nil {
			t.Fatal(err)
		}
		s.follow.trouble = os.ErrPermission // as a scan finds it
		f.wants(s, os.ErrPermission, "1")
	})
}

func TestStoredPositionOfAnotherVersion(t *testing.T) {
	f := newFolder(t)
	f.write("a.log", "1\n")
	for _, raw := range []string{"", "{}", `{"version":2}`, `{"version":1,"offset":-1}`, "\x00"} {
		_, err := f.open("a.log", "read: once", map[string][]byte{f.path("a.log"): []byte(raw)})
		if !errors.Is(err, connect.ErrPermanent) || !strings.Contains(err.Error(), f.path("a.log")) {
			t.Errorf("position %q: %v", raw, err)
		}
	}
}

func TestPositionFormat(t *testing.T) {
	f := newFolder(t)
	f.write("a.log", "1\n2\n")
	s, err := f.open("a.log", "read: once", nil)
	if err != nil {
		t.Fatal(err)
	}
	got := string(f.wants(s, io.EOF, "1", "2")[f.path("a.log")])
	if want := `{"version":1,"offset":4,"line":2,"fingerprint":"`; !strings.HasPrefix(got, want) || !json.Valid([]byte(got)) {
		t.Errorf("position %s, want %s...", got, want)
	}
}
