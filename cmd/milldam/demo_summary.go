package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/milldam/milldam/examples/flights"
	"github.com/milldam/milldam/runtime/node"
)

// demoSummary is what the demo made, counted in the topics and the object store.
type demoSummary struct {
	APIVersion  string   `json:"apiVersion"`
	Correct     bool     `json:"correct"`
	Wrong       []string `json:"wrong,omitempty"`
	RecordsIn   int64    `json:"records_in"`
	WindowsOut  int64    `json:"windows_out"`
	Counted     int64    `json:"flights_counted"` // in all windows together
	Objects     int64    `json:"objects_written"`
	ObjectBytes int64    `json:"object_bytes"`
	Seconds     float64  `json:"seconds"`
}

// summaryPatience bounds the look into the object store.
const summaryPatience = 30 * time.Second

// summarize sums up what was read of the results. What differs from what the input must give stands in Wrong.
func (d *demo) summarize(ctx context.Context) (*demoSummary, error) {
	s := &demoSummary{APIVersion: "v1", Seconds: time.Since(d.started).Seconds()}
	s.RecordsIn, s.WindowsOut, s.Counted = d.results.flights, d.results.windows, d.results.counted
	ctx, cancel := context.WithTimeout(ctx, summaryPatience)
	defer cancel()
	var err error
	if s.Objects, s.ObjectBytes, err = d.storeUsage(ctx); err != nil {
		return nil, err
	}
	check := func(what string, got, want int64) {
		if got != want {
			s.Wrong = append(s.Wrong, fmt.Sprintf("%s: %s, expected %s", what, grouped(got), grouped(want)))
		}
	}
	check("records in flights", s.RecordsIn, flights.Flights)
	check("records in delays-daily", s.WindowsOut, flights.OriginDays)
	check("different origin-days", int64(len(d.results.days)), flights.OriginDays)
	check("flights counted in all windows", s.Counted, flights.Flights)
	if s.Objects == 0 {
		s.Wrong = append(s.Wrong, "no Parquet objects")
	}
	s.Correct = len(s.Wrong) == 0
	return s, nil
}

// print shows the summary.
func (d *demo) print(s *demoSummary) error {
	a := d.app
	if a.output != "table" {
		return a.encode(s)
	}
	err := a.table([]string{"RECORDS IN", "WINDOWS OUT", "OBJECTS", "MB", "SECONDS"}, [][]string{{grouped(s.RecordsIn), grouped(s.WindowsOut), grouped(s.Objects),
		fmt.Sprintf("%.1f", float64(s.ObjectBytes)/1e6), fmt.Sprintf("%.1f", s.Seconds)}})
	if err != nil {
		return err
	}
	if s.Correct {
		fmt.Fprintf(a.out, "Every flight is counted once: the %s windows add up to %s.\n", grouped(s.WindowsOut), grouped(s.Counted))
		return nil
	}
	fmt.Fprintf(a.out, "Not what the input gives:\n  %s\nA new --dir starts afresh.\n", strings.Join(s.Wrong, "\n  "))
	return nil
}

// commands prints what to try next.
func (d *demo) commands() {
	at := ""
	if d.temp {
		at = " -b " + d.node.Endpoints().Kafka
	} else if d.app.dir != node.DefaultDir {
		at = " --dir " + d.app.dir
	}
	fmt.Fprintf(d.app.err, `
Look further:
  milldam tail delays-daily --from start -e%s
  kcat -b %s -t delays-daily -C -e
  milldam pipeline status%s
Parquet: %s
`, at, d.node.Endpoints().Kafka, at, d.lake)
}
