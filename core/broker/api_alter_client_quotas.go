package broker

import (
	"context"
	"slices"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/milldam/milldam/core/meta"
)

// AlterClientQuotas, versions 0 and 1 (KIP-546). 1 is flexible.
func (s *Server) alterClientQuotas(cl *call, req *kmsg.AlterClientQuotasRequest) {
	ctx, cancel := s.within(0)
	defer cancel()
	resp := kmsg.NewPtrAlterClientQuotasResponse()
	named := map[meta.QuotaEntity]int{}
	for _, in := range req.Entries {
		if e, err := quotaEntity(in.Entity); err == nil {
			named[e]++
		}
	}
	answered := map[meta.QuotaEntity]bool{}
	for i := range req.Entries {
		in := &req.Entries[i]
		out := kmsg.NewAlterClientQuotasResponseEntry()
		out.Entity = sameParts(in.Entity)
		e, err := quotaEntity(in.Entity)
		if err == nil {
			if answered[e] {
				continue
			}
			answered[e] = true
			out.Entity = answeredParts(e)
			if err = errEntityTwice; named[e] == 1 {
				err = s.alterQuota(ctx, e, in.Ops, req.ValidateOnly)
			}
		}
		out.ErrorCode, out.ErrorMessage = int16(s.code(err)), message(err)
		resp.Entries = append(resp.Entries, out)
	}
	cl.reply(resp)
}

var errEntityTwice error = wrapped{meta.ErrInvalidRequest, "Ignoring an entity that stands in the request twice"}

// answeredParts are those of an entity that was understood.
func answeredParts(e meta.QuotaEntity) []kmsg.AlterClientQuotasResponseEntryEntity {
	var out []kmsg.AlterClientQuotasResponseEntryEntity
	for _, p := range quotaParts(e) {
		part := kmsg.NewAlterClientQuotasResponseEntryEntity()
		part.Type, part.Name = p.kind, p.name.Name()
		out = append(out, part)
	}
	return out
}

// sameParts repeats an entity that makes no sense; of parts of one kind the last, as in Kafka.
func sameParts(parts []kmsg.AlterClientQuotasRequestEntryEntity) []kmsg.AlterClientQuotasResponseEntryEntity {
	var out []kmsg.AlterClientQuotasResponseEntryEntity
	for i, p := range parts {
		if slices.ContainsFunc(parts[i+1:], func(later kmsg.AlterClientQuotasRequestEntryEntity) bool { return later.Type == p.Type }) {
			continue
		}
		part := kmsg.NewAlterClientQuotasResponseEntryEntity()
		part.Type, part.Name = p.Type, p.Name
		out = append(out, part)
	}
	return out
}

func quotaEntity(parts []kmsg.AlterClientQuotasRequestEntryEntity) (meta.QuotaEntity, error) {
	var e meta.QuotaEntity
	for _, p := range parts {
		name := meta.DefaultName
		if p.Name != nil {
			name = meta.Named(*p.Name)
		}
		at := map[string]*meta.QuotaName{userPart: &e.User, clientPart: &e.ClientID, ipPart: &e.IP}[p.Type]
		if at == nil {
			return e, wrapped{meta.ErrInvalidRequest, "Unhandled client quota entity type: " + p.Type}
		}
		*at = name // the last of a kind counts, as in Kafka
	}
	return e, nil
}

func (s *Server) alterQuota(ctx context.Context, e meta.QuotaEntity, in []kmsg.AlterClientQuotasRequestEntryOp, dryRun bool) error {
	var ops []meta.QuotaOp
	for _, op := range in {
		ops = append(ops, meta.QuotaOp{Key: op.Key, Value: op.Value, Remove: op.Remove})
	}
	return s.opts.Controller.AlterQuota(ctx, e, ops, dryRun)
}
