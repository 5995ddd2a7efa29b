package broker_test

import (
	"fmt"
	"path"
	"slices"
	"testing"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/milldam/milldam/core/vfs"
)

// TestNoAbortedRecordIsReadWhateverBecameOfATransactionIndex damages the transaction indexes of a killed broker, which are what a fetch answers from.
func TestNoAbortedRecordIsReadWhateverBecameOfATransactionIndex(t *testing.T) {
	fs := vfs.NewMem()
	r := start(t, fs)
	segment := "1048576"
	_, err := kadm.NewClient(r.client(t)).CreateTopic(within(t), 1, 1, map[string]*string{"segment.bytes": &segment}, "t")
	must(t, err)
	var committed []string
	transactions := func(from, to int) {
		cl := r.client(t, kgo.TransactionalID("txn"), kgo.DefaultProduceTopic("t"), kgo.ProducerBatchCompression(kgo.NoCompression()))
		for i := from; i < to; i++ {
			must(t, cl.BeginTransaction())
			value := fmt.Sprintf("%02d %0100000d", i, i)
			must(t, cl.ProduceSync(within(t), kgo.StringRecord(value)).FirstErr())
			if i%3 == 0 {
				committed = append(committed, value)
			}
			must(t, cl.EndTransaction(within(t), kgo.TransactionEndTry(i%3 == 0)))
		}
		cl.Close()
	}
	transactions(0, 40) // over three segments, whose files are whole
	r.close()
	r = start(t, fs)
	transactions(40, 50)
	killed := fs.CrashClone(nil)
	r.close()

	for name, change := range map[string]func(vfs.FS, string) error{
		"removed": func(fs vfs.FS, name string) error { return fs.Remove(name) },
		"flipped": func(fs vfs.FS, name string) error {
			data, err := vfs.ReadFile(fs, name)
			for i := 9; err == nil && i < len(data); i += 34 { // the last bit of each producer id
				data[i] ^= 1
			}
			if err != nil {
				return err
			}
			return vfs.WriteFileAtomic(fs, name, data)
		},
	} {
		t.Run(name, func(t *testing.T) {
			fs := killed.CrashClone(nil)
			names, err := fs.List("data/logs/t-0")
			must(t, err)
			changed := 0
			for _, file := range names {
				if path.Ext(file) == ".txnindex" {
					must(t, change(fs, path.Join("data/logs/t-0", file)))
					changed++
				}
			}
			if changed < 3 {
				t.Fatalf("%d transaction indexes in %v", changed, names)
			}
			r := start(t, fs)
			if got := r.values(t, "t", len(committed), kgo.ReadCommitted()); !slices.Equal(got, committed) {
				t.Errorf("%d records are read, %d were committed", len(got), len(committed))
			}
		})
	}
}
