package connecttest

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/milldam/milldam/connect"
)

// quiet is how long a source that has an end of its own nowhere is waited for after its last record.
const quiet = 300 * time.Millisecond

// maxStops is how many batch ends a source is stopped at.
const maxStops = 30

// Source checks what every source must hold. Each call of open makes a source that is not opened yet, over the same content of n records, in
// several batches. A source that goes on waiting behind them is as good as one that ends with io.EOF.
func Source(t *testing.T, n int, open func(t *testing.T) connect.Source) {
	whole := readAll(t, begin(t, open, nil), n)
	t.Run("goes on behind any batch", func(t *testing.T) { resumes(t, open, whole, n) })
	t.Run("goes on after each batch", func(t *testing.T) { stepwise(t, open, whole, n) })
	t.Run("ends for good, or waits until it is stopped", func(t *testing.T) { ends(t, open, n) })
	t.Run("does not touch records again", func(t *testing.T) { keeps(t, open, n) })
	t.Run("returns when its context ends", func(t *testing.T) {
		s := begin(t, open, nil)
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		returns(t, "Read with a context that has ended", func() { _, _ = s.Read(ctx) }) // what it returns is its own affair
	})
	t.Run("refuses positions it does not know", func(t *testing.T) {
		for _, b := range whole[:1] {
			for _, position := range []string{"", "\x00\xff", "{", `{"version":999999}`} {
				refuses(t, open(t), map[string][]byte{b.Partition: []byte(position)})
			}
		}
	})
	t.Run("closes without having been opened, and twice", func(t *testing.T) {
		s := open(t)
		for range 2 {
			returns(t, "Close", func() {
				if err := s.Close(); err != nil {
					t.Errorf("Close: %v", err)
				}
			})
		}
	})
}

func sourceTask(t *testing.T, positions map[string][]byte) connect.SourceTask {
	return connect.SourceTask{Pipeline: "connecttest", Logger: slog.New(slog.NewTextHandler(t.Output(), nil)), Positions: positions}
}

func begin(t *testing.T, open func(t *testing.T) connect.Source, positions map[string][]byte) connect.Source {
	t.Helper()
	s := open(t)
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
	if err := s.Open(t.Context(), sourceTask(t, positions)); err != nil {
		t.Fatalf("Open: %v", err)
	}
	return s
}

// read returns the next batch; ok is false when nothing more comes.
func read(t *testing.T, s connect.Source, wait time.Duration) (b connect.SourceBatch, ok bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), wait)
	defer cancel()
	var err error
	returns(t, "Read", func() { b, err = s.Read(ctx) })
	switch {
	case err == nil && (b.Partition == "" || len(b.Position) == 0):
		t.Fatalf("a batch of partition %q has the position %q", b.Partition, b.Position)
	case err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, context.DeadlineExceeded):
		t.Fatalf("Read: %v", err)
	}
	return b, err == nil
}

// readAll returns the batches of n records; more or fewer of them are an error.
func readAll(t *testing.T, s connect.Source, n int) []connect.SourceBatch {
	t.Helper()
	var batches []connect.SourceBatch
	done := int64(0)
	for n >= 0 {
		wait := patience / 2
		if n == 0 {
			wait = quiet
		}
		b, ok := read(t, s, wait)
		if !ok {
			break
		}
		if b.Total != 0 && (b.Done > b.Total || b.Done < done) {
			t.Errorf("progress is %d of %d after %d", b.Done, b.Total, done)
		}
		done = b.Done
		n -= len(b.Records)
		batches = append(batches, b)
	}
	if n != 0 {
		t.Fatalf("%d records are missing", n)
	}
	return batches
}

// values are those of the batches, by source partition.
func values(batches []connect.SourceBatch) map[string][]string {
	all := map[string][]string{}
	for _, b := range batches {
		for _, r := range b.Records {
			all[b.Partition] = append(all[b.Partition], string(r.Key)+"="+string(r.Value))
		}
	}
	return all
}

func equal(t *testing.T, what string, got, want map[string][]string) {
	t.Helper()
	if !maps.EqualFunc(got, want, slices.Equal) {
		t.Errorf("%s: got %.500q, want %.500q", what, got, want)
	}
}

// resumes stops behind each batch of one run.
func resumes(t *testing.T, open func(t *testing.T) connect.Source, whole []connect.SourceBatch, n int) {
	if len(whole) < 2 {
		t.Fatal("all records came in one batch: give the source more, or smaller batches")
	}
	positions := map[string][]byte{}
	for i, b := range whole[:min(len(whole), maxStops)] {
		positions[b.Partition] = bytes.Clone(b.Position)
		n -= len(b.Records)
		s := begin(t, open, maps.Clone(positions))
		equal(t, "opened again behind a batch", values(readAll(t, s, n)), values(whole[i+1:]))
	}
}

// stepwise opens the source again for each batch.
func stepwise(t *testing.T, open func(t *testing.T) connect.Source, whole []connect.SourceBatch, n int) {
	positions := map[string][]byte{}
	var all []connect.SourceBatch
	for stops := 0; n > 0; stops++ {
		s := begin(t, open, maps.Clone(positions))
		if stops == maxStops {
			all = append(all, readAll(t, s, n)...)
			break
		}
		b, ok := read(t, s, patience/2)
		if !ok {
			t.Fatalf("%d records are missing", n)
		}
		positions[b.Partition] = bytes.Clone(b.Position)
		n -= len(b.Records)
		all = append(all, b)
		if err := s.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	}
	equal(t, "opened again for each batch", values(all), values(whole))
}

func ends(t *testing.T, open func(t *testing.T) connect.Source, n int) {
	s := begin(t, open, nil)
	readAll(t, s, n)
	for range 3 {
		ctx, cancel := context.WithTimeout(t.Context(), quiet)
		b, err := s.Read(ctx)
		cancel()
		if errors.Is(err, io.EOF) {
			continue
		}
		if err == nil {
			t.Fatalf("%d records after the end", len(b.Records))
		}
		reading := make(chan struct{})
		returns(t, "Read, with Close called,", func() {
			go func() {
				<-reading
				if err := s.Close(); err != nil {
					t.Errorf("Close: %v", err)
				}
			}()
			close(reading)
			if _, err := s.Read(context.Background()); err == nil {
				t.Error("Read returns a batch of a source that was closed")
			}
		})
		return
	}
}

// keeps reads everything while it watches the first batches' memory.
func keeps(t *testing.T, open func(t *testing.T) connect.Source, n int) {
	s := begin(t, open, nil)
	var batches []connect.SourceBatch
	var copies []map[string][]string
	for n > 0 {
		b, ok := read(t, s, patience/2)
		if !ok {
			t.Fatalf("%d records are missing", n)
		}
		n -= len(b.Records)
		batches = append(batches, b)
		copies = append(copies, values(batches[len(batches)-1:]))
	}
	for i := range batches {
		equal(t, "a batch after others were read", values(batches[i:i+1]), copies[i])
		for j := range batches[i].Records { // and appending to a value leaves the next one alone
			_ = append(batches[i].Records[j].Value, "########"...)
		}
		equal(t, "a batch after its values were appended to", values(batches[i:i+1]), copies[i])
	}
}

// refuses opens a source with a position that it cannot have stored.
func refuses(t *testing.T, s connect.Source, positions map[string][]byte) {
	t.Helper()
	err := s.Open(t.Context(), sourceTask(t, positions))
	if err == nil {
		ctx, cancel := context.WithTimeout(t.Context(), patience/2)
		_, err = s.Read(ctx)
		cancel()
	}
	if !errors.Is(err, connect.ErrPermanent) {
		t.Errorf("positions %q: %v, want a permanent error", positions, err)
	}
	if err := s.Close(); err != nil {
		t.Errorf("Close: %v", err)
	}
}
