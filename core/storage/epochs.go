package storage

import (
	"bytes"
	"errors"
	"fmt"
	"slices"

	"github.com/milldam/milldam/core/record"
)

// epochStart says at which offset a leader epoch begins.
type epochStart struct {
	epoch record.LeaderEpoch
	start record.Offset
}

// epochs is the history of a log's leader epochs, oldest first; both fields rise. A slice once stored is not changed.
type epochs []epochStart

// with returns the history after a batch of epoch at offset.
func (e epochs) with(epoch record.LeaderEpoch, offset record.Offset) epochs {
	if n := len(e); n > 0 && e[n-1].epoch >= epoch {
		return e
	}
	return append(slices.Clip(e), epochStart{epoch, offset})
}

// end returns the largest epoch not above epoch, and where it ends. An epoch below all others, whose records are gone, ends where the first of them begins; -1 and -1 is
// that there is none at all.
func (e epochs) end(epoch record.LeaderEpoch, logEnd record.Offset) (record.LeaderEpoch, record.Offset) {
	if len(e) > 0 && epoch != -1 && epoch < e[0].epoch { // -1 asks for none
		return epoch, e[0].start
	}
	for i := len(e) - 1; i >= 0; i-- {
		if e[i].epoch > epoch {
			continue
		}
		if i+1 < len(e) {
			return e[i].epoch, e[i+1].start
		}
		return e[i].epoch, logEnd
	}
	return -1, -1
}

// at returns the epoch of the batch at offset, -1 before the first.
func (e epochs) at(offset record.Offset) record.LeaderEpoch {
	for i := len(e) - 1; i >= 0; i-- {
		if e[i].start <= offset {
			return e[i].epoch
		}
	}
	return -1
}

// from returns the history of a log that starts at start.
func (e epochs) from(start record.Offset) epochs {
	i := 0
	for i+1 < len(e) && e[i+1].start <= start {
		i++
	}
	if i == 0 && (len(e) == 0 || e[0].start >= start) {
		return e
	}
	c := slices.Clone(e[i:])
	c[0].start = max(c[0].start, start)
	return c
}

// encode writes Kafka's leader-epoch-checkpoint.
func (e epochs) encode() []byte {
	var out bytes.Buffer
	fmt.Fprintf(&out, "0\n%d\n", len(e))
	for _, s := range e {
		fmt.Fprintf(&out, "%d %d\n", s.epoch, s.start)
	}
	return out.Bytes()
}

var errEpochs = errors.New("damaged leader epoch checkpoint")

func decodeEpochs(data []byte) (epochs, error) {
	r := bytes.NewReader(data)
	var version, count int
	if _, err := fmt.Fscanf(r, "%d\n%d\n", &version, &count); err != nil || version != 0 || count < 0 {
		return nil, errEpochs
	}
	var e epochs
	for range count {
		var s epochStart
		if _, err := fmt.Fscanf(r, "%d %d\n", &s.epoch, &s.start); err != nil {
			return nil, errEpochs
		}
		if n := len(e); s.epoch < 0 || s.start < 0 || n > 0 && (e[n-1].epoch >= s.epoch || e[n-1].start > s.start) {
			return nil, errEpochs
		}
		e = append(e, s)
	}
	if r.Len() > 0 {
		return nil, errEpochs
	}
	return e, nil
}
