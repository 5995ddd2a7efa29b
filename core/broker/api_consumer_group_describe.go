package broker

import (
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/milldam/milldam/core/wire"
)

// ConsumerGroupDescribe, versions 0 and 1 (KIP-848). 1 tells which protocol a member speaks (KIP-1099).
func (s *Server) consumerGroupDescribe(cl *call, req *kmsg.ConsumerGroupDescribeRequest) {
	if s.servesConsumerGroups() {
		s.opts.Groups.DescribeConsumers(req, func(r *kmsg.ConsumerGroupDescribeResponse) {
			for i := range r.Groups {
				if req.IncludeAuthorizedOperations && r.Groups[i].ErrorCode == 0 {
					r.Groups[i].AuthorizedOperations = groupOperations
				}
			}
			cl.reply(r)
		})
		return
	}
	resp := kmsg.NewPtrConsumerGroupDescribeResponse()
	for _, name := range req.Groups {
		g := kmsg.NewConsumerGroupDescribeResponseGroup()
		g.Group, g.ErrorCode = name, int16(wire.UnsupportedVersion)
		resp.Groups = append(resp.Groups, g)
	}
	cl.reply(resp)
}
