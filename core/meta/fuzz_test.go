package meta

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"log/slog"
	"path"
	"runtime"
	"strings"
	"testing"

	"github.com/hashicorp/raft"
	wal "github.com/hashicorp/raft-wal"
	"github.com/hashicorp/raft-wal/segment"
	"github.com/hashicorp/raft-wal/types"

	"github.com/milldam/milldam/core/record"
	"github.com/milldam/milldam/core/vfs"
)

// damaged calls add with data whole, cut, doubled and with flipped bits.
func damaged(data []byte, add func([]byte)) {
	add(data)
	for _, n := range []int{0, 1, len(data) / 2, len(data) - 1} {
		add(data[:max(0, min(n, len(data)))])
	}
	for at := 0; at < len(data); at += 1 + len(data)/16 {
		flipped := bytes.Clone(data)
		flipped[at] ^= 0x01
		add(flipped)
	}
	add(append(bytes.Clone(data), data...))
}

// bounded fails when fn takes memory out of proportion to what it was given, as a declared length that is believed makes it.
func bounded(t *testing.T, given int, fn func()) {
	t.Helper()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	fn()
	runtime.ReadMemStats(&after)
	if took := after.TotalAlloc - before.TotalAlloc; took > uint64(1000*given+4<<20) {
		t.Errorf("%d bytes of memory for %d bytes of input", took, given)
	}
}

// sameTopics fails unless the topics by name and by id are the same.
func sameTopics(t *testing.T, i *Image) {
	t.Helper()
	if i.topics.Len() != i.byID.Len() {
		t.Errorf("%d topics by name, %d by id", i.topics.Len(), i.byID.Len())
	}
	for topic := range i.Topics() {
		if i.TopicByID(topic.ID) != topic {
			t.Errorf("topic %q is another by its id", topic.Name)
		}
	}
}

// commandLog is commands one after the other, each behind its length in two bytes.
func commandLog(t testing.TB, list ...command) []byte {
	t.Helper()
	var out []byte
	for _, c := range list {
		data, err := encodeCommand(c)
		must(t, err)
		out = append(binary.BigEndian.AppendUint16(out, uint16(len(data))), data...)
	}
	return out
}

// FuzzCommandLog applies commands one after the other, and wants the image that a snapshot of it brings back.
func FuzzCommandLog(f *testing.F) {
	a, b := record.TopicID{1}, record.TopicID{2}
	rows := []Partition{{Leader: 1, Replicas: []int32{1}, ISR: []int32{1}}}
	for _, list := range [][]command{
		{setCluster{"id"}, setBroker{Broker{ID: 1, Epoch: 2}}, setTopic{Topic{ID: a, Name: "a", Partitions: rows}}, takeProducerIDs{1000}},
		{setTopic{Topic{ID: a, Name: "a"}}, setTopicConfig{a, map[string]string{"retention.ms": "1"}}, setBrokerConfig{AllBrokers, map[string]string{"k": "v"}}},
		{setTopic{Topic{ID: a, Name: "a"}}, setTopic{Topic{ID: b, Name: "b"}}, removeTopic{a}, removeTopic{a}, setTopic{Topic{ID: b, Name: "b", Partitions: rows}}},
		{setTopic{Topic{ID: a, Name: "a"}}, setTopic{Topic{ID: b, Name: "a"}}},
		{setFeatures{map[string]int16{"metadata.version": 30}}, setFeatures{}},
		{addACLs{[]ACL{{2, "t", 3, "User:a", "*", 3, 3}, {3, "g", 4, "User:a", "*", 2, 2}}}, removeACLs{[]ACL{{2, "t", 3, "User:a", "*", 3, 3}}}},
		{alterScram{[]scramRow{{"u", ScramSHA256, &ScramCredential{Iterations: 4096}}, {"u", ScramSHA512, &ScramCredential{}}}}, alterScram{[]scramRow{{"u", ScramSHA512, nil}}}},
		{setQuota{Quota{QuotaEntity{User: DefaultName, ClientID: Named("c")}, map[string]float64{ProducerByteRate: 1}}}, setQuota{Quota{QuotaEntity{User: Named("u")}, nil}}},
		{setResourceConfig{Resource{ResourceGroup, "g"}, map[string]string{"consumer.session.timeout.ms": "50000"}}, setResourceConfig{Resource{ResourceClientMetrics, "m"}, nil}},
		{setTopic{Topic{ID: a, Name: "a"}}, setTopic{Topic{ID: a, Name: "b"}}, removeTopic{a}},
	} {
		damaged(commandLog(f, list...), func(data []byte) { f.Add(data) })
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		bounded(t, len(data), func() {
			i := emptyImage()
			for len(data) > 2 {
				n := min(int(binary.BigEndian.Uint16(data)), len(data)-2)
				c, err := decodeCommand(data[2 : 2+n])
				if data = data[2+n:]; err == nil {
					i = i.apply(c)
				}
			}
			sameTopics(t, i)
			encoded, err := i.encode()
			must(t, err)
			again, err := decodeImage(encoded)
			must(t, err)
			sameTopics(t, again)
			if got := content(t, again); got != string(encoded) {
				t.Errorf("restored:\n%s\nwant:\n%s", got, encoded)
			}
		})
	})
}

const fuzzedSnapshot = "00000000000000000007-00000000000000000002"

// snapshotFile is a snapshot as it is on disk.
func snapshotFile(t testing.TB, i *Image) []byte {
	t.Helper()
	fs := vfs.NewMem()
	store := &snapshotStore{fs: fs, dir: "snapshots"}
	must(t, fs.MkdirAll(store.dir))
	one := raft.Configuration{Servers: []raft.Server{{ID: "1", Address: "node-1"}}}
	sink, err := store.Create(raft.SnapshotVersionMax, 7, 2, one, 1, nil)
	must(t, err)
	must(t, imageSnapshot{i}.Persist(sink))
	data, err := vfs.ReadFile(fs, "snapshots/"+sink.ID()+snapshotSuffix)
	must(t, err)
	return data
}

// FuzzSnapshot reads a snapshot file as raft does at a start.
func FuzzSnapshot(f *testing.F) {
	i := emptyImage().apply(setCluster{"id"}).apply(setBroker{Broker{ID: 1, Host: "h"}}).apply(setTopic{Topic{ID: record.TopicID{1}, Name: "a",
		Partitions: []Partition{{Replicas: []int32{1}}}, Config: map[string]string{"k": "v"}}}).apply(setBrokerConfig{1, map[string]string{"k": "v"}})
	for _, image := range []*Image{emptyImage(), i} {
		damaged(snapshotFile(f, image), func(data []byte) {
			f.Add(data, false)
			f.Add(data, true)
		})
	}
	f.Fuzz(func(t *testing.T, data []byte, mend bool) {
		const sumEnd = len(snapshotMagic) + 4
		if mend && len(data) >= sumEnd { // what lies behind the checksum is never reached by chance
			data = bytes.Clone(data)
			binary.BigEndian.PutUint32(data[len(snapshotMagic):], crc32.Checksum(data[sumEnd:], castagnoli))
		}
		fs := vfs.NewMem()
		must(t, fs.MkdirAll("snapshots"))
		must(t, vfs.WriteFileAtomic(fs, "snapshots/"+fuzzedSnapshot+snapshotSuffix, data))
		bounded(t, len(data), func() {
			store := &snapshotStore{fs: fs, dir: "snapshots"}
			list, err := store.List()
			must(t, err) // a damaged one is left out
			_, r, err := store.Open(fuzzedSnapshot)
			if (err == nil) != (len(list) == 1) {
				t.Errorf("listed %d, open: %v", len(list), err)
			}
			if err != nil {
				if !errors.Is(err, ErrDamaged) || !strings.Contains(err.Error(), "snapshots/"+fuzzedSnapshot) {
					t.Errorf("the error does not name the file: %v", err)
				}
				return
			}
			body, err := io.ReadAll(r)
			must(t, errors.Join(err, r.Close()))
			i, err := decodeImage(body)
			if err != nil {
				if !errors.Is(err, ErrDamaged) {
					t.Errorf("decode: %v", err)
				}
				return
			}
			sameTopics(t, i)
			again, err := decodeImage([]byte(content(t, i)))
			must(t, err)
			if content(t, again) != content(t, i) {
				t.Error("a snapshot changes when it is written again")
			}
		})
	})
}

// openError opens the metadata in fs, which must fail.
func openError(t *testing.T, fs vfs.FS) error {
	t.Helper()
	c, err := Open(t.Context(), Options{FS: fs, Dir: "meta", NodeID: 1})
	if err == nil {
		t.Fatal("it opens", c.Close())
	}
	return err
}

func TestUnknownCommandInTheLogIsAnError(t *testing.T) {
	for name, tc := range map[string]struct {
		data []byte
		want string
	}{
		"of a newer version": {[]byte{commandVersion + 1, byte(kindCluster), '{', '}'}, "run the newer one"},
		"of no known kind":   {[]byte{commandVersion, 99, '{', '}'}, "kind 99"},
		"of no JSON":         {[]byte{commandVersion, byte(kindCluster), '{'}, "damaged"},
		"of nothing":         {nil, "0 bytes"},
	} {
		t.Run(name, func(t *testing.T) {
			fs := vfs.NewMem()
			c := open(t, fs)
			c.raft.Apply(tc.data, 0)
			<-c.failed
			if _, err := c.CreateTopic(t.Context(), NewTopic{Name: "t", Partitions: 1, Replicas: 1}, false); err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("create a topic: %v", err)
			}
			must(t, c.Close())
			if err := openError(t, fs); !strings.Contains(err.Error(), tc.want) || !strings.Contains(err.Error(), "metadata log entry") {
				t.Errorf("open: %v", err)
			}
		})
	}
}

func TestDamagedSnapshotIsNamed(t *testing.T) {
	for _, log := range []string{"whole", "cut in front of the snapshot"} {
		t.Run("log "+log, func(t *testing.T) {
			fs := vfs.NewMem()
			c := open(t, fs)
			if log != "whole" {
				must(t, c.raft.ReloadConfig(raft.ReloadableConfig{TrailingLogs: 1, SnapshotInterval: snapshotInterval, SnapshotThreshold: snapshotEvery,
					HeartbeatTimeout: electionTimeout, ElectionTimeout: electionTimeout}))
			}
			for i := range 5 {
				create(t, c, fmt.Sprintf("t%d", i))
			}
			must(t, c.raft.Snapshot().Error())
			want := content(t, c.Image())
			must(t, c.Close())
			names, err := fs.List("meta/snapshots")
			must(t, err)
			file := "meta/snapshots/" + names[len(names)-1]
			data, err := vfs.ReadFile(fs, file)
			must(t, err)
			data[len(data)-3] ^= 1
			must(t, vfs.WriteFileAtomic(fs, file, data))
			if log != "whole" {
				if err := openError(t, fs); !errors.Is(err, ErrDamaged) || !strings.Contains(err.Error(), file) {
					t.Errorf("open: %v", err)
				}
				return
			}
			var logged bytes.Buffer
			c, err = Open(t.Context(), Options{FS: fs, Dir: "meta", NodeID: 1, Logger: slog.New(slog.NewTextHandler(&logged, nil))})
			must(t, err)
			if got := content(t, c.Image()); got != want {
				t.Errorf("from the log alone:\n%s\nwant:\n%s", got, want)
			}
			must(t, c.Close())
			if !strings.Contains(logged.String(), file) {
				t.Errorf("%s is not named: %s", file, logged.String())
			}
		})
	}
}

// FuzzRaftSegment reads a segment of the Raft log, whole and damaged, and wants raft-wal to find the same entries in what is taken for whole.
func FuzzRaftSegment(f *testing.F) {
	info := types.SegmentInfo{ID: 3, BaseIndex: 5, MinIndex: 5, SizeLimit: 700, Codec: segmentCodec}
	damaged(segmentFile(f, info), func(data []byte) { f.Add(data) })
	f.Fuzz(func(t *testing.T, data []byte) {
		s := scanSegment(data, info.BaseIndex, info.ID)
		count := 0
		entry := func(at int64, l *raft.Log) error {
			count++
			inspectEntry(at, l)
			return nil
		}
		if err := s.each(0, entry); err == nil && info.BaseIndex+uint64(count) != s.next() {
			t.Errorf("%d entries, the next is %d", count, s.next())
		}
		if s.cutTorn(); s.rest > int64(len(data)) || len(s.batches) > 0 && s.checkHeader() != nil {
			return
		}
		fs := vfs.NewMem()
		must(t, fs.MkdirAll("raft"))
		must(t, vfs.WriteFileAtomic(fs, path.Join("raft", segment.FileName(info)), data[:s.rest]))
		w, err := segment.NewFiler("raft", walFiles{fs}).RecoverTail(info)
		must(t, err)
		if last := w.LastIndex(); s.next() > s.base && last != s.next()-1 || s.next() == s.base && last != 0 {
			t.Errorf("raft-wal's last entry is %d, the next here %d", last, s.next())
		}
		if sealed, at, err := w.Sealed(); err != nil || sealed != (s.sealed() > 0) || sealed && at != uint64(s.sealed()) {
			t.Errorf("raft-wal: sealed %v at %d, %v; here at %d", sealed, at, err, s.sealed())
		}
		must(t, w.Close())
	})
}

// segmentFile is a segment with entries of several kinds, that is full.
func segmentFile(t testing.TB, info types.SegmentInfo) []byte {
	t.Helper()
	fs := vfs.NewMem()
	must(t, fs.MkdirAll("raft"))
	w, err := segment.NewFiler("raft", walFiles{fs}).Create(info)
	must(t, err)
	for i, cmd := range []command{setCluster{"id"}, setBroker{Broker{ID: 1}}, setTopic{Topic{Name: "a"}}, takeProducerIDs{5}, setTopic{Topic{Name: "b"}}, setTopic{Topic{Name: "c"}}} {
		data, err := encodeCommand(cmd)
		must(t, err)
		l := raft.Log{Index: info.BaseIndex + uint64(i), Term: 2, Data: data}
		l.Extensions = entryChecksum(&l)
		var out bytes.Buffer
		must(t, (&wal.BinaryCodec{}).Encode(&l, &out))
		if err := w.Append([]types.LogEntry{{Index: l.Index, Data: out.Bytes()}}); err != nil {
			break // it is full
		}
	}
	must(t, w.Close())
	data, err := vfs.ReadFile(fs, path.Join("raft", segment.FileName(info)))
	must(t, err)
	if scanSegment(data, info.BaseIndex, info.ID).sealed() == 0 {
		t.Fatal("it is not full")
	}
	return data
}

// FuzzEndMark reads the file that says where the log ends.
func FuzzEndMark(f *testing.F) {
	damaged(append(encodeMark(7), make([]byte, endFileBytes-endMarkBytes)...), func(data []byte) { f.Add(data) })
	damaged(append(append(encodeMark(7), make([]byte, endSlotBytes-endMarkBytes)...), encodeMark(8)...), func(data []byte) { f.Add(data) })
	f.Fuzz(func(t *testing.T, data []byte) {
		m := decodeMarks(data)
		if m.known && !bytes.Contains(data, encodeMark(m.last)) {
			t.Errorf("%d is not in the file", m.last)
		}
	})
}
