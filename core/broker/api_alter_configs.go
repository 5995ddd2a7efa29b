package broker

import (
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/milldam/milldam/core/meta"
)

// AlterConfigs, versions 0 to 2: what is not named goes back to its default, which is why IncrementalAlterConfigs took its place. 2 is flexible.
func (s *Server) alterConfigs(cl *call, req *kmsg.AlterConfigsRequest) {
	ctx, cancel := s.within(0)
	defer cancel()
	resp := kmsg.NewPtrAlterConfigsResponse()
	named := map[meta.Resource]int{}
	for _, in := range req.Resources {
		named[meta.Resource{Type: meta.ResourceType(in.ResourceType), Name: in.ResourceName}]++
	}
	for i := range req.Resources {
		in := &req.Resources[i]
		out := kmsg.NewAlterConfigsResponseResource()
		out.ResourceType, out.ResourceName = in.ResourceType, in.ResourceName
		r := meta.Resource{Type: meta.ResourceType(in.ResourceType), Name: in.ResourceName}
		var ops []meta.ConfigOp
		var err error
		for _, c := range in.Configs {
			if c.Value == nil {
				err = nullValue(c.Name)
				break
			}
			ops = append(ops, meta.ConfigOp{Key: c.Name, Value: *c.Value})
		}
		if named[r] > 1 {
			err = errNamedTwice
		}
		if err == nil {
			err = s.alterConfig(ctx, r, ops, true, req.ValidateOnly)
		}
		out.ErrorCode, out.ErrorMessage = int16(s.code(err)), message(err)
		resp.Resources = append(resp.Resources, out)
	}
	cl.reply(resp)
}
