package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"
)

// outage is how long a server is away in the middle of the demo.
const outage = 10 * time.Second

// server is a real server from ../shared/peers, an instance of its own for this test.
type server struct {
	t      testing.TB
	script string
	name   string
	port   string
	env    []string
}

// newServer starts a server that .ci/setup has installed. It is stopped and its data deleted at the end of the test.
func newServer(t testing.TB, script, name, instance string) *server {
	t.Helper()
	s := &server{t: t, script: peer(t, script), name: name, port: freePort(t), env: append(os.Environ(), instance+"=milldam-e2e-"+strconv.Itoa(os.Getpid()))}
	s.start()
	t.Cleanup(func() { s.do("wipe", s.name) })
	return s
}

func (s *server) start() { s.do("start", s.name, s.port) }
func (s *server) stop()  { s.do("stop", s.name) }

func (s *server) do(args ...string) {
	s.t.Helper()
	cmd := exec.Command(s.script, args...)
	cmd.Env = s.env
	if out, err := runToFile(cmd); err != nil {
		s.t.Fatalf("%s %s: %v\n%s", s.script, strings.Join(args, " "), err, out)
	}
}

// runToFile runs a command whose children may live on: a pipe would wait for them.
func runToFile(cmd *exec.Cmd) (string, error) {
	f, err := os.CreateTemp("", "e2e")
	if err != nil {
		return "", err
	}
	defer os.Remove(f.Name())
	defer f.Close()
	cmd.Stdout, cmd.Stderr = f, f
	err = cmd.Run()
	out, _ := os.ReadFile(f.Name()) // what it printed only helps to understand err
	return string(out), err
}

// freePort is a port that nobody listens on. Another process may take it before the server does; then the server says so.
func freePort(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, port, err := net.SplitHostPort(l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	return port
}

// lake is a bucket of the S3 server.
type lake struct {
	t      testing.TB
	client *s3.Client
	bucket string
}

// Keys of s3.sh.
const (
	s3Key    = "milldam"
	s3Secret = "milldam-secret"
)

func newLake(t testing.TB, endpoint, bucket string) *lake {
	t.Helper()
	l := &lake{t: t, bucket: bucket, client: s3.New(s3.Options{BaseEndpoint: &endpoint, Region: "us-east-1", UsePathStyle: true,
		Credentials: credentials.NewStaticCredentialsProvider(s3Key, s3Secret, "")})}
	if _, err := l.client.CreateBucket(t.Context(), &s3.CreateBucketInput{Bucket: &bucket}); err != nil {
		t.Fatal(err)
	}
	return l
}

func (l *lake) keys() ([]string, error) {
	ctx, cancel := context.WithTimeout(l.t.Context(), 10*time.Second)
	defer cancel()
	var keys []string
	pages := s3.NewListObjectsV2Paginator(l.client, &s3.ListObjectsV2Input{Bucket: &l.bucket})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return nil, err
		}
		for _, o := range page.Contents {
			keys = append(keys, aws.ToString(o.Key))
		}
	}
	return keys, nil
}

// download writes every object below dir.
func (l *lake) download(dir string) {
	l.t.Helper()
	keys, err := l.keys()
	if err != nil {
		l.t.Fatal(err)
	}
	for _, key := range keys {
		o, err := l.client.GetObject(l.t.Context(), &s3.GetObjectInput{Bucket: &l.bucket, Key: &key})
		if err != nil {
			l.t.Fatal(err)
		}
		body, err := io.ReadAll(o.Body)
		o.Body.Close()
		if err != nil {
			l.t.Fatal(err)
		}
		file := filepath.Join(dir, filepath.FromSlash(key))
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			l.t.Fatal(err)
		}
		if err := os.WriteFile(file, body, 0o644); err != nil {
			l.t.Fatal(err)
		}
	}
}

// search asks Elasticsearch.
func search(url, path, body string, into any) error {
	resp, err := http.Post(url+path, "application/json", strings.NewReader(body))
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s", resp.Status, text)
	}
	return json.Unmarshal(text, into)
}

// indexed is the number of documents of an index.
func indexed(url, index string) (int, error) {
	var answer struct{ Count int }
	if err := search(url, "/"+index+"/_refresh", "", &struct{}{}); err != nil {
		return 0, err
	}
	err := search(url, "/"+index+"/_count", `{"query":{"match_all":{}}}`, &answer)
	return answer.Count, err
}

// checkDocuments asserts that the index holds the daily delays, each once.
func checkDocuments(t testing.TB, url, index string) {
	t.Helper()
	want := expectedDelays(t)
	var page struct {
		Hits struct {
			Hits []struct {
				ID     string          `json:"_id"`
				Source json.RawMessage `json:"_source"`
			}
		}
	}
	if err := search(url, "/"+index+"/_search", `{"size":10000,"query":{"match_all":{}}}`, &page); err != nil {
		t.Fatal(err)
	}
	if len(page.Hits.Hits) != originDays {
		t.Errorf("%d documents, want %d", len(page.Hits.Hits), originDays)
	}
	for _, hit := range page.Hits.Hits {
		dec := json.NewDecoder(bytes.NewReader(hit.Source))
		dec.DisallowUnknownFields()
		var d delays
		if err := dec.Decode(&d); err != nil {
			t.Fatalf("document %s: %v", hit.ID, err)
		}
		if id := d.Origin + " " + d.Day; d != want[id] || hit.ID != d.Origin+"-"+d.Day {
			t.Errorf("document %s: %+v, want %+v", hit.ID, d, want[id])
		}
	}
}

// TestDemoAgainstRealServers runs the demo's sinks against versitygw and Elasticsearch, each of which is away for a while in the middle.
func TestDemoAgainstRealServers(t *testing.T) {
	need(t, "java")
	store := newServer(t, "s3/s3.sh", "versitygw", "S3_INSTANCE")
	elastic := newServer(t, "search/search.sh", "elasticsearch", "SEARCH_INSTANCE")
	endpoint, url := "http://127.0.0.1:"+store.port, "http://127.0.0.1:"+elastic.port
	l := newLake(t, endpoint, "lake")
	n := startDev(t, t.TempDir(), []string{"S3_ENDPOINT=" + endpoint, "S3_BUCKET=lake", "AWS_ACCESS_KEY_ID=" + s3Key, "AWS_SECRET_ACCESS_KEY=" + s3Secret,
		"ES_URL=" + url}, "--demo")

	eventually(t, 60*time.Second, func() error {
		keys, err := l.keys()
		if err == nil && len(keys) == 0 {
			err = fmt.Errorf("no object yet")
		}
		return err
	})
	before, err := l.keys()
	if err != nil {
		t.Fatal(err)
	}
	store.stop()
	elastic.stop()
	away := time.Now()
	eventually(t, outage, func() error {
		text := n.log.String()
		if !strings.Contains(text, "the sink fails, it is tried again") {
			return fmt.Errorf("no pipeline tells that its server is away")
		}
		return nil
	})
	pause(t, outage-time.Since(away))
	if err := n.readyz(); err != nil {
		t.Errorf("while servers are away: %v", err)
	}
	store.start()
	elastic.start()
	t.Logf("the servers were away for %s, from %d objects on", time.Since(away).Round(time.Second), len(before))

	eventually(t, 120*time.Second, func() error {
		if err := demoDone(t, n); err != nil {
			return err
		}
		docs, err := indexed(url, "delays-daily")
		if err == nil && docs != originDays {
			err = fmt.Errorf("%d documents", docs)
		}
		return err
	})
	checkFlights(t, n.kafka, once)
	checkDelays(t, n.kafka, once)
	checkDocuments(t, url, "delays-daily")
	dir := t.TempDir()
	l.download(dir)
	checkParquet(t, dir, once)
}
