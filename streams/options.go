package streams

import (
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"runtime"
	"strconv"
	"time"

	"github.com/milldam/milldam/core/client"
)

// Options say how a worker runs a topology. ApplicationID is the only one without a default.
type Options struct {
	Client client.Options
	// ApplicationID names the program: it is the consumer group, and its internal topics begin with it. Two programs with one id
	// divide the work among them.
	ApplicationID string
	// InstanceID, when set, is the worker's stable name in the group: a restarted worker takes its place again without a
	// rebalance. Two workers that run at the same time must not have the same.
	InstanceID string
	// SessionTimeout is after what silence the group gives a worker's partitions to others; 45 s when zero.
	SessionTimeout time.Duration
	// Delivery is the guarantee: AtLeastOnce when zero.
	Delivery Delivery
	// CommitInterval is how often outputs and changes of state are flushed and offsets committed. When zero it is chosen between 20 and
	// 200 ms, so that commits take a tenth of the time.
	CommitInterval time.Duration
	// TransactionTimeout is how long the broker lets a transaction run whose worker has died: so long others wait for what it wrote,
	// and no batch of records may take longer to be processed. 60 s when zero.
	TransactionTimeout time.Duration
	// ReadUncommitted also reads what is in transactions that have not ended or were aborted. It does not go with ExactlyOnce.
	ReadUncommitted bool
	// Lanes is the number of goroutines that process records; the number of processors when zero.
	Lanes int
	// MaxBuffered is how many fetched records of a partition wait to be processed before it is no longer fetched; 10,000 when
	// zero.
	MaxBuffered int
	// MaxBatchBytes is the largest record batch that is produced; 1 MB when zero.
	MaxBatchBytes int32
	// ReplicationFactor is that of repartition and changelog topics; the broker's default when zero.
	ReplicationFactor int16
	Logger            *slog.Logger // discarded when nil
}

// Delivery is how often what a record causes - outputs, changes of state - is there in the end.
type Delivery int

const (
	// AtLeastOnce commits offsets after what was made of the records is acknowledged: after a crash some of it is made again.
	AtLeastOnce Delivery = iota
	// ExactlyOnce writes outputs, changes of state and offsets in one transaction: readers of committed records see each once.
	ExactlyOnce
)

// ErrInvalidOptions is the error for options that cannot work.
var ErrInvalidOptions = errors.New("invalid options")

func (o Options) withDefaults() Options {
	if o.SessionTimeout == 0 {
		o.SessionTimeout = 45 * time.Second
	}
	if o.TransactionTimeout == 0 {
		o.TransactionTimeout = 60 * time.Second
	}
	if o.Lanes == 0 {
		o.Lanes = runtime.GOMAXPROCS(0)
	}
	if o.MaxBuffered == 0 {
		o.MaxBuffered = 10_000
	}
	if o.MaxBatchBytes == 0 {
		o.MaxBatchBytes = 1_000_000
	}
	if o.ReplicationFactor == 0 {
		o.ReplicationFactor = -1
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return o
}

// Validate checks options that have their defaults.
func (o Options) Validate() error {
	switch {
	case !storeName.MatchString(o.ApplicationID):
		return fmt.Errorf("%w: ApplicationID %q: it is needed, and may have letters, digits, dot, underscore and hyphen, at most 100", ErrInvalidOptions, o.ApplicationID)
	case o.ReadUncommitted && o.Delivery == ExactlyOnce:
		return fmt.Errorf("%w: ReadUncommitted with ExactlyOnce: a record of a transaction that is aborted would be processed, and come again", ErrInvalidOptions)
	case o.SessionTimeout < 0 || o.CommitInterval < 0 || o.TransactionTimeout < 0 || o.Lanes < 0 || o.MaxBuffered < 0 || o.MaxBatchBytes < 0:
		return fmt.Errorf("%w: times and limits must not be negative", ErrInvalidOptions)
	}
	return nil
}

// workerName is the part of transactional ids that tells workers apart. With an instance id it stays: a worker that is started again ends
// the transactions of the one before at once, and fences it if it still runs.
func (o Options) workerName() string {
	if o.InstanceID != "" {
		return o.InstanceID
	}
	return strconv.FormatUint(rand.Uint64(), 36)
}
