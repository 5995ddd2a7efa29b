package e2e

import (
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// pipelineFile writes a pipeline of its own into a folder and returns the folder and the file.
func pipelineFile(t testing.TB, yaml string) (dir, file string) {
	t.Helper()
	dir = t.TempDir()
	file = filepath.Join(dir, "p.yaml")
	if err := os.WriteFile(file, []byte(yaml), 0o644); err != nil {
		t.Fatal(err)
	}
	return dir, file
}

// says asserts that text holds every one of want.
func says(t testing.TB, text string, want ...string) {
	t.Helper()
	for _, w := range want {
		if !strings.Contains(text, w) {
			t.Errorf("nothing says %q:\n%s", w, text)
		}
	}
}

// trouble waits until a pipeline is in a state, and returns what it says of it.
func trouble(t testing.TB, n *node, pipeline string, states ...string) string {
	t.Helper()
	var text string
	eventually(t, 20*time.Second, func() error {
		resp, err := http.Get(n.http + "/api/v1/pipelines")
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		var body struct {
			Pipelines []struct {
				Name, State, Detail string
				Hops                []struct {
					Progress struct{ Failure string }
				}
			}
		}
		if err := json.NewDecoder(resp.Body).Decode(&body); err != nil {
			return err
		}
		for _, p := range body.Pipelines {
			if p.Name != pipeline {
				continue
			}
			text = p.Detail
			for _, h := range p.Hops {
				text += h.Progress.Failure
			}
			for _, s := range states {
				if p.State == s && text != "" {
					return nil
				}
			}
			return fmt.Errorf("%s is %s: %s", p.Name, p.State, text)
		}
		return fmt.Errorf("no pipeline %s", pipeline)
	})
	return text
}

// TestLikelyMistakes makes the mistakes a new user makes, and holds that each message says what, where and what to do.
func TestLikelyMistakes(t *testing.T) {
	t.Run("in YAML", func(t *testing.T) {
		for name, x := range map[string]struct {
			yaml string
			want []string
		}{
			"wrong indent": {"pipeline: p\nsource:\ntopic: { names: [orders] }\nsink: { stdout: {} }\n",
				[]string{"p.yaml:3:1: topic: unknown field", `if it belongs to "source", indent it deeper`}},
			"unknown key": {"pipeline: p\nsource: { topic: { names: [orders] } }\nsink:\n  s3:\n    bukcet: lake\n    path: x\n",
				[]string{`p.yaml:5:5: sink.s3.bukcet: unknown field, did you mean "bucket"?`, " 5 |     bukcet: lake", "   |     ^^^^^^"}},
			"unknown connector": {"pipeline: p\nsource: { topic: { names: [orders] } }\nsink: { elasticsaerch: {} }\n",
				[]string{`p.yaml:3:9: sink.elasticsaerch: unknown connector, did you mean "elasticsearch"?`}},
			"unknown name in an expression": {"pipeline: p\nsource: { topic: { names: [orders] } }\nsteps:\n  - where: vlaue.amount > 1\nsink: { stdout: {} }\n",
				[]string{`p.yaml:4:12: steps[0].where: unknown name vlaue, did you mean "value"?`}},
			"wrong type": {"pipeline: p\nsource: { topic: { names: [orders] } }\nsink: { topic: { name: out, create: { partitions: many } } }\n",
				[]string{`p.yaml:3:51: sink.topic.create.partitions: expected a whole number, found "many"`}},
		} {
			t.Run(name, func(t *testing.T) {
				_, file := pipelineFile(t, x.yaml)
				out, stderr, code := milldamCode(t, nil, "pipeline", "lint", file)
				if code != 1 {
					t.Errorf("exit %d, want 1", code)
				}
				says(t, out+stderr, x.want...)
			})
		}
	})
	t.Run("a field that a record has not", func(t *testing.T) {
		dir, _ := pipelineFile(t, "pipeline: large\nsource: { topic: { names: [orders] } }\nsteps:\n  - where: value.amount > 100\nsink: { stdout: {} }\n")
		n := startDev(t, t.TempDir(), nil, "--pipelines", dir)
		milldam(t, "send", "orders", `{"id":1}`, "-b", n.kafka)
		says(t, trouble(t, n, "large", "blocked"), "orders-0 at offset 0", "p.yaml:4:", "steps[0].where", "errors.dead_letter")
	})
	t.Run("a record that is no JSON", func(t *testing.T) {
		dir, _ := pipelineFile(t, "pipeline: p\nsource: { topic: { names: [orders] } }\nsteps:\n  - map: { id: value.id }\nsink: { stdout: {} }\n")
		n := startDev(t, t.TempDir(), nil, "--pipelines", dir)
		milldam(t, "send", "orders", "id=1", "-b", n.kafka)
		says(t, trouble(t, n, "p", "blocked"), "orders-0 at offset 0", "steps[0].map", "JSON", "errors.dead_letter")
	})
	t.Run("a port in use", func(t *testing.T) {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		_, stderr, code := milldamCode(t, nil, "dev", "--dir", t.TempDir(), "--listen", l.Addr().String(), "--http", "127.0.0.1:0")
		if code != 1 {
			t.Errorf("exit %d, want 1", code)
		}
		says(t, stderr, l.Addr().String(), "in use", "--listen")
	})
	t.Run("an unwritable folder", func(t *testing.T) {
		// Root writes everywhere but where nobody can.
		_, stderr, code := milldamCode(t, nil, "dev", "--dir", "/proc/milldam", "--listen", "127.0.0.1:0", "--http", "127.0.0.1:0")
		if code != 1 {
			t.Errorf("exit %d, want 1", code)
		}
		says(t, stderr, "/proc/milldam", "--dir")
	})
	t.Run("a sink's folder that cannot be", func(t *testing.T) {
		dir, file := pipelineFile(t, "")
		yaml := fmt.Sprintf("pipeline: p\nsource: { topic: { names: [orders] } }\nsink: { file: { path: %s/x/out.ndjson } }\n", file)
		if err := os.WriteFile(file, []byte(yaml), 0o644); err != nil {
			t.Fatal(err)
		}
		n := startDev(t, t.TempDir(), nil, "--pipelines", dir)
		milldam(t, "send", "orders", `{"id":1}`, "-b", n.kafka)
		says(t, trouble(t, n, "p", "blocked"), file, "sink.file.path")
	})
	nobody := "http://127.0.0.1:" + freePort(t)
	const lakeYAML = "pipeline: p\nsource: { topic: { names: [orders] } }\nsink: { s3: { bucket: lake, endpoint: %q, access_key: milldam, secret_key: %s, path: x } }\n"
	t.Run("S3 that is not there", func(t *testing.T) {
		dir, _ := pipelineFile(t, fmt.Sprintf(lakeYAML, nobody, s3Secret))
		n := startDev(t, t.TempDir(), nil, "--pipelines", dir)
		milldam(t, "send", "orders", `{"id":1}`, "-b", n.kafka)
		says(t, trouble(t, n, "p", "retrying", "running"), nobody, "connection refused", "sink.s3.endpoint")
	})
	t.Run("Elasticsearch that is not there", func(t *testing.T) {
		dir, _ := pipelineFile(t, fmt.Sprintf("pipeline: p\nsource: { topic: { names: [orders] } }\nsink: { elasticsearch: { urls: [%q], index: orders } }\n", nobody))
		n := startDev(t, t.TempDir(), nil, "--pipelines", dir)
		milldam(t, "send", "orders", `{"id":1}`, "-b", n.kafka)
		says(t, trouble(t, n, "p", "retrying", "running"), nobody, "connection refused", "urls")
	})
	t.Run("bad credentials", func(t *testing.T) {
		store := newServer(t, "s3/s3.sh", "versitygw", "S3_INSTANCE")
		endpoint := "http://127.0.0.1:" + store.port
		newLake(t, endpoint, "lake")
		dir, _ := pipelineFile(t, fmt.Sprintf(lakeYAML, endpoint, "wrong"))
		n := startDev(t, t.TempDir(), nil, "--pipelines", dir)
		milldam(t, "send", "orders", `{"id":1}`, "-b", n.kafka)
		says(t, trouble(t, n, "p", "blocked"), endpoint, "403", "access_key")
	})
}

// TestMoreMistakes holds the messages of mistakes that are less likely, all on one node.
func TestMoreMistakes(t *testing.T) {
	pipelineMistakes := map[string]struct {
		state, yaml string
		want        []string
	}{
		"typo":        {"waiting", "source: { topic: { names: [ordres] } }\nsink: { stdout: {} }", []string{"topic ordres", "does not exist", "milldam topic create ordres"}},
		"no-file":     {"blocked", "source: { file: { path: /nothing.ndjson, read: once } }\nsink: { topic: { name: a } }", []string{"/nothing.ndjson", "source.file.path"}},
		"no-number":   {"blocked", "source: { generate: { rate: 1/s, value: { a: x } } }\nsteps: [{ map: { n: int(value.a) } }]\nsink: { topic: { name: b } }", []string{"p.yaml:", "steps[0].map", "errors.dead_letter"}},
		"no-duration": {"blocked", "source: { generate: { rate: 1/s, value: { a: x } } }\nsink: { topic: { name: c, create: { config: { retention.ms: long } } } }", []string{"topic c", "retention.ms", "long", "sink.topic.create"}},
		"replicas":    {"blocked", "source: { generate: { rate: 1/s, value: { a: x } } }\nsink: { topic: { name: d, create: { replicas: 3 } } }", []string{"topic d", "3 replicas", "sink.topic.create"}},
	}
	var yaml strings.Builder
	for name, x := range pipelineMistakes {
		fmt.Fprintf(&yaml, "---\npipeline: %s\n%s\n", name, x.yaml)
	}
	dir, _ := pipelineFile(t, yaml.String())
	data := t.TempDir()
	n := startDev(t, data, nil, "--pipelines", dir)
	for name, x := range pipelineMistakes {
		t.Run(name, func(t *testing.T) { says(t, trouble(t, n, name, x.state), x.want...) })
	}
	newer := t.TempDir()
	if err := os.WriteFile(filepath.Join(newer, "format"), []byte("99\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	config := filepath.Join(newer, "milldam.yaml")
	if err := os.WriteFile(config, []byte("kafka:\n  mesage.max.bytes: 1\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	free := []string{"--listen", "127.0.0.1:0", "--http", "127.0.0.1:0"}
	for name, x := range map[string]struct {
		args []string
		code int
		want []string
	}{
		"a second process on a folder":   {append([]string{"dev", "--dir", data}, free...), 1, []string{data, fmt.Sprint("process ", n.cmd.Process.Pid), "--dir"}},
		"a folder of a newer version":    {append([]string{"dev", "--dir", newer}, free...), 1, []string{newer, "format 99", "newer"}},
		"an address others reach":        {[]string{"dev", "--dir", t.TempDir(), "--listen", "0.0.0.0:0", "--http", "127.0.0.1:0"}, 1, []string{"0.0.0.0:0", "no authentication", "listeners.insecure: true"}},
		"a typo in the configuration":    {[]string{"server", "-c", config}, 3, []string{"milldam.yaml:2:3: kafka.mesage.max.bytes", `did you mean "message.max.bytes"?`}},
		"a topic that is not there":      {[]string{"tail", "ordres", "-e", "-b", n.kafka}, 4, []string{"no topic ordres", "milldam topic list"}},
		"a broker that is not there":     {[]string{"topic", "list", "-b", "127.0.0.1:" + freePort(t)}, 6, []string{"connection refused", "milldam dev", "-b HOST:PORT"}},
		"a variable that is not set":     {[]string{"pipeline", "lint", "testdata/unset.yaml"}, 1, []string{"unset.yaml:2:", "E2E_NOTHING", "${env:E2E_NOTHING:-default}"}},
		"more replicas than brokers":     {[]string{"topic", "create", "r", "-r", "3", "-b", n.kafka}, 1, []string{"topic r", "3 replicas"}},
		"a test that expects otherwise":  {[]string{"pipeline", "test", "testdata/unequal.yaml"}, 1, []string{"FAIL", "unequal.yaml:5:", `- {"n":2}`, `+ {"n":1}`}},
		"a reset of a group nobody made": {[]string{"group", "reset", "nobody", "--to", "start", "-b", n.kafka}, 4, []string{"group nobody", "--topic"}},
	} {
		t.Run(name, func(t *testing.T) {
			out, stderr, code := milldamCode(t, nil, x.args...)
			if code != x.code {
				t.Errorf("exit %d, want %d", code, x.code)
			}
			says(t, out+stderr, x.want...)
		})
	}
	t.Run("a TLS client", func(t *testing.T) {
		conn, err := net.Dial("tcp", n.kafka)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		if _, err := conn.Write([]byte{22, 3, 1, 2, 0, 1}); err != nil {
			t.Fatal(err)
		}
		eventually(t, 10*time.Second, func() error {
			if text := n.log.String(); !strings.Contains(text, "the client speaks TLS, and this listener is plaintext") {
				return fmt.Errorf("the log does not say that TLS came")
			}
			return nil
		})
	})
}
