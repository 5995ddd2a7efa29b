package broker_test

import (
	"fmt"
	"net"
	"slices"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/kversion"

	"github.com/milldam/milldam/core/vfs"
)

// txnClients are franz-go producers of both transaction versions: those of old know no EndTxn 5, and add partitions themselves.
func txnClients() map[string][]kgo.Opt {
	return map[string][]kgo.Opt{"version 1": {kgo.MaxVersions(kversion.V3_7_0())}, "version 2": nil}
}

// values reads n records of a topic at an isolation level.
func (r *running) values(t *testing.T, topic string, n int, level kgo.IsolationLevel) []string {
	t.Helper()
	cl := r.client(t, kgo.ConsumeTopics(topic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.FetchIsolationLevel(level))
	defer cl.Close()
	var got []string
	for ctx := within(t); len(got) < n; {
		fetches := cl.PollFetches(ctx)
		must(t, fetches.Err())
		for _, rec := range fetches.Records() {
			got = append(got, string(rec.Value))
		}
	}
	slices.Sort(got)
	return got
}

func TestCommittedTransactionsAreReadAndAbortedOnesAreNot(t *testing.T) {
	for name, opts := range txnClients() {
		t.Run(name, func(t *testing.T) {
			r := start(t, vfs.NewMem())
			_, err := kadm.NewClient(r.client(t)).CreateTopic(within(t), 3, 1, nil, "t")
			must(t, err)
			cl := r.client(t, append(opts, kgo.TransactionalID("txn"), kgo.DefaultProduceTopic("t"), kgo.RecordPartitioner(kgo.RoundRobinPartitioner()))...)
			var committed, all []string
			for i := range 10 {
				must(t, cl.BeginTransaction())
				for j := range 7 {
					value := fmt.Sprintf("%d-%d", i, j)
					cl.Produce(within(t), kgo.StringRecord(value), func(_ *kgo.Record, err error) {
						if err != nil {
							t.Error(err)
						}
					})
					if all = append(all, value); i%3 != 0 {
						committed = append(committed, value)
					}
				}
				must(t, cl.Flush(within(t)))
				must(t, cl.EndTransaction(within(t), kgo.TransactionEndTry(i%3 != 0)))
			}
			described, err := kadm.NewClient(r.client(t)).DescribeTransactions(within(t), "txn")
			must(t, err)
			if epoch := map[string]int16{"version 1": 0, "version 2": 10}[name]; described["txn"].ProducerEpoch != epoch {
				t.Errorf("after 10 transactions the epoch is %d, want %d", described["txn"].ProducerEpoch, epoch)
			}
			if got := r.values(t, "t", len(committed), kgo.ReadCommitted()); !slices.Equal(got, committed) {
				t.Errorf("read committed: %v", got)
			}
			if got := r.values(t, "t", len(all), kgo.ReadUncommitted()); !slices.Equal(got, all) {
				t.Errorf("read uncommitted: %v", got)
			}
		})
	}
}

func TestAnOpenTransactionHoldsBackReadCommitted(t *testing.T) {
	r := start(t, vfs.NewMem())
	open := r.client(t, kgo.TransactionalID("open"), kgo.DefaultProduceTopic("t"))
	plain := r.client(t, kgo.DefaultProduceTopic("t"))
	must(t, open.BeginTransaction())
	must(t, open.ProduceSync(within(t), &kgo.Record{Value: []byte("a"), Timestamp: time.UnixMilli(1000)}).FirstErr())
	must(t, plain.ProduceSync(within(t), &kgo.Record{Value: []byte("b"), Timestamp: time.UnixMilli(2000)}).FirstErr())
	if got := r.values(t, "t", 2, kgo.ReadUncommitted()); !slices.Equal(got, []string{"a", "b"}) {
		t.Errorf("read uncommitted: %v", got)
	}
	cl := r.client(t, kgo.ConsumeTopics("t"), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.FetchMaxWait(100*time.Millisecond))
	ends, err := kadm.NewClient(r.client(t)).ListCommittedOffsets(within(t), "t")
	must(t, err)
	if end, _ := ends.Lookup("t", 0); end.Offset != 0 {
		t.Errorf("the last stable offset is %d", end.Offset)
	}
	for isolation, want := range map[int8]int64{0: 1, 1: -1} { // b is the youngest, and lies behind the last stable offset
		if got := listOffset(t, plain, "t", -3, isolation); got != want {
			t.Errorf("the largest timestamp with isolation level %d is at %d, want %d", isolation, got, want)
		}
		if got := listOffset(t, plain, "t", 0, isolation); got != min(want, 0) {
			t.Errorf("the first record with isolation level %d is at %d", isolation, got)
		}
	}
	must(t, open.EndTransaction(within(t), kgo.TryAbort))
	fetches := cl.PollFetches(within(t)) // parked until the marker is there
	must(t, fetches.Err())
	var got []string
	for _, rec := range fetches.Records() {
		got = append(got, string(rec.Value))
	}
	if !slices.Equal(got, []string{"b"}) {
		t.Errorf("read committed: %v", got)
	}
}

func TestASecondProducerFencesTheFirst(t *testing.T) {
	for name, opts := range txnClients() {
		t.Run(name, func(t *testing.T) {
			r := start(t, vfs.NewMem())
			opts = append(opts, kgo.TransactionalID("txn"), kgo.DefaultProduceTopic("t"))
			first, second := r.client(t, opts...), r.client(t, opts...)
			must(t, first.BeginTransaction())
			must(t, first.ProduceSync(within(t), kgo.StringRecord("first")).FirstErr())
			must(t, second.BeginTransaction())
			must(t, second.ProduceSync(within(t), kgo.StringRecord("second")).FirstErr())
			must(t, second.EndTransaction(within(t), kgo.TryCommit))
			if err := first.EndTransaction(within(t), kgo.TryCommit); err == nil {
				t.Error("the first producer commits after the second has begun")
			}
			if got := r.values(t, "t", 1, kgo.ReadCommitted()); !slices.Equal(got, []string{"second"}) {
				t.Errorf("read committed: %v", got)
			}
		})
	}
}

func TestTransactionsSurviveARestart(t *testing.T) {
	fs := vfs.NewMem()
	r := start(t, fs)
	cl := r.client(t, kgo.TransactionalID("txn"), kgo.DefaultProduceTopic("t"))
	must(t, cl.BeginTransaction())
	must(t, cl.ProduceSync(within(t), kgo.StringRecord("committed")).FirstErr())
	must(t, cl.EndTransaction(within(t), kgo.TryCommit))
	must(t, cl.BeginTransaction())
	must(t, cl.ProduceSync(within(t), kgo.StringRecord("open")).FirstErr())
	r.close()
	cl.Close()

	r = start(t, fs)
	next := r.client(t, kgo.TransactionalID("txn"), kgo.DefaultProduceTopic("t"))
	must(t, next.BeginTransaction()) // ends what was open
	must(t, next.ProduceSync(within(t), kgo.StringRecord("next")).FirstErr())
	must(t, next.EndTransaction(within(t), kgo.TryCommit))
	if got := r.values(t, "t", 2, kgo.ReadCommitted()); !slices.Equal(got, []string{"committed", "next"}) {
		t.Errorf("read committed: %v", got)
	}
}

// TestADeletedTopicDoesNotHoldUpItsTransactions is about a transaction that has a partition which nobody can be told its end.
func TestADeletedTopicDoesNotHoldUpItsTransactions(t *testing.T) {
	r := start(t, vfs.NewMem())
	admin := kadm.NewClient(r.client(t))
	_, err := admin.CreateTopics(within(t), 1, 1, nil, "kept", "gone")
	must(t, err)
	cl := r.client(t, kgo.TransactionalID("txn"))
	must(t, cl.BeginTransaction())
	for _, topic := range []string{"kept", "gone"} {
		must(t, cl.ProduceSync(within(t), &kgo.Record{Topic: topic, Value: []byte("v")}).FirstErr())
	}
	_, err = admin.DeleteTopics(within(t), "gone")
	must(t, err)
	must(t, cl.EndTransaction(within(t), kgo.TryCommit))
	if got := r.values(t, "kept", 1, kgo.ReadCommitted()); !slices.Equal(got, []string{"v"}) {
		t.Errorf("read committed: %v", got)
	}
	for ctx := within(t); ; {
		described, err := admin.DescribeTransactions(ctx, "txn")
		must(t, err)
		if state := described["txn"].State; state == "CompleteCommit" {
			break
		}
		must(t, ctx.Err())
	}
}

func TestHangingTransactionsAreFoundAndAborted(t *testing.T) {
	r := start(t, vfs.NewMem())
	admin := kadm.NewClient(r.client(t))
	cl := r.client(t, kgo.TransactionalID("txn"), kgo.DefaultProduceTopic("t"))
	must(t, cl.BeginTransaction())
	must(t, cl.ProduceSync(within(t), kgo.StringRecord("v")).FirstErr())
	listed, err := admin.ListTransactions(within(t), nil, []string{"Ongoing"})
	must(t, err)
	if len(listed) != 1 || listed["txn"].State != "Ongoing" {
		t.Errorf("listed: %+v", listed)
	}
	described, err := admin.DescribeProducers(within(t), kadm.TopicsSet{"t": {0: struct{}{}}})
	must(t, err)
	producers := described.SortedProducers()
	if len(producers) != 1 || producers[0].CurrentTxnStartOffset != 0 {
		t.Fatalf("producers: %+v", producers)
	}
	p := producers[0]
	_, err = admin.WriteTxnMarkers(within(t), kadm.TxnMarkers{ProducerID: p.ProducerID, ProducerEpoch: int16(p.ProducerEpoch), CoordinatorEpoch: p.CoordinatorEpoch,
		Topics: kadm.TopicsSet{"t": {0: struct{}{}}}})
	must(t, err)
	ends, err := admin.ListCommittedOffsets(within(t), "t")
	must(t, err)
	if end, _ := ends.Lookup("t", 0); end.Offset != 2 {
		t.Errorf("the last stable offset is %d", end.Offset)
	}
}

// TestBatchesKeepTheirOrderWhileTheCoordinatorIsAsked sends the batches of one transaction after the other, without waiting for answers: of each transaction the first has
// to be added to it, and those behind it must not come first.
func TestBatchesKeepTheirOrderWhileTheCoordinatorIsAsked(t *testing.T) {
	r := start(t, vfs.NewMem())
	conn, err := net.Dial("tcp", r.addr)
	must(t, err)
	defer conn.Close()
	s := &txnScript{t: t, conn: conn, names: map[int64]string{}}
	s.createTopic()
	s.chapter("pipelined")
	p := s.init(5, nobody, 60_000)
	const batches = 20
	for range 5 {
		var frames []byte
		var requests []*kmsg.ProduceRequest
		for i := range int32(batches) {
			req := kmsg.NewPtrProduceRequest()
			req.TransactionID, req.Acks, req.TimeoutMillis = &s.id, -1, 10_000
			topic := kmsg.NewProduceRequestTopic()
			topic.Topic = s.topic
			topic.Partitions = []kmsg.ProduceRequestTopicPartition{{Records: batch(p, i, true)}}
			req.Topics = append(req.Topics, topic)
			requests, frames = append(requests, req), append(frames, frameOf(12, req)...)
		}
		_, err := conn.Write(frames)
		must(t, err)
		last := int64(-1)
		for i, req := range requests {
			part := s.response(12, req).(*kmsg.ProduceResponse).Topics[0].Partitions[0]
			if part.ErrorCode != 0 || part.BaseOffset <= last {
				t.Errorf("batch %d: %s at %d after %d", i, codeName(part.ErrorCode), part.BaseOffset, last)
			}
			last = part.BaseOffset
		}
		p = s.end(5, p, true)
	}
}

func TestAMarkerThatNamesAPartitionTwiceIsWrittenOnce(t *testing.T) {
	r := start(t, vfs.NewMem())
	_, err := kadm.NewClient(r.client(t)).CreateTopic(within(t), 1, 1, nil, "t")
	must(t, err)
	req := kmsg.NewPtrWriteTxnMarkersRequest()
	req.SetVersion(1)
	topic := kmsg.WriteTxnMarkersRequestMarkerTopic{Topic: "t", Partitions: []int32{0, 0}}
	req.Markers = []kmsg.WriteTxnMarkersRequestMarker{{ProducerID: 5, Topics: []kmsg.WriteTxnMarkersRequestMarkerTopic{topic, topic}}}
	answer := ask[*kmsg.WriteTxnMarkersResponse](t, r, req).Markers[0].Topics
	if len(answer) != 1 || len(answer[0].Partitions) != 1 || answer[0].Partitions[0].ErrorCode != 0 {
		t.Errorf("answered %+v", answer)
	}
	if end := listOffset(t, r.client(t), "t", -1, 0); end != 1 {
		t.Errorf("%d markers were written", end)
	}
}

// TestTransactionsGoOnWhenTheirTopicIsDeleted is about an operator's mistake: what was known is lost, and all is made anew.
func TestTransactionsGoOnWhenTheirTopicIsDeleted(t *testing.T) {
	r := start(t, vfs.NewMem())
	opts := []kgo.Opt{kgo.TransactionalID("txn"), kgo.DefaultProduceTopic("t")}
	first := r.client(t, opts...)
	must(t, first.BeginTransaction())
	must(t, first.ProduceSync(within(t), kgo.StringRecord("first")).FirstErr())
	must(t, first.EndTransaction(within(t), kgo.TryCommit))
	idle := kmsg.NewPtrInitProducerIDRequest()
	idle.TransactionalID, idle.TransactionTimeoutMillis = kmsg.StringPtr("idle"), 10_000
	_, err := idle.RequestWith(within(t), r.client(t))
	must(t, err)
	deleted, err := kadm.NewClient(r.client(t)).DeleteTopics(within(t), "__transaction_state")
	must(t, err)
	must(t, deleted["__transaction_state"].Err)
	if listed, err := kadm.NewClient(r.client(t)).ListTransactions(within(t), nil, nil); err != nil || len(listed) != 0 {
		t.Errorf("transactions are left: %v, %v", listed, err)
	}
	second := r.client(t, opts...)
	must(t, second.BeginTransaction())
	must(t, second.ProduceSync(within(t), kgo.StringRecord("second")).FirstErr())
	must(t, second.EndTransaction(within(t), kgo.TryCommit))
	if got := r.values(t, "t", 2, kgo.ReadCommitted()); !slices.Equal(got, []string{"first", "second"}) {
		t.Errorf("read committed: %v", got)
	}
}

// listOffset asks for an offset of partition 0 by its time.
func listOffset(t *testing.T, cl *kgo.Client, topic string, timestamp int64, isolation int8) int64 {
	t.Helper()
	req := kmsg.NewPtrListOffsetsRequest()
	req.IsolationLevel = isolation
	in := kmsg.NewListOffsetsRequestTopic()
	in.Topic = topic
	p := kmsg.NewListOffsetsRequestTopicPartition()
	p.Timestamp = timestamp
	in.Partitions = append(in.Partitions, p)
	req.Topics = append(req.Topics, in)
	resp, err := req.RequestWith(within(t), cl)
	must(t, err)
	out := resp.Topics[0].Partitions[0]
	must(t, kerr.ErrorForCode(out.ErrorCode))
	return out.Offset
}
