package main

import (
	"context"
	"log"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/milldam/milldam/core/client"
	"github.com/milldam/milldam/streams"
)

type flight struct{ Delay int64 }

type airport struct{ Name, State string }

type sums struct{ Flights, Delay, Worst int64 }

type delays struct {
	Origin  string  `json:"origin"`
	Day     string  `json:"day"`
	Flights int64   `json:"flights"`
	Mean    float64 `json:"mean_delay"`
	Worst   int64   `json:"worst_delay"`
	Airport string  `json:"airport"`
	State   string  `json:"state"`
}

// dailyDelays sums up the flights of each airport and day, and adds what is known of the airport.
func dailyDelays() *streams.Topology {
	t := streams.NewTopology()
	airports := t.Table("airports", streams.String, streams.JSON[airport]())
	t.Stream("flights", streams.String, streams.JSON[flight]()).IdleAfter(5*time.Second).
		GroupByKey().
		Window(streams.Tumbling(24*time.Hour)).
		Aggregate("daily", func() sums { return sums{Worst: -1 << 31} }, func(s sums, f flight) sums {
			return sums{s.Flights + 1, s.Delay + f.Delay, max(s.Worst, f.Delay)}
		}).
		Final(func(origin string, day streams.Window, s sums) delays {
			return delays{origin, day.Start.Format(time.DateOnly), s.Flights, float64(s.Delay) / float64(s.Flights), s.Worst, "", ""}
		}).
		LeftJoin("airport", airports, func(d delays, a airport, _ bool) delays {
			d.Airport, d.State = a.Name, a.State
			return d
		}).
		To("delays-daily")
	return t
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	o := streams.Options{ApplicationID: "flights-go", Client: client.Options{Brokers: os.Args[1:]}}
	if err := dailyDelays().Run(ctx, o); err != nil {
		log.Fatal(err)
	}
}
