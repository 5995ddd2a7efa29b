package connecttest

import (
	"context"
	"testing"
	"time"

	"github.com/milldam/milldam/connect"
)

// Verify returns the values that the target of a sink durably holds, as JSON objects in any order; one that was written twice may stand there
// once or twice. It may be called while the sink acknowledges.
type Verify func(t *testing.T) []string

var (
	first  = connect.TopicPartition{Topic: "orders", Partition: 0}
	second = connect.TopicPartition{Topic: "orders", Partition: 1}
	other  = connect.TopicPartition{Topic: "payments", Partition: 0}
)

// Sink checks what every sink must hold. Each call of open makes a sink that is not opened yet, over a target that is empty. The values that
// are written are JSON objects with the fields id, n and text; keys are the ids, timestamps lie in September 2001.
func Sink(t *testing.T, open func(t *testing.T) (connect.Sink, Verify)) {
	t.Run("acknowledges what is durable, and all of it in the end", func(t *testing.T) { durable(start(t, open)) })
	t.Run("an empty batch moves progress", func(t *testing.T) { emptyBatches(start(t, open)) })
	t.Run("takes tombstones", func(t *testing.T) { tombstones(start(t, open)) })
	t.Run("takes again what it has written", func(t *testing.T) { replay(start(t, open)) })
	t.Run("forgets revoked partitions", func(t *testing.T) { revoked(start(t, open)) })
	t.Run("gives memory back", func(t *testing.T) { pressure(start(t, open)) })
	t.Run("returns when its context ends", func(t *testing.T) { cancelled(start(t, open)) })
	t.Run("closes without having been opened", func(t *testing.T) {
		s, _ := open(t)
		if err := s.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
	t.Run("closes with records it holds, and twice", func(t *testing.T) { closes(t, open) })
}

func durable(r *run) {
	for round := range int64(5) {
		for _, p := range []connect.TopicPartition{first, second, other} {
			r.write(records(p, round*7, 7))
		}
		r.flush(connect.FlushTick)
	}
	r.flushAll()
	held := r.held()
	for _, a := range r.mu.parts {
		for offset, id := range a.values {
			if held[id] == 0 {
				r.t.Errorf("the target does not hold %s, offset %d", id, offset)
			}
		}
	}
}

func emptyBatches(r *run) {
	r.write(connect.SinkBatch{TopicPartition: second, Next: 40})
	b := records(first, 0, 5)
	b.Next = 10 // steps dropped what follows
	r.write(b)
	r.write(connect.SinkBatch{TopicPartition: first, Next: 25})
	r.flushAll()
}

func tombstones(r *run) {
	b := records(first, 0, 5)
	b.Records[1].Value, b.Records[4].Value = nil, nil
	r.write(b)
	b = records(first, 5, 1)
	b.Records[0].Value, b.Records[0].Key = nil, nil
	r.write(b)
	r.write(records(first, 6, 2))
	r.flushAll()
}

func replay(r *run) {
	for range 3 { // the offsets were never committed
		for offset := int64(0); offset < 12; offset += 4 {
			r.write(records(first, offset, 4))
		}
		r.flushAll()
		r.revoke(first)
	}
	r.write(records(first, 2, 7)) // and once in other batches
	r.flushAll()
}

func revoked(r *run) {
	r.write(records(first, 0, 10))
	r.write(records(second, 0, 10))
	r.revoke(first)
	r.write(records(second, 10, 10))
	r.flushAll()
	r.write(records(first, 0, 10)) // it comes back
	r.flushAll()
	r.revoke(first, second, other)
	r.flushAll()
}

// pressureBatches is how many batches are written before memory is asked back.
const pressureBatches = 20

func pressure(r *run) {
	for i := range int64(pressureBatches) {
		r.write(records(first, i*50, 50))
		r.write(records(second, i*50, 50))
	}
	for before := r.sink.Buffered(); before > 0; {
		r.flush(connect.FlushPressure)
		after := r.sink.Buffered()
		if after >= before {
			r.t.Fatalf("the sink held %d bytes, and %d after memory was asked back", before, after)
		}
		before = after
	}
	r.flushAll()
}

func cancelled(r *run) {
	ctx, cancel := context.WithCancel(r.t.Context())
	cancel()
	b := records(first, 0, 10)
	r.own(b)
	var err error
	returns(r.t, "Write with a context that has ended", func() { err = r.sink.Write(ctx, b) })
	if err != nil {
		r.write(records(first, 0, 10))
	}
	returns(r.t, "Flush with a context that has ended", func() { err = r.sink.Flush(ctx, connect.FlushAll) })
	r.flushAll()
}

func closes(t *testing.T, open func(t *testing.T) (connect.Sink, Verify)) {
	s, _ := open(t)
	if err := s.Open(t.Context(), task(t, func(connect.TopicPartition, int64) {})); err != nil {
		t.Fatal(err)
	}
	if err := s.Write(t.Context(), records(first, 0, 10)); err != nil {
		t.Fatal(err)
	}
	returns(t, "Close", func() {
		if err := s.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
	returns(t, "the second Close", func() {
		if err := s.Close(); err != nil {
			t.Errorf("the second Close: %v", err)
		}
	})
}

// hangs is how long a target is waited for that does not answer.
const hangs = 100 * time.Millisecond

// SinkHangs checks that a sink whose target takes a connection and then answers no write lets itself be stopped. The sink is not opened yet.
func SinkHangs(t *testing.T, s connect.Sink) {
	acked := func(p connect.TopicPartition, next int64) { t.Errorf("%v is acknowledged below %d", p, next) }
	if err := s.Open(t.Context(), task(t, acked)); err != nil {
		t.Fatalf("Open: %v", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), hangs)
	defer cancel()
	var err error
	returns(t, "Write or Flush to a target that hangs", func() {
		if err = s.Write(ctx, records(first, 0, 10)); err == nil {
			err = s.Flush(ctx, connect.FlushAll)
		}
	})
	if err == nil {
		t.Error("everything was flushed to a target that hangs")
	}
	returns(t, "Close", func() {
		if err := s.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
}
