package worker_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strconv"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kadm"

	"github.com/milldam/milldam/connect"
	"github.com/milldam/milldam/connect/worker"
)

// source has batches of ten numbers, from where its position says to end; behind end it waits, or ends when finite.
type source struct {
	end    int
	finite bool
	fail   func(at int) error
	closed int
	at     int
}

func (s *source) Open(_ context.Context, task connect.SourceTask) error {
	if p, ok := task.Positions["numbers"]; ok {
		at, err := strconv.Atoi(string(p))
		s.at = at
		return err
	}
	return nil
}

func (s *source) Read(ctx context.Context) (connect.SourceBatch, error) {
	if s.fail != nil {
		if err := s.fail(s.at); err != nil {
			return connect.SourceBatch{}, err
		}
	}
	if s.at == s.end {
		if s.finite {
			return connect.SourceBatch{}, io.EOF
		}
		<-ctx.Done()
		return connect.SourceBatch{}, ctx.Err()
	}
	b := connect.SourceBatch{Partition: "numbers", Total: int64(s.end)}
	for range 10 {
		b.Records = append(b.Records, connect.Record{Key: []byte("k"), Value: []byte(strconv.Itoa(s.at))})
		s.at++
	}
	b.Position, b.Done = []byte(strconv.Itoa(s.at)), int64(s.at)
	return b, nil
}

func (s *source) Close() error {
	s.closed++
	return nil
}

func (c *cluster) sourceTask(s connect.Source, topic string, change ...func(*worker.SourceOptions)) *worker.SourceTask {
	o := worker.SourceOptions{Pipeline: c.prefix + "p", Client: c.options, Topic: topic, Source: s, Errors: fast, Logger: slog.New(slog.NewTextHandler(c.t.Output(), nil))}
	for _, f := range change {
		f(&o)
	}
	return worker.NewSourceTask(o)
}

// inTopic are the values of a topic.
func (c *cluster) inTopic(topic string) string {
	var values []string
	for _, r := range c.read(topic) {
		values = append(values, string(r.Value))
	}
	return strings.Join(values, " ")
}

func numbers(from, to int) string {
	var values []string
	for i := from; i < to; i++ {
		values = append(values, strconv.Itoa(i))
	}
	return strings.Join(values, " ")
}

func TestSourceEndsAndStaysEnded(t *testing.T) {
	c := newCluster(t)
	topic := c.topic("out", 1)
	for range 2 {
		s := &source{end: 100, finite: true}
		task := c.sourceTask(s, topic)
		if err := start(t, task).wait(t); err != nil {
			t.Fatal(err)
		}
		if p := task.Progress(); !p.Ended || s.closed != 1 {
			t.Errorf("progress %+v, closed %d times", p, s.closed)
		}
		if got := c.inTopic(topic); got != numbers(0, 100) {
			t.Fatalf("the topic holds %s", got)
		}
	}
}

func TestSourceGoesOnWhereItWasStopped(t *testing.T) {
	c := newCluster(t)
	topic := c.topic("out", 1)
	r := start(t, c.sourceTask(&source{end: 50}, topic))
	c.eventually("50 records", func() bool { return len(c.read(topic)) == 50 })
	if err := r.stop(t); err != nil {
		t.Fatal(err)
	}
	var tries int
	s := &source{end: 80, finite: true, fail: func(at int) error {
		if tries++; at == 60 && tries < 5 {
			return errors.New("the source is away")
		}
		return nil
	}}
	task := c.sourceTask(s, topic)
	if err := start(t, task).wait(t); err != nil {
		t.Fatal(err)
	}
	if got := c.inTopic(topic); got != numbers(0, 80) {
		t.Errorf("the topic holds %s", got)
	}
	if p := task.Progress(); p.Retries == 0 || p.Failure != "" || p.In != 30 || p.Out != 30 || p.Done != 80 || p.Total != 80 {
		t.Errorf("progress %+v", p)
	}
	// Another pipeline has positions of its own.
	other := c.topic("other", 1)
	if err := start(t, c.sourceTask(&source{end: 10, finite: true}, other, func(o *worker.SourceOptions) { o.Pipeline = c.prefix + "q" })).wait(t); err != nil {
		t.Fatal(err)
	}
	if got := c.inTopic(other); got != numbers(0, 10) {
		t.Errorf("the other topic holds %s", got)
	}
}

func TestRecordsThatCannotBeWritten(t *testing.T) {
	steps := func(r connect.Record) (connect.Record, bool, error) {
		switch string(r.Value) {
		case "3":
			return r, false, nil
		case "5":
			return r, false, errors.New("value.x is missing")
		case "7":
			r.Value = bytes.Repeat([]byte("7"), 2<<20) // more than a topic takes
		}
		return r, true, nil
	}
	t.Run("with a dead-letter topic", func(t *testing.T) {
		c := newCluster(t)
		topic, dead := c.topic("out", 1), c.topic("dead", 1)
		if _, err := c.admin.AlterTopicConfigs(c.within(), maxMessageBytes("8000000"), dead); err != nil {
			t.Fatal(err)
		}
		task := c.sourceTask(&source{end: 10, finite: true}, topic, func(o *worker.SourceOptions) {
			o.Transform, o.Errors.DeadLetter = steps, dead
		})
		if err := start(t, task).wait(t); err != nil {
			t.Fatal(err)
		}
		if got := c.inTopic(topic); got != "0 1 2 4 6 8 9" {
			t.Errorf("the topic holds %s", got)
		}
		letters := map[string]bool{}
		for _, r := range c.read(dead) {
			letters[fmt.Sprintf("%.1s", r.Value)] = true
		}
		if p := task.Progress(); len(letters) != 2 || !letters["5"] || !letters["7"] || p.Dead != 2 || p.Dropped != 1 || p.Out != 7 {
			t.Errorf("dead letters %v, progress %+v", letters, p)
		}
	})
	t.Run("without one", func(t *testing.T) {
		c := newCluster(t)
		topic := c.topic("out", 1)
		for range 2 {
			err := start(t, c.sourceTask(&source{end: 10, finite: true}, topic, func(o *worker.SourceOptions) { o.Transform = steps })).wait(t)
			if !errors.Is(err, connect.ErrPermanent) || !strings.Contains(err.Error(), "errors.dead_letter") {
				t.Fatalf("error %v", err)
			}
		}
	})
}

func maxMessageBytes(n string) []kadm.AlterConfig {
	return []kadm.AlterConfig{{Op: kadm.SetConfig, Name: "max.message.bytes", Value: &n}}
}
