package worker

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/milldam/milldam/connect"
	"github.com/milldam/milldam/core/client"
)

// SourceOptions say what a SourceTask reads, and where it goes.
type SourceOptions struct {
	Pipeline  string
	Client    client.Options
	Topic     string // it is there
	Source    connect.Source
	Transform Transform // nil: records as they are
	Errors    Errors
	// ExactlyOnce writes records and positions in transactions: who reads committed records sees each once.
	ExactlyOnce bool
	Logger      *slog.Logger
}

const (
	// storeInterval is how often positions are stored.
	storeInterval = 200 * time.Millisecond
	// sourceLinger is how long a record batch waits for more records of its partition.
	sourceLinger = 5 * time.Millisecond
	// sourceBufferBytes bounds what is read and not acknowledged.
	sourceBufferBytes = 32 << 20
)

// SourceTask writes a topic with what a source reads. It runs once.
type SourceTask struct {
	opts   SourceOptions
	client *kgo.Client
	dead   deadLetters
	counter

	wake chan struct{} // a flight landed, or a record was refused; holds one

	mu struct {
		sync.Mutex
		flights   []*flight // in the order they were read
		positions map[string][]byte
		refused   []refusal
		err       error // the first that ends the task
	}
}

// flight is a batch of a source that is on its way.
type flight struct {
	batch connect.SourceBatch
	left  int // records not acknowledged
}

// refusal is a record that the broker will never take.
type refusal struct {
	record connect.Record
	err    error
	of     *flight
}

// NewSourceTask returns a task that has not started.
func NewSourceTask(o SourceOptions) *SourceTask {
	o.Errors = o.Errors.withDefaults()
	t := &SourceTask{opts: o, wake: make(chan struct{}, 1)}
	t.mu.positions = map[string][]byte{}
	return t
}

// Progress returns a snapshot of the counts.
func (t *SourceTask) Progress() Progress { return t.snapshot() }

// Run reads the source until it ends, until ctx ends, which is no error, or until it cannot go on. What an owner must mend wraps
// connect.ErrPermanent; with any other error a new task may be tried. Run closes the source.
func (t *SourceTask) Run(ctx context.Context) (err error) {
	defer func() {
		if closed := t.opts.Source.Close(); closed != nil && err == nil {
			err = fmt.Errorf("close the source: %w", closed)
		}
	}()
	opts := []kgo.Opt{kgo.ProducerLinger(sourceLinger), kgo.MaxBufferedBytes(sourceBufferBytes)}
	if t.opts.ExactlyOnce {
		opts = append(opts, kgo.TransactionalID(sourceTransactionalID(t.opts.Pipeline)), kgo.TransactionTimeout(sourceTransactionTimeout))
	}
	if t.client, err = client.New(t.opts.Client, opts...); err != nil {
		return connect.Permanent(fmt.Errorf("make a client: %w", err))
	}
	defer t.client.Close()
	t.dead = deadLetters{options: t.opts.Client, topic: t.opts.Errors.DeadLetter, pipeline: t.opts.Pipeline}
	defer t.dead.close()
	if err := t.open(ctx); err != nil {
		return withoutCancel(ctx, err)
	}
	// What was read may still be acknowledged, and its positions stored, for a while after ctx ended.
	life, die := context.WithCancel(context.WithoutCancel(ctx))
	defer die()
	defer context.AfterFunc(ctx, func() { time.AfterFunc(stopPatience, die) })()
	if t.opts.ExactlyOnce {
		return withoutCancel(ctx, t.runTransactions(ctx, life))
	}
	return t.runAcknowledged(ctx, life)
}

// runAcknowledged reads the source to its end, until ctx ends, or until it cannot go on, and stores positions behind what is acknowledged.
func (t *SourceTask) runAcknowledged(ctx, life context.Context) error {
	keeping, leave := context.WithCancel(life)
	defer leave()
	reading, stop := context.WithCancel(ctx)
	defer stop()
	var keeper sync.WaitGroup
	keeper.Go(func() { t.keep(keeping, stop) })
	err := t.read(reading, func(b connect.SourceBatch) error { return t.send(life, b) })
	ended := errors.Is(err, io.EOF)
	if ended {
		err = nil
	}
	t.drain(life)
	leave()
	keeper.Wait()
	stored := t.store(life)
	switch failed := t.failure(); {
	case failed != nil:
		return failed
	case err != nil:
		return err
	case ctx.Err() != nil:
		return nil
	case stored != nil:
		return stored
	}
	t.count(func(p *Progress) { p.Ended = ended })
	return nil
}

func (t *SourceTask) open(ctx context.Context) error {
	if err := createPositions(ctx, t.client); err != nil {
		return err
	}
	if t.opts.ExactlyOnce {
		// The transaction of a task before this one is aborted now, or its commit completed; its positions count only after that.
		if _, _, err := t.client.ProducerID(ctx); err != nil {
			return fmt.Errorf("start the transactional producer %s: %w", sourceTransactionalID(t.opts.Pipeline), err)
		}
	}
	positions, err := loadPositions(ctx, t.opts.Client, t.opts.Pipeline)
	if err != nil {
		return err
	}
	return t.opts.Source.Open(ctx, connect.SourceTask{Pipeline: t.opts.Pipeline, Logger: t.opts.Logger, Positions: positions})
}

// read hands what the source reads to send until ctx ends, or the task fails; io.EOF is the source's end.
func (t *SourceTask) read(ctx context.Context, send func(connect.SourceBatch) error) error {
	pace, trying := t.opts.Errors.backoff(), false
	for {
		b, err := t.opts.Source.Read(ctx)
		switch {
		case ctx.Err() != nil:
			return nil
		case err == nil:
			if trying {
				trying = false
				t.well()
			}
			if err := send(b); err != nil {
				return err
			}
			continue
		case errors.Is(err, io.EOF), errors.Is(err, connect.ErrPermanent):
			return err
		}
		if !trying {
			pace, trying = t.opts.Errors.backoff(), true
		}
		if pace.over() {
			return pace.gaveUp(err)
		}
		pause := pace.next()
		t.failing(err)
		t.opts.Logger.Warn("the source fails, it is tried again", "error", err, "pause", pause.Round(time.Millisecond))
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return nil
		}
	}
}

// send applies the steps to a batch and gives it to the client, which blocks when too much is not acknowledged.
func (t *SourceTask) send(ctx context.Context, b connect.SourceBatch) error {
	now := time.Now()
	f := &flight{batch: b, left: 1} // the one is taken away when all records are with the client
	t.mu.Lock()
	t.mu.flights = append(t.mu.flights, f)
	t.mu.Unlock()
	dropped := int64(0)
	for _, r := range b.Records {
		if r.Timestamp.IsZero() {
			r.Timestamp = now
		}
		out, keep, err := r, true, error(nil)
		if t.opts.Transform != nil {
			out, keep, err = t.opts.Transform(r)
		}
		switch {
		case err != nil:
			t.refuse(f, r, err)
		case keep:
			t.produce(ctx, f, out)
		default:
			dropped++
		}
	}
	t.count(func(p *Progress) {
		p.In += int64(len(b.Records))
		p.Dropped += dropped
	})
	t.landed(f, 1)
	return t.failure()
}

func (t *SourceTask) produce(ctx context.Context, f *flight, r connect.Record) {
	t.mu.Lock()
	f.left++
	t.mu.Unlock()
	t.client.Produce(ctx, toKafka(t.opts.Topic, r), func(_ *kgo.Record, err error) {
		switch {
		case err == nil:
			t.count(func(p *Progress) { p.Out++ })
			t.landed(f, 1)
		case isRefusedRecord(err):
			t.refuse(f, r, err)
			t.landed(f, 1)
		case ctx.Err() != nil: // it was not sent, and its flight never lands: the position stays before it
		default:
			t.fail(fmt.Errorf("write to topic %s: %w", t.opts.Topic, err))
		}
	})
}

func toKafka(topic string, r connect.Record) *kgo.Record {
	out := &kgo.Record{Topic: topic, Key: r.Key, Value: r.Value, Timestamp: r.Timestamp}
	for _, h := range r.Headers {
		out.Headers = append(out.Headers, kgo.RecordHeader{Key: h.Key, Value: h.Value})
	}
	return out
}

// landed takes n records of a flight that need no more care.
func (t *SourceTask) landed(f *flight, n int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	f.left -= n
	moved := false
	for len(t.mu.flights) > 0 && t.mu.flights[0].left == 0 {
		b := t.mu.flights[0].batch
		t.mu.positions[b.Partition] = b.Position
		t.count(func(p *Progress) { p.Done, p.Total = b.Done, b.Total })
		t.mu.flights = t.mu.flights[1:]
		moved = true
	}
	if moved {
		t.rouse()
	}
}

// refuse leaves a record to the keeper, which may wait for the dead-letter topic; its flight lands after that.
func (t *SourceTask) refuse(f *flight, r connect.Record, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	f.left++
	t.mu.refused = append(t.mu.refused, refusal{r, err, f})
	t.rouse()
}

func (t *SourceTask) rouse() {
	select {
	case t.wake <- struct{}{}:
	default: // it will wake up
	}
}

func (t *SourceTask) fail(err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.mu.err == nil {
		t.mu.err = err
	}
	t.rouse()
}

func (t *SourceTask) failure() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.mu.err
}

// keep dead-letters what was refused and stores positions until ctx ends; a failure of the task makes it call stop.
func (t *SourceTask) keep(ctx context.Context, stop func()) {
	tick := time.NewTicker(storeInterval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.wake:
			if err := t.bury(ctx); err != nil {
				t.fail(err)
			}
			if t.failure() != nil {
				stop()
			}
		case <-tick.C:
			if err := t.store(ctx); err != nil {
				t.opts.Logger.Warn("positions are not stored yet", "error", err)
			}
		}
	}
}

func (t *SourceTask) bury(ctx context.Context) error {
	t.mu.Lock()
	refused := t.mu.refused
	t.mu.refused = nil
	t.mu.Unlock()
	for _, r := range refused {
		if err := t.dead.write(ctx, "source", []connect.Record{r.record}, []connect.RecordError{{Outcome: connect.Poison, Err: r.err}}); err != nil {
			return err
		}
		t.count(func(p *Progress) { p.Dead++ })
		t.landed(r.of, 1)
	}
	return nil
}

// store makes the positions durable that moved.
func (t *SourceTask) store(ctx context.Context) error {
	t.mu.Lock()
	positions := maps.Clone(t.mu.positions)
	clear(t.mu.positions)
	t.mu.Unlock()
	var records []*kgo.Record
	for partition, position := range positions {
		r, err := positionRecord(t.opts.Pipeline, partition, position)
		if err != nil {
			return err
		}
		records = append(records, r)
	}
	err := t.client.ProduceSync(ctx, records...).FirstErr()
	if err == nil {
		return nil
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	for partition, position := range positions {
		if _, newer := t.mu.positions[partition]; !newer {
			t.mu.positions[partition] = position
		}
	}
	return fmt.Errorf("store positions in %s: %w", PositionsTopic, err)
}

// drain waits until all that was read is acknowledged, or nothing more will be.
func (t *SourceTask) drain(life context.Context) {
	tick := time.NewTicker(drainInterval)
	defer tick.Stop()
	for {
		t.mu.Lock()
		done := len(t.mu.flights) == 0 || t.mu.err != nil
		t.mu.Unlock()
		if done {
			return
		}
		select {
		case <-tick.C:
		case <-life.Done():
			return
		}
	}
}

// drainInterval is how often drain looks whether everything is acknowledged.
const drainInterval = 5 * time.Millisecond
