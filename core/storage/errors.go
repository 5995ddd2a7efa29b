package storage

import (
	"errors"
	"fmt"
)

// Errors that callers branch on. They come wrapped with the partition and what was wrong.
var (
	ErrOffsetOutOfRange   = errors.New("offset out of range")
	ErrCorrupt            = errors.New("corrupt record batch")
	ErrMagic              = errors.New("unsupported record batch version")
	ErrInvalidRecord      = errors.New("invalid record batch")
	ErrUnsupportedCodec   = errors.New("unsupported compression codec")
	ErrTooLarge           = errors.New("record batch too large")
	ErrLargerThanSegment  = errors.New("record batch larger than a segment")
	ErrTimestamp          = errors.New("timestamp out of range")
	ErrOutOfOrderSequence = errors.New("out of order sequence number")
	ErrProducerFenced     = errors.New("producer epoch is older than the current one")
	ErrTxnState           = errors.New("not the producer's transaction state")
	ErrCoordinatorFenced  = errors.New("transaction coordinator epoch is older than the current one")
	ErrOffline            = errors.New("log is offline")
	ErrDamaged            = errors.New("log is damaged below what was synced") // comes with ErrOffline
	ErrDiskFull           = errors.New("disk is full")
	ErrRemoved            = errors.New("log was removed")
)

// offlineError keeps the first failure of a log or of the whole store; every later call returns it.
type offlineError struct{ cause error }

func (e *offlineError) Error() string {
	return fmt.Sprintf("%v since: %v; it serves again after a restart recovered it", ErrOffline, e.cause)
}

func (e *offlineError) Is(target error) bool { return target == ErrOffline }

func (e *offlineError) Unwrap() error { return e.cause }

// RecordErrors is why a batch is refused that is whole: some of its records may not be there. It is ErrTimestamp when one has a wrong time, else
// ErrInvalidRecord.
type RecordErrors struct{ Records []RecordError }

// RecordError is a record by its place in the batch, and what is wrong with it.
type RecordError struct {
	Index int32
	Err   error
}

func (e *RecordErrors) Error() string {
	return fmt.Sprintf("%d records are refused, first record %d: %v", len(e.Records), e.Records[0].Index, e.Records[0].Err)
}

func (e *RecordErrors) Unwrap() error {
	for _, r := range e.Records {
		if errors.Is(r.Err, ErrTimestamp) {
			return ErrTimestamp
		}
	}
	return ErrInvalidRecord
}
