package record

import (
	"errors"
	"math"
	"math/rand/v2"
	"testing"
)

// summaryByEach is what Summarize says, made from what Each hands out.
func summaryByEach(b Batch) (Summary, error) {
	s := Summary{MinTimestamp: NoTimestamp, MaxTimestamp: NoTimestamp}
	n := int64(0)
	err := b.Each(limit, func(r *Record) error {
		s.Gaps = s.Gaps || int64(r.Offset-b.BaseOffset()) != n
		s.NullKeys = s.NullKeys || r.Key == nil
		n++
		if r.Timestamp == NoTimestamp {
			return nil
		}
		if s.MinTimestamp == NoTimestamp {
			s.MinTimestamp, s.MaxTimestamp = r.Timestamp, r.Timestamp
		}
		s.MinTimestamp, s.MaxTimestamp = min(s.MinTimestamp, r.Timestamp), max(s.MaxTimestamp, r.Timestamp)
		return nil
	})
	return s, err
}

// checkSummary holds Summarize against Each: the same refusals, and the same facts of what is not refused.
func checkSummary(t *testing.T, b Batch) {
	t.Helper()
	want, wantErr := summaryByEach(b)
	got, err := b.Summarize(limit)
	switch {
	case (err == nil) != (wantErr == nil):
		t.Fatalf("Summarize: %v, Each: %v", err, wantErr)
	case err != nil:
		for _, kind := range []error{ErrInvalid, ErrTooLarge} {
			if errors.Is(err, kind) != errors.Is(wantErr, kind) {
				t.Fatalf("Summarize: %v, Each: %v", err, wantErr)
			}
		}
	case b.Count() > 0 && got != want:
		t.Fatalf("Summarize: %+v, of what Each says: %+v", got, want)
	}
}

func TestSummaries(t *testing.T) {
	keyed := func(offset Offset, ms int64) Record { return Record{Offset: offset, Timestamp: ms, Key: []byte("k")} }
	for _, tc := range []struct {
		name    string
		records []Record
		want    Summary
	}{
		{"one", []Record{keyed(0, 7)}, Summary{MinTimestamp: 7, MaxTimestamp: 7}},
		{"no key", []Record{keyed(0, 7), {Offset: 1, Timestamp: 3}}, Summary{MinTimestamp: 3, MaxTimestamp: 7, NullKeys: true}},
		{"a gap", []Record{keyed(0, 7), keyed(2, 9)}, Summary{MinTimestamp: 7, MaxTimestamp: 9, Gaps: true}},
		{"no time", []Record{keyed(0, NoTimestamp), keyed(1, NoTimestamp)}, Summary{MinTimestamp: NoTimestamp, MaxTimestamp: NoTimestamp}},
		{"time of some", []Record{keyed(0, NoTimestamp), keyed(1, 5), keyed(2, 4)}, Summary{MinTimestamp: 4, MaxTimestamp: 5}},
		{"large deltas", []Record{keyed(0, 0), keyed(1, math.MaxInt64/2)}, Summary{MinTimestamp: 0, MaxTimestamp: math.MaxInt64 / 2}},
		{"everything", sample(), Summary{MinTimestamp: 4_000, MaxTimestamp: 6_000, NullKeys: true, Gaps: true}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			for codec := None; codec.known(); codec++ {
				o := NewBatchOptions()
				o.Codec, o.BaseOffset = codec, tc.records[0].Offset
				b := build(t, o, tc.records...)
				if got, err := b.Summarize(limit); err != nil || got != tc.want {
					t.Errorf("%v: %+v, %v; want %+v", codec, got, err, tc.want)
				}
				checkSummary(t, b)
			}
		})
	}
}

func TestSummarizeRefusesWhatEachRefuses(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	good := build(t, NewBatchOptions(), sample()...)
	for range 20_000 {
		b := Batch(append([]byte(nil), good...))
		for range 1 + rng.IntN(3) {
			b[HeaderBytes+rng.IntN(len(b)-HeaderBytes)] = byte(rng.Uint32())
		}
		checkSummary(t, b[:HeaderBytes+rng.IntN(len(b)-HeaderBytes+1)])
		checkSummary(t, b)
	}
}

func BenchmarkSummarize(b *testing.B) {
	batch := benchRecords(b)
	b.SetBytes(int64(len(batch)))
	b.ReportAllocs()
	n := 0
	for b.Loop() {
		if _, err := batch.Summarize(limit); err != nil {
			b.Fatal(err)
		}
		n += int(batch.Count())
	}
	b.ReportMetric(float64(n)/b.Elapsed().Seconds(), "records/s")
}
