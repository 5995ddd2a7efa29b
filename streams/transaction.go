package streams

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/kversion"

	"github.com/milldam/milldam/core/client"
)

const (
	// maxTransactionBytes is after how many bytes written a transaction is committed before its time: readers wait for its end.
	maxTransactionBytes = 16 << 20
	// abortTimeout bounds the end of a transaction that is given up. Left open, the next producer of its name ends it, or its timeout.
	abortTimeout = time.Second
	// highestNamed is the highest version of TxnOffsetCommit that names its topics.
	highestNamed = 5
	// concurrentPause is the time between attempts while the broker is still ending the transaction before.
	concurrentPause = 5 * time.Millisecond
)

// transaction is the producer of a lane, and its transaction: begun with the first record after a commit, it holds outputs, changes of state
// and, at its end, offsets. It is used by the lane's goroutine.
//
// Its id is that of the application, the worker and the lane: a worker that comes again under its name fences the one before (see takeOver). A
// worker that was only thought dead has other ids than those that took its tasks over; the group refuses its offsets, because they come
// with the generation in which it was a member, and so its transactions cannot be committed (KIP-447).
type transaction struct {
	lane   *lane
	client *kgo.Client
	id     string
	open   bool
	bytes  int // written in it
	// implicit is that each transaction has an epoch of its own (KIP-890), so that the broker can add the group to it when it gets the
	// offsets. Without, offsets that are not announced could be taken for those of the transaction before, whose end is not written yet.
	implicit bool
}

// transactionError is that a transaction cannot be completed: what it holds is given up, and with it what the tasks did and the state they
// keep. The worker begins again from what is committed.
type transactionError struct{ err error }

func (e *transactionError) Error() string { return "transaction given up: " + e.err.Error() }

func (e *transactionError) Unwrap() error { return e.err }

var (
	errReleased = errors.New("partitions were taken away before it could be committed")
	errNoMember = errors.New("the worker is no member of the group at the moment")
)

func newTransaction(l *lane, number int) (*transaction, error) {
	t := &transaction{lane: l, id: fmt.Sprintf("%s-%s-%d", l.w.options.ApplicationID, l.w.name, number)}
	versions := kversion.Tip()
	for key := range int16(kmsg.MaxKey + 1) {
		if request := kmsg.RequestForKey(key); request != nil {
			versions.SetMaxKeyVersion(key, request.MaxVersion())
		}
	}
	versions.SetMaxKeyVersion(kmsg.TxnOffsetCommit.Int16(), highestNamed)
	opts := append(l.w.producerOptions(), kgo.MaxVersions(versions),
		kgo.TransactionalID(t.id), kgo.TransactionTimeout(l.w.options.TransactionTimeout))
	var err error
	t.client, err = client.New(l.w.options.Client, opts...)
	return t, err
}

// takeOver makes the producer the only one of its name: a transaction that one before left open is aborted, one that is being committed is
// so after that. It returns when all lanes have done so: the tasks of this one may have been those of another, and what is committed of
// them can be read only then.
func (t *transaction) takeOver(ctx context.Context) error {
	m := t.lane.m
	for wait := startBackoff; ; wait = min(2*wait, startBackoffMax) {
		_, _, err := t.client.ProducerID(ctx)
		if err == nil {
			break
		}
		err = fmt.Errorf("start the transactional producer %s: %w", t.id, err)
		if isLasting(err) {
			return err
		}
		t.lane.w.options.Logger.Warn("start", "application", t.lane.w.options.ApplicationID, "error", err)
		if err := sleep(ctx, wait); err != nil {
			return err
		}
	}
	if m.takingOver.Add(-1) == 0 {
		close(m.tookOver)
	}
	select {
	case <-m.tookOver:
	case <-m.ended:
	case <-ctx.Done():
	}
	return nil
}

// begin begins the transaction if that was not done since the last commit. records are about to be written in it.
func (t *transaction) begin(records []*kgo.Record) error {
	for _, r := range records {
		t.bytes += len(r.Key) + len(r.Value)
	}
	if t.open {
		return nil
	}
	if err := t.client.BeginTransaction(); err != nil {
		return t.failed(err)
	}
	t.open = true
	return nil
}

// full reports whether the transaction should be committed before its time.
func (t *transaction) full() bool { return t.bytes >= maxTransactionBytes }

// commit adds the offsets of tasks and commits. It reports false when it has to be tried again: the transaction stays open then.
func (t *transaction) commit(ctx context.Context, tasks []*task) (bool, error) {
	marks, err := marksOf(tasks)
	if err != nil {
		return false, err
	}
	// The offsets go on their way while the last records are not acknowledged yet: neither counts before the end.
	added := make(chan error, 1)
	go func() { added <- t.addOffsets(ctx, marks) }()
	acknowledged := t.lane.waitAcknowledged(ctx)
	refused := <-added
	switch {
	case ctx.Err() != nil:
		return false, ctx.Err()
	case acknowledged != nil:
		return false, t.failed(acknowledged)
	case refused != nil && passes(refused):
		return t.lane.commitAnswer(ctx, refused)
	case refused != nil:
		return false, t.failed(fmt.Errorf("commit offsets: %w", refused))
	}
	if err := t.end(ctx); err != nil {
		return false, t.failed(err)
	}
	t.open, t.bytes = false, 0
	return true, nil
}

func (t *transaction) end(ctx context.Context) error {
	_, epoch, err := t.client.ProducerID(ctx)
	if err == nil {
		err = t.client.EndTransaction(ctx, kgo.TryCommit)
	}
	if err != nil || t.implicit {
		return err
	}
	_, next, err := t.client.ProducerID(ctx)
	t.implicit = next != epoch
	return err
}

// addOffsets makes offsets a part of the transaction.
func (t *transaction) addOffsets(ctx context.Context, marks map[Source]mark) error {
	id, epoch, err := t.client.ProducerID(ctx)
	if err != nil {
		return err
	}
	memberID, generation := t.lane.m.client.GroupMetadata()
	if generation < 0 {
		return errNoMember // without a generation the broker would not compare it
	}
	if !t.implicit {
		if err := whileConcurrent(ctx, func() error { return t.announceGroup(ctx, id, epoch) }); err != nil {
			return err
		}
	}
	req := txnOffsetCommit(marks)
	req.TransactionalID, req.ProducerID, req.ProducerEpoch = t.id, id, epoch
	req.Group, req.MemberID, req.Generation = t.lane.w.options.ApplicationID, memberID, generation
	if instance := t.lane.w.options.InstanceID; instance != "" {
		req.InstanceID = &instance
	}
	return whileConcurrent(ctx, func() error { return t.commitOffsets(ctx, req) })
}

// announceGroup makes the group a part of the transaction.
func (t *transaction) announceGroup(ctx context.Context, id int64, epoch int16) error {
	req := kmsg.NewPtrAddOffsetsToTxnRequest()
	req.TransactionalID, req.ProducerID, req.ProducerEpoch, req.Group = t.id, id, epoch, t.lane.w.options.ApplicationID
	resp, err := req.RequestWith(ctx, t.client)
	if err != nil {
		return err
	}
	return kerr.ErrorForCode(resp.ErrorCode)
}

// txnOffsetCommit is the part of the request that says which offsets.
func txnOffsetCommit(marks map[Source]mark) *kmsg.TxnOffsetCommitRequest {
	partitions := map[string][]kmsg.TxnOffsetCommitRequestTopicPartition{}
	for source, m := range marks {
		p := kmsg.NewTxnOffsetCommitRequestTopicPartition()
		p.Partition, p.Offset, p.LeaderEpoch = source.Partition, m.offset, -1
		p.Metadata = kmsg.StringPtr(m.metadata)
		partitions[source.Topic] = append(partitions[source.Topic], p)
	}
	req := kmsg.NewPtrTxnOffsetCommitRequest()
	for name, ps := range partitions {
		topic := kmsg.NewTxnOffsetCommitRequestTopic()
		topic.Topic, topic.Partitions = name, ps
		req.Topics = append(req.Topics, topic)
	}
	return req
}

func (t *transaction) commitOffsets(ctx context.Context, req *kmsg.TxnOffsetCommitRequest) error {
	resp, err := req.RequestWith(ctx, t.client)
	if err != nil {
		return err
	}
	for _, topic := range resp.Topics {
		for _, p := range topic.Partitions {
			if err := kerr.ErrorForCode(p.ErrorCode); err != nil {
				return fmt.Errorf("%s-%d: %w", topic.Topic, p.Partition, err)
			}
		}
	}
	return nil
}

// whileConcurrent calls fn again while the broker is still ending the transaction before.
func whileConcurrent(ctx context.Context, fn func() error) error {
	for {
		err := fn()
		if !errors.Is(err, kerr.ConcurrentTransactions) || sleep(ctx, concurrentPause) != nil {
			return err
		}
	}
}

// abort gives up a transaction that is open, so that nobody has to wait for its timeout.
func (t *transaction) abort() {
	if !t.open {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.lane.m.hard), abortTimeout)
	defer cancel()
	err := t.client.AbortBufferedRecords(ctx)
	if err == nil {
		err = t.client.EndTransaction(ctx, kgo.TryAbort)
	}
	if err != nil {
		t.lane.w.options.Logger.Warn("abort transaction", "application", t.lane.w.options.ApplicationID, "transactional id", t.id, "error", err)
	}
	t.open = false
}

// lasting are errors of a transaction after which another attempt would fail as well.
var lasting = []error{
	kerr.FencedInstanceID, kerr.TransactionalIDAuthorizationFailed, kerr.TopicAuthorizationFailed, kerr.GroupAuthorizationFailed,
	kerr.ClusterAuthorizationFailed, kerr.SaslAuthenticationFailed, kerr.InvalidTransactionTimeout, kerr.UnsupportedVersion,
	kerr.MessageTooLarge, kerr.RecordListTooLarge, kerr.InvalidRecord, kerr.InvalidTimestamp, kerr.InvalidTopicException, kerr.PolicyViolation,
}

func isLasting(err error) bool {
	return slices.ContainsFunc(lasting, func(l error) bool { return errors.Is(err, l) })
}

// failed is the error of the lane after err: one that ends the worker, or one with which it begins again.
func (t *transaction) failed(err error) error {
	if isLasting(err) {
		return t.lane.w.explain(err)
	}
	fenced := errors.Is(err, kerr.ProducerFenced) || errors.Is(err, kerr.InvalidProducerEpoch)
	if fenced && t.lane.w.options.InstanceID != "" {
		if still := t.lane.m.heartbeat(); errors.Is(still, kerr.FencedInstanceID) {
			return t.lane.w.explain(still)
		}
	}
	return &transactionError{err}
}
