package e2e

import (
	"encoding/json"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

// TestFranzGo runs franz-go's own tests of its client and of its admin client, as they come in their modules, against a node.
func TestFranzGo(t *testing.T) {
	fullOnly(t, "the client's own suite, minutes")
	env := []string{"KGO_LOG_LEVEL=none", "KGO_TEST_RF=1", "KGO_TEST_MAX_TOPIC_PARTS=7"}
	for name, s := range map[string]goSuite{
		"kgo":  {module: "github.com/twmb/franz-go", dir: "pkg/kgo"},
		"kadm": {module: "github.com/twmb/franz-go/pkg/kadm"},
	} {
		t.Run(name, func(t *testing.T) {
			n := startServer(t, "group.initial.rebalance.delay.ms=0")
			s.build(t).run(t, name, "", append(env, "KGO_SEEDS="+n.kafka)...)
		})
	}
}

// goSuite is the tests of one package of another module.
type goSuite struct {
	module string // of go.mod's, or path@version
	dir    string // the package in it
	tags   string
	adapt  func(t *testing.T, module string) // changes the copy of the module before it is built
}

// builtSuite is the test binary of a suite and the folder it runs in.
type builtSuite struct{ binary, dir string }

func (s goSuite) build(t *testing.T) builtSuite {
	t.Helper()
	module := copyModule(t, s.module)
	if s.adapt != nil {
		s.adapt(t, module)
	}
	b := builtSuite{binary: filepath.Join(t.TempDir(), "suite.test"), dir: filepath.Join(module, s.dir)}
	cmd := exec.CommandContext(t.Context(), "go", "test", "-c", "-tags", s.tags, "-o", b.binary, ".")
	cmd.Dir, cmd.Env = b.dir, append(os.Environ(), "GOFLAGS=-mod=mod", "GOWORK=off")
	if out, err := runToFile(cmd); err != nil {
		t.Fatalf("build the tests of %s: %v\n%s", s.module, err, lastLines(out, 60))
	}
	return b
}

// run runs the tests whose names match pattern but those that testdata/skips.txt leaves out of the suite called name, and holds what was skipped against that list.
func (b builtSuite) run(t *testing.T, name, pattern string, env ...string) {
	t.Helper()
	known := skips(t, name)
	args := []string{"-test.v", "-test.timeout", "15m", "-test.run", pattern}
	if out := known.leftOut(); out != "" {
		args = append(args, "-test.skip", out)
	}
	cmd := exec.CommandContext(t.Context(), b.binary, args...)
	cmd.Dir, cmd.Env = b.dir, append(os.Environ(), env...)
	began := time.Now()
	out, err := runToFile(cmd)
	results := goResults(out)
	if len(results["PASS"]) == 0 || err != nil && len(results["FAIL"]) == 0 {
		t.Fatalf("%s: %v\n%s", name, err, lastLines(out, 60))
	}
	for _, test := range results["FAIL"] {
		t.Errorf("%s fails", test)
	}
	if err != nil {
		t.Logf("%s", lastLines(out, 200))
	}
	t.Logf("%s: %d passed, %d failed, %d skipped, %d left out, in %s", name, len(results["PASS"]), len(results["FAIL"]), len(results["SKIP"]), len(known.left), time.Since(began).Round(time.Second))
	known.check(t, results["SKIP"])
}

// copyModule copies a module to a folder that may be written to.
func copyModule(t *testing.T, module string) string {
	t.Helper()
	args := []string{"list", "-m", "-json", module}
	if strings.Contains(module, "@") {
		args = []string{"mod", "download", "-json", module}
	}
	out, err := exec.CommandContext(t.Context(), "go", args...).Output()
	var m struct{ Dir string }
	if err != nil || json.Unmarshal(out, &m) != nil || m.Dir == "" {
		t.Fatalf("find the module %s: %v\n%s", module, err, out)
	}
	dir := filepath.Join(t.TempDir(), "module")
	if err := os.CopyFS(dir, os.DirFS(m.Dir)); err != nil {
		t.Fatal(err)
	}
	return dir
}

// edit replaces texts in a file of a copied module, which has each of them.
func edit(t *testing.T, file string, replacements map[string]string) {
	t.Helper()
	raw, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	text := string(raw)
	for old, now := range replacements {
		if !strings.Contains(text, old) {
			t.Fatalf("%s has no %q any more", filepath.Base(file), old)
		}
		text = strings.ReplaceAll(text, old, now)
	}
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

var (
	goResult     = regexp.MustCompile(`(?m)^\s*--- (PASS|FAIL|SKIP): (\S+) `)
	testFunction = regexp.MustCompile(`(?m)^func (Test\w+)\(t \*testing\.T\)`)
)

// goResults sorts the tests that go test -v told of by how they ended.
func goResults(out string) map[string][]string {
	results := map[string][]string{}
	for _, m := range goResult.FindAllStringSubmatch(out, -1) {
		results[m[1]] = append(results[m[1]], m[2])
	}
	return results
}

// skipList is what testdata/skips.txt says of a suite: reasons by test.
type skipList struct {
	own  map[string]string // tests that skip themselves
	left map[string]string // tests that are left out
}

// skips reads testdata/skips.txt. Reasons that several tests share stand there once, as lines "reason NAME TEXT", and are referred to as NAME.
func skips(t *testing.T, suite string) skipList {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("testdata", "skips.txt"))
	if err != nil {
		t.Fatal(err)
	}
	list, shared := skipList{own: map[string]string{}, left: map[string]string{}}, map[string]string{}
	for line := range strings.Lines(string(text)) {
		f := strings.SplitN(strings.TrimSpace(line), " ", 3)
		if len(f) < 3 || f[0] == "#" {
			continue
		}
		reason := f[2]
		if name, ok := strings.CutPrefix(reason, "see "); ok {
			if reason = shared[name]; reason == "" {
				t.Fatalf("testdata/skips.txt: no reason is called %s", name)
			}
		}
		test, left := strings.CutPrefix(f[1], "-")
		switch {
		case f[0] == "reason":
			shared[f[1]] = reason
		case f[0] == suite && left:
			list.left[test] = reason
		case f[0] == suite:
			list.own[test] = reason
		}
	}
	return list
}

// leftOut is the -test.skip pattern of the tests that are left out.
func (l skipList) leftOut() string {
	if len(l.left) == 0 {
		return ""
	}
	return "^(" + strings.Join(slices.Sorted(maps.Keys(l.left)), "|") + ")$"
}

// check logs each test that did not run with its reason, and fails when one skipped itself that is not in the list, or one that is in it did not.
func (l skipList) check(t *testing.T, skipped []string) {
	t.Helper()
	for test, reason := range l.left {
		t.Logf("left out: %s: %s", test, reason)
	}
	for _, test := range skipped {
		if l.own[test] == "" {
			t.Errorf("%s was skipped, and testdata/skips.txt does not say why", test)
		}
		t.Logf("skipped: %s: %s", test, l.own[test])
		delete(l.own, test)
	}
	for test := range l.own {
		t.Errorf("testdata/skips.txt has %s, which was not skipped", test)
	}
}

func lastLines(text string, n int) string {
	lines := strings.Split(text, "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}
