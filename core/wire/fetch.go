package wire

import (
	"encoding/binary"
	"io"

	"github.com/milldam/milldam/core/record"
)

// Payload is a run of record batches that writes itself.
type Payload interface {
	Len() int
	WriteTo(w io.Writer) (int64, error)
}

// FetchResponse is the answer to a Fetch request. It is written by hand, so that the record batches are never copied into it.
type FetchResponse struct {
	Version   int16
	Error     Code
	SessionID int32
	Throttle  int32 // milliseconds
	Topics    []FetchTopic
}

// FetchTopic is the part of one topic: its name up to version 12, its id from 13 on.
type FetchTopic struct {
	Name       string
	ID         record.TopicID
	Partitions []FetchPartition
}

// FetchPartition is the part of one partition.
type FetchPartition struct {
	Partition     int32
	Error         Code
	HighWatermark record.Offset
	LastStable    record.Offset
	LogStart      record.Offset
	ReadCommitted bool         // a list of aborted transactions, not a null one
	Aborted       []AbortedTxn // by first offset
	Records       Payload      // nil is none
}

// AbortedTxn is an aborted transaction with records in a response.
type AbortedTxn struct {
	ProducerID record.ProducerID
	First      record.Offset
}

// Versions in which the layout changes.
const (
	fetchSessions = 7
	fetchReplica  = 11
	fetchFlexible = 12
	fetchTopicIDs = 13
	fetchLogStart = 5
)

// WriteFrame writes the response as a frame: the parts between the records from memory, the records by themselves. It returns how many bytes it wrote.
func (f *FetchResponse) WriteFrame(w io.Writer, correlation int32) (int64, error) {
	e := f.encode(correlation)
	return e.writeTo(w)
}

// Size is how large the response is behind the four bytes of its size.
func (f *FetchResponse) Size() int {
	e := f.encode(0)
	return len(e.buf) + e.payload - 4
}

func (f *FetchResponse) encode(correlation int32) fetchEncoder {
	e := fetchEncoder{version: f.Version}
	e.buf = append(e.buf, 0, 0, 0, 0)
	e.buf = AppendResponseHeader(e.buf, correlation, f.Version >= fetchFlexible)
	e.i32(f.Throttle)
	if f.Version >= fetchSessions {
		e.i16(int16(f.Error))
		e.i32(f.SessionID)
	}
	e.length(len(f.Topics))
	for i := range f.Topics {
		e.topic(&f.Topics[i])
	}
	e.tags()
	return e
}

// fetchEncoder collects what stands between payloads.
type fetchEncoder struct {
	version int16
	buf     []byte
	cuts    []cut
	payload int // bytes of all payloads
}

// cut is a place in buf where a payload comes.
type cut struct {
	at      int
	payload Payload
}

func (e *fetchEncoder) i16(v int16) { e.buf = binary.BigEndian.AppendUint16(e.buf, uint16(v)) }
func (e *fetchEncoder) i32(v int32) { e.buf = binary.BigEndian.AppendUint32(e.buf, uint32(v)) }
func (e *fetchEncoder) i64(v int64) { e.buf = binary.BigEndian.AppendUint64(e.buf, uint64(v)) }

// length of an array, or of bytes.
func (e *fetchEncoder) length(n int) {
	if e.version >= fetchFlexible {
		e.buf = binary.AppendUvarint(e.buf, uint64(n)+1)
		return
	}
	e.i32(int32(n))
}

func (e *fetchEncoder) tags() {
	if e.version >= fetchFlexible {
		e.buf = append(e.buf, 0)
	}
}

func (e *fetchEncoder) topic(t *FetchTopic) {
	switch {
	case e.version >= fetchTopicIDs:
		e.buf = append(e.buf, t.ID[:]...)
	case e.version >= fetchFlexible:
		e.length(len(t.Name))
		e.buf = append(e.buf, t.Name...)
	default:
		e.i16(int16(len(t.Name)))
		e.buf = append(e.buf, t.Name...)
	}
	e.length(len(t.Partitions))
	for i := range t.Partitions {
		e.partition(&t.Partitions[i])
	}
	e.tags()
}

func (e *fetchEncoder) partition(p *FetchPartition) {
	e.i32(p.Partition)
	e.i16(int16(p.Error))
	e.i64(int64(p.HighWatermark))
	e.i64(int64(p.LastStable))
	if e.version >= fetchLogStart {
		e.i64(int64(p.LogStart))
	}
	e.aborted(p)
	if e.version >= fetchReplica {
		e.i32(-1) // no other replica is preferred
	}
	n := 0
	if p.Records != nil {
		n = p.Records.Len()
	}
	e.length(n)
	if n > 0 {
		e.cuts = append(e.cuts, cut{len(e.buf), p.Records})
		e.payload += n
	}
	e.tags()
}

func (e *fetchEncoder) aborted(p *FetchPartition) {
	if !p.ReadCommitted {
		e.length(-1)
		return
	}
	e.length(len(p.Aborted))
	for _, a := range p.Aborted {
		e.i64(int64(a.ProducerID))
		e.i64(int64(a.First))
		e.tags()
	}
}

func (e *fetchEncoder) writeTo(w io.Writer) (sum int64, err error) {
	binary.BigEndian.PutUint32(e.buf, uint32(len(e.buf)+e.payload-4))
	at := 0
	for _, c := range e.cuts {
		n, err := w.Write(e.buf[at:c.at])
		sum += int64(n)
		if err != nil {
			return sum, err
		}
		at = c.at
		m, err := c.payload.WriteTo(w)
		sum += m
		if err == nil && m != int64(c.payload.Len()) {
			err = io.ErrUnexpectedEOF
		}
		if err != nil {
			return sum, err
		}
	}
	n, err := w.Write(e.buf[at:])
	return sum + int64(n), err
}
