// Command kafkago produces, consumes, joins a group or looks up offsets with segmentio/kafka-go. It prints one JSON object a line.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"strconv"
	"syscall"
	"time"

	"github.com/segmentio/kafka-go"
)

// line is what every client of these tests prints for a record.
type line struct {
	Partition int               `json:"partition"`
	Offset    int64             `json:"offset"`
	Key       string            `json:"key"`
	Value     string            `json:"value"`
	Headers   map[string]string `json:"headers"`
	Timestamp int64             `json:"timestamp"`
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil && !errors.Is(err, context.Canceled) {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	verb, broker, topic := args[0], args[1], args[2]
	switch verb {
	case "produce":
		return produce(ctx, broker, topic, args[3], number(args[4]), number(args[5]))
	case "consume":
		return consume(ctx, broker, topic, number(args[3]))
	case "member":
		return member(ctx, broker, topic, args[3])
	case "time":
		return lookUp(ctx, broker, topic, int64(number(args[3])))
	}
	return fmt.Errorf("unknown verb %q", verb)
}

func number(text string) int {
	n, err := strconv.Atoi(text)
	if err != nil {
		panic(err)
	}
	return n
}

func produce(ctx context.Context, broker, topic, codec string, first, count int) error {
	codecs := map[string]kafka.Compression{"none": 0, "gzip": kafka.Gzip, "snappy": kafka.Snappy, "lz4": kafka.Lz4, "zstd": kafka.Zstd}
	w := &kafka.Writer{Addr: kafka.TCP(broker), Topic: topic, Balancer: &kafka.Murmur2Balancer{}, RequiredAcks: kafka.RequireAll, Compression: codecs[codec], BatchTimeout: 5 * time.Millisecond}
	var messages []kafka.Message
	for i := first; i < first+count; i++ {
		value := fmt.Sprintf("%s-%d", codec, i)
		messages = append(messages, kafka.Message{Key: fmt.Appendf(nil, "k-%d", i), Value: []byte(value), Time: time.UnixMilli(int64(1_000_000 + i*1000)),
			Headers: []kafka.Header{{Key: "h", Value: []byte(value)}}})
	}
	return errors.Join(w.WriteMessages(ctx, messages...), w.Close())
}

func emit(m kafka.Message) error {
	l := line{Partition: m.Partition, Offset: m.Offset, Key: string(m.Key), Value: string(m.Value), Headers: map[string]string{}, Timestamp: m.Time.UnixMilli()}
	for _, h := range m.Headers {
		l.Headers[h.Key] = string(h.Value)
	}
	return json.NewEncoder(os.Stdout).Encode(l)
}

func partitions(ctx context.Context, broker, topic string) ([]kafka.Partition, error) {
	conn, err := kafka.DialContext(ctx, "tcp", broker)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	return conn.ReadPartitions(topic)
}

// consume reads each partition to its end, since a reader without a group reads one.
func consume(ctx context.Context, broker, topic string, count int) error {
	parts, err := partitions(ctx, broker, topic)
	if err != nil {
		return err
	}
	seen := 0
	for _, p := range parts {
		conn, err := kafka.DialLeader(ctx, "tcp", broker, topic, p.ID)
		if err != nil {
			return err
		}
		end, err := conn.ReadLastOffset()
		if err := errors.Join(err, conn.Close()); err != nil {
			return err
		}
		r := kafka.NewReader(kafka.ReaderConfig{Brokers: []string{broker}, Topic: topic, Partition: p.ID, MaxWait: 100 * time.Millisecond})
		for at := int64(0); at < end && seen < count; seen++ {
			m, err := r.ReadMessage(ctx)
			if err != nil {
				return err
			}
			if err := emit(m); err != nil {
				return err
			}
			at = m.Offset + 1
		}
		if err := r.Close(); err != nil {
			return err
		}
	}
	if seen != count {
		return fmt.Errorf("%d records, want %d", seen, count)
	}
	return nil
}

func member(ctx context.Context, broker, topic, group string) error {
	r := kafka.NewReader(kafka.ReaderConfig{Brokers: []string{broker}, GroupID: group, GroupTopics: []string{topic}, StartOffset: kafka.FirstOffset, MaxWait: 100 * time.Millisecond,
		SessionTimeout: 6 * time.Second, HeartbeatInterval: time.Second, RebalanceTimeout: 10 * time.Second, CommitInterval: 200 * time.Millisecond})
	for {
		m, err := r.ReadMessage(ctx)
		if err != nil {
			return errors.Join(err, r.Close())
		}
		if err := emit(m); err != nil {
			return err
		}
	}
}

func lookUp(ctx context.Context, broker, topic string, ms int64) error {
	parts, err := partitions(ctx, broker, topic)
	if err != nil {
		return err
	}
	for _, p := range parts {
		conn, err := kafka.DialLeader(ctx, "tcp", broker, topic, p.ID)
		if err != nil {
			return err
		}
		offset, err := conn.ReadOffset(time.UnixMilli(ms))
		if err := errors.Join(err, conn.Close()); err != nil {
			return err
		}
		if err := json.NewEncoder(os.Stdout).Encode(line{Partition: p.ID, Offset: offset}); err != nil {
			return err
		}
	}
	return nil
}
