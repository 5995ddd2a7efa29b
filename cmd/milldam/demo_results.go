package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/milldam/milldam/core/client"
)

// demoResults reads what the pipelines have made so far, as any reader of committed records sees it. Offsets would count the markers of
// transactions, and what a crash left in aborted ones.
type demoResults struct {
	client  *kgo.Client
	flights int64
	windows int64
	counted int64 // flights in all windows together
	days    map[string]bool
}

// resultsPatience is how long one look may wait for records that are not there yet.
const resultsPatience = 20 * time.Millisecond

func newDemoResults(o client.Options) (*demoResults, error) {
	cl, err := client.New(o, kgo.ConsumeTopics("flights", "delays-daily"), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
		kgo.FetchIsolationLevel(kgo.ReadCommitted()))
	if err != nil {
		return nil, err
	}
	return &demoResults{client: cl, days: map[string]bool{}}, nil
}

func (r *demoResults) close() { r.client.Close() }

// take counts what has come since the last call. What the broker does not answer yet comes with a later one.
func (r *demoResults) take(ctx context.Context) error {
	for {
		polling, cancel := context.WithTimeout(ctx, resultsPatience)
		fetches := r.client.PollFetches(polling)
		cancel()
		if fetches.NumRecords() == 0 {
			return nil
		}
		for record := range fetches.RecordsAll() {
			if err := r.add(record); err != nil {
				return err
			}
		}
	}
}

func (r *demoResults) add(record *kgo.Record) error {
	if record.Topic == "flights" {
		r.flights++
		return nil
	}
	var day struct {
		Origin, Day string
		Flights     int64
	}
	if err := json.Unmarshal(record.Value, &day); err != nil {
		return errors.Join(fmt.Errorf("delays-daily-%d at offset %d is no result of the demo", record.Partition, record.Offset), err)
	}
	r.windows++
	r.counted += day.Flights
	r.days[day.Origin+" "+day.Day] = true
	return nil
}
