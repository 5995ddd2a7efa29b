package broker_test

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"golang.org/x/sync/errgroup"

	"github.com/milldam/milldam/core/broker"
	"github.com/milldam/milldam/core/coordinator"
	"github.com/milldam/milldam/core/meta"
	"github.com/milldam/milldam/core/record"
	"github.com/milldam/milldam/core/replica"
	"github.com/milldam/milldam/core/storage"
	"github.com/milldam/milldam/core/vfs"
	"github.com/milldam/milldam/core/wire"
)

// running is a broker on a file system, reached over TCP and in memory.
type running struct {
	addr       string
	memory     *wire.MemoryListener
	groups     *coordinator.Groups
	controller *meta.Controller
	collectors func() []prometheus.Collector
	serve      func(net.Listener) // until close
	close      func()
}

func start(t testing.TB, fs vfs.FS) *running {
	t.Helper()
	return startConfigured(t, fs, nil)
}

// startConfigured is start with keys of the configuration file.
func startConfigured(t testing.TB, fs vfs.FS, static map[string]string) *running {
	t.Helper()
	r := startInMemory(t, fs, static)
	tcp, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	r.addr = tcp.Addr().String()
	r.serve(tcp)
	return r
}

// startInMemory is start without TCP, so that it can run in a bubble of synctest; static are keys of the configuration file.
func startInMemory(t testing.TB, fs vfs.FS, static map[string]string) *running {
	t.Helper()
	controller, err := meta.Open(t.Context(), meta.Options{FS: fs, Dir: "data/meta", NodeID: 1, Static: static})
	must(t, err)
	must(t, controller.RegisterBroker(t.Context(), meta.Broker{ID: 1}))
	replicas, _, err := replica.Open(t.Context(), replica.Options{NodeID: 1, Controller: controller, Storage: storage.Options{FS: fs, Dir: "data"}})
	must(t, err)
	o := broker.GroupsOptions(controller, replicas, slog.New(slog.DiscardHandler))
	o.InitialRebalanceDelay = 0
	idle := 10 * time.Second
	if static["connections.max.idle.ms"] != "" {
		idle = 0 // that of the configuration
	}
	txns := broker.TxnOptions(controller, replicas, slog.New(slog.DiscardHandler))
	txns.AbortEvery, txns.AddWait = 200*time.Millisecond, 20*time.Second // no test depends on how busy the machine is
	coordinators := broker.NewCoordinators(controller, replicas, o, txns)
	coordinators.Load(t.Context(), controller.Image())
	s := broker.New(broker.Options{NodeID: 1, Controller: controller, Replicas: replicas, Coordinators: coordinators, IdleTimeout: idle, DataDir: "data"})
	r := &running{memory: wire.NewMemoryListener("embedded:9092"), groups: coordinators.Groups, controller: controller, collectors: s.Collectors}
	var served errgroup.Group
	r.serve = func(l net.Listener) { served.Go(func() error { return s.Serve(l) }) }
	r.serve(r.memory)
	closed := false
	r.close = func() {
		if closed {
			return
		}
		closed = true
		must(t, coordinators.Close())
		must(t, s.Close())
		must(t, served.Wait())
		must(t, replicas.Close())
		must(t, controller.Close())
	}
	t.Cleanup(r.close)
	return r
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func (r *running) client(t testing.TB, opts ...kgo.Opt) *kgo.Client {
	t.Helper()
	cl, err := kgo.NewClient(append([]kgo.Opt{kgo.SeedBrokers(r.addr), kgo.AllowAutoTopicCreation(), kgo.MetadataMinAge(10 * time.Millisecond)}, opts...)...)
	must(t, err)
	t.Cleanup(cl.Close)
	return cl
}

// patience is how long a test waits for what comes at once on an idle machine: it is for what hangs, and not for what is slow.
const patience = 3 * time.Minute

// within bounds a test's calls to the broker.
func within(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	return ctx
}

func TestProduceAndConsumeInEveryCodec(t *testing.T) {
	r := start(t, vfs.NewMem())
	for name, codec := range map[string]kgo.CompressionCodec{"none": kgo.NoCompression(), "gzip": kgo.GzipCompression(), "snappy": kgo.SnappyCompression(),
		"lz4": kgo.Lz4Compression(), "zstd": kgo.ZstdCompression()} {
		for _, memory := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, memory %v", name, memory), func(t *testing.T) {
				topic := fmt.Sprintf("t-%s-%v", name, memory)
				opts := []kgo.Opt{kgo.ProducerBatchCompression(codec), kgo.ConsumeTopics(topic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart())}
				if memory {
					opts = append(opts, kgo.Dialer(r.memory.Dial))
				}
				cl := r.client(t, opts...)
				var want []string
				for i := range 100 {
					rec := &kgo.Record{Topic: topic, Key: []byte("k"), Value: fmt.Appendf(nil, "%0100d", i), Headers: []kgo.RecordHeader{{Key: "h", Value: []byte{byte(i)}}},
						Timestamp: time.UnixMilli(int64(i))}
					must(t, cl.ProduceSync(within(t), rec).FirstErr())
					want = append(want, fmt.Sprintf("%d k %0100d %d %d", i, i, byte(i), i))
				}
				var got []string
				for len(got) < len(want) {
					fetches := cl.PollFetches(within(t))
					must(t, fetches.Err())
					for _, x := range fetches.Records() {
						got = append(got, fmt.Sprintf("%d %s %s %d %d", x.Offset, x.Key, x.Value, x.Headers[0].Value[0], x.Timestamp.UnixMilli()))
					}
				}
				if !slices.Equal(got, want) {
					t.Errorf("got %v", got)
				}
			})
		}
	}
}

func TestDataSurvivesARestart(t *testing.T) {
	fs := vfs.NewMem()
	r := start(t, fs)
	cl := r.client(t, kgo.ConsumerGroup("g"), kgo.ConsumeTopics("t"), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	for i := range 10 {
		must(t, cl.ProduceSync(within(t), &kgo.Record{Topic: "t", Value: fmt.Appendf(nil, "%d", i)}).FirstErr())
	}
	for n := 0; n < 10; {
		fetches := cl.PollFetches(within(t))
		must(t, fetches.Err())
		n += fetches.NumRecords()
	}
	must(t, cl.CommitUncommittedOffsets(within(t)))
	cl.Close()
	r.close()

	r = start(t, fs)
	admin := kadm.NewClient(r.client(t))
	offsets, err := admin.FetchOffsets(within(t), "g")
	must(t, err)
	if o, ok := offsets.Lookup("t", 0); !ok || o.At != 10 {
		t.Errorf("the committed offset is %+v", o)
	}
	ends, err := admin.ListEndOffsets(within(t), "t")
	must(t, err)
	if o, ok := ends.Lookup("t", 0); !ok || o.Offset != 10 {
		t.Errorf("the topic ends at %+v", o)
	}
}

func TestGroupOfThreeLosesOne(t *testing.T) {
	r := start(t, vfs.NewMem())
	admin := kadm.NewClient(r.client(t))
	_, err := admin.CreateTopic(within(t), 6, 1, nil, "t")
	must(t, err)
	seen := make(chan string, 10_000)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	member := func(name string) *kgo.Client {
		cl := r.client(t, kgo.ConsumerGroup("g"), kgo.ConsumeTopics("t"), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.InstanceID(name),
			kgo.SessionTimeout(6*time.Second), kgo.HeartbeatInterval(100*time.Millisecond), kgo.AutoCommitInterval(100*time.Millisecond))
		go func() {
			for ctx.Err() == nil && !errors.Is(func() error {
				f := cl.PollFetches(ctx)
				f.EachRecord(func(x *kgo.Record) { seen <- string(x.Value) })
				return f.Err0()
			}(), kgo.ErrClientClosed) {
			}
		}()
		return cl
	}
	members := []*kgo.Client{member("a"), member("b"), member("c")}
	waitMembers(t, admin, 3)
	produce := func(from, to int) {
		cl := r.client(t)
		for i := from; i < to; i++ {
			cl.Produce(within(t), &kgo.Record{Topic: "t", Key: fmt.Appendf(nil, "%d", i), Value: fmt.Appendf(nil, "%d", i)}, nil)
		}
		must(t, cl.Flush(within(t)))
	}
	produce(0, 200)
	all := map[string]bool{}
	collect := func(want int) {
		t.Helper()
		for len(all) < want {
			select {
			case v := <-seen:
				all[v] = true
			case <-within(t).Done():
				t.Fatalf("%d of %d records came", len(all), want)
			}
		}
	}
	collect(200)
	members[0].Close() // a static member says nothing when it goes: its session has to end
	produce(200, 400)
	collect(400)
	waitMembers(t, admin, 2)
}

func waitMembers(t *testing.T, admin *kadm.Client, want int) {
	t.Helper()
	ctx := within(t)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		groups, err := admin.DescribeGroups(ctx, "g")
		must(t, err)
		if g := groups["g"]; g.State == "Stable" && len(g.Members) == want {
			return
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("the group is %+v", groups["g"])
		}
	}
}

func TestAdmin(t *testing.T) {
	r := start(t, vfs.NewMem())
	admin := kadm.NewClient(r.client(t))
	ctx := within(t)
	made, err := admin.CreateTopics(ctx, 3, 1, map[string]*string{"retention.ms": kadm.StringPtr("1000")}, "a", "b")
	must(t, err)
	must(t, made.Error())
	again, err := admin.CreateTopics(ctx, 3, 1, nil, "a")
	must(t, err)
	if !errors.Is(again["a"].Err, kerr.TopicAlreadyExists) {
		t.Errorf("made again: %v", again["a"].Err)
	}
	bad, err := admin.CreateTopics(ctx, 1, 1, map[string]*string{"no.such.key": kadm.StringPtr("1")}, "c")
	must(t, err)
	if !errors.Is(bad["c"].Err, kerr.InvalidConfig) {
		t.Errorf("an unknown config: %v", bad["c"].Err)
	}
	_, err = admin.UpdatePartitions(ctx, 5, "a")
	must(t, err)
	topics, err := admin.ListTopics(ctx)
	must(t, err)
	if len(topics) != 2 || len(topics["a"].Partitions) != 5 {
		t.Errorf("topics: %v", topics)
	}
	_, err = admin.AlterTopicConfigs(ctx, []kadm.AlterConfig{{Op: kadm.SetConfig, Name: "cleanup.policy", Value: kadm.StringPtr("compact")}}, "a")
	must(t, err)
	configs, err := admin.DescribeTopicConfigs(ctx, "a")
	must(t, err)
	got := map[string]string{}
	for _, c := range configs[0].Configs {
		got[c.Key] = c.MaybeValue()
	}
	if got["cleanup.policy"] != "compact" || got["retention.ms"] != "1000" || got["max.message.bytes"] != "1048588" {
		t.Errorf("configs: %v", got)
	}
	dirs, err := admin.DescribeAllLogDirs(ctx, nil)
	must(t, err)
	if dirs[1].Error() != nil || len(dirs[1]) != 1 {
		t.Errorf("log dirs: %v", dirs)
	}
	_, err = admin.DeleteTopics(ctx, "a")
	must(t, err)
	topics, err = kadm.NewClient(r.client(t)).ListTopics(ctx) // the other client remembers
	must(t, err)
	if len(topics) != 1 {
		t.Errorf("after the removal: %v", topics.Names())
	}
}

// TestEveryVersionAnswers sends every version of every API that is served, empty, and reads the response with kmsg.
func TestEveryVersionAnswers(t *testing.T) {
	r := start(t, vfs.NewMem())
	for _, api := range wire.Served() {
		for version := api.Min; version <= api.Max; version++ {
			name := fmt.Sprintf("%s %d", kmsg.NameForKey(api.Key), version)
			req := kmsg.RequestForKey(api.Key)
			if req == nil || req.MaxVersion() < version {
				t.Errorf("%s is advertised, and kmsg does not know it", name)
				continue
			}
			switch x := req.(type) {
			case *kmsg.ProduceRequest:
				x.Acks = -1
			case *kmsg.ApiVersionsRequest:
				x.ClientSoftwareName, x.ClientSoftwareVersion = "test", "1.0"
			case *kmsg.JoinGroupRequest:
				x.Group, x.SessionTimeoutMillis, x.ProtocolType = name, 10_000, "consumer"
				x.Protocols = []kmsg.JoinGroupRequestProtocol{{Name: "range"}}
			case *kmsg.DeleteTopicsRequest, *kmsg.FetchRequest:
			}
			req.SetVersion(version)
			conn := r.dial(t)
			write(t, conn, req)
			resp := req.ResponseKind()
			if err := readResponse(conn, resp); err != nil {
				t.Errorf("%s: %v", name, err)
			}
			must(t, conn.Close())
		}
	}
}

func readResponse(conn net.Conn, resp kmsg.Response) error {
	var size [4]byte
	if _, err := io.ReadFull(conn, size[:]); err != nil {
		return err
	}
	frame := make([]byte, binary.BigEndian.Uint32(size[:]))
	if _, err := io.ReadFull(conn, frame); err != nil {
		return err
	}
	if id := binary.BigEndian.Uint32(frame); id != 77 {
		return fmt.Errorf("correlation id %d", id)
	}
	body := frame[4:]
	if resp.IsFlexible() && resp.Key() != int16(kmsg.ApiVersions) {
		body = body[1:]
	}
	return resp.ReadFrom(body)
}

func TestApiVersionsOfTheFutureIsAnsweredInItsFirstForm(t *testing.T) {
	r := start(t, vfs.NewMem())
	conn := r.dial(t)
	_, err := conn.Write([]byte{0, 0, 0, 10, 0, 18, 0, 99, 0, 0, 0, 77, 0xff, 0xff})
	must(t, err)
	resp := kmsg.NewPtrApiVersionsResponse()
	must(t, readResponse(conn, resp))
	if resp.ErrorCode != int16(wire.UnsupportedVersion) || len(resp.ApiKeys) != len(wire.Served()) {
		t.Errorf("%+v", resp)
	}
}

// dial returns a connection that no client library is in front of. It ends with the test, and before whatever hangs.
func (r *running) dial(t testing.TB) net.Conn {
	t.Helper()
	conn, err := net.Dial("tcp", r.addr)
	must(t, err)
	t.Cleanup(func() { conn.Close() })
	must(t, conn.SetDeadline(time.Now().Add(patience)))
	return conn
}

// write sends a request over a connection.
func write(t testing.TB, conn net.Conn, req kmsg.Request) {
	t.Helper()
	_, err := conn.Write(kmsg.NewRequestFormatter(kmsg.FormatterClientID("test")).AppendRequest(nil, req, 77))
	must(t, err)
}

// produceTo is a request that writes a batch to a partition of each topic.
func produceTo(acks int16, batch []byte, topics ...string) *kmsg.ProduceRequest {
	req := kmsg.NewPtrProduceRequest()
	req.Acks, req.TimeoutMillis = acks, 5000
	req.SetVersion(9)
	for _, topic := range topics {
		t, p := kmsg.NewProduceRequestTopic(), kmsg.NewProduceRequestTopicPartition()
		t.Topic, p.Records = topic, batch
		t.Partitions = append(t.Partitions, p)
		req.Topics = append(req.Topics, t)
	}
	return req
}

// produceRaw sends one batch by itself and returns what is said of it.
func produceRaw(t *testing.T, r *running, topic string, batch []byte) kmsg.ProduceResponseTopicPartition {
	t.Helper()
	return ask[*kmsg.ProduceResponse](t, r, produceTo(-1, batch, topic)).Topics[0].Partitions[0]
}

func idempotent(t *testing.T, sequence record.Sequence) record.Batch {
	t.Helper()
	return inEpoch(t, 0, sequence)
}

func inEpoch(t *testing.T, epoch record.ProducerEpoch, sequence record.Sequence) record.Batch {
	t.Helper()
	opts := record.NewBatchOptions()
	opts.ProducerID, opts.ProducerEpoch, opts.BaseSequence = 5, epoch, sequence
	var b record.Builder
	b.Reset(opts)
	b.Append(1000, []byte("k"), []byte("v"))
	out, err := b.Build(nil)
	must(t, err)
	return out
}

func TestProduceAnswersKafkasCodes(t *testing.T) {
	r := start(t, vfs.NewMem())
	_, err := kadm.NewClient(r.client(t)).CreateTopic(within(t), 1, 1, nil, "t")
	must(t, err)
	if p := produceRaw(t, r, "t", idempotent(t, 0)); p.ErrorCode != 0 || p.BaseOffset != 0 {
		t.Fatalf("the first: %+v", p)
	}
	if p := produceRaw(t, r, "t", idempotent(t, 1)); p.ErrorCode != 0 || p.BaseOffset != 1 {
		t.Fatalf("the second: %+v", p)
	}
	if p := produceRaw(t, r, "t", idempotent(t, 0)); p.ErrorCode != 0 || p.BaseOffset != 0 {
		t.Errorf("a duplicate: %+v, want the original offset", p)
	}
	broken := idempotent(t, 2)
	broken[len(broken)-1] ^= 1
	old := idempotent(t, 2)
	old[16] = 1
	codec := idempotent(t, 2)
	codec[22] = 7
	miscounted := idempotent(t, 2)
	binary.BigEndian.PutUint32(miscounted[57:], 2)
	malformed := idempotent(t, 2)
	malformed[61] = 0x7e // the length of the record
	noGzip := idempotent(t, 2)
	noGzip[22] = 1
	for _, b := range []record.Batch{codec, miscounted, malformed, noGzip} {
		b.SetMaxTimestamp(1000) // with a new checksum
	}
	for _, c := range []struct {
		name  string
		batch []byte
		want  wire.Code
		start int64 // of the log: Kafka tells it of what the log refuses, not of what never reaches it
	}{
		{"a gap", idempotent(t, 9), wire.OutOfOrderSequence, 0},
		{"a flipped bit", broken, wire.CorruptMessage, -1},
		{"magic 1", old, wire.InvalidRecord, -1},
		{"codec 7", codec, wire.UnsupportedCompression, 0},
		{"two batches", append(idempotent(t, 2), idempotent(t, 3)...), wire.InvalidRecord, -1},
		{"half a batch", idempotent(t, 2)[:40], wire.InvalidRecord, -1},
		{"nothing at all", nil, wire.InvalidRecord, -1},
		{"what is no gzip", noGzip, wire.CorruptMessage, 0},
		{"a record too few", miscounted, wire.InvalidRecord, 0},
		{"a malformed record", malformed, wire.InvalidRecord, 0},
		{"a later epoch", inEpoch(t, 1, 0), wire.None, 0},
		{"an earlier epoch", inEpoch(t, 0, 2), wire.InvalidProducerEpoch, 0},
	} {
		if p := produceRaw(t, r, "t", c.batch); p.ErrorCode != int16(c.want) || p.LogStartOffset != c.start {
			t.Errorf("%s: code %d, log start %d, want %d, %d", c.name, p.ErrorCode, p.LogStartOffset, c.want, c.start)
		}
	}
	if p := produceRaw(t, r, "nobody made it", idempotent(t, 0)); p.ErrorCode != int16(wire.UnknownTopicOrPartition) {
		t.Errorf("an unknown topic: %+v", p)
	}
}

// TestWithoutAcknowledgementARefusalHangsUp: also where what was not refused is answered by who committed it.
func TestWithoutAcknowledgementARefusalHangsUp(t *testing.T) {
	r := start(t, vfs.NewMem())
	_, err := kadm.NewClient(r.client(t)).CreateTopic(within(t), 1, 1, nil, "t")
	must(t, err)
	conn := r.dial(t)
	write(t, conn, produceTo(0, idempotent(t, 0), "t", "nobody made it"))
	if n, err := conn.Read(make([]byte, 1)); err != io.EOF && !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("read %d bytes: %v, want that the connection is closed", n, err)
	}
}

// TestFetchOfNoBytesReadsOneBatch: the bytes of a request bound what follows its first batch, as in Kafka also when they are none.
func TestFetchOfNoBytesReadsOneBatch(t *testing.T) {
	r := start(t, vfs.NewMem())
	_, err := kadm.NewClient(r.client(t)).CreateTopic(within(t), 3, 1, nil, "t")
	must(t, err)
	for _, partition := range []int32{1, 2} {
		must(t, r.client(t, kgo.RecordPartitioner(kgo.ManualPartitioner())).ProduceSync(within(t), &kgo.Record{Topic: "t", Partition: partition, Value: []byte("v")}).FirstErr())
	}
	req := kmsg.NewPtrFetchRequest()
	req.SessionEpoch, req.MaxBytes = -1, 0
	topic := kmsg.NewFetchRequestTopic()
	topic.Topic = "t"
	for i := range int32(3) {
		p := kmsg.NewFetchRequestTopicPartition()
		p.Partition, p.PartitionMaxBytes, p.CurrentLeaderEpoch = i, 1<<20, -1
		topic.Partitions = append(topic.Partitions, p)
	}
	req.Topics = append(req.Topics, topic)
	req.SetVersion(11)
	with := func() (got []int32, codes []int16) {
		for _, p := range ask[*kmsg.FetchResponse](t, r, req).Topics[0].Partitions {
			if codes = append(codes, p.ErrorCode); len(p.RecordBatches) > 0 {
				got = append(got, p.Partition)
			}
		}
		return got, codes
	}
	if got, codes := with(); !slices.Equal(got, []int32{1}) || !slices.Equal(codes, []int16{0, 0, 0}) {
		t.Errorf("partitions %d have records, want the first that has any; codes %d", got, codes)
	}
	req.Topics[0].Partitions[2].FetchOffset = 77 // is told although nothing more would be read
	if got, codes := with(); !slices.Equal(got, []int32{1}) || !slices.Equal(codes, []int16{0, 0, int16(wire.OffsetOutOfRange)}) {
		t.Errorf("an offset that is not there: partitions %d have records, codes %d", got, codes)
	}
}

func TestFetchWaitsForRecords(t *testing.T) {
	r := start(t, vfs.NewMem())
	_, err := kadm.NewClient(r.client(t)).CreateTopic(within(t), 1, 1, nil, "t")
	must(t, err)
	got := make(chan *kgo.Record, 1)
	consumer := r.client(t, kgo.ConsumeTopics("t"), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.FetchMaxWait(15*time.Second))
	go func() { got <- consumer.PollFetches(t.Context()).Records()[0] }()
	must(t, r.client(t).ProduceSync(within(t), &kgo.Record{Topic: "t", Value: []byte("v")}).FirstErr())
	select {
	case x := <-got:
		if string(x.Value) != "v" {
			t.Errorf("got %q", x.Value)
		}
	case <-time.After(5 * time.Second):
		t.Error("the fetch was not woken")
	}
}
