package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// load is something that is asked of every system in the same way.
type load struct {
	name string
	unit string // of sample.Rate

	partitions int // of the topic; 0 is no topic
	// fresh gives every round a topic of its own, so that the round contains the making of its files.
	fresh bool
	// prepare is called once for each system, before its first round.
	prepare func(s *server) error
	run     func(s *server) (sample, error)
	// skip names systems that are left out: what the load asks of them is asked of another, or takes them minutes.
	skip    []string
	targets []target
}

// sample is one measurement. What a load does not measure is 0.
type sample struct {
	Rate  float64 `json:"rate,omitempty"`                // in the load's unit
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
	Error  string   `json:"error,omitempty"` // why there are no more rounds
}

// comparePeers runs every load on every system in turn, round after round, and prints medians.
func comparePeers(o peerOptions) (err error) {
	wanted, err := regexp.Compile(o.only)
	if err != nil {
		return fmt.Errorf("-run: %w", err)
	}
	dir, err := os.MkdirTemp("", "milldam-bench")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	t, err := buildGenerator(dir)
	if err != nil {
		return err
	}
	systems, err := t.systems(o.systems)
	if err != nil {
		return err
	}
	defer func() {
		for _, s := range systems {
			err = errors.Join(err, s.wipe())
		}
	}()
	for _, s := range systems {
		say("%s: start", s.name)
		if err := s.start(0); err != nil {
			return err
		}
	}
	idle, err := idleMemory(systems)
	if err != nil {
		return err
	}
	for _, s := range systems {
		if err := t.warmUp(s, o.warm); err != nil {
			return fmt.Errorf("warm up %s: %w", s.name, err)
		}
	}
	results, verdicts := idle, load{name: idle[0].Load, targets: []target{fifthRSS}}.judge(idle)
	for _, l := range t.loads(o.duration) {
		if !wanted.MatchString(l.name) {
			continue
		}
		began := time.Now()
		list := l.compare(systems, o.rounds, o.until)
		say("%s: %s", l.name, time.Since(began).Round(time.Second))
		results, verdicts = append(results, list...), append(verdicts, l.judge(list)...)
		if o.output == "table" {
			if err := peerTable(list, false); err != nil {
				return err
			}
		}
	}
	return o.report(idle, results, verdicts)
}

// report prints what is left to print after the last load.
func (o peerOptions) report(idle, results []comparison, verdicts []verdict) error {
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
	if err := peerTable(idle, false); err != nil {
		return err
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
		if c.Error != "" {
			why, _, _ := strings.Cut(c.Error, "\n") // what a program printed follows, and is in the JSON
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
	until          time.Time // no round begins after it
}

// idleTime is how long a broker that nobody talks to is left alone before its memory is read.
const idleTime = 10 * time.Second

func idleMemory(systems []*server) ([]comparison, error) {
	say("memory while idle")
	<-time.After(idleTime)
	var list []comparison
	for _, s := range systems {
		rss, err := s.residentMiB()
		if err != nil {
			return nil, err
		}
		m := sample{RSS: rss}
		list = append(list, comparison{Load: "idle, after the start", System: s.name, Median: m, Rounds: []sample{m}})
	}
	return list, nil
}

// compare measures the systems in turn. One that fails has no more rounds, and the others go on; nor does a round begin after until.
func (l load) compare(systems []*server, rounds int, until time.Time) []comparison {
	var list []comparison
	var taking []*server
	for _, s := range systems {
		if slices.Contains(l.skip, s.name) {
			continue
		}
		taking = append(taking, s)
		list = append(list, comparison{Load: l.name, Unit: l.unit, System: s.name})
		if !time.Now().Before(until) {
			list[len(list)-1].Error = timeOver
		} else if err := l.begin(s); err != nil {
			list[len(list)-1].failed(err)
		}
	}
	for n := range rounds {
		for i, s := range taking {
			if list[i].Error != "" || !time.Now().Before(until) {
				continue
			}
			say("%s, %s, %d of %d", l.name, s.name, n+1, rounds)
			m, err := l.round(s)
			if err != nil {
				list[i].failed(err)
				continue
			}
			list[i].Rounds = append(list[i].Rounds, m)
		}
	}
	for i := range list {
		if len(list[i].Rounds) > 0 {
			list[i].Median = medianSample(list[i].Rounds)
		}
		if list[i].Error == timeOver && len(list[i].Rounds) == 0 {
			continue // it was not begun
		}
		if err := l.end(taking[i]); err != nil {
			list[i].failed(err)
		}
	}
	return list
}

// timeOver is the Error of a load that was not begun.
const timeOver = "the time was over"

func (c *comparison) failed(err error) {
	if c.Error == "" {
		c.Error = err.Error()
	}
	say("%s on %s: %v", c.Load, c.System, err)
}

// begin makes the topic, and runs the load once unmeasured: the first time files are made that are there from then on.
func (l load) begin(s *server) error {
	if l.partitions == 0 || l.fresh {
		return nil
	}
	if err := s.createTopic(l.partitions); err != nil {
		return err
	}
	if l.prepare != nil {
		return l.prepare(s)
	}
	_, err := l.run(s)
	return err
}

func (l load) round(s *server) (m sample, err error) {
	if l.fresh {
		if err := s.createTopic(l.partitions); err != nil {
			return m, err
		}
		defer func() { err = errors.Join(err, s.deleteTopic()) }()
	}
	syscall.Sync() // what the one before left to write is not this one's work
	return s.observe(l.run)
}

func (l load) end(s *server) error {
	if l.partitions > 0 && !l.fresh {
		return s.deleteTopic()
	}
	return nil
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
	t := &tools{dir: dir, limits: true}
	return t, goCommand(limits, "build", "-o", filepath.Join(dir, "gen"), "./gen")
}
