package main

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/milldam/milldam/core/client"
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

// summaryPatience bounds the reading of the results.
const summaryPatience = 30 * time.Second

// summarize reads the results. What differs from what the input must give stands in Wrong.
func (d *demo) summarize(ctx context.Context, admin *kadm.Client) (*demoSummary, error) {
	s := &demoSummary{APIVersion: "v1", Seconds: time.Since(d.started).Seconds()}
	ctx, cancel := context.WithTimeout(ctx, summaryPatience)
	defer cancel()
	ends, err := admin.ListEndOffsets(ctx, "flights", "delays-daily")
	if err == nil {
		err = ends.Error()
	}
	if err != nil {
		return nil, fmt.Errorf("look up the results: %w", err)
	}
	windows := map[int32]int64{}
	ends.Each(func(o kadm.ListedOffset) {
		if o.Topic == "flights" {
			s.RecordsIn += o.Offset
		} else {
			windows[o.Partition] = o.Offset
		}
	})
	distinct, err := d.readWindows(ctx, windows, s)
	if err != nil {
		return nil, err
	}
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
	check("different origin-days", int64(distinct), flights.OriginDays)
	check("flights counted in all windows", s.Counted, flights.Flights)
	if s.Objects == 0 {
		s.Wrong = append(s.Wrong, "no Parquet objects")
	}
	s.Correct = len(s.Wrong) == 0
	return s, nil
}

// readWindows reads delays-daily up to ends, and returns how many different origin-days it holds.
func (d *demo) readWindows(ctx context.Context, ends map[int32]int64, s *demoSummary) (distinct int, err error) {
	cl, err := client.New(d.node.Client(), kgo.ConsumeTopics("delays-daily"), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	if err != nil {
		return 0, err
	}
	defer cl.Close()
	left, seen := int64(0), map[string]bool{}
	for _, end := range ends {
		left += end
	}
	for left > 0 {
		fetches := cl.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			return 0, fmt.Errorf("read delays-daily: %w", err)
		}
		for r := range fetches.RecordsAll() {
			if r.Offset >= ends[r.Partition] {
				continue
			}
			var day struct {
				Origin, Day string
				Flights     int64
			}
			if err := json.Unmarshal(r.Value, &day); err != nil {
				return 0, fmt.Errorf("delays-daily-%d at offset %d: %w", r.Partition, r.Offset, err)
			}
			left--
			s.WindowsOut++
			s.Counted += day.Flights
			seen[day.Origin+" "+day.Day] = true
		}
	}
	return len(seen), nil
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
	fmt.Fprintf(a.out, "Not what the input gives:\n  %s\nAfter a crash in the middle some records come twice (at least once); a new --dir starts afresh.\n", strings.Join(s.Wrong, "\n  "))
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
