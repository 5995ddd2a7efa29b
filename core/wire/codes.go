package wire

// Code is an error code of the protocol.
type Code int16

// The codes that are answered, by Kafka's names.
const (
	UnknownServerError        Code = -1
	None                      Code = 0
	OffsetOutOfRange          Code = 1
	CorruptMessage            Code = 2
	UnknownTopicOrPartition   Code = 3
	NotLeaderOrFollower       Code = 6
	RequestTimedOut           Code = 7
	MessageTooLarge           Code = 10
	OffsetMetadataTooLarge    Code = 12
	CoordinatorLoading        Code = 14
	CoordinatorNotAvailable   Code = 15
	NotCoordinator            Code = 16
	InvalidTopic              Code = 17
	RecordListTooLarge        Code = 18
	NotEnoughReplicas         Code = 19
	InvalidRequiredAcks       Code = 21
	IllegalGeneration         Code = 22
	InconsistentGroupProtocol Code = 23
	InvalidGroupID            Code = 24
	UnknownMemberID           Code = 25
	InvalidSessionTimeout     Code = 26
	RebalanceInProgress       Code = 27
	InvalidCommitOffsetSize   Code = 28
	InvalidTimestamp          Code = 32
	UnsupportedVersion        Code = 35
	TopicAlreadyExists        Code = 36
	InvalidPartitions         Code = 37
	InvalidReplicationFactor  Code = 38
	InvalidReplicaAssignment  Code = 39
	InvalidConfig             Code = 40
	NotController             Code = 41
	InvalidRequest            Code = 42
	PolicyViolation           Code = 44
	OutOfOrderSequence        Code = 45
	DuplicateSequence         Code = 46
	InvalidProducerEpoch      Code = 47
	InvalidTxnState           Code = 48
	InvalidProducerIDMapping  Code = 49
	InvalidTransactionTimeout Code = 50
	ConcurrentTransactions    Code = 51
	TxnCoordinatorFenced      Code = 52
	TxnIDAuthorizationFailed  Code = 53
	OperationNotAttempted     Code = 55
	TransactionalIDNotFound   Code = 105
	KafkaStorageError         Code = 56
	UnknownProducerID         Code = 59
	NonEmptyGroup             Code = 68
	GroupIDNotFound           Code = 69
	FetchSessionIDNotFound    Code = 70
	InvalidFetchSessionEpoch  Code = 71
	FencedLeaderEpoch         Code = 74
	UnknownLeaderEpoch        Code = 75
	UnsupportedCompression    Code = 76
	MemberIDRequired          Code = 79
	GroupMaxSizeReached       Code = 81
	FencedInstanceID          Code = 82
	InvalidRecord             Code = 87
	UnstableOffsetCommit      Code = 88
	ThrottlingQuotaExceeded   Code = 89
	UnsupportedSASLMechanism  Code = 33
	IllegalSASLState          Code = 34
	LogDirNotFound            Code = 57
	ElectionNotNeeded         Code = 84
	NoReassignmentInProgress  Code = 85
	ResourceNotFound          Code = 91
	DuplicateResource         Code = 92
	UnacceptableCredential    Code = 93
	MismatchedEndpointType    Code = 114
	UnsupportedEndpointType   Code = 115
	ProducerFenced            Code = 90
	InvalidUpdateVersion      Code = 95
	UnknownTopicID            Code = 100
	InconsistentTopicID       Code = 103
	FencedMemberEpoch         Code = 110
	UnreleasedInstanceID      Code = 111
	UnsupportedAssignor       Code = 112
	StaleMemberEpoch          Code = 113
	TransactionAbortable      Code = 120
	InvalidRegularExpression  Code = 128
	GroupSubscribedToTopic    Code = 86
)
