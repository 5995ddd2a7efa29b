package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// load is something that is asked of every system in the same way.
type load struct {
	name string
	unit string // of sample.Rate
	run  func(s *server) (sample, error)
	each time.Duration // about what a measurement takes, on a quiet machine
	// writes says that it fills the page cache.
	writes bool
	// fresh, when not 0, gives every round a topic of its own with so many partitions, so that the round contains the making of its files.
	fresh int
	// skip names systems that are left out: what the load asks of them is asked of another.
	skip    []string
	targets []target
}

// stage is loads that share a topic.
type stage struct {
	partitions int // 0 is no topic
	// prepare is called once for each system; without it the first load runs unmeasured: the first time files are made that are there from then on.
	prepare func(s *server) error
	setup   time.Duration // about what making the topic and prepare take
	keep    bool          // the loads need what prepare wrote, so the topic is not made anew when it is large
	dear    bool          // minutes; -quick leaves it out
	loads   []load
}

// sample is one measurement. What a load does not measure is 0.
type sample struct {
	Rate  float64 `json:"rate,omitempty"`                // in the load's unit
	Mean  float64 `json:"mean_ms,omitempty"`             // of what the client waits for
	P50   float64 `json:"p50_ms,omitempty"`              // of what the client waits for
	P99   float64 `json:"p99_ms,omitempty"`              //
	P999  float64 `json:"p99.9_ms,omitempty"`            //
	Bytes float64 `json:"-"`                             // that the broker took or gave
	CPU   float64 `json:"core_seconds_per_gb,omitempty"` // of the broker's process
	RSS   float64 `json:"resident_mib,omitempty"`        // of the broker's process, after the load
}

// measures names the fields of a sample, and says which is better.
var measures = []struct {
	name   string
	of     func(*sample) *float64
	higher bool // is better
}{
	{"rate", func(s *sample) *float64 { return &s.Rate }, true},
	{"mean ms", func(s *sample) *float64 { return &s.Mean }, false},
	{"p50 ms", func(s *sample) *float64 { return &s.P50 }, false},
	{"p99 ms", func(s *sample) *float64 { return &s.P99 }, false},
	{"p99.9 ms", func(s *sample) *float64 { return &s.P999 }, false},
	{"core-s/GB", func(s *sample) *float64 { return &s.CPU }, false},
	{"RSS MiB", func(s *sample) *float64 { return &s.RSS }, false},
}

// comparison is one load on one system.
type comparison struct {
	Load   string   `json:"load"`
	Unit   string   `json:"unit"`
	System string   `json:"system"`
	Median sample   `json:"median"`
	Rounds []sample `json:"rounds"`
	Error  string   `json:"error,omitempty"` // why there are no more rounds, and those there are say nothing
	// Stopped is why there are fewer rounds than asked for, though nothing failed.
	Stopped string `json:"stopped,omitempty"`
}

// comparePeers runs every load on every system in turn, round after round, and returns medians. Interrupted, it returns what it has.
func comparePeers(ctx context.Context, o peerOptions) (results []comparison, verdicts []verdict, err error) {
	wanted, err := regexp.Compile(o.only)
	if err != nil {
		return nil, nil, fmt.Errorf("-run: %w", err)
	}
	dir, err := os.MkdirTemp("", "milldam-bench")
	if err != nil {
		return nil, nil, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	t, err := buildGenerator(dir)
	if err != nil {
		return nil, nil, err
	}
	if err := t.prepareProfiles(o.profile); err != nil {
		return nil, nil, err
	}
	systems, err := t.systems(o.systems)
	if err != nil {
		return nil, nil, err
	}
	defer func() {
		for _, s := range systems {
			err = errors.Join(err, s.wipe())
		}
	}()
	c := &comparer{tools: t, peerOptions: o, ctx: ctx, systems: systems}
	c.startAll()
	for _, st := range t.stages(o) {
		if st.dear && o.quick {
			continue
		}
		st.loads = slices.DeleteFunc(st.loads, func(l load) bool { return !wanted.MatchString(l.name) })
		if len(st.loads) > 0 {
			c.plan(st)
		}
	}
	for _, st := range c.stages {
		c.stage(st)
	}
	return c.results, c.verdicts, nil
}

// report prints what is left to print after the last load.
func (o peerOptions) report(results []comparison, verdicts []verdict) error {
	switch o.output {
	case "json":
		e := json.NewEncoder(os.Stdout)
		e.SetIndent("", "  ")
		return e.Encode(map[string]any{"apiVersion": "v1", "rows": results, "verdicts": verdicts})
	case "markdown":
		if err := verdictTable(os.Stdout, verdicts, true); err != nil {
			return err
		}
		if err := peerTable(results, true); err != nil {
			return err
		}
		return failureTable(results, true)
	}
	if err := failureTable(results, false); err != nil {
		return err
	}
	return verdictTable(os.Stdout, verdicts, false)
}

// failureTable says why a system has fewer rounds at a load than the others, where one has.
func failureTable(list []comparison, markdown bool) error {
	rows := [][]string{{"Load", "System", "Rounds", "Why no more"}}
	for _, c := range list {
		if reason := cmp.Or(c.Error, c.Stopped); reason != "" {
			why, _, _ := strings.Cut(reason, "\n") // what a program printed follows, and is in the JSON
			rows = append(rows, []string{c.Load, c.System, strconv.Itoa(len(c.Rounds)), why})
		}
	}
	if len(rows) == 1 {
		return nil
	}
	return printRows(os.Stdout, rows, markdown)
}

type peerOptions struct {
	rounds         int
	output, only   string
	systems        []string
	warm, duration time.Duration
	limit          time.Duration // no round begins later
	quick          bool
	profile        string // folder of profiles, or empty
}

// observe runs fn and adds what the broker's process used meanwhile.
func (s *server) observe(fn func(*server) (sample, error)) (sample, error) {
	before, err := s.cpuSeconds()
	if err != nil {
		return sample{}, err
	}
	m, err := fn(s)
	if err != nil {
		return sample{}, err
	}
	after, err := s.cpuSeconds() // of a process that was started anew meanwhile it says nothing, and no load asks
	if err != nil {
		return sample{}, err
	}
	if m.Bytes > 0 {
		m.CPU = (after - before) / (m.Bytes / 1e9)
	}
	m.RSS, err = s.residentMiB()
	return m, err
}

func medianSample(rounds []sample) sample {
	var out sample
	for _, m := range measures {
		var values []float64
		for i := range rounds {
			values = append(values, *m.of(&rounds[i]))
		}
		*m.of(&out) = median(values)
	}
	return out
}

// peerTable prints loads: a line for each system, with what its figures are of Kafka's.
func peerTable(list []comparison, markdown bool) error {
	shown := measures[:0:0]
	for _, m := range measures {
		if slices.ContainsFunc(list, func(c comparison) bool { return *m.of(&c.Median) > 0 }) {
			shown = append(shown, m)
		}
	}
	head := []string{"Load", "System", "Unit", "Rounds"}
	for _, m := range shown {
		head = append(head, m.name, "of Kafka's")
	}
	rows := [][]string{head}
	for i := range list {
		line := []string{list[i].Load, list[i].System, list[i].Unit, strconv.Itoa(len(list[i].Rounds))}
		for _, m := range shown {
			v := *m.of(&list[i].Median)
			if v == 0 {
				line = append(line, "-", "-")
				continue
			}
			line = append(line, number(v), ofKafka(list, list[i].Load, v, m.of))
		}
		rows = append(rows, line)
	}
	return printRows(os.Stdout, rows, markdown)
}

// ofKafka is v as a multiple of Kafka's with its defaults.
func ofKafka(list []comparison, load string, v float64, of func(*sample) *float64) string {
	for i := range list {
		if peer := *of(&list[i].Median); list[i].Load == load && list[i].System == kafkaDefault && peer > 0 {
			return fmt.Sprintf("%.2f", v/peer)
		}
	}
	return "-"
}

// buildGenerator builds the load generator of ../shared/peers/limits.
func buildGenerator(dir string) (*tools, error) {
	limits, found := limitsDir()
	if !found {
		return nil, errors.New("no ../shared/peers beside the checkout: the peers and the load generator come from there")
	}
	t := &tools{dir: dir, limits: true, program: "bin/milldam"}
	return t, goCommand(limits, "build", "-o", filepath.Join(dir, "gen"), "./gen")
}
