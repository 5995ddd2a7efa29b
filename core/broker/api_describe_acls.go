package broker

import (
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/milldam/milldam/core/meta"
)

// DescribeAcls, versions 1 to 3 (KIP-140). 1 has prefixes (KIP-290), 2 is flexible, 3 has users as resources (KIP-373).
func (s *Server) describeACLs(cl *call, req *kmsg.DescribeACLsRequest) {
	f := meta.ACLFilter{ResourceType: int8(req.ResourceType), Resource: req.ResourceName, Pattern: int8(req.ResourcePatternType), Principal: req.Principal,
		Host: req.Host, Operation: int8(req.Operation), Permission: int8(req.PermissionType)}
	resp := kmsg.NewPtrDescribeACLsResponse()
	err := meta.CheckACLSearch(f)
	resp.ErrorCode, resp.ErrorMessage = int16(s.code(err)), described(err)
	if err != nil {
		cl.reply(resp)
		return
	}
	for a := range s.opts.Controller.Image().ACLs(f) {
		last := len(resp.Resources) - 1
		if last < 0 || !sameResource(&resp.Resources[last], a) {
			r := kmsg.NewDescribeACLsResponseResource()
			r.ResourceType, r.ResourceName, r.ResourcePatternType = kmsg.ACLResourceType(a.ResourceType), a.Resource, kmsg.ACLResourcePatternType(a.Pattern)
			resp.Resources = append(resp.Resources, r)
			last++
		}
		row := kmsg.NewDescribeACLsResponseResourceACL()
		row.Principal, row.Host, row.Operation, row.PermissionType = a.Principal, a.Host, kmsg.ACLOperation(a.Operation), kmsg.ACLPermissionType(a.Permission)
		resp.Resources[last].ACLs = append(resp.Resources[last].ACLs, row)
	}
	cl.reply(resp)
}

func sameResource(r *kmsg.DescribeACLsResponseResource, a meta.ACL) bool {
	return int8(r.ResourceType) == a.ResourceType && r.ResourceName == a.Resource && int8(r.ResourcePatternType) == a.Pattern
}
