package broker

import "github.com/twmb/franz-go/pkg/kmsg"

// SyncGroup, versions 0 to 5.
func (s *Server) syncGroup(cl *call, req *kmsg.SyncGroupRequest) {
	s.opts.Groups.Sync(cl.client(), req, func(r *kmsg.SyncGroupResponse) { cl.reply(r) })
	cl.release() // what is kept of it while it waits is the group's
}
