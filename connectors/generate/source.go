package generate

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"time"

	"github.com/milldam/milldam/connect"
	"github.com/milldam/milldam/connect/expression"
)

const (
	// batchRecords bounds one batch.
	batchRecords = 1000
	// batchInterval is how much time's worth of records makes a batch where the rate is high.
	batchInterval = 10 * time.Millisecond
	// maxBehind is how much time's worth of records is made up for when those before were written slowly.
	maxBehind = time.Second
)

// Source makes up records. See the package comment.
type Source struct {
	config  Config
	count   int64     // records made
	began   time.Time // when record base was due
	base    int64
	random  *rand.PCG
	message *expression.Message
}

// New returns the source of a configuration.
func New(c Config) (connect.Source, error) {
	s := &Source{config: c, random: rand.NewPCG(c.Seed, 0)}
	s.message = expression.NewMessage(&expression.Runtime{Now: time.Now, Rand: rand.New(s.random)})
	return s, nil
}

// partition names the one sequence there is.
const partition = "records"

// Open goes on behind the last record that was delivered.
func (s *Source) Open(_ context.Context, task connect.SourceTask) error {
	if text, stored := task.Positions[partition]; stored {
		if err := json.Unmarshal(text, &s.count); err != nil {
			return connect.Permanent(fmt.Errorf("the stored position %.40q is no number: %w", text, err))
		}
	}
	s.began, s.base = time.Now(), s.count
	return nil
}

// Read waits until records are due and returns them; io.EOF after the last one.
func (s *Source) Read(ctx context.Context) (connect.SourceBatch, error) {
	n, err := s.due(ctx)
	if err != nil {
		return connect.SourceBatch{}, err
	}
	b := connect.SourceBatch{Partition: partition, Records: make([]connect.Record, n), Total: s.config.Count}
	for i := range b.Records {
		if b.Records[i], err = s.record(); err != nil {
			return connect.SourceBatch{}, connect.Permanent(fmt.Errorf("source.generate.value: %w", err))
		}
		s.count++
	}
	b.Done = s.count
	b.Position, err = json.Marshal(s.count)
	return b, err
}

// due is the number of records that may be made now, at least 1.
func (s *Source) due(ctx context.Context) (int64, error) {
	most := int64(batchRecords)
	if s.config.Count > 0 {
		most = min(most, s.config.Count-s.count)
	}
	if most <= 0 {
		return 0, io.EOF
	}
	rate := float64(s.config.Rate)
	if wait := time.Until(s.at(s.count + 1)); wait > 0 {
		timer := time.NewTimer(max(wait, batchInterval))
		defer timer.Stop()
		select {
		case <-ctx.Done():
			return 0, ctx.Err()
		case <-timer.C:
		}
	} else if wait < -maxBehind {
		s.began, s.base = time.Now().Add(-maxBehind), s.count
	}
	passed := s.base + int64(time.Since(s.began).Seconds()*rate) - s.count
	return min(max(passed, 1), most), nil
}

// at is when the n-th record is due.
func (s *Source) at(n int64) time.Time {
	return s.began.Add(time.Duration(float64(n-s.base) / float64(s.config.Rate) * float64(time.Second)))
}

func (s *Source) record() (connect.Record, error) {
	s.random.Seed(s.config.Seed, uint64(s.count))
	r := connect.Record{Offset: s.count, Timestamp: time.Now()}
	s.message.Reset(r)
	fields := s.config.Value
	values := make(map[string]any, len(fields.names))
	for i, t := range fields.templates {
		v, err := t.Eval(s.message)
		if err != nil {
			return r, fmt.Errorf("%s: %w", fields.names[i], err)
		}
		values[fields.names[i]] = v
	}
	var err error
	r.Value, err = expression.AppendObject(nil, values, fields.names)
	return r, err
}

// Close has nothing to release.
func (s *Source) Close() error { return nil }
