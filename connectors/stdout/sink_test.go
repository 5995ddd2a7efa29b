package stdout

import (
	"bytes"
	"context"
	"errors"
	"io"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/milldam/milldam/connect"
	"github.com/milldam/milldam/connect/connecttest"
)

// screen keeps what is printed.
type screen struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (s *screen) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.Write(p)
}

func (s *screen) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.String()
}

func TestConformance(t *testing.T) {
	connecttest.Sink(t, func(*testing.T) (connect.Sink, connecttest.Verify) {
		s := &screen{}
		return New(Config{Format: "value"}, s), func(*testing.T) []string { return strings.Fields(strings.ReplaceAll(s.String(), " ", "")) }
	})
}

func TestPipeThatNobodyReads(t *testing.T) {
	in, out := io.Pipe()
	t.Cleanup(func() { in.Close() })
	connecttest.SinkHangs(t, New(Config{}, out))
}

// gate lets writes through once it is open, and notes whether two ever waited at once.
type gate struct {
	screen
	open    chan struct{}
	writers atomic.Int32
	crowded atomic.Bool
}

func (g *gate) Write(p []byte) (int, error) {
	if g.writers.Add(1) > 1 {
		g.crowded.Store(true)
	}
	<-g.open
	g.writers.Add(-1)
	return g.screen.Write(p)
}

func TestWriteThatWasLeftComesFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		out := &gate{open: make(chan struct{})}
		s := New(Config{}, out)
		acked := int64(0)
		if err := s.Open(t.Context(), connect.SinkTask{Ack: func(_ connect.TopicPartition, next int64) { acked = next }}); err != nil {
			t.Fatal(err)
		}
		b := connect.SinkBatch{Next: 1, Records: []connect.Record{{Value: []byte("1")}}}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		for range 2 {
			if err := s.Write(ctx, b); !errors.Is(err, context.DeadlineExceeded) {
				t.Fatalf("Write: %v", err)
			}
			synctest.Wait()
		}
		close(out.open)
		if err := s.Write(t.Context(), b); err != nil || acked != 1 {
			t.Fatalf("Write: %v, acknowledged %d", err, acked)
		}
		if out.String() != "1\n1\n" || out.crowded.Load() {
			t.Errorf("printed %q, two writes at once: %t", out.String(), out.crowded.Load())
		}
	})
}

func TestFormats(t *testing.T) {
	records := []connect.Record{
		{Topic: "t", Partition: 1, Offset: 2, Key: []byte("k"), Value: []byte("{\n\"a\": 1}"), Timestamp: time.Unix(1, 5e6),
			Headers: []connect.Header{{Key: "h", Value: []byte("v")}}},
		{Topic: "t", Value: []byte("no JSON")},
		{Topic: "t", Key: []byte("gone")},
	}
	for format, want := range map[string]string{
		"value":     "{\"a\":1}\nno JSON\n\n",
		"key-value": "k\t{\"a\":1}\n\tno JSON\ngone\t\n",
		"json": `{"topic":"t","partition":1,"offset":2,"timestamp":"1970-01-01T00:00:01.005Z","key":"k","value":{"a":1},"headers":{"h":"v"}}` + "\n" +
			`{"topic":"t","partition":0,"offset":0,"timestamp":"0001-01-01T00:00:00Z","key":null,"value":"no JSON"}` + "\n" +
			`{"topic":"t","partition":0,"offset":0,"timestamp":"0001-01-01T00:00:00Z","key":"gone","value":null}` + "\n",
	} {
		var out bytes.Buffer
		s := New(Config{Format: format}, &out)
		if err := s.Open(t.Context(), connect.SinkTask{Ack: func(connect.TopicPartition, int64) {}}); err != nil {
			t.Fatal(err)
		}
		if err := s.Write(t.Context(), connect.SinkBatch{Records: records}); err != nil {
			t.Fatal(err)
		}
		if out.String() != want {
			t.Errorf("%s: printed\n%swant\n%s", format, out.String(), want)
		}
	}
}

type brokenPipe struct{ err error }

func (b brokenPipe) Write([]byte) (int, error) { return 0, b.err }

func TestErrors(t *testing.T) {
	for _, c := range []struct {
		err       error
		permanent bool
		want      string
	}{
		{syscall.EPIPE, true, "who read it is gone"},
		{syscall.ENOSPC, false, "make room"},
		{errors.New("odd"), true, "odd"},
	} {
		s := New(Config{}, brokenPipe{c.err})
		err := s.Write(t.Context(), connect.SinkBatch{Records: []connect.Record{{}}})
		if err == nil || errors.Is(err, connect.ErrPermanent) != c.permanent || !strings.Contains(err.Error(), "standard output") || !strings.Contains(err.Error(), c.want) {
			t.Errorf("Write: %v", err)
		}
	}
}
