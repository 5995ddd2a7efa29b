package meta

import (
	"errors"
	"strings"
	"testing"

	"github.com/milldam/milldam/core/record"
	"github.com/milldam/milldam/core/vfs"
)

// TestInspectedSnapshot reads a snapshot file, and one with a bit flipped anywhere.
func TestInspectedSnapshot(t *testing.T) {
	i := emptyImage().apply(setCluster{"id"}).apply(setBroker{Broker{ID: 1, Host: "h"}}).apply(setTopic{Topic{ID: record.TopicID{1}, Name: "a",
		Partitions: []Partition{{Replicas: []int32{1}}}, Config: map[string]string{"k": "v"}}})
	i.scram[scramKey{User: "u"}] = &ScramCredential{Salt: []byte("secret")}
	name, fs := "meta/snapshots/"+fuzzedSnapshot+snapshotSuffix, vfs.NewMem()
	must(t, fs.MkdirAll("meta/snapshots"))
	data := snapshotFile(t, i)
	must(t, vfs.WriteFileAtomic(fs, name, data))
	s, err := InspectSnapshot(fs, name)
	must(t, err)
	if !IsSnapshot(name) || s.ClusterID != "id" || s.Index != 7 || s.Term != 2 || len(s.Topics) != 1 || s.Topics[0].Topic != "a" || s.Topics[0].Config["k"] != "v" || len(s.Brokers) != 1 || s.Scram != 1 {
		t.Errorf("%+v", s)
	}
	for at := range data {
		data[at] ^= 1
		must(t, vfs.WriteFileAtomic(fs, name, data))
		if _, err := InspectSnapshot(fs, name); !errors.Is(err, ErrDamaged) || !strings.Contains(err.Error(), name) {
			t.Fatalf("byte %d: %v", at, err)
		}
		data[at] ^= 1
	}
	if IsSnapshot("logs/a-0/00000000000000000007.snapshot") {
		t.Error("a producer snapshot is taken for one of the metadata")
	}
}
