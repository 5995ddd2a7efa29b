package broker

import "github.com/twmb/franz-go/pkg/kmsg"

// JoinGroup, versions 0 to 9. 4 asks new members to come again with an id (KIP-394), 5 static members (KIP-345), 6 is flexible, 8 reasons (KIP-800).
func (s *Server) joinGroup(cl *call, req *kmsg.JoinGroupRequest) {
	s.opts.Groups.Join(cl.client(), req, func(r *kmsg.JoinGroupResponse) { cl.reply(r) })
	cl.release() // what is kept of it while it waits is the group's
}
