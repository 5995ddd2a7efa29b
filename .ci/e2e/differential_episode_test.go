package e2e

import (
	endian "encoding/binary"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/milldam/milldam/core/wire"
)

// ask makes a call whose request is written out: newest version unless it says another.
func (d *differential) ask(conn, group, member string, build func(*diffPeer) kmsg.Request) {
	req := build(d.kafka)
	for _, k := range d.ranges {
		if k.ApiKey == req.Key() {
			c := d.newCall(req.Key(), min(k.MaxVersion, req.MaxVersion()))
			c.conn, c.group, c.member = conn, group, member
			d.callWith(c, build)
			return
		}
	}
}

func (d *differential) createTopic(name string) {
	d.ask("main", "", "", func(*diffPeer) kmsg.Request {
		req := kmsg.NewPtrCreateTopicsRequest()
		t := kmsg.NewCreateTopicsRequestTopic()
		t.Topic, t.NumPartitions, t.ReplicationFactor = name, 3, 1
		req.Topics, req.TimeoutMillis = append(req.Topics, t), 10000
		return req
	})
}

// settle waits until both brokers have carried out what a call began: Kafka answers when a change is decided, and its parts follow.
func (d *differential) settle(c *diffCall) {
	switch kmsg.Key(c.key) {
	case kmsg.CreateTopics, kmsg.DeleteTopics, kmsg.CreatePartitions:
		d.settleUntil(d.topicsReady)
	case kmsg.IncrementalAlterConfigs, kmsg.AlterConfigs:
		pause(d.t, 50*time.Millisecond) // nothing tells when Kafka's logs have taken a config over
	case kmsg.EndTxn, kmsg.InitProducerID, kmsg.WriteTxnMarkers:
		d.settleUntil(d.transactionsEnded)
	}
}

// settleUntil asks both brokers until they are ready and say the same; what still differs then is found by the calls that follow.
func (d *differential) settleUntil(ready func(*diffPeer) string) {
	for began := time.Now(); time.Since(began) < settleLimit; pause(d.t, 20*time.Millisecond) {
		theirs, ours := ready(d.kafka), ready(d.ours)
		if theirs == ours && !strings.Contains(theirs, "wait") {
			return
		}
	}
}

// warmUp makes Kafka create its internal topics and waits until every coordinator has read them.
func (d *differential) warmUp() {
	find, groups, txns := kmsg.NewPtrFindCoordinatorRequest(), kmsg.NewPtrOffsetFetchRequest(), kmsg.NewPtrDescribeTransactionsRequest()
	find.Version, groups.Version = 4, 8
	for i := range 400 { // every partition of both topics is some name's
		name := fmt.Sprint("warm-", i)
		g := kmsg.NewOffsetFetchRequestGroup()
		g.Group = name
		groups.Groups = append(groups.Groups, g)
		txns.TransactionalIDs = append(txns.TransactionalIDs, name)
	}
	find.CoordinatorKeys = []string{"warm"}
	eventually(d.t, time.Minute, func() error {
		for _, p := range d.peers() {
			for _, kind := range []int8{0, 1} {
				find.CoordinatorType = kind
				p.ask("settle", find)
			}
			for _, req := range []kmsg.Request{groups, txns} {
				if flat := p.flatten(p.ask("settle", req)); notReady(flat) {
					return fmt.Errorf("the coordinators of %s are not ready", p.name)
				}
			}
		}
		return nil
	})
}

// topicsReady binds the ids of the topics there are, and tells which partitions have a leader that answers.
func (d *differential) topicsReady(p *diffPeer) string {
	req := kmsg.NewPtrMetadataRequest()
	req.Version = 12
	for _, name := range d.script.topics() {
		t := kmsg.NewMetadataRequestTopic()
		t.Topic = &name
		req.Topics = append(req.Topics, t)
	}
	resp, ok := p.ask("settle", req).resp.(*kmsg.MetadataResponse)
	if !ok {
		return "wait"
	}
	p.learn(nil, req, resp)
	offsets := kmsg.NewPtrListOffsetsRequest()
	offsets.Version, offsets.ReplicaID = 7, -1
	var said []string
	for _, t := range resp.Topics {
		said = append(said, fmt.Sprintf("%s %d %d", *t.Topic, t.ErrorCode, len(t.Partitions)))
		ot := kmsg.NewListOffsetsRequestTopic()
		ot.Topic = *t.Topic
		for _, part := range t.Partitions {
			op := kmsg.NewListOffsetsRequestTopicPartition()
			op.Partition, op.Timestamp = part.Partition, -1
			ot.Partitions = append(ot.Partitions, op)
		}
		offsets.Topics = append(offsets.Topics, ot)
	}
	list, ok := p.ask("settle", offsets).resp.(*kmsg.ListOffsetsResponse)
	if !ok {
		return "wait"
	}
	for _, t := range list.Topics {
		for _, part := range t.Partitions {
			if part.ErrorCode != 0 {
				return "wait"
			}
		}
	}
	slices.Sort(said)
	return strings.Join(said, ";")
}

// transactionsEnded tells to wait while a transaction is being committed or aborted.
func (d *differential) transactionsEnded(p *diffPeer) string {
	req := kmsg.NewPtrDescribeTransactionsRequest()
	req.TransactionalIDs = d.script.transactions()
	resp, ok := p.ask("settle", req).resp.(*kmsg.DescribeTransactionsResponse)
	if !ok {
		return ""
	}
	for _, t := range resp.TransactionStates {
		if strings.HasPrefix(t.State, "Prepare") {
			return "wait"
		}
	}
	return ""
}

// wrongFrame sends what is no request, on a connection of its own.
func (d *differential) wrongFrame() {
	r := d.script.random
	key := d.weights[r.IntN(len(d.weights))]
	body := make([]byte, r.IntN(40))
	for i := range body {
		body[i] = byte(r.IntN(256))
	}
	version := int16(r.IntN(16))
	switch r.IntN(3) {
	case 0:
		key = 900
	case 1:
		version = 99
	}
	frame := endian.BigEndian.AppendUint16(nil, uint16(key))
	frame = endian.BigEndian.AppendUint16(frame, uint16(version))
	frame = append(frame, 0, 0, 0, 7, 0xff, 0xff)
	frame = append(frame, body...)
	if kmsg.Key(key) == kmsg.ApiVersions || kmsg.Key(key) == kmsg.Produce || kmsg.Key(key) == kmsg.JoinGroup || kmsg.Key(key) == kmsg.SyncGroup {
		return // answered, not at all or late, by what the bytes happen to say
	}
	if _, _, err := wire.ParseRequest(frame); err == nil {
		return // the bytes happen to be a request
	}
	frame = append(endian.BigEndian.AppendUint32(nil, uint32(len(frame))), frame...)
	var said [2]string
	for i, p := range d.peers() {
		if err := p.sendFrame("wrong", frame); err != nil {
			said[i] = closedConn
			continue
		}
		p.correlation = 7
		got, err := p.receiveFrame("wrong", answerLimit)
		if said[i] = err; err == "" {
			said[i] = fmt.Sprintf("answered %d bytes", len(got))
			p.drop("wrong")
		}
	}
	d.calls++
	c := &diffCall{key: key, version: version}
	closed := said[0] == closedConn
	if closed != (said[1] == closedConn) {
		d.note(c, kmsg.NewPtrApiVersionsRequest(), []difference{{fmt.Sprintf("frame %x", frame), said[0], said[1]}})
	}
}

// rebalance lets one to three members join a classic group, one after the other, and each round share what the leader assigns.
func (d *differential) rebalance(group string) {
	for i := range diffMembers { // who stayed from the last time would be waited for
		d.leave(group, fmt.Sprintf("%s-m%d", group, i))
	}
	members := 1 + d.script.random.IntN(diffMembers)
	for i := range members {
		d.joinWith(group, i)
	}
	d.syncAll(group, members)
	for i := range members {
		if d.script.random.IntN(4) == 0 {
			member := fmt.Sprintf("%s-m%d", group, i)
			d.leave(group, member)
		}
	}
}

func (d *differential) leave(group, member string) {
	d.ask("main", group, member, func(p *diffPeer) kmsg.Request {
		req := kmsg.NewPtrLeaveGroupRequest()
		m := kmsg.NewLeaveGroupRequestMember()
		m.MemberID = p.members[member]
		req.Group, req.Members = group, append(req.Members, m)
		return req
	})
	for _, p := range d.peers() { // it joins as a new member
		delete(p.symbols, p.members[member])
		delete(p.members, member)
	}
}

func (d *differential) joinRequest(group string, member int, p *diffPeer) *kmsg.JoinGroupRequest {
	req := kmsg.NewPtrJoinGroupRequest()
	req.Version = 9
	req.Group, req.SessionTimeoutMillis, req.RebalanceTimeoutMillis, req.ProtocolType = group, diffSessionMs, diffSessionMs, "consumer"
	req.MemberID = p.members[fmt.Sprintf("%s-m%d", group, member)]
	for _, name := range []string{"range", "roundrobin"} {
		proto := kmsg.NewJoinGroupRequestProtocol()
		proto.Name, proto.Metadata = name, []byte{0, 0, 0, 0, 0, 0, 0, 0, 0, 0}
		req.Protocols = append(req.Protocols, proto)
	}
	return req
}

// joinWith lets member number last join, with all before it there, and compares the answers of all of them.
func (d *differential) joinWith(group string, last int) {
	outs := make([][2]outcome, last+1)
	for side, p := range d.peers() {
		id := fmt.Sprintf("%s-m%d", group, last)
		if r, ok := p.ask(fmt.Sprintf("member-%d", last), d.joinRequest(group, last, p)).resp.(*kmsg.JoinGroupResponse); ok {
			p.bindMember(id, r.MemberID) // with MEMBER_ID_REQUIRED
		}
		// The newcomer first: only then do the others have a reason to join again.
		for i := last; i >= 0; i-- {
			conn := fmt.Sprintf("member-%d", i)
			if err := p.send(conn, d.joinRequest(group, i, p)); err != nil {
				d.t.Fatal(err)
			}
			if i == last && last > 0 {
				d.waitForRebalance(p, group)
			}
		}
		correlation := p.correlation
		for i := 0; i <= last; i++ {
			p.correlation = correlation - int32(i)
			outs[i][side] = p.receive(fmt.Sprintf("member-%d", i), d.joinRequest(group, i, p))
		}
		p.correlation = correlation
	}
	for i := range outs {
		c := d.newCall(int16(kmsg.JoinGroup), 9)
		c.group, c.member = group, fmt.Sprintf("%s-m%d", group, i)
		d.calls++
		d.asked[[2]int16{c.key, c.version}]++
		var flat [2]map[string]string
		for side, p := range d.peers() {
			if outs[i][side].resp != nil {
				p.learn(c, d.joinRequest(group, i, p), outs[i][side].resp)
			}
			flat[side] = p.flatten(outs[i][side])
		}
		req := d.joinRequest(group, i, d.kafka)
		d.note(c, req, d.unknown(answered{req, flat[0], flat[1]}))
	}
}

// waitForRebalance waits until the group has seen the newcomer. A group whose members have not synced yet would answer those who join again at once, without it.
func (d *differential) waitForRebalance(p *diffPeer, group string) {
	req := kmsg.NewPtrDescribeGroupsRequest()
	req.Version, req.Groups = 5, []string{group}
	for began := time.Now(); time.Since(began) < settleLimit; pause(d.t, 5*time.Millisecond) {
		correlation := p.correlation
		resp, ok := p.ask("settle", req).resp.(*kmsg.DescribeGroupsResponse)
		p.correlation = correlation
		if ok && resp.Groups[0].State == "PreparingRebalance" {
			return
		}
	}
}

// syncAll lets the members of a group sync, its leader last.
func (d *differential) syncAll(group string, members int) {
	build := func(p *diffPeer, i int) *kmsg.SyncGroupRequest {
		req := kmsg.NewPtrSyncGroupRequest()
		req.Version = 5
		protocol, kind := "range", "consumer"
		req.Group, req.Generation, req.ProtocolType, req.Protocol = group, p.joined[group], &kind, &protocol
		req.MemberID = p.members[fmt.Sprintf("%s-m%d", group, i)]
		for m := range members {
			a := kmsg.NewSyncGroupRequestGroupAssignment()
			a.MemberID, a.MemberAssignment = p.members[fmt.Sprintf("%s-m%d", group, m)], []byte{0, 0, 0, 0, 0, 0, 0, 0, 0, byte(m)}
			req.GroupAssignment = append(req.GroupAssignment, a)
		}
		return req
	}
	outs := make([][2]outcome, members)
	for side, p := range d.peers() {
		for i := members - 1; i >= 0; i-- { // the first to join leads
			if err := p.send(fmt.Sprintf("member-%d", i), build(p, i)); err != nil {
				d.t.Fatal(err)
			}
		}
		correlation := p.correlation
		for i := range members {
			p.correlation = correlation - int32(i)
			outs[i][side] = p.receive(fmt.Sprintf("member-%d", i), build(p, i))
		}
		p.correlation = correlation
	}
	for i := range outs {
		c := d.newCall(int16(kmsg.SyncGroup), 5)
		d.calls++
		d.asked[[2]int16{c.key, c.version}]++
		req := build(d.kafka, i)
		d.note(c, req, d.unknown(answered{req, d.kafka.flatten(outs[i][0]), d.ours.flatten(outs[i][1])}))
	}
}

// compareState compares all that the episode left: topics, records, groups, offsets, producers, transactions.
func (d *differential) compareState() {
	s := d.script
	d.settleUntil(d.topicsReady)
	for _, name := range s.topics() {
		if _, ok := d.kafka.topicIDs[name]; !ok {
			continue
		}
		for _, isolation := range []int8{0, 1} {
			d.compareRecords(name, isolation)
			for _, at := range []int64{-1, -2, -3} {
				d.ask("main", "", "", func(*diffPeer) kmsg.Request { return listAll(name, isolation, at) })
			}
		}
		d.ask("main", "", "", func(*diffPeer) kmsg.Request {
			req := kmsg.NewPtrDescribeProducersRequest()
			req.Topics = []kmsg.DescribeProducersRequestTopic{{Topic: name, Partitions: []int32{0, 1, 2}}}
			return req
		})
		d.ask("main", "", "", func(*diffPeer) kmsg.Request {
			req := kmsg.NewPtrDescribeConfigsRequest()
			req.Resources = []kmsg.DescribeConfigsRequestResource{{ResourceType: kmsg.ConfigResourceTypeTopic, ResourceName: name}}
			req.IncludeSynonyms = true
			return req
		})
	}
	for _, group := range s.groups() {
		d.ask("main", group, "", func(*diffPeer) kmsg.Request {
			req := kmsg.NewPtrOffsetFetchRequest()
			g := kmsg.NewOffsetFetchRequestGroup()
			g.Group, g.MemberEpoch = group, -1
			req.Groups = append(req.Groups, g)
			return req
		})
	}
	d.ask("main", "", "", func(*diffPeer) kmsg.Request {
		req := kmsg.NewPtrDescribeGroupsRequest()
		req.Groups = s.groups()
		return req
	})
	d.ask("main", "", "", func(*diffPeer) kmsg.Request {
		req := kmsg.NewPtrConsumerGroupDescribeRequest()
		req.Groups = s.groups()
		return req
	})
	d.ask("main", "", "", func(*diffPeer) kmsg.Request { return kmsg.NewPtrListGroupsRequest() })
	d.ask("main", "", "", func(*diffPeer) kmsg.Request {
		req := kmsg.NewPtrDescribeTransactionsRequest()
		req.TransactionalIDs = s.transactions()
		return req
	})
}

func listAll(name string, isolation int8, at int64) kmsg.Request {
	req := kmsg.NewPtrListOffsetsRequest()
	req.ReplicaID, req.IsolationLevel = -1, isolation
	t := kmsg.NewListOffsetsRequestTopic()
	t.Topic = name
	for i := range int32(3) {
		part := kmsg.NewListOffsetsRequestTopicPartition()
		part.Partition, part.Timestamp, part.CurrentLeaderEpoch = i, at, -1
		t.Partitions = append(t.Partitions, part)
	}
	req.Topics = append(req.Topics, t)
	return req
}

// cleanUp removes what the episode made, so that answers about everything stay short. What it does not reach does no harm: the names are not used again.
func (d *differential) cleanUp() {
	s := d.script
	for _, group := range s.groups() {
		for i := range diffMembers {
			member := fmt.Sprintf("%s-m%d", group, i)
			if isConsumerGroup(group) {
				d.ask("main", group, member, func(*diffPeer) kmsg.Request {
					req := kmsg.NewPtrConsumerGroupHeartbeatRequest()
					req.Group, req.MemberID, req.MemberEpoch = group, member, -1
					return req
				})
				continue
			}
			d.leave(group, member)
		}
	}
	for _, p := range []string{"p0", "p1", "p2"} { // an open transaction holds its group's offsets
		d.endTransaction(s.name("%s", p))
	}
	d.ask("main", "", "", func(*diffPeer) kmsg.Request {
		req := kmsg.NewPtrDeleteGroupsRequest()
		req.Groups = s.groups()
		return req
	})
	d.ask("main", "", "", func(*diffPeer) kmsg.Request {
		req := kmsg.NewPtrDeleteTopicsRequest()
		req.TimeoutMillis = 10000
		for _, name := range s.topics() {
			t := kmsg.NewDeleteTopicsRequestTopic()
			t.Topic = &name
			req.Topics = append(req.Topics, t)
		}
		return req
	})
}

func (d *differential) endTransaction(id string) {
	req := kmsg.NewPtrInitProducerIDRequest()
	key := req.Key()
	for _, k := range d.ranges {
		if k.ApiKey == key {
			c := d.newCall(key, k.MaxVersion)
			c.producer = id
			d.callWith(c, func(*diffPeer) kmsg.Request {
				req := kmsg.NewPtrInitProducerIDRequest()
				req.TransactionalID, req.TransactionTimeoutMillis = &id, 60000
				return req
			})
		}
	}
}
