package pipelines

import (
	"os"
	"strings"
	"testing"
)

func runTests(t *testing.T, text string) []TestResult {
	t.Helper()
	var all []TestResult
	for _, s := range loadText(t, lintRegistry(t), text) {
		all = append(all, RunTests(s)...)
	}
	return all
}

func TestPipelineTestsOfStatelessSteps(t *testing.T) {
	results := runTests(t, `
pipeline: p
source: { file: { path: a } }
steps:
  - where: value.amount > 1
  - map: { order: value.id, cents: int(value.amount * 100), at: value.ts, from: topic, header: 'headers?.h' }
sink: { topic: { name: out, key: value.order, time: value.at } }
tests:
  - given:
      - { value: { id: a, amount: 1.5, ts: 0 }, topic: in, headers: { h: x } }
      - { value: { id: b, amount: 0.5, ts: 0 } }
    want: [{ order: a, cents: 150, at: 0, from: in, header: x }]
  - name: records
    given: [{ value: { id: a, amount: 2, ts: 5 }, headers: { h: x } }]
    want: [{ key: a, value: { order: a, cents: 200.0, at: 5, from: "", header: x }, headers: { h: x } }]
  - name: fails
    given: [{ value: { id: a, amount: 2, ts: 5 } }, { value: { id: b, amount: 2, ts: 5 } }, { value: { id: c, amount: 2, ts: 5 } }]
    want:
      - { key: a }
      - { order: x }
  - name: missing field
    given: [{ value: { id: a, amuont: 2 } }]
    want: []
  - name: nothing wanted
    given: []
    want: []
`)
	var summary strings.Builder
	for _, r := range results {
		passed := "FAIL"
		if r.Passed {
			passed = "ok"
		}
		summary.WriteString(passed + " " + r.Name + " " + r.Position.String() + "\n" + r.Detail + "\n")
	}
	golden(t, "tests.txt", summary.String())
}

func TestPipelineTestsOfTheDesignSample(t *testing.T) {
	specs, _ := loadFile(t, "design.yaml")
	for _, s := range specs {
		for _, r := range RunTests(s) {
			if !r.Passed {
				t.Errorf("%s: %s", r.Name, r.Detail)
			}
		}
	}
}

func TestPipelineTestsOfWindowsAndJoins(t *testing.T) {
	text, err := os.ReadFile("testdata/stateful.yaml")
	if err != nil {
		t.Fatal(err)
	}
	results := runTests(t, string(text))
	if len(results) != 6 {
		t.Errorf("%d tests ran", len(results))
	}
	for _, r := range results {
		if !r.Passed {
			t.Errorf("%s %s: %s", r.Position, r.Name, r.Detail)
		}
	}
}
