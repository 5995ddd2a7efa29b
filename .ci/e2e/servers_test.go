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
	"github.com/twmb/franz-go/pkg/kgo"
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

// tickEvery is the time between two ticks: records that flow into both servers from before they go until after they are back, however long that takes.
const tickEvery = 20 * time.Millisecond

// ticksYAML are pipelines beside those of the demo, which has written nearly everything after a few seconds.
const ticksYAML = `pipeline: ticks-lake
source: { topic: { names: [ticks] } }
sink: { s3: { bucket: lake, endpoint: %q, access_key: %s, secret_key: %s, path: ticks, rotate: { age: 1s } } }
---
pipeline: ticks-search
source: { topic: { names: [ticks] } }
sink: { elasticsearch: { urls: [%q], index: ticks } }
`

// startTicks produces ticks until finish is called, which returns how many they are.
func startTicks(t *testing.T, broker string) (finish func() int) {
	t.Helper()
	milldam(t, "topic", "create", "ticks", "-p", "4", "-b", broker)
	cl, err := kgo.NewClient(kgo.SeedBrokers(broker), kgo.DefaultProduceTopic("ticks"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cl.Close)
	stop, count := make(chan struct{}), make(chan int, 1)
	go func() {
		tick := time.NewTicker(tickEvery)
		defer tick.Stop()
		for i := 0; ; i++ {
			select {
			case <-tick.C:
				value := fmt.Appendf(nil, `{"n":%d}`, i)
				cl.Produce(context.Background(), &kgo.Record{Value: value}, func(_ *kgo.Record, err error) {
					if err != nil && t.Context().Err() == nil { // else the test ended before
						t.Errorf("produce %s: %v", value, err)
					}
				})
			case <-stop:
				count <- i
				return
			case <-t.Context().Done():
				return
			}
		}
	}()
	return func() int {
		close(stop)
		made := <-count
		if err := cl.Flush(t.Context()); err != nil {
			t.Fatal(err)
		}
		return made
	}
}

// checkTicks asserts that each tick is in the topic once, in the index once, and in the objects at least once.
func checkTicks(t testing.TB, n *node, url, dir string, ticks int) {
	t.Helper()
	check := func(where string, values map[string]int, once bool) {
		t.Helper()
		for i := range ticks {
			if got := values[fmt.Sprintf(`{"n":%d}`, i)]; got == 0 || once && got > 1 {
				t.Errorf("tick %d is %d times in %s", i, got, where)
			}
		}
		if len(values) != ticks {
			t.Errorf("%d different ticks in %s, want %d", len(values), where, ticks)
		}
	}
	topic := map[string]int{}
	for _, r := range readTopic(t, n.kafka, "ticks") {
		topic[string(r.Value)]++
	}
	check("the topic", topic, true)
	var found struct {
		Hits struct {
			Hits []struct {
				Source json.RawMessage `json:"_source"`
			}
		}
	}
	if err := search(url, "/ticks/_search", `{"size":10000,"query":{"match_all":{}}}`, &found); err != nil {
		t.Fatal(err)
	}
	index := map[string]int{}
	for _, hit := range found.Hits.Hits {
		index[string(hit.Source)]++
	}
	check("the index", index, true)
	files, err := filepath.Glob(filepath.Join(dir, "ticks", "*.ndjson"))
	if err != nil {
		t.Fatal(err)
	}
	objects := map[string]int{}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(text)) {
			objects[strings.TrimSuffix(line, "\n")]++
		}
	}
	check("the objects", objects, false)
}

// flowing tells whether the sinks have written some ticks and not all.
func flowing(l *lake, url string) error {
	docs, err := indexed(url, "ticks")
	if err != nil {
		return err
	}
	keys, err := l.keys()
	if err != nil {
		return err
	}
	if flights, other := folder(keys, "flights/"), folder(keys, "ticks/"); docs == 0 || flights == 0 || other == 0 {
		return fmt.Errorf("%d documents, %d objects of flights, %d of ticks", docs, flights, other)
	}
	return nil
}

func folder(keys []string, name string) (count int) {
	for _, key := range keys {
		if strings.HasPrefix(key, name) {
			count++
		}
	}
	return count
}

// TestDemoAgainstRealServers runs the demo's sinks against versitygw and Elasticsearch, each of which is away for a while in the middle.
func TestDemoAgainstRealServers(t *testing.T) {
	need(t, "java")
	store := newServer(t, "s3/s3.sh", "versitygw", "S3_INSTANCE")
	elastic := newServer(t, "search/search.sh", "elasticsearch", "SEARCH_INSTANCE")
	endpoint, url := "http://127.0.0.1:"+store.port, "http://127.0.0.1:"+elastic.port
	l := newLake(t, endpoint, "lake")
	more, _ := pipelineFile(t, fmt.Sprintf(ticksYAML, endpoint, s3Key, s3Secret, url))
	n := startDev(t, t.TempDir(), []string{"S3_ENDPOINT=" + endpoint, "S3_BUCKET=lake", "AWS_ACCESS_KEY_ID=" + s3Key, "AWS_SECRET_ACCESS_KEY=" + s3Secret,
		"ES_URL=" + url}, "--demo", "--pipelines", more)
	finish := startTicks(t, n.kafka)

	eventually(t, 60*time.Second, func() error { return flowing(l, url) })
	before, err := l.keys()
	if err != nil {
		t.Fatal(err)
	}
	store.stop()
	elastic.stop()
	away := time.Now()
	for _, pipeline := range []string{"ticks-lake", "ticks-search"} {
		eventually(t, outage, func() error { return saysItIsAway(n, pipeline) })
	}
	pause(t, outage-time.Since(away))
	if err := n.readyz(); err != nil {
		t.Errorf("while servers are away: %v", err)
	}
	store.start()
	elastic.start()
	t.Logf("the servers were away for %s, from %d objects on", time.Since(away).Round(time.Second), len(before))
	pause(t, time.Second) // some more now that they are back
	ticks := finish()
	t.Logf("%d ticks", ticks)

	eventually(t, 120*time.Second, func() error {
		if err := demoDone(t, n); err != nil {
			return err
		}
		docs, err := indexed(url, "delays-daily")
		if err == nil && docs != originDays {
			err = fmt.Errorf("%d documents", docs)
		}
		if err == nil {
			err = ticksDone(url, ticks)
		}
		return err
	})
	checkFlights(t, n.kafka, once)
	checkDelays(t, n.kafka, once)
	checkDocuments(t, url, "delays-daily")
	dir := t.TempDir()
	l.download(dir)
	checkParquet(t, filepath.Join(dir, "flights"), once)
	checkTicks(t, n, url, dir, ticks)
}

// saysItIsAway tells whether the log says that a pipeline tries its server again.
func saysItIsAway(n *node, pipeline string) error {
	for text := range strings.Lines(n.log.String()) {
		if strings.Contains(text, "the sink fails, it is tried again") && strings.Contains(text, "pipeline="+pipeline+" ") {
			return nil
		}
	}
	return fmt.Errorf("%s does not tell that its server is away", pipeline)
}

// ticksDone tells how many ticks are not there yet.
func ticksDone(url string, ticks int) error {
	docs, err := indexed(url, "ticks")
	if err == nil && docs != ticks {
		err = fmt.Errorf("%d of %d ticks are indexed", docs, ticks)
	}
	return err
}
