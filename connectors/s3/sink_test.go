package s3

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"path"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/apache/arrow/go/v17/parquet/file"

	"github.com/milldam/milldam/connect"
	"github.com/milldam/milldam/core/config"
	"github.com/milldam/milldam/core/vfs"
	"github.com/milldam/milldam/runtime/s3dir"
)

// store is an S3 server in memory, with a proxy before it that fails what a test wants.
type store struct {
	t    testing.TB
	fs   *vfs.Mem
	url  string
	fail atomic.Pointer[func(*http.Request) int] // a status instead of an answer; 0 lets the request pass
	seen atomic.Int64
}

func newStore(t testing.TB) *store {
	t.Helper()
	s := &store{t: t, fs: vfs.NewMem()}
	server, err := s3dir.Start(s3dir.Options{FS: s.fs, Dir: "s3", Buckets: []string{"lake"}})
	if err != nil {
		t.Fatal(err)
	}
	target, err := url.Parse(server.URL())
	if err != nil {
		t.Fatal(err)
	}
	forward := httputil.NewSingleHostReverseProxy(target)
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.seen.Add(1)
		if fail := s.fail.Load(); fail != nil {
			if status := (*fail)(r); status != 0 {
				w.WriteHeader(status)
				return
			}
		}
		forward.ServeHTTP(w, r)
	}))
	s.url = proxy.URL
	t.Cleanup(func() {
		proxy.Close()
		if err := server.Close(t.Context()); err != nil && t.Context().Err() == nil {
			t.Error(err)
		}
	})
	return s
}

func (s *store) failing(f func(*http.Request) int) {
	if f == nil {
		s.fail.Store(nil)
		return
	}
	s.fail.Store(&f)
}

// objects are the keys of the bucket with what they hold.
func (s *store) objects() map[string][]byte {
	s.t.Helper()
	found := map[string][]byte{}
	var walk func(dir string)
	walk = func(dir string) {
		names, err := s.fs.List(dir)
		if err != nil {
			s.t.Fatal(err)
		}
		for _, name := range names {
			full := path.Join(dir, name)
			info, err := s.fs.Stat(full)
			if err != nil {
				s.t.Fatal(err)
			}
			if info.IsDir() {
				walk(full)
				continue
			}
			f, err := s.fs.Open(full)
			if err != nil {
				s.t.Fatal(err)
			}
			body := make([]byte, info.Size())
			if _, err := f.ReadAt(body, 0); err != nil && !errors.Is(err, io.EOF) {
				s.t.Fatal(err)
			}
			f.Close()
			found[strings.TrimPrefix(full, "s3/lake/")] = body
		}
	}
	walk("s3/lake")
	return found
}

func (s *store) keys() []string {
	var keys []string
	for key := range s.objects() {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	return keys
}

// sinkConfig reads the YAML of a sink; what a test does not say is for quick tests.
func (s *store) sinkConfig(yaml string) Config {
	s.t.Helper()
	var c Config
	text := fmt.Sprintf("bucket: lake\nendpoint: %s\naccess_key: a\nsecret_key: b\n%s", s.url, yaml)
	if errs := config.Load("sink.yaml", []byte(text), &c, config.Options{}); len(errs) > 0 {
		s.t.Fatal(errs.Render())
	}
	return c
}

// opened is a sink with what it acknowledged.
type opened struct {
	*Sink
	acked map[connect.TopicPartition]int64
}

func open(t testing.TB, c Config) *opened {
	t.Helper()
	made, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	o := &opened{made.(*Sink), map[connect.TopicPartition]int64{}}
	err = o.Open(t.Context(), connect.SinkTask{Pipeline: "p", Logger: slog.New(slog.NewTextHandler(t.Output(), nil)), Ack: func(p connect.TopicPartition, next int64) {
		if next < o.acked[p] {
			t.Errorf("acknowledged %d after %d", next, o.acked[p])
		}
		o.acked[p] = next
	}})
	if err != nil {
		t.Fatal(err)
	}
	return o
}

var part0 = connect.TopicPartition{Topic: "in", Partition: 0}

// day is midnight of a day of January 2001, as the record time of a flight.
func day(n int) time.Time { return time.Date(2001, 1, n, 0, 47, 0, 0, time.UTC) }

// batch is a record for each day, from offset on.
func batch(part connect.TopicPartition, offset int64, days ...int) connect.SinkBatch {
	b := connect.SinkBatch{TopicPartition: part, Next: offset + int64(len(days))}
	for i, d := range days {
		b.Records = append(b.Records, connect.Record{Topic: part.Topic, Partition: part.Partition, Offset: offset + int64(i), Timestamp: day(d),
			Value: fmt.Appendf(nil, `{"n":%d}`, offset+int64(i))})
	}
	return b
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

const daily = "path: flights/dt=%Y-%m-%d\n"

func TestObjectsLieByRecordTimeAndFirstOffset(t *testing.T) {
	s := newStore(t)
	sink := open(t, s.sinkConfig("path: flights/dt=%Y-%m-%d/hour=%H/${{ topic }}\nformat: { parquet: {} }\n"))
	must(t, sink.Write(t.Context(), batch(part0, 5, 1, 1, 2)))
	part3 := connect.TopicPartition{Topic: "in", Partition: 3}
	must(t, sink.Write(t.Context(), batch(part3, 0, 1)))
	must(t, sink.Flush(t.Context(), connect.FlushAll))
	want := []string{"flights/dt=2001-01-01/hour=00/in/in-0-5.parquet", "flights/dt=2001-01-01/hour=00/in/in-3-0.parquet", "flights/dt=2001-01-02/hour=00/in/in-0-7.parquet"}
	if got := s.keys(); !slices.Equal(got, want) {
		t.Errorf("objects %q, want %q", got, want)
	}
	if sink.acked[part0] != 8 || sink.acked[part3] != 1 || sink.Buffered() != 0 {
		t.Errorf("acknowledged %v, buffered %d", sink.acked, sink.Buffered())
	}
	r, err := file.NewParquetReader(bytes.NewReader(s.objects()[want[0]]))
	must(t, err)
	defer r.Close()
	if r.NumRows() != 2 {
		t.Errorf("%d rows, want 2", r.NumRows())
	}
}

// TestAcknowledgementStopsAtTheFirstRecordNotUploaded interleaves two paths: what one has uploaded must not pass over what the other holds.
func TestAcknowledgementStopsAtTheFirstRecordNotUploaded(t *testing.T) {
	s := newStore(t)
	sink := open(t, s.sinkConfig(daily+"rotate: { records: 2 }\n"))
	must(t, sink.Write(t.Context(), batch(part0, 0, 1, 2, 2))) // day 2 is full, day 1 is not
	if got := s.keys(); !slices.Equal(got, []string{"flights/dt=2001-01-02/in-0-1.ndjson"}) || sink.acked[part0] != 0 {
		t.Fatalf("objects %q, acknowledged %d", got, sink.acked[part0])
	}
	must(t, sink.Write(t.Context(), batch(part0, 3, 3, 1)))
	if sink.acked[part0] != 3 {
		t.Errorf("acknowledged %d, want 3: day 3 is not uploaded", sink.acked[part0])
	}
	must(t, sink.Flush(t.Context(), connect.FlushAll))
	if sink.acked[part0] != 5 {
		t.Errorf("acknowledged %d, want 5", sink.acked[part0])
	}
}

func TestRotation(t *testing.T) {
	for name, x := range map[string]struct {
		yaml    string
		reason  connect.FlushReason
		objects int
	}{
		"by records":      {"rotate: { records: 3 }\n", -1, 1},
		"by size":         {"rotate: { size: 20B }\n", -1, 1},
		"not yet by age":  {"rotate: { age: 1h }\n", connect.FlushTick, 0},
		"largest, memory": {"", connect.FlushPressure, 1},
		"all":             {"", connect.FlushAll, 2},
	} {
		t.Run(name, func(t *testing.T) {
			s := newStore(t)
			sink := open(t, s.sinkConfig(daily+x.yaml))
			must(t, sink.Write(t.Context(), batch(part0, 0, 1, 1, 2, 1)))
			if x.reason >= 0 {
				must(t, sink.Flush(t.Context(), x.reason))
			}
			got := s.objects()
			if len(got) != x.objects {
				t.Errorf("objects %q, want %d", s.keys(), x.objects)
			}
			if body, ok := got["flights/dt=2001-01-01/in-0-0.ndjson"]; x.objects == 1 && (!ok || string(body) != "{\"n\":0}\n{\"n\":1}\n{\"n\":3}\n") {
				t.Errorf("objects %q, day 1 holds %q", s.keys(), body)
			}
		})
	}
	t.Run("by age", func(t *testing.T) {
		s := newStore(t)
		sink := open(t, s.sinkConfig(daily+"rotate: { age: 1s }\n"))
		must(t, sink.Write(t.Context(), batch(part0, 0, 1)))
		for o := range sink.open {
			sink.open[o].opened = time.Now().Add(-time.Second)
		}
		must(t, sink.Flush(t.Context(), connect.FlushTick))
		if len(s.keys()) != 1 {
			t.Errorf("objects %q", s.keys())
		}
	})
}

func TestWhatFailsStaysAndIsTriedAgain(t *testing.T) {
	s := newStore(t)
	sink := open(t, s.sinkConfig(daily+"rotate: { records: 1 }\n"))
	s.failing(func(r *http.Request) int {
		if r.Method == http.MethodPut {
			return http.StatusServiceUnavailable
		}
		return 0
	})
	b := batch(part0, 0, 1, 2)
	for range 3 { // the worker calls again with the same batch
		err := sink.Write(t.Context(), b)
		if err == nil || errors.Is(err, connect.ErrPermanent) {
			t.Fatalf("an unavailable store: %v", err)
		}
		if sink.acked[part0] != 0 || sink.Buffered() == 0 {
			t.Fatalf("acknowledged %d, buffered %d", sink.acked[part0], sink.Buffered())
		}
	}
	s.failing(nil)
	must(t, sink.Write(t.Context(), b))
	if got := s.keys(); len(got) != 2 || sink.acked[part0] != 2 {
		t.Errorf("objects %q, acknowledged %d", got, sink.acked[part0])
	}
}

func TestLargeObjectsGoInParts(t *testing.T) {
	s := newStore(t)
	sink := open(t, s.sinkConfig("path: big\npart_size: 5MiB\n"))
	value := []byte(`{"text":"` + strings.Repeat("x", 1<<20) + `"}`)
	b := connect.SinkBatch{TopicPartition: part0, Next: 12}
	for i := range 12 {
		b.Records = append(b.Records, connect.Record{Topic: "in", Offset: int64(i), Value: value})
	}
	var parts, aborts atomic.Int64
	s.failing(func(r *http.Request) int {
		if r.Method == http.MethodPut && parts.Add(1) == 2 {
			return http.StatusInternalServerError
		}
		if r.Method == http.MethodDelete {
			aborts.Add(1)
		}
		return 0
	})
	must(t, sink.Write(t.Context(), b))
	if err := sink.Flush(t.Context(), connect.FlushAll); err == nil || errors.Is(err, connect.ErrPermanent) || aborts.Load() != 1 {
		t.Fatalf("a part failed: %v, %d uploads aborted", err, aborts.Load())
	}
	if got := s.keys(); len(got) != 0 {
		t.Errorf("objects %q after half an upload", got)
	}
	must(t, sink.Flush(t.Context(), connect.FlushAll))
	if body := s.objects()["big/in-0-0.ndjson"]; len(body) != 12*(len(value)+1) || parts.Load() != 5 {
		t.Errorf("%d bytes in %d parts", len(body), parts.Load()-2)
	}
}

func TestBadRecordsAreToldOnceAndHoldNothingUp(t *testing.T) {
	s := newStore(t)
	sink := open(t, s.sinkConfig("path: p/${{ value.kind }}\ntime: value.at\nformat: { parquet: {} }\n"))
	b := connect.SinkBatch{TopicPartition: part0, Next: 5}
	for i, v := range []string{`{"kind":"a","at":0}`, `no JSON`, `{"at":0}`, `{"kind":"../../x","at":0}`, `{"kind":"b","at":"yesterday"}`} {
		b.Records = append(b.Records, connect.Record{Topic: "in", Offset: int64(i), Value: []byte(v)})
	}
	err := sink.Write(t.Context(), b)
	var partial *connect.BatchError
	if !errors.As(err, &partial) {
		t.Fatalf("error %v", err)
	}
	var bad []int
	for _, f := range partial.Records {
		bad = append(bad, f.Index)
		if f.Outcome != connect.Poison {
			t.Errorf("record %d: outcome %d", f.Index, f.Outcome)
		}
	}
	if !slices.Equal(bad, []int{1, 2, 3, 4}) || sink.acked[part0] != 0 {
		t.Errorf("bad records %v, acknowledged %d", bad, sink.acked[part0])
	}
	b.Records = nil // the worker has dead-lettered them
	must(t, sink.Write(t.Context(), b))
	must(t, sink.Flush(t.Context(), connect.FlushAll))
	if got := s.keys(); !slices.Equal(got, []string{"p/a/in-0-0.parquet"}) || sink.acked[part0] != 5 {
		t.Errorf("objects %q, acknowledged %d", got, sink.acked[part0])
	}
}

// TestAnUploadDoesNotAcknowledgeWhatIsNotDeadLettered uploads what comes before and behind a bad record in the call that tells of it.
func TestAnUploadDoesNotAcknowledgeWhatIsNotDeadLettered(t *testing.T) {
	s := newStore(t)
	sink := open(t, s.sinkConfig(daily+"rotate: { records: 1 }\n"))
	must(t, sink.Write(t.Context(), batch(part0, 0, 1)))
	b := batch(part0, 1, 2, 2, 3)
	b.Records[1].Value = []byte("no JSON")
	var partial *connect.BatchError
	if err := sink.Write(t.Context(), b); !errors.As(err, &partial) || len(partial.Records) != 1 || partial.Records[0].Index != 1 {
		t.Fatalf("error %v", err)
	}
	must(t, sink.Flush(t.Context(), connect.FlushAll))
	if sink.acked[part0] != 1 || len(s.keys()) != 3 {
		t.Fatalf("acknowledged %d with %q, want 1: the worker has not taken care of the bad record", sink.acked[part0], s.keys())
	}
	b.Records = nil
	must(t, sink.Write(t.Context(), b))
	if sink.acked[part0] != 4 {
		t.Errorf("acknowledged %d, want 4", sink.acked[part0])
	}
}

func TestPathsThatNoStoreTakesAreBadRecords(t *testing.T) {
	s := newStore(t)
	sink := open(t, s.sinkConfig("path: p/${{ value.kind }}\n"))
	for _, kind := range []string{"..", "a/..", "a\\u0000b", "a\\nb", strings.Repeat("x", maxKeyBytes)} {
		b := connect.SinkBatch{TopicPartition: part0, Next: sink.acked[part0] + 1, Records: []connect.Record{{Topic: "in", Value: []byte(`{"kind":"` + kind + `"}`)}}}
		var partial *connect.BatchError
		if err := sink.Write(t.Context(), b); !errors.As(err, &partial) {
			t.Errorf("%q: %v", kind, err)
		}
		b.Records = nil
		must(t, sink.Write(t.Context(), b))
	}
	if longest := fmt.Sprintf("/%s-%d-%d.ndjson.gz", strings.Repeat("t", 249), math.MaxInt32, int64(math.MaxInt64)); len(longest) > maxNameBytes {
		t.Errorf("a name of %d bytes, and room for %d", len(longest), maxNameBytes)
	}
}

func TestRevokedPartitionsAreForgotten(t *testing.T) {
	s := newStore(t)
	sink := open(t, s.sinkConfig(daily))
	other := connect.TopicPartition{Topic: "in", Partition: 1}
	must(t, sink.Write(t.Context(), batch(part0, 0, 1)))
	must(t, sink.Write(t.Context(), batch(other, 0, 1)))
	sink.Revoke([]connect.TopicPartition{part0})
	must(t, sink.Flush(t.Context(), connect.FlushAll))
	if got := s.keys(); !slices.Equal(got, []string{"flights/dt=2001-01-01/in-1-0.ndjson"}) {
		t.Errorf("objects %q", got)
	}
	// It comes back, and is read again from what was committed.
	must(t, sink.Write(t.Context(), batch(part0, 0, 1, 1)))
	must(t, sink.Flush(t.Context(), connect.FlushAll))
	if sink.acked[part0] != 2 || len(s.keys()) != 2 {
		t.Errorf("objects %q, acknowledged %d", s.keys(), sink.acked[part0])
	}
}

func TestAReplayWritesTheSameObjects(t *testing.T) {
	s := newStore(t)
	for range 2 { // the second is a task after a crash before anything was committed
		sink := open(t, s.sinkConfig(daily+"rotate: { records: 2 }\n"))
		must(t, sink.Write(t.Context(), batch(part0, 0, 1, 1, 1, 2)))
		must(t, sink.Flush(t.Context(), connect.FlushAll))
	}
	want := []string{"flights/dt=2001-01-01/in-0-0.ndjson", "flights/dt=2001-01-02/in-0-3.ndjson"}
	if got := s.keys(); !slices.Equal(got, want) {
		t.Errorf("objects %q, want %q", got, want)
	}
}

func TestLateRecordsHaveAFolderOfTheirOwn(t *testing.T) {
	s := newStore(t)
	sink := open(t, s.sinkConfig(daily+"late: { allow: 30h, path: late/dt=%Y-%m-%d }\n"))
	must(t, sink.Write(t.Context(), batch(part0, 0, 3, 2, 1, 3)))
	must(t, sink.Flush(t.Context(), connect.FlushAll))
	want := []string{"flights/dt=2001-01-02/in-0-1.ndjson", "flights/dt=2001-01-03/in-0-0.ndjson", "late/dt=2001-01-01/in-0-2.ndjson"}
	if got := s.keys(); !slices.Equal(got, want) {
		t.Errorf("objects %q, want %q", got, want)
	}
}

// TestErrorsSayWhatToDo holds that what only an owner can mend is permanent, and what passes is not.
func TestErrorsSayWhatToDo(t *testing.T) {
	s := newStore(t)
	gone := httptest.NewServer(http.NotFoundHandler())
	gone.Close()
	for name, x := range map[string]struct {
		change    func(*Config)
		status    int
		permanent bool
		says      []string
	}{
		"no server":       {change: func(c *Config) { c.Endpoint = gone.URL }, says: []string{gone.URL, "sink.s3.endpoint"}},
		"no bucket":       {change: func(c *Config) { c.Bucket = "laek" }, permanent: true, says: []string{"laek", "sink.s3.bucket"}},
		"refused":         {status: http.StatusForbidden, permanent: true, says: []string{"access_key", "403"}},
		"unknown account": {status: http.StatusUnauthorized, permanent: true, says: []string{"access_key"}},
		"another region":  {status: http.StatusMovedPermanently, permanent: true, says: []string{"sink.s3.region"}},
		"no such call":    {status: http.StatusNotImplemented, permanent: true, says: []string{"sink.s3"}},
		"busy":            {status: http.StatusServiceUnavailable, says: []string{"lake"}},
	} {
		t.Run(name, func(t *testing.T) {
			c := s.sinkConfig(daily)
			if x.change != nil {
				x.change(&c)
			}
			s.failing(func(*http.Request) int { return x.status })
			defer s.failing(nil)
			sink, err := New(c)
			must(t, err)
			err = sink.Open(t.Context(), connect.SinkTask{Logger: slog.New(slog.DiscardHandler)})
			if err == nil || errors.Is(err, connect.ErrPermanent) != x.permanent {
				t.Fatalf("error %v, want permanent %v", err, x.permanent)
			}
			for _, want := range x.says {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("error %q does not say %q", err, want)
				}
			}
		})
	}
}

func TestUsageCountsObjects(t *testing.T) {
	s := newStore(t)
	c := s.sinkConfig(daily)
	sink := open(t, c)
	must(t, sink.Write(t.Context(), batch(part0, 0, 1, 2)))
	must(t, sink.Flush(t.Context(), connect.FlushAll))
	objects, size, err := Usage(t.Context(), c, "flights/")
	if err != nil || objects != 2 || size != int64(2*len("{\"n\":0}\n")) {
		t.Errorf("%d objects, %d bytes, %v", objects, size, err)
	}
	if objects, _, err := Usage(t.Context(), c, "other/"); err != nil || objects != 0 {
		t.Errorf("%d objects, %v", objects, err)
	}
}

func TestTombstones(t *testing.T) {
	for onTombstone, bad := range map[string]bool{"ignore": false, "fail": true} {
		t.Run(onTombstone, func(t *testing.T) {
			s := newStore(t)
			sink := open(t, s.sinkConfig(daily+"on_tombstone: "+onTombstone+"\n"))
			b := batch(part0, 0, 1, 1, 1)
			b.Records[1].Value = nil
			err := sink.Write(t.Context(), b)
			var partial *connect.BatchError
			if errors.As(err, &partial) != bad || bad && (len(partial.Records) != 1 || partial.Records[0].Index != 1) {
				t.Fatalf("error %v", err)
			}
			if bad {
				b.Records = nil // the worker has dead-lettered it
				must(t, sink.Write(t.Context(), b))
			}
			must(t, sink.Flush(t.Context(), connect.FlushAll))
			if body := s.objects()["flights/dt=2001-01-01/in-0-0.ndjson"]; string(body) != "{\"n\":0}\n{\"n\":2}\n" || sink.acked[part0] != 3 {
				t.Errorf("the object holds %q, acknowledged %d", body, sink.acked[part0])
			}
		})
	}
}
