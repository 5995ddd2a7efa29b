package broker

import (
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/milldam/milldam/core/meta"
)

// CreateAcls, versions 1 to 3 (KIP-140). 1 has prefixes (KIP-290), 2 is flexible, 3 has users as resources (KIP-373). What is right in a request is
// added, whatever else is in it.
func (s *Server) createACLs(cl *call, req *kmsg.CreateACLsRequest) {
	ctx, cancel := s.within(0)
	defer cancel()
	resp := kmsg.NewPtrCreateACLsResponse()
	resp.Results = make([]kmsg.CreateACLsResponseResult, len(req.Creations))
	var good []meta.ACL
	for i, c := range req.Creations {
		a := meta.ACL{ResourceType: int8(c.ResourceType), Resource: c.ResourceName, Pattern: int8(c.ResourcePatternType), Principal: c.Principal, Host: c.Host,
			Operation: int8(c.Operation), Permission: int8(c.PermissionType)}
		err := meta.CheckACL(a)
		if err == nil {
			good = append(good, a)
		}
		resp.Results[i].ErrorCode, resp.Results[i].ErrorMessage = int16(s.code(err)), described(err)
	}
	if err := s.opts.Controller.AddACLs(ctx, good); err != nil {
		for i := range resp.Results {
			if resp.Results[i].ErrorCode == 0 {
				resp.Results[i].ErrorCode, resp.Results[i].ErrorMessage = int16(s.code(err)), message(err)
			}
		}
	}
	cl.reply(resp)
}
