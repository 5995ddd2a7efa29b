package coordinator

import (
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/milldam/milldam/core/wire"
)

// How offsets, and groups, go: because somebody deletes them, because their topic is gone, or because they are old.

// subscribers tells what a group may be reading: the topics of its members, or all when those cannot be known.
type subscribers struct {
	topics map[string]int
	all    bool
}

func (s subscribers) has(topic string) bool { return s.all || s.topics[topic] > 0 }

func (gr *group) subscribers() subscribers {
	out := subscribers{topics: map[string]int{}}
	for _, m := range gr.members {
		sub, ok := subscriptionOf(m.metadata(gr.protocol))
		if !ok || gr.protocolType != consumerProtocol {
			return subscribers{all: true}
		}
		for _, t := range sub.Topics {
			out.topics[t]++
		}
	}
	return out
}

// DeleteOffsets handles an OffsetDelete request. Offsets of topics that members may be reading stay.
func (g *Groups) DeleteOffsets(req *kmsg.OffsetDeleteRequest, reply func(*kmsg.OffsetDeleteResponse)) {
	r := kmsg.NewPtrOffsetDeleteResponse()
	if req.Group == "" {
		r.ErrorCode = int16(wire.InvalidGroupID)
		reply(r)
		return
	}
	s, code := g.enter(req.Group)
	if r.ErrorCode = int16(code); code != wire.None {
		reply(r)
		return
	}
	defer g.mu.Unlock()
	reading, code := g.readers(s, req.Group)
	if r.ErrorCode = int16(code); code != wire.None {
		reply(r)
		return
	}
	d := s.groups[req.Group]
	var list []entry
	for _, t := range req.Topics {
		out := kmsg.NewOffsetDeleteResponseTopic()
		out.Topic = t.Topic
		for _, p := range t.Partitions {
			row := kmsg.NewOffsetDeleteResponseTopicPartition()
			row.Partition = p.Partition
			if reading.has(t.Topic) {
				row.ErrorCode = int16(wire.GroupSubscribedToTopic)
			} else if key := (offsetKey{t.Topic, p.Partition}); d != nil && d.has(key) {
				list = append(list, entry{group: req.Group, isOffset: true, key: key})
			}
			out.Partitions = append(out.Partitions, row)
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

// readers tells what the members of a group may be reading. A group with members of another protocol than consumers' is refused, as in Kafka.
func (g *Groups) readers(s *shard, name string) (subscribers, wire.Code) {
	if c := g.mu.consumers[name]; c != nil {
		return subscribers{topics: c.state().subscribed()}, wire.None
	}
	gr, d := g.mu.groups[name], s.groups[name]
	switch {
	case gr == nil && d == nil, gr != nil && gr.state == dead:
		return subscribers{}, wire.GroupIDNotFound
	case gr == nil:
		return subscribers{}, wire.None
	case len(gr.members) > 0 && gr.protocolType != consumerProtocol:
		return subscribers{}, wire.NonEmptyGroup
	}
	return gr.subscribers(), wire.None
}

// Delete handles a DeleteGroups request: groups without members go, with their offsets.
func (g *Groups) Delete(req *kmsg.DeleteGroupsRequest, reply func(*kmsg.DeleteGroupsResponse)) {
	r := kmsg.NewPtrDeleteGroupsResponse()
	left := 1 // writes under way, and this loop
	done := func() {
		if left--; left == 0 {
			reply(r)
		}
	}
	names := onceEach(req.Groups) // as Kafka: deleted and answered once, however often it is named
	r.Groups = make([]kmsg.DeleteGroupsResponseGroup, len(names))
	for i, name := range names {
		out := &r.Groups[i]
		out.Default()
		out.Group = name
		s, code := g.enter(name)
		if out.ErrorCode = int16(code); code != wire.None {
			continue
		}
		left++
		g.delete(s, name, func(code wire.Code) {
			out.ErrorCode = int16(code)
			done()
		})
		g.mu.Unlock()
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	done()
}

func onceEach(names []string) (once []string) {
	seen := make(map[string]bool, len(names))
	for _, name := range names {
		if !seen[name] {
			seen[name] = true
			once = append(once, name)
		}
	}
	return once
}

func (g *Groups) delete(s *shard, name string, done func(wire.Code)) {
	c, gr := g.mu.consumers[name], g.mu.groups[name]
	switch {
	case c != nil && len(c.state().members) > 0, gr != nil && (len(gr.members) > 0 || gr.state == preparing || gr.state == completing):
		done(wire.NonEmptyGroup)
	case c != nil:
		g.removeConsumer(c, s.groups[name].tombstones(name), done)
	case gr == nil || gr.state == dead:
		done(wire.GroupIDNotFound)
	default:
		g.remove(gr, s.groups[name].tombstones(name), done)
	}
}

// tombstones are the removal of all offsets of a group.
func (d *durable) tombstones(name string) (list []entry) {
	if d == nil {
		return nil
	}
	for _, key := range d.allKeys() {
		list = append(list, entry{group: name, isOffset: true, key: key})
	}
	return list
}

// removeConsumer removes a consumer group that nobody is in, with the offsets given.
func (g *Groups) removeConsumer(c *consumer, offsets []entry, done func(wire.Code)) {
	x := g.change(c)
	x.removeGroup()
	for _, e := range offsets {
		x.add(e)
	}
	x.then(func() { g.endConsumer(c) })
	x.commit(done)
}

// remove writes the removal of a classic group that nobody is in, with the offsets given. Until that is done it is dead: who joined it now would be in a
// group that is forgotten a moment later, and whose timers go on.
func (g *Groups) remove(gr *group, offsets []entry, then func(wire.Code)) {
	gr.state = dead
	g.write(gr.shard, append([]entry{{group: gr.name}}, offsets...), func(code wire.Code) {
		if code == wire.None {
			delete(g.mu.groups, gr.name)
		} else {
			gr.state = empty
		}
		then(code)
	})
}

// TopicsDeleted drops the offsets of topics that are gone. Groups that have none left go with the next Expire.
func (g *Groups) TopicsDeleted(topics []string) {
	gone := map[string]bool{}
	for _, t := range topics {
		gone[t] = true
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, s := range g.mu.shards {
		for name, d := range s.groups {
			var list []entry
			for _, e := range d.tombstones(name) {
				if gone[e.key.topic] {
					list = append(list, e)
				}
			}
			if len(list) > 0 {
				g.write(s, list, func(wire.Code) {})
			}
		}
	}
}

// Expire drops the offsets that are older than the retention at now, and the groups that nobody is in and that have none left. The age counts, as in Kafka,
// of a group without members from when the last has left; of one with members, and of who commits without being in a group, from the commit. What is
// subscribed to, and what a transaction is about to change, stays. The owner calls it every few minutes.
func (g *Groups) Expire(now time.Time) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, s := range g.mu.shards {
		for name, d := range s.groups {
			g.expire(s, name, d, now)
		}
	}
	for name, gr := range g.mu.groups { // those that nobody came into
		if len(gr.members) == 0 && len(gr.pending) == 0 && gr.generation == 0 && gr.shard.groups[name] == nil {
			delete(g.mu.groups, name)
		}
	}
	for _, c := range g.mu.consumers { // those without any offset
		if st := c.state(); len(st.members) == 0 && len(c.shard.groups[c.name].allKeys()) == 0 {
			g.removeConsumer(c, nil, func(wire.Code) {})
		}
	}
}

func (g *Groups) expire(s *shard, name string, d *durable, now time.Time) {
	reading, since := subscribers{}, time.Time{}
	gr, c := g.mu.groups[name], g.mu.consumers[name]
	switch {
	case c != nil:
		reading.topics = c.state().subscribed()
	case gr == nil || gr.state == dead:
		return
	case len(gr.members) > 0 && (gr.state != stable || gr.protocolType != consumerProtocol):
		return
	case len(gr.members) > 0:
		reading = gr.subscribers()
	case gr.generation > 0:
		since = gr.since
	}
	oldest := now.Add(-g.opts.OffsetsRetention)
	var list []entry
	for _, e := range d.tombstones(name) {
		from := since
		if from.IsZero() {
			from = time.UnixMilli(d.offsets[e.key].committed)
		}
		if len(d.pending[e.key]) == 0 && !reading.has(e.key.topic) && !from.After(oldest) {
			list = append(list, e)
		}
	}
	all := len(list) == len(d.allKeys())
	switch {
	case all && c != nil && len(list) > 0 && len(c.state().members) == 0:
		g.removeConsumer(c, list, func(wire.Code) {})
	case all && gr != nil && gr.state == empty:
		g.remove(gr, list, func(wire.Code) {})
	case len(list) > 0:
		g.write(s, list, func(wire.Code) {})
	}
}
