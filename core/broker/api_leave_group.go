package broker

import "github.com/twmb/franz-go/pkg/kmsg"

// LeaveGroup, versions 0 to 5. 3 takes several members.
func (s *Server) leaveGroup(cl *call, req *kmsg.LeaveGroupRequest) {
	s.opts.Groups.Leave(req, func(r *kmsg.LeaveGroupResponse) { cl.reply(r) })
}
