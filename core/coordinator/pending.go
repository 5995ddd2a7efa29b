package coordinator

import (
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/milldam/milldam/core/record"
	"github.com/milldam/milldam/core/storage"
	"github.com/milldam/milldam/core/wire"
)

// Txn is a producer's transaction as requests name it.
type Txn struct {
	TransactionalID string
	ID              record.ProducerID
	Epoch           record.ProducerEpoch
}

// noEpoch is the producer epoch of what no producer wrote.
const noEpoch record.ProducerEpoch = -1

var noTxn = Txn{ID: record.NoProducer, Epoch: noEpoch}

// CommitTxnOffsets handles a TxnOffsetCommit request. The offsets hold once the transaction is committed. Topics that do not exist are the broker's to refuse.
func (g *Groups) CommitTxnOffsets(req *kmsg.TxnOffsetCommitRequest, reply func(*kmsg.TxnOffsetCommitResponse)) {
	if req.Group == "" {
		reply(txnCommitResponse(req, wire.InvalidGroupID, nil))
		return
	}
	s, err := g.shard(g.ctx, g.PartitionFor(req.Group))
	if err != nil {
		reply(txnCommitResponse(req, g.codeOf(err), nil))
		return
	}
	txn := Txn{TransactionalID: req.TransactionalID, ID: record.ProducerID(req.ProducerID), Epoch: record.ProducerEpoch(req.ProducerEpoch)}
	v, needed := s.log.Verify(txn.ID, txn.Epoch)
	switch {
	case !needed:
		g.commitVerified(s, req, txn, v, reply)
	case g.opts.VerifyTxn == nil:
		reply(txnCommitResponse(req, wire.InvalidTxnState, nil))
	default:
		g.opts.VerifyTxn(txn, g.PartitionFor(req.Group), req.Version, func(code wire.Code) {
			if code != wire.None {
				reply(txnCommitResponse(req, code, nil))
				return
			}
			g.commitVerified(s, req, txn, v, reply)
		})
	}
}

// commitVerified is the rest of CommitTxnOffsets.
func (g *Groups) commitVerified(s *shard, req *kmsg.TxnOffsetCommitRequest, txn Txn, v *storage.Verification, reply func(*kmsg.TxnOffsetCommitResponse)) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.mu.closed || s.broken {
		reply(txnCommitResponse(req, wire.CoordinatorNotAvailable, nil))
		return
	}
	gate, code := g.committer(s, commitFrom{group: req.Group, member: req.MemberID, instance: req.InstanceID, epoch: req.Generation, transactional: true})
	if code != wire.None {
		reply(txnCommitResponse(req, code, nil))
		return
	}
	var all []entry
	for _, t := range req.Topics {
		for _, p := range t.Partitions {
			all = append(all, g.commitEntry(req.Group, offsetKey{t.Topic, p.Partition}, p.Offset, p.LeaderEpoch, p.Metadata))
		}
	}
	list, refused := g.admit(all, gate)
	if len(list) == 0 {
		reply(txnCommitResponse(req, wire.None, refused))
		return
	}
	g.makeForCommit(s, req.Group)
	g.writeFor(s, txn, v, list, func(code wire.Code) { reply(txnCommitResponse(req, code, refused)) })
}

func txnCommitResponse(req *kmsg.TxnOffsetCommitRequest, code wire.Code, refused map[offsetKey]wire.Code) *kmsg.TxnOffsetCommitResponse {
	r := kmsg.NewPtrTxnOffsetCommitResponse()
	for _, t := range req.Topics {
		out := kmsg.NewTxnOffsetCommitResponseTopic()
		out.Topic = t.Topic
		for _, p := range t.Partitions {
			row := kmsg.NewTxnOffsetCommitResponseTopicPartition()
			row.Partition, row.ErrorCode = p.Partition, int16(code)
			if own, ok := refused[offsetKey{t.Topic, p.Partition}]; ok {
				row.ErrorCode = int16(own)
			}
			out.Partitions = append(out.Partitions, row)
		}
		r.Topics = append(r.Topics, out)
	}
	return r
}

// WriteMarker ends a transaction in a partition of the offsets topic. done is called, from any goroutine, once the marker is committed and the offsets of
// the transaction hold or are dropped, or with the error of the log. It must not block; no lock is held.
func (g *Groups) WriteMarker(partition int32, m record.Marker, transactionVersion int8, done func(error)) {
	s, err := g.shard(g.ctx, partition)
	if err != nil {
		done(err)
		return
	}
	g.mu.Lock()
	if err = errClosed; !g.mu.closed && !s.broken {
		g.writes.Add(1)
		err = s.log.AppendMarker(m, transactionVersion, func(err error) {
			g.later(func() {
				defer g.writes.Done()
				g.markerWritten(s, m, err, done)
			})
		})
		if err != nil {
			g.writes.Done()
		}
	}
	g.mu.Unlock()
	if err != nil {
		done(err)
	}
}

func (g *Groups) markerWritten(s *shard, m record.Marker, err error, done func(error)) {
	if err == nil {
		for _, name := range s.applyMarker(m.ProducerID, m.Commit) {
			g.settle(s, name)
		}
	}
	g.mu.unlocked = append(g.mu.unlocked, func() { done(err) })
}
