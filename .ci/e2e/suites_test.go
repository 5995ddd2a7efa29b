package e2e

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// TestFranzGo runs franz-go's own tests of its client and of its admin client, as they come in their modules, against a node.
func TestFranzGo(t *testing.T) {
	if testing.Short() {
		t.Skip("runs in make e2e")
	}
	env := []string{"KGO_LOG_LEVEL=none", "KGO_TEST_RF=1", "KGO_TEST_RECORDS=20000", "KGO_TEST_MAX_TOPIC_PARTS=7"}
	for _, s := range []goSuite{
		{name: "kgo", module: "github.com/twmb/franz-go", dir: "pkg/kgo", env: env},
		{name: "kadm", module: "github.com/twmb/franz-go/pkg/kadm", dir: ".", env: env},
	} {
		t.Run(s.name, func(t *testing.T) {
			n := startServer(t, "group.initial.rebalance.delay.ms=0")
			s.env = append(slices.Clone(s.env), "KGO_SEEDS="+n.kafka)
			s.run(t)
		})
	}
}

// goSuite is the tests of one package of another module.
type goSuite struct {
	name, module, dir string
	args, env         []string
}

// run runs the suite from a copy of its module, at the version that go.mod has, and holds what it skipped against testdata/skips.txt.
func (s goSuite) run(t *testing.T) {
	t.Helper()
	dir := filepath.Join(copyModule(t, s.module), s.dir)
	cmd := exec.CommandContext(t.Context(), "go", append([]string{"test", "-count=1", "-v", "-timeout", "15m"}, append(s.args, ".")...)...)
	cmd.Dir, cmd.Env = dir, append(os.Environ(), append(s.env, "GOFLAGS=-mod=mod", "GOWORK=off")...)
	out, err := runToFile(cmd)
	results := goResults(out)
	if len(results["PASS"]) == 0 || err != nil && len(results["FAIL"]) == 0 {
		t.Fatalf("%s: %v\n%s", s.name, err, lastLines(out, 60))
	}
	for _, test := range results["FAIL"] {
		t.Errorf("%s fails", test)
	}
	if err != nil {
		t.Logf("%s", lastLines(out, 200))
	}
	reportSuite(t, s.name, results)
}

// copyModule copies a module of go.mod's to a folder that may be written to.
func copyModule(t *testing.T, module string) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "go", "list", "-m", "-json", module).Output()
	var m struct{ Dir string }
	if err != nil || json.Unmarshal(out, &m) != nil || m.Dir == "" {
		t.Fatalf("find the module %s: %v", module, err)
	}
	dir := filepath.Join(t.TempDir(), "module")
	if err := os.CopyFS(dir, os.DirFS(m.Dir)); err != nil {
		t.Fatal(err)
	}
	return dir
}

var goResult = regexp.MustCompile(`(?m)^\s*--- (PASS|FAIL|SKIP): (\S+) `)

// goResults sorts the tests that go test -v told of by how they ended.
func goResults(out string) map[string][]string {
	results := map[string][]string{}
	for _, m := range goResult.FindAllStringSubmatch(out, -1) {
		results[m[1]] = append(results[m[1]], m[2])
	}
	return results
}

// reportSuite logs what a suite ran, and fails when it skipped a test that testdata/skips.txt does not name, or none that it names.
func reportSuite(t *testing.T, suite string, results map[string][]string) {
	t.Helper()
	t.Logf("%s: %d passed, %d failed, %d skipped", suite, len(results["PASS"]), len(results["FAIL"]), len(results["SKIP"]))
	reasons := skips(t, suite)
	for _, test := range results["SKIP"] {
		if reasons[test] == "" {
			t.Errorf("%s was skipped, and testdata/skips.txt does not say why", test)
		}
		t.Logf("skipped: %s: %s", test, reasons[test])
		delete(reasons, test)
	}
	for test := range reasons {
		t.Errorf("testdata/skips.txt has %s, which was not skipped", test)
	}
}

// skips are the tests of a suite that cannot run here, with the reasons.
func skips(t *testing.T, suite string) map[string]string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("testdata", "skips.txt"))
	if err != nil {
		t.Fatal(err)
	}
	reasons := map[string]string{}
	for line := range strings.Lines(string(text)) {
		f := strings.SplitN(strings.TrimSpace(line), " ", 3)
		if len(f) == 3 && f[0] == suite {
			reasons[f[1]] = f[2]
		}
	}
	return reasons
}

func lastLines(text string, n int) string {
	lines := strings.Split(text, "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}
