package broker

import "github.com/twmb/franz-go/pkg/kmsg"

// ListGroups, versions 0 to 5. 4 filters by state (KIP-518), 5 by type (KIP-848).
func (s *Server) listGroups(cl *call, req *kmsg.ListGroupsRequest) {
	s.opts.Groups.List(req, func(r *kmsg.ListGroupsResponse) { cl.reply(r) })
}
