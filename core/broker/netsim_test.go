package broker_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/milldam/milldam/core/netsim"
	"github.com/milldam/milldam/core/vfs"
)

// TestABrokenNetworkNeitherLosesNorDoubles has an idempotent producer on a network that is reset, cut off, and deaf in one direction, which is the worst: the
// broker has the records, and its answers are lost.
func TestABrokenNetworkNeitherLosesNorDoubles(t *testing.T) {
	r := start(t, vfs.NewMem())
	network := netsim.New()
	l, err := network.Listen("broker:9092")
	must(t, err)
	r.serve(l)
	cl, err := kgo.NewClient(kgo.SeedBrokers("broker:9092"), kgo.Dialer(network.Dialer("client")), kgo.AllowAutoTopicCreation(), kgo.DefaultProduceTopic("t"),
		kgo.MetadataMinAge(10*time.Millisecond), kgo.RetryBackoffFn(func(int) time.Duration { return 5 * time.Millisecond }), kgo.ProducerLinger(0))
	must(t, err)
	defer cl.Close()
	faults := []func(){
		func() { network.Reset("client", "broker") },
		func() { network.Drop("broker", "client") },
		func() { network.Reset("client", "broker") }, // what waited for an answer is sent again
		func() { network.Heal("client", "broker") },
		func() { network.Cut("client", "broker") },
		func() { network.Reset("client", "broker"); network.Heal("client", "broker") },
		func() { network.Delay("client", "broker", 20*time.Millisecond) },
		func() { network.Reset("client", "broker") },
	}
	const count, every = 4000, 500
	for i := range count {
		cl.Produce(t.Context(), &kgo.Record{Value: []byte(fmt.Sprint(i))}, func(_ *kgo.Record, err error) {
			if err != nil {
				t.Errorf("record %d was given up: %v", i, err)
			}
		})
		if i%every == every/2 {
			faults[i/every]()
		}
	}
	must(t, cl.Flush(within(t)))
	reader := r.client(t, kgo.ConsumeTopics("t"), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	for next := 0; next < count; {
		fetches := reader.PollFetches(within(t))
		must(t, fetches.Err())
		for _, rec := range fetches.Records() {
			if string(rec.Value) != fmt.Sprint(next) {
				t.Fatalf("offset %d holds %s, want %d", rec.Offset, rec.Value, next)
			}
			next++
		}
	}
}
