package coordinator

import (
	"maps"
	"slices"
	"strings"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/milldam/milldam/core/wire"
)

// The group types, by Kafka's names.
const (
	classicType  = "classic"
	consumerType = "consumer"
)

// noOperations is what authorised operations are when nobody asked for them.
const noOperations = -2147483648

// List handles a ListGroups request.
func (g *Groups) List(req *kmsg.ListGroupsRequest, reply func(*kmsg.ListGroupsResponse)) {
	r := kmsg.NewPtrListGroupsResponse()
	add := func(name, kind, protocolType, state string) {
		has := func(filter []string, value string) bool {
			return len(filter) == 0 || slices.ContainsFunc(filter, func(f string) bool { return strings.EqualFold(f, value) })
		}
		if has(req.StatesFilter, state) && has(req.TypesFilter, kind) {
			out := kmsg.NewListGroupsResponseGroup()
			out.Group, out.ProtocolType, out.GroupState, out.GroupType = name, protocolType, state, kind
			r.Groups = append(r.Groups, out)
		}
	}
	g.mu.Lock()
	for name, gr := range g.mu.groups {
		add(name, classicType, gr.protocolType, string(gr.state))
	}
	for name, c := range g.mu.consumers {
		add(name, consumerType, consumerProtocol, c.state().groupState())
	}
	g.mu.Unlock()
	slices.SortFunc(r.Groups, func(a, b kmsg.ListGroupsResponseGroup) int { return strings.Compare(a.Group, b.Group) })
	reply(r)
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
		if gr == nil {
			if out.State = string(dead); req.Version >= groupNotFoundVersion {
				text := "Group " + name + " not found."
				if g.mu.consumers[name] != nil {
					text = "Group " + name + " is not a classic group."
				}
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
		row.ProtocolMetadata, row.MemberAssignment = []byte{}, m.assignment // the last one, also while the next is made
		if gr.state == stable {
			row.ProtocolMetadata = m.metadata(gr.protocol)
		}
		out.Members = append(out.Members, row)
	}
}
