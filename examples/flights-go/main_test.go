package main

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"testing"
	"time"

	"github.com/milldam/milldam/examples/flights"
	"github.com/milldam/milldam/streams"
	"github.com/milldam/milldam/streams/streamtest"
)

// TestDailyDelays compares all of the result with what a plain loop over the files finds.
func TestDailyDelays(t *testing.T) {
	partitions := map[string]int32{"flights": 4, "airports": 4, "delays-daily": 4}
	d := streamtest.New(t, dailyDelays(), streams.SimulationOptions{Partitions: partitions})
	known := sendAirports(t, d)
	want := sendFlights(t, d, known)
	d.Advance(5 * time.Second)

	total, got := int64(0), streamtest.Out(d, "delays-daily", streams.String, streams.JSON[delays]()).Read()
	for _, r := range got {
		key := r.Value.Origin + r.Value.Day
		if r.Key != r.Value.Origin || r.Value != want[key] {
			t.Fatalf("%s: got %+v, want %+v", r.Key, r.Value, want[key])
		}
		total += r.Value.Flights
		delete(want, key)
	}
	if len(got) != 6901 || total != 20_000 || len(want) > 0 {
		t.Errorf("%d days of %d flights, %d missing; want 6901 of 20000", len(got), total, len(want))
	}
	if late := d.Metrics().Late.Load(); late > 0 {
		t.Errorf("%d late", late)
	}
	example := delays{"DTW", "2001-01-01", 6, -3.3333333333333335, 66, "Detroit Metropolitan-Wayne County", "MI"}
	for _, r := range got {
		if r.Value.Origin == example.Origin && r.Value.Day == example.Day && r.Value != example {
			t.Errorf("got %+v, want %+v", r.Value, example)
		}
	}
}

// sendAirports fills the table, and returns it.
func sendAirports(t *testing.T, d *streamtest.Driver) map[string]airport {
	t.Helper()
	rows, err := csv.NewReader(bytes.NewReader(flights.Airports)).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	known := map[string]airport{}
	table := streamtest.In(d, "airports", streams.String, streams.JSON[airport]())
	for _, row := range rows[1:] { // iata, name, city, state
		known[row[0]] = airport{row[1], row[3]}
		table.Send(row[0], known[row[0]], time.UnixMilli(0))
	}
	return known
}

// sendFlights sends all flights, and returns what is to come of them by key and day.
func sendFlights(t *testing.T, d *streamtest.Driver, known map[string]airport) map[string]delays {
	t.Helper()
	want, sum := map[string]delays{}, map[string]int64{}
	var messages []streams.Message
	for line := range bytes.Lines(flights.Data) {
		var f struct {
			Date, Origin string
			Delay        int64
		}
		if err := json.Unmarshal(line, &f); err != nil {
			t.Fatal(err)
		}
		at, err := time.Parse("2006/01/02 15:04", f.Date)
		if err != nil {
			t.Fatal(err)
		}
		day := at.Format(time.DateOnly)
		w, seen := want[f.Origin+day]
		if !seen {
			w = delays{Origin: f.Origin, Day: day, Worst: f.Delay, Airport: known[f.Origin].Name, State: known[f.Origin].State}
		}
		w.Flights++
		w.Worst = max(w.Worst, f.Delay)
		sum[f.Origin+day] += f.Delay
		w.Mean = float64(sum[f.Origin+day]) / float64(w.Flights)
		want[f.Origin+day] = w
		messages = append(messages, streams.Message{Key: []byte(f.Origin), Value: bytes.TrimSpace(line), Time: at})
	}
	if err := d.Simulation().Send("flights", messages...); err != nil {
		t.Fatal(err)
	}
	return want
}
