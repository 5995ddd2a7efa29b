package broker_test

import (
	"bytes"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/milldam/milldam/core/meta"
	"github.com/milldam/milldam/core/record"
	"github.com/milldam/milldam/core/vfs"
	"github.com/milldam/milldam/core/wire"
)

// caller is one connection of a client in a bubble.
type caller struct {
	t    *testing.T
	conn net.Conn
}

func (r *running) caller(t *testing.T) *caller {
	conn, err := r.memory.Dial(t.Context(), "tcp", "embedded:9092")
	must(t, err)
	t.Cleanup(func() { conn.Close() })
	return &caller{t, conn}
}

// send writes a request of the client "c" and returns how large it is behind the four bytes of its size.
func (c *caller) send(req kmsg.Request) int {
	c.t.Helper()
	frame := kmsg.NewRequestFormatter(kmsg.FormatterClientID("c")).AppendRequest(nil, req, 77)
	_, err := c.conn.Write(frame)
	must(c.t, err)
	return len(frame) - 4
}

func (c *caller) receive(resp kmsg.Response) {
	c.t.Helper()
	must(c.t, readResponse(c.conn, resp))
}

// bubble runs fn with a broker that has quotas, in virtual time.
func bubble(t *testing.T, quotas map[meta.QuotaEntity][]meta.QuotaOp, fn func(*testing.T, *running)) {
	synctest.Test(t, func(t *testing.T) {
		r := startInMemory(t, vfs.NewMem(), nil)
		_, err := r.controller.CreateTopic(t.Context(), meta.NewTopic{Name: "t", Partitions: 1, Replicas: 1}, false)
		must(t, err)
		for e, ops := range quotas {
			must(t, r.controller.AlterQuota(t.Context(), e, ops, false))
		}
		fn(t, r)
		r.close()
	})
}

func quotaOf(key string, value float64) map[meta.QuotaEntity][]meta.QuotaOp {
	return map[meta.QuotaEntity][]meta.QuotaOp{{ClientID: meta.Named("c")}: {{Key: key, Value: value}}}
}

// produceOf is a request with one record of n bytes.
func produceOf(t *testing.T, acks int16, n int) *kmsg.ProduceRequest {
	var b record.Builder
	b.Reset(record.NewBatchOptions())
	b.Append(time.Now().UnixMilli(), nil, bytes.Repeat([]byte("x"), n))
	batch, err := b.Build(nil)
	must(t, err)
	return produceTo(acks, batch, "t")
}

// TestProducersAreThrottledAsKafkasAre: two requests at once, of twice what is allowed in ten windows together. Kafka takes the missing windows as if nothing had come in
// them, so the rate is over 10 s, and the connection stays unread until it is within the quota again.
func TestProducersAreThrottledAsKafkasAre(t *testing.T) {
	bubble(t, quotaOf(meta.ProducerByteRate, 1000), func(t *testing.T, r *running) {
		c := r.caller(t)
		began := time.Now()
		size := c.send(produceOf(t, -1, 10_000))
		resp := kmsg.NewPtrProduceResponse()
		resp.SetVersion(9)
		c.receive(resp)
		want := int32((float64(size)/10-1000)/1000*10_000 + 0.5) // over 10 s
		if resp.ThrottleMillis != want || resp.Topics[0].Partitions[0].ErrorCode != 0 {
			t.Errorf("throttled for %d ms, want %d, after a request of %d bytes: %+v", resp.ThrottleMillis, want, size, resp.Topics)
		}
		if waited := time.Since(began); waited >= time.Second {
			t.Errorf("the response came after %v, it is the next request that waits", waited)
		}
		c.send(kmsg.NewPtrApiVersionsRequest())
		c.receive(kmsg.NewPtrApiVersionsResponse())
		if waited := time.Since(began); waited.Milliseconds() != int64(want) {
			t.Errorf("the next request was answered after %v, want %d ms", waited, want)
		}
		other := r.caller(t)
		other.send(produceOf(t, 0, 20_000)) // has no response to say it in
		other.send(kmsg.NewPtrApiVersionsRequest())
		other.receive(kmsg.NewPtrApiVersionsResponse())
		if waited := time.Since(began); waited < 10*time.Second {
			t.Errorf("without acknowledgements nobody was throttled: %v", waited)
		}
	})
}

// TestQuotasOfOthersDoNotThrottle has a quota for another client, and none that applies.
func TestQuotasOfOthersDoNotThrottle(t *testing.T) {
	bubble(t, map[meta.QuotaEntity][]meta.QuotaOp{{ClientID: meta.Named("other")}: {{Key: meta.ProducerByteRate, Value: 1}}}, func(t *testing.T, r *running) {
		c := r.caller(t)
		c.send(produceOf(t, -1, 10_000))
		resp := kmsg.NewPtrProduceResponse()
		resp.SetVersion(9)
		if c.receive(resp); resp.ThrottleMillis != 0 {
			t.Errorf("throttled for %d ms", resp.ThrottleMillis)
		}
	})
}

// TestConsumersOverTheirQuotaGetNothingYet fetches more than the quota allows: the response is empty and says how long to wait, and what was not sent is not counted.
func TestConsumersOverTheirQuotaGetNothingYet(t *testing.T) {
	bubble(t, quotaOf(meta.ConsumerByteRate, 1000), func(t *testing.T, r *running) {
		c := r.caller(t)
		for range 2 {
			c.send(produceOf(t, -1, 6000))
			resp := kmsg.NewPtrProduceResponse()
			resp.SetVersion(9)
			c.receive(resp)
		}
		fetch := func(offset int64) (*kmsg.FetchResponse, int) {
			req := kmsg.NewPtrFetchRequest()
			req.MaxBytes, req.MinBytes, req.ReplicaID = 1<<20, 1, -1
			req.SetVersion(11)
			topic, p := kmsg.NewFetchRequestTopic(), kmsg.NewFetchRequestTopicPartition()
			topic.Topic, p.FetchOffset, p.PartitionMaxBytes, p.CurrentLeaderEpoch = "t", offset, 6500, -1
			topic.Partitions = append(topic.Partitions, p)
			req.Topics = append(req.Topics, topic)
			c.send(req)
			resp := kmsg.NewPtrFetchResponse()
			resp.SetVersion(11)
			c.receive(resp)
			if len(resp.Topics) == 0 {
				return resp, 0
			}
			return resp, len(resp.Topics[0].Partitions[0].RecordBatches)
		}
		began := time.Now()
		if resp, n := fetch(0); n < 6000 || resp.ThrottleMillis != 0 {
			t.Fatalf("the first: %d bytes, throttled for %d ms", n, resp.ThrottleMillis)
		}
		resp, n := fetch(1)
		if n != 0 || resp.ThrottleMillis < 2000 || resp.ThrottleMillis > 3000 {
			t.Errorf("the second: %d bytes, throttled for %d ms; two of 6,000 bytes are 2.2 s too fast", n, resp.ThrottleMillis)
		}
		// Once the first is out of the windows, the second is let through.
		time.Sleep(12 * time.Second)
		if resp, n := fetch(1); n < 6000 || resp.ThrottleMillis != 0 {
			t.Errorf("later: %d bytes, throttled for %d ms, after %v", n, resp.ThrottleMillis, time.Since(began))
		}
	})
}

// TestTopicsAreMadeAtAPace: a bucket of eleven seconds. Who knows the error gets it for what goes beyond; who does not is throttled.
func TestTopicsAreMadeAtAPace(t *testing.T) {
	for _, strict := range []bool{true, false} {
		bubble(t, quotaOf(meta.ControllerMutationRate, 1), func(t *testing.T, r *running) {
			c := r.caller(t)
			version := int16(5)
			if strict {
				version = 6
			}
			create := func(name string, partitions int32) (wire.Code, int32) {
				req := kmsg.NewPtrCreateTopicsRequest()
				topic := kmsg.NewCreateTopicsRequestTopic()
				topic.Topic, topic.NumPartitions, topic.ReplicationFactor = name, partitions, 1
				req.Topics, req.TimeoutMillis = append(req.Topics, topic), 5000
				req.SetVersion(version)
				c.send(req)
				resp := kmsg.NewPtrCreateTopicsResponse()
				resp.SetVersion(version)
				c.receive(resp)
				return wire.Code(resp.Topics[0].ErrorCode), resp.ThrottleMillis
			}
			code, throttle := create("a", 14) // 11 are in the bucket: 3 too many
			if want := int32(3000); code != wire.None || strict && throttle != 0 || !strict && throttle != want {
				t.Fatalf("strict %v, the first: code %d, throttled for %d ms", strict, code, throttle)
			}
			began := time.Now()
			code, throttle = create("b", 1)
			if strict && (code != wire.ThrottlingQuotaExceeded || throttle != 3000) {
				t.Errorf("the second: code %d, throttled for %d ms, want %d and 3000", code, throttle, wire.ThrottlingQuotaExceeded)
			}
			if !strict && (code != wire.None || time.Since(began) != 3*time.Second) {
				t.Errorf("the second: code %d after %v, want it made after 3 s", code, time.Since(began))
			}
			if strict { // unread for the 3 s
				if code, _ := create("b", 1); code != wire.None || time.Since(began) != 3*time.Second {
					t.Errorf("again: code %d after %v, want it made after 3 s", code, time.Since(began))
				}
			}
		})
	}
}

// TestRequestTimeIsThrottledForAWindowAtMost: a client whose requests take more than their share of a thread.
func TestRequestTimeIsThrottledForAWindowAtMost(t *testing.T) {
	bubble(t, quotaOf(meta.RequestPercentage, 1e-12), func(t *testing.T, r *running) {
		c := r.caller(t)
		c.send(kmsg.NewPtrMetadataRequest())
		c.receive(kmsg.NewPtrMetadataResponse())
		began := time.Now()
		c.send(kmsg.NewPtrMetadataRequest())
		c.receive(kmsg.NewPtrMetadataResponse())
		if waited := time.Since(began); waited > time.Second {
			t.Errorf("muted for %v, a window is 1 s", waited)
		}
	})
}
