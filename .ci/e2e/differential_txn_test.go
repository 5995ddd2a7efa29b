package e2e

import (
	"fmt"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// diffTxn plays transactions of one producer: of either version (KIP-890), over several partitions and the offsets of a group, looked at from all sides while they are
// open and when they have ended, with what a producer sends that was fenced.
type diffTxn struct {
	*differential
	id, group string
	adds      bool // version 2: the broker adds partitions
}

func (d *differential) playTransaction() {
	r := d.script.random
	x := &diffTxn{differential: d, id: d.script.name("p%d", r.IntN(diffProducers-1)), group: d.script.groups()[r.IntN(2)], adds: r.IntN(2) == 0}
	x.init("begin", nobody)
	for range 1 + r.IntN(2) {
		x.write()
		x.look("open")
		if r.IntN(3) == 0 {
			x.fence()
			x.look("fenced")
			continue
		}
		x.end("end", x.now, r.IntN(2) == 0)
		x.look("ended")
	}
}

// now is who the producer is to a broker.
func (x *diffTxn) now(p *diffPeer) diffProducer {
	if who, ok := p.producers[x.id]; ok {
		return who
	}
	return nobody(p)
}

func nobody(*diffPeer) diffProducer { return diffProducer{-1, -1} }

func (x *diffTxn) send(what string, key kmsg.Key, version int16, build func(*diffPeer) kmsg.Request) {
	c := x.newCall(int16(key), version)
	c.producer, c.what = x.id, fmt.Sprintf(" of a transaction (%s)", what)
	x.callWith(c, build)
}

// version is the newest of a request that belongs to the version of the transaction, or one before it.
func (x *diffTxn) version(last1, last2 int16) int16 {
	if x.adds {
		return last2
	}
	return last1 - int16(x.script.random.IntN(2))
}

func (x *diffTxn) init(what string, who func(*diffPeer) diffProducer) {
	x.send(what, kmsg.InitProducerID, x.version(4, 5), func(p *diffPeer) kmsg.Request {
		req := kmsg.NewPtrInitProducerIDRequest()
		req.TransactionalID, req.TransactionTimeoutMillis = &x.id, 600_000
		req.ProducerID, req.ProducerEpoch = who(p).id, who(p).epoch
		return req
	})
}

// write appends to some partitions and commits offsets.
func (x *diffTxn) write() {
	r := x.script.random
	for range 1 + r.IntN(3) {
		topic, partition := x.script.topics()[r.IntN(2)], int32(r.IntN(3))
		if !x.adds {
			x.add("add", x.now, topic, partition)
		}
		x.produce("write", x.now, topic, partition)
	}
	if r.IntN(2) == 0 {
		if !x.adds {
			x.addOffsets("add offsets", x.now)
		}
		x.commitOffsets("commit offsets", x.now)
	}
}

func (x *diffTxn) add(what string, who func(*diffPeer) diffProducer, topic string, partition int32) {
	x.send(what, kmsg.AddPartitionsToTxn, 3, func(p *diffPeer) kmsg.Request {
		req := kmsg.NewPtrAddPartitionsToTxnRequest()
		req.TransactionalID, req.ProducerID, req.ProducerEpoch = x.id, who(p).id, who(p).epoch
		req.Topics = []kmsg.AddPartitionsToTxnRequestTopic{{Topic: topic, Partitions: []int32{partition}}}
		return req
	})
}

func (x *diffTxn) produce(what string, who func(*diffPeer) diffProducer, topic string, partition int32) {
	sequence := x.script.sequence[sequenceKey(x.id, topic, partition)]
	x.send(what, kmsg.Produce, x.version(11, 12), func(p *diffPeer) kmsg.Request {
		req := kmsg.NewPtrProduceRequest()
		req.TransactionID, req.Acks, req.TimeoutMillis = &x.id, -1, 10000
		batch := oneRecord(x.script.stamp)
		batch.ProducerID, batch.ProducerEpoch, batch.FirstSequence, batch.Attributes = who(p).id, who(p).epoch, sequence, 1<<4
		t, in := kmsg.NewProduceRequestTopic(), kmsg.NewProduceRequestTopicPartition()
		t.Topic, in.Partition, in.Records = topic, partition, sealed(batch)
		t.Partitions = append(t.Partitions, in)
		req.Topics = append(req.Topics, t)
		return req
	})
}

func (x *diffTxn) addOffsets(what string, who func(*diffPeer) diffProducer) {
	x.send(what, kmsg.AddOffsetsToTxn, x.version(3, 4), func(p *diffPeer) kmsg.Request {
		req := kmsg.NewPtrAddOffsetsToTxnRequest()
		req.TransactionalID, req.ProducerID, req.ProducerEpoch, req.Group = x.id, who(p).id, who(p).epoch, x.group
		return req
	})
}

func (x *diffTxn) commitOffsets(what string, who func(*diffPeer) diffProducer) {
	topic, at := x.script.topics()[x.script.random.IntN(2)], int64(x.script.random.IntN(9))
	x.send(what, kmsg.TxnOffsetCommit, x.version(4, 5), func(p *diffPeer) kmsg.Request {
		req := kmsg.NewPtrTxnOffsetCommitRequest()
		req.TransactionalID, req.Group, req.ProducerID, req.ProducerEpoch, req.Generation = x.id, x.group, who(p).id, who(p).epoch, -1
		t, in := kmsg.NewTxnOffsetCommitRequestTopic(), kmsg.NewTxnOffsetCommitRequestTopicPartition()
		t.Topic, in.Offset = topic, at
		t.Partitions = append(t.Partitions, in)
		req.Topics = append(req.Topics, t)
		return req
	})
}

func (x *diffTxn) end(what string, who func(*diffPeer) diffProducer, commit bool) {
	x.send(what, kmsg.EndTxn, x.version(4, 5), func(p *diffPeer) kmsg.Request {
		req := kmsg.NewPtrEndTxnRequest()
		req.TransactionalID, req.ProducerID, req.ProducerEpoch, req.Commit = x.id, who(p).id, who(p).epoch, commit
		return req
	})
}

// fence lets another producer take the id over, which ends the transaction, and then the first one speak.
func (x *diffTxn) fence() {
	first := map[*diffPeer]diffProducer{}
	for _, p := range x.peers() {
		first[p] = x.now(p)
	}
	stale := func(p *diffPeer) diffProducer { return first[p] }
	x.init("take over", nobody) // aborts what is open
	x.init("take over", nobody)
	r, topic := x.script.random, x.script.topics()[0]
	for range 3 {
		x.adds = r.IntN(2) == 0 // a client of either version
		switch r.IntN(6) {
		case 0:
			x.add("fenced: add", stale, topic, 0)
		case 1:
			x.produce("fenced: write", stale, topic, int32(r.IntN(3)))
		case 2:
			x.addOffsets("fenced: add offsets", stale)
		case 3:
			x.commitOffsets("fenced: commit offsets", stale)
		case 4:
			x.end("fenced: end", stale, r.IntN(2) == 0)
		case 5:
			x.init("fenced: take over again", stale)
		}
	}
}

// look compares what can be seen of the transaction, of the producers of a topic, and of what may be read.
func (x *diffTxn) look(when string) {
	topic := x.script.topics()[x.script.random.IntN(2)]
	x.settle(&diffCall{key: int16(kmsg.EndTxn)})
	x.send(when, kmsg.DescribeTransactions, 0, func(*diffPeer) kmsg.Request {
		req := kmsg.NewPtrDescribeTransactionsRequest()
		req.TransactionalIDs = []string{x.id}
		return req
	})
	x.listTransactions(when)
	x.send(when, kmsg.DescribeProducers, 0, func(*diffPeer) kmsg.Request {
		req := kmsg.NewPtrDescribeProducersRequest()
		req.Topics = []kmsg.DescribeProducersRequestTopic{{Topic: topic, Partitions: []int32{0, 1, 2}}}
		return req
	})
	for _, isolation := range []int8{0, 1} {
		x.send(when, kmsg.ListOffsets, 9, func(*diffPeer) kmsg.Request { return listAll(topic, isolation, -1) })
	}
	for _, stable := range []bool{false, true} {
		x.send(when, kmsg.OffsetFetch, 9, func(*diffPeer) kmsg.Request {
			req := kmsg.NewPtrOffsetFetchRequest()
			g := kmsg.NewOffsetFetchRequestGroup()
			g.Group, g.MemberEpoch, req.RequireStable = x.group, -1, stable
			for _, name := range x.script.topics()[:2] {
				g.Topics = append(g.Topics, kmsg.OffsetFetchRequestGroupTopic{Topic: name, Partitions: []int32{0}})
			}
			req.Groups = append(req.Groups, g)
			return req
		})
	}
}

// listTransactions lists by each of the filters, and all that there are.
func (x *diffTxn) listTransactions(when string) {
	for _, filter := range []func(p *diffPeer, r *kmsg.ListTransactionsRequest){
		func(*diffPeer, *kmsg.ListTransactionsRequest) {},
		func(_ *diffPeer, r *kmsg.ListTransactionsRequest) {
			r.StateFilters = []string{"Ongoing", "CompleteAbort"}
		},
		func(p *diffPeer, r *kmsg.ListTransactionsRequest) { r.ProducerIDFilters = []int64{x.now(p).id} },
		func(_ *diffPeer, r *kmsg.ListTransactionsRequest) { r.TransactionalIDPattern = &x.id },
		func(_ *diffPeer, r *kmsg.ListTransactionsRequest) { r.DurationFilterMillis = 3_600_000 },
	} {
		x.send(when, kmsg.ListTransactions, 2, func(p *diffPeer) kmsg.Request {
			req := kmsg.NewPtrListTransactionsRequest()
			filter(p, req)
			return req
		})
	}
}
