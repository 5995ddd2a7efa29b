package broker_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"
	"math"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/milldam/milldam/core/record"
	"github.com/milldam/milldam/core/vfs"
	"github.com/milldam/milldam/core/wire"
)

// closed is what becomes of a connection over which no request came.
const closed = "closed"

// answered is a case's result: the code that the broker answered with.
func answered(code int16) string { return fmt.Sprintf("code %d", code) }

// badInput is what a client sends that it should not.
type badInput struct {
	name string
	send func(*testing.T, *running) string
	want string
}

// TestBadInputGetsItsAnswer sends what is wrong in every way that a client was seen or can be thought to get wrong. Each gets the protocol's error or a closed connection;
// after each, a neighbour whose connection was open all the time is served as before.
func TestBadInputGetsItsAnswer(t *testing.T) {
	r := startConfigured(t, vfs.NewMem(), map[string]string{"group.max.size": "1"})
	admin := kadm.NewClient(r.client(t))
	_, err := admin.CreateTopics(within(t), 1, 1, nil, "t", "neighbour")
	must(t, err)
	_, err = admin.CreateTopics(within(t), 1, 1, map[string]*string{"cleanup.policy": kadm.StringPtr("compact")}, "compacted")
	must(t, err)
	neighbour := r.client(t, kgo.DefaultProduceTopic("neighbour"))
	must(t, neighbour.ProduceSync(within(t), &kgo.Record{Value: []byte("first")}).FirstErr())
	goroutines := runtime.NumGoroutine()
	next := int64(1)
	for _, group := range [][]badInput{wireInputs(), requestInputs(), batchInputs(t), groupInputs()} {
		for _, in := range group {
			if got := in.send(t, r); got != in.want {
				t.Errorf("%s: %s, want %s", in.name, got, in.want)
			}
			rec := &kgo.Record{Value: []byte(in.name)}
			if err := neighbour.ProduceSync(within(t), rec).FirstErr(); err != nil || rec.Offset != next {
				t.Fatalf("after %s a neighbour's record got offset %d, want %d: %v", in.name, rec.Offset, next, err)
			}
			next++
		}
	}
	ctx := within(t)
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for runtime.NumGoroutine() > goroutines+ownGoroutines {
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("%d goroutines, before the first bad input there were %d", runtime.NumGoroutine(), goroutines)
		}
	}
}

// ownGoroutines is how many the clients and the coordinators of the test may have started for themselves; there are a hundred bad inputs, and a thousand connections.
const ownGoroutines = 20

// exchange sends bytes by themselves and returns what comes, without the size, or that the connection was closed.
func exchange(t *testing.T, r *running, data []byte) (frame []byte, wasClosed bool) {
	t.Helper()
	conn := r.dial(t)
	defer conn.Close()
	conn.Write(data) // may fail when the connection is closed already
	var size [4]byte
	if _, err := io.ReadFull(conn, size[:]); err != nil {
		if strings.Contains(err.Error(), "timeout") {
			t.Fatalf("nothing came, and the connection stayed open, after % x", data[:min(len(data), 20)])
		}
		return nil, true
	}
	frame = make([]byte, binary.BigEndian.Uint32(size[:]))
	_, err := io.ReadFull(conn, frame)
	must(t, err)
	return frame, false
}

// framed is a request with a header of version 1: key, version, correlation id, no client id.
func framed(key, version int16, rest ...byte) []byte {
	body := binary.BigEndian.AppendUint16(nil, uint16(key))
	body = binary.BigEndian.AppendUint16(body, uint16(version))
	body = append(append(body, 0, 0, 0, 77, 0xff, 0xff), rest...)
	return append(binary.BigEndian.AppendUint32(nil, uint32(len(body))), body...)
}

func raw(name, want string, data []byte) badInput {
	return badInput{name, func(t *testing.T, r *running) string {
		frame, wasClosed := exchange(t, r, data)
		if wasClosed {
			return closed
		}
		return fmt.Sprintf("%d bytes", len(frame))
	}, want}
}

// wireInputs are bytes that are no request. What is closed here is closed by Apache Kafka too.
func wireInputs() []badInput {
	huge := []byte{0x7f, 0xff, 0xff, 0xff}
	endless := bytes.Repeat([]byte{0xff}, 11)
	return []badInput{
		raw("a negative size", closed, []byte{0xff, 0xff, 0xff, 0xff}),
		raw("a size of 2 GiB", closed, append(huge, make([]byte, 100)...)),
		raw("a size of nothing", closed, []byte{0, 0, 0, 0}),
		raw("HTTP", closed, []byte("GET / HTTP/1.1\r\nHost: x\r\n\r\n")),
		raw("TLS", closed, []byte{0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3}),
		raw("an unknown API", closed, framed(999, 0)),
		raw("an API of controllers", closed, framed(int16(kmsg.Vote), 0)),
		{"ApiVersions of the future", func(t *testing.T, r *running) string {
			frame, wasClosed := exchange(t, r, framed(int16(kmsg.ApiVersions), 99))
			if wasClosed {
				return closed
			}
			resp := kmsg.NewPtrApiVersionsResponse()
			must(t, resp.ReadFrom(frame[4:]))
			if len(resp.ApiKeys) != len(wire.Served()) {
				t.Errorf("%d APIs are told, %d are served", len(resp.ApiKeys), len(wire.Served()))
			}
			return answered(resp.ErrorCode)
		}, answered(int16(wire.UnsupportedVersion))},
		raw("a version that is not served", closed, framed(int16(kmsg.Metadata), 99)),
		raw("a version below zero", closed, framed(int16(kmsg.Metadata), -1)),
		raw("a client id longer than all", closed, []byte{0, 0, 0, 10, 0, 3, 0, 0, 0, 0, 0, 1, 0x7f, 0xff}),
		raw("a request that is cut", closed, framed(3, 1, 0, 0)),
		raw("an array of two billion", closed, framed(3, 1, huge...)),
		raw("a compact array of 2^63", closed, framed(3, 12, append([]byte{0}, endless[:9]...)...)),
		raw("a string of length -2", closed, framed(19, 2, 0, 0, 0, 1, 0xff, 0xfe)),
		raw("tags without an end", closed, framed(3, 12, endless...)),
		raw("a tag longer than all", closed, framed(3, 12, 1, 0, 200, 1)),
		raw("a produce of nothing", closed, framed(0, 9, 0)),
		raw("a fetch of nothing", closed, framed(1, 13, 0)),
		{"bytes behind the request", func(t *testing.T, r *running) string { // Kafka reads over them too
			frame, wasClosed := exchange(t, r, framed(int16(kmsg.ApiVersions), 0, 1, 2, 3))
			if wasClosed {
				return closed
			}
			resp := kmsg.NewPtrApiVersionsResponse()
			must(t, resp.ReadFrom(frame[4:]))
			return answered(resp.ErrorCode)
		}, answered(0)},
	}
}

// asked sends a whole request.
func asked[R kmsg.Response](name string, want wire.Code, req kmsg.Request, version int16, code func(R) int16) badInput {
	return badInput{name, func(t *testing.T, r *running) string {
		req.SetVersion(version)
		return answered(code(ask[R](t, r, req)))
	}, answered(int16(want))}
}

// requestInputs are requests of which something makes no sense.
func requestInputs() []badInput {
	createTopic := func(name string, want wire.Code) badInput {
		req := kmsg.NewPtrCreateTopicsRequest()
		topic := kmsg.NewCreateTopicsRequestTopic()
		topic.Topic, topic.NumPartitions, topic.ReplicationFactor = name, 1, 1
		req.Topics = append(req.Topics, topic)
		return asked(fmt.Sprintf("a topic %.20q", name), want, req, 5, func(r *kmsg.CreateTopicsResponse) int16 { return r.Topics[0].ErrorCode })
	}
	twice := kmsg.NewPtrCreateTopicsRequest()
	for range 2 {
		topic := kmsg.NewCreateTopicsRequestTopic()
		topic.Topic, topic.NumPartitions, topic.ReplicationFactor = "twice", 1, 1
		twice.Topics = append(twice.Topics, topic)
	}
	offsets := kmsg.NewPtrListOffsetsRequest()
	offsets.ReplicaID = -1
	asksTwice := kmsg.NewListOffsetsRequestTopic()
	asksTwice.Topic = "t"
	for range 2 {
		asksTwice.Partitions = append(asksTwice.Partitions, kmsg.ListOffsetsRequestTopicPartition{Timestamp: -1, CurrentLeaderEpoch: -1})
	}
	offsets.Topics = append(offsets.Topics, asksTwice)
	produce := kmsg.NewPtrProduceRequest()
	produce.Acks = 7
	in, p := kmsg.NewProduceRequestTopic(), kmsg.NewProduceRequestTopicPartition()
	in.Topic = "t"
	in.Partitions = append(in.Partitions, p)
	produce.Topics = append(produce.Topics, in)
	isolation := listOf("t", 0, -1)
	isolation.IsolationLevel = 7
	token := kmsg.NewPtrSASLAuthenticateRequest()
	token.SASLAuthBytes = make([]byte, 1<<20)
	fetch := func(name string, want wire.Code, change func(*kmsg.FetchRequest)) badInput {
		req := kmsg.NewPtrFetchRequest()
		req.ReplicaID, req.MaxBytes, req.SessionEpoch = -1, 1<<20, -1
		topic, p := kmsg.NewFetchRequestTopic(), kmsg.NewFetchRequestTopicPartition()
		topic.Topic, p.PartitionMaxBytes, p.CurrentLeaderEpoch = "t", 1<<20, -1
		topic.Partitions = append(topic.Partitions, p)
		req.Topics = append(req.Topics, topic)
		change(req)
		return asked(name, want, req, 11, func(r *kmsg.FetchResponse) int16 {
			if len(r.Topics) > 0 {
				return r.Topics[0].Partitions[0].ErrorCode
			}
			return r.ErrorCode
		})
	}
	old := kmsg.NewPtrFetchRequest() // of a version that has no error of the whole response
	old.ReplicaID, old.IsolationLevel = -1, 7
	oldTopic := kmsg.NewFetchRequestTopic()
	oldTopic.Topic, oldTopic.Partitions = "t", []kmsg.FetchRequestTopicPartition{kmsg.NewFetchRequestTopicPartition()}
	old.Topics = append(old.Topics, oldTopic)
	gone := *old
	gone.Topics = []kmsg.FetchRequestTopic{{Topic: "not there", Partitions: oldTopic.Partitions}}
	return []badInput{
		createTopic("..", wire.InvalidTopic), createTopic("", wire.InvalidTopic), createTopic("a\x00b", wire.InvalidTopic), createTopic("\xff\xfe", wire.InvalidTopic),
		createTopic("../../etc/passwd", wire.InvalidTopic), createTopic(strings.Repeat("x", 250), wire.InvalidTopic),
		asked("a topic twice", wire.InvalidRequest, twice, 5, func(r *kmsg.CreateTopicsResponse) int16 { return r.Topics[0].ErrorCode }),
		asked("a partition twice", wire.InvalidRequest, offsets, 7, func(r *kmsg.ListOffsetsResponse) int16 { return r.Topics[0].Partitions[0].ErrorCode }),
		asked("seven acknowledgements", wire.InvalidRequiredAcks, produce, 9, func(r *kmsg.ProduceResponse) int16 { return r.Topics[0].Partitions[0].ErrorCode }),
		asked("a handshake where there is none", wire.IllegalSASLState, kmsg.NewPtrSASLHandshakeRequest(), 1, func(r *kmsg.SASLHandshakeResponse) int16 { return r.ErrorCode }),
		asked("a token of a megabyte", wire.IllegalSASLState, token, 2, func(r *kmsg.SASLAuthenticateResponse) int16 { return r.ErrorCode }),
		fetch("a client that says it is a replica", wire.NotLeaderOrFollower, func(r *kmsg.FetchRequest) { r.ReplicaID = 5 }),
		fetch("an offset of 2^63-1", wire.OffsetOutOfRange, func(r *kmsg.FetchRequest) { r.Topics[0].Partitions[0].FetchOffset = math.MaxInt64 }),
		fetch("an offset below zero", wire.OffsetOutOfRange, func(r *kmsg.FetchRequest) { r.Topics[0].Partitions[0].FetchOffset = -5 }),
		fetch("a leader epoch of the future", wire.UnknownLeaderEpoch, func(r *kmsg.FetchRequest) { r.Topics[0].Partitions[0].CurrentLeaderEpoch = 99 }),
		fetch("an isolation level that does not exist", wire.InvalidRequest, func(r *kmsg.FetchRequest) { r.IsolationLevel = 7 }),
		asked("an isolation level that does not exist, in version 6", wire.InvalidRequest, old, 6, func(r *kmsg.FetchResponse) int16 { return r.Topics[0].Partitions[0].ErrorCode }),
		asked("such a level of a topic that does not either", wire.UnknownTopicOrPartition, &gone, 6, func(r *kmsg.FetchResponse) int16 { return r.Topics[0].Partitions[0].ErrorCode }),
		asked("an isolation level that does not exist", wire.InvalidRequest, isolation, 7, func(r *kmsg.ListOffsetsResponse) int16 { return r.Topics[0].Partitions[0].ErrorCode }),
		fetch("a fetch session nobody has", wire.FetchSessionIDNotFound, func(r *kmsg.FetchRequest) { r.SessionID, r.SessionEpoch, r.Topics = 7, 3, nil }),
		{"an epoch that its fetch session has not", func(t *testing.T, r *running) string {
			req := kmsg.NewPtrFetchRequest()
			req.ReplicaID, req.MaxBytes, req.SessionEpoch = -1, 1<<20, 0
			req.SetVersion(11)
			first := ask[*kmsg.FetchResponse](t, r, req)
			req.SessionID, req.SessionEpoch = first.SessionID, 9
			return answered(ask[*kmsg.FetchResponse](t, r, req).ErrorCode)
		}, answered(int16(wire.InvalidFetchSessionEpoch))},
		{"a flood of fetch sessions", func(t *testing.T, r *running) string { // beyond the slots they go on without one, and none is refused
			var code int16
			for range 1100 {
				req := kmsg.NewPtrFetchRequest()
				req.ReplicaID, req.MaxBytes, req.SessionEpoch = -1, 1<<20, 0
				req.SetVersion(11)
				code = max(code, ask[*kmsg.FetchResponse](t, r, req).ErrorCode)
			}
			return answered(code)
		}, answered(0)},
	}
}

// resealed makes the checksum right again after change.
func resealed(b record.Batch, change func(record.Batch)) record.Batch {
	change(b)
	binary.BigEndian.PutUint32(b[17:], crc32.Checksum(b[21:], crc32.MakeTable(crc32.Castagnoli)))
	return b
}

// batchInputs are record batches. They build on each other's sequences: of 5 a producer that has written two batches.
func batchInputs(t *testing.T) []badInput {
	batch := func(name, topic string, want wire.Code, b record.Batch) badInput {
		return badInput{name, func(t *testing.T, r *running) string { return answered(produceRaw(t, r, topic, b).ErrorCode) }, answered(int16(want))}
	}
	plain := func() record.Batch {
		var b record.Builder
		b.Reset(record.NewBatchOptions())
		b.Append(time.Now().UnixMilli(), []byte("k"), []byte("v"))
		out, err := b.Build(nil)
		must(t, err)
		return out
	}
	keyless := func() record.Batch {
		var b record.Builder
		b.Reset(record.NewBatchOptions())
		b.Append(time.Now().UnixMilli(), nil, []byte("v"))
		out, err := b.Build(nil)
		must(t, err)
		return out
	}
	attribute := func(bits byte) func(record.Batch) { return func(b record.Batch) { b[22] |= bits } }
	flipped := plain()
	flipped[len(flipped)-1] ^= 1
	longer := plain()
	binary.BigEndian.PutUint32(longer[8:], uint32(len(longer)+1000))
	old := func(magic byte) record.Batch {
		b := plain()
		b[16] = magic
		return b
	}
	epoch := idempotent(t, 0)
	binary.BigEndian.PutUint16(epoch[51:], 7)
	return []badInput{
		batch("a batch with a flipped bit", "t", wire.CorruptMessage, flipped),
		batch("a batch longer than its frame", "t", wire.InvalidRecord, longer),
		batch("half a batch", "t", wire.InvalidRecord, plain()[:40]),
		batch("no batch", "t", wire.InvalidRecord, nil),
		batch("magic 0", "t", wire.InvalidRecord, old(0)),
		batch("magic 1", "t", wire.InvalidRecord, old(1)),
		batch("magic 3", "t", wire.InvalidRecord, old(3)),
		batch("more records than offsets", "t", wire.InvalidRecord, resealed(plain(), func(b record.Batch) { binary.BigEndian.PutUint32(b[57:], 9) })),
		batch("more offsets than records", "t", wire.InvalidRecord, resealed(plain(), func(b record.Batch) { binary.BigEndian.PutUint32(b[23:], 9) })),
		batch("codec 7", "t", wire.UnsupportedCompression, resealed(plain(), attribute(7))),
		batch("bytes that are not of their codec", "t", wire.CorruptMessage, resealed(plain(), attribute(4))),
		batch("a control batch", "t", wire.InvalidRecord, resealed(plain(), attribute(0x20))),
		batch("a transaction of no producer", "t", wire.InvalidRecord, resealed(plain(), attribute(0x10))),
		batch("the first of a producer", "t", wire.None, idempotent(t, 0)),
		batch("its second", "t", wire.None, idempotent(t, 1)),
		batch("its second again", "t", wire.None, idempotent(t, 1)),
		batch("a gap", "t", wire.OutOfOrderSequence, idempotent(t, 9)),
		batch("an epoch that begins at its middle", "t", wire.OutOfOrderSequence, resealed(bytes.Clone(epoch), func(b record.Batch) { binary.BigEndian.PutUint32(b[53:], 3) })),
		batch("a new epoch", "t", wire.None, resealed(bytes.Clone(epoch), func(record.Batch) {})),
		batch("an epoch that is over", "t", wire.InvalidProducerEpoch, idempotent(t, 2)),
		batch("a time of 2^63-1", "t", wire.InvalidTimestamp, resealed(plain(), func(b record.Batch) {
			binary.BigEndian.PutUint64(b[27:], math.MaxInt64)
			binary.BigEndian.PutUint64(b[35:], math.MaxInt64)
		})),
		batch("a record without a key in a compacted topic", "compacted", wire.InvalidRecord, keyless()),
		batch("two batches for a partition", "t", wire.InvalidRecord, append(plain(), plain()...)),
		batch("a record of -1 headers", "t", wire.InvalidRecord, resealed(plain(), func(b record.Batch) { b[len(b)-1] = 1 })),
		batch("a topic nobody made", "nobody made it", wire.UnknownTopicOrPartition, plain()),
	}
}

// groupInputs are of members and coordinators; a group may have one member.
func groupInputs() []badInput {
	const longTimeout = 30 * 60 * 1000 // the longest session that a group may have
	join := func(name, group string, want wire.Code, change func(*kmsg.JoinGroupRequest)) badInput {
		req := kmsg.NewPtrJoinGroupRequest()
		req.Group, req.SessionTimeoutMillis, req.RebalanceTimeoutMillis, req.ProtocolType = group, longTimeout, longTimeout, "consumer" // no member is taken out, however busy the machine is
		req.Protocols = []kmsg.JoinGroupRequestProtocol{{Name: "range", Metadata: []byte{0xff, 0xff, 0xff}}}
		change(req)
		return asked(name, want, req, 3, func(r *kmsg.JoinGroupResponse) int16 { return r.ErrorCode })
	}
	commit := func(name string, want wire.Code, change func(*kmsg.OffsetCommitRequestTopicPartition)) badInput {
		req := kmsg.NewPtrOffsetCommitRequest()
		req.Group, req.Generation = "offsets", -1
		topic, p := kmsg.NewOffsetCommitRequestTopic(), kmsg.NewOffsetCommitRequestTopicPartition()
		topic.Topic = "t"
		change(&p)
		topic.Partitions = append(topic.Partitions, p)
		req.Topics = append(req.Topics, topic)
		return asked(name, want, req, 8, func(r *kmsg.OffsetCommitResponse) int16 { return r.Topics[0].Partitions[0].ErrorCode })
	}
	regex := kmsg.NewPtrConsumerGroupHeartbeatRequest()
	regex.Topics = []kmsg.ConsumerGroupHeartbeatRequestTopic{}
	regex.Group, regex.MemberID, regex.RebalanceTimeoutMillis, regex.SubscribedTopicRegex = "regex", "AAAAAAAAAAAAAAAAAAAAAA", 1000, kmsg.StringPtr("[")
	timeout := kmsg.NewPtrInitProducerIDRequest()
	timeout.TransactionalID, timeout.TransactionTimeoutMillis = kmsg.StringPtr("x"), math.MaxInt32
	return []badInput{
		join("a subscription of garbage", "g", wire.None, func(*kmsg.JoinGroupRequest) {}),
		join("one member more than a group may have", "g", wire.GroupMaxSizeReached, func(*kmsg.JoinGroupRequest) {}),
		join("a session of a millisecond", "h", wire.InvalidSessionTimeout, func(r *kmsg.JoinGroupRequest) { r.SessionTimeoutMillis = 1 }),
		join("a member of no protocol", "h", wire.InconsistentGroupProtocol, func(r *kmsg.JoinGroupRequest) { r.Protocols = nil }),
		join("a group of no name", "", wire.InvalidGroupID, func(*kmsg.JoinGroupRequest) {}),
		asked("a regular expression that is none", wire.InvalidRegularExpression, regex, 1, func(r *kmsg.ConsumerGroupHeartbeatResponse) int16 { return r.ErrorCode }),
		commit("a commit below zero", wire.None, func(p *kmsg.OffsetCommitRequestTopicPartition) { p.Offset = -5 }), // as Kafka: to the coordinator it is a number
		commit("metadata of a megabyte", wire.OffsetMetadataTooLarge, func(p *kmsg.OffsetCommitRequestTopicPartition) {
			p.Metadata = kmsg.StringPtr(strings.Repeat("x", 1<<20))
		}),
		asked("a transaction of 24 days", wire.InvalidTransactionTimeout, timeout, 4, func(r *kmsg.InitProducerIDResponse) int16 { return r.ErrorCode }),
	}
}

// TestARequestThatDripsIsClosed sends a byte a second: a connection that is never idle, and never says anything.
func TestARequestThatDripsIsClosed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := startInMemory(t, vfs.NewMem(), nil)
		conn, err := r.memory.Dial(t.Context(), "tcp", "embedded:9092")
		must(t, err)
		frame := framed(int16(kmsg.ApiVersions), 0, make([]byte, 1000)...)
		sent := 0
		for ; sent < len(frame) && err == nil; sent++ {
			_, err = conn.Write(frame[sent : sent+1])
			time.Sleep(time.Second)
		}
		if err == nil || sent > 60 {
			t.Errorf("%d bytes were taken at one a second: %v", sent, err)
		}
		must(t, conn.Close())
		r.close()
	})
}
