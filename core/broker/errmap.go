package broker

import (
	"context"
	"errors"

	"github.com/milldam/milldam/core/meta"
	"github.com/milldam/milldam/core/replica"
	"github.com/milldam/milldam/core/storage"
	"github.com/milldam/milldam/core/wire"
)

// codes says which error of the packages below is which error of the protocol. The first that matches wins.
var codes = []struct {
	err  error
	code wire.Code
}{
	{replica.ErrUnknownPartition, wire.UnknownTopicOrPartition},
	{replica.ErrUnknownTopicID, wire.UnknownTopicID},
	{replica.ErrNotLeader, wire.NotLeaderOrFollower},
	{replica.ErrFencedEpoch, wire.FencedLeaderEpoch},
	{replica.ErrUnknownEpoch, wire.UnknownLeaderEpoch},
	{storage.ErrRemoved, wire.UnknownTopicOrPartition},
	{storage.ErrOffsetOutOfRange, wire.OffsetOutOfRange},
	{storage.ErrOffline, wire.KafkaStorageError},
	{storage.ErrDiskFull, wire.KafkaStorageError},
	{storage.ErrCorrupt, wire.CorruptMessage},
	{storage.ErrMagic, wire.InvalidRecord},
	{storage.ErrUnsupportedCodec, wire.UnsupportedCompression},
	{storage.ErrTooLarge, wire.MessageTooLarge},
	{storage.ErrLargerThanSegment, wire.RecordListTooLarge},
	{storage.ErrTimestamp, wire.InvalidTimestamp},
	{storage.ErrOutOfOrderSequence, wire.OutOfOrderSequence},
	{storage.ErrProducerFenced, wire.InvalidProducerEpoch},
	{storage.ErrTxnState, wire.InvalidTxnState},
	{storage.ErrCoordinatorFenced, wire.TxnCoordinatorFenced},
	{storage.ErrInvalidRecord, wire.InvalidRecord},
	{meta.ErrTopicExists, wire.TopicAlreadyExists},
	{meta.ErrUnknownTopic, wire.UnknownTopicOrPartition},
	{meta.ErrInvalidTopic, wire.InvalidTopic},
	{meta.ErrTooManyPartitions, wire.PolicyViolation},
	{meta.ErrInvalidPartitions, wire.InvalidPartitions},
	{meta.ErrInvalidReplicationFactor, wire.InvalidReplicationFactor},
	{meta.ErrInvalidAssignment, wire.InvalidReplicaAssignment},
	{meta.ErrInvalidConfig, wire.InvalidConfig},
	{meta.ErrUnacceptableCredential, wire.UnacceptableCredential},
	{meta.ErrUnsupportedMechanism, wire.UnsupportedSASLMechanism},
	{meta.ErrUnknownCredential, wire.ResourceNotFound},
	{meta.ErrDuplicateResource, wire.DuplicateResource},
	{meta.ErrUnsupportedVersion, wire.UnsupportedVersion},
	{meta.ErrInvalidUpdateVersion, wire.InvalidUpdateVersion},
	{errDeletionDisabled, wire.TopicDeletionDisabled},
	{errThrottled, wire.ThrottlingQuotaExceeded},
	{meta.ErrInvalidRequest, wire.InvalidRequest},
	{context.DeadlineExceeded, wire.RequestTimedOut},
	{context.Canceled, wire.RequestTimedOut},
}

// code is the only place where errors become codes.
func (s *Server) code(err error) wire.Code {
	if err == nil {
		return wire.None
	}
	for _, row := range codes {
		if errors.Is(err, row.err) {
			return row.code
		}
	}
	s.opts.Logger.Error("an error without a code", "error", err)
	return wire.UnknownServerError
}

// message is the error's text for responses that carry one; nil without an error.
func message(err error) *string {
	if err == nil {
		return nil
	}
	text := err.Error()
	return &text
}
