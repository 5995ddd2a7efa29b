package meta

import (
	"encoding/json"
	"errors"
	"path"
	"strings"
	"testing"

	"github.com/milldam/milldam/core/record"
	"github.com/milldam/milldam/core/vfs"
)

// rowsOf are what Inspect shows of a file, as JSON.
func rowsOf(t *testing.T, fs vfs.FS, name string) (rows []string, err error) {
	t.Helper()
	_, err = Inspect(fs, name, func(row any) error {
		data, err := json.Marshal(row)
		must(t, err)
		rows = append(rows, string(data))
		return nil
	})
	return rows, err
}

// TestInspectedSnapshot reads a snapshot file, and one with a bit flipped anywhere.
func TestInspectedSnapshot(t *testing.T) {
	i := emptyImage().apply(setCluster{"id"}).apply(setBroker{Broker{ID: 1, Host: "h"}}).apply(setTopic{Topic{ID: record.TopicID{1}, Name: "a",
		Partitions: []Partition{{Replicas: []int32{1}}}, Config: map[string]string{"k": "v"}}}).apply(setBrokerConfig{1, map[string]string{"ssl.key.password": "secret", "num.io.threads": "8"}})
	i.scram[scramKey{User: "u"}] = &ScramCredential{Salt: []byte("secret")}
	name, fs := "meta/snapshots/"+fuzzedSnapshot+snapshotSuffix, vfs.NewMem()
	must(t, fs.MkdirAll("meta/snapshots"))
	data := snapshotFile(t, i)
	must(t, vfs.WriteFileAtomic(fs, name, data))
	rows, err := rowsOf(t, fs, name)
	must(t, err)
	want := `{"index":7,"term":2,"clusterId":"id","topics":[{"topic":"a","id":"AQAAAAAAAAAAAAAAAAAAAA","partitions":1,"config":{"k":"v"}}],"brokers":[{"ID":1,"Epoch":0,"Host":"h","Port":0,"Rack":""}],` +
		`"features":null,"configs":{"1":{"num.io.threads":"8","ssl.key.password":"***"}},"acls":0,"scramCredentials":1,"quotas":0,"nextProducerId":0}`
	if len(rows) != 1 || rows[0] != want {
		t.Errorf("%s\nwant\n%s", rows, want)
	}
	for at := range data {
		data[at] ^= 1
		must(t, vfs.WriteFileAtomic(fs, name, data))
		if _, err := rowsOf(t, fs, name); !errors.Is(err, ErrDamaged) || !strings.Contains(err.Error(), name) {
			t.Fatalf("byte %d: %v", at, err)
		}
		data[at] ^= 1
	}
}

func TestKindsOfMetadataFiles(t *testing.T) {
	for name, want := range map[string]FileKind{
		"meta/snapshots/00000000000000000007-00000000000000000002.snapshot": SnapshotFile,
		"meta/raft/00000000000000000001-000000000000000a.wal":               LogFile,
		"meta/raft/stable":                       StateFile,
		"meta/raft/end":                          EndFile,
		"logs/a-0/00000000000000000007.snapshot": "",
		"wal/00000000000000000001.wal":           "",
		"demo/end":                               "",
	} {
		if got := KindOf(name); got != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
}

// TestInspectedLog shows every kind of command by its meaning, and no secret.
func TestInspectedLog(t *testing.T) {
	fs := vfs.NewMem()
	c := open(t, fs)
	create(t, c, "a")
	topic := c.Image().Topic("a")
	for _, cmd := range []command{
		setTopicConfig{topic.ID, map[string]string{"retention.ms": "7"}},
		setBrokerConfig{AllBrokers, map[string]string{"log.retention.ms": "5", "my.own": "secret"}},
		takeProducerIDs{2000},
		addACLs{[]ACL{{2, "a", 3, "User:u", "*", 3, 3}}},
		removeACLs{[]ACL{{2, "a", 3, "User:u", "*", 3, 3}}},
		alterScram{[]scramRow{{"u", ScramSHA256, &ScramCredential{Salt: []byte("secret"), Iterations: 4096}}, {"w", ScramSHA512, nil}}},
		setQuota{Quota{QuotaEntity{User: Named("u")}, map[string]float64{ProducerByteRate: 1}}},
		setResourceConfig{Resource{ResourceGroup, "g"}, map[string]string{"consumer.session.timeout.ms": "50000"}},
		removeTopic{topic.ID},
	} {
		must(t, c.write(t.Context(), cmd))
	}
	must(t, c.Close())
	rows, err := rowsOf(t, fs, "meta/raft/00000000000000000001-0000000000000000.wal")
	must(t, err)
	id := idText(topic.ID)
	for i, want := range []string{
		`"index":1,"term":1,`, `"kind":"configuration","value":[{"Suffrage":0,"ID":"1"`, `"kind":"noop"}`, `"kind":"barrier"}`, `"kind":"cluster","value":{"clusterId":"` + c.Image().ClusterID() + `"}`,
		`"kind":"features","value":{`, `"kind":"broker","value":{"ID":1,`, `"kind":"topic","value":{"topic":"a","id":"` + id + `","partitions":[{`,
		`"kind":"topic config","value":{"config":{"retention.ms":"7"},"id":"` + id + `"}`, `"kind":"broker config","value":{"broker":-1,"config":{"log.retention.ms":"5","my.own":"***"}}`,
		`"kind":"producer ids","value":{"next":2000}`, `"kind":"add acls","value":[{"ResourceType":2,"Resource":"a"`, `"kind":"remove acls"`,
		`"kind":"scram","value":[{"user":"u","mechanism":1,"iterations":4096},{"user":"w","mechanism":2,"removed":true}]`, `"kind":"quota","value":{"Entity":{"User":"=u"`,
		`"kind":"resource config","value":{"config":{"consumer.session.timeout.ms":"50000"},"name":"g","type":32}`, `"kind":"remove topic","value":{"id":"` + id + `"}`,
	} {
		if all := strings.Join(rows, "\n"); !strings.Contains(all, want) {
			t.Errorf("%d: there is no %s in\n%s", i, want, all)
		}
	}
	if all := strings.Join(rows, "\n"); strings.Contains(all, "secret") || strings.Contains(all, "c2VjcmV0") {
		t.Errorf("a secret is shown:\n%s", all)
	}
	state, err := rowsOf(t, fs, "meta/raft/stable")
	must(t, err)
	if len(state) != 1 || !strings.Contains(state[0], `{"term":2,"voteTerm":2,"votedFor":"node-1","segments":[{"file":"00000000000000000001-0000000000000000.wal","first":1}]}`) {
		t.Errorf("%s", state)
	}
	end, err := rowsOf(t, fs, "meta/raft/end")
	must(t, err)
	if len(end) != 1 || !strings.Contains(rows[len(rows)-1], `"index":`+strings.TrimPrefix(strings.TrimSuffix(end[0], "}"), `{"last":`)+",") {
		t.Errorf("%s, the last entry is %s", end, rows[len(rows)-1])
	}
}

// TestVerifyAgreesWithTheStart changes files, and holds what verify says of them and of their folder against whether a node starts.
func TestVerifyAgreesWithTheStart(t *testing.T) {
	whole, trimmed := fillLog(t, false), fillLog(t, true)
	for kind, f := range map[string]filledLog{"whole log": whole, "log behind a snapshot": trimmed} {
		for name := range filesOf(t, f.killed, "meta") {
			for change, fn := range map[string]func([]byte) []byte{"none": func(data []byte) []byte { return data }, "gone": gone, "empty": emptied, "cut": lastCut, "half": halved, "a bit": bitTurned(60), "the last bit": bitTurned(-1), "a bit at the end": bitTurned(-21), "zeros": func(data []byte) []byte { return append(data, 0, 0, 0) }} {
				t.Run(path.Join(kind, name, change), func(t *testing.T) {
					fs := copyOf(t, f.killed)
					if data, err := vfs.ReadFile(fs, name); err != nil || len(data) < 61 {
						fn = gone
					}
					rewrite(t, fs, name, fn)
					bad := VerifyFolder(fs, "meta")
					for name := range filesOf(t, fs, "meta") {
						r, err := VerifyFile(fs, name)
						must(t, err)
						if r.Damage != "" && r.Next == "" {
							t.Errorf("%s: %+v", name, r)
						}
						if r.Damage != "" && r.Next == RestoreAdvice && bad == nil {
							bad = errors.New(r.Damage)
						}
					}
					c, _, err := openLogged(t, fs)
					if err == nil {
						must(t, c.Close())
					}
					if (err == nil) != (bad == nil) {
						t.Errorf("the start: %v, verify: %v", err, bad)
					}
				})
			}
		}
	}
}

// TestTopicNames reads them from snapshot and log.
func TestTopicNames(t *testing.T) {
	f := fillLog(t, true)
	names, err := TopicNames(f.killed, "meta")
	must(t, err)
	image, err := readImage(f.killed, "meta")
	must(t, err)
	if got := content(t, image); got != f.want || len(names) != image.TopicCount() {
		t.Errorf("%d names, the files have\n%s\nwant\n%s", len(names), got, f.want)
	}
	rewrite(t, f.killed, f.segments[0], gone)
	if _, err := TopicNames(f.killed, "meta"); !errors.Is(err, ErrDamaged) {
		t.Errorf("without a segment: %v", err)
	}
	if _, err := TopicNames(vfs.NewMem(), "meta"); err == nil {
		t.Error("there is no folder, and no error")
	}
}
