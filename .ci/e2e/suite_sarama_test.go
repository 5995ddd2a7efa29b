package e2e

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

const (
	saramaModule    = "github.com/IBM/sarama@v1.61.1"
	toxiproxyServer = "github.com/Shopify/toxiproxy/v2/cmd/server@v2.5.0"
)

// TestSarama runs sarama's functional tests, as they come in its module, against a node behind a toxiproxy, through which they break connections. They are written for
// five brokers, and of that only the number of brokers and of replicas is changed.
func TestSarama(t *testing.T) {
	if testing.Short() {
		t.Skip("runs in make e2e")
	}
	s := goSuite{module: saramaModule, tags: "functional", adapt: oneBroker}.build(t)
	proxy := startToxiproxy(t)
	advertised := proxy.create(t, "kafka1")
	// As its docker-compose.yml has them.
	n := startBehind(t, advertised, "group.initial.rebalance.delay.ms=0", "auto.create.topics.enable=false")
	proxy.forward(t, "kafka1", n.kafka)
	s.run(t, "sarama", functionalTests(t, s.dir), "TOXIPROXY_ADDR="+proxy.url, "KAFKA_VERSION=4.3.1")
}

// oneBroker makes the cluster of sarama's tests one broker at the address that its proxy listens on.
func oneBroker(t *testing.T, module string) {
	t.Helper()
	file := filepath.Join(module, "functional_test.go")
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for old, now := range map[string]string{
		"ReplicationFactor: 3,":                "ReplicationFactor: 1,",
		"for i := 1; i <= 5; i++ {":            "for i := 1; i <= 1; i++ {",
		`fmt.Sprintf("127.0.0.1:%d", 29090+i)`: "proxy.ListenAddr",
	} {
		if !bytes.Contains(text, []byte(old)) {
			t.Fatalf("sarama's functional_test.go has no %q any more", old)
		}
		text = bytes.ReplaceAll(text, []byte(old), []byte(now))
	}
	if err := os.WriteFile(file, text, 0o644); err != nil {
		t.Fatal(err)
	}
}

// functionalTests is a pattern of the tests in sarama's functional_*_test.go, which share a package with its unit tests.
func functionalTests(t *testing.T, dir string) string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "functional_*_test.go"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no functional tests in %s: %v", dir, err)
	}
	var names []string
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range testFunction.FindAllSubmatch(text, -1) {
			names = append(names, string(m[1]))
		}
	}
	return "^(" + strings.Join(names, "|") + ")$"
}

// toxiproxy is a server of proxies that can be told to break.
type toxiproxy struct{ url string }

func startToxiproxy(t *testing.T) toxiproxy {
	t.Helper()
	server := installed(t, toxiproxyServer)
	port := freePort(t)
	cmd, log := exec.Command(server, "-host", "127.0.0.1", "-port", port), &logBuffer{}
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	p := toxiproxy{url: "http://127.0.0.1:" + port}
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
	return p.post(t, "/proxies", name, "127.0.0.1:1")
}

// forward makes a proxy forward to upstream.
func (p toxiproxy) forward(t *testing.T, name, upstream string) {
	t.Helper()
	p.post(t, "/proxies/"+name, name, upstream)
}

func (p toxiproxy) post(t *testing.T, path, name, upstream string) (listen string) {
	t.Helper()
	body := map[string]any{"name": name, "upstream": upstream, "enabled": true}
	if path == "/proxies" {
		body["listen"] = "127.0.0.1:0"
	}
	text, err := json.Marshal(body)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.Post(p.url+path, "application/json", bytes.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var proxy struct{ Listen, Upstream string }
	if err := json.NewDecoder(resp.Body).Decode(&proxy); err != nil || resp.StatusCode >= 300 || proxy.Upstream != upstream {
		t.Fatalf("toxiproxy %s %s: %s, %+v, %v", path, text, resp.Status, proxy, err)
	}
	return proxy.Listen
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
