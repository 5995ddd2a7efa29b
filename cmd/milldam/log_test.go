package main

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/milldam/milldam/core/record"
	"github.com/milldam/milldam/core/storage"
	"github.com/milldam/milldam/runtime/node"
)

// stoppedFolder is the folder of a node that was stopped after committed and aborted transactions, and a group.
func stoppedFolder(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	n, err := node.Start(t.Context(), node.Options{Dir: dir, Kafka: "127.0.0.1:0", HTTP: node.None})
	if err != nil {
		t.Fatal(err)
	}
	fill(t, n.Endpoints().Kafka)
	if err := n.Close(); err != nil {
		t.Fatal(err)
	}
	return dir
}

func fill(t *testing.T, address string) {
	t.Helper()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	cl, err := kgo.NewClient(kgo.SeedBrokers(address), kgo.DefaultProduceTopic("orders"), kgo.TransactionalID("till"))
	must(err)
	defer cl.Close()
	admin := kadm.NewClient(cl)
	_, err = admin.CreateTopic(t.Context(), 1, 1, nil, "orders")
	must(err)
	noise := rand.NewChaCha8([32]byte{1})
	for i := range 24 {
		must(cl.BeginTransaction())
		value := make([]byte, 1500)
		_, _ = noise.Read(value) // it always fills it
		must(cl.ProduceSync(t.Context(), &kgo.Record{Key: fmt.Appendf(nil, "order-%d", i), Value: value}).FirstErr())
		must(cl.EndTransaction(t.Context(), i%12 != 11))
	}
	must(admin.CommitAllOffsets(t.Context(), "readers", kadm.Offsets{"orders": {0: {Topic: "orders", At: 7, LeaderEpoch: -1, Metadata: "by hand"}}}))
	member, err := kgo.NewClient(kgo.SeedBrokers(address), kgo.ConsumerGroup("shop"), kgo.ConsumeTopics("orders"), kgo.DisableAutoCommit())
	must(err)
	defer member.Close()
	must(member.PollFetches(t.Context()).Err())
	must(member.CommitUncommittedOffsets(t.Context()))
}

// onlyFile is the one file that matches.
func onlyFile(t *testing.T, pattern ...string) string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(pattern...))
	if err != nil || len(files) == 0 {
		t.Fatalf("no %s: %v", filepath.Join(pattern...), err)
	}
	return files[len(files)-1]
}

// reports are what verify tells of files, by name.
func reports(t *testing.T, paths ...string) (files map[string]storage.FileReport, talk string, code int) {
	t.Helper()
	out, talk, code := command(t, append([]string{"log", "verify", "-o", "json"}, paths...)...)
	var list struct{ Files []storage.FileReport }
	if err := json.Unmarshal([]byte(out), &list); err != nil {
		t.Fatalf("%v: %s%s", err, out, talk)
	}
	files = map[string]storage.FileReport{}
	for _, f := range list.Files {
		files[f.File] = f
	}
	return files, talk, code
}

// TestVerifyTellsDamageOfEveryKindOfFile changes one byte in a file of each kind, and looks for it being told by position, with what to do next.
func TestVerifyTellsDamageOfEveryKindOfFile(t *testing.T) {
	dir := stoppedFolder(t)
	if files, talk, code := reports(t, dir); code != exitOK || len(files) < 20 {
		t.Fatalf("a whole folder: exit %d, %d files, %s", code, len(files), talk)
	}
	logs := filepath.Join(dir, "logs")
	for name, x := range map[string]struct {
		file string
		at   int // from the end when it is negative
		says string
	}{
		"segment":                        {onlyFile(t, logs, "orders-0", "*.log"), 4000, "position"},
		"offset index, its offset":       {onlyFile(t, logs, "orders-0", "*.index"), 3, "position 0: entry 0 has offset"},
		"offset index, its position":     {onlyFile(t, logs, "orders-0", "*.index"), 8 + 7, "position 8: entry 1 has position"},
		"offset index, a huge position":  {onlyFile(t, logs, "orders-0", "*.index"), -4, "no batch begins there"},
		"time index, its time":           {onlyFile(t, logs, "orders-0", "*.timeindex"), 7, "position 0: entry 0 has time"},
		"time index, its offset":         {onlyFile(t, logs, "orders-0", "*.timeindex"), 12 + 11, "position 12: entry 1 has"},
		"transaction index, its version": {onlyFile(t, logs, "orders-0", "*.txnindex"), 1, "position 0: entry 0 has version"},
		"transaction index, producer":    {onlyFile(t, logs, "orders-0", "*.txnindex"), 9, "position 0: entry 0 is producer"},
		"transaction index, first":       {onlyFile(t, logs, "orders-0", "*.txnindex"), 17, "position 0: entry 0 is producer"},
		"transaction index, last":        {onlyFile(t, logs, "orders-0", "*.txnindex"), 34 + 25, "position 34: entry 1 is producer"},
		"transaction index, last stable": {onlyFile(t, logs, "orders-0", "*.txnindex"), 33, "position 0: entry 0 is producer"},
		"producer snapshot":              {onlyFile(t, logs, "orders-0", "*.snapshot"), -9, "damaged producer snapshot"},
		"leader epochs, no number":       {onlyFile(t, logs, "orders-0", "leader-epoch-checkpoint"), 2, "leader epoch"},
		"leader epochs, another":         {onlyFile(t, logs, "orders-0", "leader-epoch-checkpoint"), 4, "leader epoch 1"},
		"topic id":                       {onlyFile(t, logs, "orders-0", "partition.metadata"), 15, "partition.metadata"},
		"checkpoint":                     {onlyFile(t, dir, "checkpoint"), 50, "damaged checkpoint"},
		"offsets topic":                  {onlyFile(t, logs, "__consumer_offsets-*", "*.log"), -1, "position"},
		"transaction topic":              {onlyFile(t, logs, "__transaction_state-*", "*.log"), -1, "position"},
		"metadata log, its header":       {onlyFile(t, dir, "meta", "raft", "*.wal"), 9, "position 0: the header"},
		"metadata log, an entry":         {onlyFile(t, dir, "meta", "raft", "*.wal"), 300, "entry"},
		"metadata log, its end":          {onlyFile(t, dir, "meta", "raft", "*.wal"), -1, "the checksum of the entries"},
		"metadata log state":             {onlyFile(t, dir, "meta", "raft", "stable"), 50, "checksum"},
		"metadata log end":               {onlyFile(t, dir, "meta", "raft", "end"), 12, "a mark of the end"},
	} {
		t.Run(name, func(t *testing.T) {
			whole, err := os.ReadFile(x.file)
			if err != nil {
				t.Fatal(err)
			}
			at := x.at
			if at < 0 {
				at += len(whole)
			}
			if len(whole) <= at {
				t.Fatalf("%s has %d bytes", x.file, len(whole))
			}
			bad := append([]byte(nil), whole...)
			bad[at] ^= 1
			if err := os.WriteFile(x.file, bad, 0o600); err != nil {
				t.Fatal(err)
			}
			defer func() {
				if err := os.WriteFile(x.file, whole, 0o600); err != nil {
					t.Fatal(err)
				}
			}()
			files, talk, code := reports(t, dir)
			r := files[x.file]
			if code != exitCheck || !strings.Contains(r.Damage, x.says) || r.Next == "" || !strings.Contains(talk, x.file+": "+r.Next) {
				t.Errorf("exit %d, %+v, want %q; it says %s", code, r, x.says, talk)
			}
			if out, talk, code := command(t, "log", "dump", "--records", x.file); code != exitOK && code != exitCheck {
				t.Errorf("dump: exit %d: %s%s", code, out, talk)
			}
		})
	}
}

// TestVerifyTellsWhatIsMissing takes files and folders away, and looks for them being told, whether the folder is named with --dir or by its path.
func TestVerifyTellsWhatIsMissing(t *testing.T) {
	dir := stoppedFolder(t)
	for _, args := range [][]string{{"--dir", dir}, {dir}, {"--dir", dir, "orders"}, {"--dir", dir, "orders-0", "__consumer_offsets"}} {
		if files, talk, code := reports(t, args...); code != exitOK || len(files) < 4 {
			t.Errorf("%q of a whole folder: exit %d, %d files, %s", args, code, len(files), talk)
		}
	}
	if _, talk, code := command(t, "log", "verify", "--dir", dir, "nothing"); code != exitNotFound || !strings.Contains(talk, "no topic or partition") {
		t.Errorf("no topic: exit %d, %s", code, talk)
	}
	away := filepath.Join(t.TempDir(), "away")
	for name, x := range map[string]struct{ file, kind, says string }{
		"the active segment":       {onlyFile(t, dir, "logs", "orders-0", "*.log"), "segment", "bytes of it were synced, up to offset 47"},
		"a partition's folder":     {filepath.Join(dir, "logs", "orders-0"), "partition folder", "it had records up to offset 47"},
		"the metadata":             {filepath.Join(dir, "meta"), "metadata folder", "it is missing"},
		"the metadata's log":       {onlyFile(t, dir, "meta", "raft", "*.wal"), "metadata log", "it is missing, and the log had entries up to"},
		"the metadata's log state": {filepath.Join(dir, "meta", "raft", "stable"), "metadata log state", "so the cluster is not new"},
	} {
		t.Run(name, func(t *testing.T) {
			if err := os.Rename(x.file, away); err != nil {
				t.Fatal(err)
			}
			defer func() {
				if err := os.Rename(away, x.file); err != nil {
					t.Fatal(err)
				}
			}()
			files, talk, code := reports(t, "--dir", dir)
			r := files[x.file]
			if code != exitCheck || string(r.Kind) != x.kind || !strings.Contains(r.Damage, x.says) || r.Next == "" || !strings.Contains(talk, x.file+": "+r.Next) {
				t.Errorf("exit %d, %+v; it says %s", code, r, talk)
			}
			out, talk, code := command(t, "log", "verify", "--dir", dir)
			if code != exitCheck || !strings.Contains(out, x.file) || !strings.Contains(out, x.says) || !strings.Contains(talk, "1 of ") {
				t.Errorf("as a table: exit %d, %s%s", code, out, talk)
			}
		})
	}
}

// TestVerifyTellsDamageOfAWriteAheadLogThatIsNeeded damages a file that a clean stop left for use, and then takes the checkpoint that says so.
func TestVerifyTellsDamageOfAWriteAheadLogThatIsNeeded(t *testing.T) {
	dir := stoppedFolder(t)
	name := onlyFile(t, dir, "wal", "*1.wal")
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	data[512+10] ^= 1
	if err := os.WriteFile(name, data, 0o600); err != nil {
		t.Fatal(err)
	}
	if files, talk, code := reports(t, dir); code != exitOK || files[name].Batches == 0 {
		t.Errorf("nobody reads it: exit %d, %+v, %s", code, files[name], talk)
	}
	if err := os.Remove(filepath.Join(dir, "checkpoint")); err != nil {
		t.Fatal(err)
	}
	if files, talk, code := reports(t, dir); code != exitCheck || !strings.Contains(files[name].Damage, "from byte 512") || files[name].Next == "" {
		t.Errorf("all of it is read: exit %d, %+v, %s", code, files[name], talk)
	}
}

// TestDumpShowsWhatFilesHold dumps topics, partitions and single files of a stopped folder.
func TestDumpShowsWhatFilesHold(t *testing.T) {
	dir := stoppedFolder(t)
	logs := filepath.Join(dir, "logs")
	for name, x := range map[string]struct {
		args []string
		code int
		says []string
		not  []string
	}{
		"a topic":             {[]string{"orders"}, exitOK, []string{"orders-0/00000000000000000000.log, segment", "PRODUCER ID", "commit", "abort"}, []string{"order-3", ".index"}},
		"a partition":         {[]string{"orders-0", "--all"}, exitOK, []string{"offset index", "time index", "transaction index", "producer snapshot", "leader epochs", "topic id", "TXN FIRST"}, nil},
		"records":             {[]string{"orders", "--records", "--from", "4", "--limit", "3"}, exitOK, []string{"order-2", "order-3", "commit", "base64:", "3 rows; --limit 0"}, []string{"order-0", "order-1", "order-4"}},
		"offsets":             {[]string{"__consumer_offsets", "--records"}, exitOK, []string{`{"group":"readers","topic":"orders","partition":0}`, `"offset":7`, `"metadata":"by hand"`, `{"group":"shop"}`, `"subscription":["orders"]`, `"assignment":{"orders":[0]}`}, []string{"DAMAGE"}},
		"transactions":        {[]string{"__transaction_state", "--records", "-o", "json"}, exitOK, []string{`"transactionalId": "till"`, `"state": "CompleteAbort"`, `"state": "PrepareCommit"`, `"orders": [`}, []string{"damage"}},
		"an index":            {[]string{onlyFile(t, logs, "orders-0", "*.index")}, exitOK, []string{"OFFSET", "POSITION"}, nil},
		"the checkpoint":      {[]string{filepath.Join(dir, "checkpoint"), "-o", "yaml"}, exitOK, []string{"kind: checkpoint", "recovered: 48"}, nil},
		"names":               {[]string{"orders", "-o", "name"}, exitOK, []string{"00000000000000000000.log"}, []string{"commit"}},
		"a file of no kind":   {[]string{filepath.Join(dir, "format")}, exitUsage, []string{"no kind of file that can be dumped"}, nil},
		"no topic, no path":   {[]string{"nothing"}, exitNotFound, []string{"log dump --all " + filepath.Join(dir, "wal")}, nil},
		"which says so":       {[]string{"--all", filepath.Join(dir, "wal")}, exitOK, []string{"write-ahead log"}, nil},
		"no data folder":      {[]string{"nothing", "--dir", "elsewhere"}, exitNotFound, []string{"elsewhere is no data folder; name it with --dir"}, nil},
		"no path":             {[]string{"no/where.log"}, exitNotFound, []string{"no/where.log"}, nil},
		"write-ahead log":     {[]string{onlyFile(t, dir, "wal", "*.wal")}, exitOK, []string{"write-ahead log"}, nil},
		"the metadata's log":  {[]string{filepath.Join(dir, "meta", "raft"), "--limit", "0"}, exitOK, []string{"metadata log", "INDEX", "TERM", "noop", "clusterId", `"topic":"orders"`, "producer ids"}, []string{"DAMAGE", "voteTerm"}},
		"its topics, as JSON": {[]string{filepath.Join(dir, "meta"), "--all", "-o", "json"}, exitOK, []string{`"kind": "topic"`, `"topic": "__consumer_offsets"`, `"votedFor": "node-`, `"last": `}, []string{"damage"}},
		"its last entries":    {[]string{onlyFile(t, dir, "meta", "raft", "*.wal"), "--from", "8"}, exitOK, []string{"topic"}, []string{"clusterId"}},
		"everything, limited": {[]string{dir, "--all", "--limit", "0"}, exitOK, []string{"checkpoint", "__consumer_offsets-"}, []string{"--limit 0"}},
	} {
		t.Run(name, func(t *testing.T) {
			out, talk, code := command(t, append([]string{"log", "dump", "--dir", dir}, x.args...)...)
			if code != x.code {
				t.Fatalf("exit %d, want %d: %s%s", code, x.code, out, talk)
			}
			for _, want := range x.says {
				if !strings.Contains(out+talk, want) {
					t.Errorf("it does not say %q: %s%s", want, out, talk)
				}
			}
			for _, no := range x.not {
				if strings.Contains(out+talk, no) {
					t.Errorf("it says %q: %s%s", no, out, talk)
				}
			}
		})
	}
}

// TestVerifyReadsRecordsOfInternalTopics gives it batches that are whole, with records that no coordinator wrote, and a metadata snapshot that is none.
func TestVerifyReadsRecordsOfInternalTopics(t *testing.T) {
	dir := t.TempDir()
	write := func(name string, data []byte) string {
		name = filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, data, 0o600); err != nil {
			t.Fatal(err)
		}
		return name
	}
	var b record.Builder
	b.Reset(record.NewBatchOptions())
	b.Append(1, []byte{0, 0}, []byte("no state"))
	batch, err := b.Build(nil)
	if err != nil {
		t.Fatal(err)
	}
	for name, says := range map[string]string{
		write("__consumer_offsets-3/00000000000000000000.log", batch):                                "position 0: the batch is what was written, and its records cannot be read: offset 0: damaged record of the offsets topic",
		write("__transaction_state-3/00000000000000000000.log", batch):                               "damaged record of the transaction topic",
		write("orders-3/00000000000000000000.log", batch):                                            "",
		write("snapshots/00000000000000000007-00000000000000000002.snapshot", []byte("no snapshot")): "cluster metadata is damaged",
	} {
		files, talk, code := reports(t, name)
		if r := files[name]; (code == exitCheck) != (says != "") || !strings.Contains(r.Damage, says) || (r.Next == "") != (says == "") {
			t.Errorf("%s: exit %d, %+v, %s", name, code, r, talk)
		}
		out, talk, _ := command(t, "log", "dump", "--records", name)
		if !strings.Contains(out+talk, says[max(0, strings.Index(says, "damaged record")):]) {
			t.Errorf("dump of %s: %s%s", name, out, talk)
		}
	}
}
