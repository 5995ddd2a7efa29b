package connecttest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/milldam/milldam/connect"
)

// faultVariable names the fault that a run of this test binary gives to the connectors below.
const faultVariable = "CONNECTTEST_FAULT"

// buffering is a good sink that keeps records until Flush, unless fault says otherwise.
type buffering struct {
	fault   string
	task    connect.SinkTask
	parts   map[connect.TopicPartition]*buffered
	held    []string
	revoked []connect.TopicPartition
	most    map[connect.TopicPartition]int64 // of the offsets ever handed over
	closed  bool
}

type buffered struct {
	records []connect.Record
	next    int64
}

func (s *buffering) Open(_ context.Context, task connect.SinkTask) error {
	s.task, s.parts, s.most = task, map[connect.TopicPartition]*buffered{}, map[connect.TopicPartition]int64{}
	return nil
}

func (s *buffering) Write(ctx context.Context, b connect.SinkBatch) error {
	if s.fault == "ignores its context" && ctx.Err() != nil {
		select {}
	}
	p := s.parts[b.TopicPartition]
	if p == nil {
		p = &buffered{}
		s.parts[b.TopicPartition] = p
	}
	switch {
	case s.fault == "refuses a replay" && b.Next <= s.most[b.TopicPartition]:
		return errors.New("written before")
	case s.fault == "skips empty batches" && len(b.Records) == 0:
		return nil
	case s.fault == "forgets to take a batch" && b.Next%2 == 0:
		b.Records = nil
	case s.fault == "refuses tombstones for good":
		for i := range b.Records {
			if b.Records[i].Value == nil {
				return connect.Permanent(errors.New("a tombstone"))
			}
		}
	case s.fault == "refuses good records" && len(b.Records) > 0:
		return &connect.BatchError{Records: []connect.RecordError{{Outcome: connect.Poison, Err: errors.New("no")}}}
	}
	p.records, p.next = append(p.records, b.Records...), b.Next
	s.most[b.TopicPartition] = b.Next
	if s.fault == "acknowledges what it keeps" {
		s.task.Ack(b.TopicPartition, b.Next)
	}
	return nil
}

func (s *buffering) Flush(_ context.Context, reason connect.FlushReason) error {
	if reason == connect.FlushPressure && s.fault == "keeps its memory" {
		return nil
	}
	for part, p := range s.parts {
		for _, r := range p.records {
			if r.Value != nil {
				s.held = append(s.held, string(r.Value))
			}
		}
		p.records = nil
		switch s.fault {
		case "acknowledges too much":
			s.task.Ack(part, p.next+1)
		case "never acknowledges":
		default:
			s.task.Ack(part, p.next)
		}
		if s.fault == "goes back" {
			s.task.Ack(part, p.next-1)
		}
	}
	if s.fault == "acknowledges what was revoked" {
		for _, part := range s.revoked {
			s.task.Ack(part, 1)
		}
	}
	return nil
}

func (s *buffering) Buffered() int64 {
	n := int64(0)
	for _, p := range s.parts {
		n += int64(len(p.records))
	}
	if s.fault == "always holds something" {
		n++
	}
	return n
}

func (s *buffering) Revoke(parts []connect.TopicPartition) {
	s.revoked = parts
	if s.fault == "keeps revoked partitions" {
		return
	}
	for _, p := range parts {
		delete(s.parts, p)
	}
}

func (s *buffering) Close() error {
	if s.fault == "cannot be closed twice" && s.closed || s.fault == "cannot be closed unopened" && s.parts == nil {
		return errors.New("it is closed")
	}
	s.closed = true
	return nil
}

// counting is a good source of 12 records in batches of 5, unless fault says otherwise.
type counting struct {
	fault  string
	next   int
	values []byte
	closed chan struct{}
}

const countedRecords = 12

func (s *counting) Open(_ context.Context, task connect.SourceTask) error {
	raw, ok := task.Positions["all"]
	if !ok || s.fault == "forgets its position" {
		return nil
	}
	if err := json.Unmarshal(raw, &s.next); err != nil {
		if s.fault == "takes any position" {
			return nil
		}
		return connect.Permanent(err)
	}
	return nil
}

func (s *counting) Read(ctx context.Context) (connect.SourceBatch, error) {
	end := countedRecords
	if s.fault == "loses the last record" {
		end--
	}
	if s.next >= end {
		switch s.fault {
		case "waits behind its end": // no fault: an endless source does
			select {
			case <-ctx.Done():
				return connect.SourceBatch{}, ctx.Err()
			case <-s.closed:
				return connect.SourceBatch{}, os.ErrClosed
			}
		case "cannot be woken":
			<-ctx.Done()
			return connect.SourceBatch{}, ctx.Err()
		case "ends and goes on":
			s.next = 0
		}
		return connect.SourceBatch{}, io.EOF
	}
	b := connect.SourceBatch{Partition: "all", Total: countedRecords}
	if s.fault != "uses memory again" || s.values == nil {
		s.values = make([]byte, 0, 100)
	}
	s.values = s.values[:0]
	for len(b.Records) < 5 && s.next < end {
		start := len(s.values)
		s.values = fmt.Appendf(s.values, "{\"n\":%02d}", s.next)
		value := s.values[start:len(s.values):len(s.values)]
		if s.fault == "lets values overlap" {
			value = s.values[start:]
		}
		b.Records = append(b.Records, connect.Record{Value: value})
		s.next++
	}
	position := s.next
	switch s.fault {
	case "position is behind":
		position--
	case "position is ahead":
		position++
	case "gives no position":
		return b, nil
	}
	if b.Done = int64(s.next); s.fault == "more than all is done" {
		b.Done++
	}
	var err error
	b.Position, err = json.Marshal(position)
	return b, err
}

func (s *counting) Close() error {
	if s.closed != nil {
		select {
		case <-s.closed:
		default:
			close(s.closed)
		}
	}
	return nil
}

// TestSuites runs the suites over the connectors above, with the fault of the environment: none unless TestFaultsAreFound started it.
func TestSuites(t *testing.T) {
	fault := os.Getenv(faultVariable)
	t.Run("sink", func(t *testing.T) {
		Sink(t, func(*testing.T) (connect.Sink, Verify) {
			s := &buffering{fault: fault}
			return s, func(*testing.T) []string { return s.held }
		})
	})
	t.Run("source", func(t *testing.T) {
		Source(t, countedRecords, func(*testing.T) connect.Source { return &counting{fault: fault, closed: make(chan struct{})} })
	})
}

func TestSuiteTakesAnEndlessSource(t *testing.T) {
	Source(t, countedRecords, func(*testing.T) connect.Source {
		return &counting{fault: "waits behind its end", closed: make(chan struct{})}
	})
}

// TestFaultsAreFound runs TestSuites once for each fault, in a process of its own, since there it must fail.
func TestFaultsAreFound(t *testing.T) {
	for suite, faults := range map[string][]string{
		"sink": {"ignores its context", "refuses a replay", "skips empty batches", "forgets to take a batch", "refuses tombstones for good", "refuses good records",
			"acknowledges what it keeps", "keeps its memory", "acknowledges too much", "never acknowledges", "goes back", "acknowledges what was revoked",
			"always holds something", "keeps revoked partitions", "cannot be closed twice", "cannot be closed unopened"},
		"source": {"forgets its position", "takes any position", "loses the last record", "cannot be woken", "ends and goes on", "uses memory again",
			"lets values overlap", "position is behind", "position is ahead", "gives no position", "more than all is done"},
	} {
		for _, fault := range faults {
			t.Run(fault, func(t *testing.T) {
				t.Parallel()
				cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestSuites$/^"+suite+"$", "-test.timeout=60s")
				cmd.Env = append(os.Environ(), faultVariable+"="+fault)
				out, err := cmd.CombinedOutput()
				if err == nil || !strings.Contains(string(out), "--- FAIL: TestSuites") || strings.Contains(string(out), "panic:") {
					t.Errorf("the suite lets it pass: %v\n%s", err, out)
				}
			})
		}
	}
}
