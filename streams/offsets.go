package streams

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
)

// mark is how far a task has come in one input: the offset to go on from, and the time of the operators behind it.
type mark struct {
	offset   int64
	metadata string
}

// maxMetadata bounds the metadata of a committed offset: Kafka refuses more than 4,096 bytes.
const maxMetadata = 4000

// clockMark is the time of an operator as kept in the metadata of an offset, so that it moves with the offset, both or none. In a
// changelog it could get ahead, and the records read again after a crash would be late.
type clockMark struct {
	// Closed is the end of the last window that was closed.
	Closed *int64 `json:"closed,omitempty"`
	// Times are those of the clock's inputs that this partition stands for; one stands for all when they are equal or too many.
	Times []int64 `json:"times"`
}

// marks returns where each input stands.
func (t *task) marks() (map[*input]mark, error) {
	marks := make(map[*input]mark, len(t.inputs))
	for _, in := range t.inputs {
		metadata, err := t.metadata(in)
		if err != nil {
			return nil, err
		}
		marks[in] = mark{in.position, metadata}
	}
	return marks, nil
}

// inputMetadata is the metadata of a committed offset.
type inputMetadata struct {
	Clocks map[string]clockMark `json:"clocks,omitempty"`
	// Writers is what the writers of a repartition partition last told of themselves, one digit for each. They do not tell it again
	// when only the reader starts anew.
	Writers string `json:"writers,omitempty"`
}

func (t *task) metadata(in *input) (string, error) {
	m := inputMetadata{Writers: encodeWriters(in.writers)}
	for _, short := range []bool{false, true} {
		m.Clocks = map[string]clockMark{}
		for _, c := range t.clocks {
			if mark, ok := c.mark(in, short); ok {
				m.Clocks[c.name] = mark
			}
		}
		if len(m.Clocks) == 0 && m.Writers == "" {
			return "", nil
		}
		b, err := json.Marshal(m)
		if err != nil {
			return "", err
		}
		if len(b) <= maxMetadata {
			return string(b), nil
		}
	}
	return "", fmt.Errorf("task %s: the times of its operators do not fit into the metadata of the offset of %s-%d, %d bytes: divide the topology, or use fewer partitions",
		t.id, in.source.Topic, in.source.Partition, maxMetadata)
}

func encodeWriters(writers []writerStatus) string {
	digits := make([]byte, len(writers))
	for i, w := range writers {
		digits[i] = '0' + w.flags()
	}
	return string(digits)
}

func (in *input) decodeWriters(digits string) {
	if len(digits) == len(in.writers) {
		for i := range in.writers {
			in.writers[i] = statusOf(digits[i] - '0')
		}
	}
}

func (c *clock) mark(in *input, short bool) (clockMark, bool) {
	if c.name == "" || in.clocks() == 0 || !c.inputs[in.clock].feeds {
		return clockMark{}, false
	}
	var m clockMark
	if c.closed != noTime {
		m.Closed = &c.closed
	}
	for i := in.clock; i < in.clock+in.clocks(); i++ {
		m.Times = append(m.Times, c.inputs[i].time)
	}
	lowest := slices.Min(m.Times)
	if short || lowest == slices.Max(m.Times) {
		m.Times = []int64{lowest}
	}
	return m, m.Closed != nil || lowest != noTime || len(m.Times) > 1
}

// resume sets where an input goes on. first is the start of its log, end its end; committed is nil when nothing was committed.
func (t *task) resume(in *input, committed *mark, first, end int64) error {
	if committed != nil && committed.offset > end {
		committed = nil // the topic was made anew, what was committed is of the one before
	}
	in.committed, in.end = first, end
	if committed != nil {
		in.committed = max(first, committed.offset)
	}
	in.position = in.committed
	if in.isTable() {
		in.position, in.restore = first, end
	}
	in.fetched = in.position
	if committed == nil || !strings.HasPrefix(committed.metadata, "{") {
		return nil // nothing committed, or by a tool that set the group's offsets: the times begin anew
	}
	var m inputMetadata
	if err := json.Unmarshal([]byte(committed.metadata), &m); err != nil {
		return fmt.Errorf("metadata of the offset of %s-%d: %w", in.source.Topic, in.source.Partition, err)
	}
	in.decodeWriters(m.Writers)
	for _, c := range t.clocks {
		if mark, ok := m.Clocks[c.name]; ok && c.name != "" {
			c.resume(in, mark)
		}
	}
	return nil
}

func (c *clock) resume(in *input, m clockMark) {
	if m.Closed != nil {
		c.closed = max(c.closed, *m.Closed)
	}
	n := int(in.clocks())
	for i := range n {
		switch {
		case len(m.Times) == n:
			c.inputs[int(in.clock)+i].time = m.Times[i]
		case len(m.Times) == 1:
			c.inputs[int(in.clock)+i].time = m.Times[0]
		}
	}
	c.update()
}
