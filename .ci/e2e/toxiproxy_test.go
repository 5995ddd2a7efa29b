package e2e

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

const toxiproxyServer = "github.com/Shopify/toxiproxy/v2/cmd/server@v2.5.0"

// bytesOfAConnection is how many bytes the broker can answer on a connection before it breaks: enough to learn where the topic is, and for some acknowledgements, of which
// the last is lost in the middle.
const bytesOfAConnection = 4000

// TestIdempotentProducersOverBrokenConnections has producers lose their connection again and again with acknowledgements on the way. What they send again, because they
// cannot know that it was written, is there once and in order.
func TestIdempotentProducersOverBrokenConnections(t *testing.T) {
	fullOnly(t, "cuts the connections of every client for a while, a minute")
	const count = 3000
	proxies := startToxiproxy(t)
	for _, name := range []string{"franz-go", "confluent-kafka-python", "kafka-python", "kafkajs"} {
		t.Run(name, func(t *testing.T) {
			c := clientCalled(name)
			c.available(t)
			advertised := proxies.create(t, name)
			n := serverConfig{advertised: advertised, kafka: []string{"auto.create.topics.enable=false"}}.start(t)
			proxies.forward(t, name, n.kafka)
			milldam(t, "topic", "create", "numbers", "-p", "6", "-b", n.kafka)
			proxies.cutAfter(t, name, bytesOfAConnection)
			run(t, 3*time.Minute, "", c.trickle(t, advertised, "numbers", count))
			broken := proxies.connections(name)
			proxies.heal(t)
			checkTrickled(t, n.kafka, "numbers", count)
			if t.Logf("%d connections", broken); broken < 3 {
				t.Errorf("only %d connections were made", broken)
			}
		})
	}
}

// checkTrickled asserts that the numbers which a client's trickle sends are in a topic, each once and in order.
func checkTrickled(t testing.TB, broker, topic string, count int) {
	t.Helper()
	var want, got [6][]string
	for i := range count {
		want[i%6] = append(want[i%6], fmt.Sprintf("%06d", i))
	}
	for _, r := range readTopic(t, broker, topic) {
		got[r.Partition] = append(got[r.Partition], string(r.Value))
	}
	for p := range want {
		if !slices.Equal(got[p], want[p]) {
			t.Errorf("%s-%d has %d records, not the %d that were sent, once and in order", topic, p, len(got[p]), len(want[p]))
		}
	}
}

// toxiproxy is a server of proxies that can be told to break.
type toxiproxy struct {
	url string
	log *logBuffer
}

func startToxiproxy(t *testing.T) toxiproxy {
	t.Helper()
	server := installed(t, toxiproxyServer)
	port := freePort(t)
	cmd := exec.Command(server, "-host", "127.0.0.1", "-port", port)
	p := toxiproxy{url: "http://127.0.0.1:" + port, log: &logBuffer{}}
	cmd.Stdout, cmd.Stderr = p.log, p.log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	eventually(t, 10*time.Second, func() error {
		resp, err := http.Get(p.url + "/version")
		if err == nil {
			err = resp.Body.Close()
		}
		return err
	})
	return p
}

// create makes a proxy to nowhere, and returns the address it listens on.
func (p toxiproxy) create(t *testing.T, name string) string {
	t.Helper()
	var made struct{ Listen string }
	p.post(t, "/proxies", map[string]any{"name": name, "listen": "127.0.0.1:0", "upstream": "127.0.0.1:1", "enabled": true}, &made)
	return made.Listen
}

// forward makes a proxy forward to upstream.
func (p toxiproxy) forward(t *testing.T, name, upstream string) {
	t.Helper()
	p.post(t, "/proxies/"+name, map[string]any{"upstream": upstream, "enabled": true}, nil)
}

// cutAfter breaks each connection after some bytes from the broker to the client.
func (p toxiproxy) cutAfter(t *testing.T, name string, bytes int) {
	t.Helper()
	p.post(t, "/proxies/"+name+"/toxics", map[string]any{"type": "limit_data", "stream": "downstream", "attributes": map[string]any{"bytes": bytes}}, nil)
}

// heal ends what makes proxies break.
func (p toxiproxy) heal(t *testing.T) {
	t.Helper()
	p.post(t, "/reset", nil, nil)
}

// connections is how many connections a proxy has taken.
func (p toxiproxy) connections(name string) (count int) {
	for line := range strings.Lines(p.log.String()) {
		if strings.Contains(line, "Accepted client") && strings.Contains(line, name) {
			count++
		}
	}
	return count
}

func (p toxiproxy) post(t *testing.T, path string, body, into any) {
	t.Helper()
	text, err := json.Marshal(body)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.Post(p.url+path, "application/json", bytes.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	if err == nil && into != nil {
		err = json.Unmarshal(answer, into)
	}
	if err != nil || resp.StatusCode >= 300 {
		t.Fatalf("toxiproxy %s %s: %s, %s, %v", path, text, resp.Status, answer, err)
	}
}

// installed is a Go program of another module, built once and kept in the cache of these tests.
func installed(t *testing.T, program string) string {
	t.Helper()
	cache, err := os.UserCacheDir()
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(cache, "milldam-test", "bin", strings.ReplaceAll(program, "/", "_"))
	path, version, _ := strings.Cut(program, "@")
	binary := filepath.Join(dir, filepath.Base(path))
	if _, err := os.Stat(binary); err == nil {
		return binary
	}
	cmd := exec.CommandContext(t.Context(), "go", "install", program)
	cmd.Env = append(os.Environ(), "GOBIN="+dir, "GOFLAGS=", "GOWORK=off")
	if out, err := runToFile(cmd); err != nil {
		t.Fatal(fmt.Errorf("install %s at %s: %w\n%s", path, version, err, out))
	}
	return binary
}
