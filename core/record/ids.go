package record

// Offset is the position of a record in its partition's log.
type Offset int64

// LeaderEpoch counts the leaders a partition has had.
type LeaderEpoch int32

// ProducerID names an idempotent or transactional producer; -1 is none.
type ProducerID int64

// ProducerEpoch fences older instances of one ProducerID.
type ProducerEpoch int16

// Sequence numbers a producer's records in one partition; it wraps from the largest int32 to 0.
type Sequence int32

// TopicID is the UUID of a topic, new for every creation of the same name.
type TopicID [16]byte
