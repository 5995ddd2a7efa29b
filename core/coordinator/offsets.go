package coordinator

import (
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/milldam/milldam/core/record"
	"github.com/milldam/milldam/core/wire"
)

// CommitOffsets handles an OffsetCommit request. Its topics have names; those that do not exist are the broker's to refuse.
func (g *Groups) CommitOffsets(req *kmsg.OffsetCommitRequest, reply func(*kmsg.OffsetCommitResponse)) {
	s, code := g.enter(req.Group)
	if code != wire.None {
		reply(commitResponse(req, code, nil))
		return
	}
	defer g.mu.Unlock()
	gate, code := g.committer(s, commitFrom{group: req.Group, member: req.MemberID, instance: req.InstanceID, epoch: req.Generation, version: req.Version})
	if code != wire.None {
		reply(commitResponse(req, code, nil))
		return
	}
	var all []entry
	for _, t := range req.Topics {
		for _, p := range t.Partitions {
			all = append(all, g.commitEntry(req.Group, offsetKey{t.Topic, p.Partition}, p.Offset, p.LeaderEpoch, p.Metadata))
		}
	}
	list, refused := g.admit(all, gate)
	if len(list) == 0 {
		reply(commitResponse(req, wire.None, refused))
		return
	}
	g.makeForCommit(s, req.Group)
	g.write(s, list, func(code wire.Code) { reply(commitResponse(req, code, refused)) })
}

// makeForCommit makes the group of who commits without being a member, when there is something to commit.
func (g *Groups) makeForCommit(s *shard, name string) {
	if g.mu.groups[name] == nil && g.mu.consumers[name] == nil {
		g.mu.groups[name] = g.newGroup(name, s)
	}
}

// commitEntry is the record of a commit.
func (g *Groups) commitEntry(group string, key offsetKey, at int64, leaderEpoch int32, metadata *string) entry {
	topic, _, _ := g.topics().Topic(key.topic)
	return entry{group: group, isOffset: true, key: key,
		offset: &offset{offset: at, leaderEpoch: leaderEpoch, metadata: deref(metadata), committed: time.Now().UnixMilli(), topic: topic}}
}

// admit takes out the commits that may not be: of too large metadata, and of partitions that gate refuses.
func (g *Groups) admit(all []entry, gate gate) (list []entry, refused map[offsetKey]wire.Code) {
	refused = map[offsetKey]wire.Code{}
	for _, e := range all {
		code := wire.None
		if gate != nil {
			code = gate(e.key)
		}
		if code == wire.None && len(e.offset.metadata) > g.opts.MaxMetadataBytes {
			code = wire.OffsetMetadataTooLarge
		}
		if code != wire.None {
			refused[e.key] = code
			continue
		}
		list = append(list, e)
	}
	return list, refused
}

// gate tells whether an offset of a partition may be committed; nil is of all.
type gate func(offsetKey) wire.Code

// commitFrom says who commits.
type commitFrom struct {
	group, member string
	instance      *string
	epoch         int32 // the generation, in groups of the consumer type the member epoch
	version       int16 // of the request
	transactional bool
}

// anonymous tells that who commits names no member: a client that assigns by itself, a tool, or in a transaction a client from before KIP-447.
func (from commitFrom) anonymous() bool {
	return from.epoch < 0 && from.member == "" && from.instance == nil
}

// memberEpochVersion is the OffsetCommit version from which a group that is unknown is not a matter of generations (KIP-848).
const memberEpochVersion = 9

// committer finds the group of a commit and checks that who commits may.
func (g *Groups) committer(s *shard, from commitFrom) (gate, wire.Code) {
	if c := g.mu.consumers[from.group]; c != nil {
		return c.state().committer(from, g.topics())
	}
	gr := g.mu.groups[from.group]
	switch {
	case gr == nil && from.epoch < 0: // makeForCommit makes it
		return nil, wire.None
	case gr == nil && from.version >= memberEpochVersion && !from.transactional:
		return nil, wire.GroupIDNotFound
	case gr == nil:
		return nil, wire.IllegalGeneration
	case gr.state == dead:
		return nil, wire.CoordinatorNotAvailable
	case from.epoch < 0 && gr.state == empty, from.transactional && from.anonymous():
		return nil, wire.None
	case from.anonymous():
		return nil, wire.UnknownMemberID
	}
	m, code := gr.memberOf(from.member, from.instance, from.epoch)
	switch {
	case code != wire.None:
		return nil, code
	case from.transactional:
		return nil, wire.None
	case gr.state == completing:
		return nil, wire.RebalanceInProgress
	}
	g.heard(m)
	return nil, wire.None
}

// committer is Groups.committer for a group of the consumer type. A member may commit with an older epoch what it has had since then (KIP-1251).
func (c *consumerGroup) committer(from commitFrom, topics Topics) (gate, wire.Code) {
	switch {
	case from.epoch < 0 && len(c.members) == 0, from.transactional && from.anonymous():
		return nil, wire.None
	}
	m := c.members[from.member]
	switch {
	case m == nil:
		return nil, wire.UnknownMemberID
	case !from.transactional && m.classic == nil && from.version < memberEpochVersion:
		return nil, wire.UnsupportedVersion
	case from.epoch == m.epoch:
		return nil, wire.None
	case from.epoch > m.epoch && (m.classic != nil || from.transactional):
		return nil, wire.IllegalGeneration
	case from.epoch > m.epoch:
		return nil, wire.StaleMemberEpoch
	}
	return func(key offsetKey) wire.Code {
		id, _, _ := topics.Topic(key.topic)
		since, ok := m.assigned[id][key.partition]
		if !ok {
			since, ok = m.revoking[id][key.partition]
		}
		switch {
		case ok && since <= from.epoch:
			return wire.None
		case m.classic != nil || from.transactional:
			return wire.IllegalGeneration
		}
		return wire.StaleMemberEpoch
	}, wire.None
}

func commitResponse(req *kmsg.OffsetCommitRequest, code wire.Code, refused map[offsetKey]wire.Code) *kmsg.OffsetCommitResponse {
	r := kmsg.NewPtrOffsetCommitResponse()
	for _, t := range req.Topics {
		out := kmsg.NewOffsetCommitResponseTopic()
		out.Topic, out.TopicID = t.Topic, t.TopicID
		for _, p := range t.Partitions {
			row := kmsg.NewOffsetCommitResponseTopicPartition()
			row.Partition, row.ErrorCode = p.Partition, int16(code)
			if own, ok := refused[offsetKey{t.Topic, p.Partition}]; ok {
				row.ErrorCode = int16(own)
			}
			out.Partitions = append(out.Partitions, row)
		}
		r.Topics = append(r.Topics, out)
	}
	return r
}

// groupsVersion is the OffsetFetch version from which a request is about several groups.
const groupsVersion = 8

// FetchOffsets handles an OffsetFetch request. No topics at all is all topics.
func (g *Groups) FetchOffsets(req *kmsg.OffsetFetchRequest, reply func(*kmsg.OffsetFetchResponse)) {
	r := kmsg.NewPtrOffsetFetchResponse()
	if req.Version >= groupsVersion {
		for _, in := range req.Groups {
			r.Groups = append(r.Groups, g.fetchGroup(in, req.RequireStable))
		}
		reply(r)
		return
	}
	in := kmsg.NewOffsetFetchRequestGroup()
	in.Group = req.Group
	if req.Topics != nil {
		in.Topics = []kmsg.OffsetFetchRequestGroupTopic{}
	}
	for _, t := range req.Topics {
		x := kmsg.NewOffsetFetchRequestGroupTopic()
		x.Topic, x.Partitions = t.Topic, t.Partitions
		in.Topics = append(in.Topics, x)
	}
	out := g.fetchGroup(in, req.RequireStable)
	r.ErrorCode = out.ErrorCode
	for _, t := range out.Topics {
		x := kmsg.NewOffsetFetchResponseTopic()
		x.Topic = t.Topic
		for _, p := range t.Partitions {
			row := kmsg.NewOffsetFetchResponseTopicPartition()
			row.Partition, row.Offset, row.LeaderEpoch, row.Metadata, row.ErrorCode = p.Partition, p.Offset, p.LeaderEpoch, p.Metadata, p.ErrorCode
			x.Partitions = append(x.Partitions, row)
		}
		r.Topics = append(r.Topics, x)
	}
	reply(r)
}

func (g *Groups) fetchGroup(in kmsg.OffsetFetchRequestGroup, stable bool) kmsg.OffsetFetchResponseGroup {
	out := kmsg.NewOffsetFetchResponseGroup()
	out.Group = in.Group
	s, code := g.enter(in.Group)
	if code != wire.None {
		out.ErrorCode = int16(code)
		return out
	}
	defer g.mu.Unlock()
	if out.ErrorCode = int16(g.mayFetch(in)); out.ErrorCode != 0 {
		return out
	}
	d := s.groups[in.Group]
	if in.Topics == nil {
		if d == nil {
			return out
		}
		for _, key := range d.sortedKeys() {
			if n := len(out.Topics); n == 0 || out.Topics[n-1].Topic != key.topic {
				t := kmsg.NewOffsetFetchResponseGroupTopic()
				t.Topic = key.topic
				out.Topics = append(out.Topics, t)
			}
			t := &out.Topics[len(out.Topics)-1]
			t.Partitions = append(t.Partitions, fetched(d, key, record.TopicID{}, stable))
		}
		return out
	}
	for _, t := range in.Topics {
		x := kmsg.NewOffsetFetchResponseGroupTopic()
		x.Topic, x.TopicID = t.Topic, t.TopicID
		for _, p := range t.Partitions {
			x.Partitions = append(x.Partitions, fetched(d, offsetKey{t.Topic, p}, t.TopicID, stable))
		}
		out.Topics = append(out.Topics, x)
	}
	return out
}

// mayFetch checks the member that a fetch names, if it does (KIP-848).
func (g *Groups) mayFetch(in kmsg.OffsetFetchRequestGroup) wire.Code {
	c := g.mu.consumers[in.Group]
	if c == nil || in.MemberID == nil && in.MemberEpoch < 0 {
		return wire.None
	}
	switch m := c.state().members[deref(in.MemberID)]; {
	case m == nil:
		return wire.UnknownMemberID
	case m.epoch != in.MemberEpoch && m.classic != nil:
		return wire.IllegalGeneration
	case m.epoch != in.MemberEpoch:
		return wire.StaleMemberEpoch
	}
	return wire.None
}

// fetched is the answer for one partition; without a commit the offset is -1. Who wants it stable is to come again while a transaction is under way that
// may change it. Who names the topic by its id is not given what was committed for an earlier topic of the name.
func fetched(d *durable, key offsetKey, topic record.TopicID, stable bool) kmsg.OffsetFetchResponseGroupTopicPartition {
	row := kmsg.NewOffsetFetchResponseGroupTopicPartition()
	row.Partition, row.Offset, row.LeaderEpoch, row.Metadata = key.partition, -1, -1, kmsg.StringPtr("")
	if d == nil {
		return row
	}
	if stable && len(d.pending[key]) > 0 {
		row.ErrorCode = int16(wire.UnstableOffsetCommit)
		return row
	}
	none := record.TopicID{}
	if o, ok := d.offsets[key]; ok && (topic == none || o.topic == none || topic == o.topic) {
		row.Offset, row.LeaderEpoch, row.Metadata = o.offset, o.leaderEpoch, kmsg.StringPtr(o.metadata)
	}
	return row
}
