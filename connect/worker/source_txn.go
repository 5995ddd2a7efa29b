package worker

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/milldam/milldam/connect"
)

const (
	// sourceCommitInterval is how long a transaction of a source takes records before it is committed, sourceCommitBytes how many.
	sourceCommitInterval = 100 * time.Millisecond
	sourceCommitBytes    = 16 << 20
	// sourceTransactionTimeout is how long the broker lets a transaction run whose task has died. The next task of the pipeline does not wait
	// for it: it has the same transactional id, and so ends it.
	sourceTransactionTimeout = 60 * time.Second
	// abortPatience bounds the end of a transaction that is given up.
	abortPatience = time.Second
)

// sourceTransactionalID is the transactional id of a pipeline's source. Two tasks with one fence each other.
func sourceTransactionalID(pipeline string) string { return "source-" + pipeline }

// sourceTransaction writes batches of a source, and the position behind them, in transactions. The batches are kept until they are
// committed: when the broker refuses a record all are sent again in another transaction, without that one.
type sourceTransaction struct {
	t       *SourceTask
	batches []connect.SourceBatch // since the last commit
	bytes   int64                 // of their records
	refused map[recordIndex]error // what the broker will never take
	alone   map[recordIndex]bool  // was in a batch that the broker refused, and goes in one of its own to find out which it was
	written Progress              // what the transaction adds to the task's progress
	sent    sync.WaitGroup        // records on their way

	mu struct {
		sync.Mutex
		refused map[recordIndex]error
		err     error // the first that ends the task
	}
}

// recordIndex is the place of a record in the batches of a transaction.
type recordIndex struct{ batch, record int }

// runTransactions reads the source to its end, until ctx ends, or until a transaction fails. What was read may take as long as life to be
// committed.
func (t *SourceTask) runTransactions(ctx, life context.Context) error {
	reading, stop := context.WithCancel(ctx)
	defer stop()
	batches := make(chan connect.SourceBatch)
	w := &sourceTransaction{t: t, refused: map[recordIndex]error{}, alone: map[recordIndex]bool{}}
	var failed error
	var writer sync.WaitGroup
	writer.Go(func() {
		defer stop()
		failed = w.run(life, batches)
	})
	err := t.read(reading, func(b connect.SourceBatch) error {
		select {
		case batches <- b:
		case <-reading.Done(): // it is read again, its position was not stored
		}
		return nil
	})
	close(batches)
	writer.Wait()
	switch {
	case failed != nil && life.Err() == nil:
		return failed
	case errors.Is(err, io.EOF):
		t.count(func(p *Progress) { p.Ended = true })
		return nil
	}
	return err
}

// run writes batches until there are no more. It is the only goroutine that begins and ends transactions.
func (w *sourceTransaction) run(ctx context.Context, batches <-chan connect.SourceBatch) error {
	due := time.NewTimer(sourceCommitInterval)
	defer due.Stop()
	for {
		var err error
		select {
		case b, more := <-batches:
			if !more {
				return w.commit(ctx)
			}
			if len(w.batches) == 0 {
				due.Reset(sourceCommitInterval)
			}
			if err = w.add(ctx, b); err == nil && w.bytes >= sourceCommitBytes {
				err = w.commit(ctx)
			}
		case <-due.C:
			err = w.commit(ctx)
		case <-ctx.Done():
			err = ctx.Err()
		}
		if err != nil {
			w.abort()
			return err
		}
	}
}

// add writes a batch in the transaction, which begins with the first one.
func (w *sourceTransaction) add(ctx context.Context, b connect.SourceBatch) error {
	if len(w.batches) == 0 {
		if err := w.begin(); err != nil {
			return err
		}
	}
	for i := range b.Records {
		if b.Records[i].Timestamp.IsZero() {
			b.Records[i].Timestamp = time.Now()
		}
		w.bytes += sizeOf(b.Records[i])
	}
	w.batches = append(w.batches, b)
	return w.send(ctx, len(w.batches)-1)
}

func (w *sourceTransaction) begin() error {
	w.written = Progress{}
	if err := w.t.client.BeginTransaction(); err != nil {
		return fmt.Errorf("begin a transaction: %w", err)
	}
	return nil
}

// send writes the records of a batch. What fails in a step goes to the dead-letter topic in the same transaction.
func (w *sourceTransaction) send(ctx context.Context, batch int) error {
	b := w.batches[batch]
	w.written.In += int64(len(b.Records))
	for i, r := range b.Records {
		at := recordIndex{batch, i}
		if err := w.refused[at]; err != nil {
			w.written.Dead++
			continue // it is in the dead-letter topic already
		}
		out, keep, err := r, true, error(nil)
		if w.t.opts.Transform != nil {
			out, keep, err = w.t.opts.Transform(r)
		}
		switch {
		case err != nil && w.t.dead.topic == "":
			return w.t.dead.write(ctx, "source", []connect.Record{r}, []connect.RecordError{{Outcome: connect.Poison, Err: err}})
		case err != nil:
			w.produce(ctx, at, w.t.dead.letter("source", r, err))
			w.written.Dead++
		case keep:
			if w.alone[at] {
				w.sent.Wait()
			}
			w.produce(ctx, at, toKafka(w.t.opts.Topic, out))
			if w.alone[at] {
				w.sent.Wait()
			}
			w.written.Out++
		default:
			w.written.Dropped++
		}
	}
	return nil
}

func (w *sourceTransaction) produce(ctx context.Context, at recordIndex, r *kgo.Record) {
	w.sent.Add(1)
	w.t.client.Produce(ctx, r, func(r *kgo.Record, err error) {
		defer w.sent.Done()
		if err == nil {
			return
		}
		w.mu.Lock()
		defer w.mu.Unlock()
		switch {
		case isRefusedRecord(err) && r.Topic == w.t.opts.Topic:
			if w.mu.refused == nil {
				w.mu.refused = map[recordIndex]error{}
			}
			w.mu.refused[at] = err
		case w.mu.err == nil:
			w.mu.err = fmt.Errorf("write to topic %s: %w", r.Topic, err)
		}
	})
}

// commit commits what was added since the last commit, with the positions behind it. An error leaves open whether it is committed: the next
// task finds out.
func (w *sourceTransaction) commit(ctx context.Context) error {
	if len(w.batches) == 0 {
		return nil
	}
	for {
		if err := w.addPositions(ctx); err != nil {
			return err
		}
		w.sent.Wait()
		refused, err := w.failures()
		if len(refused) > 0 {
			if err := w.again(ctx, refused); err != nil {
				return err
			}
			continue
		}
		if err == nil {
			err = w.t.client.EndTransaction(ctx, kgo.TryCommit)
		}
		if err != nil {
			return w.explain(err)
		}
		break
	}
	last := w.batches[len(w.batches)-1]
	w.t.count(func(p *Progress) {
		p.In, p.Out, p.Dropped, p.Dead = p.In+w.written.In, p.Out+w.written.Out, p.Dropped+w.written.Dropped, p.Dead+w.written.Dead
		p.Done, p.Total = last.Done, last.Total
	})
	w.batches, w.bytes = nil, 0
	clear(w.refused)
	clear(w.alone)
	return nil
}

// addPositions writes the positions behind the batches.
func (w *sourceTransaction) addPositions(ctx context.Context) error {
	positions := map[string][]byte{}
	for _, b := range w.batches {
		positions[b.Partition] = b.Position
	}
	for partition, position := range positions {
		r, err := positionRecord(w.t.opts.Pipeline, partition, position)
		if err != nil {
			return err
		}
		w.produce(ctx, recordIndex{-1, -1}, r)
	}
	return nil
}

func (w *sourceTransaction) failures() (map[recordIndex]error, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	refused := w.mu.refused
	w.mu.refused = nil
	return refused, w.mu.err
}

// again aborts the transaction and writes everything in another one, but for records that the broker refused: they go to the dead-letter
// topic, outside of the transaction because it may take what a producer of ordinary records cannot send. After a crash they may be there
// twice.
func (w *sourceTransaction) again(ctx context.Context, refused map[recordIndex]error) error {
	w.abort()
	for at, err := range refused {
		if len(refused) > 1 && !w.alone[at] {
			w.alone[at] = true // a batch is refused as a whole
			continue
		}
		letter := []connect.RecordError{{Outcome: connect.Poison, Err: err}}
		if err := w.t.dead.write(ctx, "source", []connect.Record{w.batches[at.batch].Records[at.record]}, letter); err != nil {
			return err
		}
		w.refused[at] = err
	}
	w.mu.Lock()
	w.mu.err = nil // a consequence of the refusal, which fails all that is on its way
	w.mu.Unlock()
	if err := w.begin(); err != nil {
		return err
	}
	for batch := range w.batches {
		if err := w.send(ctx, batch); err != nil {
			return err
		}
	}
	return nil
}

// abort ends a transaction that is given up, so that readers do not wait for its timeout.
func (w *sourceTransaction) abort() {
	ctx, cancel := context.WithTimeout(context.Background(), abortPatience)
	defer cancel()
	err := w.t.client.AbortBufferedRecords(ctx)
	if err == nil {
		err = w.t.client.EndTransaction(ctx, kgo.TryAbort)
	}
	if err != nil {
		w.t.opts.Logger.Warn("abort transaction; the next one of this pipeline does", "error", err)
	}
}

func (w *sourceTransaction) explain(err error) error {
	if errors.Is(err, kerr.ProducerFenced) || errors.Is(err, kerr.InvalidProducerEpoch) {
		return fmt.Errorf("the transaction was ended by the broker, because it took over %s, or because another process runs this pipeline: %w", sourceTransactionTimeout, err)
	}
	return fmt.Errorf("commit a transaction: %w", err)
}
