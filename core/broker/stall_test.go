package broker_test

import (
	"fmt"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/milldam/milldam/core/meta"
	"github.com/milldam/milldam/core/vfs"
)

// onADisk runs fn, in virtual time, with a broker whose disk can be given faults, and with the topics "t" and "other", of which the second has a record.
func onADisk(t *testing.T, fn func(t *testing.T, r *running, disk *vfs.Faulty)) {
	synctest.Test(t, func(t *testing.T) {
		disk := vfs.Fault(vfs.NewMem())
		r := startInMemory(t, disk, map[string]string{"connections.max.idle.ms": "600000"})
		for _, name := range []string{"t", "other"} {
			_, err := r.controller.CreateTopic(t.Context(), meta.NewTopic{Name: name, Partitions: 1, Replicas: 1}, false)
			must(t, err)
		}
		c := r.caller(t)
		req := produceOf(t, -1, 10)
		req.Topics[0].Topic = "other"
		c.send(req)
		if got := c.produced(); got != "0 at 0" {
			t.Fatalf("the first record: %s", got)
		}
		synctest.Wait() // a second file of the write-ahead log is made
		fn(t, r, disk)
		r.close()
	})
}

// produced waits for the answer to a request of produceOf.
func (c *caller) produced() string {
	c.t.Helper()
	resp := kmsg.NewPtrProduceResponse()
	resp.SetVersion(9)
	c.receive(resp)
	p := resp.Topics[0].Partitions[0]
	return fmt.Sprintf("%d at %d", p.ErrorCode, p.BaseOffset)
}

// fetched asks for the first record of a topic, and returns error code and number of bytes.
func (c *caller) fetched(topic string) (code int16, bytes int) {
	c.t.Helper()
	req := kmsg.NewPtrFetchRequest()
	req.SetVersion(11)
	req.SessionEpoch, req.MinBytes, req.MaxBytes = -1, 1, 1<<20
	t, p := kmsg.NewFetchRequestTopic(), kmsg.NewFetchRequestTopicPartition()
	t.Topic, p.PartitionMaxBytes = topic, 1<<20
	t.Partitions = append(t.Partitions, p)
	req.Topics = append(req.Topics, t)
	c.send(req)
	resp := kmsg.NewPtrFetchResponse()
	resp.SetVersion(11)
	c.receive(resp)
	got := resp.Topics[0].Partitions[0]
	return got.ErrorCode, len(got.RecordBatches)
}

// TestAStalledDiskHoldsUpAcknowledgementsOnly: a producer waits, whatever its timeout, since what it sent is neither there nor refused; one that gave up and sends the same again
// waits for the same batch. Fetches are answered meanwhile, and everything goes on by itself.
func TestAStalledDiskHoldsUpAcknowledgementsOnly(t *testing.T) {
	onADisk(t, func(t *testing.T, r *running, disk *vfs.Faulty) {
		disk.Add(&vfs.Rule{Ops: []vfs.Op{vfs.OpSync}, Path: ".wal", N: 1, Delay: 90 * time.Second})
		req := produceOf(t, -1, 10)
		began := time.Now()
		first := r.caller(t)
		first.send(req)
		time.Sleep(8 * time.Second) // the request's timeout is 5 s
		must(t, first.conn.Close())
		again, other := r.caller(t), r.caller(t)
		second := produceOf(t, -1, 10)
		second.Topics[0].Topic = "other"
		again.send(second)
		synctest.Wait()
		if code, n := other.fetched("other"); code != 0 || n == 0 || time.Since(began) != 8*time.Second {
			t.Errorf("a fetch while the disk stalls: code %d, %d bytes, after %v", code, n, time.Since(began))
		}
		if code, n := other.fetched("t"); code != 0 || n != 0 {
			t.Errorf("what is not acknowledged is fetched: code %d, %d bytes", code, n)
		}
		if got := again.produced(); got != "0 at 1" || time.Since(began) != 90*time.Second {
			t.Errorf("another partition's record: %s after %v", got, time.Since(began))
		}
		if code, n := other.fetched("t"); code != 0 || n == 0 {
			t.Errorf("the record of who gave up: code %d, %d bytes", code, n)
		}
		again.send(produceOf(t, -1, 10))
		if got := again.produced(); got != "0 at 1" || time.Since(began) != 90*time.Second {
			t.Errorf("behind the stall: %s after %v", got, time.Since(began))
		}
	})
}

// TestAfterAFailedSyncNothingIsAcknowledged: not what it was for, nor anything behind it though later syncs would succeed. Fetches are refused too, with an error that clients try
// again for: what is in memory may be more than what is on the disk.
func TestAfterAFailedSyncNothingIsAcknowledged(t *testing.T) {
	for _, op := range []vfs.Op{vfs.OpSync, vfs.OpWrite} {
		onADisk(t, func(t *testing.T, r *running, disk *vfs.Faulty) {
			disk.Add(&vfs.Rule{Ops: []vfs.Op{op}, Path: ".wal", N: 1, Err: syscall.EIO, Lost: true})
			c := r.caller(t)
			for range 3 {
				c.send(produceOf(t, -1, 10))
				if got, want := c.produced(), fmt.Sprintf("%d at -1", kerr.KafkaStorageError.Code); got != want {
					t.Errorf("produce: %s, want %s", got, want)
				}
			}
			if code, n := c.fetched("other"); code != kerr.KafkaStorageError.Code || n != 0 {
				t.Errorf("fetch: code %d, %d bytes", code, n)
			}
		})
	}
}
