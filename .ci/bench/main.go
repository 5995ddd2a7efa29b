// Command bench measures Milldam beside the floor programs of ../shared/peers/limits, which do the least a thing costs on this machine, and prints
// a table. Both are run in turn, several times; the table has the medians. With -peers it measures bin/milldam beside Apache Kafka instead.
//
//	go run ./.ci/bench [-rounds 5] [-o json] [-run REGEXP]
//	go run ./.ci/bench -peers [-quick] [-profile DIR] [-systems LIST] [-warm 20s] [-duration 2s] [-limit 40m] [-rounds 5] [-o json|markdown] [-run REGEXP]
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"text/tabwriter"
	"time"
)

// row is one line of the table: what we do, and the floor. A nil floor has no program.
type row struct {
	name  string
	unit  string
	ours  func() (float64, error)
	floor func() (float64, error)
	what  string // what the floor does
}

// result is a row measured.
type result struct {
	Name   string    `json:"name"`
	Unit   string    `json:"unit"`
	Ours   float64   `json:"ours"`
	Floor  float64   `json:"floor,omitempty"`
	Ratio  float64   `json:"ratio,omitempty"`
	What   string    `json:"floor_does,omitempty"`
	Runs   []float64 `json:"ours_runs"`
	Floors []float64 `json:"floor_runs,omitempty"`
}

func main() {
	rounds := flag.Int("rounds", 5, "how often each is measured")
	output := flag.String("o", "table", "table or json; with -peers also markdown")
	only := flag.String("run", "", "only rows whose name matches")
	peers := flag.Bool("peers", false, "compare with Apache Kafka")
	names := flag.String("systems", strings.Join(allSystems, ","), "with -peers: what to compare")
	warm := flag.Duration("warm", 20*time.Second, "with -peers: how long every system runs before it is measured")
	duration := flag.Duration("duration", 2*time.Second, "with -peers: how long a measurement takes")
	limit := flag.Duration("limit", 40*time.Minute, "with -peers: no measurement begins later than this after the start")
	quick := flag.Bool("quick", false, "with -peers: one short round of the two default systems without the loads of 10,000 partitions, for a hint")
	profile := flag.String("profile", "", "with -peers: a folder for profiles of Milldam, which runs every load once more under perf")
	flag.Parse()
	var err error
	if *peers {
		ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
		defer stop()
		o := peerOptions{rounds: *rounds, output: *output, only: *only, systems: strings.Split(*names, ","), warm: *warm, duration: *duration, limit: *limit, profile: *profile}
		if *quick {
			o = o.hint()
		}
		results, verdicts, failed := comparePeers(ctx, o)
		err = errors.Join(failed, o.report(results, verdicts)) // what was measured is not lost with what failed after it
	} else {
		err = run(*rounds, *output, *only)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(rounds int, output, only string) (err error) {
	wanted, err := regexp.Compile(only)
	if err != nil {
		return fmt.Errorf("-run: %w", err)
	}
	dir, err := os.MkdirTemp("", "milldam-bench")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	say("building")
	tools, err := build(dir)
	if err != nil {
		return err
	}
	var results []result
	for _, r := range tools.rows() {
		if !wanted.MatchString(r.name) {
			continue
		}
		measured, err := measure(r, rounds)
		if err != nil {
			return fmt.Errorf("%s: %w", r.name, err)
		}
		results = append(results, measured)
	}
	if output == "json" {
		e := json.NewEncoder(os.Stdout)
		e.SetIndent("", "  ")
		return e.Encode(map[string]any{"apiVersion": "v1", "rows": results})
	}
	return table(results)
}

// measure runs a row and its floor in turn.
func measure(r row, rounds int) (result, error) {
	out := result{Name: r.name, Unit: r.unit}
	for i := range rounds {
		say("%s, %d of %d", r.name, i+1, rounds)
		v, err := r.ours()
		if err != nil {
			return out, err
		}
		out.Runs = append(out.Runs, v)
		if r.floor == nil {
			continue
		}
		if v, err = r.floor(); err != nil {
			return out, fmt.Errorf("floor: %w", err)
		}
		out.Floors = append(out.Floors, v)
	}
	out.Ours = median(out.Runs)
	if r.floor != nil {
		out.What, out.Floor = r.what, median(out.Floors)
		out.Ratio = out.Ours / out.Floor
	}
	return out, nil
}

func median(values []float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	return sorted[len(sorted)/2]
}

func table(results []result) error {
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "BENCHMARK\tUNIT\tOURS\tFLOOR\tOURS/FLOOR\tTHE FLOOR DOES")
	for _, r := range results {
		floor, ratio := "-", "-"
		if r.Floor > 0 {
			floor, ratio = number(r.Floor), fmt.Sprintf("%.2f", r.Ratio)
		}
		fmt.Fprintln(w, strings.Join([]string{r.Name, r.Unit, number(r.Ours), floor, ratio, r.What}, "\t"))
	}
	return w.Flush()
}

// number has three digits that say something.
func number(v float64) string {
	switch {
	case v >= 100:
		return fmt.Sprintf("%.0f", v)
	case v >= 10:
		return fmt.Sprintf("%.1f", v)
	}
	return fmt.Sprintf("%.2f", v)
}

func say(format string, args ...any) { fmt.Fprintf(os.Stderr, format+"\n", args...) }

// limitsDir is where the floor programs are, beside the checkout.
func limitsDir() (string, bool) {
	dir, err := filepath.Abs("../shared/peers/limits")
	if err != nil {
		return "", false
	}
	_, err = os.Stat(filepath.Join(dir, "go.mod"))
	return dir, err == nil
}
