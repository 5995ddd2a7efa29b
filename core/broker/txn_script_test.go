package broker_test

import (
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/milldam/milldam/core/record"
	"github.com/milldam/milldam/core/wire"
)

// txnScript sends requests about transactions, of any version, over one connection, and writes down what came back. Producer ids are named in the order they
// appear in, so that what two brokers say can be compared.
type txnScript struct {
	t       *testing.T
	conn    net.Conn
	out     strings.Builder
	names   map[int64]string
	topic   string
	id      string
	topicID [16]byte
}

func (s *txnScript) request(version int16, req kmsg.Request) kmsg.Response {
	s.t.Helper()
	_, err := s.conn.Write(frameOf(version, req))
	must(s.t, err)
	return s.response(version, req)
}

func frameOf(version int16, req kmsg.Request) []byte {
	req.SetVersion(version)
	return kmsg.NewRequestFormatter(kmsg.FormatterClientID("script")).AppendRequest(nil, req, 1)
}

// response reads the next response, which is that to req.
func (s *txnScript) response(version int16, req kmsg.Request) kmsg.Response {
	s.t.Helper()
	must(s.t, s.conn.SetReadDeadline(time.Now().Add(30*time.Second)))
	var size [4]byte
	_, err := io.ReadFull(s.conn, size[:])
	must(s.t, err)
	body := make([]byte, binary.BigEndian.Uint32(size[:]))
	_, err = io.ReadFull(s.conn, body)
	must(s.t, err)
	body = body[4:]
	resp := req.ResponseKind()
	resp.SetVersion(version)
	if resp.IsFlexible() {
		body = body[1:]
	}
	must(s.t, resp.ReadFrom(body))
	return resp
}

// say writes a line of the transcript.
func (s *txnScript) say(format string, args ...any) { fmt.Fprintf(&s.out, format+"\n", args...) }

func codeName(code int16) string {
	if code == 0 {
		return "NONE"
	}
	if err := kerr.TypedErrorForCode(code); err != nil {
		return err.Message
	}
	return fmt.Sprint(code)
}

// stranger is a producer id that no broker gave out.
const stranger = 1 << 40

func (s *txnScript) pid(id int64) string {
	switch {
	case id < 0:
		return fmt.Sprint(id)
	case id == stranger:
		return "X"
	}
	if s.names[id] == "" {
		s.names[id] = string(rune('A' + len(s.names)))
	}
	return s.names[id]
}

// producer is who a script acts as.
type producer struct {
	id    int64
	epoch int16
	seq   map[int32]int32
}

func (p producer) at(delta int16) producer { return producer{p.id, p.epoch + delta, map[int32]int32{}} }

var nobody = producer{id: -1, epoch: -1}

func (s *txnScript) init(version int16, p producer, timeoutMs int32) producer {
	s.t.Helper()
	req := kmsg.NewPtrInitProducerIDRequest()
	req.TransactionalID, req.TransactionTimeoutMillis, req.ProducerID, req.ProducerEpoch = &s.id, timeoutMs, p.id, p.epoch
	r := s.request(version, req).(*kmsg.InitProducerIDResponse)
	s.say("  InitProducerId v%d (%s %d, %d ms): %s %s %d", version, s.pid(p.id), p.epoch, timeoutMs, codeName(r.ErrorCode), s.pid(r.ProducerID), r.ProducerEpoch)
	return producer{r.ProducerID, r.ProducerEpoch, map[int32]int32{}}
}

func (s *txnScript) add(version int16, p producer, topic string, partitions ...int32) {
	s.t.Helper()
	s.addOrVerify(version, p, false, topic, partitions)
}

func (s *txnScript) verify(version int16, p producer, topic string, partitions ...int32) {
	s.t.Helper()
	s.addOrVerify(version, p, true, topic, partitions)
}

func (s *txnScript) addOrVerify(version int16, p producer, verify bool, topic string, partitions []int32) {
	s.t.Helper()
	req := kmsg.NewPtrAddPartitionsToTxnRequest()
	if version < 4 {
		req.TransactionalID, req.ProducerID, req.ProducerEpoch = s.id, p.id, p.epoch
		req.Topics = []kmsg.AddPartitionsToTxnRequestTopic{{Topic: topic, Partitions: partitions}}
	} else {
		req.Transactions = []kmsg.AddPartitionsToTxnRequestTransaction{{TransactionalID: s.id, ProducerID: p.id, ProducerEpoch: p.epoch, VerifyOnly: verify,
			Topics: []kmsg.AddPartitionsToTxnRequestTransactionTopic{{Topic: topic, Partitions: partitions}}}}
	}
	r := s.request(version, req).(*kmsg.AddPartitionsToTxnResponse)
	var got []string
	for _, t := range r.Topics {
		for _, p := range t.Partitions {
			got = append(got, fmt.Sprintf("%d %s", p.Partition, codeName(p.ErrorCode)))
		}
	}
	for _, x := range r.Transactions {
		for _, t := range x.Topics {
			for _, p := range t.Partitions {
				got = append(got, fmt.Sprintf("%d %s", p.Partition, codeName(p.ErrorCode)))
			}
		}
	}
	slices.Sort(got)
	kind := "AddPartitionsToTxn"
	if verify {
		kind += ", verify only,"
	}
	s.say("  %s v%d (%s %d, %s): %s, %s", kind, version, s.pid(p.id), p.epoch, topic, codeName(r.ErrorCode), strings.Join(got, ", "))
}

func (s *txnScript) addOffsets(version int16, p producer, group string) {
	s.t.Helper()
	req := kmsg.NewPtrAddOffsetsToTxnRequest()
	req.TransactionalID, req.ProducerID, req.ProducerEpoch, req.Group = s.id, p.id, p.epoch, group
	r := s.request(version, req).(*kmsg.AddOffsetsToTxnResponse)
	s.say("  AddOffsetsToTxn v%d (%s %d): %s", version, s.pid(p.id), p.epoch, codeName(r.ErrorCode))
}

func (s *txnScript) end(version int16, p producer, commit bool) producer {
	s.t.Helper()
	req := kmsg.NewPtrEndTxnRequest()
	req.TransactionalID, req.ProducerID, req.ProducerEpoch, req.Commit = s.id, p.id, p.epoch, commit
	r := s.request(version, req).(*kmsg.EndTxnResponse)
	what := "abort"
	if commit {
		what = "commit"
	}
	if version < 5 {
		s.say("  EndTxn v%d (%s %d, %s): %s", version, s.pid(p.id), p.epoch, what, codeName(r.ErrorCode))
		return p
	}
	s.say("  EndTxn v%d (%s %d, %s): %s %s %d", version, s.pid(p.id), p.epoch, what, codeName(r.ErrorCode), s.pid(r.ProducerID), r.ProducerEpoch)
	return producer{r.ProducerID, r.ProducerEpoch, map[int32]int32{}}
}

// batch is a record batch of one record.
func batch(p producer, seq int32, transactional bool) []byte {
	o := record.NewBatchOptions()
	o.ProducerID, o.ProducerEpoch, o.BaseSequence, o.Transactional = record.ProducerID(p.id), record.ProducerEpoch(p.epoch), record.Sequence(seq), transactional
	var b record.Builder
	b.Reset(o)
	b.Append(time.Now().UnixMilli(), []byte("k"), []byte("v"))
	out, err := b.Build(nil)
	if err != nil {
		panic(err)
	}
	return out
}

// produceRaw sends batches, one for each partition from 0 on.
func (s *txnScript) produceRaw(version int16, what string, id *string, batches ...[]byte) {
	s.t.Helper()
	req := kmsg.NewPtrProduceRequest()
	req.TransactionID, req.Acks, req.TimeoutMillis = id, -1, 10_000
	topic := kmsg.NewProduceRequestTopic()
	topic.Topic, topic.TopicID = s.topic, s.topicID
	for i, b := range batches {
		topic.Partitions = append(topic.Partitions, kmsg.ProduceRequestTopicPartition{Partition: int32(i), Records: b})
	}
	req.Topics = append(req.Topics, topic)
	r := s.request(version, req).(*kmsg.ProduceResponse)
	var got []string
	for _, t := range r.Topics {
		for _, p := range t.Partitions {
			got = append(got, fmt.Sprintf("%d %s at %d", p.Partition, codeName(p.ErrorCode), p.BaseOffset))
		}
	}
	slices.Sort(got)
	s.say("  Produce v%d (%s): %s", version, what, strings.Join(got, ", "))
}

// produce sends the next batch of a producer to partition 0.
func (s *txnScript) produce(version int16, p producer) {
	s.t.Helper()
	s.produceRaw(version, fmt.Sprintf("%s %d, sequence %d", s.pid(p.id), p.epoch, p.seq[0]), &s.id, batch(p, p.seq[0], true))
	p.seq[0]++
}

// deleteRecords deletes all records of partition 0 of the topic.
func (s *txnScript) deleteRecords() {
	s.t.Helper()
	req := kmsg.NewPtrDeleteRecordsRequest()
	req.TimeoutMillis = 10_000
	req.Topics = []kmsg.DeleteRecordsRequestTopic{{Topic: s.topic, Partitions: []kmsg.DeleteRecordsRequestTopicPartition{{Offset: -1}}}}
	p := s.request(2, req).(*kmsg.DeleteRecordsResponse).Topics[0].Partitions[0]
	s.say("  DeleteRecords v2 (%s): %s %d", s.topic, codeName(p.ErrorCode), p.LowWatermark)
}

func (s *txnScript) list(version int16, states []string, producer, duration int64, pattern string) {
	s.t.Helper()
	req := kmsg.NewPtrListTransactionsRequest()
	req.StateFilters, req.ProducerIDFilters, req.DurationFilterMillis, req.TransactionalIDPattern = states, []int64{producer}, duration, &pattern
	r := s.request(version, req).(*kmsg.ListTransactionsResponse)
	s.say("  ListTransactions v%d (%v, %s, %d ms, %q): %s, unknown states %v", version, states, s.pid(producer), duration, strings.ReplaceAll(pattern, s.id, "ID"), codeName(r.ErrorCode), r.UnknownStateFilters)
	for _, x := range r.TransactionStates {
		s.say("    %v %s %s", x.TransactionalID == s.id, s.pid(x.ProducerID), x.TransactionState)
	}
}

func (s *txnScript) describe(ids ...string) {
	s.t.Helper()
	req := kmsg.NewPtrDescribeTransactionsRequest()
	req.TransactionalIDs = ids
	for _, x := range s.request(0, req).(*kmsg.DescribeTransactionsResponse).TransactionStates {
		if x.ErrorCode != 0 {
			s.say("  described: %s %q", codeName(x.ErrorCode), x.State)
			continue
		}
		s.say("  described: %s %q, %s %d, %d ms, started %v, %d topics", codeName(x.ErrorCode), x.State, s.pid(x.ProducerID), x.ProducerEpoch, x.TimeoutMillis, x.StartTimestamp > 0, len(x.Topics))
	}
}

func (s *txnScript) coordinatorOf(version int16, key string) {
	s.t.Helper()
	req := kmsg.NewPtrFindCoordinatorRequest()
	req.CoordinatorType, req.CoordinatorKey, req.CoordinatorKeys = 1, key, []string{key}
	r := s.request(version, req).(*kmsg.FindCoordinatorResponse)
	s.say("  FindCoordinator v%d (%q): %s, node %v", version, key, codeName(r.ErrorCode), r.NodeID > 0)
	for _, c := range r.Coordinators {
		s.say("    %q: %s, node %v", c.Key, codeName(c.ErrorCode), c.NodeID > 0)
	}
}

// settle waits until the transaction's end is told everywhere, and says its state.
func (s *txnScript) settle() {
	s.t.Helper()
	for {
		req := kmsg.NewPtrDescribeTransactionsRequest()
		req.TransactionalIDs = []string{s.id}
		x := s.request(0, req).(*kmsg.DescribeTransactionsResponse).TransactionStates[0]
		if strings.HasPrefix(x.State, "Prepare") {
			<-time.After(20 * time.Millisecond)
			continue
		}
		partitions := 0
		for _, t := range x.Topics {
			partitions += len(t.Partitions)
		}
		s.say("  state: %s %s, %s %d, %d ms, %d partitions, started %v", codeName(x.ErrorCode), x.State, s.pid(x.ProducerID), x.ProducerEpoch, x.TimeoutMillis, partitions, x.StartTimestamp > 0)
		return
	}
}

// ends says the end and the last stable offset of a partition of the topic.
func (s *txnScript) ends() {
	s.t.Helper()
	var got [2]string
	for level := range got {
		req := kmsg.NewPtrListOffsetsRequest()
		req.ReplicaID, req.IsolationLevel = -1, int8(level)
		req.Topics = []kmsg.ListOffsetsRequestTopic{{Topic: s.topic, Partitions: []kmsg.ListOffsetsRequestTopicPartition{{Partition: 0, CurrentLeaderEpoch: -1, Timestamp: -1}}}}
		r := s.request(4, req).(*kmsg.ListOffsetsResponse)
		got[level] = fmt.Sprintf("%s %d", codeName(r.Topics[0].Partitions[0].ErrorCode), r.Topics[0].Partitions[0].Offset)
	}
	s.say("  high watermark %s, last stable offset %s", got[0], got[1])
}

// aborted says which aborted transactions a fetch of partition 0 names.
func (s *txnScript) aborted(from int64) {
	s.t.Helper()
	for level := range int8(2) {
		req := kmsg.NewPtrFetchRequest()
		req.ReplicaID, req.MaxBytes, req.IsolationLevel, req.SessionEpoch = -1, 1<<20, level, -1
		req.Topics = []kmsg.FetchRequestTopic{{Topic: s.topic, Partitions: []kmsg.FetchRequestTopicPartition{{FetchOffset: from, CurrentLeaderEpoch: -1, PartitionMaxBytes: 1 << 20, LastFetchedEpoch: -1, LogStartOffset: -1}}}}
		p := s.request(11, req).(*kmsg.FetchResponse).Topics[0].Partitions[0]
		var got []string
		for _, a := range p.AbortedTransactions {
			got = append(got, fmt.Sprintf("%s from %d", s.pid(a.ProducerID), a.FirstOffset))
		}
		batches := 0
		for rest := p.RecordBatches; len(rest) > 0; batches++ {
			b, more, err := record.Next(rest)
			if err != nil {
				break
			}
			if rest = more; b.IsControl() {
				s.say("    control batch at %d: producer %s, epoch %d, sequence %d, %d bytes", b.BaseOffset(), s.pid(int64(b.ProducerID())), b.ProducerEpoch(), b.BaseSequence(), len(b))
			}
		}
		s.say("  Fetch v11 (isolation %d, from %d): %s, %d batches, high watermark %d, last stable offset %d, aborted %v", level, from, codeName(p.ErrorCode), batches, p.HighWatermark, p.LastStableOffset, got)
	}
}

func (s *txnScript) producers() {
	s.t.Helper()
	req := kmsg.NewPtrDescribeProducersRequest()
	req.Topics = []kmsg.DescribeProducersRequestTopic{{Topic: s.topic, Partitions: []int32{0, 99}}}
	for _, p := range s.request(0, req).(*kmsg.DescribeProducersResponse).Topics[0].Partitions {
		s.say("  producers of %d: %s", p.Partition, codeName(p.ErrorCode))
		slices.SortFunc(p.ActiveProducers, func(a, b kmsg.DescribeProducersResponseTopicPartitionActiveProducer) int {
			return int(a.ProducerID - b.ProducerID)
		})
		for _, x := range p.ActiveProducers {
			s.say("    %s %d, last sequence %d, coordinator epoch %d, transaction from %d", s.pid(x.ProducerID), x.ProducerEpoch, x.LastSequence, x.CoordinatorEpoch, x.CurrentTxnStartOffset)
		}
	}
}

func (s *txnScript) writeMarkers(version int16, p producer, commit bool, coordinatorEpoch int32, txnVersion int8, topic string, partition int32) {
	s.t.Helper()
	req := kmsg.NewPtrWriteTxnMarkersRequest()
	req.Markers = []kmsg.WriteTxnMarkersRequestMarker{{ProducerID: p.id, ProducerEpoch: p.epoch, Committed: commit, CoordinatorEpoch: coordinatorEpoch, TransactionVersion: txnVersion,
		Topics: []kmsg.WriteTxnMarkersRequestMarkerTopic{{Topic: topic, Partitions: []int32{partition}}}}}
	r := s.request(version, req).(*kmsg.WriteTxnMarkersResponse)
	var got []string
	for _, m := range r.Markers {
		for _, t := range m.Topics {
			for _, x := range t.Partitions {
				got = append(got, fmt.Sprintf("%s %d %s", s.pid(m.ProducerID), x.Partition, codeName(x.ErrorCode)))
			}
		}
	}
	s.say("  WriteTxnMarkers v%d (%s %d, commit %v, coordinator epoch %d, transaction version %d, %s-%d): %s", version, s.pid(p.id), p.epoch, commit, coordinatorEpoch, txnVersion, topic, partition, strings.Join(got, ", "))
}

func (s *txnScript) commitOffsets(version int16, p producer, group string, offset int64) {
	s.t.Helper()
	req := kmsg.NewPtrTxnOffsetCommitRequest()
	req.TransactionalID, req.Group, req.ProducerID, req.ProducerEpoch, req.Generation = s.id, group, p.id, p.epoch, -1
	part := kmsg.NewTxnOffsetCommitRequestTopicPartition()
	part.Offset = offset
	req.Topics = []kmsg.TxnOffsetCommitRequestTopic{{Topic: s.topic, Partitions: []kmsg.TxnOffsetCommitRequestTopicPartition{part}}}
	r := s.request(version, req).(*kmsg.TxnOffsetCommitResponse)
	s.say("  TxnOffsetCommit v%d (%s %d, %d): %s", version, s.pid(p.id), p.epoch, offset, codeName(r.Topics[0].Partitions[0].ErrorCode))
}

func (s *txnScript) offsets(group string) {
	s.t.Helper()
	for _, stable := range []bool{false, true} {
		req := kmsg.NewPtrOffsetFetchRequest()
		req.Group, req.RequireStable = group, stable
		req.Topics = []kmsg.OffsetFetchRequestTopic{{Topic: s.topic, Partitions: []int32{0}}}
		r := s.request(7, req).(*kmsg.OffsetFetchResponse)
		if len(r.Topics) == 0 {
			s.say("  OffsetFetch v7 (stable %v): %s", stable, codeName(r.ErrorCode))
			continue
		}
		s.say("  OffsetFetch v7 (stable %v): %s, %s %d", stable, codeName(r.ErrorCode), codeName(r.Topics[0].Partitions[0].ErrorCode), r.Topics[0].Partitions[0].Offset)
	}
}

// chapter starts a new transactional id.
func (s *txnScript) chapter(title string) {
	s.t.Helper()
	s.say("%s", title)
	s.id = fmt.Sprintf("script-%d-%s", time.Now().UnixNano(), strings.ReplaceAll(title, " ", "-"))
	s.findCoordinator(0, s.id)
	s.findCoordinator(1, s.id)
}

// findCoordinator waits until there is a coordinator.
func (s *txnScript) findCoordinator(kind int8, key string) {
	s.t.Helper()
	for deadline := time.Now().Add(20 * time.Second); ; <-time.After(100 * time.Millisecond) {
		req := kmsg.NewPtrFindCoordinatorRequest()
		req.CoordinatorType, req.CoordinatorKeys = kind, []string{key}
		c := s.request(4, req).(*kmsg.FindCoordinatorResponse).Coordinators[0]
		if c.ErrorCode == 0 {
			return
		}
		if time.Now().After(deadline) {
			s.t.Fatalf("no coordinator: %s", codeName(c.ErrorCode))
		}
	}
}

// awaitCoordinators waits until a broker that was just started has read every partition of the coordinators' topics: until then it refuses what falls on one of them.
func (s *txnScript) awaitCoordinators() {
	s.t.Helper()
	groups, txns := kmsg.NewPtrDescribeGroupsRequest(), kmsg.NewPtrDescribeTransactionsRequest()
	for i := range 400 { // every partition of both topics is some name's
		groups.Groups = append(groups.Groups, fmt.Sprint("await-", i))
	}
	txns.TransactionalIDs = groups.Groups
	s.findCoordinator(0, "await")
	s.findCoordinator(1, "await")
	ids := kmsg.NewPtrInitProducerIDRequest() // a block of them is fetched with the first
	ids.TransactionTimeoutMillis = 60_000
	loading := func() bool {
		return s.request(4, ids).(*kmsg.InitProducerIDResponse).ErrorCode != 0 ||
			slices.ContainsFunc(s.request(5, groups).(*kmsg.DescribeGroupsResponse).Groups, func(g kmsg.DescribeGroupsResponseGroup) bool { return g.ErrorCode != 0 }) ||
			slices.ContainsFunc(s.request(0, txns).(*kmsg.DescribeTransactionsResponse).TransactionStates, func(x kmsg.DescribeTransactionsResponseTransactionState) bool {
				return x.ErrorCode != int16(wire.TransactionalIDNotFound)
			})
	}
	for deadline := time.Now().Add(time.Minute); loading(); <-time.After(100 * time.Millisecond) {
		if time.Now().After(deadline) {
			s.t.Fatal("the coordinators do not come up")
		}
	}
}

func (s *txnScript) createTopic() {
	s.t.Helper()
	s.topic = fmt.Sprintf("script-%d", time.Now().UnixNano())
	req := kmsg.NewPtrCreateTopicsRequest()
	req.TimeoutMillis = 10_000
	topic := kmsg.NewCreateTopicsRequestTopic()
	topic.Topic, topic.NumPartitions, topic.ReplicationFactor = s.topic, 3, 1
	req.Topics = append(req.Topics, topic)
	r := s.request(7, req).(*kmsg.CreateTopicsResponse).Topics[0]
	if r.ErrorCode != 0 {
		s.t.Fatalf("no topic: %s", codeName(r.ErrorCode))
	}
	s.topicID = r.TopicID
	<-time.After(300 * time.Millisecond) // until a broker that is not its own controller knows it
}

// awaitAborted waits until a transaction is aborted because its time is up.
func (s *txnScript) awaitAborted() {
	s.t.Helper()
	for {
		req := kmsg.NewPtrDescribeTransactionsRequest()
		req.TransactionalIDs = []string{s.id}
		if s.request(0, req).(*kmsg.DescribeTransactionsResponse).TransactionStates[0].State == "CompleteAbort" {
			return
		}
		<-time.After(20 * time.Millisecond)
	}
}
