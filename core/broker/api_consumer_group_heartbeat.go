package broker

import (
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/milldam/milldam/core/wire"
)

// ConsumerGroupHeartbeat, versions 0 and 1 (KIP-848). 1 has regular expressions, and members choose their ids (KIP-1082). What it means stands in coordinator.
func (s *Server) consumerGroupHeartbeat(cl *call, req *kmsg.ConsumerGroupHeartbeatRequest) {
	if !s.servesConsumerGroups() {
		resp := kmsg.NewPtrConsumerGroupHeartbeatResponse()
		resp.ErrorCode = int16(wire.UnsupportedVersion)
		cl.reply(resp)
		return
	}
	s.opts.Groups.ConsumerHeartbeat(cl.client(), req, func(r *kmsg.ConsumerGroupHeartbeatResponse) { cl.reply(r) })
}

// servesConsumerGroups tells whether the cluster has finalised the feature of KIP-848.
func (s *Server) servesConsumerGroups() bool {
	return s.opts.Controller.Image().FeatureLevel("group.version") >= 1
}
