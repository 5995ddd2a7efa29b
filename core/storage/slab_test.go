package storage

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/milldam/milldam/core/record"
	"github.com/milldam/milldam/core/vfs"
)

// mapped is how many slabs there are, and how many of them are in use.
func (s *slabs) mapped() (all, used int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.mu.mapped, s.mu.mapped - len(s.mu.free)
}

func TestSlabsAreUsedAgainWhenTheLastBatchIsDropped(t *testing.T) {
	s := newSlabs(64 << 20)
	type held struct {
		batch record.Batch
		slab  *slab
		fill  byte
	}
	rng := rand.New(rand.NewPCG(7, 7))
	var live []held
	largest := 0
	for n := range 1000 {
		b := bytes.Repeat([]byte{byte(n)}, 1+rng.IntN(largestSlab/batchesOfSlab-1))
		kept, in, err := s.keep(b)
		if err != nil {
			t.Fatal(err)
		}
		live = append(live, held{kept, in, byte(n)})
		for len(live) > 20 {
			i := rng.IntN(len(live))
			h := live[i]
			if !bytes.Equal(h.batch, bytes.Repeat([]byte{h.fill}, len(h.batch))) {
				t.Fatalf("a batch of %d bytes changed while it was held", len(h.batch))
			}
			h.slab.leaveTail()
			h.slab.release()
			live[i] = live[len(live)-1]
			live = live[:len(live)-1]
		}
		all, _ := s.mapped()
		largest = max(largest, all)
	}
	if largest > 40 {
		t.Errorf("%d slabs for 20 batches", largest)
	}
	for _, h := range live {
		h.slab.unused()
	}
	if all, used := s.mapped(); used != 1 || s.tailBytes() != 0 {
		t.Errorf("%d of %d slabs are in use, %d bytes of tails, and nothing is held", used, all, s.tailBytes())
	}
	s.trim()
	if all, _ := s.mapped(); all > largest/2+1 {
		t.Errorf("%d slabs are left after trim", all)
	}
	s.close()
	if all, _ := s.mapped(); all != 0 {
		t.Errorf("%d slabs are left after close", all)
	}
}

func TestLargeBatchesAreTheCollectors(t *testing.T) {
	s := newSlabs(64 << 20)
	kept, in, err := s.keep(make(record.Batch, largestSlab/batchesOfSlab))
	if err != nil || in != nil || len(kept) != largestSlab/batchesOfSlab {
		t.Errorf("%d bytes, slab %v, %v", len(kept), in, err)
	}
	in.unused()
	if all, _ := s.mapped(); all != 0 {
		t.Errorf("%d slabs", all)
	}
}

// TestTailMemoryIsGivenBack appends, has batches refused and repeated, reads, flushes and removes: in the end nothing holds memory.
func TestTailMemoryIsGivenBack(t *testing.T) {
	known := twoTopics()
	s := open(t, vfs.NewMem(), known)
	a, b := create(t, s, known, topicA, 0), create(t, s, known, topicB, 0)
	for i := range 10 { // too little for a flush
		mustAppend(t, a, plain(t, fmt.Sprintf("%01000d", i)))
		mustAppend(t, b, plain(t, fmt.Sprintf("%01000d", i)))
	}
	o := record.NewBatchOptions()
	o.ProducerID, o.ProducerEpoch, o.BaseSequence = 9, 0, 0
	for _, l := range []*Log{a, a} { // the second is a repetition
		mustAppend(t, l, batchOf(t, o, 1, "v"))
	}
	o.BaseSequence = 5
	if _, err := appendSync(a, batchOf(t, o, 1, "v")); !errors.Is(err, ErrOutOfOrderSequence) {
		t.Errorf("a gap: %v", err)
	}
	span, err := a.Read(a.End()-1, 1<<20, a.End(), true)
	if err != nil || span.Len() == 0 {
		t.Fatalf("%d bytes, %v", span.Len(), err)
	}
	want, _ := span.Memory()
	first := bytes.Clone(want[0])
	if err := s.flushTails([]*Log{a}); err != nil {
		t.Fatal(err)
	}
	if err := s.RemoveTopic(t.Context(), topicB); err != nil {
		t.Fatal(err)
	}
	if _, used := s.slabs.mapped(); used == 0 || s.slabs.tailBytes() != 0 {
		t.Errorf("%d slabs in use while a reader has a batch, %d bytes of tails", used, s.slabs.tailBytes())
	}
	if got, _ := span.Memory(); !bytes.Equal(got[0], first) {
		t.Error("the batch changed under its reader")
	}
	if err := span.Close(); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if all, _ := s.slabs.mapped(); all != 0 {
		t.Errorf("%d slabs are left", all)
	}
}
