package broker

import (
	"errors"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/milldam/milldam/core/meta"
	"github.com/milldam/milldam/core/record"
	"github.com/milldam/milldam/core/replica"
	"github.com/milldam/milldam/core/storage"
	"github.com/milldam/milldam/core/wire"
)

// Produce, versions 3 to 13 (0 to 2 are advertised and refused, KIP-896 and KAFKA-18659). 5 adds the log start offset, 8 error messages (KIP-467), 9 is flexible, 10 tells
// the leader (KIP-951), 11 knows TRANSACTION_ABORTABLE and 12 adds partitions to transactions (KIP-890), 13 names topics by id (KIP-516).

// Versions of Produce in which something changes.
const (
	produceFirst    = 3
	produceTopicIDs = 13
)

// adminClient is the client id that may write to internal topics, as in Kafka.
const adminClient = "__admin_client"

// produceUnsupported answers the versions that are advertised for clients that insist, in the shape of the request.
func produceUnsupported(version int16) kmsg.Response {
	r := kmsg.NewPtrProduceResponse()
	r.SetVersion(version)
	t := kmsg.NewProduceResponseTopic()
	p := kmsg.NewProduceResponseTopicPartition()
	p.ErrorCode = int16(wire.UnsupportedVersion)
	t.Partitions = append(t.Partitions, p)
	r.Topics = append(r.Topics, t)
	return r
}

// produce appends what came. It keeps nothing of the request, whose memory is used again as soon as it returns.
func (s *Server) produce(cl *call, req *kmsg.ProduceRequest) {
	if cl.header.Version < produceFirst {
		s.produceRefuse(cl, req, wire.UnsupportedVersion)
		return
	}
	if req.Acks < -1 || req.Acks > 1 {
		s.produceRefuse(cl, req, wire.InvalidRequiredAcks)
		return
	}
	cl.throttle = s.quotas.use(cl.header.ClientID, meta.ProducerByteRate, float64(cl.size), cl.began)
	if cl.throttle > 0 { // also what comes before the response, and where there is none
		cl.conn.mute(time.Now().Add(cl.throttle))
	}
	guards, code := s.guard(cl, req)
	if code != wire.None {
		s.produceRefuse(cl, req, code)
		return
	}
	resp := kmsg.NewPtrProduceResponse()
	var appended []*kmsg.ProduceResponseTopicPartition // whose sync decides
	acks := req.Acks                                   // the request itself is gone when the answer is known
	var pending *storage.Pending
	pending = storage.NewPending(func(err error) {
		if err != nil {
			code := s.code(err)
			for _, p := range appended {
				p.ErrorCode, p.BaseOffset = int16(code), -1
			}
		}
		cl.here = pending.Alone()
		s.produced(cl, acks, resp)
	})
	bytes := 0
	resp.Topics = make([]kmsg.ProduceResponseTopic, len(req.Topics))
	for i := range req.Topics {
		t, out := &req.Topics[i], &resp.Topics[i]
		out.Default()
		out.Topic, out.TopicID = t.Topic, t.TopicID
		out.Partitions = make([]kmsg.ProduceResponseTopicPartition, len(t.Partitions))
		for j := range t.Partitions {
			p := &out.Partitions[j]
			p.Default()
			if s.producePartition(cl, t, &t.Partitions[j], p, guards[&t.Partitions[j]], pending) {
				appended = append(appended, p)
				bytes += len(t.Partitions[j].Records)
			}
		}
	}
	s.metrics.produced.Add(float64(bytes))
	pending.Arm()
}

// produced answers, unless the client wants no answer: it learns of a failure from its connection, which is closed.
func (s *Server) produced(cl *call, acks int16, resp *kmsg.ProduceResponse) {
	if acks != 0 {
		cl.reply(resp)
		return
	}
	for i := range resp.Topics {
		for j := range resp.Topics[i].Partitions {
			if resp.Topics[i].Partitions[j].ErrorCode != 0 {
				cl.hangUp()
				return
			}
		}
	}
	cl.drop()
}

// producePartition appends what came for one partition; it returns whether the append was registered with pending.
func (s *Server) producePartition(cl *call, t *kmsg.ProduceRequestTopic, in *kmsg.ProduceRequestTopicPartition, out *kmsg.ProduceResponseTopicPartition, g txnGuard, pending *storage.Pending) bool {
	out.Partition = in.Partition
	out.BaseOffset, out.LogAppendTime, out.LogStartOffset = -1, -1, -1
	fail := func(err error) bool {
		out.ErrorCode, out.ErrorMessage = int16(s.code(err)), message(err)
		return false
	}
	p, err := s.partitionOf(cl.header.Version >= produceTopicIDs, t.Topic, t.TopicID, in.Partition)
	if err != nil {
		return fail(err)
	}
	if p.Topic.Internal && cl.header.ClientID != adminClient {
		return fail(wrapped{meta.ErrInvalidTopic, "clients do not write to the internal topic " + p.Topic.Name})
	}
	if g.code != wire.None {
		out.ErrorCode, out.ErrorMessage = int16(g.code), g.message
		return false
	}
	batch, err := oneBatch(in.Records)
	if err != nil {
		return fail(err)
	}
	a, err := p.Append(batch, storage.FromClient, g.verification, pending)
	if tellsLogStart(err) {
		out.LogStartOffset = int64(p.Log.Start())
	}
	var bad *storage.RecordErrors
	if errors.As(err, &bad) { // which records, so that the client can send the others (KIP-467)
		for _, r := range bad.Records {
			row := kmsg.NewProduceResponseTopicPartitionErrorRecord()
			row.RelativeOffset, row.ErrorMessage = r.Index, message(r.Err)
			out.ErrorRecords = append(out.ErrorRecords, row)
		}
	}
	if err != nil {
		return fail(err)
	}
	out.BaseOffset, out.LogAppendTime, out.LogStartOffset = int64(a.BaseOffset), a.LogAppendTime, int64(a.LogStart)
	return true
}

// tellsLogStart tells the refusals that say, as Kafka's do, where the log begins: those for which its records and its producers were looked at.
func tellsLogStart(err error) bool {
	for _, known := range []error{storage.ErrInvalidRecord, record.ErrInvalid, storage.ErrUnsupportedCodec, storage.ErrTimestamp, storage.ErrOutOfOrderSequence, storage.ErrProducerFenced, storage.ErrTxnState} {
		if errors.Is(err, known) {
			return true
		}
	}
	return false
}

// oneBatch returns the one batch that a partition's records must be.
func oneBatch(records []byte) (record.Batch, error) {
	b, rest, err := record.Next(records)
	switch {
	case err != nil:
		return nil, fmt.Errorf("%w: %w", storage.ErrInvalidRecord, err)
	case len(rest) > 0:
		return nil, errTwoBatches
	}
	return b, nil
}

var errTwoBatches = wrapped{storage.ErrInvalidRecord, "a produce request has one record batch for a partition"}

// wrapped is an error with a text of its own.
type wrapped struct {
	err  error
	text string
}

func (w wrapped) Error() string { return w.text }
func (w wrapped) Unwrap() error { return w.err }

// partitionOf finds a partition by whichever of name and id the version has.
func (s *Server) partitionOf(byID bool, name string, id [16]byte, index int32) (*replica.Partition, error) {
	if byID {
		return s.opts.Replicas.PartitionByID(id, index)
	}
	return s.opts.Replicas.Partition(name, index)
}

// produceRefuse answers every partition with the same code.
func (s *Server) produceRefuse(cl *call, req *kmsg.ProduceRequest, code wire.Code) {
	resp := kmsg.NewPtrProduceResponse()
	for i := range req.Topics {
		t := kmsg.NewProduceResponseTopic()
		t.Topic, t.TopicID = req.Topics[i].Topic, req.Topics[i].TopicID
		for j := range req.Topics[i].Partitions {
			p := kmsg.NewProduceResponseTopicPartition()
			p.Partition, p.ErrorCode, p.BaseOffset = req.Topics[i].Partitions[j].Partition, int16(code), -1
			t.Partitions = append(t.Partitions, p)
		}
		resp.Topics = append(resp.Topics, t)
	}
	s.produced(cl, req.Acks, resp)
}

// millis is a time of the protocol.
func millis(ms int32) time.Duration { return time.Duration(ms) * time.Millisecond }
