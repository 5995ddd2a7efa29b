package e2e

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// franzVerb, when set in the environment, makes this binary a franz-go client instead of a test run.
const franzVerb = "E2E_FRANZ_CLIENT"

func TestMain(m *testing.M) {
	if os.Getenv(franzVerb) != "" {
		if err := franzClient(os.Args[1:]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	if os.Getenv(idleVerb) != "" {
		if err := idleClient(os.Args[1:]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// binary is the milldam under test: MILLDAM_BIN, or one built now.
var binary = sync.OnceValues(func() (string, error) {
	if bin := os.Getenv("MILLDAM_BIN"); bin != "" {
		return bin, nil
	}
	dir, err := os.MkdirTemp("", "milldam-e2e")
	if err != nil {
		return "", err
	}
	bin := filepath.Join(dir, "milldam")
	build := exec.Command("go", "build", "-o", bin, "../../cmd/milldam")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build milldam: %w\n%s", err, out)
	}
	return bin, nil
})

func milldamPath(t testing.TB) string {
	t.Helper()
	bin, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	return bin
}

// node is one running milldam process.
type node struct {
	t    testing.TB
	dir  string // data folder
	in   string // working folder; this one when empty
	args []string
	env  []string
	// program runs instead of milldam, with args; empty for none.
	program string
	cmd     *exec.Cmd
	log     *logBuffer
	done    chan error

	kafka, http string // host:port and URL, from endpoints.json
}

// endpoints is <dir>/endpoints.json.
type endpoints struct {
	Kafka string `json:"kafka"`
	HTTP  string `json:"http"`
	PID   int    `json:"pid"`
}

// startDev starts `milldam dev` on free ports and waits until it is ready. It is killed at the end of the test.
func startDev(t testing.TB, dir string, env []string, args ...string) *node {
	t.Helper()
	n := &node{t: t, dir: dir, env: env,
		args: append([]string{"dev", "--dir", dir, "--listen", "127.0.0.1:0", "--http", "127.0.0.1:0"}, args...)}
	n.start()
	t.Cleanup(n.kill)
	return n
}

// startServer starts `milldam server` on free ports with broker configs "key=value", as startDev does.
func startServer(t testing.TB, settings ...string) *node {
	t.Helper()
	return serverConfig{kafka: settings}.start(t)
}

// serverConfig is what a server's configuration file says beside the free ports.
type serverConfig struct {
	dir        string // data folder; one of the test's when empty
	advertised string // where clients are told to come, such as the address of a proxy
	storage    string // the fields of the section
	kafka      []string
}

func (c serverConfig) start(t testing.TB) *node {
	t.Helper()
	if c.dir == "" {
		c.dir = t.TempDir()
	}
	var text strings.Builder
	fmt.Fprintf(&text, "node: { data_dir: %q }\nlisteners: { kafka: [\"127.0.0.1:0\"], console: \"127.0.0.1:0\", advertised: %q }\nstorage: { %s }\n", c.dir, c.advertised, c.storage)
	if len(c.kafka) > 0 {
		text.WriteString("kafka:\n")
	}
	for _, s := range c.kafka {
		key, value, _ := strings.Cut(s, "=")
		fmt.Fprintf(&text, "  %s: %s\n", key, value)
	}
	config := filepath.Join(t.TempDir(), "milldam.yaml")
	if err := os.WriteFile(config, []byte(text.String()), 0o644); err != nil {
		t.Fatal(err)
	}
	n := &node{t: t, dir: c.dir, args: []string{"server", "-c", config}}
	n.start()
	t.Cleanup(n.kill)
	return n
}

// keepPort makes a node listen, when it is started again, where it does now.
func (n *node) keepPort() {
	n.t.Helper()
	if at := slices.Index(n.args, "--listen"); at >= 0 {
		n.args[at+1] = n.kafka
		return
	}
	config := n.args[slices.Index(n.args, "-c")+1]
	text, err := os.ReadFile(config)
	if err == nil {
		kept := strings.Replace(string(text), `kafka: ["127.0.0.1:0"]`, fmt.Sprintf("kafka: [%q]", n.kafka), 1)
		err = os.WriteFile(config, []byte(kept), 0o644)
	}
	if err != nil {
		n.t.Fatal(err)
	}
}

func (n *node) start() {
	n.t.Helper()
	n.launch()
	n.waitReady(30 * time.Second)
}

// launch starts the process and waits for nothing.
func (n *node) launch() {
	n.t.Helper()
	// A folder of an earlier process has its addresses still; only those this process writes count.
	if err := os.Remove(filepath.Join(n.dir, "endpoints.json")); err != nil && !errors.Is(err, os.ErrNotExist) {
		n.t.Fatal(err)
	}
	n.log = &logBuffer{}
	program := n.program
	if program == "" {
		program = milldamPath(n.t)
	}
	n.cmd = exec.Command(program, n.args...)
	n.cmd.Dir, n.cmd.Env = n.in, append(os.Environ(), n.env...)
	n.cmd.Stdout, n.cmd.Stderr = n.log, n.log
	if err := n.cmd.Start(); err != nil {
		n.t.Fatal(err)
	}
	n.done = make(chan error, 1)
	go func() { n.done <- n.cmd.Wait() }()
}

// waitReady polls endpoints.json and /readyz until the node answers 200.
func (n *node) waitReady(limit time.Duration) {
	n.t.Helper()
	within(n.t, limit, pollStart, func() error {
		select {
		case err := <-n.done:
			n.done <- err
			n.t.Fatalf("milldam ended: %v\n%s", err, n.log)
		default:
		}
		raw, err := os.ReadFile(filepath.Join(n.dir, "endpoints.json"))
		if err != nil {
			return err
		}
		var e endpoints
		if err := json.Unmarshal(raw, &e); err != nil {
			return err
		}
		n.kafka, n.http = e.Kafka, strings.TrimSuffix(e.HTTP, "/")
		return n.readyz()
	})
}

func (n *node) readyz() error {
	resp, err := http.Get(n.http + "/readyz")
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("readyz: %s", resp.Status)
	}
	return nil
}

// kill ends the process with SIGKILL. Idempotent.
func (n *node) kill() {
	if n.cmd == nil {
		return
	}
	if err := n.cmd.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		n.t.Errorf("kill milldam: %v", err)
	}
	<-n.done
	n.cmd = nil
	if n.t.Failed() {
		n.t.Logf("milldam's log:\n%s", n.log)
	}
}

// terminate sends SIGTERM and returns the exit code and how long it took.
func (n *node) terminate() (int, time.Duration) {
	n.t.Helper()
	began := time.Now()
	if err := n.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		n.t.Fatal(err)
	}
	select {
	case <-n.done:
	case <-time.After(20 * time.Second):
		n.t.Fatalf("milldam did not end within 20 s of SIGTERM\n%s", n.log)
	}
	code := n.cmd.ProcessState.ExitCode()
	n.cmd = nil
	return code, time.Since(began)
}

// milldam runs one command of the CLI to its end and returns its standard output.
func milldam(t testing.TB, args ...string) string {
	t.Helper()
	out, stderr, code := milldamCode(t, nil, args...)
	if code != 0 {
		t.Fatalf("milldam %s: exit %d\n%s%s", strings.Join(args, " "), code, out, stderr)
	}
	return out
}

// milldamCode runs one command of the CLI and returns what it printed and its exit code.
func milldamCode(t testing.TB, env []string, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, milldamPath(t), args...)
	cmd.Env = append(os.Environ(), env...)
	var o, e bytes.Buffer
	cmd.Stdout, cmd.Stderr = &o, &e
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatalf("milldam %s: %v", strings.Join(args, " "), err)
	}
	return o.String(), e.String(), cmd.ProcessState.ExitCode()
}

// logBuffer keeps what a process printed.
type logBuffer struct {
	mu struct {
		sync.Mutex
		buf bytes.Buffer
	}
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.mu.buf.Write(p)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.mu.buf.String()
}

// pollEvery is how often eventually looks again, pollStart how often a start is looked at, since how long it takes is measured.
const (
	pollEvery = 50 * time.Millisecond
	pollStart = time.Millisecond
)

// eventually calls check until it returns nil, and fails the test with its last error after limit.
func eventually(t testing.TB, limit time.Duration, check func() error) {
	t.Helper()
	within(t, limit, pollEvery, check)
}

func within(t testing.TB, limit, every time.Duration, check func() error) {
	t.Helper()
	deadline := time.NewTimer(limit)
	defer deadline.Stop()
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		err := check()
		if err == nil {
			return
		}
		select {
		case <-tick.C:
		case <-deadline.C:
			t.Fatalf("not within %s: %v", limit, err)
		}
	}
}

// fullOnly leaves a test to make e2e: the short suite, which make test runs, skips it and says what it would cost.
func fullOnly(t testing.TB, why string) {
	t.Helper()
	if testing.Short() {
		t.Skip("runs in make e2e: " + why)
	}
}

// need skips the test when command is not installed, and says what installs it.
func need(t testing.TB, command string) string {
	t.Helper()
	path, err := exec.LookPath(command)
	if err != nil {
		t.Skipf("%s is not installed: .ci/setup installs it", command)
	}
	return path
}

// python is the interpreter of the folder that .ci/setup fills.
func python(t testing.TB) string {
	t.Helper()
	cache, err := os.UserCacheDir()
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(cache, "milldam-test", "venv", "bin", "python")
	if _, err := os.Stat(path); err != nil {
		t.Skip("the Python packages are not installed: .ci/setup installs them")
	}
	return path
}

// nodeJS is a command of node with the packages of the folder that .ci/setup fills.
func nodeJS(t testing.TB, args ...string) *exec.Cmd {
	t.Helper()
	cache, err := os.UserCacheDir()
	if err != nil {
		t.Fatal(err)
	}
	packages := filepath.Join(cache, "milldam-test", "node", "node_modules")
	if _, err := os.Stat(packages); err != nil {
		t.Skip("the packages of node are not installed: .ci/setup installs them")
	}
	cmd := exec.Command(need(t, "node"), args...)
	cmd.Env = append(os.Environ(), "NODE_PATH="+packages)
	return cmd
}

// kafkaGoBinary is testdata/kafkago, built now.
var kafkaGoBinary = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "milldam-e2e")
	if err != nil {
		return "", err
	}
	bin := filepath.Join(dir, "kafkago")
	build := exec.Command("go", "build", "-o", bin, ".")
	build.Dir, build.Env = filepath.Join("testdata", "kafkago"), append(os.Environ(), "CGO_ENABLED=0", "GOWORK=off")
	if out, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build the client on kafka-go: %w\n%s", err, out)
	}
	return bin, nil
})

func kafkaGo(t testing.TB) string {
	t.Helper()
	bin, err := kafkaGoBinary()
	if err != nil {
		t.Fatal(err)
	}
	return bin
}

// peer is the path of a script of ../shared/peers.
func peer(t testing.TB, script string) string {
	t.Helper()
	path, err := filepath.Abs(filepath.Join("..", "..", "..", "shared", "peers", script))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(path); err != nil {
		t.Skipf("no %s beside the checkout", filepath.Join("shared", "peers", script))
	}
	return path
}

// run runs a command to its end and returns the lines of its standard output.
func run(t testing.TB, limit time.Duration, stdin string, cmd *exec.Cmd) []string {
	t.Helper()
	var out, stderr bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(stdin), &out, &stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	kill := time.AfterFunc(limit, func() { cmd.Process.Kill() })
	defer kill.Stop()
	if err := cmd.Wait(); err != nil {
		t.Fatalf("%s: %v\n%s%s", strings.Join(cmd.Args, " "), err, out.String(), stderr.String())
	}
	var lines []string
	for s := bufio.NewScanner(&out); s.Scan(); {
		lines = append(lines, s.Text())
	}
	return lines
}
