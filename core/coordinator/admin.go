package coordinator

import (
	"maps"
	"slices"
	"strings"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/milldam/milldam/core/wire"
)

// classic is the group type of the protocol served here, by Kafka's name.
const classic = "classic"

// noOperations is what authorised operations are when nobody asked for them.
const noOperations = -2147483648

// List handles a ListGroups request.
func (g *Groups) List(req *kmsg.ListGroupsRequest, reply func(*kmsg.ListGroupsResponse)) {
	r := kmsg.NewPtrListGroupsResponse()
	has := func(filter []string, value string) bool {
		return len(filter) == 0 || slices.ContainsFunc(filter, func(f string) bool { return strings.EqualFold(f, value) })
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, name := range slices.Sorted(maps.Keys(g.mu.groups)) {
		gr := g.mu.groups[name]
		if !g.exists(gr) || !has(req.StatesFilter, string(gr.state)) || !has(req.TypesFilter, classic) {
			continue
		}
		out := kmsg.NewListGroupsResponseGroup()
		out.Group, out.ProtocolType, out.GroupState, out.GroupType = name, gr.protocolType, string(gr.state), classic
		r.Groups = append(r.Groups, out)
	}
	reply(r)
}

// exists tells whether anything is known of a group but its name.
func (g *Groups) exists(gr *group) bool {
	return len(gr.members) > 0 || gr.generation > 0 || gr.shard.groups[gr.name] != nil
}

// groupNotFoundVersion is the DescribeGroups version from which an unknown group is an error, and not a dead one.
const groupNotFoundVersion = 6

// Describe handles a DescribeGroups request.
func (g *Groups) Describe(req *kmsg.DescribeGroupsRequest, reply func(*kmsg.DescribeGroupsResponse)) {
	r := kmsg.NewPtrDescribeGroupsResponse()
	for _, name := range req.Groups {
		out := kmsg.NewDescribeGroupsResponseGroup()
		out.Group, out.AuthorizedOperations = name, noOperations
		_, code := g.enter(name)
		if out.ErrorCode = int16(code); code != wire.None {
			r.Groups = append(r.Groups, out)
			continue
		}
		gr := g.mu.groups[name]
		if gr == nil || !g.exists(gr) {
			if out.State = string(dead); req.Version >= groupNotFoundVersion {
				text := "group " + name + " is not known"
				out.ErrorCode, out.ErrorMessage = int16(wire.GroupIDNotFound), &text
			}
		} else {
			gr.describe(&out)
		}
		g.mu.Unlock()
		r.Groups = append(r.Groups, out)
	}
	reply(r)
}

func (gr *group) describe(out *kmsg.DescribeGroupsResponseGroup) {
	out.State, out.ProtocolType = string(gr.state), gr.protocolType
	if gr.state == stable {
		out.Protocol = gr.protocol
	}
	for _, id := range slices.Sorted(maps.Keys(gr.members)) {
		m := gr.members[id]
		row := kmsg.NewDescribeGroupsResponseGroupMember()
		row.MemberID, row.InstanceID, row.ClientID, row.ClientHost = m.id, m.instance, m.client.ID, m.client.Host
		row.ProtocolMetadata, row.MemberAssignment = []byte{}, []byte{}
		if gr.state == stable {
			row.ProtocolMetadata, row.MemberAssignment = m.metadata(gr.protocol), m.assignment
		}
		out.Members = append(out.Members, row)
	}
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
	r.Groups = make([]kmsg.DeleteGroupsResponseGroup, len(req.Groups))
	for i, name := range req.Groups {
		out := &r.Groups[i]
		out.Default()
		out.Group = name
		s, code := g.enter(name)
		if out.ErrorCode = int16(code); code != wire.None {
			continue
		}
		list, code := g.removal(s, name)
		if out.ErrorCode = int16(code); code == wire.None {
			left++
			g.remove(g.mu.groups[name], list, func(code wire.Code) {
				out.ErrorCode = int16(code)
				done()
			})
		}
		g.mu.Unlock()
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	done()
}

// removal lists what has to be written for a group to be gone.
func (g *Groups) removal(s *shard, name string) ([]entry, wire.Code) {
	gr, d := g.mu.groups[name], s.groups[name]
	switch {
	case gr == nil || gr.state == dead || !g.exists(gr):
		return nil, wire.GroupIDNotFound
	case len(gr.members) > 0 || gr.state == preparing || gr.state == completing:
		return nil, wire.NonEmptyGroup
	}
	list := []entry{{group: name}}
	if d != nil {
		for key := range d.offsets {
			list = append(list, entry{group: name, isOffset: true, key: key})
		}
	}
	return list, wire.None
}

// remove writes the removal of a group that nobody is in. Until that is done it is dead: who joined it now would be in a group that is forgotten a moment
// later, and whose timers go on.
func (g *Groups) remove(gr *group, list []entry, then func(wire.Code)) {
	gr.state = dead
	g.write(gr.shard, list, func(code wire.Code) {
		if code == wire.None {
			delete(g.mu.groups, gr.name)
		} else {
			gr.state = empty
		}
		then(code)
	})
}
