package replica

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/milldam/milldam/core/meta"
	"github.com/milldam/milldam/core/record"
	"github.com/milldam/milldam/core/storage"
	"github.com/milldam/milldam/core/vfs"
)

// node is a manager with its metadata, on a file system in memory.
type node struct {
	t    testing.TB
	meta *meta.Controller
	*Manager
}

func newNode(t testing.TB, fs vfs.FS) *node {
	t.Helper()
	c, err := meta.Open(t.Context(), meta.Options{FS: fs, Dir: "meta", NodeID: 1})
	must(t, err)
	t.Cleanup(func() { must(t, c.Close()) })
	must(t, c.RegisterBroker(t.Context(), meta.Broker{ID: 1}))
	m, _, err := Open(t.Context(), Options{NodeID: 1, Controller: c, Storage: storage.Options{FS: fs, Dir: "data", WALFileBytes: 64 << 10}})
	must(t, err)
	t.Cleanup(func() { must(t, m.Close()) })
	return &node{t, c, m}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// topic makes a topic of one partition.
func (n *node) topic(name string) *Partition {
	n.t.Helper()
	_, err := n.meta.CreateTopic(n.t.Context(), meta.NewTopic{Name: name, Partitions: 1, Replicas: 1}, false)
	must(n.t, err)
	p, err := n.Partition(name, 0)
	must(n.t, err)
	return p
}

// batch makes a batch of count records; of a producer when id is not record.NoProducer.
func batch(t testing.TB, id record.ProducerID, epoch record.ProducerEpoch, sequence record.Sequence, count int) record.Batch {
	t.Helper()
	o := record.NewBatchOptions()
	if id != record.NoProducer {
		o.ProducerID, o.ProducerEpoch, o.BaseSequence = id, epoch, sequence
	}
	var b record.Builder
	b.Reset(o)
	for i := range count {
		b.Append(time.Now().UnixMilli(), nil, fmt.Appendf(nil, "value %d", i))
	}
	out, err := b.Build(nil)
	must(t, err)
	return out
}

// appendAll appends and waits until it is committed, as a produce request with acks=all does.
func appendAll(p *Partition, b record.Batch) (storage.Appended, error) {
	done := make(chan error, 1)
	pending := storage.NewPending(func(err error) { done <- err })
	a, err := p.Append(b, storage.FromClient, nil, pending)
	pending.Arm()
	return a, errors.Join(err, <-done)
}

func TestIdempotentProducer(t *testing.T) {
	p := newNode(t, vfs.NewMem()).topic("t")
	// Seven batches of two records are there, of producer 9 in epoch 3; the last five are remembered.
	for i := range 7 {
		a, err := appendAll(p, batch(t, 9, 3, record.Sequence(2*i), 2))
		must(t, err)
		if int(a.BaseOffset) != 2*i || a.Duplicate {
			t.Fatalf("batch %d: %+v", i, a)
		}
	}
	for _, tc := range []struct {
		name     string
		epoch    record.ProducerEpoch
		sequence record.Sequence
		count    int
		offset   record.Offset // of a duplicate
		err      error
	}{
		{name: "the last", epoch: 3, sequence: 12, count: 2, offset: 12},
		{name: "the fifth last", epoch: 3, sequence: 4, count: 2, offset: 4},
		{name: "the sixth last", epoch: 3, sequence: 2, count: 2, err: storage.ErrOutOfOrderSequence},
		{name: "a part of the last", epoch: 3, sequence: 12, count: 1, err: storage.ErrOutOfOrderSequence},
		{name: "one too far", epoch: 3, sequence: 15, count: 1, err: storage.ErrOutOfOrderSequence},
		{name: "one missing of two", epoch: 3, sequence: 13, count: 2, err: storage.ErrOutOfOrderSequence},
		{name: "an older epoch", epoch: 2, sequence: 14, count: 1, err: storage.ErrProducerFenced},
		{name: "an older epoch's start", epoch: 2, sequence: 0, count: 1, err: storage.ErrProducerFenced},
		{name: "a newer epoch, not from 0", epoch: 4, sequence: 14, count: 1, err: storage.ErrOutOfOrderSequence},
	} {
		t.Run(tc.name, func(t *testing.T) {
			a, err := appendAll(p, batch(t, 9, tc.epoch, tc.sequence, tc.count))
			if !errors.Is(err, tc.err) {
				t.Fatalf("%v, want %v", err, tc.err)
			}
			if tc.err == nil && (!a.Duplicate || a.BaseOffset != tc.offset || a.LastOffset != tc.offset+1) {
				t.Errorf("%+v, want offset %d", a, tc.offset)
			}
			if end := p.HighWatermark(); end != 14 {
				t.Fatalf("the log ends at %d", end)
			}
		})
	}
	t.Run("a newer epoch", func(t *testing.T) {
		a, err := appendAll(p, batch(t, 9, 4, 0, 2))
		if err != nil || a.Duplicate || a.BaseOffset != 14 {
			t.Fatalf("%+v, %v", a, err)
		}
		if a, err = appendAll(p, batch(t, 9, 4, 0, 2)); err != nil || !a.Duplicate || a.BaseOffset != 14 {
			t.Errorf("again: %+v, %v", a, err)
		}
		if _, err := appendAll(p, batch(t, 9, 3, 14, 2)); !errors.Is(err, storage.ErrProducerFenced) {
			t.Errorf("the old epoch goes on: %v", err)
		}
	})
	t.Run("another producer", func(t *testing.T) {
		if a, err := appendAll(p, batch(t, 10, 0, 0, 2)); err != nil || a.Duplicate || a.BaseOffset != 16 {
			t.Errorf("%+v, %v", a, err)
		}
	})
}

// quiet is a partition of a log of its own, within a bubble: a manager's metadata would keep the time from passing in large steps.
func quiet(t *testing.T, fs vfs.FS, count int) []*Partition {
	t.Helper()
	byLog := map[*storage.Log]*Partition{}
	id := record.TopicID{1}
	config := storage.DefaultLogConfig()
	s, _, err := storage.Open(t.Context(), storage.Options{FS: fs, Dir: "data", WALFileBytes: 64 << 10,
		Topic: func(record.TopicID) (string, storage.LogConfig, bool) { return "t", config, true },
		OnAdvance: func(logs []*storage.Log) {
			for _, l := range logs {
				byLog[l].wake()
			}
		}})
	must(t, err)
	t.Cleanup(func() { must(t, s.Close()) })
	var parts []*Partition
	for i := range count {
		l, err := s.Create(id, "t", int32(i), config)
		must(t, err)
		p := &Partition{Log: l, Index: int32(i)}
		byLog[l] = p
		parts = append(parts, p)
	}
	return parts
}

func TestAcksWaitForTheSync(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fs := vfs.Fault(vfs.NewMem())
		p := quiet(t, fs, 1)[0]
		fs.Add(&vfs.Rule{Ops: []vfs.Op{vfs.OpSync}, Path: ".wal", Delay: time.Second})
		var resolved, again atomic.Bool
		var seen record.Offset
		pending := storage.NewPending(func(err error) {
			if err != nil {
				t.Error(err)
			}
			seen = p.HighWatermark()
			resolved.Store(true)
		})
		_, err := p.Append(batch(t, 9, 0, 0, 3), storage.FromClient, nil, pending)
		must(t, err)
		pending.Arm()
		// The client lost its connection and sends it again: the duplicate is no sooner committed than the original.
		duplicate := storage.NewPending(func(error) { again.Store(true) })
		a, err := p.Append(batch(t, 9, 0, 0, 3), storage.FromClient, nil, duplicate)
		must(t, err)
		duplicate.Arm()
		if !a.Duplicate || a.BaseOffset != 0 {
			t.Errorf("the duplicate: %+v", a)
		}
		<-time.After(time.Second / 2)
		synctest.Wait()
		if resolved.Load() || again.Load() || p.HighWatermark() != 0 {
			t.Error("acknowledged before the sync ended")
		}
		<-time.After(10 * time.Second)
		synctest.Wait()
		if !resolved.Load() || !again.Load() || seen != 3 {
			t.Errorf("after the sync: %v, %v, high watermark %d", resolved.Load(), again.Load(), seen)
		}
	})
}

func TestFetchWaits(t *testing.T) {
	const wait = 500 * time.Millisecond
	for _, tc := range []struct {
		name     string
		appendAt time.Duration // to the second partition; 0 is never
		done     bool          // the request has enough then
		woken    int
		ends     time.Duration
		expire   bool
	}{
		{name: "nothing comes", ends: wait, expire: true},
		{name: "enough comes", appendAt: 100 * time.Millisecond, done: true, woken: 1, ends: 100 * time.Millisecond},
		{name: "too little comes", appendAt: 100 * time.Millisecond, woken: 1, ends: wait, expire: true},
		{name: "it comes too late", appendAt: wait + time.Second, ends: wait, expire: true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				parts := quiet(t, vfs.NewMem(), 2)
				var wheel Wheel
				began := time.Now()
				type call struct {
					expired bool
					at      time.Duration
				}
				calls := make(chan call, 10)
				w := wheel.Wait(parts, wait, func(expired bool) { calls <- call{expired, time.Since(began)} })
				if tc.appendAt > 0 {
					time.AfterFunc(tc.appendAt, func() {
						if _, err := appendAll(parts[1], batch(t, record.NoProducer, 0, 0, 1)); err != nil {
							t.Error(err)
						}
						if tc.done && !w.Done() {
							t.Error("it had ended already")
						}
					})
				}
				<-time.After(5 * time.Second)
				synctest.Wait()
				close(calls)
				woken, expired := 0, 0
				var last time.Duration
				for c := range calls {
					if last = c.at; c.expired {
						expired++
					} else {
						woken++
					}
				}
				if woken != tc.woken || expired > 0 != tc.expire || expired > 1 || last < tc.ends || last > tc.ends+2*wheelTick {
					t.Errorf("woken %d times, expired %d times, last after %s", woken, expired, last)
				}
				if w.Done() {
					t.Error("it has not ended")
				}
				for _, p := range parts {
					if len(p.mu.waiters) > 0 {
						t.Error("a partition still has the waiter")
					}
				}
			})
		})
	}
}

func TestRemovedTopicWakesWhoWaits(t *testing.T) {
	n := newNode(t, vfs.NewMem())
	gone, stays := n.topic("gone"), n.topic("stays")
	woken := make(chan error, 10)
	wait := func(p *Partition) *Waiter {
		return n.Wheel.Wait([]*Partition{p}, time.Hour, func(bool) {
			_, err := n.Partition(p.Log.Topic(), 0)
			woken <- err
		})
	}
	w, other := wait(gone), wait(stays)
	defer other.Done()
	must(t, n.meta.DeleteTopic(t.Context(), gone.Topic.ID))
	if err := <-woken; !errors.Is(err, ErrUnknownPartition) {
		t.Errorf("it is woken and finds %v", err)
	}
	if !w.Done() || len(woken) > 0 {
		t.Error("it ended by itself, or the other was woken")
	}
	must(t, n.RemoveTopic(t.Context(), gone.Topic.ID))
	if _, err := appendAll(gone, batch(t, record.NoProducer, 0, 0, 1)); !errors.Is(err, storage.ErrRemoved) {
		t.Errorf("append to it: %v", err)
	}
}

func TestWheelEndsEveryWaitOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rng := rand.New(rand.NewPCG(1, 1))
		var wheel Wheel
		type wait struct {
			timer   *Timer
			due     time.Time
			ended   time.Time
			calls   int
			stopped bool
		}
		var waits []*wait
		for range 2000 {
			// Short ones, long ones of several turns, and ones on the turn's very length.
			d := []time.Duration{time.Duration(rng.Int64N(int64(50 * time.Millisecond))), time.Duration(rng.Int64N(int64(20 * time.Second))),
				wheelSlots * wheelTick * time.Duration(rng.IntN(3)), -time.Second}[rng.IntN(4)]
			w := &wait{due: time.Now().Add(max(d, 0))}
			w.timer = wheel.After(d, func() { w.calls, w.ended = w.calls+1, time.Now() })
			waits = append(waits, w)
			if x := waits[rng.IntN(len(waits))]; rng.IntN(4) == 0 && wheel.Stop(x.timer) {
				x.stopped = true
			}
			<-time.After(time.Duration(rng.Int64N(int64(20 * time.Millisecond))))
		}
		<-time.After(time.Minute)
		synctest.Wait()
		for i, w := range waits {
			switch late := w.ended.Sub(w.due); {
			case w.stopped && w.calls > 0:
				t.Errorf("wait %d was stopped and ended", i)
			case w.stopped:
			case w.calls != 1 || late < 0 || late > 2*wheelTick:
				t.Errorf("wait %d ended %d times, %s late", i, w.calls, late)
			}
			if wheel.Stop(w.timer) {
				t.Errorf("wait %d has not ended", i)
			}
		}
		if wheel.mu.timer != nil || wheel.mu.waiting != 0 {
			t.Error("the wheel turns while nobody waits")
		}
	})
}

func TestLeaderEpochIsChecked(t *testing.T) {
	p := newNode(t, vfs.NewMem()).topic("t")
	p.epoch.Store(5)
	for epoch, want := range map[record.LeaderEpoch]error{NoEpoch: nil, 5: nil, 4: ErrFencedEpoch, 6: ErrUnknownEpoch} {
		if err := p.CheckEpoch(epoch); !errors.Is(err, want) || err != nil && !strings.Contains(err.Error(), "t-0") {
			t.Errorf("epoch %d: %v, want %v", epoch, err, want)
		}
	}
}

func TestManagerFollowsTheMetadata(t *testing.T) {
	fs := vfs.NewMem()
	n := newNode(t, fs)
	p := n.topic("t")
	if _, err := n.Partition("t", 1); !errors.Is(err, ErrUnknownPartition) {
		t.Errorf("a second partition: %v", err)
	}
	if _, err := n.Partition("t", -1); !errors.Is(err, ErrUnknownPartition) {
		t.Errorf("partition -1: %v", err)
	}
	if _, err := n.PartitionByID(record.TopicID{1}, 0); !errors.Is(err, ErrUnknownTopicID) {
		t.Errorf("an unknown id: %v", err)
	}
	must(t, n.meta.CreatePartitions(t.Context(), "t", 3, nil, false))
	if q, err := n.PartitionByID(p.Topic.ID, 2); err != nil || q.Log.String() != "t-2" {
		t.Errorf("the third partition: %v", err)
	}
	if again, err := n.Partition("t", 0); err != nil || again != p {
		t.Errorf("the first is another: %v", err)
	}
	must(t, n.meta.AlterTopicConfig(t.Context(), "t", []meta.ConfigOp{{Key: "max.message.bytes", Value: "100"}}, false))
	if _, err := appendAll(p, batch(t, record.NoProducer, 0, 0, 20)); !errors.Is(err, storage.ErrTooLarge) {
		t.Errorf("a batch above max.message.bytes: %v", err)
	}
	must(t, n.meta.AlterBrokerConfig(t.Context(), meta.AllBrokers, []meta.ConfigOp{{Key: "log.message.timestamp.type", Value: "LogAppendTime"}}, false))
	if a, err := appendAll(p, batch(t, record.NoProducer, 0, 0, 1)); err != nil || a.LogAppendTime < 0 {
		t.Errorf("with the brokers' timestamp type: %+v, %v", a, err)
	}
	must(t, n.meta.AlterBrokerConfig(t.Context(), 1, []meta.ConfigOp{{Key: "log.message.timestamp.type", Value: "CreateTime"}}, false))
	if a, err := appendAll(p, batch(t, record.NoProducer, 0, 0, 1)); err != nil || a.LogAppendTime >= 0 {
		t.Errorf("with this broker's own timestamp type: %+v, %v", a, err)
	}
	must(t, n.meta.DeleteTopic(t.Context(), p.Topic.ID))
	if _, err := n.PartitionByID(p.Topic.ID, 0); !errors.Is(err, ErrUnknownTopicID) {
		t.Errorf("after it was deleted: %v", err)
	}
	if anew := n.topic("t"); anew.Topic.ID == p.Topic.ID || anew.HighWatermark() != 0 {
		t.Errorf("the topic made anew: %+v", anew)
	}
}
