package broker

import "github.com/twmb/franz-go/pkg/kmsg"

// Heartbeat, versions 0 to 4.
func (s *Server) heartbeat(cl *call, req *kmsg.HeartbeatRequest) {
	s.opts.Groups.Heartbeat(req, func(r *kmsg.HeartbeatResponse) { cl.reply(r) })
}
