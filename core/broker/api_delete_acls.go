package broker

import (
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/milldam/milldam/core/meta"
)

// DeleteAcls, versions 1 to 3 (KIP-140). 1 has prefixes (KIP-290), 2 is flexible, 3 has users as resources (KIP-373).
func (s *Server) deleteACLs(cl *call, req *kmsg.DeleteACLsRequest) {
	ctx, cancel := s.within(0)
	defer cancel()
	resp := kmsg.NewPtrDeleteACLsResponse()
	resp.Results = make([]kmsg.DeleteACLsResponseResult, len(req.Filters))
	var filters []meta.ACLFilter
	var at []int // their places in the request: a filter that cannot be is answered for itself
	for i, in := range req.Filters {
		f := meta.ACLFilter{ResourceType: int8(in.ResourceType), Resource: in.ResourceName, Pattern: int8(in.ResourcePatternType), Principal: in.Principal,
			Host: in.Host, Operation: int8(in.Operation), Permission: int8(in.PermissionType)}
		err := meta.CheckACLFilter(f)
		if err == nil {
			filters, at = append(filters, f), append(at, i)
		}
		resp.Results[i].ErrorCode, resp.Results[i].ErrorMessage = int16(s.code(err)), message(err)
	}
	gone, err := s.opts.Controller.RemoveACLs(ctx, filters)
	for n, i := range at {
		if err != nil {
			resp.Results[i].ErrorCode, resp.Results[i].ErrorMessage = int16(s.code(err)), message(err)
			continue
		}
		for _, a := range gone[n] {
			row := kmsg.NewDeleteACLsResponseResultMatchingACL()
			row.ResourceType, row.ResourceName, row.ResourcePatternType = kmsg.ACLResourceType(a.ResourceType), a.Resource, kmsg.ACLResourcePatternType(a.Pattern)
			row.Principal, row.Host, row.Operation, row.PermissionType = a.Principal, a.Host, kmsg.ACLOperation(a.Operation), kmsg.ACLPermissionType(a.Permission)
			resp.Results[i].MatchingACLs = append(resp.Results[i].MatchingACLs, row)
		}
	}
	cl.reply(resp)
}
