package e2e

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

var fenced = regexp.MustCompile("(?ms)^```(\\w+)\n(.*?)^```$")

// page returns the fenced pieces of a tutorial in one language.
func page(t testing.TB, name, language string) []string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("../../docs/tutorials", name))
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, m := range fenced.FindAllStringSubmatch(string(text), -1) {
		if m[1] == language {
			out = append(out, m[2])
		}
	}
	return out
}

// shell runs the commands of a page in dir, as somebody who has milldam installed.
func shell(t testing.TB, dir, commands string) (string, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, "bash", "-euo", "pipefail", "-c", commands)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "PATH="+filepath.Dir(milldamPath(t))+":"+os.Getenv("PATH"))
	out, err := cmd.CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("%w: %s\n%s", err, commands, out)
	}
	return string(out), nil
}

// TestTutorials runs every command that the tutorials show.
func TestTutorials(t *testing.T) {
	t.Run("first ten minutes", func(t *testing.T) {
		dir := t.TempDir()
		startDev(t, filepath.Join(dir, ".milldam"), nil)
		var all strings.Builder
		for _, commands := range page(t, "first-ten-minutes.md", "sh") {
			out, err := shell(t, dir, commands)
			if err != nil {
				t.Fatal(err)
			}
			all.WriteString(out)
		}
		says(t, all.String(), `bob {"id":2,"amount":3}`, `alice {"id":3,"amount":250}`, "total 0", "PLAN ONLY: 3 records would be read again", "total 3")
	})
	t.Run("first pipeline", func(t *testing.T) {
		dir := t.TempDir()
		blocks := page(t, "first-pipeline.md", "sh")
		if err := os.Mkdir(filepath.Join(dir, "pipelines"), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, "pipelines", "large-orders.yaml"), []byte(page(t, "first-pipeline.md", "yaml")[0]), 0o644); err != nil {
			t.Fatal(err)
		}
		if _, err := shell(t, dir, blocks[0]); err != nil {
			t.Fatal(err)
		}
		n := &node{t: t, dir: filepath.Join(dir, ".milldam"), in: dir, args: []string{"dev", "--listen", "127.0.0.1:0", "--http", "127.0.0.1:0"}}
		n.start()
		t.Cleanup(n.kill)
		if _, err := shell(t, dir, blocks[1]); err != nil {
			t.Fatal(err)
		}
		eventually(t, 20*time.Second, func() error {
			out, err := shell(t, dir, blocks[2])
			if err != nil {
				return err
			}
			for _, want := range []string{`{"id":"c","cents":99900}`, "no JSON at all", "milldam.error", "large-orders"} {
				if !strings.Contains(out, want) {
					return fmt.Errorf("nothing says %q:\n%s", want, out)
				}
			}
			return nil
		})
	})
}
