package record

import (
	"errors"
	"fmt"
	"strings"
	"testing"
)

func TestRecompressKeepsAllButTheCodec(t *testing.T) {
	opts := BatchOptions{BaseOffset: 1000, LeaderEpoch: 7, ProducerID: 42, ProducerEpoch: 3, BaseSequence: 9, Transactional: true}
	for from := None; from <= Zstd; from++ {
		opts.Codec = from
		b := build(t, opts, sample()...)
		for _, to := range []struct {
			codec  Codec
			levels []int
		}{{None, []int{DefaultLevel}}, {Gzip, []int{DefaultLevel, 1, 9, -1}}, {Snappy, []int{DefaultLevel}}, {LZ4, []int{DefaultLevel, 1, 9, 17}},
			{Zstd, []int{DefaultLevel, -131072, 3, 22}}} {
			for _, level := range to.levels {
				t.Run(fmt.Sprint(from, " to ", to.codec, " ", level), func(t *testing.T) {
					again, err := b.Recompress(to.codec, level, limit)
					if err != nil {
						t.Fatal(err)
					}
					if err := again.Verify(); err != nil || again.Codec() != to.codec {
						t.Fatalf("%s, %v", again.Codec(), err)
					}
					if got, want := fmt.Sprintf("%#v", collect(t, again)), fmt.Sprintf("%#v", sample()); got != want {
						t.Errorf("records\n%s\nwant\n%s", got, want)
					}
					plain := opts
					plain.Codec = None
					back, err := again.Recompress(None, DefaultLevel, limit)
					if want := build(t, plain, sample()...); err != nil || string(back) != string(want) {
						t.Errorf("uncompressed again it is another batch: %v", err)
					}
				})
			}
		}
	}
}

func TestRecompressLevelsMatter(t *testing.T) {
	text := strings.Builder{}
	for i := range 4000 {
		fmt.Fprintf(&text, "%d of many words %d, ", i*i, i%17)
	}
	b := build(t, NewBatchOptions(), Record{Value: []byte(text.String())})
	for codec, levels := range map[Codec][2]int{Gzip: {1, 9}, LZ4: {DefaultLevel, 9}, Zstd: {1, 19}} {
		fast, err := b.Recompress(codec, levels[0], limit)
		small, errSmall := b.Recompress(codec, levels[1], limit)
		if err := errors.Join(err, errSmall); err != nil {
			t.Fatal(err)
		}
		if len(small) >= len(fast) {
			t.Errorf("%s: %d bytes at level %d, %d at level %d", codec, len(fast), levels[0], len(small), levels[1])
		}
	}
}

func TestRecompressIsBounded(t *testing.T) {
	b := build(t, BatchOptions{Codec: Gzip, ProducerID: -1}, Record{Value: make([]byte, 4<<20)})
	if _, err := b.Recompress(Zstd, DefaultLevel, limit); !errors.Is(err, ErrTooLarge) {
		t.Errorf("%v", err)
	}
}
