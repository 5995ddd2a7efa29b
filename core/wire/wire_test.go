package wire

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/milldam/milldam/core/record"
)

// TestServedIsWhatKafkaServes compares with what Apache Kafka 4.3.1 said of itself: no API beyond it, none at other versions.
func TestServedIsWhatKafkaServes(t *testing.T) {
	text, err := os.ReadFile("testdata/kafka-4.3.1.txt")
	if err != nil {
		t.Fatal(err)
	}
	kafka := map[int16]Range{}
	for line := range strings.Lines(string(text)) {
		var r Range
		var name string
		if _, err := fmt.Sscan(line, &r.Key, &r.Min, &r.Max, &name); err != nil {
			t.Fatal(err)
		}
		kafka[r.Key] = r
	}
	last := int16(-1)
	for _, r := range Served() {
		want, known := kafka[r.Key]
		switch {
		case !known:
			t.Errorf("%s is served, and Kafka has none", kmsg.NameForKey(r.Key))
		case r != want:
			t.Errorf("%s: served %v, Kafka %v", kmsg.NameForKey(r.Key), r, want)
		}
		if r.Key <= last {
			t.Errorf("%s is out of order, and RangeOf searches", kmsg.NameForKey(r.Key))
		}
		last = r.Key
		if got, ok := RangeOf(r.Key); !ok || got != r {
			t.Errorf("RangeOf(%d) = %v, %v", r.Key, got, ok)
		}
		delete(kafka, r.Key)
	}
	for key := range kafka {
		if !slices.Contains(notServed, key) {
			t.Errorf("%s is not served, and nothing says why", kmsg.NameForKey(key))
		}
	}
	if len(kafka) != len(notServed) {
		t.Errorf("%d APIs of Kafka are not served, %d are said not to be", len(kafka), len(notServed))
	}
}

// notServed are the APIs of Kafka that wait for a part of the broker: delegation tokens, which need authentication; quorums of several nodes; share and streams groups.
var notServed = []int16{38, 39, 40, 41, 55, 64, 76, 77, 78, 79, 80, 81, 83, 84, 85, 86, 87, 88, 89, 90, 91, 92}

// frame is a request as a client sends it, without its size.
func frame(key, version int16, body []byte) []byte {
	b := binary.BigEndian.AppendUint16(nil, uint16(key))
	b = binary.BigEndian.AppendUint16(b, uint16(version))
	b = append(b, 0, 0, 0, 7, 0, 2, 'm', 'e')
	return append(b, body...)
}

// TestRequestsComeThrough parses a default request of every API and version.
func TestRequestsComeThrough(t *testing.T) {
	for _, r := range Served() {
		for version := r.Min; version <= r.Max; version++ {
			req := kmsg.RequestForKey(r.Key)
			req.SetVersion(version)
			want := req.AppendTo(nil)
			var tags []byte
			if req.IsFlexible() {
				tags = []byte{1, 9, 3, 'a', 'b', 'c'} // a tagged field that nobody knows
			}
			h, got, err := ParseRequest(frame(r.Key, version, append(tags, want...)))
			if err != nil {
				t.Errorf("%s %d: %v", kmsg.NameForKey(r.Key), version, err)
				continue
			}
			if (h != Header{r.Key, version, 7, "me"}) || !bytes.Equal(got.AppendTo(nil), want) {
				t.Errorf("%s %d: header %+v, body %x, want %x", kmsg.NameForKey(r.Key), version, h, got.AppendTo(nil), want)
			}
		}
	}
}

func TestBadRequests(t *testing.T) {
	produce := kmsg.NewPtrProduceRequest()
	produce.SetVersion(9)
	whole := frame(0, 9, append([]byte{0}, produce.AppendTo(nil)...))
	for name, x := range map[string]struct {
		frame []byte
		want  error
	}{
		"nothing":                 {nil, ErrMalformed},
		"half a header":           {whole[:7], ErrMalformed},
		"a client id beyond it":   {[]byte{0, 0, 0, 9, 0, 0, 0, 7, 0, 200, 'x'}, ErrMalformed},
		"a client id of -2 bytes": {[]byte{0, 0, 0, 9, 0, 0, 0, 7, 0xff, 0xfe}, ErrMalformed},
		"cut short":               {whole[:len(whole)-4], ErrMalformed},
		"tags without end":        {frame(0, 9, bytes.Repeat([]byte{0xff}, 20)), ErrMalformed},
		"a tag beyond the frame":  {frame(0, 9, []byte{1, 0, 100, 1}), ErrMalformed},
		"an API nobody has":       {frame(9999, 0, nil), ErrUnknownAPI},
		"an API not served":       {frame(int16(kmsg.CreateDelegationToken), 1, nil), ErrUnknownAPI},
		"a version too new":       {frame(0, 99, nil), ErrUnsupportedVersion},
		"a version below zero":    {frame(0, -1, nil), ErrUnsupportedVersion},
	} {
		if _, req, err := ParseRequest(x.frame); !errors.Is(err, x.want) || req != nil {
			t.Errorf("%s: request %v, error %v, want %v", name, req, err, x.want)
		}
	}
	for size, good := range map[int32]bool{-1: false, 0: false, 9: false, 10: true, MaxFrameBytes: true, MaxFrameBytes + 1: false, 1<<31 - 1: false} {
		var b [4]byte
		binary.BigEndian.PutUint32(b[:], uint32(size))
		if n, err := FrameSize(b); (err == nil) != good || good && n != int(size) {
			t.Errorf("size %d: %d, %v", size, n, err)
		}
	}
	for start, want := range map[string]string{"\x16\x03\x01\x02": "TLS", "GET ": "HTTP", "abcd": "impossible frame size"} {
		if _, err := FrameSize([4]byte([]byte(start))); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, it does not say %s", start, err, want)
		}
	}
}

// TestADeclaredLengthAllocatesNothing sends counts that no frame could hold.
func TestADeclaredLengthAllocatesNothing(t *testing.T) {
	for name, body := range map[string][]byte{
		"an array of 2^31-1 topics":  {0xff, 0xff, 0, 1, 0, 0, 0, 1, 0x7f, 0xff, 0xff, 0xff},
		"records of 2^31-1 bytes":    {0xff, 0xff, 0, 1, 0, 0, 0, 1, 0, 0, 0, 1, 0, 1, 't', 0, 0, 0, 1, 0, 0, 0, 0, 0x7f, 0xff, 0xff, 0xff},
		"a transactional id of 32 K": {0x7f, 0xff},
	} {
		result := testing.Benchmark(func(b *testing.B) {
			for b.Loop() {
				if _, _, err := ParseRequest(frame(0, 8, body)); !errors.Is(err, ErrMalformed) {
					b.Fatalf("%s: %v", name, err)
				}
			}
		})
		if got := result.AllocedBytesPerOp(); got > 4096 {
			t.Errorf("%s: %d bytes allocated", name, got)
		}
	}
}

// TestFetchIsWrittenAsTheLibraryWritesIt compares the hand-written response with kmsg's, for every version.
func TestFetchIsWrittenAsTheLibraryWritesIt(t *testing.T) {
	r, _ := RangeOf(int16(kmsg.Fetch))
	for version := r.Min; version <= r.Max; version++ {
		ours := FetchResponse{Version: version, SessionID: 5, Topics: []FetchTopic{{Name: "t", ID: record.TopicID{9}, Partitions: []FetchPartition{
			{Partition: 3, HighWatermark: 10, LastStable: 9, LogStart: 1, Records: payload("batches")},
			{Partition: 5, HighWatermark: 10, LastStable: 9, LogStart: 1, ReadCommitted: true, Aborted: []AbortedTxn{{7, 2}, {8, 3}}, Records: payload("more")},
			{Partition: 4, Error: UnknownTopicOrPartition, HighWatermark: -1, LastStable: -1, LogStart: -1, ReadCommitted: true},
		}}}}
		lib := kmsg.NewPtrFetchResponse()
		lib.SetVersion(version)
		lib.SessionID = 5
		topic := kmsg.NewFetchResponseTopic()
		topic.Topic, topic.TopicID = "t", [16]byte{9}
		p := kmsg.NewFetchResponseTopicPartition()
		p.Partition, p.HighWatermark, p.LastStableOffset, p.LogStartOffset, p.RecordBatches = 3, 10, 9, 1, []byte("batches")
		p.AbortedTransactions = nil
		aborted := kmsg.NewFetchResponseTopicPartition()
		aborted.Partition, aborted.HighWatermark, aborted.LastStableOffset, aborted.LogStartOffset, aborted.RecordBatches = 5, 10, 9, 1, []byte("more")
		aborted.AbortedTransactions = []kmsg.FetchResponseTopicPartitionAbortedTransaction{{ProducerID: 7, FirstOffset: 2}, {ProducerID: 8, FirstOffset: 3}}
		q := kmsg.NewFetchResponseTopicPartition()
		q.Partition, q.ErrorCode, q.HighWatermark, q.LastStableOffset, q.LogStartOffset = 4, int16(UnknownTopicOrPartition), -1, -1, -1
		q.AbortedTransactions, q.RecordBatches = []kmsg.FetchResponseTopicPartitionAbortedTransaction{}, []byte{}
		topic.Partitions = append(topic.Partitions, p, aborted, q)
		lib.Topics = append(lib.Topics, topic)

		var got bytes.Buffer
		if n, err := ours.WriteFrame(&got, 77); err != nil || n != int64(got.Len()) {
			t.Fatalf("%d bytes written, %d counted, %v", got.Len(), n, err)
		}
		b := got.Bytes()
		if size := int(binary.BigEndian.Uint32(b)); size != len(b)-4 {
			t.Errorf("version %d: size %d of %d bytes", version, size, len(b)-4)
		}
		header := 8
		if lib.IsFlexible() {
			header++
		}
		read := kmsg.NewPtrFetchResponse()
		read.SetVersion(version)
		if err := read.ReadFrom(b[header:]); err != nil {
			t.Errorf("version %d: %v", version, err)
			continue
		}
		if !reflect.DeepEqual(summary(read), summary(lib)) {
			t.Errorf("version %d:\n%+v\n%+v", version, summary(read), summary(lib))
		}
	}
}

// summary is what both must agree on.
func summary(r *kmsg.FetchResponse) string {
	again := kmsg.NewPtrFetchResponse()
	again.SetVersion(r.GetVersion())
	if err := again.ReadFrom(r.AppendTo(nil)); err != nil {
		return err.Error()
	}
	text := fmt.Sprint(again.ErrorCode, again.SessionID)
	for _, t := range again.Topics {
		text += fmt.Sprint(" ", t.Topic, t.TopicID)
		for _, p := range t.Partitions {
			text += fmt.Sprint(" ", p.Partition, p.ErrorCode, p.HighWatermark, p.LastStableOffset, p.LogStartOffset, p.AbortedTransactions, string(p.RecordBatches))
		}
	}
	return text
}

type payload string

func (p payload) Len() int { return len(p) }

func (p payload) WriteTo(w io.Writer) (int64, error) {
	n, err := io.WriteString(w, string(p))
	return int64(n), err
}

// FuzzParseRequest takes key and version from the input, so that every decoder is reached; what parses is written and parsed again.
func FuzzParseRequest(f *testing.F) {
	for _, r := range Served() {
		for _, version := range []int16{r.Min, r.Max} {
			req := kmsg.RequestForKey(r.Key)
			req.SetVersion(version)
			body := req.AppendTo(nil)
			if req.IsFlexible() {
				body = append([]byte{0}, body...)
			}
			f.Add(frame(r.Key, version, body))
		}
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		h, req, err := ParseRequest(b)
		if err != nil {
			if req != nil {
				t.Fatal("a request with an error")
			}
			return
		}
		again := kmsg.RequestForKey(h.Key)
		again.SetVersion(h.Version)
		if err := again.ReadFrom(req.AppendTo(nil)); err != nil {
			t.Fatalf("%s %d does not read what it wrote: %v", kmsg.NameForKey(h.Key), h.Version, err)
		}
	})
}

// inMemory returns both ends of a connection of the in-memory listener.
func inMemory(t *testing.T) (client, server net.Conn) {
	t.Helper()
	l := NewMemoryListener("embedded:9092")
	t.Cleanup(func() { l.Close() })
	accepted := make(chan net.Conn, 1)
	go func() {
		if c, err := l.Accept(); err == nil {
			accepted <- c
		}
	}()
	client, err := l.Dial(t.Context(), "", "")
	if err != nil {
		t.Fatal(err)
	}
	return client, <-accepted
}

func TestMemoryConnectionsBufferAndEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client, server := inMemory(t)
		if _, err := client.Write([]byte("not read yet")); err != nil { // nobody reads, and it does not block
			t.Fatal(err)
		}
		got := make([]byte, 12)
		if _, err := io.ReadFull(server, got); err != nil || string(got) != "not read yet" {
			t.Errorf("%q, %v", got, err)
		}
		if err := server.SetReadDeadline(time.Now().Add(time.Second)); err != nil {
			t.Fatal(err)
		}
		if _, err := server.Read(got); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("a deadline that passed: %v", err)
		}
		if err := errors.Join(server.SetReadDeadline(time.Time{}), client.Close()); err != nil {
			t.Fatal(err)
		}
		if _, err := server.Read(got); err != io.EOF {
			t.Errorf("after the other closed: %v", err)
		}
		if _, err := server.Write(got); err == nil {
			t.Error("a write to a closed connection went well")
		}
	})
}

func TestMemoryConnectionsHoldUpWhoWritesTooMuch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client, server := inMemory(t)
		if err := client.SetWriteDeadline(time.Now().Add(time.Second)); err != nil {
			t.Fatal(err)
		}
		n, err := client.Write(make([]byte, 64<<20))
		if !errors.Is(err, os.ErrDeadlineExceeded) || n > 8<<20 {
			t.Errorf("%d bytes went into a buffer that nobody empties: %v", n, err)
		}
		if err := client.SetWriteDeadline(time.Time{}); err != nil {
			t.Fatal(err)
		}
		go io.Copy(io.Discard, server)
		if n, err := client.Write(make([]byte, 64<<20)); err != nil || n != 64<<20 {
			t.Errorf("%d bytes, %v", n, err)
		}
		client.Close() // ends the reader
	})
}
