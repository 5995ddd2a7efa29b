package storage

import (
	"encoding/binary"
	"hash/crc32"
	"math/rand/v2"
	"testing"
)

func TestWALHeadsAreMadeWithoutAllocating(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for range 100 {
		v := rng.Uint64()
		if got, want := checksumOf(v), crc32.Checksum(binary.BigEndian.AppendUint64(nil, v), castagnoli); got != want {
			t.Fatalf("checksum of %#x: %#x, want %#x", v, got, want)
		}
	}
	buf := make([]byte, 0, walHeadBytes)
	if n := testing.AllocsPerRun(100, func() { buf = (&walHead{kind: walAppend}).append(buf[:0], 7) }); n != 0 {
		t.Errorf("%v allocations for a head", n)
	}
}
