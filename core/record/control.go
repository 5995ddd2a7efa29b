package record

import (
	"encoding/binary"
	"fmt"
)

// Marker ends a transaction in one partition. In a log it is a control batch of one record.
type Marker struct {
	ProducerID       ProducerID
	ProducerEpoch    ProducerEpoch
	CoordinatorEpoch int32
	Commit           bool // else the transaction is aborted
}

// Layout of a marker's record: key is version 2 bytes, type 2; value is version 2, coordinator epoch 4. Later versions may be longer.
const (
	controlVersion  = 0
	controlAbort    = 0
	controlCommit   = 1
	controlKeyBytes = 4
	markerBytes     = 6

	// maxControlBytes bounds the records of a control batch when they are decompressed.
	maxControlBytes = 1 << 10
)

// Batch returns the control batch of the marker, at offset 0.
func (m Marker) Batch(timestamp int64) Batch {
	kind := uint16(controlAbort)
	if m.Commit {
		kind = controlCommit
	}
	key := binary.BigEndian.AppendUint16(binary.BigEndian.AppendUint16(nil, controlVersion), kind)
	value := binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint16(nil, controlVersion), uint32(m.CoordinatorEpoch))
	var b Builder
	b.Reset(BatchOptions{ProducerID: m.ProducerID, ProducerEpoch: m.ProducerEpoch, BaseSequence: NoSequence, Transactional: true, Control: true})
	b.Append(timestamp, key, value)
	out, err := b.Build(nil)
	if err != nil { // only compression fails
		panic(err)
	}
	return out
}

// Marker returns the marker in a control batch; ok is false when compaction has emptied the batch. ErrInvalid says that it holds something else.
func (b Batch) Marker() (m Marker, ok bool, err error) {
	if !b.IsControl() {
		return Marker{}, false, fmt.Errorf("%w: no control batch", ErrInvalid)
	}
	err = b.Each(maxControlBytes, func(r *Record) error {
		if ok || len(r.Key) < controlKeyBytes || len(r.Value) < markerBytes {
			return fmt.Errorf("%w: a control batch with a key of %d and a value of %d bytes", ErrInvalid, len(r.Key), len(r.Value))
		}
		version, kind := int16(binary.BigEndian.Uint16(r.Key)), binary.BigEndian.Uint16(r.Key[2:])
		if version < controlVersion || int16(binary.BigEndian.Uint16(r.Value)) < controlVersion || kind > controlCommit {
			return fmt.Errorf("%w: control record of version %d and type %d", ErrInvalid, version, kind)
		}
		m = Marker{b.ProducerID(), b.ProducerEpoch(), int32(binary.BigEndian.Uint32(r.Value[2:])), kind == controlCommit}
		ok = true
		return nil
	})
	if err != nil {
		return Marker{}, false, err
	}
	return m, ok, nil
}
