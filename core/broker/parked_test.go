package broker_test

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/milldam/milldam/core/broker"
)

// longPoll is a fetch of what is not there yet, which takes n bytes of the memory for requests.
func longPoll(wait time.Duration, n int) *kmsg.FetchRequest {
	req := kmsg.NewPtrFetchRequest()
	req.SetVersion(12)
	req.MaxWaitMillis, req.MinBytes, req.MaxBytes, req.Rack = int32(wait.Milliseconds()), 1, 1<<20, strings.Repeat("r", n)
	topic, p := kmsg.NewFetchRequestTopic(), kmsg.NewFetchRequestTopicPartition()
	topic.Topic, p.PartitionMaxBytes = "t", 1<<20
	topic.Partitions = append(topic.Partitions, p)
	req.Topics = append(req.Topics, topic)
	return req
}

// TestLongPollsTakeNoMemoryFromOthers parks fetches that together are as large as all requests may be.
func TestLongPollsTakeNoMemoryFromOthers(t *testing.T) {
	bubble(t, nil, func(t *testing.T, r *running) {
		const wait, share = 5 * time.Second, broker.DefaultRequestBytes / 6
		began := time.Now()
		for range 6 { // with their other fields, five of them fit
			r.caller(t).send(longPoll(wait, share))
			synctest.Wait()
		}
		next := r.caller(t)
		next.send(kmsg.NewPtrApiVersionsRequest())
		next.receive(kmsg.NewPtrApiVersionsResponse())
		if waited := time.Since(began); waited != 0 {
			t.Errorf("a request waited %v for long polls", waited)
		}
	})
}

// TestTooManyLongPollsAreAnsweredAtOnce: what waits has a bound too.
func TestTooManyLongPollsAreAnsweredAtOnce(t *testing.T) {
	bubble(t, nil, func(t *testing.T, r *running) {
		const wait, share = 5 * time.Second, broker.DefaultRequestBytes / 6
		var callers []*caller
		for range 6 {
			c := r.caller(t)
			c.send(longPoll(wait, share))
			callers = append(callers, c)
			synctest.Wait()
		}
		began := time.Now()
		for i := len(callers) - 1; i >= 0; i-- {
			callers[i].receive(longPollResponse())
			if waited, last := time.Since(began), i == len(callers)-1; last != (waited == 0) {
				t.Errorf("long poll %d was answered after %v", i, waited)
			}
		}
	})
}

func longPollResponse() *kmsg.FetchResponse {
	resp := kmsg.NewPtrFetchResponse()
	resp.SetVersion(12)
	return resp
}
