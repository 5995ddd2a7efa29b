package record

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/klauspost/compress/s2"
	"github.com/twmb/franz-go/pkg/kmsg"
)

const limit = 1 << 20

func build(t testing.TB, opts BatchOptions, records ...Record) Batch {
	t.Helper()
	var b Builder
	b.Reset(opts)
	for i := range records {
		b.AppendAt(&records[i])
	}
	out, err := b.Build(nil)
	if err != nil {
		t.Fatal(err)
	}
	return Batch(out)
}

// sample has every kind of key, value and header.
func sample() []Record {
	return []Record{
		{Offset: 1000, Timestamp: 5_000, Key: []byte("k"), Value: []byte(strings.Repeat("value ", 50)), Headers: []Header{{"h", []byte("x")}, {"", nil}}},
		{Offset: 1001, Timestamp: 4_000, Key: nil, Value: nil},
		{Offset: 1007, Timestamp: 6_000, Key: []byte{}, Value: []byte{}, Headers: []Header{{"empty", []byte{}}}},
	}
}

func collect(t testing.TB, b Batch) []Record {
	t.Helper()
	var got []Record
	err := b.Each(limit, func(r *Record) error {
		c := *r
		c.Key, c.Value, c.Headers = bytes.Clone(r.Key), bytes.Clone(r.Value), nil
		for _, h := range r.Headers {
			c.Headers = append(c.Headers, Header{h.Key, bytes.Clone(h.Value)})
		}
		got = append(got, c)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return got
}

func TestBatchesReadBackInEveryCodec(t *testing.T) {
	for codec := None; codec <= Zstd; codec++ {
		t.Run(codec.String(), func(t *testing.T) {
			opts := BatchOptions{Codec: codec, BaseOffset: 1000, LeaderEpoch: 7, ProducerID: 42, ProducerEpoch: 3, BaseSequence: math.MaxInt32 - 2, Transactional: true}
			b := build(t, opts, sample()...)
			if err := b.Verify(); err != nil {
				t.Fatal(err)
			}
			if got, want := fmt.Sprintf("%#v", collect(t, b)), fmt.Sprintf("%#v", sample()); got != want {
				t.Errorf("records\n%s\nwant\n%s", got, want)
			}
			got := []any{b.BaseOffset(), b.LastOffset(), b.LeaderEpoch(), b.ProducerID(), b.ProducerEpoch(), b.BaseSequence(), b.LastSequence(),
				b.Count(), b.BaseTimestamp(), b.MaxTimestamp(), b.IsTransactional(), b.IsControl(), b.Codec()}
			want := []any{Offset(1000), Offset(1007), LeaderEpoch(7), ProducerID(42), ProducerEpoch(3), Sequence(math.MaxInt32 - 2), Sequence(4),
				int32(3), int64(5000), int64(6000), true, false, codec}
			if !slices.Equal(got, want) {
				t.Errorf("header %v, want %v", got, want)
			}
		})
	}
}

// TestKmsgReadsOurBatches compares with another implementation of the format.
func TestKmsgReadsOurBatches(t *testing.T) {
	b := build(t, BatchOptions{BaseOffset: 1000, ProducerID: -1, ProducerEpoch: -1, BaseSequence: -1}, sample()...)
	var k kmsg.RecordBatch
	if err := k.ReadFrom(b); err != nil {
		t.Fatal(err)
	}
	if k.FirstOffset != 1000 || k.NumRecords != 3 || k.LastOffsetDelta != 7 || k.FirstTimestamp != 5000 || k.MaxTimestamp != 6000 || k.ProducerID != -1 ||
		uint32(k.CRC) != b.Checksum() {
		t.Errorf("kmsg reads %+v", k)
	}
	data := k.Records
	for i, want := range sample() {
		n, used := binary.Varint(data)
		var r kmsg.Record
		if err := r.ReadFrom(data[:used+int(n)]); err != nil {
			t.Fatal(err)
		}
		data = data[used+int(n):]
		if !bytes.Equal(r.Key, want.Key) || (r.Key == nil) != (want.Key == nil) || !bytes.Equal(r.Value, want.Value) ||
			int64(r.OffsetDelta) != int64(want.Offset-1000) || len(r.Headers) != len(want.Headers) {
			t.Errorf("record %d: kmsg reads %+v", i, r)
		}
	}
}

func TestBrokerFieldsKeepTheChecksum(t *testing.T) {
	b := build(t, NewBatchOptions(), Record{Timestamp: 1, Value: []byte("v")})
	b.SetBaseOffset(99)
	b.SetLeaderEpoch(5)
	if err := b.Verify(); err != nil || b.LastOffset() != 99 || b.LeaderEpoch() != 5 {
		t.Errorf("after setting offset and epoch: %v, %d, %d", err, b.LastOffset(), b.LeaderEpoch())
	}
	b.SetLogAppendTime(777)
	if err := b.Verify(); err != nil {
		t.Fatal(err)
	}
	if got := collect(t, b); got[0].Timestamp != 777 {
		t.Errorf("timestamp %d with log append time", got[0].Timestamp)
	}
}

func TestNextSplits(t *testing.T) {
	one := build(t, NewBatchOptions(), Record{Value: []byte("1")})
	two := build(t, NewBatchOptions(), Record{Value: []byte("22")})
	all := slices.Concat(one, two)
	first, rest, err := Next(all)
	if err != nil || !bytes.Equal(first, one) || !bytes.Equal(rest, two) {
		t.Fatalf("Next: %v", err)
	}
	for cut := range len(one) {
		if _, _, err := Next(all[:cut]); !errors.Is(err, ErrTruncated) {
			t.Fatalf("cut at %d: %v", cut, err)
		}
	}
	if n, err := SizeIn(all[:12]); err != nil || n != len(one) {
		t.Errorf("SizeIn = %d, %v", n, err)
	}
}

// change returns a copy of b with the bytes at at replaced, and its checksum made right unless keep is set.
func change(b Batch, at int, bytes ...byte) Batch {
	c := slices.Clone(b)
	copy(c[at:], bytes)
	if at >= attributesAt {
		c.seal()
	}
	return c
}

func TestVerifyRefuses(t *testing.T) {
	good := build(t, NewBatchOptions(), Record{Value: []byte("v")}, Record{Offset: 1, Value: []byte("w")})
	broken := slices.Clone(good)
	broken[len(broken)-1] ^= 1
	for name, c := range map[string]struct {
		batch Batch
		want  error
	}{
		"a flipped bit":              {broken, ErrCRC},
		"another version":            {change(good, magicAt, 1), ErrMagic},
		"a short length":             {change(good, lengthAt, 0, 0, 0, 1), ErrInvalid},
		"a negative length":          {change(good, lengthAt, 0xff, 0xff, 0xff, 0xff), ErrInvalid},
		"a length past the end":      {change(good, lengthAt, 0x7f, 0xff, 0xff, 0xff), ErrTruncated},
		"bytes behind it":            {append(slices.Clone(good), 0), ErrInvalid},
		"a negative count":           {change(good, countAt, 0xff, 0xff, 0xff, 0xff), ErrInvalid},
		"more records than offsets":  {change(good, countAt, 0, 0, 0, 9), ErrInvalid},
		"a negative last delta":      {change(good, lastOffsetDeltaAt, 0xff, 0xff, 0xff, 0xff), ErrInvalid},
		"codec 7":                    {change(good, attributesAt, 0, 7), ErrCodec},
		"an offset before the first": {change(good, 0, 0xff), ErrInvalid},
		"an offset that overflows":   {change(good, 0, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff), ErrInvalid},
		"nothing":                    {nil, ErrTruncated},
	} {
		if err := c.batch.Verify(); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
	}
	if err := good.Verify(); err != nil {
		t.Errorf("the batch they were made of: %v", err)
	}
}

func TestEachRefuses(t *testing.T) {
	good := build(t, NewBatchOptions(), Record{Key: []byte("k"), Value: []byte("v")})
	body := good[HeaderBytes:]
	for at := range body {
		for _, v := range []byte{0, 1, 0x7f, 0x80, 0xff} {
			bad := change(good, HeaderBytes+at, v)
			err := bad.Each(limit, func(r *Record) error { return nil })
			if err != nil && !errors.Is(err, ErrInvalid) {
				t.Errorf("byte %d = %#x: %v", at, v, err)
			}
		}
	}
	if err := change(good, countAt, 0, 0, 0, 0).Each(limit, func(*Record) error { return nil }); !errors.Is(err, ErrInvalid) {
		t.Errorf("records that are not counted: %v", err)
	}
	stop := errors.New("stop")
	if err := good.Each(limit, func(*Record) error { return stop }); err != stop {
		t.Errorf("an error of the callback came back as %v", err)
	}
}

func TestDecompressionIsBounded(t *testing.T) {
	zeros := make([]byte, 4<<20)
	for codec := Gzip; codec <= Zstd; codec++ {
		b := build(t, BatchOptions{Codec: codec, ProducerID: -1}, Record{Value: zeros})
		if err := b.Each(limit, func(*Record) error { return nil }); !errors.Is(err, ErrTooLarge) {
			t.Errorf("%s of %d bytes within %d: %v", codec, len(zeros), limit, err)
		}
		if err := b.Each(len(zeros)+100, func(*Record) error { return nil }); err != nil {
			t.Errorf("%s within the limit: %v", codec, err)
		}
		for _, garbage := range [][]byte{{}, {0}, []byte("garbage that is none of it"), bytes.Repeat([]byte{0xff}, 40)} {
			if _, err := codec.decompress(nil, garbage, limit); err == nil && len(garbage) > 1 {
				t.Errorf("%s takes %q", codec, garbage)
			}
		}
	}
}

func TestXerialSnappy(t *testing.T) {
	want := bytes.Repeat([]byte("snappy in blocks "), 100)
	framed := append(slices.Clone(xerialMagic), 0, 0, 0, 1, 0, 0, 0, 1)
	for part := range slices.Chunk(want, 700) {
		block := s2.EncodeSnappy(nil, part)
		framed = append(binary.BigEndian.AppendUint32(framed, uint32(len(block))), block...)
	}
	got, err := Snappy.decompress(nil, framed, limit)
	if err != nil || !bytes.Equal(got, want) {
		t.Fatalf("%d bytes, %v", len(got), err)
	}
	for cut := xerialHeader + 1; cut < len(framed); cut++ {
		if got, err := Snappy.decompress(nil, framed[:cut], limit); err == nil && len(got) == len(want) {
			t.Fatalf("cut at %d nothing is missing", cut)
		}
	}
	if _, err := Snappy.decompress(nil, framed, len(want)-1); !errors.Is(err, ErrTooLarge) {
		t.Errorf("past the limit: %v", err)
	}
}

func TestBuilderExtendsOverLostOffsets(t *testing.T) {
	var b Builder
	opts := NewBatchOptions()
	opts.BaseOffset = 10
	b.Reset(opts)
	b.ExtendTo(15)
	out, err := b.Build(nil)
	if err != nil {
		t.Fatal(err)
	}
	empty := Batch(out)
	if err := empty.Verify(); err != nil || empty.Count() != 0 || empty.LastOffset() != 15 {
		t.Errorf("an empty batch: %v, %d records up to %d", err, empty.Count(), empty.LastOffset())
	}
	b.Reset(opts)
	b.Append(1, nil, []byte("a"))
	b.Append(2, nil, []byte("b"))
	if out, err = b.Build(out); err != nil {
		t.Fatal(err)
	}
	if got := collect(t, Batch(out[len(empty):])); got[1].Offset != 11 {
		t.Errorf("the second record is at %d", got[1].Offset)
	}
}

func TestSequencesWrap(t *testing.T) {
	for _, c := range []struct {
		from Sequence
		n    int32
		want Sequence
	}{{0, 5, 5}, {math.MaxInt32, 1, 0}, {math.MaxInt32 - 1, 3, 1}} {
		if got := c.from.Add(c.n); got != c.want {
			t.Errorf("%d + %d = %d, want %d", c.from, c.n, got, c.want)
		}
	}
}

func TestParseCodec(t *testing.T) {
	for codec := None; codec <= Zstd; codec++ {
		if got, err := ParseCodec(codec.String()); err != nil || got != codec {
			t.Errorf("ParseCodec(%s) = %s, %v", codec, got, err)
		}
	}
	if _, err := ParseCodec("brotli"); !errors.Is(err, ErrCodec) {
		t.Errorf("ParseCodec(brotli): %v", err)
	}
}

// FuzzBatch feeds bytes from outside to everything that reads a batch. Whatever passes the checks reads back the same when it is built anew.
func FuzzBatch(f *testing.F) {
	for codec := None; codec <= Zstd; codec++ {
		f.Add([]byte(build(f, BatchOptions{Codec: codec, BaseOffset: 1000, ProducerID: -1}, sample()...)))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		b, _, err := Next(data)
		if err != nil || len(b) > limit {
			return
		}
		b = slices.Clone(b)
		b.seal()
		if b.Verify() != nil {
			return
		}
		checkSummary(t, b)
		var records []Record
		err = b.Each(limit, func(r *Record) error {
			c := *r
			c.Key, c.Value, c.Headers = bytes.Clone(r.Key), bytes.Clone(r.Value), slices.Clone(r.Headers)
			for i := range c.Headers {
				c.Headers[i].Value = bytes.Clone(c.Headers[i].Value)
			}
			records = append(records, c)
			return nil
		})
		if err != nil {
			return
		}
		if int(b.Count()) != len(records) {
			t.Fatalf("%d records of %d", len(records), b.Count())
		}
		if len(records) == 0 || b.HasLogAppendTime() {
			return
		}
		again := build(t, BatchOptions{BaseOffset: b.BaseOffset(), ProducerID: -1}, records...)
		if got := collect(t, again); fmt.Sprint(got) != fmt.Sprint(records) {
			t.Fatalf("built anew: %v, want %v", got, records)
		}
	})
}

func BenchmarkVerify(b *testing.B) {
	batch := build(b, NewBatchOptions(), Record{Value: make([]byte, 16<<10)})
	b.SetBytes(int64(len(batch)))
	for b.Loop() {
		if err := batch.Verify(); err != nil {
			b.Fatal(err)
		}
	}
}

// benchRecords is a batch of 16 KiB in records of about 100 bytes.
func benchRecords(b *testing.B) Batch {
	var records []Record
	for i := range 160 {
		records = append(records, Record{Offset: Offset(i), Key: []byte("key"), Value: make([]byte, 100)})
	}
	return build(b, NewBatchOptions(), records...)
}

func BenchmarkEach(b *testing.B) {
	batch := benchRecords(b)
	b.SetBytes(int64(len(batch)))
	b.ReportAllocs()
	n := 0
	for b.Loop() {
		if err := batch.Each(limit, func(*Record) error { n++; return nil }); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(n)/b.Elapsed().Seconds(), "records/s")
}
