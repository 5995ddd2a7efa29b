package connecttest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/milldam/milldam/connect"
)

// patience is how long a call may take that has nothing to wait for.
const patience = 5 * time.Second

// maxAttempts is how often a batch with failed records is handed over.
const maxAttempts = 10

// returns fails the test when f does not return.
func returns(t testing.TB, what string, f func()) {
	t.Helper()
	done := make(chan struct{})
	go func() {
		defer close(done)
		f()
	}()
	select {
	case <-done:
	case <-time.After(patience):
		t.Fatalf("%s does not return", what)
	}
}

// run is a sink under test, and what it was given and has acknowledged.
type run struct {
	t      *testing.T
	sink   connect.Sink
	verify Verify

	mu struct {
		sync.Mutex
		parts map[connect.TopicPartition]*part
	}
}

// part is a partition as long as the sink has it.
type part struct {
	handed int64            // Next of the last batch
	acked  int64            // -1: nothing
	values map[int64]string // ids of what was handed over, by offset
}

// start opens a new sink.
func start(t *testing.T, open func(t *testing.T) (connect.Sink, Verify)) *run {
	t.Helper()
	r := &run{t: t}
	r.sink, r.verify = open(t)
	r.mu.parts = map[connect.TopicPartition]*part{}
	t.Cleanup(func() {
		if err := r.sink.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
	if err := r.sink.Open(t.Context(), task(t, r.ack)); err != nil {
		t.Fatalf("Open: %v", err)
	}
	return r
}

func task(t *testing.T, ack func(connect.TopicPartition, int64)) connect.SinkTask {
	return connect.SinkTask{Pipeline: "connecttest", Logger: slog.New(slog.NewTextHandler(t.Output(), nil)), Ack: ack,
		TopicID: func(_ context.Context, topic string) (id [16]byte, err error) {
			h := fnv.New128a()
			_, err = h.Write([]byte(topic))
			copy(id[:], h.Sum(nil))
			return id, err
		}}
}

// ack is what the sink reports; it is held against what the target has.
func (r *run) ack(p connect.TopicPartition, next int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	a := r.mu.parts[p]
	switch {
	case a == nil:
		r.t.Errorf("%v is acknowledged below %d, and does not belong to the sink", p, next)
		return
	case next < a.acked:
		r.t.Errorf("%v is acknowledged below %d after %d", p, next, a.acked)
	case next > a.handed:
		r.t.Errorf("%v is acknowledged below %d, and was handed over below %d only", p, next, a.handed)
	}
	a.acked = max(a.acked, next)
	held := r.held()
	for offset, id := range a.values {
		if offset < next && held[id] == 0 {
			r.t.Errorf("%v is acknowledged below %d, and the target does not hold the value of offset %d", p, next, offset)
		}
	}
}

// held counts the values of the target by id.
func (r *run) held() map[string]int {
	held := map[string]int{}
	for _, text := range r.verify(r.t) {
		var v struct{ ID string }
		if err := json.Unmarshal([]byte(text), &v); err != nil || v.ID == "" {
			r.t.Errorf("the target holds %.80q, which was not written", text)
		}
		held[v.ID]++
	}
	return held
}

// records makes n records from offset first on.
func records(p connect.TopicPartition, first int64, n int) connect.SinkBatch {
	b := connect.SinkBatch{TopicPartition: p, Next: first + int64(n)}
	for offset := first; offset < b.Next; offset++ {
		id := fmt.Sprintf("%s-%d-%d", p.Topic, p.Partition, offset)
		b.Records = append(b.Records, connect.Record{Topic: p.Topic, Partition: p.Partition, Offset: offset, Key: []byte(id),
			Value: fmt.Appendf(nil, `{"id":%q,"n":%d,"text":"a \"b\" é"}`, id, offset), Timestamp: time.Unix(1_000_000_000+offset, 0),
			Headers: []connect.Header{{Key: "h", Value: []byte{0xff}}}})
	}
	return b
}

// own notes what is handed over before it is: the sink may acknowledge at once.
func (r *run) own(b connect.SinkBatch) {
	r.mu.Lock()
	defer r.mu.Unlock()
	a := r.mu.parts[b.TopicPartition]
	if a == nil {
		a = &part{acked: -1, values: map[int64]string{}}
		r.mu.parts[b.TopicPartition] = a
	}
	a.handed = b.Next
	for _, rec := range b.Records {
		if rec.Value != nil {
			a.values[rec.Offset] = string(rec.Key)
		}
	}
}

// write hands a batch over as the worker does: records that failed come again, those that can never be written do not.
func (r *run) write(b connect.SinkBatch) {
	r.t.Helper()
	r.own(b)
	for range maxAttempts {
		var err error
		returns(r.t, "Write", func() { err = r.sink.Write(r.t.Context(), b) })
		if err == nil {
			return
		}
		var failed *connect.BatchError
		if !errors.As(err, &failed) || len(failed.Records) == 0 {
			r.t.Fatalf("Write: %v", err)
		}
		var again []connect.Record
		for _, f := range failed.Records {
			switch rec := b.Records[f.Index]; {
			case f.Outcome == connect.Retry:
				again = append(again, rec)
			case rec.Value != nil:
				r.t.Fatalf("a good record is refused: %v", f.Err)
			}
		}
		b.Records = again
	}
	r.t.Fatalf("a batch is not written after %d attempts", maxAttempts)
}

func (r *run) flush(reason connect.FlushReason) {
	r.t.Helper()
	returns(r.t, "Flush", func() {
		if err := r.sink.Flush(r.t.Context(), reason); err != nil {
			r.t.Errorf("Flush: %v", err)
		}
	})
}

// flushAll flushes everything, after which nothing may be left.
func (r *run) flushAll() {
	r.t.Helper()
	r.flush(connect.FlushAll)
	if n := r.sink.Buffered(); n != 0 {
		r.t.Errorf("the sink holds %d bytes after everything was flushed", n)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for p, a := range r.mu.parts {
		if a.acked != a.handed {
			r.t.Errorf("%v is acknowledged below %d after everything was flushed, want %d", p, a.acked, a.handed)
		}
	}
}

// revoke takes partitions away.
func (r *run) revoke(parts ...connect.TopicPartition) {
	r.mu.Lock()
	for _, p := range parts {
		delete(r.mu.parts, p)
	}
	r.mu.Unlock()
	r.sink.Revoke(parts)
}
