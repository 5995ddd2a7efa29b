package generate

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"sync"
	"time"

	"github.com/milldam/milldam/connect"
	"github.com/milldam/milldam/connect/expression"
)

const (
	// batchRecords bounds one batch by records, batchBytes by their values.
	batchRecords = 1000
	batchBytes   = 1 << 20
	// batchInterval is how much time's worth of records makes a batch where the rate is high.
	batchInterval = 10 * time.Millisecond
	// maxBehind is how much time's worth of records is made up for when those before were taken slowly.
	maxBehind = time.Second
)

// Source makes up records. See the package comment.
type Source struct {
	config       Config
	batchRecords int64
	count        int64     // records made
	began        time.Time // when record base was due
	base         int64
	random       *rand.PCG
	message      *expression.Message

	closed chan struct{}
	once   sync.Once
}

// New returns the source of a configuration.
func New(c Config) (connect.Source, error) { return newSource(c), nil }

func newSource(c Config) *Source {
	random := rand.NewPCG(c.Seed, 0)
	return &Source{config: c, batchRecords: batchRecords, random: random, closed: make(chan struct{}),
		message: expression.NewMessage(&expression.Runtime{Now: time.Now, Rand: rand.New(random)})}
}

// partition names the one sequence there is.
const partition = "records"

// position is how many records were made, as it is stored.
type position struct {
	Version int   `json:"version"`
	Count   int64 `json:"count"`
}

// positionVersion is the version that is written.
const positionVersion = 1

// Open goes on behind the last record that was delivered.
func (s *Source) Open(_ context.Context, task connect.SourceTask) error {
	if text, stored := task.Positions[partition]; stored {
		var p position
		if err := json.Unmarshal(text, &p); err != nil || p.Version != positionVersion || p.Count < 0 {
			return connect.Permanent(fmt.Errorf("the stored position %.80q is none that this version knows; a pipeline of another name begins anew", text))
		}
		s.count = p.Count
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
	b := connect.SourceBatch{Partition: partition, Total: s.config.Count}
	for size := 0; int64(len(b.Records)) < n && size < batchBytes; {
		r, err := s.record(s.count + int64(len(b.Records)))
		if err != nil {
			return connect.SourceBatch{}, connect.Permanent(fmt.Errorf("source.generate.value.%w", err))
		}
		size += len(r.Value)
		b.Records = append(b.Records, r)
	}
	s.count += int64(len(b.Records))
	b.Done = s.count
	b.Position, err = json.Marshal(position{positionVersion, s.count})
	return b, err
}

// due waits until a record is due, and returns how many are by now.
func (s *Source) due(ctx context.Context) (int64, error) {
	most := s.batchRecords
	if s.config.Count > 0 {
		most = min(most, s.config.Count-s.count)
	}
	if most <= 0 {
		return 0, io.EOF
	}
	var wait time.Duration
	if s.config.Rate > 0 {
		if wait = time.Until(s.at(s.count + 1)); wait < -maxBehind {
			s.began, s.base = time.Now().Add(-maxBehind), s.count
		}
	}
	if wait > 0 {
		wait = max(wait, batchInterval)
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return 0, ctx.Err()
	case <-s.closed:
		return 0, fmt.Errorf("the generate source: %w", os.ErrClosed)
	case <-timer.C:
	}
	if s.config.Rate == 0 {
		return most, nil
	}
	passed := s.base + int64(time.Since(s.began).Seconds()*float64(s.config.Rate)) - s.count
	return min(max(passed, 1), most), nil
}

// at is when n records are due.
func (s *Source) at(n int64) time.Time {
	return s.began.Add(time.Duration(float64(n-s.base) / float64(s.config.Rate) * float64(time.Second)))
}

// record makes record n. Its chance starts from the seed and n, so that it is the same whatever was made before it.
func (s *Source) record(n int64) (connect.Record, error) {
	s.random.Seed(s.config.Seed, uint64(n))
	s.message.Reset(connect.Record{Offset: n, Timestamp: time.Now()})
	value, err := s.config.Value.append(nil, s.message)
	return connect.Record{Value: value, Timestamp: s.message.Record.Timestamp}, err
}

// Close ends a Read that waits.
func (s *Source) Close() error {
	s.once.Do(func() { close(s.closed) })
	return nil
}
