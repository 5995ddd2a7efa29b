package s3dir

import (
	"bytes"
	"context"
	"crypto/md5"
	"encoding/xml"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/milldam/milldam/core/vfs"
)

// client speaks to a server that the test ends.
type client struct {
	t   testing.TB
	url string
}

func serve(t testing.TB, files vfs.FS, dir string) client {
	t.Helper()
	s, err := Start(Options{FS: files, Dir: dir, Buckets: []string{"lake"}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		http.DefaultClient.CloseIdleConnections()
		if err := s.Close(t.Context()); err != nil && t.Context().Err() == nil {
			t.Error(err)
		}
	})
	return client{t, s.URL()}
}

// send returns the status and the body of an answer. Each header is a name and a value.
func (c client) send(method, target, body string, headers ...string) (int, string, http.Header) {
	c.t.Helper()
	req, err := http.NewRequestWithContext(c.t.Context(), method, c.url+target, strings.NewReader(body))
	if err != nil {
		c.t.Fatal(err)
	}
	for i := 0; i < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		c.t.Fatal(err)
	}
	defer resp.Body.Close()
	got, err := io.ReadAll(resp.Body)
	if err != nil {
		c.t.Fatal(err)
	}
	return resp.StatusCode, string(got), resp.Header
}

func (c client) want(status int, method, target, body string, headers ...string) string {
	c.t.Helper()
	got, answer, _ := c.send(method, target, body, headers...)
	if got != status {
		c.t.Fatalf("%s %s: %d %s, want %d", method, target, got, answer, status)
	}
	return answer
}

// listing is an answer to a list request.
type listing struct {
	IsTruncated bool
	NextToken   string `xml:"NextContinuationToken"`
	Contents    []struct {
		Key  string
		Size int64
	}
	Prefixes []struct{ Prefix string } `xml:"CommonPrefixes"`
}

func (c client) list(query string) listing {
	c.t.Helper()
	var l listing
	if err := xml.Unmarshal([]byte(c.want(http.StatusOK, "GET", "/lake?list-type=2&"+query, "")), &l); err != nil {
		c.t.Fatal(err)
	}
	return l
}

func (l listing) keys() []string {
	var keys []string
	for _, o := range l.Contents {
		keys = append(keys, o.Key)
	}
	for _, p := range l.Prefixes {
		keys = append(keys, p.Prefix)
	}
	return keys
}

// fileSystems are what a server may stand on: the errors of the two differ.
func fileSystems(t *testing.T, f func(t *testing.T, files vfs.FS, dir string)) {
	t.Run("memory", func(t *testing.T) { f(t, vfs.NewMem(), "data/s3") })
	t.Run("disk", func(t *testing.T) { f(t, vfs.OS(), t.TempDir()+"/s3") })
}

func TestObjectsAreFiles(t *testing.T) {
	fileSystems(t, func(t *testing.T, files vfs.FS, dir string) {
		c := serve(t, files, dir)
		c.want(http.StatusOK, "PUT", "/lake/a/b.txt", "hello")
		if got, err := vfs.ReadFile(files, dir+"/lake/a/b.txt"); err != nil || string(got) != "hello" {
			t.Errorf("the file holds %q, %v", got, err)
		}
		c.want(http.StatusOK, "PUT", "/lake/a/b.txt", "good day")
		if got := c.want(http.StatusOK, "GET", "/lake/a/b.txt", ""); got != "good day" {
			t.Errorf("overwritten, it is %q", got)
		}
		if got := c.want(http.StatusPartialContent, "GET", "/lake/a/b.txt", "", "Range", "bytes=5-6"); got != "da" {
			t.Errorf("bytes 5 to 6 are %q", got)
		}
		if _, _, h := c.send("HEAD", "/lake/a/b.txt", ""); h.Get("Content-Length") != "8" || h.Get("ETag") != fmt.Sprintf("%q", fmt.Sprintf("%x", md5.Sum([]byte("good day")))) {
			t.Errorf("HEAD answers %v", h)
		}
		if names, err := files.List(dir + "/" + uploads); err != nil || len(names) != 0 {
			t.Errorf("uploads left over: %q, %v", names, err)
		}
		c.want(http.StatusNoContent, "DELETE", "/lake/a/b.txt", "")
		c.want(http.StatusNoContent, "DELETE", "/lake/a/b.txt", "")
		c.want(http.StatusNotFound, "GET", "/lake/a/b.txt", "")
		c.want(http.StatusOK, "PUT", "/lake/a", "the empty folder is gone")
	})
}

func TestAnAnsweredPutSurvivesACrash(t *testing.T) {
	mem := vfs.NewMem()
	c := serve(t, mem, "data/s3")
	c.want(http.StatusOK, "PUT", "/lake/x/y/z", "old")
	c.want(http.StatusOK, "PUT", "/lake/x/y/z", "new")
	c.want(http.StatusOK, "PUT", "/lake/gone/soon", "1")
	c.want(http.StatusNoContent, "DELETE", "/lake/gone/soon", "")
	after := serve(t, mem.CrashClone(nil), "data/s3")
	if got := after.want(http.StatusOK, "GET", "/lake/x/y/z", ""); got != "new" {
		t.Errorf("after the crash it holds %q", got)
	}
	if got := after.list("").keys(); !slices.Equal(got, []string{"x/y/z"}) {
		t.Errorf("after the crash there are %q", got)
	}
}

// TestAPutThatFailsLeavesTheOldObject fails and cuts each change that a PUT makes in turn.
func TestAPutThatFailsLeavesTheOldObject(t *testing.T) {
	for n := 1; ; n++ {
		mem := vfs.NewMem()
		c := serve(t, mem, "s3")
		c.want(http.StatusOK, "PUT", "/lake/k", "old")
		faulty := vfs.Fault(mem, &vfs.Rule{N: n, Crash: true})
		b := newBackend(faulty, "s3")
		_, err := b.PutObject("lake", "k", nil, strings.NewReader("new!"), 4, nil)
		if !faulty.Crashed() {
			if n < 4 {
				t.Fatalf("a PUT made %d changes only", n-1)
			}
			return
		}
		got, readErr := vfs.ReadFile(mem.CrashClone(nil), "s3/lake/k")
		if readErr != nil || string(got) != "old" && string(got) != "new!" {
			t.Errorf("crash at change %d: it holds %q, %v", n, got, readErr)
		}
		if err == nil && string(got) != "new!" {
			t.Errorf("crash at change %d: answered, and it holds %q", n, got)
		}
	}
}

func TestUnfinishedUploadsAreRemovedAtTheStart(t *testing.T) {
	mem := vfs.NewMem()
	if err := mem.MkdirAll("s3/" + uploads); err != nil {
		t.Fatal(err)
	}
	if err := vfs.WriteFileAtomic(mem, "s3/"+uploads+"/7", []byte("half")); err != nil {
		t.Fatal(err)
	}
	serve(t, mem, "s3")
	if there, err := vfs.Exists(mem, "s3/"+uploads+"/7"); err != nil || there {
		t.Errorf("it is there: %v, %v", there, err)
	}
}

func TestListing(t *testing.T) {
	c := serve(t, vfs.NewMem(), "s3")
	want := []string{"a/1", "a/2", "a0", "b/c/1", "z"}
	for _, key := range slices.Backward(want) {
		c.want(http.StatusOK, "PUT", "/lake/"+key, key)
	}
	l := c.list("")
	if got := l.keys(); !slices.Equal(got, want) || l.Contents[0].Size != 3 {
		t.Errorf("all: %q", got)
	}
	if got := c.list("prefix=a/").keys(); !slices.Equal(got, want[:2]) {
		t.Errorf("below a/: %q", got)
	}
	if got := c.list("delimiter=/").keys(); !slices.Equal(got, []string{"a0", "z", "a/", "b/"}) {
		t.Errorf("the top: %q", got)
	}
	var paged []string
	for token := ""; ; {
		page := c.list("max-keys=2" + token)
		if paged = append(paged, page.keys()...); !page.IsTruncated || len(paged) > len(want) {
			break
		}
		token = "&continuation-token=" + page.NextToken
	}
	if !slices.Equal(paged, want) {
		t.Errorf("by two: %q", paged)
	}
}

func TestMultipart(t *testing.T) {
	mem := vfs.NewMem()
	c := serve(t, mem, "s3")
	start := func() string {
		var made struct{ UploadId string }
		if err := xml.Unmarshal([]byte(c.want(http.StatusOK, "POST", "/lake/big?uploads", "")), &made); err != nil {
			t.Fatal(err)
		}
		return made.UploadId
	}
	id := start()
	first := strings.Repeat("1", 5<<20)
	var done bytes.Buffer
	for i, body := range []string{first, "2"} {
		status, answer, h := c.send("PUT", fmt.Sprintf("/lake/big?partNumber=%d&uploadId=%s", i+1, id), body)
		if status != http.StatusOK {
			t.Fatalf("part %d: %d %s", i+1, status, answer)
		}
		fmt.Fprintf(&done, "<Part><PartNumber>%d</PartNumber><ETag>%s</ETag></Part>", i+1, h.Get("ETag"))
	}
	if got := c.list("").keys(); len(got) != 0 {
		t.Errorf("before the end there are %q", got)
	}
	c.want(http.StatusOK, "POST", "/lake/big?uploadId="+id, "<CompleteMultipartUpload>"+done.String()+"</CompleteMultipartUpload>")
	if got, err := vfs.ReadFile(mem, "s3/lake/big"); err != nil || string(got) != first+"2" {
		t.Errorf("the file has %d bytes, %v", len(got), err)
	}
	id = start()
	c.want(http.StatusNoContent, "DELETE", "/lake/big?uploadId="+id, "")
	c.want(http.StatusNotFound, "PUT", "/lake/big?partNumber=1&uploadId="+id, "x")
}

// TestWhatCannotBeAFileIsRefused also holds that nothing outside of the buckets is reached.
func TestWhatCannotBeAFileIsRefused(t *testing.T) {
	fileSystems(t, func(t *testing.T, files vfs.FS, dir string) {
		c := serve(t, files, dir)
		if err := vfs.WriteFileAtomic(files, dir+"/secret", []byte("s")); err != nil {
			t.Fatal(err)
		}
		c.want(http.StatusOK, "PUT", "/lake/x/y", "1")
		c.want(http.StatusOK, "PUT", "/lake/file", "1")
		for name, x := range map[string]struct {
			status         int
			method, target string
		}{
			"a key that leads out":           {400, "PUT", "/lake/..%2f..%2fout"},
			"reading a key that leads out":   {400, "GET", "/lake/%2e%2e/secret"},
			"a key with a dot":               {400, "PUT", "/lake/a/./b"},
			"a key with an empty part":       {400, "PUT", "/lake/a//b"},
			"a bucket that leads out":        {404, "GET", "/%2e%2e/s3/secret"},
			"a bucket that is the folder":    {404, "GET", "/%2e/secret"},
			"the folder of uploads":          {404, "PUT", "/.uploads/x"},
			"a bucket that S3 does not have": {400, "PUT", "/UP_per"},
			"an unknown bucket":              {404, "PUT", "/other/key"},
			"listing an unknown bucket":      {404, "GET", "/other?list-type=2"},
			"a folder as a key":              {400, "PUT", "/lake/x"},
			"reading a folder":               {404, "GET", "/lake/x"},
			"removing a folder":              {204, "DELETE", "/lake/x"},
			"a key below a key":              {400, "PUT", "/lake/file/below"},
			"reading below a key":            {404, "GET", "/lake/file/below"},
			"removing below a key":           {204, "DELETE", "/lake/file/below"},
			"a method that S3 does not have": {400, "PATCH", "/lake/file"},
			"a bucket that holds something":  {409, "DELETE", "/lake"},
		} {
			t.Run(name, func(t *testing.T) {
				if got, answer, _ := c.send(x.method, x.target, "w"); got != x.status {
					t.Errorf("%s %s: %d %s, want %d", x.method, x.target, got, answer, x.status)
				}
			})
		}
		if got := c.list("").keys(); !slices.Equal(got, []string{"file", "x/y"}) {
			t.Errorf("afterwards there are %q", got)
		}
	})
}

func TestBuckets(t *testing.T) {
	c := serve(t, vfs.NewMem(), "s3")
	c.want(http.StatusOK, "PUT", "/another", "")
	c.want(http.StatusConflict, "PUT", "/another", "")
	if got := c.want(http.StatusOK, "GET", "/", ""); !strings.Contains(got, "<Name>another</Name>") || !strings.Contains(got, "<Name>lake</Name>") {
		t.Errorf("buckets: %s", got)
	}
	c.want(http.StatusNoContent, "DELETE", "/another", "")
	c.want(http.StatusNotFound, "GET", "/another?list-type=2", "")
}

// TestOneOfRacingConditionalPutsWins holds that a condition and the write it guards are one step.
func TestOneOfRacingConditionalPutsWins(t *testing.T) {
	c := serve(t, vfs.NewMem(), "s3")
	c.want(http.StatusOK, "PUT", "/lake/there", "0")
	_, _, h := c.send("HEAD", "/lake/there", "")
	for _, x := range []struct{ key, header, value string }{{"new", "If-None-Match", "*"}, {"there", "If-Match", h.Get("ETag")}} {
		const writers = 8
		status := make([]int, writers)
		var group sync.WaitGroup
		for i := range writers {
			group.Go(func() {
				status[i], _, _ = c.send("PUT", "/lake/"+x.key, fmt.Sprintf("writer %d", i), x.header, x.value)
			})
		}
		group.Wait()
		slices.Sort(status)
		if status[0] != http.StatusOK || status[1] != http.StatusPreconditionFailed || status[writers-1] != http.StatusPreconditionFailed {
			t.Errorf("%s: answers %v, want one 200 and else 412", x.header, status)
		}
	}
}

func TestABodyThatIsCutLeavesNothing(t *testing.T) {
	b := newBackend(vfs.NewMem(), "s3")
	if err := b.fs.MkdirAll("s3/lake"); err != nil {
		t.Fatal(err)
	}
	if _, err := b.PutObject("lake", "k", nil, strings.NewReader("half"), 8, nil); err == nil {
		t.Error("it was taken")
	}
	for _, dir := range []string{"s3/lake", "s3/" + uploads} {
		if names, err := b.fs.List(dir); err != nil || len(names) != 0 {
			t.Errorf("%s holds %q, %v", dir, names, err)
		}
	}
}

func TestCloseWaitsForNoConnectionWithoutARequest(t *testing.T) {
	s, err := Start(Options{FS: vfs.NewMem(), Dir: "s3", Buckets: []string{"lake"}})
	if err != nil {
		t.Fatal(err)
	}
	conn, err := net.Dial("tcp", strings.TrimPrefix(s.URL(), "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	if err := s.Close(ctx); err != nil {
		t.Error(err)
	}
}
