package coordinator

import (
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/milldam/milldam/core/wire"
)

// CommitOffsets handles an OffsetCommit request. Its topics have names; those that do not exist are the broker's to refuse.
func (g *Groups) CommitOffsets(req *kmsg.OffsetCommitRequest, reply func(*kmsg.OffsetCommitResponse)) {
	if req.Group == "" && req.Generation >= 0 {
		reply(commitResponse(req, wire.InvalidGroupID, nil))
		return
	}
	s, code := g.enter(req.Group)
	if code != wire.None {
		reply(commitResponse(req, code, nil))
		return
	}
	defer g.mu.Unlock()
	gr, code := g.committer(s, req)
	if code != wire.None {
		reply(commitResponse(req, code, nil))
		return
	}
	now := time.Now().UnixMilli()
	tooLarge := map[offsetKey]bool{}
	var list []entry
	for _, t := range req.Topics {
		for _, p := range t.Partitions {
			key := offsetKey{t.Topic, p.Partition}
			if len(deref(p.Metadata)) > g.opts.MaxMetadataBytes {
				tooLarge[key] = true
				continue
			}
			list = append(list, entry{group: gr.name, isOffset: true, key: key,
				offset: &offset{offset: p.Offset, leaderEpoch: p.LeaderEpoch, metadata: deref(p.Metadata), committed: now}})
		}
	}
	if len(list) == 0 {
		reply(commitResponse(req, wire.None, tooLarge))
		g.forgetIfUnused(gr)
		return
	}
	g.write(s, list, func(code wire.Code) { reply(commitResponse(req, code, tooLarge)) })
}

// committer finds the group of a commit and checks that who commits may.
func (g *Groups) committer(s *shard, req *kmsg.OffsetCommitRequest) (*group, wire.Code) {
	gr := g.mu.groups[req.Group]
	if gr == nil {
		if req.Generation >= 0 {
			return nil, wire.IllegalGeneration
		}
		gr = g.newGroup(req.Group, s)
		g.mu.groups[req.Group] = gr
		return gr, wire.None
	}
	if gr.state == dead {
		return nil, wire.CoordinatorNotAvailable
	}
	if req.Generation < 0 && req.MemberID == "" && req.InstanceID == nil { // a client that assigns by itself, or a tool
		if len(gr.members) > 0 {
			return nil, wire.UnknownMemberID
		}
		return gr, wire.None
	}
	m, code := gr.memberOf(req.MemberID, req.InstanceID, req.Generation)
	if code != wire.None {
		return nil, code
	}
	if gr.state == completing {
		return nil, wire.RebalanceInProgress
	}
	g.heard(m)
	return gr, wire.None
}

func commitResponse(req *kmsg.OffsetCommitRequest, code wire.Code, tooLarge map[offsetKey]bool) *kmsg.OffsetCommitResponse {
	r := kmsg.NewPtrOffsetCommitResponse()
	for _, t := range req.Topics {
		out := kmsg.NewOffsetCommitResponseTopic()
		out.Topic, out.TopicID = t.Topic, t.TopicID
		for _, p := range t.Partitions {
			row := kmsg.NewOffsetCommitResponseTopicPartition()
			row.Partition, row.ErrorCode = p.Partition, int16(code)
			if tooLarge[offsetKey{t.Topic, p.Partition}] {
				row.ErrorCode = int16(wire.OffsetMetadataTooLarge)
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
			r.Groups = append(r.Groups, g.fetchGroup(in))
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
	out := g.fetchGroup(in)
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

func (g *Groups) fetchGroup(in kmsg.OffsetFetchRequestGroup) kmsg.OffsetFetchResponseGroup {
	out := kmsg.NewOffsetFetchResponseGroup()
	out.Group = in.Group
	s, code := g.enter(in.Group)
	if code != wire.None {
		out.ErrorCode = int16(code)
		return out
	}
	defer g.mu.Unlock()
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
			t.Partitions = append(t.Partitions, fetched(d, key))
		}
		return out
	}
	for _, t := range in.Topics {
		x := kmsg.NewOffsetFetchResponseGroupTopic()
		x.Topic, x.TopicID = t.Topic, t.TopicID
		for _, p := range t.Partitions {
			x.Partitions = append(x.Partitions, fetched(d, offsetKey{t.Topic, p}))
		}
		out.Topics = append(out.Topics, x)
	}
	return out
}

// fetched is the answer for one partition; without a commit the offset is -1.
func fetched(d *durable, key offsetKey) kmsg.OffsetFetchResponseGroupTopicPartition {
	row := kmsg.NewOffsetFetchResponseGroupTopicPartition()
	row.Partition, row.Offset, row.LeaderEpoch, row.Metadata = key.partition, -1, -1, kmsg.StringPtr("")
	if d == nil {
		return row
	}
	if o, ok := d.offsets[key]; ok {
		row.Offset, row.LeaderEpoch, row.Metadata = o.offset, o.leaderEpoch, kmsg.StringPtr(o.metadata)
	}
	return row
}

// DeleteOffsets handles an OffsetDelete request. Offsets of topics that members may be reading stay.
func (g *Groups) DeleteOffsets(req *kmsg.OffsetDeleteRequest, reply func(*kmsg.OffsetDeleteResponse)) {
	r := kmsg.NewPtrOffsetDeleteResponse()
	s, code := g.enter(req.Group)
	if code != wire.None {
		r.ErrorCode = int16(code)
		reply(r)
		return
	}
	defer g.mu.Unlock()
	gr, d := g.mu.groups[req.Group], s.groups[req.Group]
	switch {
	case gr == nil && d == nil:
		r.ErrorCode = int16(wire.GroupIDNotFound)
		reply(r)
		return
	case gr != nil && len(gr.members) > 0:
		r.ErrorCode = int16(wire.NonEmptyGroup)
		reply(r)
		return
	}
	var list []entry
	for _, t := range req.Topics {
		out := kmsg.NewOffsetDeleteResponseTopic()
		out.Topic = t.Topic
		for _, p := range t.Partitions {
			row := kmsg.NewOffsetDeleteResponseTopicPartition()
			row.Partition = p.Partition
			out.Partitions = append(out.Partitions, row)
			if d != nil {
				if _, ok := d.offsets[offsetKey{t.Topic, p.Partition}]; ok {
					list = append(list, entry{group: req.Group, isOffset: true, key: offsetKey{t.Topic, p.Partition}})
				}
			}
		}
		r.Topics = append(r.Topics, out)
	}
	if len(list) == 0 {
		reply(r)
		return
	}
	g.write(s, list, func(code wire.Code) {
		r.ErrorCode = int16(code)
		reply(r)
	})
}

// TopicsDeleted drops the offsets of topics that are gone. Groups that have none left go with the next Expire.
func (g *Groups) TopicsDeleted(topics []string) {
	gone := map[string]bool{}
	for _, t := range topics {
		gone[t] = true
	}
	g.dropOffsets(false, func(_ *group, key offsetKey, _ offset) bool { return gone[key.topic] })
}

// Expire drops the offsets of groups without members that are older than the retention at now, counted from when the last member left or the
// offset was committed, whichever is later. A group without members and offsets is gone then, as in Kafka. The owner calls it every few minutes.
func (g *Groups) Expire(now time.Time) {
	oldest := now.Add(-g.opts.OffsetsRetention)
	g.dropOffsets(true, func(gr *group, _ offsetKey, o offset) bool {
		if gr != nil && (len(gr.members) > 0 || gr.generation > 0 && gr.since.After(oldest)) {
			return false
		}
		return time.UnixMilli(o.committed).Before(oldest)
	})
}

// dropOffsets removes the offsets that drop picks, and with groups also the groups that nobody is in and that have none left. Nobody waits for it.
func (g *Groups) dropOffsets(groups bool, drop func(*group, offsetKey, offset) bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, s := range g.mu.shards {
		for name, d := range s.groups {
			var list []entry
			for key, o := range d.offsets {
				if drop(g.mu.groups[name], key, o) {
					list = append(list, entry{group: name, isOffset: true, key: key})
				}
			}
			gr := g.mu.groups[name]
			switch {
			case groups && len(list) == len(d.offsets) && gr != nil && gr.state == empty:
				g.remove(gr, append(list, entry{group: name}), func(wire.Code) {})
			case len(list) > 0:
				g.write(s, list, func(wire.Code) {})
			}
		}
	}
}
