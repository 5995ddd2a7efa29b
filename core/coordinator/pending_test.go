package coordinator

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/milldam/milldam/core/record"
	"github.com/milldam/milldam/core/wire"
)

// txnCommit commits an offset of t-0 in the transaction of a producer.
func (b *bench) txnCommit(c *subscriber, producer int64, at int64) wire.Code {
	b.t.Helper()
	r := kmsg.NewPtrTxnOffsetCommitRequest()
	r.TransactionalID, r.Group, r.ProducerID, r.ProducerEpoch = "txn", theGroup, producer, 0
	r.MemberID, r.InstanceID, r.Generation = c.id, c.instance, c.generation
	topic := kmsg.NewTxnOffsetCommitRequestTopic()
	topic.Topic = "t"
	p := kmsg.NewTxnOffsetCommitRequestTopicPartition()
	p.Offset, p.LeaderEpoch, p.Metadata = at, 3, kmsg.StringPtr(fmt.Sprintf("at %d", at))
	topic.Partitions = append(topic.Partitions, p)
	r.Topics = append(r.Topics, topic)
	var a answer[kmsg.TxnOffsetCommitResponse]
	b.CommitTxnOffsets(r, a.take)
	pass(time.Second)
	if a.count() != 1 {
		b.t.Fatalf("a commit was answered %d times", a.count())
	}
	return wire.Code(a.get().Topics[0].Partitions[0].ErrorCode)
}

// endTxn writes the marker of a producer.
func (b *bench) endTxn(producer int64, commit bool) {
	b.t.Helper()
	ended := make(chan error, 1)
	b.WriteMarker(0, record.Marker{ProducerID: record.ProducerID(producer), Commit: commit}, 2, func(err error) { ended <- err })
	if err := <-ended; err != nil {
		b.t.Fatal(err)
	}
}

// fetched is the offset of t-0, or the error of it, for who wants it stable or does not.
func (b *bench) fetched(stable bool) (int64, wire.Code) {
	b.t.Helper()
	r := kmsg.NewPtrOffsetFetchRequest()
	r.Version, r.RequireStable = groupsVersion, stable
	group := kmsg.NewOffsetFetchRequestGroup()
	group.Group = theGroup
	topic := kmsg.NewOffsetFetchRequestGroupTopic()
	topic.Topic, topic.Partitions = "t", []int32{0}
	group.Topics = append(group.Topics, topic)
	r.Groups = append(r.Groups, group)
	var a answer[kmsg.OffsetFetchResponse]
	b.FetchOffsets(r, a.take)
	row := a.get().Groups[0].Topics[0].Partitions[0]
	return row.Offset, wire.Code(row.ErrorCode)
}

// expect checks the offset of t-0, here and after a restart.
func (b *bench) expect(stable bool, at int64, code wire.Code) {
	b.t.Helper()
	for i, x := range []*bench{b, b.restarted()} {
		if got, gotCode := x.fetched(stable); got != at || gotCode != code {
			b.t.Errorf("coordinator %d: offset %d and code %d, want %d and %d", i, got, gotCode, at, code)
		}
	}
}

var noMember = &subscriber{generation: -1}

func TestOffsetsOfATransactionHoldOnceItIsCommitted(t *testing.T) {
	bubble(t, func(t *testing.T, b *bench) {
		if code := b.commit(noMember, 1); code != wire.None {
			t.Fatal(code)
		}
		if code := b.txnCommit(noMember, 7, 5); code != wire.None {
			t.Fatal(code)
		}
		b.expect(false, 1, wire.None)
		b.expect(true, -1, wire.UnstableOffsetCommit)
		b.endTxn(7, true)
		b.expect(true, 5, wire.None)
	})
}

func TestOffsetsOfAnAbortedTransactionAreDropped(t *testing.T) {
	bubble(t, func(t *testing.T, b *bench) {
		for _, at := range []int64{5, 6} {
			if code := b.txnCommit(noMember, 7, at); code != wire.None {
				t.Fatal(code)
			}
		}
		b.expect(false, -1, wire.None)
		b.endTxn(7, false)
		b.expect(true, -1, wire.None)
		if g := b.described(); g.State != string(empty) {
			t.Errorf("a group of which nothing was ever committed is %s", g.State)
		}
		b.Expire(time.Now())
		if g := b.described(); g.State != string(dead) {
			t.Errorf("after the look for old offsets it is %s", g.State)
		}
	})
}

func TestMarkerEndsTheTransactionOfItsProducerAlone(t *testing.T) {
	bubble(t, func(t *testing.T, b *bench) {
		for producer, at := range []int64{10, 20} {
			if code := b.txnCommit(noMember, int64(producer), at); code != wire.None {
				t.Fatal(code)
			}
		}
		b.endTxn(0, true)
		b.expect(false, 10, wire.None)
		b.expect(true, -1, wire.UnstableOffsetCommit)
		b.endTxn(1, true)
		b.expect(true, 20, wire.None)
		b.endTxn(1, false) // nothing is pending any more
		b.expect(true, 20, wire.None)
	})
}

func TestLaterCommitBesideATransactionHolds(t *testing.T) {
	bubble(t, func(t *testing.T, b *bench) {
		if code := b.txnCommit(noMember, 7, 5); code != wire.None {
			t.Fatal(code)
		}
		if code := b.commit(noMember, 9); code != wire.None {
			t.Fatal(code)
		}
		b.endTxn(7, true)
		b.expect(true, 9, wire.None)
	})
}

func TestDeletedOffsetDoesNotComeBackWithATransaction(t *testing.T) {
	bubble(t, func(t *testing.T, b *bench) {
		if code := b.txnCommit(noMember, 7, 5); code != wire.None {
			t.Fatal(code)
		}
		if code := b.deleted(); code != wire.None {
			t.Fatal(code)
		}
		b.endTxn(7, true)
		b.expect(true, -1, wire.None)
	})
}

func TestPendingOffsetsAreNotExpired(t *testing.T) {
	bubble(t, func(t *testing.T, b *bench) {
		if code := b.commit(noMember, 1); code != wire.None {
			t.Fatal(code)
		}
		if code := b.txnCommit(noMember, 7, 5); code != wire.None {
			t.Fatal(code)
		}
		pass(b.opts.OffsetsRetention + time.Hour)
		b.Expire(time.Now())
		pass(time.Second)
		b.expect(false, 1, wire.None)
		b.endTxn(7, true)
		b.Expire(time.Now())
		pass(time.Second)
		b.expect(true, -1, wire.None)
	})
}

func TestWhoCommitsInATransaction(t *testing.T) {
	bubble(t, func(t *testing.T, b *bench) {
		if code := b.txnCommit(&subscriber{id: "m", generation: 1}, 7, 5); code != wire.IllegalGeneration {
			t.Errorf("a member of a group that is not there: %d", code)
		}
		m := &subscriber{}
		b.stable(m)
		for name, tc := range map[string]struct {
			who  *subscriber
			want wire.Code
		}{
			"the member":             {m, wire.None},
			"who knows no members":   {noMember, wire.None},
			"unknown member":         {&subscriber{id: "nobody", generation: m.generation}, wire.UnknownMemberID},
			"an older generation":    {&subscriber{id: m.id, generation: m.generation - 1}, wire.IllegalGeneration},
			"the member without one": {&subscriber{id: m.id, generation: -1}, wire.IllegalGeneration},
			"unknown instance":       {&subscriber{id: m.id, generation: m.generation, instance: kmsg.StringPtr("i")}, wire.UnknownMemberID},
		} {
			if got := b.txnCommit(tc.who, 7, 5); got != tc.want {
				t.Errorf("%s: %d, want %d", name, got, tc.want)
			}
		}
		again := b.join(&subscriber{id: m.id, protocols: []string{"range", "other"}})
		b.joined(m, again)
		if code := b.txnCommit(m, 7, 6); code != wire.None { // unlike a plain commit
			t.Errorf("before there is an assignment: %d", code)
		}
	})
}

func TestTransactionThatIsNotUnderWayCommitsNothing(t *testing.T) {
	bubble(t, func(t *testing.T, b *bench) {
		b.refused = wire.InvalidTxnState
		if code := b.txnCommit(noMember, 7, 5); code != wire.InvalidTxnState {
			t.Errorf("%d", code)
		}
		b.endTxn(7, true)
		b.expect(true, -1, wire.None)
	})
}

func TestTooLargeMetadataIsRefusedAlone(t *testing.T) {
	bubble(t, func(t *testing.T, b *bench) {
		r := kmsg.NewPtrTxnOffsetCommitRequest()
		r.TransactionalID, r.Group, r.ProducerID, r.Generation = "txn", theGroup, 7, -1
		topic := kmsg.NewTxnOffsetCommitRequestTopic()
		topic.Topic = "t"
		for i, length := range []int{b.opts.MaxMetadataBytes, b.opts.MaxMetadataBytes + 1} {
			p := kmsg.NewTxnOffsetCommitRequestTopicPartition()
			p.Partition, p.Offset, p.Metadata = int32(i), 1, kmsg.StringPtr(string(make([]byte, length)))
			topic.Partitions = append(topic.Partitions, p)
		}
		r.Topics = append(r.Topics, topic)
		var a answer[kmsg.TxnOffsetCommitResponse]
		b.CommitTxnOffsets(r, a.take)
		pass(time.Second)
		got := a.get().Topics[0].Partitions
		if wire.Code(got[0].ErrorCode) != wire.None || wire.Code(got[1].ErrorCode) != wire.OffsetMetadataTooLarge {
			t.Errorf("%+v", got)
		}
		b.endTxn(7, true)
		b.expect(true, 1, wire.None)
	})
}

// TestRandomTransactionsOverOffsets has transactions and plain commits change the same offset, and compares with a model after each step; now and then the
// coordinator is started anew.
func TestRandomTransactionsOverOffsets(t *testing.T) {
	type commit struct{ at, number int64 } // number: of the commit, in the order of the log
	for seed := range uint64(20) {
		t.Run(fmt.Sprintf("seed %d", seed), func(t *testing.T) {
			bubble(t, func(t *testing.T, b *bench) {
				rng := rand.New(rand.NewPCG(seed, 3))
				pending := map[int64]commit{}
				holds := commit{at: -1}
				for number := range int64(120) {
					producer := rng.Int64N(4)
					switch dice := rng.IntN(100); {
					case dice < 45:
						if code := b.txnCommit(noMember, producer, number); code != wire.None {
							t.Fatal(code)
						}
						pending[producer] = commit{number, number}
					case dice < 70:
						committed := rng.IntN(2) == 0
						b.endTxn(producer, committed)
						if p, ok := pending[producer]; ok && committed && (holds.at < 0 || p.number > holds.number) {
							holds = p
						}
						delete(pending, producer)
					case dice < 92:
						if code := b.commit(noMember, number); code != wire.None {
							t.Fatal(code)
						}
						holds = commit{number, number}
					case dice < 97:
						b.deleted()
						pending, holds = map[int64]commit{}, commit{at: -1}
					default:
						b = b.restarted()
					}
					at, _ := b.fetched(false)
					if _, code := b.fetched(true); at != holds.at || (code == wire.UnstableOffsetCommit) != (len(pending) > 0) {
						t.Fatalf("step %d: offset %d, code %d; want %d, and %d transactions are under way", number, at, code, holds.at, len(pending))
					}
				}
				b.expect(false, holds.at, wire.None)
			})
		})
	}
}
