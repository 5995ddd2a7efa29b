package broker

import "github.com/twmb/franz-go/pkg/kmsg"

// DescribeGroups, versions 0 to 6.
func (s *Server) describeGroups(cl *call, req *kmsg.DescribeGroupsRequest) {
	s.opts.Groups.Describe(req, func(r *kmsg.DescribeGroupsResponse) {
		for i := range r.Groups {
			if req.IncludeAuthorizedOperations && r.Groups[i].ErrorCode == 0 {
				r.Groups[i].AuthorizedOperations = groupOperations
			}
		}
		cl.reply(r)
	})
}
