package meta

import (
	"errors"
	"fmt"
)

// Errors that callers branch on. They come wrapped with what and why.
var (
	ErrTopicExists              = errors.New("topic exists")
	ErrUnknownTopic             = errors.New("unknown topic")
	ErrInvalidTopic             = errors.New("invalid topic name")
	ErrTooManyPartitions        = errors.New("too many partitions")
	ErrInvalidPartitions        = errors.New("invalid number of partitions")
	ErrInvalidReplicationFactor = errors.New("invalid replication factor")
	ErrInvalidAssignment        = errors.New("invalid replica assignment")
	ErrInvalidConfig            = errors.New("invalid config")
	ErrInvalidRequest           = errors.New("invalid request")
	ErrUnacceptableCredential   = errors.New("unacceptable credential")
	ErrUnsupportedMechanism     = errors.New("unsupported SASL mechanism")
	ErrUnknownCredential        = errors.New("unknown credential")
	ErrDuplicateResource        = errors.New("duplicate resource")
	ErrUnsupportedVersion       = errors.New("unsupported version")
	ErrInvalidUpdateVersion     = errors.New("invalid update version")
	ErrClosed                   = errors.New("metadata is closed")
)

// refusal is an error in Kafka's own words, which its tools print and people look up.
type refusal struct {
	err  error
	text string
}

func refused(err error, format string, args ...any) error {
	return refusal{err, fmt.Sprintf(format, args...)}
}

func (r refusal) Error() string { return r.text }
func (r refusal) Unwrap() error { return r.err }
