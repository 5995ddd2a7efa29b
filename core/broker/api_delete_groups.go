package broker

import "github.com/twmb/franz-go/pkg/kmsg"

// DeleteGroups, versions 0 to 2.
func (s *Server) deleteGroups(cl *call, req *kmsg.DeleteGroupsRequest) {
	s.opts.Groups.Delete(req, func(r *kmsg.DeleteGroupsResponse) { cl.reply(r) })
}
