package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"strconv"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// line is what every client prints for a record.
type line struct {
	Partition int32             `json:"partition"`
	Offset    int64             `json:"offset"`
	Key       string            `json:"key"`
	Value     string            `json:"value"`
	Headers   map[string]string `json:"headers"`
	Timestamp int64             `json:"timestamp"`
}

// baseTimestamp and stepMs give record i of a produce the timestamp baseTimestamp + i*stepMs, in all clients that can set it.
const (
	baseTimestamp = 1_000_000
	stepMs        = 1000
)

// franzClient is the command line of a client, on franz-go.
func franzClient(args []string) error {
	ctx := context.Background()
	verb, broker, topic := args[0], args[1], args[2]
	switch verb {
	case "produce":
		first, err := strconv.Atoi(args[4])
		if err != nil {
			return err
		}
		count, err := strconv.Atoi(args[5])
		if err != nil {
			return err
		}
		return franzProduce(ctx, broker, topic, args[3], first, count)
	case "trickle":
		count, err := strconv.Atoi(args[3])
		if err != nil {
			return err
		}
		return franzTrickle(ctx, broker, topic, count)
	case "consume":
		count, err := strconv.Atoi(args[3])
		if err != nil {
			return err
		}
		return franzRead(ctx, count, kgo.SeedBrokers(broker), kgo.ConsumeTopics(topic))
	case "member":
		return franzRead(ctx, -1, kgo.SeedBrokers(broker), kgo.ConsumeTopics(topic), kgo.ConsumerGroup(args[3]),
			kgo.SessionTimeout(6*time.Second), kgo.HeartbeatInterval(time.Second), kgo.AutoCommitInterval(200*time.Millisecond))
	case "consumer-member": // KIP-848, which franz-go has behind this key
		//lint:ignore SA1029 the key is franz-go's
		ctx = context.WithValue(ctx, "opt_in_kafka_next_gen_balancer_beta", true)
		return franzRead(ctx, -1, kgo.WithContext(ctx), kgo.SeedBrokers(broker), kgo.ConsumeTopics(topic), kgo.ConsumerGroup(args[3]), kgo.AutoCommitInterval(200*time.Millisecond))
	case "time":
		ts, err := strconv.ParseInt(args[3], 10, 64)
		if err != nil {
			return err
		}
		return franzTime(ctx, broker, topic, ts)
	}
	return fmt.Errorf("unknown verb %q", verb)
}

func franzProduce(ctx context.Context, broker, topic, codec string, first, count int) error {
	codecs := map[string]kgo.CompressionCodec{"none": kgo.NoCompression(), "gzip": kgo.GzipCompression(),
		"snappy": kgo.SnappyCompression(), "lz4": kgo.Lz4Compression(), "zstd": kgo.ZstdCompression()}
	cl, err := kgo.NewClient(kgo.SeedBrokers(broker), kgo.ProducerBatchCompression(codecs[codec]))
	if err != nil {
		return err
	}
	defer cl.Close()
	var records []*kgo.Record
	for i := first; i < first+count; i++ {
		value := fmt.Sprintf("%s-%d", codec, i)
		records = append(records, &kgo.Record{Topic: topic, Key: fmt.Appendf(nil, "k-%d", i), Value: []byte(value),
			Headers: []kgo.RecordHeader{{Key: "h", Value: []byte(value)}}, Timestamp: time.UnixMilli(int64(baseTimestamp + i*stepMs))})
	}
	return cl.ProduceSync(ctx, records...).FirstErr()
}

// franzTrickle produces numbers in many small batches.
func franzTrickle(ctx context.Context, broker, topic string, count int) error {
	cl, err := kgo.NewClient(kgo.SeedBrokers(broker), kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.ProducerBatchMaxBytes(512), kgo.DefaultProduceTopic(topic),
		kgo.RetryBackoffFn(func(int) time.Duration { return 50 * time.Millisecond }))
	if err != nil {
		return err
	}
	defer cl.Close()
	var records []*kgo.Record
	for i := range count {
		records = append(records, &kgo.Record{Value: fmt.Appendf(nil, "%06d", i), Partition: int32(i % 6)})
	}
	return cl.ProduceSync(ctx, records...).FirstErr()
}

// franzRead prints records until it has seen count of them; -1 has no end.
func franzRead(ctx context.Context, count int, opts ...kgo.Opt) error {
	cl, err := kgo.NewClient(append(opts, kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))...)
	if err != nil {
		return err
	}
	defer cl.Close()
	enc := json.NewEncoder(os.Stdout)
	for seen := 0; count < 0 || seen < count; {
		fetches := cl.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			return err
		}
		for _, r := range fetches.Records() {
			l := line{Partition: r.Partition, Offset: r.Offset, Key: string(r.Key), Value: string(r.Value),
				Headers: map[string]string{}, Timestamp: r.Timestamp.UnixMilli()}
			for _, h := range r.Headers {
				l.Headers[h.Key] = string(h.Value)
			}
			if err := enc.Encode(l); err != nil {
				return err
			}
			seen++
		}
	}
	return nil
}

func franzTime(ctx context.Context, broker, topic string, ts int64) error {
	cl, err := kgo.NewClient(kgo.SeedBrokers(broker))
	if err != nil {
		return err
	}
	defer cl.Close()
	found, err := kadm.NewClient(cl).ListOffsetsAfterMilli(ctx, ts, topic)
	if err != nil {
		return err
	}
	enc := json.NewEncoder(os.Stdout)
	found.Each(func(o kadm.ListedOffset) {
		if err == nil {
			err = enc.Encode(line{Partition: o.Partition, Offset: o.Offset})
		}
	})
	return err
}

// readAll reads a topic up to the end offsets it has when called.
func readAll(ctx context.Context, broker, topic string) ([]*kgo.Record, error) {
	// The markers of transactions tell that the end is reached where they are the last.
	cl, err := kgo.NewClient(kgo.SeedBrokers(broker), kgo.ConsumeTopics(topic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
		kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.KeepControlRecords())
	if err != nil {
		return nil, err
	}
	defer cl.Close()
	admin := kadm.NewClient(cl)
	ends, err := admin.ListEndOffsets(ctx, topic)
	if err == nil {
		err = ends.Error()
	}
	if err != nil {
		return nil, err
	}
	starts, err := admin.ListStartOffsets(ctx, topic)
	if err == nil {
		err = starts.Error()
	}
	if err != nil {
		return nil, err
	}
	open := map[int32]int64{}
	ends.Each(func(o kadm.ListedOffset) {
		if start, ok := starts.Lookup(topic, o.Partition); ok && start.Offset < o.Offset {
			open[o.Partition] = o.Offset
		}
	})
	var records []*kgo.Record
	for len(open) > 0 {
		fetches := cl.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			return nil, err
		}
		for _, r := range fetches.Records() {
			if end, waiting := open[r.Partition]; waiting && r.Offset < end {
				if !r.Attrs.IsControl() {
					records = append(records, r)
				}
				if r.Offset == end-1 {
					delete(open, r.Partition)
				}
			}
		}
	}
	return records, nil
}
