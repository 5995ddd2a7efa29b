// Package streamtest runs a topology in a test, without a broker and without waiting.
//
//	d := streamtest.New(t, topology, streams.SimulationOptions{})
//	clicks := streamtest.In(d, "clicks", streams.String, streams.JSON[Click]())
//	counts := streamtest.Out(d, "counts", streams.String, streams.Int64)
//	clicks.Send("home", Click{...}, at)
//	d.Advance(time.Minute)
//	got := counts.Read()
//
// It is streams.Simulation with types, that ends the test on an error: the same tasks, stores and commits as in a worker, in a
// fixed order, with a clock that only Advance moves. Restart forgets what is not committed, as a crash does.
//
// Files: driver.go.
package streamtest
