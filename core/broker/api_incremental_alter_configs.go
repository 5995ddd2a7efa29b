package broker

import (
	"context"
	"slices"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/milldam/milldam/core/meta"
)

// IncrementalAlterConfigs, versions 0 and 1 (KIP-339). 1 is flexible.
func (s *Server) incrementalAlterConfigs(cl *call, req *kmsg.IncrementalAlterConfigsRequest) {
	ctx, cancel := s.within(0)
	defer cancel()
	resp := kmsg.NewPtrIncrementalAlterConfigsResponse()
	unknown := slices.ContainsFunc(req.Resources, func(r kmsg.IncrementalAlterConfigsRequestResource) bool {
		return slices.ContainsFunc(r.Configs, func(c kmsg.IncrementalAlterConfigsRequestResourceConfig) bool {
			return c.Op < 0 || int8(c.Op) > int8(meta.OpSubtract)
		})
	})
	named := map[meta.Resource]int{}
	for _, in := range req.Resources {
		named[meta.Resource{Type: meta.ResourceType(in.ResourceType), Name: in.ResourceName}]++
	}
	for i := range req.Resources {
		in := &req.Resources[i]
		out := kmsg.NewIncrementalAlterConfigsResponseResource()
		out.ResourceType, out.ResourceName = in.ResourceType, in.ResourceName
		r := meta.Resource{Type: meta.ResourceType(in.ResourceType), Name: in.ResourceName}
		ops, err := configOps(in)
		if named[r] > 1 {
			err = errNamedTwice
		}
		if unknown { // nothing of the request is done, as in Kafka
			err = errUnknownOp
		}
		if err == nil {
			err = s.alterConfig(ctx, r, ops, false, req.ValidateOnly)
		}
		out.ErrorCode, out.ErrorMessage = int16(s.code(err)), message(err)
		resp.Resources = append(resp.Resources, out)
	}
	cl.reply(resp)
}

var errUnknownOp = wrapped{meta.ErrInvalidRequest, "An operation of the request has an unknown number."}

var errNamedTwice = wrapped{meta.ErrInvalidRequest, "Each resource must appear at most once."}

func (s *Server) alterConfig(ctx context.Context, r meta.Resource, ops []meta.ConfigOp, replace, dryRun bool) error {
	if r.Type == meta.ResourceLogger && !replace {
		return s.alterLoggers(r.Name, ops, dryRun)
	}
	return s.opts.Controller.AlterConfig(ctx, r, ops, replace, dryRun)
}

func configOps(in *kmsg.IncrementalAlterConfigsRequestResource) ([]meta.ConfigOp, error) {
	var ops []meta.ConfigOp
	for _, c := range in.Configs {
		op := meta.ConfigOp{Key: c.Name, Op: meta.ConfigOpKind(c.Op)}
		if c.Value != nil {
			op.Value = *c.Value
		} else if op.Op != meta.OpDelete {
			return nil, nullValue(c.Name)
		}
		ops = append(ops, op)
	}
	return ops, nil
}

func nullValue(key string) error {
	return wrapped{meta.ErrInvalidRequest, "Null value not supported for : " + key}
}
