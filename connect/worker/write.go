package worker

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/milldam/milldam/connect"
)

// take runs fetched records through the steps, and writes the batches that are full.
func (t *SinkTask) take(ctx context.Context, ds []delivery) error {
	now := time.Now()
	for _, d := range ds {
		if err := t.transform(ctx, d, now); err != nil {
			return err
		}
		if d.to.full(t.batch) {
			if err := t.write(ctx, d.to); err != nil {
				return err
			}
		}
	}
	return t.relieve(ctx)
}

// transform runs the records of a partition through the steps. A record that fails there, and has no dead-letter topic to go to, ends
// the task only after all before it is written, so that the next one does not write them again.
func (t *SinkTask) transform(ctx context.Context, d delivery, now time.Time) error {
	a := d.to
	if a.gone {
		return nil
	}
	taken, dropped := int64(0), int64(0)
	defer func() { t.count(func(p *Progress) { p.In, p.Dropped = p.In+taken, p.Dropped+dropped }) }()
	for _, fetched := range d.records {
		if fetched.Attrs.IsControl() {
			a.next = fetched.Offset + 1
			continue
		}
		taken++
		r := fromKafka(fetched)
		out, keep, err := r, true, error(nil)
		if t.opts.Transform != nil {
			out, keep, err = t.opts.Transform(r)
		}
		switch {
		case err != nil:
			if err := t.bury(ctx, a, r, err); err != nil {
				return err
			}
		case keep:
			a.add(out, now)
		default:
			dropped++
		}
		a.next = fetched.Offset + 1
		if a.gone {
			return nil
		}
		if len(a.pending) >= t.batch.Records && t.batch.Linger > 0 || a.bytes >= t.opts.MemoryBytes {
			if err := t.write(ctx, a); err != nil {
				return err
			}
			if err := t.relieve(ctx); err != nil {
				return err
			}
		}
	}
	return nil
}

// bury sends a record to the dead-letter topic that failed in a step.
func (t *SinkTask) bury(ctx context.Context, a *assignment, r connect.Record, cause error) error {
	if t.opts.Errors.DeadLetter == "" && a.next >= 0 {
		if err := t.write(ctx, a); err != nil {
			return err
		}
	}
	return t.deadLetter(ctx, "steps", []connect.Record{r}, []connect.RecordError{{Outcome: connect.Poison, Err: cause}})
}

func (t *SinkTask) deadLetter(ctx context.Context, operator string, records []connect.Record, failed []connect.RecordError) error {
	if err := t.dead.write(ctx, operator, records, failed); err != nil {
		return err
	}
	t.count(func(p *Progress) { p.Dead += int64(len(failed)) })
	return nil
}

// writeLingering writes the batches that waited long enough, and sets timer for the next one; more tells whether there is one.
func (t *SinkTask) writeLingering(ctx context.Context, timer *time.Timer) (more bool, err error) {
	wait := time.Duration(-1)
	for _, a := range t.assignments() {
		left := t.batch.Linger.Std() - time.Since(a.since)
		switch {
		case a.next == a.resolved:
		case len(a.pending) == 0 || left <= 0:
			if err := t.write(ctx, a); err != nil {
				return false, err
			}
		case wait < 0 || left < wait:
			wait = left
		}
	}
	if wait >= 0 {
		timer.Reset(wait)
	}
	return wait >= 0, t.relieve(ctx)
}

// relieve brings what is held back under the byte budget.
func (t *SinkTask) relieve(ctx context.Context) error {
	pending := int64(0)
	parts := t.assignments()
	for _, a := range parts {
		pending += a.bytes
	}
	if pending+t.opts.Sink.Buffered() <= t.opts.MemoryBytes {
		return nil
	}
	for _, a := range parts {
		if len(a.pending) > 0 {
			if err := t.write(ctx, a); err != nil {
				return err
			}
		}
	}
	pace := t.opts.Errors.backoff()
	for t.opts.Sink.Buffered() > t.opts.MemoryBytes {
		before := t.opts.Sink.Buffered()
		err := t.call(ctx, func(ctx context.Context) error { return t.opts.Sink.Flush(ctx, connect.FlushPressure) })
		switch {
		case err != nil:
			if err := t.failedOnce(ctx, err, &pace); err != nil {
				return err
			}
		case t.opts.Sink.Buffered() >= before:
			return fmt.Errorf("the sink holds %d bytes, allowed are %d, and it gave none back when asked to", before, t.opts.MemoryBytes)
		default:
			t.well()
			pace = t.opts.Errors.backoff()
		}
	}
	return nil
}

// write hands what is pending of a partition to the sink, again and again, until every record of it is written or in the dead-letter
// topic, or the partition is gone.
func (t *SinkTask) write(ctx context.Context, a *assignment) error {
	b := a.take()
	t.mu.Lock()
	a.handed = append(a.handed, handed{b.Next, len(b.Records)})
	t.mu.Unlock()
	pace, tries := t.opts.Errors.backoff(), 0
	for !a.gone {
		err := t.call(ctx, func(ctx context.Context) error { return t.opts.Sink.Write(ctx, b) })
		if err == nil {
			if a.resolved = b.Next; tries > 0 {
				t.well()
			}
			return nil
		}
		tries++
		var partial *connect.BatchError
		if errors.As(err, &partial) {
			left := len(b.Records)
			if b.Records, err = t.settle(ctx, a, b.Records, partial, pace.over()); err != nil {
				return err
			}
			if len(b.Records) == 0 {
				if left == 0 {
					return fmt.Errorf("the sink reports failed records of a batch that has none: %w", partial)
				}
				continue // it may pass over what is settled
			}
			err = partial
		}
		if err := t.failedOnce(ctx, err, &pace); err != nil {
			return err
		}
	}
	return nil
}

// settle sorts the failures of a batch: it dead-letters those that can never be written, and returns the records to be tried again.
func (t *SinkTask) settle(ctx context.Context, a *assignment, records []connect.Record, e *connect.BatchError, late bool) ([]connect.Record, error) {
	var poison []connect.RecordError
	var again []connect.Record
	for _, f := range e.Records {
		switch {
		case f.Index < 0 || f.Index >= len(records):
			return nil, fmt.Errorf("the sink reports record %d of a batch of %d: %w", f.Index, len(records), f.Err)
		case f.Outcome == connect.Block:
			return nil, connect.Permanent(fmt.Errorf("%s: %w", place(records[f.Index]), f.Err))
		case f.Outcome == connect.Poison || late:
			poison = append(poison, f)
		default:
			again = append(again, records[f.Index])
		}
	}
	if err := t.deadLetter(ctx, "sink", records, poison); err != nil {
		return nil, err
	}
	t.mu.Lock()
	if n := len(a.handed); n > 0 {
		a.handed[n-1].records -= len(poison)
	}
	t.mu.Unlock()
	slices.SortFunc(again, func(x, y connect.Record) int { return int(x.Offset - y.Offset) })
	return again, nil
}

// failedOnce decides about an attempt that failed: it returns the error that ends the task, or waits and returns nil.
func (t *SinkTask) failedOnce(ctx context.Context, err error, pace *backoff) error {
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case errors.Is(err, connect.ErrPermanent):
		return err
	case errors.Is(err, errInterrupted):
		return t.pause(ctx, 0)
	case pace.over():
		return pace.gaveUp(err)
	}
	pause := pace.next()
	t.retrying(err, pause)
	return t.pause(ctx, pause)
}

func (t *SinkTask) retrying(err error, pause time.Duration) {
	t.failing(err)
	t.opts.Logger.Warn("the sink fails, it is tried again", "error", err, "pause", pause.Round(time.Millisecond))
}

// interruptWait is how long the loop waits for the revocation that interrupted a call.
const interruptWait = time.Second

// pause waits, and gives partitions up meanwhile if it has to. After an interrupted call, 0 waits for what interrupted it.
func (t *SinkTask) pause(ctx context.Context, pause time.Duration) error {
	once := pause == 0
	if once {
		pause = interruptWait
	}
	timer := time.NewTimer(pause)
	defer timer.Stop()
	for {
		select {
		case <-timer.C:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		case err := <-t.failed:
			return err
		case r := <-t.revoked:
			t.revoke(ctx, r)
			if once {
				return nil
			}
		}
	}
}
